/* A disk that fails: calls of libc below one folder fail as a shared page says. For LD_PRELOAD.

   The page (a file, named by FAULTY_DISK, mapped by every process) is written by tests/faulty_disk.py; this only
   counts in it. All processes of a command count together, so "the n-th write" is the command's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAKE, WRITE, SYNC, RENAME, FOLDER, LINK, LENGTH, REMOVE, OPEN, READ, KINDS };
enum { ONCE, FROM, SHORT, HALF };

struct page {
    int32_t kinds, error, mode, unused; /* which calls (bits), their errno, how; kinds 0: none fails */
    int64_t nth, seen, hits;            /* from 1; calls that matched; calls that failed or were cut short */
    int64_t counts[16];                 /* of every kind below the folder */
    char folder[PATH_MAX], path[PATH_MAX]; /* where; of the first call that failed */
};

static struct page *page;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("FAULTY_DISK");
    int file = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *found = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (found != MAP_FAILED) page = found;
}

static int below(const char *path) {
    size_t length = strlen(page->folder);
    return length && !strncmp(path, page->folder, length) && (path[length] == '/' || !path[length]);
}

/* Whether the call is to fail: 0 no, 1 yes (errno is set), 2 a write is to be cut short. */
static int fails(int kind, const char *path) {
    if (!below(path)) return 0;
    __atomic_add_fetch(&page->counts[kind], 1, __ATOMIC_SEQ_CST);
    if (!(page->kinds & (1 << kind))) return 0;
    int64_t seen = __atomic_add_fetch(&page->seen, 1, __ATOMIC_SEQ_CST);
    int64_t behind = seen - page->nth;
    if (behind < 0 || (page->mode == ONCE && behind > 0)) return 0;
    if (page->mode == SHORT && kind != WRITE) return 0;
    if (__atomic_add_fetch(&page->hits, 1, __ATOMIC_SEQ_CST) == 1) strncpy(page->path, path, PATH_MAX - 1);
    if (page->mode == SHORT || (page->mode == HALF && !behind && kind == WRITE)) return 2;
    errno = page->error;
    return 1;
}

static int fails_at(int kind, int folder, const char *name) {
    char where[2 * PATH_MAX + 2] = "", link[64];
    if (!page || !page->folder[0] || !name) return 0;
    int before = errno;
    if (name[0] != '/') {
        if (folder == AT_FDCWD) {
            if (!getcwd(where, PATH_MAX)) where[0] = 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t length = readlink(link, where, PATH_MAX - 1);
            where[length < 0 ? 0 : length] = 0;
        }
        strcat(where, "/");
    }
    strncat(where, name, PATH_MAX);
    errno = before;
    return fails(kind, where);
}

static int fails_on(int kind, int file) {
    char where[PATH_MAX], link[64];
    if (!page || !page->folder[0]) return 0;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, where, PATH_MAX - 1);
    errno = before;
    if (length <= 0) return 0;
    where[length] = 0;
    return fails(kind, where);
}

#define REAL(name, result, ...)                              \
    static result (*real)(__VA_ARGS__);                      \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static int kind_of(int flags) {
    return flags & (O_CREAT | O_TRUNC) || (flags & O_TMPFILE) == O_TMPFILE ? MAKE : OPEN;
}

#define OPENS(name)                                                                     \
    int name(const char *path, int flags, ...) {                                        \
        REAL(name, int, const char *, int, ...);                                        \
        va_list more;                                                                   \
        va_start(more, flags);                                                          \
        mode_t mode = va_arg(more, mode_t);                                             \
        va_end(more);                                                                   \
        return fails_at(kind_of(flags), AT_FDCWD, path) ? -1 : real(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                                                      \
    int name(int folder, const char *path, int flags, ...) {                                \
        REAL(name, int, int, const char *, int, ...);                                       \
        va_list more;                                                                       \
        va_start(more, flags);                                                              \
        mode_t mode = va_arg(more, mode_t);                                                 \
        va_end(more);                                                                       \
        return fails_at(kind_of(flags), folder, path) ? -1 : real(folder, path, flags, mode); \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

#define STREAMS(name)                                                              \
    FILE *name(const char *path, const char *how) {                                \
        REAL(name, FILE *, const char *, const char *);                            \
        int kind = how[0] == 'r' ? OPEN : MAKE;                                    \
        return fails_at(kind, AT_FDCWD, path) ? NULL : real(path, how);            \
    }
STREAMS(fopen)
STREAMS(fopen64)

ssize_t write(int file, const void *content, size_t size) {
    REAL(write, ssize_t, int, const void *, size_t);
    int found = fails_on(WRITE, file);
    return found == 1 ? -1 : real(file, content, found == 2 && size > 1 ? size / 2 : size);
}

#define WRITES_AT(name, offset_t)                                                              \
    ssize_t name(int file, const void *content, size_t size, offset_t at) {                    \
        REAL(name, ssize_t, int, const void *, size_t, offset_t);                              \
        int found = fails_on(WRITE, file);                                                     \
        return found == 1 ? -1 : real(file, content, found == 2 && size > 1 ? size / 2 : size, at); \
    }
WRITES_AT(pwrite, off_t)
WRITES_AT(pwrite64, off64_t)

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(writev, ssize_t, int, const struct iovec *, int);
    int found = fails_on(WRITE, file);
    return found == 1 ? -1 : real(file, parts, found == 2 && count > 1 ? count / 2 : count);
}

#define SENDS(name, offset_t)                                                 \
    ssize_t name(int to, int from, offset_t *at, size_t size) {               \
        REAL(name, ssize_t, int, int, offset_t *, size_t);                    \
        int found = fails_on(WRITE, to);                                      \
        return found == 1 ? -1 : real(to, from, at, found == 2 && size > 1 ? size / 2 : size); \
    }
SENDS(sendfile, off_t)
SENDS(sendfile64, off64_t)

ssize_t read(int file, void *content, size_t size) {
    REAL(read, ssize_t, int, void *, size_t);
    return fails_on(READ, file) ? -1 : real(file, content, size);
}

#define READS_AT(name, offset_t)                                        \
    ssize_t name(int file, void *content, size_t size, offset_t at) {   \
        REAL(name, ssize_t, int, void *, size_t, offset_t);             \
        return fails_on(READ, file) ? -1 : real(file, content, size, at); \
    }
READS_AT(pread, off_t)
READS_AT(pread64, off64_t)

#define ON_FILE(name, kind)                             \
    int name(int file) {                                \
        REAL(name, int, int);                           \
        return fails_on(kind, file) ? -1 : real(file);  \
    }
ON_FILE(fsync, SYNC)
ON_FILE(fdatasync, SYNC)

#define LENGTHS(name, offset_t)                                        \
    int name(int file, offset_t size) {                                \
        REAL(name, int, int, offset_t);                                \
        return fails_on(LENGTH, file) ? -1 : real(file, size);         \
    }
LENGTHS(ftruncate, off_t)
LENGTHS(ftruncate64, off64_t)

int rename(const char *old, const char *new) {
    REAL(rename, int, const char *, const char *);
    return fails_at(RENAME, AT_FDCWD, new) ? -1 : real(old, new);
}
int renameat(int from, const char *old, int to, const char *new) {
    REAL(renameat, int, int, const char *, int, const char *);
    return fails_at(RENAME, to, new) ? -1 : real(from, old, to, new);
}
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir, int, const char *, mode_t);
    return fails_at(FOLDER, AT_FDCWD, path) ? -1 : real(path, mode);
}
int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(mkdirat, int, int, const char *, mode_t);
    return fails_at(FOLDER, folder, path) ? -1 : real(folder, path, mode);
}
int link(const char *old, const char *new) {
    REAL(link, int, const char *, const char *);
    return fails_at(LINK, AT_FDCWD, new) ? -1 : real(old, new);
}
int symlink(const char *old, const char *new) {
    REAL(symlink, int, const char *, const char *);
    return fails_at(LINK, AT_FDCWD, new) ? -1 : real(old, new);
}
int unlink(const char *path) {
    REAL(unlink, int, const char *);
    return fails_at(REMOVE, AT_FDCWD, path) ? -1 : real(path);
}
int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat, int, int, const char *, int);
    return fails_at(REMOVE, folder, path) ? -1 : real(folder, path, flags);
}
int rmdir(const char *path) {
    REAL(rmdir, int, const char *);
    return fails_at(REMOVE, AT_FDCWD, path) ? -1 : real(path);
}
