// The reader is chosen by the bytes, what is made of them by the metric. Runs on worker threads.
#include "live/shot_read.h"

#include "analyze/timeline_profile.h"
#include "analyze/trace_profile.h"
#include "read/reader.h"

#include <string.h>

bool tm_shot_is_trace(const char *metric) {
  return strncmp(metric, "trace.", 6) == 0;
}

bool tm_shot_is_browser(const char *metric) {
  return strcmp(metric, "trace.chrome") == 0;
}

static bool has_type(const tm_profile *p, const char *type) {
  for (size_t i = 0; i < p->types.count; i++)
    if (strcmp(tm_profile_text(p, p->types.items[i].type), type) == 0) return true;
  return false;
}

static tm_status take_model(tm_ctx *ctx, const char *metric, tm_snapshot *s, tm_profile **out) {
  bool wants_trace = tm_shot_is_trace(metric),
       wants_dump = strncmp(metric, "go.goroutines", 13) == 0;
  bool wants_browser = tm_shot_is_browser(metric);
  if (s->kind == TM_KIND_TIMELINE && wants_browser) return tm_timeline_snapshot(ctx, s->model, out);
  if (s->kind == TM_KIND_TRACE && !wants_browser && (wants_trace || wants_dump))
    return tm_trace_snapshot(ctx, s->model, out);
  if (wants_trace) {
    if (s->kind != TM_KIND_PROFILE || !has_type(s->model, wants_browser ? "began" : "created"))
      return tm_fail(ctx, TM_E_FORMAT, TM_NO_OFFSET, "%s is no trace%s", s->format,
                     wants_browser ? " of a browser" : "");
  } else if (s->kind != TM_KIND_PROFILE && s->kind != TM_KIND_GOROUTINES) {
    return tm_fail(ctx, TM_E_FORMAT, TM_NO_OFFSET, "%s is no profile", s->format);
  }
  *out = s->model;
  s->model = NULL;
  return TM_OK;
}

tm_status tm_shot_read(tm_ctx *ctx, const char *metric, const void *data, size_t size,
                       tm_profile **out) {
  tm_snapshot s = {0};
  tm_status status = tm_read_buffer(ctx, data, size, NULL, &s);
  if (status != TM_OK && status != TM_E_NOMEM && s.model
      && (s.kind == TM_KIND_TRACE || s.kind == TM_KIND_TIMELINE)) {
    tm_ctx_clear(ctx); // it breaks off
    status = TM_OK;
  }
  if (status == TM_OK) status = take_model(ctx, metric, &s, out);
  tm_snapshot_fini(&s);
  return status;
}
