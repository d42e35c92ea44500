// An input's root holds its plans: one per combination of filter, key and value that the rule asks
// for. A plan keeps one reduced column per snapshot; when a new one came, only that one is read,
// and the growth table is made anew from the columns. Views are the root with a filter.
#include "analyze/growth.h"
#include "bind/lua_frame.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOTS_META "tidemark.Snapshots"

enum { PLANS_MAX = 16, TEXT_MAX = 128, ID_MAX = 2048 };

typedef struct plan {
  char id[ID_MAX];
  uint64_t ordinal; // of the newest snapshot that it has seen
  tm_shot_column *columns[TM_SHOTS_MAX];
  size_t column_count;
  tm_frame_base *base; // NULL = nothing to show yet
} plan;

// Shared by the input's userdata and its views.
typedef struct root {
  uint32_t references;
  tm_engine *engine;
  tm_target *target; // retained
  const tm_rule_input *input;
  const char *metric;
  const int64_t *warm_ns, *now_ns;
  plan *plans[PLANS_MAX];
  size_t plan_count, oldest;
} root;

typedef struct filter {
  int blocked;
  char focus[TEXT_MAX], ignore[TEXT_MAX];
  char labels[TM_PIVOT_CONDITIONS][TEXT_MAX], globs[TM_PIVOT_CONDITIONS][TEXT_MAX];
  size_t condition_count;
} filter;

typedef struct shots {
  root *root;
  filter filter;
} shots;

// ---- plans ----

static void free_plan(plan *p) {
  for (size_t i = 0; i < p->column_count; i++) tm_shot_column_release(p->columns[i]);
  tm_frame_base_release(p->base);
  free(p);
}

static void release_root(root *r) {
  if (!r || --r->references) return;
  for (size_t i = 0; i < r->plan_count; i++) free_plan(r->plans[i]);
  tm_target_release(r->target);
  free(r);
}

static plan *find_plan(root *r, const char *id) {
  for (size_t i = 0; i < r->plan_count; i++)
    if (strcmp(r->plans[i]->id, id) == 0) return r->plans[i];
  plan *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  snprintf(p->id, sizeof p->id, "%s", id);
  if (r->plan_count < PLANS_MAX) return r->plans[r->plan_count++] = p;
  free_plan(r->plans[r->oldest]); // frames of it live on by themselves
  r->plans[r->oldest] = p;
  r->oldest = (r->oldest + 1) % PLANS_MAX;
  return p;
}

static tm_status read_column(tm_ctx *ctx, const tm_shot *shot, const tm_pivot_options *o,
                             tm_shot_column **out) {
  tm_shot_column *c = calloc(1, sizeof *c);
  if (!c) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for a pivot");
  c->references = 1;
  c->shot = tm_shot_retain(shot);
  tm_status status = tm_pivot_read(ctx, shot->profile, o, &c->pivot);
  if (status != TM_OK)
    tm_shot_column_release(c);
  else
    *out = c;
  return status;
}

// Replaces the plan's columns by those of the shots; what was read before is kept.
static tm_status read_columns(tm_ctx *ctx, plan *p, const tm_shot *const *list, size_t count,
                              const tm_pivot_options *o) {
  tm_shot_column *columns[TM_SHOTS_MAX];
  size_t done = 0, old = 0;
  tm_status status = TM_OK;
  for (size_t i = 0; i < count && status == TM_OK; i++) {
    while (old < p->column_count && p->columns[old]->shot->ordinal < list[i]->ordinal) old++;
    if (old < p->column_count && p->columns[old]->shot == list[i]) {
      columns[done] = p->columns[old];
      columns[done++]->references++;
    } else {
      status = read_column(ctx, list[i], o, &columns[done]);
      done += status == TM_OK;
    }
  }
  for (size_t i = 0; i < p->column_count; i++) tm_shot_column_release(p->columns[i]);
  memcpy(p->columns, columns, done * sizeof *columns);
  p->column_count = done;
  return status;
}

static tm_status make_base(tm_ctx *ctx, plan *p, const char *by) {
  tm_report_options none;
  tm_growth *growth = NULL;
  tm_report_options_init(&none);
  tm_frame_base_release(p->base);
  p->base = NULL;
  if (!p->column_count) return TM_OK;
  tm_frame_base *b = calloc(1, sizeof *b);
  if (!b) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for a frame");
  const tm_shot_column *first = p->columns[0], *last = p->columns[p->column_count - 1];
  tm_status status = tm_table_new(ctx, &b->table);
  if (status == TM_OK) status = tm_growth_new(ctx, TM_GROWTH_BY_FUNCTION, &none, &growth);
  if (status == TM_OK) tm_growth_keep_unchanged(growth);
  for (size_t i = 0; i < p->column_count && status == TM_OK; i++)
    status = tm_growth_add_pivot(ctx, growth, &p->columns[i]->pivot, p->columns[i]->shot->time_ns);
  if (status == TM_OK) status = tm_growth_table(ctx, growth, 0, b->table);
  tm_growth_free(growth);
  b->references = 1;
  b->newest = p->columns[p->column_count - 1];
  b->newest->references++;
  b->snapshot_count = p->column_count;
  b->first_total = first->pivot.total;
  b->last_total = last->pivot.total;
  b->hours = (double)(last->shot->time_ns - first->shot->time_ns) / 3.6e12;
  snprintf(b->by, sizeof b->by, "%s", by);
  memcpy(b->type, last->pivot.type, sizeof b->type);
  memcpy(b->unit, last->pivot.unit, sizeof b->unit);
  if (status == TM_OK)
    p->base = b;
  else
    tm_frame_base_release(b);
  return status;
}

static size_t fetch(const root *r, const tm_shot **out) {
  size_t keep = r->input->keep < TM_SHOTS_MAX ? r->input->keep : TM_SHOTS_MAX;
  size_t n = tm_target_shots(r->engine, r->target, r->metric, out, keep), kept = 0;
  for (size_t i = 0; i < n; i++) {
    if (out[i]->time_ns < *r->warm_ns)
      tm_shot_release(out[i]);
    else
      out[kept++] = out[i];
  }
  return kept;
}

static tm_status refresh(tm_ctx *ctx, root *r, plan *p, const tm_pivot_options *o, const char *by) {
  const tm_shot *list[TM_SHOTS_MAX];
  if (p->base && tm_target_shot_ordinal(r->engine, r->target, r->metric) == p->ordinal)
    return TM_OK;
  size_t count = fetch(r, list);
  tm_status status = read_columns(ctx, p, list, count, o);
  p->ordinal = count ? list[count - 1]->ordinal : 0;
  for (size_t i = 0; i < count; i++) tm_shot_release(list[i]);
  if (status == TM_OK) status = make_base(ctx, p, by);
  if (status != TM_OK) p->ordinal = 0;
  return status;
}

// The plan of a view, a key and a value, up to date. Raises what went wrong.
static plan *plan_of(lua_State *L, const shots *s, tm_pivot_options *o, const char *by) {
  const filter *f = &s->filter;
  char id[ID_MAX];
  int n = snprintf(id, sizeof id, "%s|%zu|%s|%d|%s|%s", by, o->depth, o->value ? o->value : "",
                   f->blocked, f->focus, f->ignore);
  for (size_t i = 0; i < f->condition_count && n < (int)sizeof id; i++) {
    n += snprintf(id + n, sizeof id - (size_t)n, "|%s=%s", f->labels[i], f->globs[i]);
    o->conditions[i] = (tm_pivot_condition){f->labels[i], f->globs[i]};
  }
  o->condition_count = f->condition_count;
  o->blocked = f->blocked;
  o->focus = f->focus;
  o->ignore = f->ignore;
  if (n >= (int)sizeof id) luaL_error(L, "the filter of these snapshots is too long");
  plan *p = find_plan(s->root, id);
  if (!p) luaL_error(L, "out of memory for a pivot");
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  char problem[sizeof ctx.error.message] = "";
  if (refresh(&ctx, s->root, p, o, by) != TM_OK)
    snprintf(problem, sizeof problem, "%s", ctx.error.message);
  tm_ctx_fini(&ctx);
  if (problem[0]) luaL_error(L, "%s: %s", s->root->metric, problem);
  return p;
}

// ---- methods ----

static shots *check_shots(lua_State *L) {
  shots *s = luaL_checkudata(L, 1, SHOTS_META);
  if (!s->root || !tm_target_is_live(s->root->target))
    luaL_error(L, "the target of these snapshots has ended");
  return s;
}

static void copy_text(lua_State *L, const char *what, const char *text, char out[TEXT_MAX]) {
  size_t size = text ? strlen(text) + 1 : 0;
  if (!size || size > TEXT_MAX)
    luaL_error(L, "%s must be a text of less than %d bytes", what, TEXT_MAX);
  else
    memcpy(out, text, size);
}

static void add_condition(lua_State *L, filter *f, const char *label, const char *glob) {
  if (f->condition_count == TM_PIVOT_CONDITIONS)
    luaL_error(L, "where takes %d labels", TM_PIVOT_CONDITIONS);
  copy_text(L, "a label", label, f->labels[f->condition_count]);
  copy_text(L, "a label's pattern", glob, f->globs[f->condition_count]);
  f->condition_count++;
}

static shots *push_view(lua_State *L, const shots *of) {
  shots *s = lua_newuserdatauv(L, sizeof *s, 0);
  *s = *of;
  s->root->references++;
  luaL_setmetatable(L, SHOTS_META);
  return s;
}

// where{ blocked = true, state = "chan*", focus = regexp, ignore = regexp, label = { name = glob }
// }
static int shots_where(lua_State *L) {
  static const char *const allowed[] = {"blocked", "state", "focus", "ignore", "label", NULL};
  shots *s = check_shots(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  tm_lua_check_options(L, 2, allowed);
  filter *f = &push_view(L, s)->filter;
  if (lua_getfield(L, 2, "blocked") != LUA_TNIL) f->blocked = lua_toboolean(L, -1) ? 1 : -1;
  if (lua_getfield(L, 2, "focus") != LUA_TNIL) copy_text(L, "focus", lua_tostring(L, -1), f->focus);
  if (lua_getfield(L, 2, "ignore") != LUA_TNIL)
    copy_text(L, "ignore", lua_tostring(L, -1), f->ignore);
  if (lua_getfield(L, 2, "state") != LUA_TNIL) add_condition(L, f, "state", lua_tostring(L, -1));
  if (lua_getfield(L, 2, "label") != LUA_TNIL) {
    luaL_checktype(L, -1, LUA_TTABLE);
    int labels = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, labels)) {
      const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
      add_condition(L, f, name, lua_tostring(L, -1));
      lua_pop(L, 1);
    }
  }
  lua_settop(L, 3);
  return 1;
}

// Adds one key part by its name; names that are none of ours are labels.
static void add_part(lua_State *L, tm_pivot_options *o, const char *name) {
  static const struct {
    const char *name;
    tm_pivot_by by;
  } names[] = {{"function", TM_PIVOT_FUNCTION},
               {"path", TM_PIVOT_PATH},
               {"site", TM_PIVOT_SITE},
               {"created_by", TM_PIVOT_CREATOR}};
  if (o->part_count == TM_PIVOT_PARTS) luaL_error(L, "a key has at most %d parts", TM_PIVOT_PARTS);
  tm_pivot_part part = {TM_PIVOT_LABEL, name};
  for (size_t i = 0; i < TM_COUNT(names); i++)
    if (strcmp(name, names[i].name) == 0) part.by = names[i].by;
  o->parts[o->part_count++] = part;
}

// pivot(by, value): by = "function", "path", "site", "created_by", a label's name, or a list of
// these; value = "inuse_space", ..., "count"; default the profile's own.
static int shots_pivot(lua_State *L) {
  shots *s = check_shots(L);
  tm_pivot_options o = {.value = luaL_optstring(L, 3, "")};
  char by[64] = "";
  lua_settop(L, 3);
  if (lua_istable(L, 2)) {
    for (lua_Integer i = 1; lua_rawgeti(L, 2, i) != LUA_TNIL; i++) {
      const char *name = luaL_checkstring(L, -1); // the list holds it
      snprintf(by + strlen(by), sizeof by - strlen(by), "%s%s", *by ? "," : "", name);
      add_part(L, &o, name);
      lua_pop(L, 1);
    }
  } else {
    snprintf(by, sizeof by, "%s", luaL_checkstring(L, 2));
    add_part(L, &o, lua_tostring(L, 2));
  }
  if (!o.part_count || strlen(by) >= sizeof by - 1)
    luaL_error(L, "pivot takes \"function\", \"path\", \"site\", \"created_by\" or a label's name");
  tm_lua_push_frame(L, plan_of(L, s, &o, by)->base);
  return 1;
}

// chains{by = "class", depth = 6, weight = "instances" | "bytes"}: heap dumps by type path from the
// roots, cut to that many steps.
static int shots_chains(lua_State *L) {
  static const char *const allowed[] = {"by", "depth", "weight", NULL};
  static const char *const keys[] = {"class", NULL}, *const weights[] = {"instances", "bytes",
                                                                         NULL};
  shots *s = check_shots(L);
  tm_pivot_options o = {0};
  lua_settop(L, 2);
  tm_lua_check_options(L, 2, allowed);
  if (lua_isnil(L, 2)) {
    lua_newtable(L);
    lua_replace(L, 2);
  }
  lua_getfield(L, 2, "by");
  luaL_checkoption(L, -1, "class", keys);
  lua_getfield(L, 2, "weight");
  o.value = luaL_checkoption(L, -1, "instances", weights) ? "space" : "objects";
  lua_getfield(L, 2, "depth");
  lua_Integer depth = luaL_optinteger(L, -1, 0);
  luaL_argcheck(L, depth >= 0 && depth <= 1000, 2, "depth is 1 to 1000, or 0 for all");
  o.depth = (size_t)depth;
  add_part(L, &o, "path");
  tm_lua_push_frame(L, plan_of(L, s, &o, "chain")->base);
  return 1;
}

// totals(value) -> { {time, value}, ... }, oldest first.
static int shots_totals(lua_State *L) {
  shots *s = check_shots(L);
  tm_pivot_options o = {.value = luaL_optstring(L, 2, "")};
  const plan *p = plan_of(L, s, &o, "");
  lua_createtable(L, (int)p->column_count, 0);
  for (size_t i = 0; i < p->column_count; i++) {
    lua_createtable(L, 0, 2);
    lua_pushnumber(L, (double)p->columns[i]->shot->time_ns / 1e9);
    lua_setfield(L, -2, "time");
    lua_pushinteger(L, p->columns[i]->pivot.total);
    lua_setfield(L, -2, "value");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

// ---- fields ----

static void push_stats(lua_State *L, const tm_profile *p) {
  lua_createtable(L, 0, (int)p->stats.count);
  for (size_t i = 0; i < p->stats.count; i++) {
    lua_pushnumber(L, p->stats.items[i].value);
    lua_setfield(L, -2, tm_profile_text(p, p->stats.items[i].name));
  }
}

// { total, type, unit, time, time_ns, age, samples, stats } of the newest snapshot, or nil.
static int push_last(lua_State *L, const shots *s) {
  tm_pivot_options o = {.value = ""};
  const plan *p = plan_of(L, s, &o, "");
  if (!p->base) {
    lua_pushnil(L);
    return 1;
  }
  const tm_shot_column *c = p->base->newest;
  lua_createtable(L, 0, 8);
  lua_pushinteger(L, c->pivot.total);
  lua_setfield(L, -2, "total");
  lua_pushstring(L, c->pivot.type);
  lua_setfield(L, -2, "type");
  lua_pushstring(L, c->pivot.unit);
  lua_setfield(L, -2, "unit");
  lua_pushinteger(L, c->shot->time_ns);
  lua_setfield(L, -2, "time_ns");
  lua_pushnumber(L, (double)c->shot->time_ns / 1e9);
  lua_setfield(L, -2, "time");
  lua_pushnumber(L, (double)(*s->root->now_ns - c->shot->time_ns) / 1e9);
  lua_setfield(L, -2, "age");
  lua_pushinteger(L, c->shot->profile->sample_count);
  lua_setfield(L, -2, "samples");
  push_stats(L, c->shot->profile);
  lua_setfield(L, -2, "stats");
  return 1;
}

static int shots_index(lua_State *L) {
  shots *s = check_shots(L);
  const char *name = luaL_checkstring(L, 2);
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(1));
  if (!lua_isnil(L, -1)) return 1;
  if (strcmp(name, "last") == 0) return push_last(L, s);
  if (strcmp(name, "metric") == 0) {
    lua_pushstring(L, s->root->metric);
    return 1;
  }
  if (strcmp(name, "n") == 0 || strcmp(name, "span") == 0) {
    const tm_shot *list[TM_SHOTS_MAX];
    size_t n = fetch(s->root, list);
    double span = n ? (double)(list[n - 1]->time_ns - list[0]->time_ns) / 1e9 : 0;
    for (size_t i = 0; i < n; i++) tm_shot_release(list[i]);
    if (name[0] == 'n')
      lua_pushinteger(L, (lua_Integer)n);
    else
      lua_pushnumber(L, span);
    return 1;
  }
  return luaL_error(L, "snapshots have no field or method '%s'", name);
}

static int shots_gc(lua_State *L) {
  shots *s = luaL_checkudata(L, 1, SHOTS_META);
  release_root(s->root);
  s->root = NULL;
  return 0;
}

static void make_metatable(lua_State *L) {
  static const luaL_Reg methods[] = {{"where", shots_where},
                                     {"pivot", shots_pivot},
                                     {"diff", shots_pivot}, // what changed, by key
                                     {"chains", shots_chains},
                                     {"totals", shots_totals},
                                     {NULL, NULL}};
  if (luaL_newmetatable(L, SHOTS_META)) {
    luaL_newlib(L, methods);
    lua_pushcclosure(L, shots_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, shots_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
  }
  lua_pop(L, 1);
}

void tm_lua_push_shots(lua_State *L, tm_engine *engine, tm_target *target,
                       const tm_rule_input *input, const char *metric, const int64_t *warm_ns,
                       const int64_t *now_ns) {
  make_metatable(L);
  shots *s = lua_newuserdatauv(L, sizeof *s, 0);
  *s = (shots){.root = NULL};
  luaL_setmetatable(L, SHOTS_META);
  s->root = calloc(1, sizeof *s->root);
  if (!s->root) luaL_error(L, "out of memory for snapshots");
  *s->root = (root){.references = 1,
                    .engine = engine,
                    .target = tm_target_retain(target),
                    .input = input,
                    .metric = metric ? metric : input->metric,
                    .warm_ns = warm_ns,
                    .now_ns = now_ns};
}
