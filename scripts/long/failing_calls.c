/* Makes system calls fail: loaded before the C library by calls.py.
 *
 * FAIL_UNDER    folder; calls on files in it count
 * FAIL_KIND     write | read | sync | rename | open
 * FAIL_AT       number of the call that fails, from 1
 * FAIL_ON       1: and all after it (a full disk), else that one alone
 * FAIL_ERRNO    what it fails with
 * FAIL_COUNT    file; the number of calls is written there at the end
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;

/* One variable once: the environment does not change while a program runs. */
static const char *setting(const char *name) {
  const char *value = getenv(name);
  return value ? value : "";
}

static int counts(const char *kind, const char *path) {
  const char *under = setting("FAIL_UNDER");
  return *under && !strcmp(kind, setting("FAIL_KIND")) && !strncmp(path, under, strlen(under));
}

static int of_file(int fd, char *path, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, size - 1);
  path[length > 0 ? length : 0] = 0;
  return length > 0;
}

/* Whether this call is one that fails. */
static int fails(const char *kind, const char *path) {
  if (!counts(kind, path)) return 0;
  long at = atol(setting("FAIL_AT")), now = atomic_fetch_add(&calls, 1) + 1;
  if (at == 0 || now < at || (now > at && strcmp(setting("FAIL_ON"), "1"))) return 0;
  errno = atoi(setting("FAIL_ERRNO"));
  return 1;
}

static int fails_fd(const char *kind, int fd) {
  char path[4096];
  int before = errno;
  if (!of_file(fd, path, sizeof path)) {
    errno = before;
    return 0;
  }
  errno = before;
  return fails(kind, path);
}

__attribute__((destructor)) static void told(void) {
  const char *path = setting("FAIL_COUNT");
  if (!*path) return;
  FILE *file = fopen(path, "w");
  if (file) fprintf(file, "%ld\n", atomic_load(&calls)), fclose(file);
}

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

ssize_t write(int fd, const void *data, size_t size) {
  if (fails_fd("write", fd)) return -1;
  return NEXT(ssize_t (*)(int, const void *, size_t), "write")(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (fails_fd("write", fd)) return -1;
  return NEXT(ssize_t (*)(int, const struct iovec *, int), "writev")(fd, parts, count);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  if (fails_fd("write", fd)) return -1;
  return NEXT(ssize_t (*)(int, const void *, size_t, off64_t), "pwrite64")(fd, data, size, at);
}

ssize_t copy_file_range(int from, off64_t *in, int to, off64_t *out, size_t size, unsigned flags) {
  if (fails_fd("write", to)) return -1;
  return NEXT(ssize_t (*)(int, off64_t *, int, off64_t *, size_t, unsigned), "copy_file_range")(from, in, to, out, size, flags);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t size) {
  if (fails_fd("write", to)) return -1;
  return NEXT(ssize_t (*)(int, int, off64_t *, size_t), "sendfile64")(to, from, at, size);
}

int ftruncate64(int fd, off64_t size) {
  if (fails_fd("write", fd)) return -1;
  return NEXT(int (*)(int, off64_t), "ftruncate64")(fd, size);
}

ssize_t read(int fd, void *data, size_t size) {
  if (fails_fd("read", fd)) return -1;
  return NEXT(ssize_t (*)(int, void *, size_t), "read")(fd, data, size);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
  if (fails_fd("read", fd)) return -1;
  return NEXT(ssize_t (*)(int, void *, size_t, off64_t), "pread64")(fd, data, size, at);
}

int fsync(int fd) {
  if (fails_fd("sync", fd)) return -1;
  return NEXT(int (*)(int), "fsync")(fd);
}

int fdatasync(int fd) {
  if (fails_fd("sync", fd)) return -1;
  return NEXT(int (*)(int), "fdatasync")(fd);
}

int rename(const char *from, const char *to) {
  if (fails("rename", to)) return -1;
  return NEXT(int (*)(const char *, const char *), "rename")(from, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
  if (fails("rename", to)) return -1;
  return NEXT(int (*)(int, const char *, int, const char *, int), "linkat")(a, from, b, to, flags);
}

int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
  va_end(more);
  if (flags & (O_WRONLY | O_RDWR) && fails("open", path)) return -1;
  return NEXT(int (*)(const char *, int, ...), "open64")(path, flags, mode);
}
