// One timer stands at the earliest row that is due. A turn is: ask, read the answer on a worker,
// hand over, plan the next. The body that the worker reads and the profile that it makes belong to
// a work record of their own, so that the feed may go while a worker is busy. After
// the take of a trace, no other is asked for until tracing was on for 1 % of the time.
#include "live/app_profiles.h"

#include "base/clock.h"
#include "live/shot_read.h"
#include "net/http_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS    UINT64_C(1000000000)
#define MS_NS        UINT64_C(1000000)
#define MAX_PAUSE_NS (10 * 60 * SECOND_NS)

enum {
  WANTS_MAX = 16,
  METRIC_MAX_BYTES = 64,
  RUNNING_MAX = 2,
  REST_FACTOR = 50,
  TRACE_FACTOR = 100, // tracing is on for at most one part of so many
  TRACE_MAX_S = 10,
  TURN_MS = 250
};

typedef struct row {
  char metric[METRIC_MAX_BYTES];
  uint64_t period_ns, due_ns, pause_ns; // of the monotone clock; pause: what failures ask for
  bool failing;
} row;

typedef struct work {
  uv_work_t request;
  tm_app_profiles *owner; // NULL once it went
  tm_ctx ctx;
  tm_bytes body;
  tm_profile *profile;
  tm_status status;
  uint64_t cpu_ns;
  int64_t time_ns;
  char metric[METRIC_MAX_BYTES];
} work;

struct tm_app_profiles {
  tm_ctx *ctx;
  tm_app_profiles_options options;
  tm_app_profiles_stats stats;
  uv_timer_t timer;
  tm_http_call *call;
  work *reading;
  row rows[WANTS_MAX];
  size_t row_count;
  char asked[METRIC_MAX_BYTES]; // metric of the turn under way
  uint64_t asked_ns, rest_until_ns, trace_rest_until_ns;
  char address[TM_URL_FORMAT_MAX];
  const char *headers, *ca_file; // the endpoint's
  bool busy, closing;
};

bool tm_app_profile_metric(const char *metric) {
  return strncmp(metric, "pprof.", 6) == 0 || strncmp(metric, "go.goroutines", 13) == 0
         || strcmp(metric, "trace.go") == 0 || strncmp(metric, "trace.go?", 9) == 0;
}

// How long the take of "trace.go?seconds=0.5" traces; 0 = it is no trace.
static uint64_t traced_ns(const char *metric) {
  const char *mark = strchr(metric, '=');
  if (!tm_shot_is_trace(metric)) return 0;
  double seconds = mark ? strtod(mark + 1, NULL) : 1;
  if (!(seconds > 0.001)) seconds = 0.001;
  return (uint64_t)((seconds < TRACE_MAX_S ? seconds : TRACE_MAX_S) * 1e9);
}

// "pprof.heap?gc=1" -> heap, gc=1; "go.goroutines" -> goroutine, debug=2; "trace.go" -> trace,
// seconds=1
static void split_metric(const char *metric, char name[METRIC_MAX_BYTES],
                         char query[METRIC_MAX_BYTES]) {
  const char *mark = strchr(metric, '?');
  size_t head = mark ? (size_t)(mark - metric) : strlen(metric);
  query[0] = '\0';
  if (tm_shot_is_trace(metric)) {
    memcpy(name, "trace", sizeof "trace");
    snprintf(query, METRIC_MAX_BYTES, "seconds=%g", (double)traced_ns(metric) / 1e9);
  } else if (strncmp(metric, "go.", 3) == 0) {
    memcpy(name, "goroutine", sizeof "goroutine");
    memcpy(query, "debug=2", sizeof "debug=2");
  } else {
    snprintf(name, METRIC_MAX_BYTES, "%.*s", (int)head - 6, metric + 6);
    if (mark) snprintf(query, METRIC_MAX_BYTES, "%s", mark + 1);
  }
}

static void take_turn(uv_timer_t *timer);

static uint64_t due_of(const tm_app_profiles *a, const row *r) {
  bool rests = tm_shot_is_trace(r->metric) && a->trace_rest_until_ns > r->due_ns;
  return rests ? a->trace_rest_until_ns : r->due_ns;
}

static void schedule(tm_app_profiles *a) {
  if (a->busy || a->closing) return;
  uint64_t now = tm_clock_mono_ns(), due = UINT64_MAX;
  for (size_t i = 0; i < a->row_count; i++)
    if (due_of(a, &a->rows[i]) < due) due = due_of(a, &a->rows[i]);
  if (due == UINT64_MAX) {
    uv_timer_stop(&a->timer);
    return;
  }
  if (due < a->rest_until_ns) due = a->rest_until_ns;
  uv_update_time(a->options.uv_loop);
  uv_timer_start(&a->timer, take_turn, due > now ? (due - now + MS_NS - 1) / MS_NS : 0, 0);
}

// ---- the end of a turn ----

static row *find_row(row *rows, size_t count, const char *metric) {
  for (size_t i = 0; i < count; i++)
    if (strcmp(rows[i].metric, metric) == 0) return &rows[i];
  return NULL;
}

static row *row_of(tm_app_profiles *a, const char *metric) { // NULL: the plan changed meanwhile
  return find_row(a->rows, a->row_count, metric);
}

static void end_turn(tm_app_profiles *a) {
  a->busy = false;
  --*a->options.running;
  schedule(a);
}

// Few programs are built with it: that one has it not is nothing to tell.
static bool is_optional(const char *metric) {
  return strncmp(metric, "pprof.goroutineleak", 19) == 0;
}

// Said once until it works again; the address is not shown, since it may hold a token.
static void fail(tm_app_profiles *a, const char *metric, const char *message) {
  row *r = row_of(a, metric);
  a->stats.failures++;
  if (!r) return;
  uint64_t longer = r->failing ? 2 * r->pause_ns : 2 * SECOND_NS; // who starts listens soon
  uint64_t longest = MAX_PAUSE_NS > r->period_ns ? MAX_PAUSE_NS : r->period_ns;
  r->pause_ns = longer < longest ? longer : longest;
  r->due_ns = a->asked_ns + r->pause_ns;
  bool first = !r->failing;
  r->failing = true;
  if (first && !is_optional(metric)) a->options.trouble(a->options.ud, metric, message);
}

static void succeed(tm_app_profiles *a, work *w) {
  row *r = row_of(a, w->metric);
  a->stats.profiles++;
  if (r) {
    bool was = r->failing;
    r->failing = false;
    r->pause_ns = 0;
    if (was && !is_optional(w->metric)) a->options.trouble(a->options.ud, w->metric, NULL);
  }
  tm_profile *profile = w->profile;
  w->profile = NULL;
  a->options.profile(a->options.ud, w->metric, w->time_ns, profile);
}

static void free_work(work *w) {
  tm_profile_free(w->profile);
  tm_bytes_free(&w->ctx, &w->body);
  tm_ctx_fini(&w->ctx);
  free(w);
}

static void on_read(uv_work_t *request, int cancelled) {
  work *w = request->data;
  tm_app_profiles *a = w->owner;
  if (a) {
    a->reading = NULL;
    a->stats.read_cpu_ns += w->cpu_ns;
    if (cancelled)
      fail(a, w->metric, "the reading was cancelled");
    else if (w->status != TM_OK)
      fail(a, w->metric, w->ctx.error.message);
    else
      succeed(a, w);
    if (!a->closing) end_turn(a);
  }
  free_work(w);
}

static void read_on_worker(uv_work_t *request) {
  work *w = request->data;
  uint64_t before_ns = tm_clock_thread_cpu_ns();
  w->status = tm_shot_read(&w->ctx, w->metric, w->body.data, w->body.size, &w->profile);
  w->cpu_ns = tm_clock_thread_cpu_ns() - before_ns;
}

static tm_status start_reading(tm_app_profiles *a, tm_http_result *result) {
  work *w = calloc(1, sizeof *w);
  if (!w) return TM_E_NOMEM;
  tm_ctx_init(&w->ctx, NULL);
  w->request.data = w;
  w->owner = a;
  w->time_ns = a->options.now_ns(a->options.ud);
  memcpy(w->metric, a->asked, sizeof w->metric);
  tm_status status = tm_bytes_append(&w->ctx, &w->body, result->body.data, result->body.size);
  if (status == TM_OK && uv_queue_work(a->options.uv_loop, &w->request, read_on_worker, on_read))
    status = TM_E_NOMEM;
  if (status != TM_OK)
    free_work(w);
  else
    a->reading = w;
  return status;
}

// The app is left alone for a while: the longer, the more work the answer was.
static void rest(tm_app_profiles *a, const tm_http_result *result) {
  uint64_t now = tm_clock_mono_ns(), took_ns = now - a->asked_ns, traced = traced_ns(a->asked);
  if (traced)
    a->trace_rest_until_ns = a->asked_ns + TRACE_FACTOR * (took_ns > traced ? took_ns : traced);
  if (traced && result->status == TM_OK && result->http_status == 200) {
    a->stats.traces++;
    a->stats.traced_ns += took_ns;
    a->stats.trace_bytes += result->body_bytes;
  }
  uint64_t work_ns = took_ns > traced ? took_ns - traced : 0;
  uint64_t pause_ns = work_ns < MAX_PAUSE_NS / REST_FACTOR ? REST_FACTOR * work_ns : MAX_PAUSE_NS;
  a->rest_until_ns = now + pause_ns;
}

static void on_answer(void *ud, tm_http_result *result) {
  tm_app_profiles *a = ud;
  const char *metric = a->asked;
  char text[160];
  a->call = NULL;
  rest(a, result);
  if (result->status != TM_OK) {
    fail(a, metric, result->message);
  } else if (result->http_status != 200) {
    snprintf(text, sizeof text, "the app answers HTTP %u", result->http_status);
    fail(a, metric, text);
  } else if (start_reading(a, result) == TM_OK) {
    return;
  } else {
    fail(a, metric, "out of memory");
  }
  if (!a->closing) end_turn(a);
}

// ---- a turn ----

// What comes rarely may take long; a hang of what is asked for every second is told soon.
static uint64_t timeout_of(const tm_app_profiles *a, uint64_t period_ns) {
  if (a->options.timeout_ns) return a->options.timeout_ns;
  if (period_ns > 15 * SECOND_NS) return 30 * SECOND_NS;
  return period_ns < 2500 * MS_NS ? 5 * SECOND_NS : 2 * period_ns;
}

static tm_status ask(tm_app_profiles *a, const char *metric, uint64_t period_ns) {
  char name[METRIC_MAX_BYTES], query[METRIC_MAX_BYTES], address[TM_URL_FORMAT_MAX];
  tm_ctx ctx;
  tm_ctx_init(&ctx, &a->ctx->alloc);
  split_metric(metric, name, query);
  uint64_t timeout_ns = timeout_of(a, period_ns) + traced_ns(metric);
  const tm_http_request request = {.url = address,
                                   .header_lines = a->headers,
                                   .ca_file = a->ca_file,
                                   .first_byte_timeout_ns = timeout_ns,
                                   .total_timeout_ns = timeout_ns,
                                   .max_body_bytes =
                                       a->options.max_bytes ? a->options.max_bytes : 64u << 20};
  tm_status status = tm_endpoint_address(&ctx, a->address, TM_ENDPOINT_PROFILES, name,
                                         *query ? query : NULL, address);
  if (status == TM_OK)
    status = tm_http_start(&ctx, a->options.uv_loop, &request, on_answer, a, &a->call);
  if (status != TM_OK) {
    a->call = NULL;
    fail(a, metric, ctx.error.message);
  }
  tm_ctx_fini(&ctx);
  return status;
}

static void take_turn(uv_timer_t *timer) {
  tm_app_profiles *a = timer->data;
  size_t next = 0;
  for (size_t i = 1; i < a->row_count; i++)
    if (due_of(a, &a->rows[i]) < due_of(a, &a->rows[next])) next = i;
  if (!a->row_count) return;
  if (*a->options.running >= RUNNING_MAX) {
    a->stats.waits++;
    uv_timer_start(&a->timer, take_turn, TURN_MS, 0);
    return;
  }
  ++*a->options.running;
  a->busy = true;
  a->asked_ns = tm_clock_mono_ns();
  a->stats.requests++;
  row *r = &a->rows[next];
  memcpy(a->asked, r->metric, sizeof a->asked);
  r->due_ns += r->period_ns;
  if (r->due_ns <= a->asked_ns) r->due_ns = a->asked_ns + r->period_ns; // turns that were missed
  if (ask(a, a->asked, r->period_ns) != TM_OK && !a->closing) end_turn(a);
}

// ---- the plan ----

static void stop(tm_app_profiles *a) {
  tm_http_cancel(a->call);
  a->call = NULL;
  if (a->reading) a->reading->owner = NULL;
  a->reading = NULL;
  if (a->busy) --*a->options.running;
  a->busy = false;
}

// The rows that stay keep their times.
tm_status tm_app_profiles_plan(tm_app_profiles *a, const tm_endpoint *endpoint,
                               const tm_profile_want *wants, size_t want_count) {
  row rows[WANTS_MAX];
  size_t count = 0;
  uint64_t now_ns = tm_clock_mono_ns();
  if (strlen(endpoint->address) >= sizeof a->address)
    return tm_fail(a->ctx, TM_E_ARG, TM_NO_OFFSET, "the endpoint is longer than an address may be");
  for (size_t i = 0; i < want_count && count < WANTS_MAX; i++) {
    const tm_profile_want *want = &wants[i];
    uint64_t every_ns = want->every_ns > SECOND_NS ? want->every_ns : SECOND_NS;
    if (!tm_app_profile_metric(want->metric) || strlen(want->metric) >= METRIC_MAX_BYTES) continue;
    row *same = find_row(rows, count, want->metric);
    const row *old = row_of(a, want->metric);
    if (same) {
      if (every_ns < same->period_ns) same->period_ns = every_ns;
      continue;
    }
    rows[count] = old ? *old : (row){.due_ns = now_ns};
    snprintf(rows[count].metric, sizeof rows[count].metric, "%s", want->metric);
    rows[count++].period_ns = every_ns;
  }
  bool moved = strcmp(a->address, endpoint->address) != 0;
  if (a->busy && (moved || !find_row(rows, count, a->asked))) stop(a);
  snprintf(a->address, sizeof a->address, "%s", endpoint->address);
  a->headers = endpoint->headers;
  a->ca_file = endpoint->ca_file && *endpoint->ca_file ? endpoint->ca_file : NULL;
  // One that is wanted more often from now on does not wait for the end of its old period.
  for (size_t i = 0; i < count; i++) {
    const row *old = row_of(a, rows[i].metric);
    if (old && rows[i].period_ns < old->period_ns && rows[i].due_ns > now_ns + rows[i].period_ns)
      rows[i].due_ns = now_ns;
  }
  memcpy(a->rows, rows, count * sizeof *rows);
  a->row_count = count;
  schedule(a);
  return TM_OK;
}

// ---- life ----

tm_status tm_app_profiles_new(tm_ctx *ctx, const tm_app_profiles_options *options,
                              tm_app_profiles **out) {
  tm_app_profiles *a = tm_calloc(ctx, 1, sizeof *a);
  if (!a) return TM_E_NOMEM;
  a->ctx = ctx;
  a->options = *options;
  uv_timer_init(options->uv_loop, &a->timer); // cannot fail
  a->timer.data = a;
  *out = a;
  return TM_OK;
}

static void on_timer_closed(uv_handle_t *handle) {
  tm_app_profiles *a = handle->data;
  tm_free(a->ctx, a, sizeof *a);
}

void tm_app_profiles_free(tm_app_profiles *a) {
  if (!a) return;
  a->closing = true;
  stop(a);
  uv_close((uv_handle_t *)&a->timer, on_timer_closed);
}

const tm_app_profiles_stats *tm_app_profiles_get_stats(const tm_app_profiles *a) {
  return &a->stats;
}
