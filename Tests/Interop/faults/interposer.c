// Stands between the tool and the C library, counts the calls that change files, and at one of them does what a crash or a full
// disk would. Loaded by LD_PRELOAD; test_save_faults.py compiles it and sets:
//
//   GRAFT_FAULT_ROOT   only calls that concern something below this folder count
//   GRAFT_FAULT_LOG    a file that gets a line for each of them: number, name, path, second path
//   GRAFT_FAULT_AT     the number of the call, from 1, at which something happens
//   GRAFT_FAULT_ACT    what: `kill` before the call, `tear` to kill after half of a write, or the number of an error
//
// One process has one of it, and the tool's threads take turns in it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static long count;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value != NULL ? value : "";
}

static int is_below_root(const char *path) {
    const char *root = setting("GRAFT_FAULT_ROOT");
    return root[0] != '\0' && strncmp(path, root, strlen(root)) == 0;
}

static void path_of(int descriptor, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = '\0';
}

enum act { GO_ON, FAIL, TEAR };

// Counts a call, and decides what becomes of it. With FAIL, errno is set.
static enum act decide(const char *name, const char *path, const char *second, int is_write) {
    if (!is_below_root(path) && !(second[0] != '\0' && is_below_root(second))) {
        return GO_ON;
    }
    pthread_mutex_lock(&turn);
    const long number = ++count;
    char line[3 * PATH_MAX];
    const int length = snprintf(line, sizeof line, "%ld\t%s\t%s\t%s\n", number, name, path, second);
    const int log = (int)syscall(SYS_openat, AT_FDCWD, setting("GRAFT_FAULT_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (log >= 0) {
        syscall(SYS_write, log, line, (size_t)length);
        syscall(SYS_close, log);
    }
    pthread_mutex_unlock(&turn);
    if (number != atol(setting("GRAFT_FAULT_AT"))) {
        return GO_ON;
    }
    const char *what = setting("GRAFT_FAULT_ACT");
    if (strcmp(what, "tear") == 0 && is_write) {
        return TEAR;
    }
    if (strcmp(what, "kill") == 0 || strcmp(what, "tear") == 0) {
        kill(getpid(), SIGKILL);
        pause();
    }
    errno = atoi(what);
    return FAIL;
}

static enum act decide_for(const char *name, int descriptor, int is_write) {
    const int before = errno;
    char path[PATH_MAX];
    path_of(descriptor, path);
    const enum act act = decide(name, path, "", is_write);
    if (act != FAIL) {
        errno = before;
    }
    return act;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    pause();
}

ssize_t write(int descriptor, const void *bytes, size_t size) {
    const enum act act = decide_for("write", descriptor, 1);
    if (act == FAIL) {
        return -1;
    }
    if (act == TEAR) {
        REAL(write)(descriptor, bytes, size / 2);
        die();
    }
    return REAL(write)(descriptor, bytes, size);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t offset) {
    const enum act act = decide_for("write", descriptor, 1);
    if (act == FAIL) {
        return -1;
    }
    if (act == TEAR) {
        REAL(pwrite)(descriptor, bytes, size / 2, offset);
        die();
    }
    return REAL(pwrite)(descriptor, bytes, size, offset);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off_t offset) { return pwrite(descriptor, bytes, size, offset); }

ssize_t pwritev(int descriptor, const struct iovec *parts, int part_count, off_t offset) {
    if (decide_for("write", descriptor, 0) == FAIL) {
        return -1;
    }
    return REAL(pwritev)(descriptor, parts, part_count, offset);
}

ssize_t copy_file_range(int from, off_t *source, int to, off_t *destination, size_t size, unsigned flags) {
    if (decide_for("write", to, 0) == FAIL) {
        return -1;
    }
    return REAL(copy_file_range)(from, source, to, destination, size, flags);
}

#define OF_DESCRIPTOR(function, parameters, arguments)                                                                   \
    int function parameters {                                                                                           \
        return decide_for(#function, descriptor, 0) == FAIL ? -1 : REAL(function) arguments;                            \
    }
OF_DESCRIPTOR(fsync, (int descriptor), (descriptor))
OF_DESCRIPTOR(fdatasync, (int descriptor), (descriptor))
OF_DESCRIPTOR(ftruncate, (int descriptor, off_t size), (descriptor, size))
OF_DESCRIPTOR(ftruncate64, (int descriptor, off_t size), (descriptor, size))
OF_DESCRIPTOR(fallocate, (int descriptor, int mode, off_t offset, off_t size), (descriptor, mode, offset, size))
OF_DESCRIPTOR(fallocate64, (int descriptor, int mode, off_t offset, off_t size), (descriptor, mode, offset, size))
OF_DESCRIPTOR(sync_file_range, (int descriptor, off_t offset, off_t size, unsigned flags), (descriptor, offset, size, flags))

#define OF_PATH(function, parameters, arguments, second)                                                                 \
    int function parameters { return decide(#function, path, second, 0) == FAIL ? -1 : REAL(function) arguments; }
OF_PATH(rename, (const char *path, const char *to), (path, to), to)
OF_PATH(link, (const char *path, const char *to), (path, to), to)
OF_PATH(linkat, (int from_folder, const char *path, int to_folder, const char *to, int flags),
        (from_folder, path, to_folder, to, flags), to)
OF_PATH(mkdir, (const char *path, mode_t mode), (path, mode), "")
OF_PATH(unlink, (const char *path), (path), "")
OF_PATH(rmdir, (const char *path), (path), "")

// Removals name what they remove within a folder that is open.
int unlinkat(int folder, const char *name, int flags) {
    char path[PATH_MAX];
    path_of(folder, path);
    return decide("unlink", name[0] == '/' ? name : path, "", 0) == FAIL ? -1 : REAL(unlinkat)(folder, name, flags);
}

// A file that is made.
int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = (mode_t)va_arg(rest, int);
    va_end(rest);
    if ((flags & O_CREAT) != 0 && decide("create", path, "", 0) == FAIL) {
        return -1;
    }
    return REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = (mode_t)va_arg(rest, int);
    va_end(rest);
    return open(path, flags, mode);
}

// renameat2 is called by its number.
long syscall(long number, ...) {
    long a[6];
    va_list rest;
    va_start(rest, number);
    for (int index = 0; index < 6; index++) {
        a[index] = va_arg(rest, long);
    }
    va_end(rest);
    static long (*real)(long, ...);
    if (real == NULL) {
        real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    }
    if (number == SYS_renameat2 && decide(a[4] == RENAME_EXCHANGE ? "exchange" : "rename", (const char *)a[1], (const char *)a[3], 0) == FAIL) {
        return -1;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
