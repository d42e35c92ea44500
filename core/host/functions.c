// A list of names under one lock, which is held while a function of the program runs: calls of one
// engine never overlap, and a function that was taken away does not run any more.
//
// In Lua a module is an empty table whose __index looks its path up and keeps what it found, a
// closure over the entry. Entries live as long as the list. The texts of a call belong to a
// userdata of the state, so that an error may be raised at any point.
#include "host/functions.h"

#include "base/bytes.h"
#include "base/vec.h"
#include "bind/lua_series.h"
#include "host/lua_json.h"
#include "host/sandbox.h"

#include <lauxlib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { SPARE_BYTES = 1 << 16 }; // of texts that are kept from call to call

typedef struct entry {
  tm_functions *owner;
  char name[TM_FUNCTION_NAME_BYTES];
  tm_function_fn json;
  tm_function_number_fn number;
  void *ud;
} entry;

struct tm_functions {
  pthread_mutex_t lock;
  TM_VEC(entry *) entries;
  tm_ctx *ctx;
  atomic_uintptr_t running; // the thread inside of a function; 0 = none
};

// ---- the list ----

tm_status tm_functions_new(tm_ctx *ctx, tm_functions **out) {
  tm_functions *f = tm_calloc(ctx, 1, sizeof *f);
  if (!f) return TM_E_NOMEM;
  f->ctx = ctx;
  pthread_mutex_init(&f->lock, NULL);
  *out = f;
  return TM_OK;
}

void tm_functions_free(tm_functions *f) {
  if (!f) return;
  for (size_t i = 0; i < f->entries.count; i++) tm_free(f->ctx, f->entries.items[i], sizeof(entry));
  tm_vec_free(f->ctx, &f->entries);
  pthread_mutex_destroy(&f->lock);
  tm_free(f->ctx, f, sizeof *f);
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name(const char *name) {
  size_t words = 0, size = strlen(name);
  if (size >= TM_FUNCTION_NAME_BYTES) return false;
  for (const char *p = name;; p++) {
    if (!is_letter(*p)) return false;
    while (is_letter(*p) || (*p >= '0' && *p <= '9')) p++;
    words++;
    if (*p != '.') return *p == '\0' && words > 1;
  }
}

// Whether `name` lies in the module `path`; "" is the module of all.
static bool is_within(const char *name, const char *path) {
  size_t size = strlen(path);
  return !size || (strncmp(name, path, size) == 0 && name[size] == '.');
}

static entry *find(const tm_functions *f, const char *name) {
  for (size_t i = 0; i < f->entries.count; i++)
    if (strcmp(f->entries.items[i]->name, name) == 0) return f->entries.items[i];
  return NULL;
}

static tm_status check_name(tm_ctx *ctx, const tm_functions *f, const char *name) {
  if (!is_name(name))
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                   "'%.80s' is no name of a function: \"module.name\" of letters, digits and _, up "
                   "to 63 bytes",
                   name);
  for (size_t i = 0; i < f->entries.count; i++) {
    const char *other = f->entries.items[i]->name;
    if (is_within(other, name) || is_within(name, other))
      return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "'%s' and '%s': a function is no module", name,
                     other);
  }
  return TM_OK;
}

static tm_status add(tm_ctx *ctx, tm_functions *f, const char *name, entry **out) {
  TM_TRY(check_name(ctx, f, name));
  entry *e = tm_calloc(ctx, 1, sizeof *e);
  if (!e) return TM_E_NOMEM;
  e->owner = f;
  memcpy(e->name, name, strlen(name) + 1);
  pthread_mutex_lock(&f->lock);
  tm_status status = tm_vec_push(ctx, &f->entries, e);
  pthread_mutex_unlock(&f->lock);
  if (status != TM_OK) tm_free(ctx, e, sizeof *e);
  *out = e;
  return status;
}

tm_status tm_functions_set(tm_ctx *ctx, tm_functions *f, const char *name, tm_function_fn json,
                           tm_function_number_fn number, void *ud) {
  entry *e = find(f, name);
  if (!e && !json && !number) return TM_OK;
  if (!e) TM_TRY(add(ctx, f, name, &e));
  pthread_mutex_lock(&f->lock);
  e->json = json;
  e->number = number;
  e->ud = ud;
  pthread_mutex_unlock(&f->lock);
  return TM_OK;
}

bool tm_functions_inside(const tm_functions *f) {
  return f && atomic_load(&f->running) == (uintptr_t)pthread_self();
}

static void enter(tm_functions *f) {
  pthread_mutex_lock(&f->lock);
  atomic_store(&f->running, (uintptr_t)pthread_self());
}

static void leave(tm_functions *f) {
  atomic_store(&f->running, 0);
  pthread_mutex_unlock(&f->lock);
}

// ---- texts of a call ----

typedef struct texts {
  tm_ctx ctx;
  tm_bytes args, answer;
} texts;

static int texts_gc(lua_State *L) {
  texts *t = lua_touserdata(L, 1);
  tm_bytes_free(&t->ctx, &t->args);
  tm_bytes_free(&t->ctx, &t->answer);
  tm_ctx_fini(&t->ctx);
  return 0;
}

static void push_texts(lua_State *L, const tm_functions *f) {
  texts *t = lua_newuserdatauv(L, sizeof *t, 0);
  tm_ctx_init(&t->ctx, &f->ctx->alloc);
  t->args = t->answer = (tm_bytes){.cap_bytes = TM_FUNCTION_TEXT_BYTES};
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, texts_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
}

static void reset(texts *t, tm_bytes *bytes) {
  if (bytes->size > SPARE_BYTES) tm_bytes_free(&t->ctx, bytes);
  bytes->cap_bytes = TM_FUNCTION_TEXT_BYTES;
  bytes->size = 0;
}

static tm_status write_args(lua_State *L, texts *t) {
  int count = lua_gettop(L);
  reset(t, &t->args);
  tm_ctx_clear(&t->ctx);
  TM_TRY(tm_bytes_append(&t->ctx, &t->args, "[", 1));
  for (int i = 1; i <= count; i++) {
    if (i > 1) TM_TRY(tm_bytes_append(&t->ctx, &t->args, ",", 1));
    TM_TRY(tm_lua_json(&t->ctx, L, i, &t->args));
  }
  TM_TRY(tm_bytes_append(&t->ctx, &t->args, "]", 2)); // with a NUL
  t->args.size--;
  return TM_OK;
}

static int take_answer(void *ud, const char *bytes, size_t size) {
  texts *t = ud;
  return tm_bytes_append(&t->ctx, &t->answer, bytes, size) == TM_OK ? 0 : 1;
}

// ---- calls ----

// Raises "file:line: name: text", and from where it was called.
static int fail(lua_State *L, const entry *e, const char *what, const char *text) {
  luaL_where(L, 1);
  lua_pushfstring(L, "%s: %s%s", e->name, what, text);
  lua_concat(L, 2);
  luaL_traceback(L, L, lua_tostring(L, -1), 1);
  return lua_error(L);
}

static int push_answer(lua_State *L, const entry *e, texts *t) {
  if (!t->answer.size) {
    lua_pushnil(L);
    return 1;
  }
  if (tm_bytes_append(&t->ctx, &t->answer, "", 1) != TM_OK)
    return fail(L, e, "its answer: ", t->ctx.error.message);
  luaL_checkstack(L, 2 * TM_LUA_JSON_DEPTH + 16, "JSON");
  if (tm_lua_json_push(L, &t->ctx, (const char *)t->answer.data, t->answer.size - 1) != TM_OK)
    return fail(L, e, "its answer is ", t->ctx.error.message);
  if (lua_islightuserdata(L, -1)) lua_pushnil(L);
  tm_sandbox_spend(L, t->answer.size / 16);
  return 1;
}

static int call_json(lua_State *L) { // upvalues: entry, texts
  const entry *e = lua_touserdata(L, lua_upvalueindex(1));
  texts *t = lua_touserdata(L, lua_upvalueindex(2));
  if (write_args(L, t) != TM_OK) return fail(L, e, "its arguments: ", t->ctx.error.message);
  tm_sandbox_spend(L, t->args.size / 16);
  reset(t, &t->answer);
  enter(e->owner);
  tm_status status = TM_E_GONE;
  bool is_there = e->json != NULL;
  if (is_there) status = e->json(e->ud, (const char *)t->args.data, t->args.size, take_answer, t);
  leave(e->owner);
  if (!is_there) return fail(L, e, "the program does not offer it any more", "");
  if (t->ctx.error.status != TM_OK) return fail(L, e, "its answer: ", t->ctx.error.message);
  if (status == TM_OK) return push_answer(L, e, t);
  if (!t->answer.size) return fail(L, e, tm_status_name(status), "");
  lua_pushlstring(L, (const char *)t->answer.data, t->answer.size);
  return fail(L, e, "", lua_tostring(L, -1));
}

static int call_number(lua_State *L) {
  const entry *e = lua_touserdata(L, lua_upvalueindex(1));
  double args[TM_FUNCTION_NUMBERS] = {0}, answer = 0;
  int count = lua_gettop(L);
  if (count > TM_FUNCTION_NUMBERS) return fail(L, e, "it takes at most 16 numbers", "");
  for (int i = 0; i < count; i++) args[i] = luaL_checknumber(L, i + 1);
  enter(e->owner);
  bool is_there = e->number != NULL;
  if (is_there) answer = e->number(args, (size_t)count, e->ud);
  leave(e->owner);
  if (!is_there) return fail(L, e, "the program does not offer it any more", "");
  lua_pushnumber(L, answer);
  return 1;
}

// The kind of a function may change when it is set anew: each call looks.
static int call(lua_State *L) {
  const entry *e = lua_touserdata(L, lua_upvalueindex(1));
  pthread_mutex_lock(&e->owner->lock);
  bool numbers = e->number != NULL;
  pthread_mutex_unlock(&e->owner->lock);
  return numbers ? call_number(L) : call_json(L);
}

// ---- modules ----

static int refuse_write(lua_State *L) {
  return luaL_error(L, "a module of the program cannot be changed");
}

static void push_module(lua_State *L, tm_functions *f, const char *path, int texts_index);

static bool has_module(const tm_functions *f, const char *path) {
  for (size_t i = 0; i < f->entries.count; i++)
    if (is_within(f->entries.items[i]->name, path)) return true;
  return false;
}

// Pushes the function or module of a path. false: there is none, and nothing is pushed.
static bool push_named(lua_State *L, tm_functions *f, const char *path, int texts_index) {
  pthread_mutex_lock(&f->lock);
  entry *e = find(f, path);
  bool is_module = !e && *path && has_module(f, path);
  pthread_mutex_unlock(&f->lock);
  if (e) {
    lua_pushlightuserdata(L, e);
    lua_pushvalue(L, texts_index);
    lua_pushcclosure(L, call, 2);
  } else if (is_module) {
    push_module(L, f, path, texts_index);
  }
  return e || is_module;
}

static int module_index(lua_State *L) { // upvalues: functions, path, texts
  tm_functions *f = lua_touserdata(L, lua_upvalueindex(1));
  const char *path = lua_tostring(L, lua_upvalueindex(2));
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  const char *name =
      *path ? lua_pushfstring(L, "%s.%s", path, lua_tostring(L, 2)) : lua_tostring(L, 2);
  if (!push_named(L, f, name, lua_upvalueindex(3))) return 0;
  lua_pushvalue(L, 2);
  lua_pushvalue(L, -2);
  lua_rawset(L, 1);
  return 1;
}

static void push_module(lua_State *L, tm_functions *f, const char *path, int texts_index) {
  lua_newtable(L);
  lua_createtable(L, 0, 3);
  lua_pushlightuserdata(L, f);
  lua_pushstring(L, path);
  lua_pushvalue(L, texts_index);
  lua_pushcclosure(L, module_index, 3);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, refuse_write);
  lua_setfield(L, -2, "__newindex");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
}

static int require(lua_State *L) { // upvalues: functions, texts
  tm_functions *f = lua_touserdata(L, lua_upvalueindex(1));
  const char *name = luaL_checkstring(L, 1);
  if (push_named(L, f, name, lua_upvalueindex(2)) && lua_istable(L, -1)) return 1;
  return luaL_error(L, "module '%s' not found: the program offers no function of it", name);
}

void tm_functions_open(lua_State *L, tm_functions *f) {
  luaL_checkstack(L, 12, "functions");
  int env = lua_gettop(L);
  push_texts(L, f);
  push_module(L, f, "", env + 1);
  lua_pushliteral(L, "null");
  lua_pushlightuserdata(L, NULL);
  lua_rawset(L, -3);
  lua_setfield(L, env, "host");
  lua_pushlightuserdata(L, f);
  lua_pushvalue(L, env + 1);
  lua_pushcclosure(L, require, 2);
  lua_setfield(L, env, "require");
  lua_settop(L, env);
}
