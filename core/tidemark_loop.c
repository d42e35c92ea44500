// Ways to run. An engine always has a libuv loop of its own; it is turned by a thread, by tm_poll,
// or by a loop of the host, which watches the inner loop's descriptor and its next timer. So a
// closing engine can finish its own loop at once and leaves only three handles to the host's.
#include "tidemark_impl.h"

#include <limits.h>

void tm_embed_turn(tm_embed *e) {
  e->dirty = false;
  e->inside++;
  uv_run(tm_runner_loop(e->runner), UV_RUN_NOWAIT);
  e->inside--;
}

// ---- posting ----

tm_status tm_post(tm_embed *engine, void (*fn)(tm_embed *engine, void *ud), void *ud) {
  if (!engine || !fn) return TM_E_ARG;
  const tm_allocator *alloc = &engine->ctx.alloc;
  posted_call *p = alloc->realloc_fn(alloc->ud, NULL, 0, sizeof *p);
  if (!p) return TM_E_NOMEM;
  *p = (posted_call){NULL, fn, ud};
  pthread_mutex_lock(&engine->post_lock);
  if (engine->last_post)
    engine->last_post->next = p;
  else
    engine->first_post = p;
  engine->last_post = p;
  pthread_mutex_unlock(&engine->post_lock);
  if (engine->has_handles) uv_async_send(&engine->post_signal);
  return TM_OK;
}

void tm_embed_run_posted(tm_embed *e) {
  pthread_mutex_lock(&e->post_lock);
  posted_call *p = e->first_post;
  e->first_post = e->last_post = NULL;
  pthread_mutex_unlock(&e->post_lock);
  e->inside++;
  while (p) {
    posted_call *next = p->next;
    p->fn(e, p->ud);
    tm_free(&e->ctx, p, sizeof *p);
    p = next;
  }
  e->inside--;
}

// ---- a thread of its own ----

static void *run_thread(void *arg) {
  tm_embed *e = arg;
  atomic_store(&e->owner, pthread_self());
  e->inside++;
  tm_runner_run(e->runner, false);
  e->inside--;
  return NULL;
}

tm_status tm_start_thread(tm_embed *engine) {
  TM_TRY(tm_embed_enter(engine));
  if (engine->inside || engine->has_thread) return TM_E_BUSY;
  if (!engine->runner || engine->host_loop)
    return tm_fail(&engine->ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "an engine in virtual time or in a loop of the host has no thread");
  // From here on the engine may belong to the new thread: nothing of it is written behind this.
  engine->has_thread = true;
  int problem = pthread_create(&engine->thread, NULL, run_thread, engine);
  if (!problem) return TM_OK;
  engine->has_thread = false;
  return tm_fail_errno(&engine->ctx, problem, "cannot start a thread");
}

// ---- the host polls ----

static void on_deadline(uv_timer_t *timer) {
  (void)timer; // it only ends the waiting
}

tm_status tm_poll(tm_embed *engine, int32_t timeout_ms) {
  TM_TRY(tm_embed_enter(engine));
  if (engine->inside) return TM_E_BUSY;
  if (engine->host_loop)
    return tm_fail(&engine->ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "the host's loop runs it");
  if (!engine->runner) {
    tm_embed_run_posted(engine);
    return TM_OK;
  }
  if (timeout_ms > 0) {
    uv_update_time(tm_runner_loop(engine->runner));
    uv_timer_start(&engine->deadline, on_deadline, (uint64_t)timeout_ms, 0);
  }
  engine->dirty = false;
  engine->inside++;
  uv_run(tm_runner_loop(engine->runner), timeout_ms ? UV_RUN_ONCE : UV_RUN_NOWAIT);
  engine->inside--;
  uv_timer_stop(&engine->deadline);
  return TM_OK;
}

int tm_backend_fd(const tm_embed *engine) {
  return engine && engine->runner ? uv_backend_fd(tm_runner_loop(engine->runner)) : -1;
}

int32_t tm_next_timeout_ms(tm_embed *engine) {
  if (!engine || !engine->runner) return -1;
  if (engine->dirty) return 0;
  uv_loop_t *loop = tm_runner_loop(engine->runner);
  uv_update_time(loop);
  return uv_backend_timeout(loop);
}

// ---- a loop of the host ----

struct host_loop {
  tm_allocator alloc;
  tm_embed *engine; // NULL once it is closed
  uv_poll_t poll;
  uv_timer_t timer;
  uv_prepare_t prepare;
  int open; // handles
  void (*done)(void *ud);
  void *done_ud;
};

static void on_readable(uv_poll_t *poll, int status, int events) {
  (void)status, (void)events;
  host_loop *h = poll->data;
  tm_embed_turn(h->engine);
}

static void on_due(uv_timer_t *timer) {
  host_loop *h = timer->data;
  tm_embed_turn(h->engine);
}

// Before the host's loop sleeps, it is told how long it may.
static void on_prepare(uv_prepare_t *prepare) {
  host_loop *h = prepare->data;
  if (h->engine->dirty) tm_embed_turn(h->engine);
  int32_t wait_ms = tm_next_timeout_ms(h->engine);
  uv_update_time(prepare->loop);
  if (wait_ms < 0)
    uv_timer_stop(&h->timer);
  else
    uv_timer_start(&h->timer, on_due, (uint64_t)wait_ms, 0);
}

static void on_left(uv_handle_t *handle) {
  host_loop *h = handle->data;
  if (--h->open) return;
  if (h->done) h->done(h->done_ud);
  h->alloc.realloc_fn(h->alloc.ud, h, sizeof *h, 0);
}

tm_status tm_embed_join_loop(tm_embed *e, void *uv_loop) {
  host_loop *h = tm_calloc(&e->ctx, 1, sizeof *h);
  if (!h) return TM_E_NOMEM;
  h->alloc = e->ctx.alloc;
  h->engine = e;
  if (uv_poll_init(uv_loop, &h->poll, tm_backend_fd(e)) != 0) {
    tm_free(&e->ctx, h, sizeof *h);
    return tm_fail(&e->ctx, TM_E_IO, TM_NO_OFFSET, "the host's loop cannot watch a descriptor");
  }
  uv_timer_init(uv_loop, &h->timer);
  uv_prepare_init(uv_loop, &h->prepare);
  h->poll.data = h->timer.data = h->prepare.data = h;
  h->open = 3;
  uv_poll_start(&h->poll, UV_READABLE, on_readable);
  uv_prepare_start(&h->prepare, on_prepare);
  e->dirty = true;
  e->host_loop = h;
  return TM_OK;
}

void tm_embed_leave_loop(tm_embed *e, void (*done)(void *ud), void *ud) {
  host_loop *h = e->host_loop;
  e->host_loop = NULL;
  h->done = done;
  h->done_ud = ud;
  h->engine = NULL;
  uv_close((uv_handle_t *)&h->poll, on_left);
  uv_close((uv_handle_t *)&h->timer, on_left);
  uv_close((uv_handle_t *)&h->prepare, on_left);
}
