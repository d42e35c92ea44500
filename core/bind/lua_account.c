// core.account(pid, {endpoint=, vars=, metrics=, headers=, ca_file=, outside=, timeout_ns=}) ->
// Account; account:tell{owner = bytes}; account:read() -> {rows = {...}, rss_bytes=, ...}.
// core.owners() -> every owner in the order of reports.
#include "bind/lua_account.h"

#include "bind/lua_error.h"
#include "bind/lua_model.h"
#include "live/account_gather.h"
#include "live/account_series.h"

#include <lauxlib.h>
#include <math.h>

#define ACCOUNT_META "tidemark.Account"

static const char *option_string(lua_State *L, int index, const char *name) {
  if (!lua_istable(L, index)) return NULL;
  lua_getfield(L, index, name);
  const char *text = luaL_optstring(L, -1, NULL);
  lua_pop(L, 1); // the table keeps it
  return text;
}

static int core_account(lua_State *L) {
  lua_settop(L, 2);
  const tm_endpoint endpoint = {.address = option_string(L, 2, "endpoint"),
                                .vars = option_string(L, 2, "vars"),
                                .metrics = option_string(L, 2, "metrics"),
                                .headers = option_string(L, 2, "headers"),
                                .ca_file = option_string(L, 2, "ca_file")};
  tm_account_gather_options options = {.pid = luaL_checkinteger(L, 1), .endpoint = &endpoint};
  if (lua_istable(L, 2)) {
    lua_getfield(L, 2, "outside");
    options.outside_only = lua_toboolean(L, -1);
    lua_getfield(L, 2, "timeout_ns");
    options.timeout_ns = (uint64_t)luaL_optinteger(L, -1, 0);
    lua_pop(L, 2);
  }
  tm_account_gather **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, ACCOUNT_META);
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_account_gather_open(&work->ctx, &options, box) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  tm_lua_end_work(work);
  lua_pop(L, 1);
  return 1;
}

static tm_account_gather *check_account(lua_State *L) {
  tm_account_gather **box = luaL_checkudata(L, 1, ACCOUNT_META);
  if (!*box) luaL_error(L, "this account was closed");
  return *box;
}

static int account_tell(lua_State *L) {
  tm_account_gather *gather = check_account(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) {
    lua_getfield(L, 2, tm_owner_describe((tm_owner)i)->name);
    if (lua_isnumber(L, -1)) tm_account_gather_tell(gather, (tm_owner)i, lua_tonumber(L, -1));
    lua_pop(L, 1);
  }
  lua_settop(L, 1);
  return 1;
}

static void set_number(lua_State *L, const char *name, double value) {
  if (isnan(value)) return;
  lua_pushinteger(L, (lua_Integer)llround(value));
  lua_setfield(L, -2, name);
}

static void set_string(lua_State *L, const char *name, const char *text) {
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}

static void push_owner(lua_State *L, tm_owner owner) {
  const tm_owner_info *info = tm_owner_describe(owner);
  lua_createtable(L, 0, 12);
  set_string(L, "owner", info->name);
  set_string(L, "group", info->group);
  set_string(L, "title", info->title);
}

static void push_row(lua_State *L, tm_owner owner, const tm_account_row *row, double rss_bytes) {
  push_owner(L, owner);
  set_number(L, "bytes", row->bytes);
  lua_pushnumber(L, rss_bytes > 0 ? row->bytes / rss_bytes : 0);
  lua_setfield(L, -2, "share");
  set_number(L, "swap_bytes", row->swap_bytes);
  set_number(L, "told_bytes", row->told_bytes);
  set_number(L, "mappings", row->mapping_count);
  if (!row->largest_bytes) return;
  set_number(L, "largest_bytes", (double)row->largest_bytes);
  lua_pushinteger(L, (lua_Integer)row->largest_start);
  lua_setfield(L, -2, "largest_start");
  set_string(L, "largest_name", row->largest_name);
}

static void push_facts(lua_State *L, const tm_account_facts *facts) {
  static const char *const runtimes[] = {"native", "go", "jvm", "v8"};
  set_string(L, "runtime", runtimes[facts->runtime]);
  set_string(L, "source", facts->source);
  set_string(L, "problem", facts->problem);
  lua_pushboolean(L, facts->agent);
  lua_setfield(L, -2, "agent");
  set_number(L, "statm_bytes", facts->rss_bytes);
  set_number(L, "mappings", (double)facts->mapping_count);
  set_number(L, "chunks", (double)facts->chunk_count);
  set_number(L, "smaps_ns", (double)facts->smaps_cpu_ns);
  set_number(L, "cpu_ns", (double)facts->cpu_ns);
  set_number(L, "ask_ns", (double)facts->ask_ns);
}

// Rows that own something, or are told to.
static int account_read(lua_State *L) {
  tm_account_gather *gather = check_account(L);
  tm_account *account = lua_newuserdatauv(L, sizeof *account, 0);
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_account_gather_read(&work->ctx, gather, account) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  tm_lua_end_work(work);
  lua_createtable(L, 0, 12);
  set_number(L, "rss_bytes", account->rss_bytes);
  push_facts(L, tm_account_gather_facts(gather));
  lua_createtable(L, TM_OWNER_COUNT, 0);
  lua_Integer n = 0;
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) {
    const tm_account_row *row = &account->rows[i];
    if (row->bytes < 1 && row->swap_bytes < 1 && i != TM_OWNER_UNEXPLAINED) continue;
    push_row(L, (tm_owner)i, row, account->rss_bytes);
    lua_rawseti(L, -2, ++n);
  }
  lua_setfield(L, -2, "rows");
  return 1;
}

static int account_close(lua_State *L) {
  tm_account_gather **box = luaL_checkudata(L, 1, ACCOUNT_META);
  tm_account_gather_free(*box);
  *box = NULL;
  return 0;
}

static int core_owners(lua_State *L) {
  lua_createtable(L, TM_OWNER_COUNT, 0);
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) {
    push_owner(L, (tm_owner)i);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static int core_account_metric(lua_State *L) { // name -> whether it is a series of the accounting
  lua_pushboolean(L, tm_account_metric(luaL_checkstring(L, 1)));
  return 1;
}

void tm_lua_add_account(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"read", account_read}, {"tell", account_tell}, {"close", account_close}, {NULL, NULL}};
  if (luaL_newmetatable(L, ACCOUNT_META)) {
    lua_pushcfunction(L, account_close);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, account_close);
    lua_setfield(L, -2, "__close");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
  }
  lua_pop(L, 1);
  lua_pushcfunction(L, core_account);
  lua_setfield(L, -2, "account");
  lua_pushcfunction(L, core_account_metric);
  lua_setfield(L, -2, "account_metric");
  lua_pushcfunction(L, core_owners);
  lua_setfield(L, -2, "owners");
}
