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

// Gives the file of a name a second name; a symbolic link at `from` is followed.
// 0, or a negated errno: -EXDEV across file systems, -EPERM where the file system or a policy has no such links,
// -EMLINK when the file has as many names as it can have.
int graft_system_link(const char *from, const char *to);

// Makes an empty file share all bytes of another until one of the two is changed.
// 0, or a negated errno: -EOPNOTSUPP, -EINVAL, -ENOTTY or -EXDEV where the file system cannot.
int graft_system_clone(int from, int to);

// Copies a range between two files within the kernel, as far as it gets in one call; moves the position of `to`.
// The number of bytes, 0 at the end of `from`, or a negated errno.
int64_t graft_system_copy(int from, int64_t from_offset, int to, int64_t to_offset, size_t count);

// When the file of a name was made, which tells it from a later one of the same number.
// 0, or a negated errno: -EOPNOTSUPP where the file system or kernel does not know.
int graft_system_birth_time(const char *path, int64_t *seconds, int64_t *nanoseconds);

// Reserves space for a range of a file, and extends the file to hold it.
// 0, or a negated errno: -ENOSPC when it does not fit, -EOPNOTSUPP where the file system cannot.
int graft_system_allocate(int descriptor, int64_t offset, int64_t count);

// The same, but leaves the file's size as it is: what lies behind its end goes with the next truncation.
int graft_system_allocate_beyond(int descriptor, int64_t offset, int64_t count);

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
