// Work for the thread of a loop, posted from any thread.
#ifndef TM_ENGINE_MAILBOX_H
#define TM_ENGINE_MAILBOX_H

#include "base/ctx.h"

#include <pthread.h>

enum { TM_MAILBOX_SPARE = 64 };

typedef struct tm_mail {
  struct tm_mail *next;
  void (*fn)(void *arg);
  void *arg;
} tm_mail;

typedef struct tm_mailbox {
  tm_ctx *ctx;
  pthread_mutex_t lock;
  tm_mail *first, *last; // what was posted; the loop moves it to:
  tm_mail *taken;        // what is being run, the loop's own
  // For moments without memory: a lost post would lose what it owns.
  tm_mail spare[TM_MAILBOX_SPARE], *spare_first;
} tm_mailbox;

void tm_mailbox_init(tm_mailbox *box, tm_ctx *ctx);
// What was not run is dropped: run it before.
void tm_mailbox_fini(tm_mailbox *box);

// Any thread. The poster wakes the loop.
void tm_mailbox_post(tm_mailbox *box, void (*fn)(void *arg), void *arg);

// On the loop's thread: runs what was posted, in order, until it is late by slice_ns; true = there
// is more, the loop is to be woken again.
bool tm_mailbox_run(tm_mailbox *box, uint64_t slice_ns);

// Runs all that was posted before, and the rest of what was begun.
void tm_mailbox_run_all(tm_mailbox *box);

#endif
