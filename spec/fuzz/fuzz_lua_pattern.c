// floors: host
// Patterns of rules: the guarded matcher against the one of stock Lua. First line: the pattern; the
// second: the text. Both raise, or both answer the same.
#include "host/sandbox.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PATTERN_MAX = 16, TEXT_MAX = 24 }; // what the stock matcher, too, is done with soon

static const char program[] =
    "return function(pattern, text)\n"
    "  local out, n = {}, 0\n"
    "  local function keep(...)\n"
    "    for i = 1, select('#', ...) do n = n + 1; out[n] = tostring((select(i, ...))) end\n"
    "  end\n"
    "  keep(text:find(pattern)); keep(text:find(pattern, 3)); keep(text:match(pattern, -5))\n"
    "  for a, b in text:gmatch(pattern) do keep(a, b) end\n"
    "  keep(text:gsub(pattern, '<%0>')); keep(text:gsub(pattern, '%1', 2))\n"
    "  return table.concat(out, '\\1')\n"
    "end\n";

typedef struct side {
  tm_sandbox *sandbox; // NULL: stock
  lua_State *L;        // the function is at 1
  bool raised;
} side;

static void open_sides(tm_ctx *ctx, side *stock, side *guarded) {
  tm_ctx_init(ctx, NULL);
  stock->L = luaL_newstate();
  if (!stock->L || tm_sandbox_new(ctx, NULL, &guarded->sandbox) != TM_OK) abort();
  luaL_openlibs(stock->L);
  guarded->L = tm_sandbox_state(guarded->sandbox);
  lua_settop(guarded->L, 0);
  if (luaL_dostring(stock->L, program) != LUA_OK) abort();
  if (tm_sandbox_load(ctx, guarded->sandbox, "program", program, sizeof program - 1) != TM_OK
      || tm_sandbox_run(ctx, guarded->sandbox, 1, NULL) != TM_OK)
    abort();
}

// What it says, or the message.
static const char *ask(tm_ctx *ctx, side *s, const char *pattern, size_t pattern_size,
                       const char *text, size_t text_size, size_t *out_size) {
  lua_settop(s->L, 1);
  lua_pushvalue(s->L, 1);
  lua_pushlstring(s->L, pattern, pattern_size);
  lua_pushlstring(s->L, text, text_size);
  tm_ctx_clear(ctx);
  if (s->sandbox)
    s->raised = tm_sandbox_call(ctx, s->sandbox, 2, 1, UINT64_MAX, NULL) != TM_OK;
  else
    s->raised = lua_pcall(s->L, 2, 1, 0) != LUA_OK;
  if (s->sandbox && s->raised) return ctx->error.message;
  return lua_tolstring(s->L, -1, out_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static tm_ctx ctx;
  static side stock, guarded;
  const uint8_t *line = size ? memchr(data, '\n', size) : NULL;
  size_t first = line ? (size_t)(line - data) : size, second = line ? size - first - 1 : 0;
  size_t got_size = 0, expected_size = 0;
  if (first > PATTERN_MAX || second > TEXT_MAX) return 0;
  if (!stock.L) open_sides(&ctx, &stock, &guarded);
  const char *pattern = (const char *)data, *text = line ? (const char *)line + 1 : pattern;
  const char *got = ask(&ctx, &guarded, pattern, first, text, second, &got_size);
  if (guarded.raised && strstr(got, "too complex")) return 0;
  const char *expected = ask(&ctx, &stock, pattern, first, text, second, &expected_size);
  if (guarded.raised != stock.raised) abort();
  if (!stock.raised && (got_size != expected_size || memcmp(got, expected, got_size) != 0)) abort();
  return 0;
}
