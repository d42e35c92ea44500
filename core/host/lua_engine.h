// Private to lua_engine*.c: the engine as trusted Lua holds it, and what its files share.
#ifndef TM_HOST_LUA_ENGINE_H
#define TM_HOST_LUA_ENGINE_H

#include "engine/history.h"
#include "engine/journal.h"
#include "engine/runner.h"
#include "host/lua_core.h"
#include "host/lua_fields.h"
#include "host/rulehost.h"
#include "host/rulewatch.h"
#include "net/line_server.h"
#include "net/webhook.h"

#include <lauxlib.h>
#include <uv.h>

#define ENGINE_META "tidemark.Engine"
enum { MAX_TIMERS = 16, MAX_WATCHES = 16, MAX_ACTS = 8 };

typedef struct lua_timer {
  struct lua_engine *owner;
  int fn_ref;
} lua_timer, lua_act;

typedef struct lua_engine {
  lua_State *L; // main thread of the state
  tm_ctx ctx;
  tm_engine *engine;
  tm_runner *runner; // NULL: virtual
  tm_rulehost *host;
  tm_history *history;
  tm_recording *recording;
  tm_journal *journal;
  tm_webhook *webhook;
  bool webhook_ended;
  tm_line_server *control;
  tm_rulewatch *watches[MAX_WATCHES];
  size_t watch_count;
  int on_event, on_alert, on_action, on_line; // registry refs, LUA_NOREF
  lua_timer timers[MAX_TIMERS];
  size_t timer_count;
  lua_act acts[MAX_ACTS]; // actions that Lua does
  size_t act_count;
  bool failed, interrupted, timed_out, closed;
  int error_ref;
  uv_signal_t signals[2];
  uv_timer_t deadline, flusher;
  bool handles_open;
  char dump_folder[512]; // of captures that rules take; "" = the working folder
} lua_engine;

// The engine at stack index 1; raises when it is closed (check), or virtual (check_live).
lua_engine *tm_lua_check_engine(lua_State *L);
lua_engine *tm_lua_check_live(lua_State *L);

// The target whose id stands at index; raises when there is none.
tm_target *tm_lua_check_target(lua_State *L, lua_engine *e, int index);

// Calls the function of ref with the one value on top; an error ends the run and is raised from it.
void tm_lua_call_back(lua_engine *e, int ref);

void tm_lua_push_alert(lua_State *L, const tm_alert *alert);

// Methods of the other files, ending with {NULL, NULL}.
extern const luaL_Reg tm_lua_target_methods[], tm_lua_rule_methods[], tm_lua_keep_methods[];
extern const luaL_Reg tm_lua_ask_methods[], tm_lua_act_methods[];
extern const luaL_Reg tm_lua_rule_functions[], tm_lua_keep_functions[];

#endif
