// Notes what a process does to the files below some folders, and what it says to others, for the test of power cuts.
//
// Preloaded. BANGPATH_TRACE names the file of the notes, BANGPATH_TRACE_BELOW the folders, with colons between. Each note
// is one write to the end of that file, so the notes of all threads and processes have one order. A change is noted
// after it was made, words before they are said, a sync when it begins and when it has ended: so the notes never
// promise more than the disk did. The file `-shm` of SQLite is memory, made anew when it is missing, and left out.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// The same struct is read in recorder.rs; behind it come `path`, `other` and `data`.
struct note {
    uint32_t kind, process, thread, path_len, other_len, data_len;
    uint64_t file, at;
};

static int log_file = -1;
static const char *below;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("BANGPATH_TRACE");
    below = getenv("BANGPATH_TRACE_BELOW");
    if (path && below)
        log_file = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static void put(char kind, uint64_t file, uint64_t at, const char *path, const char *other, const void *data, size_t len) {
    struct note note = {
        .kind = (uint32_t)kind, .process = (uint32_t)getpid(), .thread = (uint32_t)syscall(SYS_gettid),
        .path_len = (uint32_t)strlen(path), .other_len = (uint32_t)strlen(other), .data_len = (uint32_t)len,
        .file = file, .at = at,
    };
    struct iovec parts[4] = {
        {&note, sizeof note}, {(void *)path, note.path_len}, {(void *)other, note.other_len}, {(void *)data, len},
    };
    size_t whole = sizeof note + note.path_len + note.other_len + len;
    // Half a note would spoil all that follow.
    if (syscall(SYS_writev, log_file, parts, 4) != (long)whole)
        abort();
}

// Whether it lies below one of the folders, or is one.
static int is_ours(const char *path) {
    size_t len = strlen(path);
    static const char *const memory[] = {"-shm", "-shm (deleted)"};
    for (int i = 0; i < 2; i++)
        if (len > strlen(memory[i]) && strcmp(path + len - strlen(memory[i]), memory[i]) == 0)
            return 0;
    for (const char *folder = below; folder && *folder;) {
        size_t n = strcspn(folder, ":");
        if (strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == 0))
            return 1;
        folder += n + (folder[n] == ':');
    }
    return 0;
}

static int path_of(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    out[n < 0 ? 0 : n] = 0;
    return n > 0;
}

// The path from the root, with links in its folders followed, and not in its last part.
static int path_at(int folder, const char *name, char *out) {
    char whole[PATH_MAX + 64], parent[PATH_MAX];
    if (name[0] == '/' || folder == AT_FDCWD)
        snprintf(whole, sizeof whole, "%s", name);
    else
        snprintf(whole, sizeof whole, "/proc/self/fd/%d/%s", folder, name);
    for (size_t n = strlen(whole); n > 1 && whole[n - 1] == '/'; n--)
        whole[n - 1] = 0;
    char *slash = strrchr(whole, '/');
    char *last = slash ? slash + 1 : whole;
    if (slash)
        *slash = 0;
    if (!realpath(slash ? (*whole ? whole : "/") : ".", parent))
        return 0;
    return snprintf(out, PATH_MAX, "%s/%s", strcmp(parent, "/") ? parent : "", last) < PATH_MAX;
}

// A file or folder of ours behind this descriptor; its number, or 0.
static uint64_t number_of(int fd, char *path) {
    struct stat found;
    if (log_file < 0 || fd == log_file || fstat(fd, &found) != 0 || !(S_ISREG(found.st_mode) || S_ISDIR(found.st_mode)))
        return 0;
    return path_of(fd, path) && is_ours(path) ? found.st_ino : 0;
}

static int is_an_ear(int fd) {
    struct stat found;
    if (log_file < 0 || fd == log_file || fstat(fd, &found) != 0)
        return 0;
    return S_ISSOCK(found.st_mode) || S_ISFIFO(found.st_mode) || S_ISCHR(found.st_mode);
}

static void *joined(const struct iovec *parts, int count, size_t len) {
    char *all = malloc(len + 1);
    if (!all)
        abort();
    size_t done = 0;
    for (int i = 0; i < count && done < len; i++) {
        size_t n = parts[i].iov_len < len - done ? parts[i].iov_len : len - done;
        memcpy(all + done, parts[i].iov_base, n);
        done += n;
    }
    return all;
}

static size_t total(const struct iovec *parts, int count) {
    size_t len = 0;
    for (int i = 0; i < count; i++)
        len += parts[i].iov_len;
    return len;
}

static void say(int fd, const struct iovec *parts, int count) {
    if (!is_an_ear(fd))
        return;
    size_t len = total(parts, count);
    char *all = joined(parts, count, len);
    put('A', (uint64_t)fd, 0, "", "", all, len);
    free(all);
}

static void written(int fd, off_t at, const struct iovec *parts, int count, ssize_t len) {
    int error = errno;
    char path[PATH_MAX];
    uint64_t file = len > 0 ? number_of(fd, path) : 0;
    if (file) {
        if (at < 0)
            at = lseek(fd, 0, SEEK_CUR) - len;
        char *all = joined(parts, count, (size_t)len);
        put('W', file, (uint64_t)at, path, "", all, (size_t)len);
        free(all);
    }
    errno = error;
}

ssize_t write(int fd, const void *bytes, size_t len) {
    struct iovec part = {(void *)bytes, len};
    say(fd, &part, 1);
    ssize_t n = syscall(SYS_write, fd, bytes, len);
    written(fd, -1, &part, 1, n);
    return n;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    say(fd, parts, count);
    ssize_t n = syscall(SYS_writev, fd, parts, count);
    written(fd, -1, parts, count, n);
    return n;
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    struct iovec part = {(void *)bytes, len};
    ssize_t n = syscall(SYS_pwrite64, fd, bytes, len, at);
    written(fd, at, &part, 1, n);
    return n;
}
ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) { return pwrite64(fd, bytes, len, at); }

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    ssize_t n = syscall(SYS_pwritev, fd, parts, count, at, 0);
    written(fd, at, parts, count, n);
    return n;
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return pwritev64(fd, parts, count, at); }

ssize_t sendto(int fd, const void *bytes, size_t len, int flags, const struct sockaddr *to, socklen_t to_len) {
    struct iovec part = {(void *)bytes, len};
    say(fd, &part, 1);
    return syscall(SYS_sendto, fd, bytes, len, flags, to, to_len);
}
ssize_t send(int fd, const void *bytes, size_t len, int flags) { return sendto(fd, bytes, len, flags, 0, 0); }

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    say(fd, message->msg_iov, (int)message->msg_iovlen);
    return syscall(SYS_sendmsg, fd, message, flags);
}

// The program may try these, and has to do without them: what they copy we could not note.
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t len, unsigned flags) {
    (void)in, (void)in_at, (void)out, (void)out_at, (void)len, (void)flags;
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t len) {
    (void)out, (void)in, (void)at, (void)len;
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile(int out, int in, off_t *at, size_t len) { return sendfile64(out, in, (off64_t *)at, len); }
ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t len, unsigned flags) {
    (void)in, (void)in_at, (void)out, (void)out_at, (void)len, (void)flags;
    errno = EINVAL;
    return -1;
}

static void cut_to(int fd, uint64_t len) {
    int error = errno;
    char path[PATH_MAX];
    uint64_t file = number_of(fd, path);
    if (file)
        put('T', file, len, path, "", 0, 0);
    errno = error;
}

static int open_at(int folder, const char *name, int flags, unsigned mode) {
    int error = errno;
    struct stat before;
    int is_new = log_file >= 0 && (flags & O_CREAT) && fstatat(folder, name, &before, 0) != 0;
    errno = error;
    int fd = (int)syscall(SYS_openat, folder, name, flags, mode);
    error = errno;
    char path[PATH_MAX];
    uint64_t file = fd >= 0 && (flags & (O_CREAT | O_TRUNC)) ? number_of(fd, path) : 0;
    // Without a name (O_TMPFILE) it is lost in any case.
    if (file && is_new)
        put('C', file, 0, path, "", 0, 0);
    else if (file && (flags & O_TRUNC))
        put('T', file, 0, path, "", 0, 0);
    errno = error;
    return fd;
}

#define MODE(flags)                                  \
    unsigned mode = 0;                               \
    if ((flags) & (O_CREAT | O_TMPFILE)) {           \
        va_list rest;                                \
        va_start(rest, flags);                       \
        mode = va_arg(rest, unsigned);               \
        va_end(rest);                                \
    }
int open(const char *name, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, name, flags, mode); }
int openat(int folder, const char *name, int flags, ...) { MODE(flags) return open_at(folder, name, flags, mode); }
int openat64(int folder, const char *name, int flags, ...) { MODE(flags) return open_at(folder, name, flags, mode); }
int creat(const char *name, mode_t mode) { return open_at(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *name, mode_t mode) { return open_at(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int ftruncate64(int fd, off64_t len) {
    int done = (int)syscall(SYS_ftruncate, fd, len);
    if (done == 0)
        cut_to(fd, (uint64_t)len);
    return done;
}
int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }

// Nobody needs it; what it does to a file we could not note in full.
int fallocate64(int fd, int mode, off64_t at, off64_t len) {
    char path[PATH_MAX];
    if (number_of(fd, path)) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, at, len);
}
int fallocate(int fd, int mode, off_t at, off_t len) { return fallocate64(fd, mode, at, len); }

static int sync_file(int fd, long call) {
    char path[PATH_MAX];
    uint64_t file = number_of(fd, path);
    if (file)
        put('s', file, 0, path, "", 0, 0);
    int done = (int)syscall(call, fd);
    int error = errno;
    if (file && done == 0)
        put('S', file, 0, path, "", 0, 0);
    errno = error;
    return done;
}
int fsync(int fd) { return sync_file(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }

// Names: `a` and, of a second one, `b`, as they are before the change.
static int named(int kind, int done, const char *a, const char *b) {
    int error = errno;
    if (done == 0 && (is_ours(a) || is_ours(b)))
        put((char)kind, 0, 0, a, b, 0, 0);
    errno = error;
    return done;
}

static void before(int folder, const char *name, char *out) {
    int error = errno;
    if (log_file < 0 || !path_at(folder, name, out))
        out[0] = 0;
    errno = error;
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    char a[PATH_MAX], b[PATH_MAX];
    before(from_folder, from, a), before(to_folder, to, b);
    return named('R', (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags), a, b);
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return renameat2(from_folder, from, to_folder, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    char a[PATH_MAX], b[PATH_MAX];
    before(from_folder, from, a), before(to_folder, to, b);
    return named('L', (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags), a, b);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int folder, const char *name, int flags) {
    char a[PATH_MAX];
    before(folder, name, a);
    return named('U', (int)syscall(SYS_unlinkat, folder, name, flags), a, "");
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int folder, const char *name, mode_t mode) {
    char a[PATH_MAX];
    int done = (int)syscall(SYS_mkdirat, folder, name, mode);
    int error = errno;
    struct stat made;
    // Before its own name is known to be there, its path has to be found through the folder above it.
    if (done == 0 && log_file >= 0 && path_at(folder, name, a) && is_ours(a) && lstat(a, &made) == 0)
        put('M', made.st_ino, 0, a, "", 0, 0);
    errno = error;
    return done;
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }
