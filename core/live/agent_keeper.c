// A thread that waits at a socket for what a program says at its end, and asks it for a snapshot in
// between: programs that leave by exit_group (Go, a signal) say nothing at the end.
#include "base/clock.h"
#include "live/agent_link_impl.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TICK_MS = 100, BACKLOG = 16 };
#define ASK_NS  UINT64_C(20000000000)
#define LAST_NS UINT64_C(10000000000)

struct tm_agent_keeper {
  tm_allocator alloc;
  char path[108];
  int listener;
  pthread_t thread;
  atomic_bool is_over;
  _Atomic int64_t pid;
  _Atomic uint64_t period_ns;
  tm_bytes newest; // by alloc; the thread's until it was joined
  char reason[TM_AGENT_TEXT_BYTES];
};

static void keep(tm_agent_keeper *k, tm_ctx *ctx, tm_bytes *profile) {
  tm_bytes old = k->newest;
  k->newest = *profile;
  *profile = old;
  tm_bytes_free(ctx, profile);
  *profile = (tm_bytes){0};
}

// Somebody dials: a program, or a child of it that has our socket in its environment.
static void on_last_words(tm_agent_keeper *k, tm_ctx *ctx) {
  struct ucred peer = {0};
  socklen_t size = sizeof peer;
  tm_agent_reply reply = {0};
  tm_bytes profile = {0};
  tm_channel channel = {.fd = accept4(k->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (channel.fd < 0) return;
  channel.deadline_ns = tm_clock_mono_ns() + LAST_NS;
  int64_t pid = atomic_load(&k->pid);
  if (getsockopt(channel.fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0
      && (pid == 0 || peer.pid == pid)) {
    tm_status status = tm_agent_read_reply(ctx, &channel, true, &reply, &profile);
    if (status == TM_OK) keep(k, ctx, &profile);
    if (status == TM_E_UNSUPPORTED) snprintf(k->reason, sizeof k->reason, "%s", reply.text);
    tm_ctx_clear(ctx);
  }
  tm_bytes_free(ctx, &profile);
  tm_channel_close(&channel);
}

static void on_period(tm_agent_keeper *k, tm_ctx *ctx) {
  tm_agent_request ask = {.fields[TM_AGENT_ASK_VERB] = TM_AGENT_SNAPSHOT};
  tm_agent_reply reply;
  tm_bytes profile = {0};
  if (tm_agent_ask(ctx, atomic_load(&k->pid), ASK_NS, &ask, &reply, &profile) == TM_OK)
    keep(k, ctx, &profile);
  tm_ctx_clear(ctx); // it listens a while after it began, and no more when it ended
  tm_bytes_free(ctx, &profile);
}

static bool is_dialled(const tm_agent_keeper *k, int wait_ms) {
  struct pollfd fd = {k->listener, POLLIN, 0};
  return poll(&fd, 1, wait_ms) > 0;
}

static void *run(void *ud) {
  tm_agent_keeper *k = ud;
  tm_ctx ctx;
  tm_ctx_init(&ctx, &k->alloc);
  uint64_t asked_ns = tm_clock_mono_ns();
  while (!atomic_load(&k->is_over)) {
    if (is_dialled(k, TICK_MS)) on_last_words(k, &ctx);
    uint64_t period_ns = atomic_load(&k->period_ns);
    if (!period_ns || tm_clock_mono_ns() - asked_ns < period_ns) continue;
    on_period(k, &ctx);
    asked_ns = tm_clock_mono_ns();
  }
  while (is_dialled(k, 0)) on_last_words(k, &ctx);
  tm_ctx_fini(&ctx);
  return NULL;
}

tm_status tm_agent_keeper_new(tm_ctx *ctx, const char *folder, tm_agent_keeper **out) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  tm_agent_keeper *k = tm_calloc(ctx, 1, sizeof *k);
  if (!k) return TM_E_NOMEM;
  k->alloc = ctx->alloc;
  snprintf(k->path, sizeof k->path, "%s/last.sock", folder);
  memcpy(address.sun_path, k->path, sizeof k->path);
  k->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (k->listener >= 0 && bind(k->listener, (struct sockaddr *)&address, sizeof address) == 0
      && listen(k->listener, BACKLOG) == 0 && pthread_create(&k->thread, NULL, run, k) == 0) {
    *out = k;
    return TM_OK;
  }
  if (k->listener >= 0) close(k->listener);
  unlink(k->path);
  tm_free(ctx, k, sizeof *k);
  return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "cannot listen in %s", folder);
}

const char *tm_agent_keeper_path(const tm_agent_keeper *k) {
  return k->path;
}

void tm_agent_keeper_watch(tm_agent_keeper *k, int64_t pid, uint64_t period_ns) {
  atomic_store(&k->pid, pid);
  atomic_store(&k->period_ns, period_ns);
}

tm_status tm_agent_keeper_end(tm_ctx *ctx, tm_agent_keeper *k, tm_bytes *out, char *reason) {
  atomic_store(&k->is_over, true);
  pthread_join(k->thread, NULL);
  close(k->listener);
  unlink(k->path);
  tm_status status = TM_OK;
  if (k->newest.size) status = tm_bytes_append(ctx, out, k->newest.data, k->newest.size);
  snprintf(reason, TM_AGENT_TEXT_BYTES, "%s", k->reason);
  tm_bytes_free(ctx, &k->newest);
  tm_free(ctx, k, sizeof *k);
  return status;
}
