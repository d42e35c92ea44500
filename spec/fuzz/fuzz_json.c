// floors: host
// Any bytes as JSON, for rules and scripts (Lua values) and for readers (events). What the first
// one takes the second one takes, too; refusals name a byte of the text.
#include "base/json_read.h"
#include "host/lua_json.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool read_events(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_json_reader *json = malloc(sizeof *json);
  tm_json_event event;
  uint64_t sum = 0, depth = 0;
  if (!json) abort();
  tm_ctx_init(&ctx, NULL);
  tm_json_reader_init(json, &ctx, data, size);
  do {
    event = tm_json_reader_next(json);
    if (event == TM_JSON_KEY || event == TM_JSON_STRING)
      for (size_t i = 0; i < json->text_size; i++) sum += (uint8_t)json->text[i];
    depth += event == TM_JSON_OBJECT || event == TM_JSON_ARRAY;
    depth -= event == TM_JSON_OBJECT_END || event == TM_JSON_ARRAY_END;
    if (event != TM_JSON_ERROR && depth != json->depth) abort();
  } while (event != TM_JSON_END && event != TM_JSON_ERROR);
  if (event == TM_JSON_ERROR && (!ctx.error.message[0] || ctx.error.offset_bytes > size)) abort();
  tm_json_reader_fini(json);
  tm_ctx_fini(&ctx);
  free(json);
  return event == TM_JSON_END && sum + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  lua_State *L = luaL_newstate();
  if (!L) abort();
  uint8_t *copy = malloc(size ? size : 1); // so that ASan sees a read behind it
  if (!copy) abort();
  if (size) memcpy(copy, data, size);
  lua_pushcfunction(L, tm_lua_json_decode);
  lua_pushlstring(L, (const char *)copy, size);
  if (lua_pcall(L, 1, LUA_MULTRET, 0) != LUA_OK) abort();
  bool taken = lua_gettop(L) == 1;
  if (read_events(copy, size) < taken) abort();
  if (!taken) {
    lua_getfield(L, 2, "offset");
    if (lua_tointeger(L, -1) < 0 || (size_t)lua_tointeger(L, -1) > size) abort();
  }
  free(copy);
  lua_close(L);
  return 0;
}
