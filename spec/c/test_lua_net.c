// floors: host
// core.http and core.listener in a Lua state, against a server in this process.
#include "host/lua_core.h"
#include "http_server.h"
#include "unit.h"

#include <lauxlib.h>
#include <lualib.h>

typedef struct rig {
  server server;
  lua_State *L;
} rig;

static rig *begin_server(int family, const char *answer, bool hangs) {
  rig *r = calloc(1, sizeof *r);
  assert_non_null(r);
  r->server.scripts[0][0] = (step){STEP_SEND, answer, 1};
  if (hangs) r->server.scripts[0][1] = (step){STEP_HANG, NULL, 0};
  assert_true(server_start(&r->server, family));
  r->L = luaL_newstate();
  assert_non_null(r->L);
  luaL_openlibs(r->L);
  tm_lua_open_library(r->L);
  lua_pushstring(r->L, r->server.url);
  lua_setglobal(r->L, "url");
  lua_pushinteger(r->L, getpid());
  lua_setglobal(r->L, "pid");
  assert_int_equal(luaL_dostring(r->L, "core = require 'tidemark.core'"), LUA_OK);
  return r;
}

static rig *begin(int family, const char *answer) {
  return begin_server(family, answer, false);
}

static void end(rig *r) {
  lua_close(r->L);
  server_stop(&r->server);
  free(r);
}

static void run(rig *r, const char *chunk) {
  if (luaL_dostring(r->L, chunk) != LUA_OK) fail_msg("%s", lua_tostring(r->L, -1));
}

static void gives_status_headers_and_body(void **state) {
  (void)state;
  rig *r = begin(AF_INET, "HTTP/1.1 503 No\r\nContent-Length: 6\r\nX-A: 1\r\nx-a: 2\r\nEmpty:\r\n"
                          "\r\nhe\r\nlo");
  run(r, "local a = assert(core.http{url=url})\n"
         "assert(a.status == 503 and a.body == 'he\\r\\nlo', a.body)\n"
         "assert(a.headers['x-a'] == '1, 2' and a.headers.empty == '')\n"
         "assert(a.total_ns > 0 and math.type(a.total_ns) == 'integer')");
  end(r);
}

static void sends_what_it_was_given(void **state) {
  (void)state;
  rig *r = begin(AF_INET, "HTTP/1.1 204 None\r\n\r\n");
  run(r, "local a = assert(core.http{url=url, method='POST', body='a\\0b', host_header='',\n"
         "  headers={['X-Key']='k'}, timeout_ns=5000000000})\n"
         "assert(a.status == 204 and a.body == '')");
  assert_memory_equal(r->server.request, "POST /x HTTP/1.1\r\n", 18);
  assert_non_null(strstr(r->server.request, "Host: \r\n"));
  assert_non_null(strstr(r->server.request, "X-Key: k\r\n"));
  const char *body = strstr(r->server.request, "\r\n\r\n");
  assert_memory_equal(body, "\r\n\r\na\0b", 7);
  end(r);
}

static void keeps_the_cap(void **state) {
  (void)state;
  rig *r = begin(AF_UNIX, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world");
  run(r, "local a, err = core.http{url=url, max_body_bytes=10}\n"
         "assert(a == nil and err.code == 'limit', tostring(err))\n"
         "assert(core.http{url=url, max_body_bytes=11}.body == 'hello world')");
  end(r);
}

static void finds_who_listens(void **state) {
  (void)state;
  rig *r = begin(AF_INET, "x");
  run(r, "assert(core.listener('tcp', tonumber(url:match(':(%d+)/'))) == pid)");
  end(r);
  r = begin(AF_UNIX, "x");
  run(r, "assert(core.listener('unix', url:match('^unix:([^:]+)')) == pid)");
  end(r);
  r = begin(AF_INET6, "x");
  run(r, "assert(core.listener('tcp', tonumber(url:match(':(%d+)/'))) == pid)");
  end(r);
}

static void streams_to_a_file(void **state) {
  (void)state;
  rig *r = begin(AF_INET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  run(r, "path = os.tmpname()\n"
         "local a = assert(core.http{url=url, file=path})\n"
         "assert(a.status == 200 and a.body == '' and a.bytes == 5)\n"
         "local f = assert(io.open(path, 'rb'))\n"
         "assert(f:read('a') == 'hello')\n"
         "f:close()\n"
         "local a, err = core.http{url=url, file='/nowhere/x'}\n"
         "assert(a == nil and err.code == 'io' and err.message:find('/nowhere/x', 1, true))\n"
         "local link = path .. '.link'\n"
         "os.execute('ln -s ' .. path .. ' ' .. link)\n"
         "assert(core.http{url=url, file='/dev/null'}.bytes == 5)\n"
         "assert(core.http{url=url, file=link}.bytes == 5)\n"
         "assert(core.realpath(link) == path and core.stat(path).size_bytes == 5)\n"
         "os.remove(link)\n"
         "os.remove(path)");
  end(r);
}

// The folder must hold nothing afterwards: neither the file nor a part of it.
#define IN_A_FOLDER                                                                                \
  "dir = os.tmpname(); os.remove(dir); assert(core.mkdir(dir))\n"                                  \
  "function empty() local n = #core.list(dir); os.remove(dir); return n == 0 end\n"

static void leaves_no_file_of_what_did_not_come_whole(void **state) {
  (void)state;
  rig *r = begin(AF_INET, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world");
  run(r, IN_A_FOLDER "local a, err = core.http{url=url, file=dir .. '/x', max_body_bytes=10}\n"
                     "assert(a == nil and err.code == 'limit' and empty(), tostring(err))");
  end(r);
  r = begin(AF_INET, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello");
  run(r, IN_A_FOLDER "local a, err = core.http{url=url, file=dir .. '/x'}\n"
                     "assert(a == nil and err.code == 'io' and empty(), tostring(err))");
  end(r);
}

static void keeps_what_a_refusal_says(void **state) {
  (void)state;
  rig *r = begin(AF_INET, "HTTP/1.1 404 No\r\nX-Go-Pprof: 1\r\nContent-Length: 15\r\n\r\n"
                          "Unknown profile");
  run(r, IN_A_FOLDER "local a = assert(core.http{url=url, file=dir .. '/x'})\n"
                     "assert(a.status == 404 and a.body == 'Unknown profile' and empty())");
  end(r);
}

static void reports_progress_and_ends_on_a_signal(void **state) {
  (void)state;
  rig *r = begin_server(AF_INET, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", true);
  run(r,
      IN_A_FOLDER "local a, err = core.http{url=url, file=dir .. '/x', progress=function(n, all)\n"
                  "  if n < 5 then return end\n"
                  "  assert(n == 5 and all == 9)\n"
                  "  os.execute('kill -TERM ' .. pid)\n"
                  "end}\n"
                  "assert(a == nil and err.code == 'cancelled' and empty(), tostring(err))");
  run(r, IN_A_FOLDER "local ok, err = pcall(core.http, {url=url, file=dir .. '/x',\n"
                     "  progress=function() error('enough', 0) end})\n"
                     "assert(not ok and err == 'enough' and empty(), tostring(err))");
  end(r);
}

// Lua may run out of memory anywhere, also with an answer in hand: nothing may leak.
typedef struct meter {
  size_t count, fail_at;
} meter;

static void *metered(void *ud, void *p, size_t old_size, size_t size) {
  meter *m = ud;
  (void)old_size;
  if (!size) {
    free(p);
    return NULL;
  }
  if (m->fail_at && ++m->count >= m->fail_at && size > old_size) return NULL;
  return realloc(p, size);
}

static void leaks_nothing_without_memory(void **state) {
  (void)state;
  rig *r = begin(AF_INET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
  meter m = {0};
  lua_setallocf(r->L, metered, &m); // the standard one is realloc and free, too
  run(r, "function get() return core.json_decode(core.http{url=url}.body) end");
  for (size_t fail_at = 1; fail_at < 60; fail_at++) {
    m = (meter){0, fail_at};
    lua_getglobal(r->L, "get");
    int status = lua_pcall(r->L, 0, 1, 0);
    m.fail_at = 0;
    assert_true(status == LUA_OK || status == LUA_ERRMEM);
    lua_settop(r->L, 0);
  }
  end(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gives_status_headers_and_body),
      cmocka_unit_test(sends_what_it_was_given),
      cmocka_unit_test(keeps_the_cap),
      cmocka_unit_test(streams_to_a_file),
      cmocka_unit_test(leaves_no_file_of_what_did_not_come_whole),
      cmocka_unit_test(keeps_what_a_refusal_says),
      cmocka_unit_test(reports_progress_and_ends_on_a_signal),
      cmocka_unit_test(finds_who_listens),
      cmocka_unit_test(leaks_nothing_without_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
