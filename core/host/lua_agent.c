// What trusted Lua needs to speak to malloc agents: one question, and a keeper of last snapshots.
#include "bind/lua_error.h"
#include "host/lua_capture.h"
#include "host/lua_fields.h"
#include "live/agent_link.h"
#include "platform/platform.h"

#include <lauxlib.h>
#include <string.h>

#define KEEPER_META "tidemark.AgentKeeper"
#define TIMEOUT_NS  INT64_C(60000000000)

static const struct {
  const char *name;
  uint32_t verb;
} verbs[] = {{"hello", TM_AGENT_HELLO},
             {"start", TM_AGENT_START},
             {"stop", TM_AGENT_STOP},
             {"snapshot", TM_AGENT_SNAPSHOT},
             {"mark", TM_AGENT_MARK},
             {"reset", TM_AGENT_RESET},
             {"stats", TM_AGENT_STATS},
             {"trim", TM_AGENT_TRIM},
             {"detach", TM_AGENT_DETACH},
             {"handles_start", TM_AGENT_HANDLES_START},
             {"handles_stop", TM_AGENT_HANDLES_STOP}};

static const struct {
  const char *name;
  uint32_t field;
} fields[] = {{"rate", TM_AGENT_ASK_RATE},
              {"min_size", TM_AGENT_ASK_MIN_SIZE},
              {"since_epoch", TM_AGENT_ASK_SINCE_EPOCH},
              {"min_age_ms", TM_AGENT_ASK_MIN_AGE_MS},
              {"kinds", TM_AGENT_ASK_KINDS},
              {"flags", TM_AGENT_ASK_FLAGS}};

static void read_request(lua_State *L, tm_agent_request *out) {
  static const char *const modes[] = {"idle", "sampled", "full", NULL};
  const char *verb = luaL_checkstring(L, 2), *mode = option_string(L, 3, "mode");
  *out = (tm_agent_request){0};
  for (size_t i = 0; i < TM_COUNT(verbs); i++)
    if (strcmp(verbs[i].name, verb) == 0) out->fields[TM_AGENT_ASK_VERB] = verbs[i].verb;
  luaL_argcheck(L, out->fields[TM_AGENT_ASK_VERB], 2, "no verb of the malloc agent");
  for (uint64_t i = 0; mode && modes[i]; i++)
    if (strcmp(modes[i], mode) == 0) {
      out->fields[TM_AGENT_ASK_MODE] = i;
      out->given |= 1u << TM_AGENT_ASK_MODE;
    }
  luaL_argcheck(L, !mode || out->given, 3, "mode is idle, sampled or full");
  for (size_t i = 0; i < TM_COUNT(fields); i++) {
    int64_t value = option_integer(L, 3, fields[i].name, -1);
    if (value < 0) continue;
    out->fields[fields[i].field] = (uint64_t)value;
    out->given |= 1u << fields[i].field;
  }
}

// core.malloc_agent(pid, verb, {mode=, rate=, min_size=, since_epoch=, min_age_ms=, kinds=, flags=,
// timeout_ns=, progress=} | nil) -> {text=, NAME=number...}, profile's bytes (snapshot) | nil, err
static int core_malloc_agent(lua_State *L) {
  int64_t pid = luaL_checkinteger(L, 1);
  tm_agent_request request;
  tm_agent_reply reply = {0};
  tm_bytes profile = {0};
  tm_lua_waiting w;
  lua_settop(L, 3);
  read_request(L, &request);
  uint64_t timeout_ns = (uint64_t)option_integer(L, 3, "timeout_ns", TIMEOUT_NS);
  tm_lua_wait_begin(L, 3, &w);
  tm_status status = tm_agent_ask(&w.ctx, pid, timeout_ns, &request, &reply, &profile);
  if (status == TM_OK && profile.size && !w.failed)
    lua_pushlstring(L, (const char *)profile.data, profile.size);
  bool has_profile = profile.size != 0;
  tm_bytes_free(&w.ctx, &profile);
  tm_lua_wait_end(&w);
  if (status != TM_OK) return tm_lua_failed(L, &w.ctx);
  lua_createtable(L, 0, (int)reply.count + 1);
  set_string(L, "text", reply.text);
  for (uint32_t i = 0; i < reply.count; i++)
    set_integer(L, reply.values[i].name, (int64_t)reply.values[i].value);
  if (!has_profile) return 1;
  lua_insert(L, -2); // the table first
  return 2;
}

// core.inject(pid, library, {argument=, timeout_ns=} | nil) -> {thread=, stopped_ns=, returned=,
// tried_count=} | nil, err. The entry of the malloc agent is called.
static int core_inject(lua_State *L) {
  int64_t pid = luaL_checkinteger(L, 1);
  tm_plat *plat = NULL;
  tm_proc *proc = NULL;
  tm_inject_result done = {0};
  tm_lua_waiting w;
  lua_settop(L, 3);
  const char *argument = option_string(L, 3, "argument");
  const tm_inject options = {.library = luaL_checkstring(L, 2),
                             .entry = "tidemark_agent_start",
                             .argument = argument ? argument : "",
                             .timeout_ns = (uint64_t)option_integer(L, 3, "timeout_ns", 0)};
  tm_lua_wait_begin(L, 3, &w);
  tm_status status = tm_plat_open(&w.ctx, NULL, NULL, &plat);
  if (status == TM_OK) status = tm_proc_open(&w.ctx, plat, pid, &proc);
  if (status == TM_OK) status = tm_proc_inject(&w.ctx, proc, &options, &done);
  tm_proc_close(proc);
  tm_plat_close(plat);
  tm_lua_wait_end(&w);
  if (status != TM_OK) return tm_lua_failed(L, &w.ctx);
  lua_createtable(L, 0, 4);
  set_integer(L, "thread", done.thread);
  set_integer(L, "stopped_ns", (int64_t)done.stopped_ns);
  set_integer(L, "returned", done.returned);
  set_integer(L, "tried_count", (int64_t)done.tried_count);
  return 1;
}

// ---- the keeper ----

typedef struct lua_keeper {
  tm_ctx ctx;
  tm_agent_keeper *keeper;
} lua_keeper;

static lua_keeper *check_keeper(lua_State *L) {
  lua_keeper *k = luaL_checkudata(L, 1, KEEPER_META);
  if (!k->keeper) luaL_error(L, "this keeper has ended");
  return k;
}

static int keeper_path(lua_State *L) { // k:path() -> what the agent's option exit= takes
  lua_pushstring(L, tm_agent_keeper_path(check_keeper(L)->keeper));
  return 1;
}

static int keeper_watch(lua_State *L) { // k:watch(pid, period_ns)
  lua_keeper *k = check_keeper(L);
  tm_agent_keeper_watch(k->keeper, luaL_checkinteger(L, 2), (uint64_t)luaL_checkinteger(L, 3));
  return 0;
}

static int keeper_finish(lua_State *L) { // k:finish() -> bytes | nil, why the agent refused or ""
  lua_keeper *k = check_keeper(L);
  tm_agent_keeper *keeper = k->keeper;
  char reason[TM_AGENT_TEXT_BYTES];
  tm_bytes out = {0};
  k->keeper = NULL;
  tm_status status = tm_agent_keeper_end(&k->ctx, keeper, &out, reason);
  if (out.size)
    lua_pushlstring(L, (const char *)out.data, out.size);
  else
    lua_pushnil(L);
  tm_bytes_free(&k->ctx, &out);
  if (status != TM_OK) return tm_lua_failed(L, &k->ctx);
  lua_pushstring(L, reason);
  return 2;
}

static int keeper_gc(lua_State *L) {
  lua_keeper *k = lua_touserdata(L, 1);
  if (k->keeper) {
    lua_settop(L, 1);
    keeper_finish(L);
  }
  tm_ctx_fini(&k->ctx);
  return 0;
}

// core.malloc_keeper(folder) -> keeper | nil, err. The folder must be the user's alone.
static int core_malloc_keeper(lua_State *L) {
  const char *folder = luaL_checkstring(L, 1);
  lua_keeper *k = lua_newuserdatauv(L, sizeof *k, 0);
  k->keeper = NULL;
  tm_ctx_init(&k->ctx, NULL);
  luaL_setmetatable(L, KEEPER_META);
  if (tm_agent_keeper_new(&k->ctx, folder, &k->keeper) != TM_OK) return tm_lua_failed(L, &k->ctx);
  return 1;
}

void tm_lua_add_agent(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"path", keeper_path}, {"watch", keeper_watch}, {"finish", keeper_finish}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"malloc_agent", core_malloc_agent},
                                       {"malloc_keeper", core_malloc_keeper},
                                       {"inject", core_inject},
                                       {NULL, NULL}};
  luaL_newmetatable(L, KEEPER_META);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, keeper_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
