// Puts this process under a seccomp filter, as containers do; for tests that run in a process of their own.
#ifndef GRAFT_TEST_SANDBOX_H
#define GRAFT_TEST_SANDBOX_H

enum graft_test_sandbox {
    GRAFT_TEST_SANDBOX_IO_URING = 1,  // io_uring_setup, io_uring_enter, io_uring_register
    GRAFT_TEST_SANDBOX_CACHESTAT = 2, // cachestat
    GRAFT_TEST_SANDBOX_DIOALIGN = 4,  // statx
};

// From now on, and for ever, the named system calls (a sum of the above) fail with `error` on all threads of this process.
// 0, or a negated errno: -ENOSYS or -EINVAL where the kernel has no seccomp filters.
int graft_test_sandbox_enter(int calls, int error);

#endif
