// One timer and one job at a time, which is a snapshot or the end of recording. The job outlives
// its owner while a worker has it. After a snapshot the process is left alone for 20 times as long
// as the worker was busy with it; failures back off.
#include "live/handle_shots.h"

#include "base/clock.h"
#include "live/agent_link.h"
#include "live/shot_read.h"
#include "symbol/symbolize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define SECOND_NS    UINT64_C(1000000000)
#define MS_NS        UINT64_C(1000000)
#define MAX_PAUSE_NS (10 * 60 * SECOND_NS)
#define ASK_NS       (5 * SECOND_NS)
#define END_NS       (100 * MS_NS)

enum { REST_FACTOR = 20, METRIC_MAX_BYTES = 64 };

typedef struct job {
  uv_work_t request;
  tm_handle_shots *owner; // NULL once it went
  tm_ctx ctx;
  int64_t pid;
  bool is_end, had_begun; // had_begun: it was us who let it record
  tm_profile *profile;
  tm_status status;
  uint64_t cpu_ns;
} job;

struct tm_handle_shots {
  tm_ctx *ctx;
  tm_handle_shots_options options;
  tm_handle_shots_stats stats;
  uv_timer_t timer;
  job *job;
  char metric[METRIC_MAX_BYTES];
  uint64_t period_ns, pause_ns;
  bool has_begun; // the agent records because of us
  bool closing;
};

bool tm_handle_shot_metric(const char *metric) {
  return strcmp(metric, "agent.handles") == 0 || strncmp(metric, "agent.handles?", 14) == 0;
}

// ---- on the worker ----

static tm_status ask(tm_ctx *ctx, int64_t pid, uint32_t verb, uint64_t timeout_ns,
                     tm_agent_reply *reply, tm_bytes *profile) {
  tm_agent_request request = {
      .fields = {[TM_AGENT_ASK_VERB] = verb, [TM_AGENT_ASK_KINDS] = 1u << TM_AGENT_FD},
      .given = 1u << TM_AGENT_ASK_KINDS};
  return tm_agent_ask(ctx, pid, timeout_ns, &request, reply, profile);
}

static bool is_on(const tm_agent_reply *reply) {
  for (uint32_t i = 0; i < reply->count; i++)
    if (strcmp(reply->values[i].name, "handles_on") == 0) return reply->values[i].value != 0;
  return false;
}

// Recording that somebody else began goes on when we end.
static tm_status begin(job *j) {
  tm_agent_reply reply;
  TM_TRY(ask(&j->ctx, j->pid, TM_AGENT_HELLO, ASK_NS, &reply, NULL));
  if (is_on(&reply)) return TM_OK;
  TM_TRY(ask(&j->ctx, j->pid, TM_AGENT_HANDLES_START, ASK_NS, &reply, NULL));
  j->had_begun = true;
  return TM_OK;
}

static tm_status take(job *j) {
  const tm_symbolize_options names = {.mode = "local"};
  tm_agent_reply reply;
  tm_bytes bytes = {0};
  TM_TRY(begin(j));
  tm_status status = ask(&j->ctx, j->pid, TM_AGENT_SNAPSHOT, ASK_NS, &reply, &bytes);
  if (status == TM_OK)
    status = tm_shot_read(&j->ctx, "agent.handles", bytes.data, bytes.size, &j->profile);
  tm_bytes_free(&j->ctx, &bytes);
  if (status != TM_OK) return status;
  return tm_symbolize(&j->ctx, j->profile, &names, NULL);
}

static void on_worker(uv_work_t *request) {
  job *j = request->data;
  tm_agent_reply reply;
  uint64_t before_ns = tm_clock_thread_cpu_ns();
  j->status =
      j->is_end ? ask(&j->ctx, j->pid, TM_AGENT_HANDLES_STOP, ASK_NS, &reply, NULL) : take(j);
  j->cpu_ns = tm_clock_thread_cpu_ns() - before_ns;
}

// ---- on the loop ----

static void on_timer(uv_timer_t *timer);

static void wait_for(tm_handle_shots *s, uint64_t wait_ns) {
  uv_update_time(s->options.uv_loop);
  uv_timer_start(&s->timer, on_timer, (wait_ns + MS_NS - 1) / MS_NS, 0);
}

static void fail(tm_handle_shots *s) {
  uint64_t longer = s->pause_ns ? 2 * s->pause_ns : 2 * SECOND_NS;
  s->stats.failures++;
  s->pause_ns = longer < MAX_PAUSE_NS ? longer : MAX_PAUSE_NS;
}

static void finish(tm_handle_shots *s, job *j) {
  uint64_t wait_ns = s->period_ns;
  s->stats.cpu_ns += j->cpu_ns;
  if (j->is_end) {
    s->has_begun = false;
  } else {
    s->has_begun = s->has_begun || j->had_begun;
    if (j->status == TM_OK) {
      tm_profile *profile = j->profile;
      j->profile = NULL;
      s->pause_ns = 0;
      s->stats.profiles++;
      if (s->period_ns)
        s->options.profile(s->options.ud, s->metric, s->options.now_ns(s->options.ud), profile);
      else
        tm_profile_free(profile);
    } else {
      fail(s);
    }
  }
  if (wait_ns < s->pause_ns) wait_ns = s->pause_ns;
  if (wait_ns < REST_FACTOR * j->cpu_ns) wait_ns = REST_FACTOR * j->cpu_ns;
  if (s->period_ns || s->has_begun) wait_for(s, s->period_ns ? wait_ns : 0);
}

static void free_job(job *j) {
  tm_profile_free(j->profile);
  tm_ctx_fini(&j->ctx);
  free(j);
}

static void on_worked(uv_work_t *request, int cancelled) {
  job *j = request->data;
  tm_handle_shots *s = j->owner;
  if (cancelled) j->status = TM_E_CANCELLED;
  if (s) {
    s->job = NULL;
    finish(s, j);
  }
  free_job(j);
}

static void on_timer(uv_timer_t *timer) {
  tm_handle_shots *s = timer->data;
  if (s->job || s->closing) return;
  job *j = calloc(1, sizeof *j);
  if (!j) return;
  tm_ctx_init(&j->ctx, NULL);
  j->request.data = j;
  j->owner = s;
  j->pid = s->options.pid;
  j->is_end = s->period_ns == 0;
  if (uv_queue_work(s->options.uv_loop, &j->request, on_worker, on_worked)) {
    free_job(j);
    return;
  }
  s->job = j;
}

void tm_handle_shots_plan(tm_handle_shots *s, const char *metric, uint64_t every_ns) {
  uint64_t before_ns = s->period_ns;
  if (every_ns) {
    snprintf(s->metric, sizeof s->metric, "%s", metric);
    if (every_ns < SECOND_NS) every_ns = SECOND_NS;
  }
  s->period_ns = every_ns;
  if (every_ns == before_ns || s->job) return; // the job plans the next
  s->pause_ns = 0;
  if (every_ns && !before_ns) wait_for(s, 0);
  if (every_ns && before_ns) wait_for(s, every_ns);
  if (!every_ns && s->has_begun) wait_for(s, 0);
  if (!every_ns && !s->has_begun) uv_timer_stop(&s->timer);
}

// ---- life ----

tm_status tm_handle_shots_new(tm_ctx *ctx, const tm_handle_shots_options *options,
                              tm_handle_shots **out) {
  tm_handle_shots *s = tm_calloc(ctx, 1, sizeof *s);
  if (!s) return TM_E_NOMEM;
  s->ctx = ctx;
  s->options = *options;
  uv_timer_init(options->uv_loop, &s->timer); // cannot fail
  s->timer.data = s;
  *out = s;
  return TM_OK;
}

static void on_timer_closed(uv_handle_t *handle) {
  tm_handle_shots *s = handle->data;
  tm_free(s->ctx, s, sizeof *s);
}

void tm_handle_shots_free(tm_handle_shots *s) {
  tm_agent_reply reply;
  tm_ctx ctx;
  if (!s) return;
  s->closing = true;
  if (s->job) s->job->owner = NULL;
  if (s->has_begun) {
    tm_ctx_init(&ctx, NULL);
    if (ask(&ctx, s->options.pid, TM_AGENT_HANDLES_STOP, END_NS, &reply, NULL) != TM_OK)
      tm_ctx_clear(&ctx); // it ended, or has other things to do
    tm_ctx_fini(&ctx);
  }
  uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

const tm_handle_shots_stats *tm_handle_shots_get_stats(const tm_handle_shots *s) {
  return &s->stats;
}
