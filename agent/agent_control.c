// The agent's own thread: it listens on a socket of the owner and answers one request after the
// other (agent_wire.h). It is made when there is something to tell for the first time, never before
// the program has begun, with all signals blocked, and its guard is always set: what it allocates
// indirectly is nobody's business.
#include "agent_hooks.h"
#include "agent_serve.h"
#include "agent_tables.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { CLIENTS = 8, STACK_BYTES = 262144, HIGH_FD = 512, WAIT_MS = 1000 };
enum { LOOK_MS = 50 }; // for libraries that came, where the program was not begun with the agent
enum { EARLY_MS = 20, EARLY_SAMPLES = 64 }; // programs and children that end sooner are left alone

enum { ASLEEP, AWAKE, OFF };
static _Atomic int state;
static _Atomic bool is_over, is_ending;
static uint64_t first_sample; // of this process: children begin with their parent's books
static uint32_t first_ms;
static int listener = -1, clients[CLIENTS];
static char folder[64], path[108], exit_path[108];
static int64_t path_pid;

// ---- the socket ----

// Others may have made a folder of that name in /tmp: it must be ours alone.
static bool is_ours(const char *name) {
  struct stat s;
  if (mkdir(name, 0700) != 0 && errno != EEXIST) return false;
  return lstat(name, &s) == 0 && S_ISDIR(s.st_mode) && s.st_uid == geteuid() && !(s.st_mode & 077);
}

static bool choose_folder(void) {
  const char *runtime = getenv("XDG_RUNTIME_DIR");
  if (folder[0]) return is_ours(folder);
  if (runtime && *runtime == '/' && strlen(runtime) < sizeof folder - sizeof "/tidemark") {
    snprintf(folder, sizeof folder, "%s/tidemark", runtime);
    if (is_ours(folder)) return true;
  }
  snprintf(folder, sizeof folder, "/tmp/tidemark-%u", geteuid());
  return is_ours(folder);
}

static bool listen_at_path(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (!choose_folder()) return false;
  path_pid = tm_agent.pid;
  snprintf(path, sizeof path, "%s/%lld.sock", folder, (long long)path_pid);
  memcpy(address.sun_path, path, sizeof path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD); // out of the way of who counts on low numbers
  if (high >= 0) {
    close(fd);
    fd = high;
  }
  unlink(path); // of a process of that number that is gone
  if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && chmod(path, 0600) == 0
      && listen(fd, CLIENTS) == 0) {
    listener = fd;
    if (atomic_load(&is_ending)) unlink(path);
    return true;
  }
  close(fd);
  return false;
}

static void set_timeouts(int fd) {
  const struct timeval wait = {.tv_sec = 10};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
}

static void take_client(void) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0) return;
  bool is_let_in = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0
                   && (peer.uid == geteuid() || peer.uid == 0);
  set_timeouts(fd);
  for (int i = 0; is_let_in && i < CLIENTS; i++)
    if (clients[i] < 0) {
      clients[i] = fd;
      return;
    }
  close(fd);
}

// ---- the thread ----

static void *serve(void *ud) {
  struct pollfd polled[CLIENTS + 1];
  (void)ud;
  tm_self.guard = 1;
  prctl(PR_SET_NAME, "tidemark-agent");
  for (int i = 0; i < CLIENTS; i++) clients[i] = -1;
  while (!atomic_exchange(&is_over, false)) {
    tm_agent_stand_in_front();
    int wait_ms = tm_got_is_patched() ? LOOK_MS : WAIT_MS;
    tm_got_look();
    if (listener < 0 && !listen_at_path()) poll(NULL, 0, WAIT_MS);
    polled[CLIENTS] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (int i = 0; i < CLIENTS; i++)
      polled[i] = (struct pollfd){.fd = clients[i], .events = POLLIN};
    if (listener < 0 || poll(polled, CLIENTS + 1, wait_ms) <= 0) continue;
    if (polled[CLIENTS].revents & POLLNVAL)
      listener = -1; // the program closed what it did not open
    if (polled[CLIENTS].revents & POLLIN) take_client();
    for (int i = 0; i < CLIENTS; i++)
      if (polled[i].revents && !tm_serve_request(clients[i])) {
        if (!(polled[i].revents & POLLNVAL)) close(clients[i]);
        clients[i] = -1;
      }
  }
  for (int i = 0; i < CLIENTS; i++)
    if (clients[i] >= 0) close(clients[i]);
  if (listener >= 0) close(listener);
  listener = -1;
  unlink(path);
  atomic_store(&state, OFF);
  return NULL;
}

void tm_control_begin(void) {
  int was = ASLEEP;
  pthread_attr_t attributes;
  pthread_t thread;
  sigset_t all, old;
  if (atomic_load(&is_ending) || !atomic_compare_exchange_strong(&state, &was, AWAKE)) return;
  uint32_t guard = tm_self.guard;
  tm_self.guard = 1;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  if (pthread_create(&thread, &attributes, serve, NULL) != 0) atomic_store(&state, OFF);
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  tm_self.guard = guard;
}

bool tm_control_holds(int fd) {
  bool is_own = fd == listener;
  for (int i = 0; i < CLIENTS; i++) is_own = is_own || (fd == clients[i] && fd > 0);
  return is_own;
}

void tm_control_wake(void) {
  if (TM_LIKELY(atomic_load_explicit(&state, memory_order_relaxed) != ASLEEP)) return;
  if (tm_agent_sees_all() && tm_live_inserted() - first_sample < EARLY_SAMPLES
      && tm_agent_now_ms() - first_ms < EARLY_MS)
    return;
  tm_control_begin();
}

void tm_control_wake_late(void) {
  if (TM_LIKELY(atomic_load_explicit(&state, memory_order_relaxed) != ASLEEP)) return;
  if (tm_agent_now_ms() - first_ms >= EARLY_MS) tm_control_begin();
}

void tm_control_stop(void) {
  if (atomic_load(&state) == AWAKE) atomic_store(&is_over, true);
}

void tm_control_begin_again(void) {
  int was = OFF;
  atomic_store(&is_over, false);
  atomic_compare_exchange_strong(&state, &was, ASLEEP);
  tm_control_begin();
}

void tm_control_forked(void) {
  if (atomic_load(&state) == AWAKE) {
    if (listener >= 0) close(listener);
    for (int i = 0; i < CLIENTS; i++)
      if (clients[i] > 0) close(clients[i]);
  }
  listener = -1;
  first_sample = tm_live_inserted();
  first_ms = tm_agent_now_ms();
  atomic_store(&is_over, false);
  if (atomic_load(&state) == AWAKE) atomic_store(&state, ASLEEP);
}

// ---- at the end ----

void tm_control_set_exit(const char *to) {
  strncpy(exit_path, to, sizeof exit_path - 1);
}

void tm_control_say_last(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  uint32_t guard = tm_self.guard;
  tm_self.guard = 1;
  atomic_store(&is_ending, true);
  if (path[0] && path_pid == tm_agent.pid) unlink(path);
  int fd = exit_path[0] ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
  if (fd >= 0) {
    memcpy(address.sun_path, exit_path, sizeof exit_path);
    set_timeouts(fd);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) tm_serve_last(fd);
    close(fd);
  }
  tm_self.guard = guard;
}
