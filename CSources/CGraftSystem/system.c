#include "graft_system.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// Spelled out, because headers older than the kernel lack them.
#define POPULATE_READ 22
#define POPULATE_WRITE 23
#define NO_REPLACE 1U
#define EXCHANGE 2U
#define CLONE _IOW(0x94, 9, int)

const char *graft_system_errno_name(int error) {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
    return strerrorname_np(error);
#else
    (void)error;
    return NULL;
#endif
}

const char *graft_system_errno_text(int error) {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
    return strerrordesc_np(error);
#else
    (void)error;
    return NULL;
#endif
}

int graft_system_rename(const char *from, const char *to, enum graft_system_rename how) {
    if (how == GRAFT_SYSTEM_RENAME_REPLACE) {
        return rename(from, to) == 0 ? 0 : -errno;
    }
    // By number, because the C library has had the wrapper only since 2.28.
    const unsigned flags = how == GRAFT_SYSTEM_RENAME_EXCHANGE ? EXCHANGE : NO_REPLACE;
    return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags) == 0 ? 0 : -errno;
}

int graft_system_link(const char *from, const char *to) {
    return linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
}

int graft_system_clone(int from, int to) {
    return ioctl(to, CLONE, from) == 0 ? 0 : -errno;
}

int64_t graft_system_copy(int from, int64_t from_offset, int to, int64_t to_offset, size_t count) {
    off_t source = from_offset;
    off_t destination = to_offset;
    const ssize_t copied = copy_file_range(from, &source, to, &destination, count, 0);
    if (copied >= 0) {
        return copied;
    }
    // Between file systems of different kinds, or where one of them has no such thing.
    if (errno != EXDEV && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL && errno != EBADF) {
        return -errno;
    }
    if (lseek(to, to_offset, SEEK_SET) < 0) {
        return -errno;
    }
    source = from_offset;
    const ssize_t sent = sendfile(to, from, &source, count);
    return sent >= 0 ? sent : -errno;
}

int graft_system_birth_time(const char *path, int64_t *seconds, int64_t *nanoseconds) {
    struct statx status;
    if (statx(AT_FDCWD, path, 0, STATX_BTIME, &status) != 0) {
        return errno == ENOSYS ? -EOPNOTSUPP : -errno;
    }
    if ((status.stx_mask & STATX_BTIME) == 0) {
        return -EOPNOTSUPP;
    }
    *seconds = status.stx_btime.tv_sec;
    *nanoseconds = status.stx_btime.tv_nsec;
    return 0;
}

int graft_system_allocate(int descriptor, int64_t offset, int64_t count) {
    return fallocate(descriptor, 0, offset, count) == 0 ? 0 : -errno;
}

int graft_system_allocate_beyond(int descriptor, int64_t offset, int64_t count) {
    return fallocate(descriptor, FALLOC_FL_KEEP_SIZE, offset, count) == 0 ? 0 : -errno;
}

int graft_system_start_flush(int descriptor, int64_t offset, int64_t count) {
    return sync_file_range(descriptor, offset, count, SYNC_FILE_RANGE_WRITE) == 0 ? 0 : -errno;
}

int graft_system_open_direct(int descriptor) {
    // Through /proc, so that it is the same file even if its name has been given to another since.
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    const int direct = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    return direct >= 0 ? direct : -errno;
}

int graft_system_populate(void *address, size_t count, bool write) {
    return madvise(address, count, write ? POPULATE_WRITE : POPULATE_READ) == 0 ? 0 : -errno;
}

void graft_system_touch(void *address, size_t count, size_t page_size) {
    unsigned char *const bytes = address;
    // An atomic "or" with nothing writes without changing what another thread may be writing at the same time.
    for (size_t offset = 0; offset < count; offset += page_size - (uintptr_t)(bytes + offset) % page_size) {
        __atomic_fetch_or(bytes + offset, 0, __ATOMIC_RELAXED);
    }
}

int graft_system_usable_processor_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) {
        return CPU_COUNT(&set);
    }
    // EINVAL: the machine has more processors than cpu_set_t has bits.
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}
