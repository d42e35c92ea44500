// Build order: sandbox, native table, dsl.lua (embedded, trusted), the package's own text, then
// every declared rule is copied from its normalised Lua table into C. Strings live in the package's
// arena and die with it.
#include "host/package.h"

#include "base/glob.h"
#include "base/units.h"
#include "host/embedded.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

// ---- native functions without ties to a host ----

static int native_seconds(lua_State *L) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  uint64_t ns;
  if (tm_parse_duration(&ctx, luaL_checkstring(L, 1), &ns) == TM_OK) {
    lua_pushnumber(L, (double)ns / 1e9);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, ctx.error.message);
  return 2;
}

static int native_bytes(lua_State *L) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  uint64_t bytes;
  if (tm_parse_bytes(&ctx, luaL_checkstring(L, 1), &bytes) == TM_OK) {
    lua_pushinteger(L, (lua_Integer)bytes);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, ctx.error.message);
  return 2;
}

static int native_ratio(lua_State *L) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  double ratio;
  if (tm_parse_ratio(&ctx, luaL_checkstring(L, 1), &ratio) == TM_OK) {
    lua_pushnumber(L, ratio);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, ctx.error.message);
  return 2;
}

static const struct {
  const char *name;
  tm_unit unit;
  double factor;
} formats[] = {{"bytes", TM_UNIT_BYTES, 1},
               {"dur", TM_UNIT_NS, 1e9},
               {"pct", TM_UNIT_RATIO, 1},
               {"num", TM_UNIT_NONE, 1},
               {"count", TM_UNIT_COUNT, 1},
               {"time", TM_UNIT_TIME, 1e9},
               {"rate", TM_UNIT_BYTES_PER_SECOND, 1}};

static int native_format(lua_State *L) {
  double value = luaL_checknumber(L, 1);
  const char *spec = luaL_optstring(L, 2, "");
  tm_unit unit = TM_UNIT_NONE;
  double factor = 1;
  for (size_t i = 0; i < TM_COUNT(formats); i++)
    if (strcmp(spec, formats[i].name) == 0) {
      unit = formats[i].unit;
      factor = formats[i].factor;
    }
  char text[64];
  lua_pushstring(L, tm_format_value(text, sizeof text, unit, value * factor));
  return 1;
}

static int native_glob(lua_State *L) {
  lua_pushboolean(L, tm_glob(luaL_checkstring(L, 1), luaL_checkstring(L, 2)));
  return 1;
}

static int native_yield(lua_State *L) {
  return lua_yield(L, lua_gettop(L));
}

static void push_natives(lua_State *L, const tm_natives *natives, void **owner) {
  static const luaL_Reg functions[] = {{"seconds", native_seconds},
                                       {"bytes", native_bytes},
                                       {"ratio", native_ratio},
                                       {"format", native_format},
                                       {"glob", native_glob},
                                       {"yield", native_yield},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_newtable(L);
  for (size_t i = 0; i < TM_COUNT(formats); i++) {
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, formats[i].name);
  }
  lua_setfield(L, -2, "formats");
  lua_pushliteral(L, TM_VERSION);
  lua_setfield(L, -2, "version");
  if (natives && natives->install) natives->install(L, owner);
}

// ---- reading declarations ----

typedef struct reader {
  tm_package *package;
  lua_State *L;
} reader;

static char *keep(reader *r, const char *text) {
  return tm_arena_strndup(&r->package->strings, text ? text : "", text ? strlen(text) : 0);
}

static char *field_string(reader *r, int table, const char *name) {
  lua_getfield(r->L, table, name);
  char *text = keep(r, lua_tostring(r->L, -1));
  lua_pop(r->L, 1);
  return text;
}

static double field_number(reader *r, int table, const char *name) {
  lua_getfield(r->L, table, name);
  double number = lua_tonumber(r->L, -1);
  lua_pop(r->L, 1);
  return number;
}

static uint64_t field_ns(reader *r, int table, const char *name) {
  double ns = field_number(r, table, name) * 1e9;
  return ns >= 0x1p63 ? UINT64_MAX / 2 : ns > 0 ? (uint64_t)(ns + 0.5) : 0;
}

static bool field_true(reader *r, int table, const char *name) {
  lua_getfield(r->L, table, name);
  bool yes = lua_toboolean(r->L, -1);
  lua_pop(r->L, 1);
  return yes;
}

static tm_status field_strings(reader *r, int table, const char *name, char ***out,
                               size_t *out_count) {
  lua_getfield(r->L, table, name);
  size_t count = lua_istable(r->L, -1) ? lua_rawlen(r->L, -1) : 0;
  char **list = tm_arena_calloc(&r->package->strings, count + 1, sizeof *list);
  if (!list) return tm_fail(r->package->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory");
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(r->L, -1, (lua_Integer)i + 1);
    list[i] = keep(r, lua_tostring(r->L, -1));
    lua_pop(r->L, 1);
  }
  lua_pop(r->L, 1);
  *out = list;
  *out_count = count;
  return TM_OK;
}

static void read_input(reader *r, int table, tm_rule_input *input) {
  input->name = field_string(r, table, "name");
  input->kind = field_string(r, table, "input");
  input->metric = field_string(r, table, "metric");
  input->key = field_string(r, table, "key");
  lua_getfield(r->L, table, "by");
  input->by_kind = !lua_isnil(r->L, -1);
  lua_pop(r->L, 1);
  input->arm = field_true(r, table, "arm");
  input->every_ns = input->declared_every_ns = field_ns(r, table, "every");
  input->window_ns = field_ns(r, table, "window");
  input->keep = (size_t)field_number(r, table, "keep");
}

static tm_status read_inputs(reader *r, int table, tm_rule *rule) {
  lua_getfield(r->L, table, "inputs");
  rule->input_count = lua_rawlen(r->L, -1);
  rule->inputs = tm_arena_calloc(&r->package->strings, rule->input_count + 1, sizeof *rule->inputs);
  if (!rule->inputs) return tm_fail(r->package->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory");
  for (size_t i = 0; i < rule->input_count; i++) {
    lua_rawgeti(r->L, -1, (lua_Integer)i + 1);
    read_input(r, lua_gettop(r->L), &rule->inputs[i]);
    lua_pop(r->L, 1);
  }
  lua_pop(r->L, 1);
  return TM_OK;
}

static tm_status read_rule(reader *r, tm_rule *rule) {
  int table = lua_gettop(r->L);
  rule->id = field_string(r, table, "id");
  rule->doc = field_string(r, table, "doc");
  rule->kind = field_string(r, table, "kind");
  rule->runtime = field_string(r, table, "runtime");
  rule->every_ns = field_ns(r, table, "every");
  rule->warmup_ns = field_ns(r, table, "warmup");
  rule->budget_ratio = field_number(r, table, "budget");
  rule->enabled = field_true(r, table, "enabled");
  rule->dry = field_true(r, table, "dry");
  rule->state_version = (int64_t)field_number(r, table, "state_version");
  lua_getfield(r->L, table, "tests");
  rule->test_count = lua_rawlen(r->L, -1);
  lua_pop(r->L, 1);
  TM_TRY(read_inputs(r, table, rule));
  TM_TRY(field_strings(r, table, "caps", &rule->caps, &rule->cap_count));
  TM_TRY(field_strings(r, table, "needs", &rule->needs, &rule->need_count));
  TM_TRY(field_strings(r, table, "inhibits", &rule->inhibits, &rule->inhibit_count));
  TM_TRY(field_strings(r, table, "tags", &rule->tags, &rule->tag_count));
  rule->policy = (tm_alert_policy){.hold_ns = field_ns(r, table, "hold"),
                                   .linger_ns = field_ns(r, table, "linger"),
                                   .cooldown_ns = field_ns(r, table, "cooldown"),
                                   .retain_ns = field_ns(r, table, "retain"),
                                   .repeat_ns = field_ns(r, table, "repeat_every"),
                                   .limit = (uint32_t)field_number(r, table, "limit"),
                                   .leave_ratio = field_number(r, table, "leave")};
  rule->declared_every_ns = rule->every_ns;
  rule->declared_policy = rule->policy;
  rule->declared_enabled = rule->enabled;
  lua_pushvalue(r->L, table);
  rule->lua_ref = luaL_ref(r->L, LUA_REGISTRYINDEX);
  return TM_OK;
}

static size_t api_list_length(reader *r, const char *name) {
  lua_rawgeti(r->L, LUA_REGISTRYINDEX, r->package->api_ref);
  lua_getfield(r->L, -1, name);
  size_t count = 0;
  if (strcmp(name, "lists") == 0) {
    lua_pushnil(r->L);
    for (; lua_next(r->L, -2); count++) lua_pop(r->L, 1);
  } else {
    count = lua_rawlen(r->L, -1);
  }
  lua_pop(r->L, 2);
  return count;
}

static tm_status read_policies(reader *r) {
  tm_bytes json = {0};
  lua_rawgeti(r->L, LUA_REGISTRYINDEX, r->package->api_ref);
  lua_getfield(r->L, -1, "policies");
  bool any = lua_rawlen(r->L, -1) > 0;
  tm_status status = any ? tm_lua_json(r->package->ctx, r->L, -1, &json)
                         : tm_bytes_append(r->package->ctx, &json, "[]", 3);
  lua_pop(r->L, 2);
  char *copy = status == TM_OK ? tm_arena_calloc(&r->package->strings, 1, json.size + 1) : NULL;
  if (copy) memcpy(copy, json.data, json.size);
  tm_bytes_free(r->package->ctx, &json);
  r->package->policies_json = copy;
  if (status == TM_OK && !copy)
    status = tm_fail(r->package->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory");
  return status;
}

static tm_status read_declarations(tm_package *package) {
  reader r = {package, tm_sandbox_state(package->sandbox)};
  if (!lua_checkstack(r.L, 20))
    return tm_fail(package->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of Lua stack");
  package->list_count = api_list_length(&r, "lists");
  package->override_count = api_list_length(&r, "overrides");
  package->format_count = api_list_length(&r, "formats");
  package->rule_count = api_list_length(&r, "rules");
  TM_TRY(read_policies(&r));
  package->rules =
      tm_arena_calloc(&package->strings, package->rule_count + 1, sizeof *package->rules);
  if (!package->rules) return tm_fail(package->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory");
  lua_rawgeti(r.L, LUA_REGISTRYINDEX, package->api_ref);
  lua_getfield(r.L, -1, "rules");
  for (size_t i = 0; i < package->rule_count; i++) {
    lua_rawgeti(r.L, -1, (lua_Integer)i + 1);
    TM_TRY(read_rule(&r, &package->rules[i]));
    lua_pop(r.L, 1);
  }
  lua_pop(r.L, 2);
  return TM_OK;
}

static int read_in(lua_State *L) { // reading
  tm_package *package = lua_touserdata(L, 1);
  if (read_declarations(package) == TM_OK) return 0;
  return luaL_error(L, "%s", package->ctx->error.message);
}

// ---- building ----

static int keep_code(lua_State *L, const void *data, size_t size, void *ud) {
  (void)L;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  return tm_bytes_append(&ctx, ud, data, size) == TM_OK ? 0 : 1;
}

// Pushes dsl.lua as a function. Compiling its 500 lines is most of a build's time, so it is kept as
// bytecode: our own, made by this process, never from outside.
static tm_status push_dsl(tm_ctx *ctx, tm_package *package, tm_bytes *code) {
  lua_State *L = tm_sandbox_state(package->sandbox);
  if (code && code->size) {
    if (luaL_loadbufferx(L, (const char *)code->data, code->size, "dsl", "b") != LUA_OK) {
      lua_pop(L, 1);
      return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for the rule language");
    }
    tm_sandbox_env(package->sandbox);
    lua_setupvalue(L, -2, 1);
    return TM_OK;
  }
  const tm_embedded_file *dsl = tm_embedded_find("lua/tidemark/rule/dsl.lua");
  if (!dsl)
    return tm_fail(ctx, TM_E_LUA, TM_NO_OFFSET, "this build lacks lua/tidemark/rule/dsl.lua");
  TM_TRY(
      tm_sandbox_load(ctx, package->sandbox, "dsl", dsl->start, (size_t)(dsl->end - dsl->start)));
  if (code && lua_dump(L, keep_code, code, 0) != 0) code->size = 0;
  return TM_OK;
}

static int open_functions(lua_State *L) { // environment, functions
  tm_functions *functions = lua_touserdata(L, 2);
  lua_settop(L, 1);
  tm_functions_open(L, functions);
  return 0;
}

static tm_status add_functions(tm_ctx *ctx, tm_package *package, tm_functions *functions) {
  lua_State *L = tm_sandbox_state(package->sandbox);
  if (!functions) return TM_OK;
  lua_pushcfunction(L, open_functions);
  tm_sandbox_env(package->sandbox);
  lua_pushlightuserdata(L, functions);
  return tm_sandbox_call(ctx, package->sandbox, 2, 0, 1000000000u, NULL);
}

typedef struct dsl_start {
  tm_ctx *ctx;
  tm_package *package;
  const tm_natives *natives;
} dsl_start;

static int start_dsl(lua_State *L) { // start -> dsl.lua as a function, native functions
  dsl_start *start = lua_touserdata(L, 1);
  const tm_natives *natives = start->natives;
  if (push_dsl(start->ctx, start->package, natives ? natives->dsl_code : NULL) != TM_OK)
    return luaL_error(L, "%s", start->ctx->error.message);
  push_natives(L, natives, &start->package->owner);
  return 2;
}

static int keep_api(lua_State *L) { // what dsl.lua answered, package
  tm_package *package = lua_touserdata(L, 2);
  lua_pushvalue(L, 1);
  package->api_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  tm_sandbox_env(package->sandbox);
  lua_getfield(L, 1, "tm");
  lua_setfield(L, -2, "tm");
  return 0;
}

static tm_status run_dsl(tm_ctx *ctx, tm_package *package, const tm_natives *natives) {
  tm_sandbox *sandbox = package->sandbox;
  dsl_start start = {ctx, package, natives};
  TM_TRY(tm_sandbox_protect(ctx, sandbox, start_dsl, &start, 0, 2));
  TM_TRY(tm_sandbox_call(ctx, sandbox, 1, 1, 1000000000u, NULL));
  return tm_sandbox_protect(ctx, sandbox, keep_api, package, 1, 0);
}

// Gives an error of loading its stable code, unless dsl.lua gave one.
static tm_status code_error(tm_ctx *ctx, const char *code) {
  static const char *const known[] = {"LOAD_SCHEMA: ", "LOAD_DUPLICATE: ", "LOAD_TEMPLATE: "};
  for (size_t i = 0; i < TM_COUNT(known); i++) {
    char *at = strstr(ctx->error.message, known[i]);
    if (!at) continue;
    // "file:line: LOAD_X: text" -> "LOAD_X: file:line: text"
    char place[200], text[sizeof ctx->error.message];
    size_t length = (size_t)(at - ctx->error.message);
    snprintf(place, sizeof place, "%.*s", (int)(length < sizeof place ? length : sizeof place - 1),
             ctx->error.message);
    snprintf(text, sizeof text, "%s", at + strlen(known[i]));
    snprintf(ctx->error.message, sizeof ctx->error.message, "%s%s%.200s", known[i], place, text);
    return ctx->error.status = TM_E_RULE;
  }
  if (ctx->error.status == TM_E_LIMIT || ctx->error.status == TM_E_NOMEM
      || ctx->error.status == TM_E_TIMEOUT)
    code = "LOAD_LIMIT";
  tm_fail_in(ctx, "%s", code);
  return ctx->error.status = TM_E_RULE;
}

static tm_status run_source(tm_ctx *ctx, tm_package *package) {
  char chunk[128];
  snprintf(chunk, sizeof chunk, "%s", package->name);
  tm_status status =
      tm_sandbox_load(ctx, package->sandbox, chunk, package->source, package->source_size);
  if (status != TM_OK) return code_error(ctx, "LOAD_SYNTAX");
  status = tm_sandbox_run(ctx, package->sandbox, 0, NULL);
  if (status != TM_OK) return code_error(ctx, "LOAD_RUNTIME");
  return TM_OK;
}

tm_status tm_package_build(tm_ctx *ctx, const char *name, const char *origin, const char *source,
                           size_t size, const tm_sandbox_limits *limits, const tm_natives *natives,
                           tm_package **out) {
  tm_package *package = tm_calloc(ctx, 1, sizeof *package);
  if (!package) return TM_E_NOMEM;
  package->ctx = ctx;
  package->owner = natives ? natives->owner : NULL;
  tm_arena_init(&package->strings, &ctx->alloc, 64u << 20);
  package->name = tm_arena_strndup(&package->strings, name, strlen(name));
  package->origin = tm_arena_strndup(&package->strings, origin, strlen(origin));
  package->source = tm_arena_strndup(&package->strings, source, size);
  package->source_size = size;
  package->hash = XXH3_64bits(source, size);
  tm_status status = package->name && package->origin && package->source
                         ? TM_OK
                         : tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %s", name);
  if (status == TM_OK) status = tm_sandbox_new(ctx, limits, &package->sandbox);
  if (status == TM_OK) status = run_dsl(ctx, package, natives);
  if (status == TM_OK) status = add_functions(ctx, package, natives ? natives->functions : NULL);
  if (status == TM_OK) status = run_source(ctx, package);
  if (status == TM_OK) status = tm_sandbox_protect(ctx, package->sandbox, read_in, package, 0, 0);
  if (status != TM_OK) {
    tm_package_free(package);
    return status;
  }
  *out = package;
  return TM_OK;
}

void tm_package_free(tm_package *package) {
  if (!package) return;
  tm_ctx *ctx = package->ctx;
  tm_sandbox_free(package->sandbox);
  tm_arena_fini(&package->strings);
  tm_free(ctx, package, sizeof *package);
}

tm_rule *tm_package_rule(const tm_package *package, const char *id) {
  for (size_t i = 0; i < package->rule_count; i++)
    if (strcmp(package->rules[i].id, id) == 0) return &package->rules[i];
  return NULL;
}

void tm_package_push_api(const tm_package *package, const char *name) {
  lua_State *L = tm_sandbox_state(package->sandbox);
  lua_rawgeti(L, LUA_REGISTRYINDEX, package->api_ref);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}
