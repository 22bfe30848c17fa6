#include "graft_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <unistd.h>

// Spelled out for liburing before 2.3; kernels that lack a flag answer EINVAL.
#ifndef IORING_SETUP_COOP_TASKRUN
#define IORING_SETUP_COOP_TASKRUN (1U << 8) // 5.19
#endif
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12) // 6.0
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13) // 6.1
#endif

#define MAXIMUM_ENTRY_COUNT 4096U

struct graft_ring {
    struct io_uring uring;
};

// Newest first. With DEFER_TASKRUN a completion does not interrupt the thread while it decodes.
static const unsigned setup_flags[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_COOP_TASKRUN,
    0,
};

static bool is_disabled_by_sysctl(void) {
    const int descriptor = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return false;
    }
    char value = '0';
    const bool has_value = read(descriptor, &value, 1) == 1;
    close(descriptor);
    return has_value && value != '0';
}

static enum graft_ring_refusal refusal_of(int error) {
    switch (error) {
    case 0:
        return GRAFT_RING_USABLE;
    case ENOSYS:
        return GRAFT_RING_NOT_IN_KERNEL;
    case EPERM:
    case EACCES:
        return is_disabled_by_sysctl() ? GRAFT_RING_DISABLED : GRAFT_RING_FORBIDDEN;
    case ENOMEM:
        return GRAFT_RING_NO_MEMORY;
    case EMFILE:
    case ENFILE:
        return GRAFT_RING_NO_DESCRIPTORS;
    default:
        return GRAFT_RING_REFUSED_OTHERWISE;
    }
}

// Reads into plain memory came in 5.6, as did the question whether they are there; before that the answer is no.
static bool can_read(struct io_uring *uring) {
    struct io_uring_probe *probe = io_uring_get_probe_ring(uring);
    if (probe == NULL) {
        return false;
    }
    const bool can = io_uring_opcode_supported(probe, IORING_OP_READ) != 0;
    io_uring_free_probe(probe);
    return can;
}

int graft_ring_create(unsigned entry_count, struct graft_ring **ring, struct graft_ring_report *report) {
    struct graft_ring_report ignored;
    if (report == NULL) {
        report = &ignored;
    }
    *report = (struct graft_ring_report){0};
    *ring = NULL;

    int result = -EINVAL;
    struct graft_ring *created = NULL;
    if (entry_count >= 1 && entry_count <= MAXIMUM_ENTRY_COUNT) {
        created = calloc(1, sizeof *created);
        result = created == NULL ? -ENOMEM : -EINVAL;
    }
    const unsigned flag_count = sizeof setup_flags / sizeof setup_flags[0];
    for (unsigned i = 0; created != NULL && result == -EINVAL && i < flag_count; i++) {
        struct io_uring_params parameters = {.flags = setup_flags[i]};
        result = io_uring_queue_init_params(entry_count, &created->uring, &parameters);
        report->single_issuer = (setup_flags[i] & IORING_SETUP_SINGLE_ISSUER) != 0;
        report->defer_taskrun = (setup_flags[i] & IORING_SETUP_DEFER_TASKRUN) != 0;
    }
    if (result < 0) {
        free(created);
        *report = (struct graft_ring_report){.refusal = refusal_of(-result), .error = -result};
        return result;
    }
    if (!can_read(&created->uring)) {
        graft_ring_destroy(created);
        *report = (struct graft_ring_report){.refusal = GRAFT_RING_TOO_OLD, .error = EOPNOTSUPP};
        return -EOPNOTSUPP;
    }
    *ring = created;
    return 0;
}

void graft_ring_destroy(struct graft_ring *ring) {
    if (ring != NULL) {
        io_uring_queue_exit(&ring->uring);
        free(ring);
    }
}

int graft_ring_prepare(struct graft_ring *ring, const struct graft_ring_read *read) {
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->uring);
    if (entry == NULL) {
        return -EBUSY;
    }
    if (read->segment_count > 0) {
        io_uring_prep_readv(entry, read->descriptor, read->segments, read->segment_count, read->offset);
    } else {
        io_uring_prep_read(entry, read->descriptor, read->buffer, read->byte_count, read->offset);
    }
    io_uring_sqe_set_data64(entry, read->token);
    if (read->asynchronous) {
        entry->flags |= IOSQE_ASYNC;
    }
    return 0;
}

int graft_ring_submit(struct graft_ring *ring, unsigned completion_count) {
    return completion_count > 0 ? io_uring_submit_and_wait(&ring->uring, completion_count)
                                : io_uring_submit(&ring->uring);
}

int graft_ring_wait(struct graft_ring *ring) {
    struct io_uring_cqe *completion;
    return io_uring_wait_cqe(&ring->uring, &completion);
}

unsigned graft_ring_reap(struct graft_ring *ring, struct graft_ring_completion *completions, unsigned capacity) {
    unsigned count = 0;
    struct io_uring_cqe *completion;
    while (count < capacity && io_uring_peek_cqe(&ring->uring, &completion) == 0) {
        completions[count++] = (struct graft_ring_completion){
            .token = io_uring_cqe_get_data64(completion), .result = completion->res};
        io_uring_cqe_seen(&ring->uring, completion);
    }
    return count;
}
