#include "graft_residency.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// The C library's and older kernels' headers lack what follows, so numbers and layouts are the kernel's ABI spelled out.
#ifdef SYS_cachestat
#define CACHESTAT SYS_cachestat
#else
#define CACHESTAT 451 // the same on every architecture
#endif
#ifndef SYS_statx
#error "the C library's headers are older than statx (kernel 4.11)"
#endif
#define STATX_WANT_DIOALIGN 0x2000U

struct cachestat_range {
    uint64_t offset;
    uint64_t byte_count;
};

struct cachestat_counts {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

// struct statx as of kernel 6.1, up to the fields that are read here, and its full size.
struct statx_6_1 {
    uint32_t mask;
    uint32_t before[37];
    uint32_t dio_mem_align;
    uint32_t dio_offset_align;
    uint64_t after[12];
};
_Static_assert(sizeof(struct statx_6_1) == 256, "struct statx is 256 bytes");

#define MINCORE_PAGE_COUNT 16384U

static int query_by_mincore(int descriptor, uint64_t offset, uint64_t page_count, uint64_t page_byte_count,
                            struct graft_residency *residency) {
    if (page_count > MINCORE_PAGE_COUNT) {
        page_count = MINCORE_PAGE_COUNT;
    }
    const size_t byte_count = page_count * page_byte_count;
    void *mapping = mmap(NULL, byte_count, PROT_READ, MAP_SHARED, descriptor, (off_t)offset);
    if (mapping == MAP_FAILED) {
        return -errno;
    }
    unsigned char pages[MINCORE_PAGE_COUNT];
    const int result = mincore(mapping, byte_count, pages) == 0 ? 0 : -errno;
    munmap(mapping, byte_count);
    if (result == 0) {
        residency->page_count = page_count;
        for (uint64_t i = 0; i < page_count; i++) {
            residency->resident_count += pages[i] & 1U;
        }
    }
    return result;
}

int graft_residency_query(int descriptor, uint64_t offset, uint64_t byte_count, struct graft_residency *residency) {
    *residency = (struct graft_residency){0};
    if (byte_count == 0) {
        return 0;
    }
    if (offset > INT64_MAX || byte_count > INT64_MAX - offset) {
        return -EINVAL;
    }
    const uint64_t page_byte_count = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t first = offset / page_byte_count;
    const uint64_t page_count = (offset + byte_count - 1) / page_byte_count - first + 1;

    struct cachestat_range range = {offset, byte_count};
    struct cachestat_counts counts = {0};
    if (syscall(CACHESTAT, descriptor, &range, &counts, 0U) == 0) {
        // A large folio that reaches beyond the range may be counted whole.
        residency->resident_count = counts.cached < page_count ? counts.cached : page_count;
        residency->page_count = page_count;
        return 0;
    }
    if (errno == EBADF) {
        return -EBADF;
    }
    // ENOSYS before 6.5, EPERM in a sandbox, EOPNOTSUPP for some files: mincore may still know.
    return query_by_mincore(descriptor, first * page_byte_count, page_count, page_byte_count, residency);
}

ssize_t graft_residency_read(int descriptor, void *buffer, size_t byte_count, uint64_t offset) {
    if (offset > INT64_MAX) {
        return -EINVAL;
    }
    const struct iovec memory = {buffer, byte_count};
    const ssize_t result = preadv2(descriptor, &memory, 1, (off_t)offset, RWF_NOWAIT);
    return result >= 0 ? result : -errno;
}

static bool is_power_of_two(uint32_t value) {
    return value != 0 && (value & (value - 1)) == 0;
}

int graft_direct_alignment_query(int direct_descriptor, struct graft_direct_alignment *alignment) {
    *alignment = (struct graft_direct_alignment){0};
    struct statx_6_1 status;
    memset(&status, 0, sizeof status);
    if (syscall(SYS_statx, direct_descriptor, "", AT_EMPTY_PATH, STATX_WANT_DIOALIGN, &status) == 0 &&
        (status.mask & STATX_WANT_DIOALIGN) != 0) {
        if (!is_power_of_two(status.dio_mem_align) || !is_power_of_two(status.dio_offset_align)) {
            return -EOPNOTSUPP; // zero is the kernel's way to say that there is no direct I/O
        }
        *alignment = (struct graft_direct_alignment){status.dio_mem_align, status.dio_offset_align};
        return 0;
    }
    alignas(4096) unsigned char block[4096];
    for (uint32_t trial = 512; trial <= sizeof block; trial *= 8) {
        ssize_t result;
        do {
            result = pread(direct_descriptor, block, trial, 0);
        } while (result < 0 && errno == EINTR);
        if (result >= 0) {
            // The memory was aligned to a page, so that much is known to do.
            *alignment = (struct graft_direct_alignment){4096, trial};
            return 0;
        }
        if (errno != EINVAL) {
            return -errno;
        }
    }
    return -EOPNOTSUPP;
}
