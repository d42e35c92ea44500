// One timer and one job: the job owns the gather, so that the series may go while a worker is busy
// with it; whoever is last frees it.
#include "live/account_series.h"

#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define SECOND_NS UINT64_C(1000000000)
#define MS_NS     UINT64_C(1000000)

enum { REST_FACTOR = 200 }; // 0.5 % of a core

typedef struct job {
  uv_work_t request;
  tm_account_series *owner; // NULL once it went
  tm_account_gather *gather;
  tm_ctx ctx;
  tm_account account;
  tm_status status;
  bool running;
} job;

struct tm_account_series {
  tm_ctx *ctx;
  tm_account_series_options options;
  tm_account_series_stats stats;
  uv_timer_t timer;
  job *job;
  uint64_t period_ns, due_ns, rest_until_ns;
  uint32_t seen;               // bits of owners that had something
  double told[TM_OWNER_COUNT]; // handed to the gather between its readings
  tm_account_series *next_waiting;
  bool waiting, has_turn, failing, closing;
};

// ---- names ----

#define OWNER_METRIC(id, name, group, title) "account." name,
static const char *const owner_metrics[TM_OWNER_COUNT] = {
#define TM_OWNER OWNER_METRIC
#include "analyze/accounting.def"
#undef TM_OWNER
};

static const struct {
  const char *metric, *group;
} groups[] = {{"account.go", "go"},
              {"account.jvm", "jvm"},
              {"account.v8", "v8"},
              {"account.c_heap", "c_heap"},
              {"account.files", "files"}};
static const char *const rss_metric = "account.rss";

bool tm_account_metric(const char *metric) {
  if (strncmp(metric, "account.", 8) != 0) return false;
  if (strcmp(metric, rss_metric) == 0 || tm_owner_by_name(metric + 8) != TM_OWNER_COUNT)
    return true;
  for (size_t i = 0; i < TM_COUNT(groups); i++)
    if (strcmp(metric, groups[i].metric) == 0) return true;
  return false;
}

// ---- a reading ----

static void free_job(job *j) {
  tm_account_gather_free(j->gather);
  tm_ctx_fini(&j->ctx);
  free(j);
}

static void give(tm_account_series *s, const char *metric, int64_t time_ns, double value) {
  const tm_sample sample = {
      .metric = metric, .key = "", .unit = TM_UNIT_BYTES, .time_ns = time_ns, .value = value};
  s->options.sample(s->options.ud, &sample);
}

// account.c_heap is the sum of its parts also where these are known.
static void hand_over(tm_account_series *s, const tm_account *account) {
  int64_t time_ns = s->options.now_ns(s->options.ud);
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) {
    if (account->rows[i].bytes > 0 || i == TM_OWNER_UNEXPLAINED) s->seen |= UINT32_C(1) << i;
    if (i != TM_OWNER_C_HEAP && s->seen >> i & 1)
      give(s, owner_metrics[i], time_ns, account->rows[i].bytes);
  }
  for (size_t g = 0; g < TM_COUNT(groups); g++) {
    bool any = false;
    for (size_t i = 0; i < TM_OWNER_COUNT; i++)
      any = any
            || (s->seen >> i & 1
                && strcmp(tm_owner_describe((tm_owner)i)->group, groups[g].group) == 0);
    if (any) give(s, groups[g].metric, time_ns, tm_account_group_bytes(account, groups[g].group));
  }
  give(s, rss_metric, time_ns, account->rss_bytes);
  if (s->options.read_done) s->options.read_done(s->options.ud);
}

static void schedule(tm_account_series *s);

// ---- turns ----

static void start_reading(tm_account_series *s);

static void wait_for_turn(tm_account_series *s) {
  tm_account_turns *t = s->options.turns;
  s->waiting = true;
  s->next_waiting = NULL;
  if (t->last)
    t->last->next_waiting = s;
  else
    t->first = s;
  t->last = s;
}

static void end_turn(tm_account_series *s) {
  tm_account_turns *t = s->options.turns;
  if (!s->has_turn) return;
  s->has_turn = false;
  t->reading_count--;
  tm_account_series *next = t->first;
  if (!next) return;
  t->first = next->next_waiting;
  if (!t->first) t->last = NULL;
  next->waiting = false;
  start_reading(next);
}

static void stop_waiting(tm_account_series *s) {
  if (!s->waiting) return;
  tm_account_turns *t = s->options.turns;
  tm_account_series *before = NULL, *at = t->first;
  for (; at != s; at = at->next_waiting) before = at;
  if (before)
    before->next_waiting = s->next_waiting;
  else
    t->first = s->next_waiting;
  if (t->last == s) t->last = before;
  s->waiting = false;
}

// ---- a turn ----

static void on_read(uv_work_t *request, int cancelled) {
  job *j = request->data;
  tm_account_series *s = j->owner;
  j->running = false;
  if (!s) {
    free_job(j);
    return;
  }
  uint64_t cpu_ns = j->gather ? tm_account_gather_facts(j->gather)->cpu_ns : 0;
  s->stats.cpu_ns += cpu_ns;
  s->rest_until_ns = tm_clock_mono_ns() + REST_FACTOR * cpu_ns;
  bool failed = cancelled || j->status != TM_OK;
  bool news = failed && !s->failing;
  s->failing = failed;
  end_turn(s);
  schedule(s);
  if (failed) {
    s->stats.failures++;
    if (news && !cancelled && j->status != TM_E_GONE)
      s->options.trouble(s->options.ud, j->ctx.error.message);
    return;
  }
  s->stats.readings++;
  hand_over(s, &j->account); // the series may end in it
}

static void read_on_worker(uv_work_t *request) {
  job *j = request->data;
  tm_ctx_clear(&j->ctx);
  j->status = tm_account_gather_read(&j->ctx, j->gather, &j->account);
}

static void take_turn(uv_timer_t *timer) {
  tm_account_series *s = timer->data;
  uint64_t now = tm_clock_mono_ns();
  if (now < s->rest_until_ns) {
    s->stats.put_off++;
    s->due_ns = s->rest_until_ns;
    schedule(s);
    return;
  }
  s->due_ns += s->period_ns;
  if (s->due_ns <= now) s->due_ns = now + s->period_ns;
  const tm_account_turns *t = s->options.turns;
  if (t && t->reading_count >= t->most_readings)
    wait_for_turn(s);
  else
    start_reading(s);
}

static void start_reading(tm_account_series *s) {
  job *j = s->job;
  for (size_t i = 0; i < TM_OWNER_COUNT; i++)
    tm_account_gather_tell(j->gather, (tm_owner)i, s->told[i]);
  if (uv_queue_work(s->options.uv_loop, &j->request, read_on_worker, on_read) != 0) {
    schedule(s);
    return;
  }
  j->running = true;
  if (!s->options.turns) return;
  s->has_turn = true;
  s->options.turns->reading_count++;
}

static void schedule(tm_account_series *s) {
  if (s->closing || s->job->running) return;
  if (!s->period_ns) {
    stop_waiting(s);
    uv_timer_stop(&s->timer);
    return;
  }
  if (s->waiting) return;
  uint64_t now = tm_clock_mono_ns();
  uv_update_time(s->options.uv_loop);
  uv_timer_start(&s->timer, take_turn, s->due_ns > now ? (s->due_ns - now + MS_NS - 1) / MS_NS : 0,
                 0);
}

void tm_account_series_plan(tm_account_series *s, uint64_t every_ns) {
  uint64_t now = tm_clock_mono_ns(), old = s->period_ns;
  s->period_ns = every_ns && every_ns < SECOND_NS ? SECOND_NS : every_ns;
  if (s->period_ns && (!old || s->due_ns > now + s->period_ns)) s->due_ns = now;
  schedule(s);
}

void tm_account_series_tell(tm_account_series *s, tm_owner owner, double bytes) {
  if ((size_t)owner < TM_OWNER_COUNT) s->told[owner] = bytes;
}

// ---- life ----

tm_status tm_account_series_new(tm_ctx *ctx, const tm_account_series_options *options,
                                tm_account_series **out) {
  tm_account_series *s = tm_calloc(ctx, 1, sizeof *s);
  job *j = calloc(1, sizeof *j); // ends on a worker, maybe after the ctx
  if (!s || !j) {
    free(j);
    if (s) tm_free(ctx, s, sizeof *s);
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "no memory for the accounting of RSS");
  }
  tm_ctx_init(&j->ctx, NULL);
  j->request.data = j;
  j->owner = s;
  const tm_account_gather_options gather = {
      .pid = options->pid, .endpoint = options->endpoint, .gentle = true};
  tm_status status = tm_account_gather_open(&j->ctx, &gather, &j->gather);
  if (status != TM_OK) {
    tm_fail(ctx, status, TM_NO_OFFSET, "%s", j->ctx.error.message);
    free_job(j);
    tm_free(ctx, s, sizeof *s);
    return status;
  }
  s->ctx = ctx;
  s->options = *options;
  s->options.endpoint = NULL;
  s->job = j;
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) s->told[i] = NAN;
  uv_timer_init(options->uv_loop, &s->timer); // cannot fail
  s->timer.data = s;
  *out = s;
  return TM_OK;
}

static void on_timer_closed(uv_handle_t *handle) {
  tm_account_series *s = handle->data;
  tm_free(s->ctx, s, sizeof *s);
}

void tm_account_series_free(tm_account_series *s) {
  if (!s) return;
  s->closing = true;
  stop_waiting(s);
  end_turn(s); // what it reads is thrown away
  if (s->job->running)
    s->job->owner = NULL;
  else
    free_job(s->job);
  uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

const tm_account_series_stats *tm_account_series_get_stats(const tm_account_series *s) {
  return &s->stats;
}
