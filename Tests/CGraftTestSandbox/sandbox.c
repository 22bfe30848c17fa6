#include "graft_test_sandbox.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// Spelled out, because the C library's headers may be older; the numbers are the same on every architecture.
#define IO_URING_SETUP 425
#define IO_URING_ENTER 426
#define IO_URING_REGISTER 427
#define CACHESTAT 451

int graft_test_sandbox_enter(int calls, int error) {
    unsigned numbers[8];
    unsigned short count = 0;
    if ((calls & GRAFT_TEST_SANDBOX_IO_URING) != 0) {
        numbers[count++] = IO_URING_SETUP;
        numbers[count++] = IO_URING_ENTER;
        numbers[count++] = IO_URING_REGISTER;
    }
    if ((calls & GRAFT_TEST_SANDBOX_CACHESTAT) != 0) {
        numbers[count++] = CACHESTAT;
    }
    if ((calls & GRAFT_TEST_SANDBOX_DIOALIGN) != 0) {
        numbers[count++] = SYS_statx;
    }
    struct sock_filter filter[2 * 8 + 2];
    unsigned short length = 0;
    filter[length++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned short i = 0; i < count; i++) {
        filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, numbers[i], 0, 1);
        filter[length++] = (struct sock_filter)BPF_STMT(
            BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((unsigned)error & SECCOMP_RET_DATA));
    }
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = length, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return -errno;
    }
    const long result =
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    return result == 0 ? 0 : result > 0 ? -EBUSY : -errno;
}
