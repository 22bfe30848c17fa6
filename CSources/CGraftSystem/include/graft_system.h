// What Swift cannot call by itself: system calls and constants that the C library only declares under _GNU_SOURCE,
// which Swift's own import of the C library does not define. One small total function each; a failure is a negated
// errno in the return value, and errno itself means nothing afterwards.
#ifndef GRAFT_SYSTEM_H
#define GRAFT_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The symbol of an errno value, such as "ENOENT"; NULL when the C library does not know it. Static storage.
const char *graft_system_errno_name(int error);

// The English sentence for an errno value; NULL when the C library does not know it. Static storage.
const char *graft_system_errno_text(int error);

enum graft_system_rename {
    GRAFT_SYSTEM_RENAME_REPLACE,    // an existing target is replaced
    GRAFT_SYSTEM_RENAME_NO_REPLACE, // -EEXIST when the target exists
    GRAFT_SYSTEM_RENAME_EXCHANGE,   // both exist and trade names; -ENOENT when one does not
};

// Renames atomically. 0, or a negated errno: -EINVAL or -ENOSYS where the file system or kernel lacks the flag.
int graft_system_rename(const char *from, const char *to, enum graft_system_rename how);

// Reserves space for a range of a file, and extends the file to hold it.
// 0, or a negated errno: -ENOSPC when it does not fit, -EOPNOTSUPP where the file system cannot.
int graft_system_allocate(int descriptor, int64_t offset, int64_t count);

// Asks for a range of a file to be brought to the disk, and does not wait for it; what was written stays to be flushed.
// 0, or a negated errno: -ESPIPE, -EINVAL where the file system cannot.
int graft_system_start_flush(int descriptor, int64_t offset, int64_t count);

// Opens the same file anew for reading around the page cache.
// A descriptor that the caller owns, or a negated errno: -EINVAL where the file system has no direct I/O.
int graft_system_open_direct(int descriptor);

// Gives every page of a mapping its memory now: by write faults, or by read faults that bring in a file's pages.
// `address` is a multiple of the page size. 0, or a negated errno: -EINVAL before kernel 5.14, -EFAULT when a page of
// a file mapping lies past the file's end, -ENOMEM when memory is short.
int graft_system_populate(void *address, size_t count, bool write);

// Touches one byte of every page so that it gets memory, for kernels that cannot populate; keeps what is written there.
// `page_size` is the system's. Total: dies only if the range is no writable memory.
void graft_system_touch(void *address, size_t count, size_t page_size);

// How many processors this thread may run on by its affinity mask; at least 1.
int graft_system_usable_processor_count(void);

#endif
