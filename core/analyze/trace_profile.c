// Frames of the trace become locations, one per (function, line). Cost: O(frames).
#include "analyze/trace_profile.h"

#include "analyze/goroutines.h"

#include <string.h>

typedef struct maker {
  tm_ctx *ctx;
  const tm_trace *t;
  tm_profile *p;
  tm_idmap functions; // trace's (function, file) -> function
  tm_idmap locations; // (function, line) -> location
  uint32_t state_key, created_key;
} maker;

static tm_status intern(maker *m, const char *text, uint32_t *out) {
  return tm_profile_intern(m->ctx, m->p, text, strlen(text), out);
}

static tm_status function_of(maker *m, const tm_trace_frame *f, uint32_t *out) {
  uint64_t key = (uint64_t)f->function << 32 | f->file;
  *out = tm_idmap_get(&m->functions, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  tm_function made = {.id = m->p->functions.count + 1};
  TM_TRY(intern(m, tm_trace_text(m->t, f->function), &made.name));
  TM_TRY(intern(m, tm_trace_text(m->t, f->file), &made.file));
  made.system_name = made.name;
  *out = (uint32_t)m->p->functions.count;
  TM_TRY(tm_vec_push(m->ctx, &m->p->functions, made));
  return tm_idmap_put(m->ctx, &m->functions, key, *out);
}

static tm_status push_frame(maker *m, const tm_trace_frame *f) {
  tm_profile *p = m->p;
  uint32_t function;
  TM_TRY(function_of(m, f, &function));
  uint64_t key = (uint64_t)function << 32 | f->line;
  uint32_t at = tm_idmap_get(&m->locations, key);
  if (at == TM_IDMAP_NONE) {
    at = (uint32_t)p->locations.count;
    uint32_t line = (uint32_t)p->lines.count;
    tm_location made = {.id = (uint64_t)at + 1,
                        .mapping = TM_PROFILE_NONE,
                        .line_begin = line,
                        .line_end = line + 1};
    TM_TRY(tm_vec_push(m->ctx, &p->lines, (tm_line){function, f->line, 0}));
    TM_TRY(tm_vec_push(m->ctx, &p->locations, made));
    TM_TRY(tm_idmap_put(m->ctx, &m->locations, key, at));
  }
  return tm_vec_push(m->ctx, &p->stack, at);
}

static tm_status push_label(maker *m, uint32_t key, const char *text) {
  tm_label label = {.key = key};
  if (!*text) return TM_OK;
  TM_TRY(intern(m, text, &label.text));
  return tm_vec_push(m->ctx, &m->p->labels, label);
}

static tm_status add_sample(maker *m, const tm_goroutine *g) {
  static const char *const states[] = {"", "runnable", "running", "syscall", "waiting"};
  const tm_trace_stack *s = &m->t->stacks.items[g->site];
  const char *reason = tm_trace_text(m->t, g->reason);
  if (s->begin == s->end) {
    tm_trace_frame entry = {.function = g->entry};
    TM_TRY(push_frame(m, &entry));
  }
  for (uint32_t i = s->begin; i < s->end; i++) TM_TRY(push_frame(m, &m->t->frames.items[i]));
  bool waits = g->state == TM_GO_WAITING;
  TM_TRY(push_label(m, m->state_key, waits && *reason ? reason : states[g->state]));
  TM_TRY(push_label(m, m->created_key, tm_goroutine_creator(m->t, g->creation)));
  bool blocked = waits || g->state == TM_GO_SYSCALL;
  int64_t values[] = {1, blocked ? m->t->duration_ns - g->since_ns : 0};
  return tm_profile_end_sample(m->ctx, m->p, values);
}

static tm_status fill(maker *m, bool system) {
  const tm_trace *t = m->t;
  TM_TRY(tm_profile_add_type(m->ctx, m->p, "goroutines", "count"));
  TM_TRY(tm_profile_add_type(m->ctx, m->p, "blocked", "nanoseconds"));
  TM_TRY(intern(m, "blocked", &m->p->default_type));
  TM_TRY(intern(m, "state", &m->state_key));
  TM_TRY(intern(m, "created_by", &m->created_key));
  m->p->duration_ns = t->duration_ns;
  m->p->time_ns = t->clock_unix_ns;
  for (size_t i = 0; i < t->goroutines.count; i++) {
    const tm_goroutine *g = &t->goroutines.items[i];
    if (g->foreign || (!system && tm_goroutine_is_system(tm_trace_text(t, g->entry)))) continue;
    TM_TRY(add_sample(m, g));
  }
  return TM_OK;
}

static tm_status fill_waits(maker *m) {
  const tm_trace *t = m->t;
  TM_TRY(tm_profile_add_type(m->ctx, m->p, "contentions", "count"));
  TM_TRY(tm_profile_add_type(m->ctx, m->p, "delay", "nanoseconds"));
  TM_TRY(intern(m, "delay", &m->p->default_type));
  TM_TRY(intern(m, "reason", &m->state_key));
  m->p->duration_ns = t->duration_ns;
  for (size_t i = 0; i < t->waits.count; i++) {
    const tm_trace_wait *w = &t->waits.items[i];
    const tm_trace_stack *s = &t->stacks.items[w->site];
    for (uint32_t f = s->begin; f < s->end; f++) TM_TRY(push_frame(m, &t->frames.items[f]));
    TM_TRY(push_label(m, m->state_key, tm_trace_text(t, w->reason)));
    int64_t values[] = {(int64_t)w->count, w->total_ns};
    TM_TRY(tm_profile_end_sample(m->ctx, m->p, values));
  }
  return TM_OK;
}

static tm_status finish(maker *m, tm_status status, tm_profile **out) {
  tm_idmap_free(m->ctx, &m->functions);
  tm_idmap_free(m->ctx, &m->locations);
  if (status != TM_OK) {
    tm_profile_free(m->p);
    return status;
  }
  *out = m->p;
  return TM_OK;
}

tm_status tm_trace_wait_profile(tm_ctx *ctx, const tm_trace *t, tm_profile **out) {
  maker m = {.ctx = ctx, .t = t};
  TM_TRY(tm_profile_new(ctx, &m.p));
  return finish(&m, fill_waits(&m), out);
}

tm_status tm_trace_profile(tm_ctx *ctx, const tm_trace *t, bool system, tm_profile **out) {
  maker m = {.ctx = ctx, .t = t};
  TM_TRY(tm_profile_new(ctx, &m.p));
  return finish(&m, fill(&m, system), out);
}
