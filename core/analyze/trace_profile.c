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
  uint32_t state_key, created_key, entry_key;
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

// ---- what rules compare ----

typedef struct group {                   // goroutines that are alike
  uint32_t site, creation, entry, state; // the state: a string of the profile
} group;

typedef struct groups {
  tm_strtab keys; // the bytes of a group; its id - 1 is its place
  TM_VEC(int64_t) counts;
  TM_VEC(int64_t) blocked_ns;
} groups;

static tm_status count_alive(maker *m, groups *all) {
  const tm_trace *t = m->t;
  for (size_t i = 0; i < t->goroutines.count; i++) {
    const tm_goroutine *g = &t->goroutines.items[i];
    if (g->foreign || tm_goroutine_is_system(tm_trace_text(t, g->entry))) continue;
    group key = {g->site, g->creation, g->entry, 0};
    uint32_t id;
    TM_TRY(intern(m, tm_goroutine_state(t, g), &key.state));
    TM_TRY(tm_strtab_intern(m->ctx, &all->keys, (const char *)&key, sizeof key, &id));
    if (id > all->counts.count) {
      TM_TRY(tm_vec_push(m->ctx, &all->counts, 0));
      TM_TRY(tm_vec_push(m->ctx, &all->blocked_ns, 0));
    }
    bool blocked = g->state == TM_GO_WAITING || g->state == TM_GO_SYSCALL;
    int64_t since = blocked ? t->duration_ns - g->since_ns : 0;
    int64_t *sum = &all->blocked_ns.items[id - 1];
    all->counts.items[id - 1]++;
    *sum = (int64_t)((uint64_t)*sum + (uint64_t)since);
  }
  return TM_OK;
}

static tm_status push_stack(maker *m, uint32_t stack, uint32_t entry) {
  const tm_trace_stack *s = &m->t->stacks.items[stack];
  tm_trace_frame only = {.function = entry};
  if (s->begin == s->end) return push_frame(m, &only);
  for (uint32_t i = s->begin; i < s->end; i++) TM_TRY(push_frame(m, &m->t->frames.items[i]));
  return TM_OK;
}

static tm_status push_origin(maker *m, uint32_t entry, uint32_t creation) {
  const char *first = tm_trace_text(m->t, entry);
  TM_TRY(push_label(m, m->entry_key, *first ? first : "unknown"));
  return push_label(m, m->created_key, tm_goroutine_creator(m->t, creation));
}

static tm_status add_groups(maker *m, const groups *all) {
  for (size_t i = 0; i < all->counts.count; i++) {
    group g;
    tm_label state = {.key = m->state_key};
    memcpy(&g, tm_strtab_text(&all->keys, (uint32_t)i + 1), sizeof g);
    TM_TRY(push_stack(m, g.site, g.entry));
    state.text = g.state;
    if (g.state) TM_TRY(tm_vec_push(m->ctx, &m->p->labels, state));
    TM_TRY(push_origin(m, g.entry, g.creation));
    int64_t values[] = {all->counts.items[i], all->blocked_ns.items[i], 0, 0};
    TM_TRY(tm_profile_end_sample(m->ctx, m->p, values));
  }
  return TM_OK;
}

static tm_status add_piles(maker *m) {
  for (size_t i = 0; i < m->t->piles.count; i++) {
    const tm_go_pile *pile = &m->t->piles.items[i];
    if (pile->foreign || tm_goroutine_is_system(tm_trace_text(m->t, pile->entry))) continue;
    TM_TRY(push_stack(m, pile->creation, pile->entry));
    TM_TRY(push_origin(m, pile->entry, pile->creation));
    int64_t values[] = {0, 0, (int64_t)pile->created_count, (int64_t)pile->ended_count};
    TM_TRY(tm_profile_end_sample(m->ctx, m->p, values));
  }
  return TM_OK;
}

static tm_status add_stat(maker *m, const char *name, double value) {
  tm_profile_stat stat = {.value = value};
  TM_TRY(intern(m, name, &stat.name));
  return tm_vec_push(m->ctx, &m->p->stats, stat);
}

static tm_status add_stats(maker *m) {
  const tm_trace *t = m->t;
  const tm_trace_points *live = &t->counters[TM_COUNTER_HEAP_LIVE];
  TM_TRY(add_stat(m, "Seconds", (double)t->duration_ns / 1e9));
  TM_TRY(add_stat(m, "Created", (double)t->created_count));
  TM_TRY(add_stat(m, "Ended", (double)t->ended_count));
  TM_TRY(add_stat(m, "Alive", (double)t->goroutines.count));
  TM_TRY(add_stat(m, "Collections", (double)t->gc_count));
  if (!live->count) return TM_OK;
  int64_t floor = live->items[0].value;
  for (size_t i = 1; i < live->count; i++)
    if (live->items[i].value < floor) floor = live->items[i].value;
  return add_stat(m, "HeapFloor", (double)floor);
}

static tm_status fill_snapshot(maker *m) {
  static const char *const types[][2] = {
      {"count", "count"}, {"blocked", "nanoseconds"}, {"created", "count"}, {"ended", "count"}};
  groups all = {.counts = {0}};
  for (size_t i = 0; i < TM_COUNT(types); i++)
    TM_TRY(tm_profile_add_type(m->ctx, m->p, types[i][0], types[i][1]));
  TM_TRY(intern(m, "count", &m->p->default_type));
  TM_TRY(intern(m, "state", &m->state_key));
  TM_TRY(intern(m, "created_by", &m->created_key));
  TM_TRY(intern(m, "entry", &m->entry_key));
  m->p->duration_ns = m->t->duration_ns;
  m->p->time_ns = m->t->clock_unix_ns;
  tm_strtab_init(&all.keys, &m->ctx->alloc, 0);
  tm_status status = count_alive(m, &all);
  if (status == TM_OK) status = add_groups(m, &all);
  tm_strtab_fini(&all.keys);
  tm_vec_free(m->ctx, &all.counts);
  tm_vec_free(m->ctx, &all.blocked_ns);
  TM_TRY(status);
  TM_TRY(add_piles(m));
  return add_stats(m);
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

tm_status tm_trace_snapshot(tm_ctx *ctx, const tm_trace *t, tm_profile **out) {
  maker m = {.ctx = ctx, .t = t};
  TM_TRY(tm_profile_new(ctx, &m.p));
  return finish(&m, fill_snapshot(&m), out);
}
