/* A program with a Lua of its own (LuaJIT, or Debian's 5.4) and tidemark, which brings another one:
 * both run code, before, while and after the other does. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include <tidemark.h>

static const char rule[] =
    "tm.rule { id = 'seven', doc = 'd', every = '1s', hold = '0s',\n"
    "  inputs = { x = tm.ring('app.x', { every = '1s' }) },\n"
    "  check = function(c)\n"
    "    if c.x.last == 7 // 1 then return c:finding { level = 'info', value = c.x.last } end\n"
    "  end }\n"; /* // is no operator in LuaJIT */

static int told;

static void on_event(void *ud, const tm_notice *n) {
  lua_State *L = ud;
  if (n->type != TM_ON_FINDING || !n->tell) return;
  lua_getglobal(L, "add"); /* the host's Lua, from inside of ours */
  lua_pushnumber(L, n->value);
  lua_call(L, 1, 1);
  told = (int)lua_tonumber(L, -1);
  lua_pop(L, 1);
}

static int own_lua(lua_State *L) {
  return luaL_dostring(L, "sum = 0 for i = 1, 100 do sum = sum + i end\n"
                          "function add(x) return sum + x end\n"
                          "version = (jit and jit.version or _VERSION)");
}

int main(void) {
  tm_embed *engine;
  tm_target *target;
  tm_config config;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  if (own_lua(L)) return 2;
  tm_config_init(&config, sizeof config);
  config.flags = TM_VIRTUAL_TIME;
  config.start_ns = 1000000000;
  if (tm_open(&config, &engine) != TM_OK) return 3;
  tm_on_event(engine, on_event, L);
  tm_target_virtual(engine, "t", &target);
  tm_rules_load(engine, "seven.lua", rule, sizeof rule - 1);
  for (int64_t t = 2; t < 10; t++) {
    tm_feed(engine, target, "app.x", t * 1000000000, 7);
    tm_clock_set(engine, t * 1000000000);
  }
  tm_close(engine, NULL, NULL);
  if (own_lua(L)) return 4;
  lua_getglobal(L, "version");
  printf("%s beside tidemark %s: %d\n", lua_tostring(L, -1), tm_version_string(), told);
  lua_close(L);
  return told == 5057 ? 0 : 1;
}
