// What a rule sees of snapshots: c.heap, its views (`where`), and frames (`pivot`). Everything is
// computed in C; a pivot is cached until the next snapshot comes, so that a check between two of
// them costs next to nothing.
#ifndef TM_BIND_LUA_SHOTS_H
#define TM_BIND_LUA_SHOTS_H

#include "bind/lua_series.h"

// Pushes the userdata of an input of kind "snapshots". Borrows and retains as tm_lua_push_series;
// metric NULL = the input's. May raise Lua's memory error.
void tm_lua_push_shots(lua_State *L, tm_engine *engine, tm_target *target,
                       const tm_rule_input *input, const char *metric, const int64_t *warm_ns,
                       const int64_t *now_ns);

#endif
