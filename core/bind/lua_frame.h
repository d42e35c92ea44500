// Frames for rules, shared by lua_shots.c, which makes them, and lua_frame.c, which shows them: a
// number of columns per key over the snapshots kept.
#ifndef TM_BIND_LUA_FRAME_H
#define TM_BIND_LUA_FRAME_H

#include "analyze/pivot.h"
#include "bind/lua_shots.h"
#include "engine/shots.h"
#include "model/table.h"

// One snapshot reduced to its keys. Counted, by the one Lua thread.
typedef struct tm_shot_column {
  uint32_t references;
  const tm_shot *shot; // retained
  tm_pivot pivot;
} tm_shot_column;

// What a frame stands on: the table of all keys, and the newest snapshot for sample stacks.
typedef struct tm_frame_base {
  uint32_t references;
  tm_table *table;
  tm_shot_column *newest;
  size_t snapshot_count;
  int64_t first_total, last_total;
  double hours;
  char by[64], type[64], unit[64];
} tm_frame_base;

void tm_shot_column_release(tm_shot_column *column); // NULL is fine
void tm_frame_base_release(tm_frame_base *base);

// Pushes a frame of all rows of the base, which it takes a share of; base NULL = a frame without
// rows. May raise.
void tm_lua_push_frame(lua_State *L, tm_frame_base *base);

// Raises "unknown WHAT 'name'; did you mean 'x'? (a, b, c)" unless name is one of the allowed,
// ended by NULL.
void tm_lua_check_name(lua_State *L, const char *what, const char *name,
                       const char *const *allowed);
// The same for all keys of an options table; nil and nothing are fine.
void tm_lua_check_options(lua_State *L, int index, const char *const *allowed);

#endif
