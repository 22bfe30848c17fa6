// Reading a file with io_uring and nothing else: by the kernel's own interface, without liburing and without Graft's engine.
#ifndef GRAFT_MEASURE_RING_H
#define GRAFT_MEASURE_RING_H

#include <stdint.h>

// Threads that read one file share one of these, and each calls the function below with it.
struct graft_measure_ring_read {
    unsigned char *memory; // has room for `byte_count` bytes
    uint64_t byte_count;   // from the file's start
    uint64_t next_offset;  // 0 at first; where the next block begins that no thread has taken
    uint32_t block_byte_count;
    uint32_t depth; // reads in flight for each thread, 1 ... 64
    int descriptor;
};

// Creates a ring for the calling thread, reads blocks with it until none is left, and closes it.
// 0, -ENODATA where the file ends early, or another negated errno; the kernel has let go of the memory in any case.
// With a `byte_count` of 0 it says whether the kernel lets this process have a ring.
int graft_measure_read_by_ring(struct graft_measure_ring_read *read);

#endif
