// Three pages, each with a timer, a list of wanted names, and at most one request. The next request
// starts a period after the last one started, later when reading costs over BUDGET_RATIO of a core,
// and ever later (up to a minute) while the app fails to answer. Every number of a page is compared
// with every wanted name: both lists are short next to the request itself.
#include "live/app_counters.h"

#include "base/clock.h"
#include "base/vec.h"
#include "net/http_client.h"
#include "read/counters.h"

#include <stdio.h>
#include <string.h>

#define MS_NS          UINT64_C(1000000)
#define SECOND_NS      UINT64_C(1000000000)
#define MAX_PAUSE_NS   (60 * SECOND_NS)
#define BODY_MAX_BYTES (UINT64_C(8) << 20)
#define BUDGET_RATIO   0.005

enum { KEYS_MAX = 256, KEY_MAX_BYTES = 200, PAGES = 3 };

typedef struct want {
  char *metric;     // with its prefix
  const char *name; // behind the prefix
  size_t name_size;
  uint32_t key_count; // in the answer that is being read
} want;

typedef struct page {
  tm_app_counters *owner;
  uv_timer_t timer;
  tm_http_call *call;
  TM_VEC(want) wants;
  char address[TM_URL_FORMAT_MAX];
  uint64_t period_ns, started_ns, pause_ns; // pause: what failures and cost ask for
  bool asked, failing, told_keys;
} page;

struct tm_app_counters {
  tm_ctx *ctx;
  tm_app_counters_options options;
  tm_app_counters_stats stats;
  const char *headers, *ca_file; // the endpoint's
  page pages[PAGES];
  uint32_t open_timers;
  bool closing; // a sample may end the watch: nothing is called any more
};

typedef struct page_kind {
  const char *prefix, *page;
  tm_endpoint_place place;
  tm_status (*read)(tm_ctx *ctx, const void *data, size_t size, tm_counter_fn fn, void *ud);
} page_kind;

static const page_kind kinds[PAGES] = {
    {"expvar.", "/debug/vars", TM_ENDPOINT_VARS, tm_read_expvar},
    {"metrics.", "/metrics", TM_ENDPOINT_METRICS, tm_read_metrics},
    {"go.counts.", "/debug/pprof/", TM_ENDPOINT_PROFILES, tm_read_pprof_index},
};

static size_t kind_of(const char *metric) {
  for (size_t i = 0; i < PAGES; i++)
    if (strncmp(metric, kinds[i].prefix, strlen(kinds[i].prefix)) == 0) return i;
  return PAGES;
}

bool tm_app_metric(const char *metric) {
  return kind_of(metric) < PAGES;
}

bool tm_app_metric_has_page(const char *metric, const tm_endpoint *endpoint) {
  size_t kind = kind_of(metric);
  return kind < PAGES && tm_endpoint_has(endpoint, kinds[kind].place);
}

tm_unit tm_app_metric_unit(const char *metric) {
  size_t kind = kind_of(metric);
  if (kind == PAGES) return TM_UNIT_NONE;
  if (kinds[kind].place == TM_ENDPOINT_PROFILES) return TM_UNIT_COUNT;
  const char *name = metric + strlen(kinds[kind].prefix);
  return tm_counter_unit(name, strlen(name));
}

// ---- one answer ----

typedef struct reading {
  page *page;
  int64_t time_ns;
} reading;

// The key that a number has within a wanted name; NULL = it is another's.
static const char *key_within(const want *w, const tm_counter *c, size_t *out_size) {
  bool inside = c->name_size > w->name_size && c->name[w->name_size] == '.';
  if (c->name_size != w->name_size && !inside) return NULL;
  if (memcmp(c->name, w->name, w->name_size) != 0) return NULL;
  *out_size = inside ? c->name_size - w->name_size - 1 : c->labels_size;
  return inside ? c->name + w->name_size + 1 : c->labels;
}

static void on_counter(void *ud, const tm_counter *counter) {
  reading *r = ud;
  page *p = r->page;
  char key[KEY_MAX_BYTES];
  for (size_t i = 0; i < p->wants.count; i++) {
    want *w = &p->wants.items[i];
    size_t size = 0;
    const char *at = key_within(w, counter, &size);
    if (!at || size >= sizeof key || w->key_count++ >= KEYS_MAX) continue;
    memcpy(key, at, size);
    key[size] = '\0';
    const tm_sample sample = {w->metric, key, counter->unit, r->time_ns, counter->value};
    p->owner->options.sample(p->owner->options.ud, &sample);
  }
}

static void tell_cut_families(page *p) {
  for (size_t i = 0; i < p->wants.count && !p->told_keys; i++)
    if (p->wants.items[i].key_count > KEYS_MAX) {
      p->told_keys = true;
      tm_log_line(p->owner->options.log, TM_LOG_WARN, "counters",
                  "%s has %u members; the first %d are kept", p->wants.items[i].metric,
                  p->wants.items[i].key_count, KEYS_MAX);
    }
}

// Says it once until it works again. The address is not shown: it may hold a token.
static void fail(page *p, const char *message) {
  const page_kind *kind = &kinds[p - p->owner->pages];
  p->owner->stats.failures++;
  if (!p->failing)
    tm_log_line(p->owner->options.log, TM_LOG_WARN, "counters", "no %s* series from %s: %s",
                kind->prefix, kind->page, message);
  uint64_t longer = p->failing ? 2 * p->pause_ns : SECOND_NS; // an app that starts listens soon
  p->failing = true;
  p->pause_ns = longer < MAX_PAUSE_NS ? longer : MAX_PAUSE_NS;
}

static void read_page(page *p, const tm_http_result *result) {
  tm_app_counters *c = p->owner;
  reading r = {p, c->options.now_ns(c->options.ud)};
  tm_ctx ctx;
  tm_ctx_init(&ctx, &c->ctx->alloc);
  for (size_t i = 0; i < p->wants.count; i++) p->wants.items[i].key_count = 0;
  uint64_t cpu_ns = tm_clock_thread_cpu_ns();
  tm_status status =
      kinds[p - c->pages].read(&ctx, result->body.data, result->body.size, on_counter, &r);
  cpu_ns = tm_clock_thread_cpu_ns() - cpu_ns;
  c->stats.cost_ns += cpu_ns;
  if (status == TM_OK) {
    if (p->failing)
      tm_log_line(c->options.log, TM_LOG_INFO, "counters", "%s* series are back",
                  kinds[p - c->pages].prefix);
    p->failing = false;
    p->pause_ns = (uint64_t)((double)cpu_ns / BUDGET_RATIO);
    tell_cut_families(p);
  } else {
    fail(p, ctx.error.message);
  }
  tm_ctx_fini(&ctx);
  if (c->options.read_done && !c->closing) c->options.read_done(c->options.ud);
}

// ---- asking ----

static void ask(uv_timer_t *timer);

static void schedule(page *p) {
  uint64_t now_ns = tm_clock_mono_ns();
  uint64_t period_ns = p->failing || p->pause_ns > p->period_ns ? p->pause_ns : p->period_ns;
  uint64_t due_ns = p->asked ? p->started_ns + period_ns : now_ns;
  uint64_t wait_ms = due_ns > now_ns ? (due_ns - now_ns + MS_NS - 1) / MS_NS : 0;
  uv_update_time(p->owner->options.uv_loop);
  uv_timer_start(&p->timer, ask, wait_ms, 0);
}

static void on_done(void *ud, tm_http_result *result) {
  page *p = ud;
  char text[64];
  p->call = NULL;
  if (result->status != TM_OK) {
    fail(p, result->message);
  } else if (result->http_status != 200) {
    snprintf(text, sizeof text, "the app answers HTTP %u", result->http_status);
    fail(p, text);
  } else {
    read_page(p, result);
  }
  if (p->wants.count) schedule(p); // the plan may have ended meanwhile
}

static void ask(uv_timer_t *timer) {
  page *p = timer->data;
  tm_app_counters *c = p->owner;
  uint64_t timeout_ns = p->period_ns < 10 * SECOND_NS ? p->period_ns : 10 * SECOND_NS;
  if (timeout_ns < 2 * SECOND_NS) timeout_ns = 2 * SECOND_NS;
  const tm_http_request request = {.url = p->address,
                                   .header_lines = c->headers,
                                   .ca_file = c->ca_file,
                                   .connect_timeout_ns = timeout_ns,
                                   .first_byte_timeout_ns = timeout_ns,
                                   .total_timeout_ns = timeout_ns,
                                   .max_body_bytes = BODY_MAX_BYTES};
  tm_ctx ctx;
  tm_ctx_init(&ctx, &c->ctx->alloc);
  c->stats.requests++;
  p->asked = true;
  p->started_ns = tm_clock_mono_ns();
  if (tm_http_start(&ctx, c->options.uv_loop, &request, on_done, p, &p->call) != TM_OK) {
    p->call = NULL;
    fail(p, ctx.error.message);
    schedule(p);
  }
  tm_ctx_fini(&ctx);
}

// ---- the plan ----

static void stop(page *p) {
  uv_timer_stop(&p->timer);
  tm_http_cancel(p->call);
  p->call = NULL;
}

static void clear_wants(page *p) {
  for (size_t i = 0; i < p->wants.count; i++)
    tm_free(p->owner->ctx, p->wants.items[i].metric, strlen(p->wants.items[i].metric) + 1);
  p->wants.count = 0;
  p->period_ns = UINT64_MAX;
}

static tm_status add_want(page *p, const tm_app_want *wanted) {
  tm_ctx *ctx = p->owner->ctx;
  uint64_t every_ns = wanted->every_ns > SECOND_NS ? wanted->every_ns : SECOND_NS;
  if (every_ns < p->period_ns) p->period_ns = every_ns;
  for (size_t i = 0; i < p->wants.count; i++)
    if (strcmp(p->wants.items[i].metric, wanted->metric) == 0) return TM_OK;
  size_t size = strlen(wanted->metric) + 1;
  want row = {.metric = tm_alloc(ctx, size)};
  if (!row.metric) return TM_E_NOMEM;
  memcpy(row.metric, wanted->metric, size);
  row.name = row.metric + strlen(kinds[p - p->owner->pages].prefix);
  row.name_size = strlen(row.name);
  tm_status status = tm_vec_push(ctx, &p->wants, row);
  if (status != TM_OK) tm_free(ctx, row.metric, size);
  return status;
}

static tm_status plan_page(page *p, const tm_endpoint *endpoint, const tm_app_want *wants,
                           size_t count) {
  tm_ctx *ctx = p->owner->ctx;
  size_t kind = (size_t)(p - p->owner->pages);
  char address[TM_URL_FORMAT_MAX];
  clear_wants(p);
  if (!tm_endpoint_has(endpoint, kinds[kind].place)) return TM_OK;
  for (size_t i = 0; i < count; i++)
    if (kind_of(wants[i].metric) == kind) TM_TRY(add_want(p, &wants[i]));
  if (!p->wants.count) return TM_OK;
  TM_TRY(tm_endpoint_page(ctx, endpoint, kinds[kind].place, address));
  if (strcmp(address, p->address) != 0) {
    stop(p);
    snprintf(p->address, sizeof p->address, "%s", address);
    p->asked = p->failing = false;
    p->pause_ns = 0;
  }
  return TM_OK;
}

tm_status tm_app_counters_plan(tm_app_counters *c, const tm_endpoint *endpoint,
                               const tm_app_want *wants, size_t want_count) {
  tm_status status = TM_OK;
  c->headers = endpoint->headers;
  c->ca_file = endpoint->ca_file && *endpoint->ca_file ? endpoint->ca_file : NULL;
  for (size_t i = 0; i < PAGES; i++) {
    page *p = &c->pages[i];
    if (status == TM_OK) status = plan_page(p, endpoint, wants, want_count);
    if (status != TM_OK) clear_wants(p);
    if (!p->wants.count)
      stop(p);
    else if (!p->call)
      schedule(p);
  }
  return status;
}

// ---- life ----

tm_status tm_app_counters_new(tm_ctx *ctx, const tm_app_counters_options *options,
                              tm_app_counters **out) {
  tm_app_counters *c = tm_calloc(ctx, 1, sizeof *c);
  if (!c) return TM_E_NOMEM;
  c->ctx = ctx;
  c->options = *options;
  for (size_t i = 0; i < PAGES; i++) {
    c->pages[i].owner = c;
    c->pages[i].period_ns = UINT64_MAX;
    uv_timer_init(options->uv_loop, &c->pages[i].timer); // cannot fail
    c->pages[i].timer.data = &c->pages[i];
    c->open_timers++;
  }
  *out = c;
  return TM_OK;
}

static void on_timer_closed(uv_handle_t *handle) {
  tm_app_counters *c = ((page *)handle->data)->owner;
  if (--c->open_timers) return;
  tm_free(c->ctx, c, sizeof *c);
}

void tm_app_counters_free(tm_app_counters *c) {
  if (!c) return;
  c->closing = true;
  for (size_t i = 0; i < PAGES; i++) {
    page *p = &c->pages[i];
    stop(p);
    clear_wants(p);
    tm_vec_free(c->ctx, &p->wants);
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
  }
}

const tm_app_counters_stats *tm_app_counters_get_stats(const tm_app_counters *c) {
  return &c->stats;
}
