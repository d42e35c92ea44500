// The calls by which C gets and gives back descriptors. libc's own calls to them do not come by
// here, so those of its functions that open or close something stand here, too. Each calls the one
// it replaces and then, while handles are recorded, the recorder.
#include "agent_handles.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define HERE __builtin_frame_address(0)

static struct {
  int (*open)(const char *, int, ...);
  int (*openat)(int, const char *, int, ...);
  int (*open_2)(const char *, int);
  int (*openat_2)(int, const char *, int);
  int (*creat)(const char *, mode_t);
  int (*mkstemp)(char *);
  int (*mkostemp)(char *, int);
  int (*mkstemps)(char *, int);
  int (*mkostemps)(char *, int, int);
  int (*shm_open)(const char *, int, mode_t);
  int (*memfd_create)(const char *, unsigned);
  int (*posix_openpt)(int);
  int (*socket)(int, int, int);
  int (*socketpair)(int, int, int, int[2]);
  int (*accept)(int, struct sockaddr *, socklen_t *);
  int (*accept4)(int, struct sockaddr *, socklen_t *, int);
  ssize_t (*recvmsg)(int, struct msghdr *, int);
  int (*pipe)(int[2]);
  int (*pipe2)(int[2], int);
  int (*dup)(int);
  int (*dup2)(int, int);
  int (*dup3)(int, int, int);
  int (*fcntl)(int, int, ...);
  int (*ioctl)(int, unsigned long, ...); // NOLINT(google-runtime-int): as libc declares it
  int (*epoll_create)(int);
  int (*epoll_create1)(int);
  int (*eventfd)(unsigned, int);
  int (*timerfd_create)(int, int);
  int (*signalfd)(int, const sigset_t *, int);
  int (*inotify_init)(void);
  int (*inotify_init1)(int);
  int (*pidfd_open)(pid_t, unsigned);
  FILE *(*fopen)(const char *, const char *);
  FILE *(*freopen)(const char *, const char *, FILE *);
  FILE *(*tmpfile)(void);
  FILE *(*popen)(const char *, const char *);
  DIR *(*opendir)(const char *);
  int (*close)(int);
  int (*close_range)(unsigned, unsigned, int);
  void (*closefrom)(int);
  int (*fclose)(FILE *);
  int (*pclose)(FILE *);
  int (*closedir)(DIR *);
} next;

// The call of the one that is replaced. Not every libc has all: what is not there cannot be done.
#define IS_FOUND(name)           (TM_LIKELY(next.name != NULL) || is_found(#name, &next.name))
#define CALL(name, failed, ...)  (IS_FOUND(name) ? next.name(__VA_ARGS__) : (failed))
#define CALL_PLAIN(name, failed) (IS_FOUND(name) ? next.name() : (failed))

static TM_NOINLINE bool is_found(const char *name, void *slot) {
  char full[32] = "__";
  size_t size = strlen(name);
  bool is_fortified = size > 2 && strcmp(name + size - 2, "_2") == 0;
  if (is_fortified) memcpy(full + 2, name, size + 1);
  return tm_handle_find(is_fortified ? full : name, slot);
}

static inline int opened(int fd, const void *frame) {
  if (tm_handles_are_asked() && fd >= 0) tm_handle_opened(fd, frame);
  return fd;
}

static inline int opened_both(int answer, const int pair[2], const void *frame) {
  if (tm_handles_are_asked() && answer == 0) {
    tm_handle_opened(pair[0], frame);
    tm_handle_opened(pair[1], frame);
  }
  return answer;
}

static inline void closing(int fd) {
  if (tm_handles_are_known()) tm_handle_closing(fd);
}

// ---- files ----

static mode_t mode_of(int flags, va_list rest) {
  bool is_made = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
  return is_made ? va_arg(rest, mode_t) : 0;
}

static int hook_open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = mode_of(flags, rest);
  va_end(rest);
  return opened(CALL(open, -1, path, flags, mode), HERE);
}

static int hook_openat(int folder, const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = mode_of(flags, rest);
  va_end(rest);
  return opened(CALL(openat, -1, folder, path, flags, mode), HERE);
}

// A function that answers a descriptor.
#define OPENER(name, parameters, ...)                                                              \
  static int hook_##name parameters {                                                              \
    return opened(CALL(name, -1, __VA_ARGS__), HERE);                                              \
  }

OPENER(open_2, (const char *path, int flags), path, flags)
OPENER(openat_2, (int folder, const char *path, int flags), folder, path, flags)
OPENER(creat, (const char *path, mode_t mode), path, mode)
OPENER(mkstemp, (char *path), path)
OPENER(mkostemp, (char *path, int flags), path, flags)
OPENER(mkstemps, (char *path, int size), path, size)
OPENER(mkostemps, (char *path, int size, int flags), path, size, flags)
OPENER(shm_open, (const char *name, int flags, mode_t mode), name, flags, mode)
OPENER(memfd_create, (const char *name, unsigned flags), name, flags)
OPENER(posix_openpt, (int flags), flags)

// ---- sockets and pipes ----

OPENER(socket, (int family, int type, int protocol), family, type, protocol)
OPENER(accept, (int fd, struct sockaddr *from, socklen_t *size), fd, from, size)
OPENER(accept4, (int fd, struct sockaddr *from, socklen_t *size, int flags), fd, from, size, flags)

static int hook_socketpair(int family, int type, int protocol, int pair[2]) {
  return opened_both(CALL(socketpair, -1, family, type, protocol, pair), pair, HERE);
}

static int hook_pipe(int pair[2]) {
  return opened_both(CALL(pipe, -1, pair), pair, HERE);
}

static int hook_pipe2(int pair[2], int flags) {
  return opened_both(CALL(pipe2, -1, pair, flags), pair, HERE);
}

static void received(const struct msghdr *message, const void *frame) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c;
       c = CMSG_NXTHDR((struct msghdr *)message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      tm_handle_opened(fd, frame);
    }
  }
}

static ssize_t hook_recvmsg(int fd, struct msghdr *message, int flags) {
  ssize_t got = CALL(recvmsg, -1, fd, message, flags);
  if (tm_handles_are_asked() && got >= 0 && message->msg_controllen) received(message, HERE);
  return got;
}

// ---- copies ----

OPENER(dup, (int fd), fd)

// What had the number is closed by it.
static int hook_dup2(int fd, int to) {
  if (fd != to) closing(to);
  int made = CALL(dup2, -1, fd, to);
  return fd == to ? made : opened(made, HERE);
}

static int hook_dup3(int fd, int to, int flags) {
  if (fd != to) closing(to);
  return opened(CALL(dup3, -1, fd, to, flags), HERE);
}

static int hook_fcntl(int fd, int command, ...) {
  va_list rest;
  va_start(rest, command);
  void *argument = va_arg(rest, void *); // a number comes the same way
  va_end(rest);
  int answer = CALL(fcntl, -1, fd, command, argument);
  bool is_copy = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
  return is_copy ? opened(answer, HERE) : answer;
}

// Requests that answer a descriptor in a structure. Source: <drm.h>, <linux/dma-heap.h>,
// <linux/videodev2.h>, <linux/udmabuf.h>.
static int fd_of_request(uint64_t request, int answer, const void *argument) {
  static const struct {
    uint64_t request;
    uint32_t at; // of the descriptor
  } rows[] = {{0xc00c642d, 8}, {0xc0184800, 8}, {0xc0405610, 20}};
  int fd = -1;
  if (request == 0x40187542 || request == 0x40087543) return answer;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (rows[i].request == request && argument)
      memcpy(&fd, (const uint8_t *)argument + rows[i].at, sizeof fd);
  return fd;
}

static int hook_ioctl(int fd, unsigned long request, ...) { // NOLINT(google-runtime-int)
  va_list rest;
  va_start(rest, request);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  int answer = CALL(ioctl, -1, fd, request, argument);
  if (tm_handles_are_asked() && answer >= 0)
    tm_handle_opened(fd_of_request((uint32_t)request, answer, argument), HERE);
  return answer;
}

// ---- others ----

OPENER(epoll_create, (int size), size)
OPENER(epoll_create1, (int flags), flags)
OPENER(eventfd, (unsigned value, int flags), value, flags)
OPENER(timerfd_create, (int clock, int flags), clock, flags)
OPENER(inotify_init1, (int flags), flags)
OPENER(pidfd_open, (pid_t pid, unsigned flags), pid, flags)

static int hook_inotify_init(void) {
  return opened(CALL_PLAIN(inotify_init, -1), HERE);
}

static int hook_signalfd(int fd, const sigset_t *mask,
                         int flags) { // fd: one that is changed, or -1
  int made = CALL(signalfd, -1, fd, mask, flags);
  return fd == -1 ? opened(made, HERE) : made;
}

// ---- streams ----

static inline FILE *opened_stream(FILE *stream, const void *frame) {
  if (tm_handles_are_asked() && stream) tm_handle_opened(fileno(stream), frame);
  return stream;
}

static void closing_stream(FILE *stream) {
  int kept_errno = errno;
  if (stream) tm_handle_closing(fileno(stream));
  errno = kept_errno;
}

static FILE *hook_fopen(const char *path, const char *mode) {
  return opened_stream(CALL(fopen, NULL, path, mode), HERE);
}

static FILE *hook_freopen(const char *path, const char *mode, FILE *stream) {
  if (tm_handles_are_known()) closing_stream(stream);
  return opened_stream(CALL(freopen, NULL, path, mode, stream), HERE);
}

static FILE *hook_tmpfile(void) {
  return opened_stream(CALL_PLAIN(tmpfile, NULL), HERE);
}

static FILE *hook_popen(const char *command, const char *mode) {
  return opened_stream(CALL(popen, NULL, command, mode), HERE);
}

static DIR *hook_opendir(const char *path) {
  DIR *folder = CALL(opendir, NULL, path);
  if (tm_handles_are_asked() && folder) tm_handle_opened(dirfd(folder), HERE);
  return folder;
}

// ---- giving back ----

static int hook_close(int fd) {
  closing(fd);
  return CALL(close, -1, fd);
}

static int hook_close_range(unsigned first, unsigned last, int flags) {
  enum { CLOSED_AT_EXEC = 4 };
  if (tm_handles_are_known() && !(flags & CLOSED_AT_EXEC)) tm_handle_closing_range(first, last);
  return CALL(close_range, -1, first, last, flags);
}

static void hook_closefrom(int first) {
  if (tm_handles_are_known()) tm_handle_closing_range(first > 0 ? (uint32_t)first : 0, UINT32_MAX);
  if (IS_FOUND(closefrom)) next.closefrom(first);
}

static int hook_fclose(FILE *stream) {
  if (tm_handles_are_known()) closing_stream(stream);
  return CALL(fclose, -1, stream);
}

static int hook_pclose(FILE *stream) {
  if (tm_handles_are_known()) closing_stream(stream);
  return CALL(pclose, -1, stream);
}

static int hook_closedir(DIR *folder) {
  if (tm_handles_are_known() && folder) tm_handle_closing(dirfd(folder));
  return CALL(closedir, -1, folder);
}

void tm_handles_begin(void) {
  (void)(IS_FOUND(open) && IS_FOUND(close) && IS_FOUND(dup) && IS_FOUND(dup2) && IS_FOUND(fcntl)
         && IS_FOUND(pipe));
}

// ---- the names ----

#define HANDLE(name, hook)                                                                         \
  { name, (void (*)(void))hook_##hook, &next.hook }

const tm_agent_hook tm_descriptor_hooks[] = {
    HANDLE("open", open),
    HANDLE("open64", open),
    HANDLE("openat", openat),
    HANDLE("openat64", openat),
    HANDLE("__open_2", open_2),
    HANDLE("__open64_2", open_2),
    HANDLE("__openat_2", openat_2),
    HANDLE("__openat64_2", openat_2),
    HANDLE("creat", creat),
    HANDLE("creat64", creat),
    HANDLE("mkstemp", mkstemp),
    HANDLE("mkstemp64", mkstemp),
    HANDLE("mkostemp", mkostemp),
    HANDLE("mkostemp64", mkostemp),
    HANDLE("mkstemps", mkstemps),
    HANDLE("mkstemps64", mkstemps),
    HANDLE("mkostemps", mkostemps),
    HANDLE("mkostemps64", mkostemps),
    HANDLE("shm_open", shm_open),
    HANDLE("memfd_create", memfd_create),
    HANDLE("posix_openpt", posix_openpt),
    HANDLE("socket", socket),
    HANDLE("socketpair", socketpair),
    HANDLE("accept", accept),
    HANDLE("accept4", accept4),
    HANDLE("recvmsg", recvmsg),
    HANDLE("pipe", pipe),
    HANDLE("pipe2", pipe2),
    HANDLE("dup", dup),
    HANDLE("dup2", dup2),
    HANDLE("dup3", dup3),
    HANDLE("fcntl", fcntl),
    HANDLE("fcntl64", fcntl),
    HANDLE("ioctl", ioctl),
    HANDLE("epoll_create", epoll_create),
    HANDLE("epoll_create1", epoll_create1),
    HANDLE("eventfd", eventfd),
    HANDLE("timerfd_create", timerfd_create),
    HANDLE("signalfd", signalfd),
    HANDLE("inotify_init", inotify_init),
    HANDLE("inotify_init1", inotify_init1),
    HANDLE("pidfd_open", pidfd_open),
    HANDLE("fopen", fopen),
    HANDLE("fopen64", fopen),
    HANDLE("freopen", freopen),
    HANDLE("freopen64", freopen),
    HANDLE("tmpfile", tmpfile),
    HANDLE("tmpfile64", tmpfile),
    HANDLE("popen", popen),
    HANDLE("opendir", opendir),
    HANDLE("close", close),
    HANDLE("close_range", close_range),
    HANDLE("closefrom", closefrom),
    HANDLE("fclose", fclose),
    HANDLE("pclose", pclose),
    HANDLE("closedir", closedir),
    {0},
};

// NOLINTBEGIN(readability-identifier-naming): the names of others
#define ALIAS(hook) TM_EXPORT __attribute__((alias("hook_" #hook)))
ALIAS(open) int open(const char *, int, ...);
ALIAS(open) int open64(const char *, int, ...);
ALIAS(openat) int openat(int, const char *, int, ...);
ALIAS(openat) int openat64(int, const char *, int, ...);
ALIAS(open_2) int __open_2(const char *, int);
ALIAS(open_2) int __open64_2(const char *, int);
ALIAS(openat_2) int __openat_2(int, const char *, int);
ALIAS(openat_2) int __openat64_2(int, const char *, int);
ALIAS(creat) int creat(const char *, mode_t);
ALIAS(creat) int creat64(const char *, mode_t);
ALIAS(mkstemp) int mkstemp(char *);
ALIAS(mkstemp) int mkstemp64(char *);
ALIAS(mkostemp) int mkostemp(char *, int);
ALIAS(mkostemp) int mkostemp64(char *, int);
ALIAS(mkstemps) int mkstemps(char *, int);
ALIAS(mkstemps) int mkstemps64(char *, int);
ALIAS(mkostemps) int mkostemps(char *, int, int);
ALIAS(mkostemps) int mkostemps64(char *, int, int);
ALIAS(shm_open) int shm_open(const char *, int, mode_t);
ALIAS(memfd_create) int memfd_create(const char *, unsigned);
ALIAS(posix_openpt) int posix_openpt(int);
ALIAS(socket) int socket(int, int, int);
ALIAS(socketpair) int socketpair(int, int, int, int[2]);
ALIAS(accept) int accept(int, __SOCKADDR_ARG, socklen_t *);
ALIAS(accept4) int accept4(int, __SOCKADDR_ARG, socklen_t *, int);
ALIAS(recvmsg) ssize_t recvmsg(int, struct msghdr *, int);
ALIAS(pipe) int pipe(int[2]);
ALIAS(pipe2) int pipe2(int[2], int);
ALIAS(dup) int dup(int);
ALIAS(dup2) int dup2(int, int);
ALIAS(dup3) int dup3(int, int, int);
ALIAS(fcntl) int fcntl(int, int, ...);
ALIAS(fcntl) int fcntl64(int, int, ...);
ALIAS(ioctl) int ioctl(int, unsigned long, ...);
ALIAS(epoll_create) int epoll_create(int);
ALIAS(epoll_create1) int epoll_create1(int);
ALIAS(eventfd) int eventfd(unsigned, int);
ALIAS(timerfd_create) int timerfd_create(int, int);
ALIAS(signalfd) int signalfd(int, const sigset_t *, int);
ALIAS(inotify_init) int inotify_init(void);
ALIAS(inotify_init1) int inotify_init1(int);
ALIAS(pidfd_open) int pidfd_open(pid_t, unsigned);
ALIAS(fopen) FILE *fopen(const char *, const char *);
ALIAS(fopen) FILE *fopen64(const char *, const char *);
ALIAS(freopen) FILE *freopen(const char *, const char *, FILE *);
ALIAS(freopen) FILE *freopen64(const char *, const char *, FILE *);
ALIAS(tmpfile) FILE *tmpfile(void);
ALIAS(tmpfile) FILE *tmpfile64(void);
ALIAS(popen) FILE *popen(const char *, const char *);
ALIAS(opendir) DIR *opendir(const char *);
ALIAS(close) int close(int);
ALIAS(close_range) int close_range(unsigned, unsigned, int);
ALIAS(closefrom) void closefrom(int);
ALIAS(fclose) int fclose(FILE *);
ALIAS(pclose) int pclose(FILE *);
ALIAS(closedir) int closedir(DIR *);
// NOLINTEND(readability-identifier-naming)
