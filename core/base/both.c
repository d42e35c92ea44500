// A thread costs some 20 us: for work of milliseconds only.
#include "base/both.h"

#include <pthread.h>
#include <stddef.h>

typedef struct half {
  void (*fn)(void *half);
  void *arg;
} half;

static void *run(void *arg) {
  const half *h = arg;
  h->fn(h->arg);
  return NULL;
}

void tm_do_both(void (*fn)(void *half), void *first, void *second) {
  pthread_t thread;
  half h = {fn, first};
  if (pthread_create(&thread, NULL, run, &h) != 0) {
    fn(first);
    fn(second);
    return;
  }
  fn(second);
  pthread_join(thread, NULL);
}
