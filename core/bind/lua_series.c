// Views on series for rules. A view of one series is {input, target, key}; its numbers are fetched
// per call into scratch memory. `last`, `n`, `first`, `age` are fields; the rest are methods with
// one options table.
#include "bind/lua_series.h"

#include "analyze/changepoint.h"
#include "analyze/stats.h"
#include "analyze/trend.h"
#include "base/units.h"
#include "bind/lua_shots.h"
#include "live/sampler.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERIES_META "tidemark.Series"
#define TREND_META  "tidemark.Trend"

typedef struct lua_series {
  tm_engine *engine;
  tm_target *target; // retained
  const tm_rule_input *input;
  const int64_t *warm_ns, *now_ns;
  tm_track *track; // found at first use
  char key[64];
} lua_series;

// A rule may keep a series in a local of its file and ask it after its target ended.
static lua_series *check_series(lua_State *L) {
  lua_series *s = luaL_checkudata(L, 1, SERIES_META);
  if (!s->target || !tm_target_is_live(s->target))
    luaL_error(L, "the target of this series has ended");
  return s;
}

static tm_track *track_of(lua_series *s) {
  if (!s->track) s->track = tm_target_track(s->target, s->input->metric, s->key);
  return s->track;
}

// A copy of the view's samples, in the arena of the caller's ctx.
typedef struct window {
  int64_t *time_ns;
  double *value;
  size_t n;
} window;

static int64_t since_ns(const lua_series *s) {
  int64_t since = *s->now_ns - (int64_t)s->input->window_ns;
  return since > *s->warm_ns ? since : *s->warm_ns;
}

static bool fetch(lua_series *s, tm_ctx *ctx, window *out) {
  *out = (window){0};
  size_t max = s->input->keep;
  out->time_ns = tm_arena_alloc(&ctx->scratch, max * (sizeof(int64_t) + sizeof(double)));
  if (!out->time_ns) return false;
  out->value = (double *)(out->time_ns + max);
  tm_engine_lock(s->engine);
  tm_track *track = track_of(s);
  if (track) out->n = tm_series_copy(track->series, since_ns(s), out->time_ns, out->value, max);
  tm_engine_unlock(s->engine);
  return true;
}

// Each method works between open and close; nothing in between raises.
static void open_window(lua_State *L, lua_series *s, tm_ctx *ctx, window *w) {
  tm_ctx_init(ctx, NULL);
  if (fetch(s, ctx, w)) return;
  tm_ctx_fini(ctx);
  luaL_error(L, "out of memory for %s", s->input->metric);
}

// ---- options ----

static double option_number(lua_State *L, int index, const char *name, double otherwise) {
  if (!lua_istable(L, index)) return otherwise;
  lua_getfield(L, index, name);
  double value = otherwise;
  if (lua_type(L, -1) == LUA_TNUMBER) {
    value = lua_tonumber(L, -1);
  } else if (lua_type(L, -1) == LUA_TSTRING) {
    tm_ctx ctx;
    tm_ctx_init(&ctx, NULL);
    uint64_t ns;
    double ratio;
    if (tm_parse_duration(&ctx, lua_tostring(L, -1), &ns) == TM_OK) {
      value = (double)ns / 1e9;
    } else {
      tm_ctx_clear(&ctx);
      if (tm_parse_ratio(&ctx, lua_tostring(L, -1), &ratio) == TM_OK)
        value = ratio;
      else
        luaL_error(L, "option %s: %s is no number, duration or ratio", name, lua_tostring(L, -1));
    }
  }
  lua_pop(L, 1);
  return value;
}

static void check_options(lua_State *L, int index, const char *const *allowed) {
  if (lua_isnoneornil(L, index)) return;
  luaL_checktype(L, index, LUA_TTABLE);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    lua_pop(L, 1);
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
    bool known = false;
    for (const char *const *a = allowed; *a; a++) known = known || strcmp(*a, name) == 0;
    if (!known)
      luaL_error(L, "unknown option '%s'; there %s '%s'%s%s", name, allowed[1] ? "are" : "is",
                 allowed[0], allowed[1] ? ", " : "", allowed[1] ? allowed[1] : "");
  }
}

// skip = n: without the newest n; last = n: only the newest n; span = seconds: only what is not
// older; q: of quantile.
typedef struct range {
  double skip, last, span, q;
} range;

static range read_range(lua_State *L, int index, double q) {
  static const char *const allowed[] = {"skip", "last", "span", "q", NULL};
  check_options(L, index, allowed);
  return (range){option_number(L, index, "skip", 0), option_number(L, index, "last", 0),
                 option_number(L, index, "span", 0), option_number(L, index, "q", q)};
}

static void narrow(window *w, const range *r) {
  if (r->skip > 0) w->n = r->skip >= (double)w->n ? 0 : w->n - (size_t)r->skip;
  size_t drop = 0;
  if (r->last > 0 && r->last < (double)w->n) drop = w->n - (size_t)r->last;
  if (r->span > 0 && w->n)
    while (drop < w->n && (double)(w->time_ns[w->n - 1] - w->time_ns[drop]) / 1e9 > r->span) drop++;
  w->time_ns += drop;
  w->value += drop;
  w->n -= drop;
}

typedef double (*reduce_fn)(tm_ctx *ctx, const window *w, double argument);

static int reduce(lua_State *L, reduce_fn fn, double argument) {
  lua_series *s = check_series(L);
  range r = read_range(L, 2, argument);
  tm_ctx ctx;
  window w;
  open_window(L, s, &ctx, &w);
  narrow(&w, &r);
  double value = fn(&ctx, &w, r.q);
  tm_ctx_fini(&ctx);
  lua_pushnumber(L, value);
  return 1;
}

static double do_quantile(tm_ctx *ctx, const window *w, double q) {
  double out = NAN;
  return tm_stats_quantile(ctx, w->value, w->n, q, &out) == TM_OK ? out : NAN;
}

static double do_mad(tm_ctx *ctx, const window *w, double q) {
  (void)q;
  double out = NAN;
  return tm_stats_mad(ctx, w->value, w->n, &out) == TM_OK ? out : NAN;
}

static double do_mean(tm_ctx *ctx, const window *w, double q) {
  (void)ctx;
  (void)q;
  return tm_stats_mean(w->value, w->n);
}

static double do_change(tm_ctx *ctx, const window *w, double q) {
  (void)ctx;
  (void)q;
  double first = NAN, last = NAN;
  for (size_t i = 0; i < w->n; i++) {
    if (isnan(w->value[i])) continue;
    if (isnan(first)) first = w->value[i];
    last = w->value[i];
  }
  return last - first;
}

static double do_rate(tm_ctx *ctx, const window *w, double q) {
  if (w->n < 2) return NAN;
  double seconds = (double)(w->time_ns[w->n - 1] - w->time_ns[0]) / 1e9;
  return seconds > 0 ? do_change(ctx, w, q) / seconds : NAN;
}

static int series_median(lua_State *L) {
  return reduce(L, do_quantile, 0.5);
}

static int series_quantile(lua_State *L) {
  return reduce(L, do_quantile, 0.5);
}

static int series_min(lua_State *L) {
  return reduce(L, do_quantile, 0);
}

static int series_max(lua_State *L) {
  return reduce(L, do_quantile, 1);
}

static int series_mad(lua_State *L) {
  return reduce(L, do_mad, 0);
}

static int series_mean(lua_State *L) {
  return reduce(L, do_mean, 0);
}

static int series_delta(lua_State *L) {
  return reduce(L, do_change, 0);
}

static int series_rate(lua_State *L) {
  return reduce(L, do_rate, 0);
}

// ---- trend ----

static int push_trend(lua_State *L, const tm_trend *trend) {
  tm_trend *t = lua_newuserdatauv(L, sizeof *t, 0);
  *t = *trend;
  luaL_setmetatable(L, TREND_META);
  return 1;
}

static int series_trend(lua_State *L) {
  static const char *const allowed[] = {"floor", "min_growth", "last", "span", "skip", "q", NULL};
  lua_series *s = check_series(L);
  check_options(L, 2, allowed);
  range r = {option_number(L, 2, "skip", 0), option_number(L, 2, "last", 0),
             option_number(L, 2, "span", 0), 0};
  tm_trend_options options = tm_trend_defaults();
  options.buckets = (uint32_t)option_number(L, 2, "floor", options.buckets);
  options.min_growth_ratio = option_number(L, 2, "min_growth", options.min_growth_ratio);
  tm_ctx ctx;
  window w;
  open_window(L, s, &ctx, &w);
  narrow(&w, &r);
  tm_trend trend;
  tm_status status = tm_trend_compute(&ctx, w.time_ns, w.value, w.n, &options, &trend);
  tm_ctx_fini(&ctx);
  if (status != TM_OK) return luaL_error(L, "trend of %s: out of memory", s->input->metric);
  return push_trend(L, &trend);
}

static int trend_time_to(lua_State *L) {
  const tm_trend *t = luaL_checkudata(L, 1, TREND_META);
  double limit = luaL_optnumber(L, 2, NAN), low, high;
  if (isnan(limit)) {
    lua_pushnumber(L, HUGE_VAL);
    return 1;
  }
  double ns = tm_trend_time_to_ns(t, limit, &low, &high);
  lua_pushnumber(L, ns / 1e9);
  lua_pushnumber(L, low / 1e9);
  lua_pushnumber(L, high / 1e9);
  return 3;
}

// The fields by number; trend_index finds the number of a name in its upvalue.
enum {
  FIELD_LEAK = 1,
  FIELD_REASON,
  FIELD_SHAPE,
  FIELD_TIME_TO,
  FIELD_SLOPE,
  FIELD_SLOPE_LOW,
  FIELD_SLOPE_HIGH,
  FIELD_GROWTH,
  FIELD_LEVEL,
  FIELD_AMPLITUDE,
  FIELD_CONFIDENCE,
  FIELD_Z,
  FIELD_P,
  FIELD_N,
};

static const char *const trend_fields[] = {
    [FIELD_LEAK] = "leak",
    [FIELD_REASON] = "reason",
    [FIELD_SHAPE] = "shape",
    [FIELD_TIME_TO] = "time_to",
    [FIELD_SLOPE] = "slope",
    [FIELD_SLOPE_LOW] = "slope_low",
    [FIELD_SLOPE_HIGH] = "slope_high",
    [FIELD_GROWTH] = "growth",
    [FIELD_LEVEL] = "level",
    [FIELD_AMPLITUDE] = "amplitude",
    [FIELD_CONFIDENCE] = "confidence",
    [FIELD_Z] = "z",
    [FIELD_P] = "p",
    [FIELD_N] = "n",
};

static double trend_number(const tm_trend *t, lua_Integer field) {
  switch (field) {
  case FIELD_SLOPE:
    return t->slope_per_s * 3600;
  case FIELD_SLOPE_LOW:
    return t->slope_low_per_s * 3600;
  case FIELD_SLOPE_HIGH:
    return t->slope_high_per_s * 3600;
  case FIELD_GROWTH:
    return t->growth_ratio;
  case FIELD_LEVEL:
    return t->level;
  case FIELD_AMPLITUDE:
    return t->amplitude;
  case FIELD_CONFIDENCE:
    return t->confidence;
  case FIELD_Z:
    return t->z;
  case FIELD_P:
    return t->p;
  default:
    return (double)t->n_used;
  }
}

static int trend_index(lua_State *L) {
  static const char *const shapes[] = {"constant", "step", "line", "saturating"};
  const tm_trend *t = luaL_checkudata(L, 1, TREND_META);
  const char *name = luaL_checkstring(L, 2);
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(1));
  lua_Integer field = lua_tointeger(L, -1);
  switch (field) {
  case 0:
    return luaL_error(L, "a trend has no field '%s'", name);
  case FIELD_LEAK:
    lua_pushboolean(L, t->leak);
    break;
  case FIELD_REASON:
    lua_pushstring(L, t->reason ? t->reason : "");
    break;
  case FIELD_SHAPE:
    lua_pushstring(L, shapes[t->shape]);
    break;
  case FIELD_TIME_TO:
    lua_pushcfunction(L, trend_time_to);
    break;
  default:
    lua_pushnumber(L, trend_number(t, field));
  }
  return 1;
}

static void push_trend_fields(lua_State *L) {
  lua_createtable(L, 0, FIELD_N);
  for (lua_Integer i = FIELD_LEAK; i <= FIELD_N; i++) {
    lua_pushinteger(L, i);
    lua_setfield(L, -2, trend_fields[i]);
  }
}

// ---- control charts ----

static int series_cusum(lua_State *L) {
  static const char *const allowed[] = {"h", "k", "skip", "last", "span", "q", NULL};
  lua_series *s = check_series(L);
  check_options(L, 2, allowed);
  range r = {option_number(L, 2, "skip", 0), option_number(L, 2, "last", 0),
             option_number(L, 2, "span", 0), 0};
  double h = option_number(L, 2, "h", 5), k = option_number(L, 2, "k", 0.5);
  tm_ctx ctx;
  window w;
  open_window(L, s, &ctx, &w);
  narrow(&w, &r);
  tm_cusum result;
  tm_status status = tm_cusum_compute(&ctx, w.value, w.n, k, h, &result);
  tm_ctx_fini(&ctx);
  if (status != TM_OK) return luaL_error(L, "cusum of %s: out of memory", s->input->metric);
  lua_pushboolean(L, result.alarm);
  lua_pushnumber(L, result.high);
  return 2;
}

static int series_ewma(lua_State *L) {
  static const char *const allowed[] = {"lambda", "limit", "skip", "last", "span", "q", NULL};
  lua_series *s = check_series(L);
  check_options(L, 2, allowed);
  range r = {option_number(L, 2, "skip", 0), option_number(L, 2, "last", 0),
             option_number(L, 2, "span", 0), 0};
  double lambda = option_number(L, 2, "lambda", 0.2), limit = option_number(L, 2, "limit", 2.962);
  tm_ctx ctx;
  window w;
  open_window(L, s, &ctx, &w);
  narrow(&w, &r);
  tm_ewma result;
  tm_status status = tm_ewma_compute(&ctx, w.value, w.n, lambda, limit, &result);
  tm_ctx_fini(&ctx);
  if (status != TM_OK) return luaL_error(L, "ewma of %s: out of memory", s->input->metric);
  lua_pushboolean(L, result.alarm);
  lua_pushnumber(L, result.value);
  return 2;
}

// How many of the newest equal spans in a row each ended higher than the one before, and by how
// much in all: c.threads:rising{ span = "10s" } -> steps, delta.
static int series_rising(lua_State *L) {
  static const char *const allowed[] = {"span", "steps", NULL};
  lua_series *s = check_series(L);
  check_options(L, 2, allowed);
  double span = option_number(L, 2, "span", 10), most = option_number(L, 2, "steps", 1000);
  if (span <= 0) return luaL_error(L, "rising: span must be longer than 0");
  tm_ctx ctx;
  window w;
  open_window(L, s, &ctx, &w);
  double steps = 0, delta = 0, level = NAN;
  if (w.n) {
    int64_t end = w.time_ns[w.n - 1], span_ns = (int64_t)(span * 1e9);
    size_t i = w.n;
    level = w.value[w.n - 1];
    for (int64_t k = 1; (double)k <= most; k++) {
      int64_t at = end - k * span_ns;
      if (at < w.time_ns[0]) break;
      while (i > 0 && w.time_ns[i - 1] > at) i--;
      if (i == 0 || !(w.value[i - 1] < level)) break;
      delta += level - w.value[i - 1];
      level = w.value[i - 1];
      steps++;
    }
  }
  tm_ctx_fini(&ctx);
  lua_pushnumber(L, steps);
  lua_pushnumber(L, delta);
  return 2;
}

// c.r:growth{ head = 10, tail = 10 } -> { ratio, p, head, tail }: medians of the first and the last
// samples, and how likely chance made the last greater. What a gate compares.
static int series_growth(lua_State *L) {
  static const char *const allowed[] = {"head", "tail", NULL};
  lua_series *s = check_series(L);
  check_options(L, 2, allowed);
  double head = option_number(L, 2, "head", 10), tail = option_number(L, 2, "tail", 10);
  if (!(head >= 1 && head <= 1e6 && tail >= 1 && tail <= 1e6))
    return luaL_error(L, "growth: head and tail are numbers of samples");
  tm_ctx ctx;
  window w;
  open_window(L, s, &ctx, &w);
  tm_growth g;
  tm_status status = tm_stats_growth(&ctx, w.value, w.n, (size_t)head, (size_t)tail, &g);
  tm_ctx_fini(&ctx);
  if (status != TM_OK) return luaL_error(L, "growth of %s: out of memory", s->input->metric);
  const struct {
    const char *name;
    double value;
  } fields[] = {{"ratio", g.ratio}, {"p", g.p}, {"head", g.head}, {"tail", g.tail}};
  lua_createtable(L, 0, 4);
  for (size_t i = 0; i < TM_COUNT(fields); i++) {
    lua_pushnumber(L, fields[i].value);
    lua_setfield(L, -2, fields[i].name);
  }
  return 1;
}

// c.r:diff("function") of tm.runs -> a frame: what changed between the profiles that the gate kept.
static int series_diff(lua_State *L) {
  lua_series *s = check_series(L);
  if (strcmp(s->input->kind, "runs") != 0)
    return luaL_error(L, "diff is for tm.runs and tm.snapshots; %s is a series", s->input->metric);
  tm_lua_push_shots(L, s->engine, s->target, s->input, NULL, s->warm_ns, s->now_ns);
  lua_replace(L, 1);
  lua_getfield(L, 1, "diff");
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  return 1;
}

// The newest n values as a Lua array (default 60), for odd maths.
static int series_values(lua_State *L) {
  lua_series *s = check_series(L);
  static const char *const allowed[] = {"n", NULL};
  check_options(L, 2, allowed);
  size_t most = (size_t)option_number(L, 2, "n", 60);
  tm_ctx ctx;
  window w;
  if (most > 10000) most = 10000;
  lua_createtable(L, (int)most, 0);
  open_window(L, s, &ctx, &w);
  size_t from = w.n > most ? w.n - most : 0;
  for (size_t i = from; i < w.n; i++) {
    lua_pushnumber(L, w.value[i]);
    lua_rawseti(L, -2, (lua_Integer)(i - from) + 1);
  }
  tm_ctx_fini(&ctx);
  return 1;
}

// ---- families: one view per key ----

static void push_view(lua_State *L, const lua_series *of, const char *key);

static size_t family_keys(lua_series *s, char keys[][64], size_t max) {
  size_t n = 0;
  tm_engine_lock(s->engine);
  for (size_t i = 0; i < tm_target_track_count(s->target) && n < max; i++) {
    const tm_track *track = tm_target_track_at(s->target, i);
    if (strcmp(track->metric, s->input->metric) == 0) snprintf(keys[n++], 64, "%s", track->key);
  }
  tm_engine_unlock(s->engine);
  return n;
}

// c.h:each(function(kind, ring) ... end) -> the list of what fn returned, without nils.
static int series_each(lua_State *L) {
  lua_series *s = check_series(L);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  enum { MAX_KEYS = 64 };
  char keys[MAX_KEYS][64];
  size_t n = family_keys(s, keys, MAX_KEYS);
  lua_settop(L, 2);
  lua_newtable(L);
  lua_Integer count = 0;
  for (size_t i = 0; i < n; i++) {
    lua_pushvalue(L, 2);
    lua_pushstring(L, keys[i]);
    push_view(L, s, keys[i]);
    lua_call(L, 2, 1);
    if (lua_isnil(L, -1))
      lua_pop(L, 1);
    else
      lua_rawseti(L, 3, ++count);
  }
  return 1;
}

static int series_kind(lua_State *L) {
  lua_series *s = check_series(L);
  push_view(L, s, luaL_checkstring(L, 2));
  return 1;
}

// ---- fields ----

static int series_index(lua_State *L) {
  lua_series *s = check_series(L);
  const char *name = luaL_checkstring(L, 2);
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(1));
  if (!lua_isnil(L, -1)) return 1;
  if (strcmp(name, "last") == 0 || strcmp(name, "age") == 0) {
    int64_t time_ns = 0;
    double value = NAN;
    tm_engine_lock(s->engine);
    tm_track *track = track_of(s);
    bool there = track && tm_series_last(track->series, &time_ns, &value);
    tm_engine_unlock(s->engine);
    if (!there)
      lua_pushnil(L);
    else
      lua_pushnumber(L, name[0] == 'l' ? value : (double)(*s->now_ns - time_ns) / 1e9);
    return 1;
  }
  if (strcmp(name, "n") == 0 || strcmp(name, "first") == 0 || strcmp(name, "span") == 0) {
    tm_ctx ctx;
    window w;
    open_window(L, s, &ctx, &w);
    double value = name[0] == 'n'   ? (double)w.n
                   : !w.n           ? NAN
                   : name[0] == 'f' ? w.value[0]
                                    : (double)(w.time_ns[w.n - 1] - w.time_ns[0]) / 1e9;
    tm_ctx_fini(&ctx);
    lua_pushnumber(L, value);
    return 1;
  }
  if (strcmp(name, "metric") == 0)
    lua_pushstring(L, s->input->metric);
  else if (strcmp(name, "unit") == 0)
    lua_pushstring(L, tm_unit_name(tm_metric_unit(s->input->metric)));
  else if (strcmp(name, "key") == 0)
    lua_pushstring(L, s->key);
  else
    return luaL_error(L, "a series has no field or method '%s'", name);
  return 1;
}

static int series_gc(lua_State *L) {
  lua_series *s = luaL_checkudata(L, 1, SERIES_META);
  tm_target_release(s->target);
  s->target = NULL;
  return 0;
}

static int series_tostring(lua_State *L) {
  lua_series *s = check_series(L);
  lua_pushfstring(L, "%s%s%s of %s", s->input->metric, s->key[0] ? " " : "", s->key,
                  tm_target_get_facts(s->target)->name);
  return 1;
}

static void make_metatables(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"trend", series_trend},   {"median", series_median}, {"quantile", series_quantile},
      {"mad", series_mad},       {"min", series_min},       {"max", series_max},
      {"mean", series_mean},     {"delta", series_delta},   {"rate", series_rate},
      {"cusum", series_cusum},   {"ewma", series_ewma},     {"rising", series_rising},
      {"values", series_values}, {"growth", series_growth}, {"diff", series_diff},
      {"each", series_each},     {"kind", series_kind},     {NULL, NULL}};
  if (luaL_newmetatable(L, SERIES_META)) {
    luaL_newlib(L, methods);
    lua_pushcclosure(L, series_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, series_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, series_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
  }
  lua_pop(L, 1);
  if (luaL_newmetatable(L, TREND_META)) {
    push_trend_fields(L);
    lua_pushcclosure(L, trend_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
  }
  lua_pop(L, 1);
}

static void push_view(lua_State *L, const lua_series *of, const char *key) {
  lua_series *s = lua_newuserdatauv(L, sizeof *s, 0);
  *s = *of;
  s->track = NULL;
  snprintf(s->key, sizeof s->key, "%s", key);
  tm_target_retain(s->target);
  luaL_setmetatable(L, SERIES_META);
}

void tm_lua_push_series(lua_State *L, tm_engine *engine, tm_target *target,
                        const tm_rule_input *input, const int64_t *warm_ns, const int64_t *now_ns) {
  make_metatables(L);
  lua_series view = {engine, target, input, warm_ns, now_ns, NULL, ""};
  push_view(L, &view, input->key);
}
