// Who opens what: one case for each line of input, "done" for each that is done; functions leak_*
// hold what they opened. The first line of output is the process's number. Built by spec/live with
// -O1 -g; with -DX11, linked to libX11, it makes pixmaps, too.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEAK(name) __attribute__((noinline)) static void name(void)
#define KEEP       __asm__ volatile("" ::: "memory") // no tail call

static const char own[] = "/proc/self/exe";

// ---- plain ----

LEAK(leak_file) {
  open(own, O_RDONLY);
  KEEP;
}
LEAK(open_and_close) {
  close(open(own, O_RDONLY));
  KEEP;
}
static void plain(void) {
  for (int i = 0; i < 20; i++) leak_file();
  for (int i = 0; i < 1000; i++) open_and_close();
}

// ---- every way to open ----

LEAK(leak_openat) {
  openat(AT_FDCWD, own, O_RDONLY);
  KEEP;
}
LEAK(leak_mkstemp) {
  char path[] = "/tmp/handle_cases.XXXXXX";
  mkstemp(path);
  unlink(path);
}
LEAK(leak_fopen) {
  fopen(own, "r");
  KEEP;
}
LEAK(leak_freopen) {
  FILE *f = fopen(own, "r");
  freopen("/proc/self/status", "r", f);
  KEEP;
}
LEAK(leak_tmpfile) {
  tmpfile();
  KEEP;
}
LEAK(leak_popen) {
  popen("exec sleep 30", "r");
  KEEP;
}
LEAK(leak_opendir) {
  opendir("/");
  KEEP;
}
LEAK(leak_socket) {
  socket(AF_UNIX, SOCK_STREAM, 0);
  KEEP;
}
static int pair[2];
LEAK(leak_socketpair) {
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  KEEP;
}
LEAK(leak_pipe) {
  pipe(pair);
  KEEP;
}
LEAK(leak_pipe2) {
  pipe2(pair, O_CLOEXEC);
  KEEP;
}
static int listener(void) {
  struct sockaddr_un any = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  bind(fd, (struct sockaddr *)&any, sizeof(sa_family_t)); // the kernel chooses a name
  listen(fd, 8);
  socklen_t size = sizeof any;
  getsockname(fd, (struct sockaddr *)&any, &size);
  for (int i = 0; i < 2; i++) {
    int to = socket(AF_UNIX, SOCK_STREAM, 0);
    connect(to, (struct sockaddr *)&any, size);
  }
  return fd;
}
static int at;
LEAK(leak_accept) {
  accept(at, NULL, NULL);
  KEEP;
}
LEAK(leak_accept4) {
  accept4(at, NULL, NULL, SOCK_CLOEXEC);
  KEEP;
}
LEAK(leak_dup) {
  dup(0);
  KEEP;
}
LEAK(leak_fcntl) {
  fcntl(0, F_DUPFD_CLOEXEC, 100);
  KEEP;
}
LEAK(leak_epoll) {
  epoll_create1(0);
  KEEP;
}
LEAK(leak_eventfd) {
  eventfd(0, 0);
  KEEP;
}
LEAK(leak_timerfd) {
  timerfd_create(CLOCK_MONOTONIC, 0);
  KEEP;
}
LEAK(leak_inotify) {
  inotify_init1(0);
  KEEP;
}
LEAK(leak_signalfd) {
  sigset_t none;
  sigemptyset(&none);
  signalfd(-1, &none, 0);
  KEEP;
}
LEAK(leak_memfd) {
  int fd = memfd_create("leak", 0);
  ftruncate(fd, 1 << 20);
  if (fallocate(fd, 0, 0, 1 << 20) != 0) abort();
  dup(fd); // the same bytes
}
LEAK(leak_shm) {
  char name[64];
  snprintf(name, sizeof name, "/handle_cases.%d", getpid());
  shm_open(name, O_RDWR | O_CREAT, 0600);
  shm_unlink(name);
}
static void send_two(int to) {
  union {
    char room[CMSG_SPACE(2 * sizeof(int))];
    struct cmsghdr head;
  } control = {{0}};
  int two[2] = {0, 1};
  char byte = 0;
  struct iovec data = {&byte, 1};
  struct msghdr m = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  control.head = (struct cmsghdr){
      .cmsg_len = CMSG_LEN(sizeof two), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(&control.head), two, sizeof two);
  sendmsg(to, &m, 0);
}
LEAK(leak_received) {
  char room[256], byte;
  struct iovec data = {&byte, 1};
  struct msghdr m = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
  recvmsg(at, &m, 0);
  KEEP;
}
LEAK(leak_buffer) { // as a heap of dma-bufs answers; a library behind the agent does here
  struct {
    uint64_t size;
    uint32_t fd, fd_flags;
    uint64_t heap_flags;
  } ask = {1 << 20, 0, 0, 0};
  ioctl(0, 0xc0184800, &ask);
  KEEP;
}
static void every(void) {
  leak_openat(), leak_mkstemp(), leak_fopen(), leak_freopen(), leak_tmpfile(), leak_popen();
  leak_opendir(), leak_socket(), leak_pipe(), leak_pipe2();
  at = listener();
  leak_accept(), leak_accept4(), leak_dup(), leak_fcntl(), leak_epoll(), leak_eventfd();
  leak_timerfd(), leak_inotify(), leak_signalfd(), leak_memfd(), leak_shm();
  leak_socketpair();
  send_two(pair[0]);
  at = pair[1];
  leak_received();
  leak_buffer();
}

// ---- every way to close ----

LEAK(open_for_closing) {
  int fd = open(own, O_RDONLY), other = dup(fd);
  close(fd), close(other);
  fclose(fopen(own, "r"));
  fclose(fdopen(open(own, O_RDONLY), "r"));
  closedir(opendir("/"));
  closedir(fdopendir(open("/", O_RDONLY)));
  pclose(popen("true", "r"));
  pipe(pair);
  close_range((unsigned)pair[0], (unsigned)pair[0], 0);
  close_range((unsigned)pair[1], (unsigned)pair[1], 0);
  close(-1), close(1 << 30), fclose(tmpfile());
}
static void closes(void) {
  for (int i = 0; i < 50; i++) open_for_closing();
}

// ---- numbers that change their meaning ----

static int first = -1;
LEAK(opens_first) {
  first = open(own, O_RDONLY);
}
LEAK(leak_over) {
  dup2(0, first);
  KEEP;
}
static void over(void) {
  opens_first();
  leak_over();
  dup2(first, first);
}

LEAK(opens_behind_the_back) {
  int fd = open(own, O_RDONLY);
  syscall(SYS_close, fd);
  if (syscall(SYS_openat, AT_FDCWD, "/proc/self/status", O_RDONLY) != fd) abort();
}

LEAK(leak_before_vfork) {
  first = open(own, O_RDONLY);
}
static void vforks(void) {
  leak_before_vfork();
  pid_t child = vfork();
  if (child == 0) {
    close(first);
    dup2(0, first);
    _exit(0);
  }
  waitpid(child, NULL, 0);
}

// ---- children and threads ----

static pid_t child;
LEAK(leak_in_child) {
  open(own, O_RDONLY);
  KEEP;
}
static void busy(void) { // so that somebody listens
  static void *volatile kept;
  for (int i = 0; i < 100; i++) kept = malloc(10);
  usleep(50000);
  for (int i = 0; i < 10; i++) kept = malloc(10);
}
static void forks(void) {
  leak_file();
  child = fork();
  if (child == 0) {
    for (int i = 0; i < 5; i++) leak_in_child();
    busy();
    pause();
  }
  printf("%d\n", child);
}

LEAK(leak_storm) {
  open(own, O_RDONLY);
  KEEP;
}
static void *storm_thread(void *ud) {
  (void)ud;
  for (int i = 0; i < 2000; i++) {
    open_and_close();
    if (i % 200 == 0) leak_storm();
  }
  return NULL;
}
static void storm(void) {
  pthread_t threads[16];
  for (int i = 0; i < 16; i++) pthread_create(&threads[i], NULL, storm_thread, NULL);
  for (int i = 0; i < 16; i++) pthread_join(threads[i], NULL);
}

// ---- pixmaps ----

#ifdef X11
void *XOpenDisplay(const char *name);
unsigned long XDefaultRootWindow(void *display);
unsigned long XCreatePixmap(void *display, unsigned long drawable, unsigned width, unsigned height,
                            unsigned depth);
int XFreePixmap(void *display, unsigned long pixmap);
int XCloseDisplay(void *display);
static void *display;
LEAK(leak_pixmap) {
  XCreatePixmap(display, XDefaultRootWindow(display), 64, 64, 24);
  KEEP;
}
LEAK(made_and_freed) {
  XFreePixmap(display, XCreatePixmap(display, XDefaultRootWindow(display), 64, 64, 24));
  KEEP;
}
static void pixmaps(void) {
  display = XOpenDisplay(NULL);
  if (!display) exit(1);
  for (int i = 0; i < 2000; i++) {
    made_and_freed();
    if (i % 10 == 0) leak_pixmap();
  }
}
static void hang_up(void) {
  XCloseDisplay(display);
}
#else
static void pixmaps(void) {
}
static void hang_up(void) {
}
#endif

static const struct {
  const char *name;
  void (*run)(void);
} cases[] = {
    {"plain", plain},     {"every", every},     {"closes", closes}, {"over", over},
    {"vforks", vforks},   {"forks", forks},     {"storm", storm},   {"raw", opens_behind_the_back},
    {"hang_up", hang_up}, {"pixmaps", pixmaps}, {"busy", busy}};

int main(void) {
  char line[64];
  printf("%d\n", getpid());
  fflush(stdout);
  busy();
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
      if (strcmp(cases[i].name, line) == 0) cases[i].run();
    puts("done");
    fflush(stdout);
  }
  if (child) kill(child, SIGKILL);
  return 0;
}
