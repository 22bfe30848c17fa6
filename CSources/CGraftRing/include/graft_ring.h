// One io_uring for reads, used by the one thread that created it: prepare reads, submit them, reap completions.
//
// Every function is total and returns a value or a negated errno; none logs, aborts or touches a global. The kernel
// may write into a read's buffer from the moment that it is submitted until its completion has been reaped, whatever
// becomes of the ring in between.
#ifndef GRAFT_RING_H
#define GRAFT_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct graft_ring;

// What keeps io_uring from being used, as far as it can be told from outside.
enum graft_ring_refusal {
    GRAFT_RING_USABLE,
    GRAFT_RING_NOT_IN_KERNEL,     // ENOSYS: before 5.1, built without it, or a sandbox that hides it
    GRAFT_RING_DISABLED,          // the sysctl kernel.io_uring_disabled says no
    GRAFT_RING_FORBIDDEN,         // EPERM or EACCES: a seccomp filter or security module
    GRAFT_RING_NO_MEMORY,         // ENOMEM: the limit on locked memory (before 5.12), or no memory
    GRAFT_RING_NO_DESCRIPTORS,    // EMFILE, ENFILE
    GRAFT_RING_TOO_OLD,           // it is there but cannot read into plain memory (before 5.6)
    GRAFT_RING_REFUSED_OTHERWISE,
};

// What a ring that was created offers, or why none was.
struct graft_ring_report {
    enum graft_ring_refusal refusal;
    int error;          // the errno behind the refusal, 0 when there is none
    bool single_issuer; // one thread submits (kernel 6.0)
    bool defer_taskrun; // completions are posted only when that thread asks (kernel 6.1)
};

// Creates a ring that holds at least `entry_count` (1 ... 4096) reads, with the newest set-up flags that the kernel has.
// 0 and *ring, which graft_ring_destroy frees; or a negated errno, *ring NULL. `report` may be NULL.
int graft_ring_create(unsigned entry_count, struct graft_ring **ring, struct graft_ring_report *report);

// Closes the ring. Every read that was submitted must have been reaped: closing does not wait for the kernel.
// NULL is fine.
void graft_ring_destroy(struct graft_ring *ring);

struct graft_ring_read {
    void *buffer;
    uint32_t byte_count;
    int descriptor;
    uint64_t offset;
    uint64_t token;    // comes back with the completion
    bool asynchronous; // have a kernel thread do it, rather than try it first inside the submitting call
    // Where the bytes go instead of `buffer`, one after another, when segment_count is not 0; `byte_count` is their sum.
    // The array stays as it is until the completion has been reaped.
    const struct iovec *segments;
    uint32_t segment_count;
};

// Puts a read in the submission queue. 0, or -EBUSY when the queue is full.
int graft_ring_prepare(struct graft_ring *ring, const struct graft_ring_read *read);

// Hands the prepared reads to the kernel, then waits until `completion_count` completions can be reaped (0: does not
// wait). The number that the kernel took, in the order of their preparation, which may be less than were prepared; or
// a negated errno, when it took none: -EINTR, -EAGAIN and -EBUSY pass.
int graft_ring_submit(struct graft_ring *ring, unsigned completion_count);

// Waits for one completion without submitting anything, for a ring whose submission has failed.
// 0, or a negated errno.
int graft_ring_wait(struct graft_ring *ring);

struct graft_ring_completion {
    uint64_t token;
    int32_t result; // the number of bytes read, 0 at the end of the file, or a negated errno
};

// Takes up to `capacity` completions that are there already. How many.
unsigned graft_ring_reap(struct graft_ring *ring, struct graft_ring_completion *completions, unsigned capacity);

#endif
