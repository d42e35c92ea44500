// Private to tidemark*.c: the engine as a host holds it.
#ifndef TM_TIDEMARK_IMPL_H
#define TM_TIDEMARK_IMPL_H

#include "base/vec.h"
#include "engine/runner.h"
#include "host/functions.h"
#include "host/rulehost.h"
#include "host/rulewatch.h"
#include "tidemark.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

enum { TM_EMBED_FOLDERS = 16 };

// What another thread asked for.
typedef struct posted_call {
  struct posted_call *next;
  void (*fn)(tm_embed *engine, void *ud);
  void *ud;
} posted_call;

// An action of the host.
typedef struct host_action {
  tm_embed *engine;
  tm_call_fn fn;
  void *ud;
} host_action;

// A report format of the host.
typedef struct host_format {
  char name[64];
  tm_render_fn fn;
  void *ud;
} host_format;

typedef struct host_loop host_loop; // tidemark_loop.c

struct tm_embed {
  tm_ctx ctx;
  tm_config config;
  tm_engine *engine;
  tm_runner *runner; // NULL: virtual time
  tm_functions *functions;
  tm_rulehost *rules;
  tm_rulewatch *folders[TM_EMBED_FOLDERS];
  size_t folder_count;
  TM_VEC(tm_target *) targets; // retained for the host
  TM_VEC(host_action *) actions;
  TM_VEC(host_format) formats;
  tm_notice_fn notice_fn;
  void *notice_ud;
  _Atomic(pthread_t) owner;
  pthread_t thread;
  bool has_thread, has_beat;
  int inside; // callbacks and loop runs under way
  bool dirty; // something may be due that the loop has not seen yet
  pthread_mutex_t post_lock;
  posted_call *first_post, *last_post;
  uv_async_t post_signal;
  uv_timer_t deadline; // of tm_poll
  bool has_handles;
  host_loop *host_loop; // NULL: the host drives it
};

// Begins a call: forgets the last error and checks the thread. TM_E_THREAD leaves the message of
// the owner alone.
tm_status tm_embed_enter(tm_embed *e);

// Records what the engine's own context says, when a call of the engine failed.
tm_status tm_embed_fail(tm_embed *e, tm_status status);

// One turn of the inner loop without waiting.
void tm_embed_turn(tm_embed *e);

// Runs what other threads posted.
void tm_embed_run_posted(tm_embed *e);

// Lets a loop of the host run the engine; begins to end that (its handles close later, then done is
// called).
tm_status tm_embed_join_loop(tm_embed *e, void *uv_loop);
void tm_embed_leave_loop(tm_embed *e, void (*done)(void *ud), void *ud);

// Subscribes to what the engine tells.
tm_status tm_embed_listen(tm_embed *e);

#endif
