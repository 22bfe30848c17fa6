// What is known about a file before it is read: which bytes are in the page cache, and what direct reads must align to.
#ifndef GRAFT_RESIDENCY_H
#define GRAFT_RESIDENCY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// How much of a range is in the page cache: `resident_count` of the `page_count` pages that it touches.
struct graft_residency {
    uint64_t resident_count;
    uint64_t page_count;
};

// Asks cachestat (kernel 6.5; microseconds for gigabytes), else mincore over a temporary mapping, which sees at most
// the first 64 MiB of the range and is only told the truth about files that the caller owns or may write.
// 0, or a negated errno where neither can tell. `byte_count` of 0 gives 0 of 0 pages.
int graft_residency_query(int descriptor, uint64_t offset, uint64_t byte_count, struct graft_residency *residency);

// Reads as many of a range's bytes as the page cache has from its beginning on, without waiting for the disk (kernel 4.14).
// Their number; or a negated errno: -EAGAIN where the first is not there, -EOPNOTSUPP or -ENOSYS where the file system or the
// kernel cannot do that.
ssize_t graft_residency_read(int descriptor, void *buffer, size_t byte_count, uint64_t offset);

// What direct reads from a descriptor opened with O_DIRECT must align to, in bytes; both are powers of two.
struct graft_direct_alignment {
    uint32_t memory;
    uint32_t offset; // of the file offset and of the length
};

// Asks statx (kernel 6.1), else tries reads of 512 and of 4096 bytes at the file's beginning.
// 0, or a negated errno: -EOPNOTSUPP where the file takes no direct reads, else what the trial read failed with.
int graft_direct_alignment_query(int direct_descriptor, struct graft_direct_alignment *alignment);

#endif
