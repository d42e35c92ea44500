// A list under a lock. The loop takes it whole and runs it in slices, so that a thousand posts do
// not keep it from its other handles; what is posted meanwhile waits behind them.
#include "engine/mailbox.h"

#include "base/clock.h"

#include <string.h>

void tm_mailbox_init(tm_mailbox *box, tm_ctx *ctx) {
  memset(box, 0, sizeof *box);
  box->ctx = ctx;
  pthread_mutex_init(&box->lock, NULL);
  for (size_t i = 0; i < TM_MAILBOX_SPARE; i++) {
    box->spare[i].next = box->spare_first;
    box->spare_first = &box->spare[i];
  }
}

void tm_mailbox_fini(tm_mailbox *box) {
  pthread_mutex_destroy(&box->lock);
}

void tm_mailbox_post(tm_mailbox *box, void (*fn)(void *arg), void *arg) {
  tm_mail *m = box->ctx->alloc.realloc_fn(box->ctx->alloc.ud, NULL, 0, sizeof *m);
  pthread_mutex_lock(&box->lock);
  if (!m && (m = box->spare_first)) box->spare_first = m->next;
  if (m) {
    *m = (tm_mail){NULL, fn, arg};
    if (box->last)
      box->last->next = m;
    else
      box->first = m;
    box->last = m;
  }
  pthread_mutex_unlock(&box->lock);
}

static void end_mail(tm_mailbox *box, tm_mail *m) {
  if (m < box->spare || m >= box->spare + TM_MAILBOX_SPARE) {
    tm_free(box->ctx, m, sizeof *m);
    return;
  }
  pthread_mutex_lock(&box->lock);
  m->next = box->spare_first;
  box->spare_first = m;
  pthread_mutex_unlock(&box->lock);
}

static void take(tm_mailbox *box) {
  if (box->taken) return;
  pthread_mutex_lock(&box->lock);
  box->taken = box->first;
  box->first = box->last = NULL;
  pthread_mutex_unlock(&box->lock);
}

static void run_taken(tm_mailbox *box, uint64_t until_ns) {
  while (box->taken && tm_clock_mono_ns() < until_ns) {
    tm_mail *m = box->taken;
    box->taken = m->next;
    m->fn(m->arg);
    end_mail(box, m);
  }
}

bool tm_mailbox_run(tm_mailbox *box, uint64_t slice_ns) {
  take(box);
  run_taken(box, tm_clock_mono_ns() + slice_ns);
  take(box);
  return box->taken != NULL;
}

void tm_mailbox_run_all(tm_mailbox *box) {
  run_taken(box, UINT64_MAX);
  take(box);
  run_taken(box, UINT64_MAX);
}
