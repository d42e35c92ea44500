// Takes and collections over the app's own HTTP endpoint, the base URL of its /debug/pprof/. One
// exchange = one request on the runner's loop; nothing blocks. A target that goes meanwhile (also
// when the runner ends) is noticed within 100 ms, and its request is cancelled.
#include "base/units.h"
#include "engine/acts.h"
#include "net/endpoint.h"
#include "net/http_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS  1000000000ull
#define OWN_PREFIX "pprof:" // a profile that the app made: "pprof:example.com/app.documents"

enum { GONE_CHECK_MS = 100 };

typedef struct evidence_path {
  const char *name;  // of the take
  const char *path;  // under /debug/pprof/; vars beside it
  const char *query; // or NULL
} evidence_path;

static const evidence_path paths[] = {
    {"heap_profile", "heap", NULL},
    {"allocs", "allocs", NULL},
    {"goroutines", "goroutine", "debug=2"},
    {"goroutine_profile", "goroutine", NULL},
    {"mutex", "mutex", NULL},
    {"block", "block", NULL},
    {"threadcreate", "threadcreate", NULL},
    {"cpu_profile", "profile", NULL},
    {"trace", "trace", NULL},
    {"goroutineleak", "goroutineleak", NULL},
    {"expvar", "vars", NULL},
};

typedef struct exchange {
  tm_ctx ctx;
  tm_runner *runner;
  tm_target *target; // held
  tm_http_call *call;
  uv_timer_t watch;
  const char *path; // what was asked for, under the endpoint
  char own[120];    // path of a profile that the app made
  uint64_t id;      // of the action's call or of the take
  tm_taken_fn done; // NULL = a collection
  void *ud;
} exchange;

static void on_watch_closed(uv_handle_t *handle) {
  exchange *x = handle->data;
  tm_target_release(x->target);
  tm_ctx_fini(&x->ctx);
  free(x);
}

static void end(exchange *x) {
  tm_http_cancel(x->call);
  uv_close((uv_handle_t *)&x->watch, on_watch_closed);
}

static void report(exchange *x, tm_status status, const void *bytes, size_t size) {
  tm_engine *engine = tm_runner_engine(x->runner);
  int64_t now_ns = tm_runner_now_ns(x->runner);
  tm_engine_advance(engine, now_ns);
  if (!x->done) {
    tm_actions_done(tm_engine_actions(engine), now_ns, x->id, status, bytes);
    return;
  }
  tm_ctx_clear(tm_engine_ctx(engine));
  if (status == TM_OK && tm_target_is_live(x->target)
      && tm_actions_note_evidence(tm_engine_actions(engine), now_ns,
                                  tm_target_get_facts(x->target)->id)
             != TM_OK)
    tm_ctx_clear(tm_engine_ctx(engine));
  x->done(x->ud, x->id, status, bytes, size);
}

// The engine has ended the call of an action by itself when its target went.
static void on_watch(uv_timer_t *timer) {
  static const char text[] = "the target ended before its endpoint answered";
  exchange *x = timer->data;
  if (tm_target_is_live(x->target)) return;
  end(x);
  if (x->done) x->done(x->ud, x->id, TM_E_GONE, text, sizeof text - 1);
}

// What an app says with 404 and the like, as one printable line.
static void show_refusal(const exchange *x, const tm_http_result *result, char *out, size_t room) {
  char said[120];
  size_t size = 0;
  bool is_vars = strcmp(x->path, "vars") == 0;
  for (size_t i = 0; i < result->body.size && size + 1 < sizeof said; i++) {
    uint8_t c = result->body.data[i];
    if (c == '\n') break;
    if (c >= ' ' && c < 0x7f) said[size++] = (char)c;
  }
  said[size] = '\0';
  const char *advice = result->http_status == 404
                           ? (is_vars ? "; the app must import expvar"
                                      : "; the endpoint must be the base of /debug/pprof/")
                           : "";
  snprintf(out, room, "%s is answered with status %u%s%s%s", x->path, result->http_status,
           size ? ": " : "", said, advice);
}

static void on_answer(void *ud, tm_http_result *result) {
  exchange *x = ud;
  char text[300];
  x->call = NULL;
  if (result->status != TM_OK) {
    report(x, result->status, result->message, strlen(result->message));
  } else if (result->http_status != 200) {
    show_refusal(x, result, text, sizeof text);
    report(x, TM_E_IO, text, strlen(text));
  } else if (!x->done) {
    snprintf(text, sizeof text, "collection asked for, %llu bytes of profile read",
             (unsigned long long)result->body_bytes);
    report(x, TM_OK, text, strlen(text));
  } else {
    report(x, TM_OK, result->body.data ? (const void *)result->body.data : "", result->body.size);
  }
  end(x);
}

static tm_status ignore_body(void *ud, const uint8_t *data, size_t size) {
  (void)ud, (void)data, (void)size;
  return TM_OK;
}

// Reports at once when the request cannot even start.
static void start(exchange *x, const char *path, const char *query, uint64_t wait_ns,
                  uint64_t timeout_ns) {
  char address[TM_URL_FORMAT_MAX];
  x->path = path;
  const tm_endpoint endpoint = tm_target_endpoint(tm_target_get_facts(x->target));
  const tm_http_request request = {.url = address,
                                   .header_lines = endpoint.headers,
                                   .ca_file = *endpoint.ca_file ? endpoint.ca_file : NULL,
                                   .first_byte_timeout_ns = wait_ns + 30 * SECOND_NS,
                                   .total_timeout_ns = timeout_ns,
                                   .on_body = x->done ? NULL : ignore_body};
  bool is_vars = strcmp(path, "vars") == 0;
  tm_status status = is_vars ? tm_endpoint_page(&x->ctx, &endpoint, TM_ENDPOINT_VARS, address)
                             : tm_endpoint_address(&x->ctx, endpoint.address, TM_ENDPOINT_PROFILES,
                                                   path, query, address);
  if (status == TM_OK)
    status = tm_http_start(&x->ctx, tm_runner_loop(x->runner), &request, on_answer, x, &x->call);
  if (status == TM_OK) return;
  x->call = NULL;
  report(x, status, x->ctx.error.message, strlen(x->ctx.error.message));
  end(x);
}

static exchange *new_exchange(tm_runner *runner, tm_target *target, uint64_t id, tm_taken_fn done,
                              void *ud) {
  exchange *x = calloc(1, sizeof *x);
  if (!x) return NULL;
  tm_ctx_init(&x->ctx, NULL);
  x->runner = runner;
  x->target = tm_target_retain(target);
  x->id = id;
  x->done = done;
  x->ud = ud;
  uv_timer_init(tm_runner_loop(runner), &x->watch); // cannot fail
  x->watch.data = x;
  uv_timer_start(&x->watch, on_watch, GONE_CHECK_MS, GONE_CHECK_MS);
  return x;
}

void tm_acts_http_gc(tm_runner *runner, tm_target *target, uint64_t call_id) {
  exchange *x = new_exchange(runner, target, call_id, NULL, NULL);
  if (x) start(x, "heap", "gc=1", 0, 60 * SECOND_NS); // without memory the action times out
}

// ---- takes ----

// The value of one field of a flat JSON object as tm_lua_json writes it (no blanks); or NULL.
static const char *field_of(const char *json, const char *name) {
  char want[32];
  snprintf(want, sizeof want, "\"%s\":", name);
  const char *at = json ? strstr(json, want) : NULL;
  return at ? at + strlen(want) : NULL;
}

// `seconds` is a number or a duration as people write it; 5 s when there is none.
static tm_status read_seconds(tm_ctx *ctx, const char *json, uint64_t *out_ns) {
  const char *at = field_of(json, "seconds");
  char text[32];
  uint64_t ns = 5 * SECOND_NS;
  if (at && *at == '"') {
    snprintf(text, sizeof text, "%.*s", (int)strcspn(at + 1, "\""), at + 1);
    TM_TRY(tm_parse_duration(ctx, text, &ns));
  } else if (at) {
    double seconds = strtod(at, NULL);
    ns = seconds >= 1 && seconds <= 3600 ? (uint64_t)(seconds * 1e9) : 0;
  }
  if (ns < SECOND_NS || ns > 3600 * SECOND_NS)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "a CPU profile takes 1 s to 1 h: give seconds");
  *out_ns = ns / SECOND_NS * SECOND_NS;
  return TM_OK;
}

// A CPU profile must be over before the one who waits for it gives up.
static tm_status plan_cpu(tm_ctx *ctx, const char *json, uint64_t timeout_ns, char query[32],
                          uint64_t *out_wait_ns) {
  uint64_t ns = 0;
  TM_TRY(read_seconds(ctx, json, &ns));
  if (timeout_ns && ns >= timeout_ns)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                   "a CPU profile of %llu s does not end within the timeout of %llu s",
                   (unsigned long long)(ns / SECOND_NS),
                   (unsigned long long)(timeout_ns / SECOND_NS));
  snprintf(query, 32, "seconds=%llu", (unsigned long long)(ns / SECOND_NS));
  *out_wait_ns = ns;
  return TM_OK;
}

static void refuse(tm_taken_fn done, void *ud, uint64_t id, tm_status status, const char *text) {
  done(ud, id, status, text, strlen(text));
}

void tm_acts_http_take(tm_runner *runner, tm_target *target, const char *name,
                       const char *options_json, uint64_t timeout_ns, uint64_t id, tm_taken_fn done,
                       void *ud) {
  const evidence_path *found = NULL;
  const char *endpoint = tm_target_get_facts(target)->endpoint;
  char query[32] = "";
  uint64_t wait_ns = 0;
  const evidence_path own = {name, name + strlen(OWN_PREFIX), NULL};
  for (size_t i = 0; i < TM_COUNT(paths); i++)
    if (strcmp(name, paths[i].name) == 0) found = &paths[i];
  bool is_own = strncmp(name, OWN_PREFIX, strlen(OWN_PREFIX)) == 0
                && strlen(own.path) < sizeof((exchange *)0)->own;
  if (is_own) found = &own;
  if (!found) {
    refuse(done, ud, id, TM_E_UNSUPPORTED, "this kind of evidence cannot be taken here");
    return;
  }
  if (!endpoint || !*endpoint) {
    refuse(done, ud, id, TM_E_UNSUPPORTED, "the target has no pprof endpoint (give --endpoint)");
    return;
  }
  exchange *x = new_exchange(runner, target, id, done, ud);
  if (!x) {
    refuse(done, ud, id, TM_E_NOMEM, "out of memory");
    return;
  }
  const char *gc = field_of(options_json, "gc");
  bool is_heap = strcmp(found->path, "heap") == 0;
  if (found->query) snprintf(query, sizeof query, "%s", found->query);
  if (is_heap && gc && strncmp(gc, "true", 4) == 0) snprintf(query, sizeof query, "gc=1");
  if (is_own) snprintf(x->own, sizeof x->own, "%s", own.path);
  if ((strcmp(name, "cpu_profile") == 0 || strcmp(name, "trace") == 0)
      && plan_cpu(&x->ctx, options_json, timeout_ns, query, &wait_ns) != TM_OK) {
    report(x, x->ctx.error.status, x->ctx.error.message, strlen(x->ctx.error.message));
    end(x);
    return;
  }
  start(x, is_own ? x->own : found->path, query, wait_ns, timeout_ns);
}
