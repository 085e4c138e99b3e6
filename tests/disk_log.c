/* Logs what a process changes beneath $DISK_LOG_BENEATH into $DISK_LOG, in the order in which it happens:
   LD_PRELOAD it. A record is a line "OP<TAB>OFFSET<TAB>SIZE<TAB>PATH<TAB>OTHER PATH", then SIZE bytes of data.
   Calls that fail are not logged. tests/power_cut.py reads it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)

static ssize_t (*write_)(int, const void *, size_t);

static void record(const char *op, long offset, const void *data, size_t size, const char *one, const char *two) {
    static int log = -1;
    const char *beneath = getenv("DISK_LOG_BENEATH"), *path = getenv("DISK_LOG");
    char line[2 * PATH_MAX + 100];
    int length;
    if (!beneath || !path || (strncmp(one, beneath, strlen(beneath)) && strncmp(two, beneath, strlen(beneath)))) return;
    if (!write_) write_ = dlsym(RTLD_NEXT, "write");
    if (log < 0) {
        static int (*open_)(const char *, int, ...);
        open_ = dlsym(RTLD_NEXT, "open");
        log = fcntl(open_(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666), F_DUPFD_CLOEXEC, 500);
    }
    length = snprintf(line, sizeof line, "%s\t%ld\t%zu\t%s\t%s\n", op, offset, size, one, two);
    write_(log, line, length);
    for (size_t done = 0; done < size;) done += write_(log, (const char *)data + done, size - done);
}

/* The absolute path of `name` as seen from the folder `at`, which is not followed where it is a link itself. */
static void absolute(int at, const char *name, char *found) {
    char folder[PATH_MAX] = "", link[64];
    ssize_t length = 0;
    if (name[0] != '/') {
        if (at == AT_FDCWD) { if (!getcwd(folder, sizeof folder)) folder[0] = 0; }
        else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            length = readlink(link, folder, sizeof folder - 1);
            folder[length < 0 ? 0 : length] = 0;
        }
    }
    snprintf(found, PATH_MAX, "%s%s%s", folder, folder[0] ? "/" : "", name);
}

static int of_descriptor(int descriptor, char *found) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, found, PATH_MAX - 1);
    found[length < 0 ? 0 : length] = 0;
    return length > 0 && found[0] == '/';
}

static int opened(int at, const char *name, int flags, mode_t mode, int (*open_at)(int, const char *, int, ...)) {
    struct stat before;
    char path[PATH_MAX];
    int changes = (flags & (O_CREAT | O_TRUNC)) && (flags & O_TMPFILE) != O_TMPFILE;
    int there = changes ? !fstatat(at, name, &before, 0) : 1;
    int found = open_at(at, name, flags, mode);
    if (found >= 0 && changes) {
        absolute(at, name, path);
        if (!there) record("create", 0, "", 0, path, "");
        else if (flags & O_TRUNC) record("truncate", 0, "", 0, path, "");
    }
    return found;
}

#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
int open(const char *name, int flags, ...) { MODE(flags) REAL(int, "openat", int, const char *, int, ...); return opened(AT_FDCWD, name, flags, mode, real); }
int open64(const char *name, int flags, ...) { MODE(flags) REAL(int, "openat64", int, const char *, int, ...); return opened(AT_FDCWD, name, flags, mode, real); }
int openat(int at, const char *name, int flags, ...) { MODE(flags) REAL(int, "openat", int, const char *, int, ...); return opened(at, name, flags, mode, real); }
int openat64(int at, const char *name, int flags, ...) { MODE(flags) REAL(int, "openat64", int, const char *, int, ...); return opened(at, name, flags, mode, real); }

static void wrote(int descriptor, const void *data, ssize_t size, long offset) {
    char path[PATH_MAX];
    if (size <= 0 || descriptor < 3 || !of_descriptor(descriptor, path)) return;
    record("write", offset < 0 ? lseek(descriptor, 0, SEEK_CUR) - size : offset, data, size, path, "");
}
ssize_t write(int d, const void *data, size_t size) { REAL(ssize_t, "write", int, const void *, size_t); ssize_t n = real(d, data, size); wrote(d, data, n, -1); return n; }
ssize_t pwrite(int d, const void *data, size_t size, off_t at) { REAL(ssize_t, "pwrite", int, const void *, size_t, off_t); ssize_t n = real(d, data, size, at); wrote(d, data, n, at); return n; }
ssize_t pwrite64(int d, const void *data, size_t size, off64_t at) { REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t); ssize_t n = real(d, data, size, at); wrote(d, data, n, at); return n; }
ssize_t writev(int d, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    long at = lseek(d, 0, SEEK_CUR);
    ssize_t n = real(d, parts, count), left = n;
    for (int i = 0; i < count && left > 0; i++) {
        ssize_t size = left < (ssize_t)parts[i].iov_len ? left : (ssize_t)parts[i].iov_len;
        if (at >= 0) wrote(d, parts[i].iov_base, size, at);
        at += size, left -= size;
    }
    return n;
}

static int told(int result, int descriptor, const char *op, long offset) {
    char path[PATH_MAX];
    if (!result && of_descriptor(descriptor, path)) record(op, offset, "", 0, path, "");
    return result;
}
int ftruncate(int d, off_t size) { REAL(int, "ftruncate", int, off_t); return told(real(d, size), d, "truncate", size); }
int ftruncate64(int d, off64_t size) { REAL(int, "ftruncate64", int, off64_t); return told(real(d, size), d, "truncate", size); }
int fsync(int d) { REAL(int, "fsync", int); return told(real(d), d, "sync", 0); }
int fdatasync(int d) { REAL(int, "fdatasync", int); return told(real(d), d, "sync", 0); }

static int named(int result, const char *op, int at, const char *one, int at_two, const char *two) {
    char first[PATH_MAX], second[PATH_MAX] = "";
    if (result) return result;
    absolute(at, one, first);
    if (two) absolute(at_two, two, second);
    record(op, 0, "", 0, first, second);
    return result;
}
int rename(const char *a, const char *b) { REAL(int, "rename", const char *, const char *); return named(real(a, b), "rename", AT_FDCWD, a, AT_FDCWD, b); }
int renameat(int x, const char *a, int y, const char *b) { REAL(int, "renameat", int, const char *, int, const char *); return named(real(x, a, y, b), "rename", x, a, y, b); }
int renameat2(int x, const char *a, int y, const char *b, unsigned flags) { REAL(int, "renameat2", int, const char *, int, const char *, unsigned); return named(real(x, a, y, b, flags), "rename", x, a, y, b); }
int unlink(const char *a) { REAL(int, "unlink", const char *); return named(real(a), "remove", AT_FDCWD, a, 0, 0); }
int unlinkat(int x, const char *a, int flags) { REAL(int, "unlinkat", int, const char *, int); return named(real(x, a, flags), "remove", x, a, 0, 0); }
int rmdir(const char *a) { REAL(int, "rmdir", const char *); return named(real(a), "remove", AT_FDCWD, a, 0, 0); }
int mkdir(const char *a, mode_t mode) { REAL(int, "mkdir", const char *, mode_t); return named(real(a, mode), "mkdir", AT_FDCWD, a, 0, 0); }
int mkdirat(int x, const char *a, mode_t mode) { REAL(int, "mkdirat", int, const char *, mode_t); return named(real(x, a, mode), "mkdir", x, a, 0, 0); }
