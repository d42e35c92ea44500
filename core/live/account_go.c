// A Go program tells its memory statistics in three places. expvar and metrics are cheap; the
// footer of the heap profile's text costs the writing of all its stacks, so it is asked last.
// Fields and metrics mean the same: what the runtime calls in use, held and its own.
// Source: runtime.MemStats; Prometheus' go_collector; writeHeap of runtime/pprof/pprof.go.
#include "live/account_impl.h"
#include "net/http_client.h"
#include "read/counters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXPVAR, METRICS, PPROF, WAYS };

static const char *const ways[WAYS] = {"expvar", "metrics", "pprof"};

enum { INUSE, IDLE, RELEASED, STACKS, MSPAN, MCACHE, BUCKETS, GC, OTHER, FIELDS };

enum { FOOTER_BYTES = 1 << 20, PAGE_BYTES = 16 << 20 };

static const char *const expvar_names[FIELDS] = {
    "memstats.HeapInuse",   "memstats.HeapIdle", "memstats.HeapReleased",
    "memstats.StackSys",    "memstats.MSpanSys", "memstats.MCacheSys",
    "memstats.BuckHashSys", "memstats.GCSys",    "memstats.OtherSys"};
static const char *const metric_names[FIELDS] = {
    "go_memstats_heap_inuse_bytes",    "go_memstats_heap_idle_bytes",
    "go_memstats_heap_released_bytes", "go_memstats_stack_sys_bytes",
    "go_memstats_mspan_sys_bytes",     "go_memstats_mcache_sys_bytes",
    "go_memstats_buck_hash_sys_bytes", "go_memstats_gc_sys_bytes",
    "go_memstats_other_sys_bytes"};
// The classes of runtime/metrics, as the same collector names them when they are asked for.
static const char *const class_names[FIELDS] = {NULL,
                                                "go_memory_classes_heap_free_bytes",
                                                NULL,
                                                "go_memory_classes_heap_stacks_bytes",
                                                "go_memory_classes_metadata_mspan_inuse_bytes",
                                                "go_memory_classes_metadata_mcache_inuse_bytes",
                                                "go_memory_classes_profiling_buckets_bytes",
                                                "go_memory_classes_metadata_other_bytes",
                                                "go_memory_classes_other_bytes"};
static const char *const objects_name = "go_memory_classes_heap_objects_bytes";
static const char *const unused_name = "go_memory_classes_heap_unused_bytes";

typedef struct fields {
  const char *const *names;
  double values[FIELDS];
  double classes[FIELDS], objects, unused;
} fields;

static bool is(const tm_counter *c, const char *name) {
  return name && strlen(name) == c->name_size && memcmp(name, c->name, c->name_size) == 0;
}

static void take(void *ud, const tm_counter *c) {
  fields *f = ud;
  if (c->labels_size) return;
  for (size_t i = 0; i < FIELDS; i++) {
    if (is(c, f->names[i])) f->values[i] = c->value;
    if (is(c, class_names[i])) f->classes[i] = c->value;
  }
  if (is(c, objects_name)) f->objects = c->value;
  if (is(c, unused_name)) f->unused = c->value;
}

// "# HeapInuse = 21307392" and "# Stack = 294912 / 294912" (in use / from the system).
static void take_footer(fields *f, const char *text, size_t size) {
  static const char *const keys[FIELDS] = {
      "\n# HeapInuse = ",   "\n# HeapIdle = ", "\n# HeapReleased = ",
      "\n# Stack = ",       "\n# MSpan = ",    "\n# MCache = ",
      "\n# BuckHashSys = ", "\n# GCSys = ",    "\n# OtherSys = "};
  for (size_t i = 0; i < FIELDS; i++) {
    const char *at = memmem(text, size, keys[i], strlen(keys[i]));
    if (!at) continue;
    char *end;
    f->values[i] = strtod(at + strlen(keys[i]), &end);
    if (strncmp(end, " / ", 3) == 0) f->values[i] = strtod(end + 3, NULL);
  }
}

static double sum(const double *values, size_t from) {
  double total = 0;
  for (size_t i = from; i < FIELDS; i++)
    if (!isnan(values[i])) total += values[i];
  return total;
}

static bool tell(const fields *f, tm_account_answer *out) {
  const double *v = f->values;
  if (!isnan(v[INUSE])) {
    out->told[TM_OWNER_GO_HEAP_INUSE] = v[INUSE];
    out->told[TM_OWNER_GO_HEAP_IDLE] = fmax(v[IDLE] - v[RELEASED], 0);
    out->told[TM_OWNER_GO_STACKS] = v[STACKS];
    out->told[TM_OWNER_GO_RUNTIME] = sum(v, MSPAN);
    return true;
  }
  if (isnan(f->objects)) return false;
  out->told[TM_OWNER_GO_HEAP_INUSE] = f->objects + (isnan(f->unused) ? 0 : f->unused);
  out->told[TM_OWNER_GO_HEAP_IDLE] = f->classes[IDLE];
  out->told[TM_OWNER_GO_STACKS] = f->classes[STACKS];
  out->told[TM_OWNER_GO_RUNTIME] = sum(f->classes, MSPAN);
  return true;
}

static void note(tm_account_answer *out, const char *way, const char *why) {
  size_t n = strlen(out->problem);
  snprintf(out->problem + n, sizeof out->problem - n, "%s%s: %s", n ? "; " : "", way, why);
}

static tm_status address_of(tm_ctx *ctx, const tm_endpoint *e, uint32_t way,
                            char out[TM_URL_FORMAT_MAX]) {
  if (way == PPROF)
    return tm_endpoint_address(ctx, e->address, TM_ENDPOINT_PROFILES, "heap", "debug=1", out);
  return tm_endpoint_page(ctx, e, way == EXPVAR ? TM_ENDPOINT_VARS : TM_ENDPOINT_METRICS, out);
}

static tm_status read_page(tm_ctx *ctx, uint32_t way, const tm_bytes *body, fields *f) {
  if (way == EXPVAR) return tm_read_expvar(ctx, body->data, body->size, take, f);
  if (way == METRICS) return tm_read_metrics(ctx, body->data, body->size, take, f);
  size_t from = body->size > FOOTER_BYTES ? body->size - FOOTER_BYTES : 0;
  tm_bytes tail = {0};
  tm_status status = tm_bytes_append(ctx, &tail, body->data + from, body->size - from);
  if (status == TM_OK) status = tm_bytes_append(ctx, &tail, "", 1); // numbers end somewhere
  if (status == TM_OK) take_footer(f, (const char *)tail.data, tail.size - 1);
  tm_bytes_free(ctx, &tail);
  return status;
}

static bool read_answer(tm_ctx *ctx, uint32_t way, const tm_http_result *result,
                        tm_account_answer *out) {
  fields f = {.names = way == METRICS ? metric_names : expvar_names, .objects = NAN, .unused = NAN};
  char why[64];
  for (size_t i = 0; i < FIELDS; i++) f.values[i] = f.classes[i] = NAN;
  snprintf(why, sizeof why, "HTTP %u", result->http_status);
  if (result->http_status != 200) {
    note(out, ways[way], why);
    return false;
  }
  tm_status status = result->body.size ? read_page(ctx, way, &result->body, &f) : TM_OK;
  if (tell(&f, out)) return true;
  note(out, ways[way], status == TM_OK ? "no memory statistics" : ctx->error.message);
  return false;
}

static bool ask_way(tm_ctx *ctx, const tm_endpoint *e, uint64_t timeout_ns, uint32_t way,
                    tm_account_answer *out) {
  char url[TM_URL_FORMAT_MAX];
  tm_ctx_clear(ctx);
  if (address_of(ctx, e, way, url) != TM_OK) {
    note(out, ways[way], ctx->error.message);
    return false;
  }
  const tm_http_request request = {.url = url,
                                   .header_lines = e->headers,
                                   .ca_file = e->ca_file,
                                   .connect_timeout_ns = timeout_ns,
                                   .first_byte_timeout_ns = timeout_ns,
                                   .total_timeout_ns = timeout_ns,
                                   .max_body_bytes = PAGE_BYTES};
  tm_http_result result = {0};
  bool told = false;
  if (tm_http_fetch(ctx, &request, &result) == TM_OK)
    told = read_answer(ctx, way, &result, out);
  else
    note(out, ways[way], ctx->error.message);
  tm_http_result_free(ctx, &result);
  if (told) out->source = ways[way];
  return told;
}

void tm_account_ask_go(tm_ctx *ctx, const tm_endpoint *endpoint, uint64_t timeout_ns,
                       uint32_t *hint, tm_account_answer *out) {
  for (uint32_t i = 0; i < WAYS; i++) {
    uint32_t way = (*hint + i) % WAYS;
    if (!ask_way(ctx, endpoint, timeout_ns, way, out)) continue;
    *hint = way;
    out->problem[0] = '\0';
    return;
  }
}
