#include "graft_measure_ring.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAXIMUM_DEPTH = 64 };

// The two queues that the kernel shares with this thread, and the entries of the one that it takes from.
struct ring {
    int descriptor;
    unsigned char *queues;
    size_t queues_byte_count;
    struct io_uring_sqe *entries;
    size_t entries_byte_count;
    struct io_uring_params params;
};

static _Atomic uint32_t *word(const struct ring *ring, uint32_t offset) {
    return (_Atomic uint32_t *)(void *)(ring->queues + offset);
}

static void close_ring(const struct ring *ring) {
    munmap(ring->entries, ring->entries_byte_count);
    munmap(ring->queues, ring->queues_byte_count);
    close(ring->descriptor);
}

static int open_ring(struct ring *ring, uint32_t depth) {
    // The newest flags first: completions that are taken when they are asked for interrupt nobody.
    const uint32_t flags[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 0};
    long descriptor = -1;
    for (size_t i = 0; i < sizeof flags / sizeof *flags && descriptor < 0; i++) {
        memset(&ring->params, 0, sizeof ring->params);
        ring->params.flags = flags[i];
        descriptor = syscall(__NR_io_uring_setup, depth, &ring->params);
        if (descriptor < 0 && errno != EINVAL) return -errno;
    }
    if (descriptor < 0) return -errno;
    ring->descriptor = (int)descriptor;
    const struct io_uring_params *const p = &ring->params;
    if (!(p->features & IORING_FEAT_SINGLE_MMAP)) { // before kernel 5.4
        close(ring->descriptor);
        return -ENOSYS;
    }
    const size_t submission = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
    const size_t completion = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    ring->queues_byte_count = submission > completion ? submission : completion;
    ring->entries_byte_count = p->sq_entries * sizeof(struct io_uring_sqe);
    void *const queues = mmap(
        NULL, ring->queues_byte_count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->descriptor, IORING_OFF_SQ_RING
    );
    if (queues == MAP_FAILED) {
        const int error = -errno;
        close(ring->descriptor);
        return error;
    }
    void *const entries = mmap(
        NULL, ring->entries_byte_count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->descriptor, IORING_OFF_SQES
    );
    if (entries == MAP_FAILED) {
        const int error = -errno;
        munmap(queues, ring->queues_byte_count);
        close(ring->descriptor);
        return error;
    }
    ring->queues = queues;
    ring->entries = entries;
    return 0;
}

// A block that is being read, and how far it has come.
struct part {
    uint64_t offset;
    uint32_t byte_count;
};

static bool take_block(struct graft_measure_ring_read *read, struct part *part) {
    const uint64_t offset = __atomic_fetch_add(&read->next_offset, read->block_byte_count, __ATOMIC_RELAXED);
    if (offset >= read->byte_count) return false;
    const uint64_t left = read->byte_count - offset;
    part->offset = offset;
    part->byte_count = left < read->block_byte_count ? (uint32_t)left : read->block_byte_count;
    return true;
}

// Puts a read into the submission queue, which has an entry for each read that can be in flight.
static void prepare(struct ring *ring, const struct graft_measure_ring_read *read, const struct part *part, uint64_t token) {
    const struct io_sqring_offsets *const at = &ring->params.sq_off;
    const uint32_t tail = atomic_load_explicit(word(ring, at->tail), memory_order_relaxed);
    const uint32_t index = tail & (ring->params.sq_entries - 1);
    struct io_uring_sqe *const entry = &ring->entries[index];
    memset(entry, 0, sizeof *entry);
    entry->opcode = IORING_OP_READ;
    entry->fd = read->descriptor;
    entry->off = part->offset;
    entry->addr = (uint64_t)(uintptr_t)(read->memory + part->offset);
    entry->len = part->byte_count;
    entry->user_data = token;
    atomic_store_explicit(word(ring, at->array) + index, index, memory_order_relaxed);
    atomic_store_explicit(word(ring, at->tail), tail + 1, memory_order_release);
}

// Reads what is left to take. Returns when nothing is in flight, with the first error.
static int read_blocks(struct ring *ring, struct graft_measure_ring_read *read) {
    struct part parts[MAXIMUM_DEPTH];
    uint32_t free_parts[MAXIMUM_DEPTH];
    uint32_t free_count = 0;
    for (uint32_t i = 0; i < read->depth; i++) free_parts[free_count++] = i;
    uint32_t prepared = 0, in_flight = 0;
    bool has_more = true;
    int error = 0;
    for (;;) {
        while (has_more && error == 0 && free_count > 0) {
            const uint32_t index = free_parts[free_count - 1];
            has_more = take_block(read, &parts[index]);
            if (!has_more) break;
            free_count--;
            prepare(ring, read, &parts[index], index);
            prepared++;
        }
        if (prepared == 0 && in_flight == 0) return error;
        const long submitted =
            syscall(__NR_io_uring_enter, ring->descriptor, prepared, 1, IORING_ENTER_GETEVENTS, NULL, (size_t)0);
        if (submitted < 0) {
            if (errno == EINTR || errno == EAGAIN || errno == EBUSY) continue;
            // Without a way to wait for what is in flight, its memory must not be given back; nothing is when it fails at once.
            if (in_flight == 0) return -errno;
            error = -errno;
            continue;
        }
        prepared -= (uint32_t)submitted;
        in_flight += (uint32_t)submitted;
        const struct io_cqring_offsets *const at = &ring->params.cq_off;
        uint32_t head = atomic_load_explicit(word(ring, at->head), memory_order_relaxed);
        while (head != atomic_load_explicit(word(ring, at->tail), memory_order_acquire)) {
            const struct io_uring_cqe *const completions = (const void *)(ring->queues + at->cqes);
            const struct io_uring_cqe completion = completions[head & (ring->params.cq_entries - 1)];
            head++;
            in_flight--;
            struct part *const part = &parts[completion.user_data];
            const bool again = completion.res == -EINTR || completion.res == -EAGAIN;
            if (completion.res > 0) {
                part->offset += (uint32_t)completion.res;
                part->byte_count -= (uint32_t)completion.res;
            } else if (!again && error == 0) {
                error = completion.res == 0 ? -ENODATA : completion.res;
            }
            if (error == 0 && part->byte_count > 0) {
                prepare(ring, read, part, completion.user_data);
                prepared++;
            } else {
                free_parts[free_count++] = (uint32_t)completion.user_data;
            }
        }
        atomic_store_explicit(word(ring, at->head), head, memory_order_release);
    }
}

int graft_measure_read_by_ring(struct graft_measure_ring_read *read) {
    if (read->depth < 1 || read->depth > MAXIMUM_DEPTH || read->block_byte_count == 0) return -EINVAL;
    struct ring ring;
    const int result = open_ring(&ring, read->depth);
    if (result < 0) return result;
    const int error = read_blocks(&ring, read);
    close_ring(&ring);
    return error;
}
