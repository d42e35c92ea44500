// Every snapshot becomes a profile as a reader would have made it; all are fed in order of time.
#include "host/testshots.h"

#include "analyze/timeline_profile.h"
#include "base/units.h"
#include "base/vec.h"
#include "live/shot_read.h"
#include "read/frames.h"

#include <stdlib.h>
#include <string.h>

enum { SHOTS_MAX = 2000, TYPES_MAX = TM_TL_SNAPSHOT_TYPES, GO_TYPES = 4 };

typedef struct builder {
  tm_ctx *ctx;
  lua_State *L;
  const char *metric;
  tm_profile *p;
  tm_frames frames;
} builder;

static tm_status wrong(tm_ctx *ctx, const char *text) {
  return tm_fail(ctx, TM_E_RULE, TM_NO_OFFSET, "snapshots: %s", text);
}

// ---- one snapshot ----

static tm_status add_stack(builder *b, const char *text) {
  size_t end = strlen(text);
  while (end) { // from the leaf, at the end
    size_t begin = end;
    while (begin && text[begin - 1] != ';') begin--;
    tm_text name = {text + begin, end - begin}, none = {"", 0};
    uint32_t location;
    if (name.size) {
      TM_TRY(tm_frames_location(b->ctx, &b->frames, b->p, name, none, 0, &location));
      TM_TRY(tm_vec_push(b->ctx, &b->p->stack, location));
    }
    end = begin ? begin - 1 : 0;
  }
  return TM_OK;
}

// A number, or a size such as "10MB", at the top of the stack.
static tm_status value_of(builder *b, int64_t *out) {
  uint64_t bytes = 0;
  if (lua_type(b->L, -1) == LUA_TNUMBER) {
    *out = (int64_t)lua_tonumber(b->L, -1);
    return TM_OK;
  }
  if (lua_type(b->L, -1) != LUA_TSTRING) return wrong(b->ctx, "a value is a number or \"10MB\"");
  TM_TRY(tm_parse_bytes(b->ctx, lua_tostring(b->L, -1), &bytes));
  *out = (int64_t)bytes;
  return TM_OK;
}

static tm_status add_label(builder *b, const char *key, const char *text) {
  tm_label label = {0};
  TM_TRY(tm_profile_intern(b->ctx, b->p, key, strlen(key), &label.key));
  TM_TRY(tm_profile_intern(b->ctx, b->p, text, strlen(text), &label.text));
  return tm_vec_push(b->ctx, &b->p->labels, label);
}

// Of a row: its value; where there are several, each by its name.
static tm_status values_of(builder *b, int row, int64_t values[TYPES_MAX]) {
  if (b->p->types.count == 1) {
    lua_getfield(b->L, row, "value");
    return value_of(b, values);
  }
  bool any = false;
  for (size_t i = 0; i < b->p->types.count; i++) {
    const char *type = tm_profile_text(b->p, b->p->types.items[i].type);
    if (lua_getfield(b->L, row, type) == LUA_TNIL) continue;
    TM_TRY(value_of(b, &values[i]));
    any = true;
  }
  return any ? TM_OK
             : wrong(b->ctx,
                     "a row of a trace needs one of the numbers of its kind, such as count");
}

// { stack = , value = , label = text, ... } at the top of the stack.
static tm_status add_row(builder *b) {
  lua_State *L = b->L;
  int row = lua_gettop(L);
  int64_t values[TYPES_MAX] = {0};
  tm_status status = values_of(b, row, values);
  lua_getfield(L, row, "stack");
  if (status == TM_OK)
    status = lua_isstring(L, -1) ? add_stack(b, lua_tostring(L, -1))
                                 : wrong(b->ctx, "a row needs stack = \"main.main;main.leak\"");
  lua_pushnil(L);
  while (status == TM_OK && lua_next(L, row)) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
    bool is_label = *key && strcmp(key, "value") != 0 && strcmp(key, "stack") != 0;
    if (is_label && lua_type(L, -1) == LUA_TSTRING) status = add_label(b, key, lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  lua_settop(L, row);
  TM_TRY(status);
  return tm_profile_end_sample(b->ctx, b->p, values);
}

// The table at the top of the stack.
static tm_status add_rows(builder *b) {
  lua_State *L = b->L;
  int table = lua_gettop(L);
  tm_status status = TM_OK;
  lua_pushnil(L);
  while (status == TM_OK && lua_next(L, table)) {
    int64_t values[TYPES_MAX] = {0}; // a plain number is the first
    if (lua_istable(L, -1)) {
      status = add_row(b);
    } else if (lua_type(L, -2) == LUA_TSTRING) {
      status = value_of(b, values);
      if (status == TM_OK) status = add_stack(b, lua_tostring(L, -2));
      if (status == TM_OK) status = tm_profile_end_sample(b->ctx, b->p, values);
    } else {
      status = wrong(b->ctx, "a row is a stack = value, or { stack = , value = }");
    }
    lua_pop(L, 1);
  }
  lua_settop(L, table);
  return status;
}

static tm_status read_text(builder *b) {
  size_t size;
  const char *text = lua_tolstring(b->L, -1, &size);
  return tm_shot_read(b->ctx, b->metric, text, size, &b->p);
}

static tm_status add_types(builder *b, const char *type, const char *unit) {
  static const char *const of_trace[GO_TYPES][2] = {
      {"count", "count"}, {"blocked", "nanoseconds"}, {"created", "count"}, {"ended", "count"}};
  if (!tm_shot_is_trace(b->metric)) return tm_profile_add_type(b->ctx, b->p, type, unit);
  if (tm_shot_is_browser(b->metric)) return tm_timeline_snapshot_types(b->ctx, b->p);
  for (size_t i = 0; i < GO_TYPES; i++)
    TM_TRY(tm_profile_add_type(b->ctx, b->p, of_trace[i][0], of_trace[i][1]));
  return tm_profile_intern(b->ctx, b->p, "count", 5, &b->p->default_type);
}

// The snapshot at the top of the stack; on failure there is no profile.
static tm_status read_one(builder *b, const char *type, const char *unit) {
  tm_status status = TM_OK;
  b->p = NULL;
  b->frames = (tm_frames){0};
  if (lua_type(b->L, -1) == LUA_TSTRING) {
    status = read_text(b);
  } else if (lua_istable(b->L, -1)) {
    status = tm_profile_new(b->ctx, &b->p);
    if (status == TM_OK) status = add_types(b, type, unit);
    if (status == TM_OK) status = add_rows(b);
  } else {
    status = wrong(b->ctx, "a snapshot is a table or a text");
  }
  tm_frames_fini(b->ctx, &b->frames);
  if (status != TM_OK) {
    tm_profile_free(b->p);
    b->p = NULL;
  }
  return status;
}

// ---- all of a test ----

static tm_status keep(tm_ctx *ctx, tm_test_shots *out, tm_test_shot shot) {
  if (out->count == SHOTS_MAX) return wrong(ctx, "a test may have 2000");
  if (out->count % 64 == 0) {
    tm_test_shot *items = realloc(out->items, (out->count + 64) * sizeof *items);
    if (!items) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for snapshots");
    out->items = items;
  }
  out->items[out->count++] = shot;
  return TM_OK;
}

static const char *text_field(lua_State *L, int index, const char *name, const char *otherwise) {
  lua_getfield(L, index, name);
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : otherwise;
  lua_pop(L, 1); // the table holds it
  return text;
}

// The list at the top of the stack, one snapshot after the other.
static tm_status read_list(tm_ctx *ctx, lua_State *L, const char *metric, int64_t start_ns,
                           tm_test_shots *out) {
  int list = lua_gettop(L);
  builder b = {.ctx = ctx, .L = L, .metric = metric};
  bool heap = strncmp(metric, "pprof.heap", 10) == 0;
  bool allocs = strncmp(metric, "pprof.allocs", 12) == 0;
  const char *type = text_field(L, list, "type",
                                heap     ? "inuse_space"
                                : allocs ? "alloc_space"
                                         : "goroutine");
  const char *unit = text_field(L, list, "unit", heap || allocs ? "bytes" : "count");
  uint64_t every_ns;
  TM_TRY(tm_parse_duration(ctx, text_field(L, list, "every", "1m"), &every_ns));
  for (size_t i = 0; i < lua_rawlen(L, list); i++) {
    lua_rawgeti(L, list, (lua_Integer)i + 1);
    tm_status status = read_one(&b, type, unit);
    lua_settop(L, list);
    TM_TRY(status);
    tm_test_shot shot = {start_ns + (int64_t)(i * every_ns), metric, b.p};
    if (keep(ctx, out, shot) != TM_OK) {
      tm_profile_free(b.p);
      return ctx->error.status;
    }
  }
  return TM_OK;
}

static int by_time(const void *left, const void *right) {
  const tm_test_shot *a = left, *b = right;
  if (a->time_ns != b->time_ns) return a->time_ns < b->time_ns ? -1 : 1;
  return strcmp(a->metric, b->metric);
}

static const char *metric_of(const char *name, const tm_rule_input *inputs, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (strcmp(inputs[i].kind, "snapshots") == 0
        && (strcmp(name, inputs[i].metric) == 0 || strcmp(name, inputs[i].name) == 0))
      return inputs[i].metric;
  return NULL;
}

tm_status tm_test_shots_read(tm_ctx *ctx, lua_State *L, int index, const tm_rule_input *inputs,
                             size_t input_count, int64_t start_ns, tm_test_shots *out) {
  *out = (tm_test_shots){0};
  lua_getfield(L, index, "snapshots");
  int table = lua_gettop(L);
  tm_status status = TM_OK;
  if (!lua_istable(L, table)) {
    if (!lua_isnil(L, table)) status = wrong(ctx, "maps an input to a list");
    lua_settop(L, table - 1);
    return status;
  }
  lua_pushnil(L);
  while (status == TM_OK && lua_next(L, table)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
    const char *metric = metric_of(name, inputs, input_count);
    if (!metric)
      status = tm_fail(ctx, TM_E_RULE, TM_NO_OFFSET,
                       "snapshots: the rule has no tm.snapshots input '%s'", name);
    else if (!lua_istable(L, -1))
      status = wrong(ctx, "maps an input to a list");
    else
      status = read_list(ctx, L, metric, start_ns, out);
    lua_settop(L, table + 1);
  }
  lua_settop(L, table - 1);
  if (out->count) qsort(out->items, out->count, sizeof *out->items, by_time);
  return status;
}

void tm_test_shots_free(tm_test_shots *shots) {
  for (size_t i = 0; i < shots->count; i++) tm_profile_free(shots->items[i].profile);
  free(shots->items);
  *shots = (tm_test_shots){0};
}
