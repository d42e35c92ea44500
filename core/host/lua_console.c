// core.console(): the line editor on this process's terminal, for trusted Lua. Keys are read when
// an event loop says so: the console's own, or an engine's (bind), whose run ends when a key came,
// so that sampling goes on while one types.
#include "host/lua_console.h"

#include "base/utf8.h"
#include "host/lineedit.h"
#include "host/lua_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define CONSOLE_META "tidemark.Console"
enum { IN = 0, OUT = 1, ESCAPE_MS = 50, SIGNALS = 4 };

typedef struct console {
  tm_ctx ctx;
  tm_lineedit *edit;
  struct termios cooked; // as the terminal was found
  bool is_raw;
  int fd; // of its own: libuv would make the shared one non-blocking
  char input[4096];
  size_t input_size, input_at;
  bool hangup, terminate;
  uv_loop_t own_loop, *loop; // loop NULL: closed
  lua_engine *engine;        // whose loop it is; NULL = own_loop
  uv_poll_t poll;
  uv_signal_t signals[SIGNALS];
  uv_timer_t escape, patience;
  size_t open_handles;
} console;

tm_console *tm_lua_check_console(lua_State *L, int index) {
  console *c = luaL_checkudata(L, index, CONSOLE_META);
  if (!c->edit) luaL_error(L, "the console is closed");
  return c;
}

static console *check_console(lua_State *L) {
  return tm_lua_check_console(L, 1);
}

// ---- the terminal ----

static void write_all(const char *bytes, size_t size) {
  while (size) {
    ssize_t n = write(OUT, bytes, size);
    if (n < 0 && errno == EAGAIN) { // somebody made it non-blocking
      uv_sleep(1);
      continue;
    }
    if (n < 0 && errno != EINTR) return;
    if (n > 0) {
      bytes += n;
      size -= (size_t)n;
    }
  }
}

static void flush(console *c) {
  size_t size;
  const char *bytes = tm_lineedit_output(c->edit, &size);
  write_all(bytes, size);
}

static void set_raw(console *c, bool raw) {
  static const char paste_on[] = "\033[?2004h", paste_off[] = "\033[?2004l";
  if (c->is_raw == raw) return;
  struct termios mode = c->cooked;
  if (raw) {
    mode.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
    mode.c_iflag &= ~(tcflag_t)(IXON | ICRNL | INLCR | IGNCR | BRKINT | ISTRIP);
    mode.c_cc[VMIN] = 1;
    mode.c_cc[VTIME] = 0;
  }
  tcsetattr(IN, TCSADRAIN, &mode);
  c->is_raw = raw;
  write_all(raw ? paste_on : paste_off, sizeof paste_on - 1);
}

static void take_size(console *c) {
  struct winsize size = {0};
  if (ioctl(OUT, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return;
  tm_lineedit_resize(c->edit, size.ws_col, size.ws_row);
  flush(c);
}

// ---- the loop ----

uv_loop_t *tm_console_loop(const tm_console *c) {
  return c->loop;
}

void tm_console_wake(tm_console *c) {
  if (!c->loop) return;
  if (c->engine)
    tm_runner_stop(c->engine->runner);
  else
    uv_stop(c->loop);
}

static void on_readable(uv_poll_t *poll, int status, int events) {
  console *c = poll->data;
  (void)events;
  if (c->input_at < c->input_size) { // not taken yet: later
    uv_poll_stop(poll);
    tm_console_wake(c);
    return;
  }
  ssize_t n = status == 0 ? read(c->fd, c->input, sizeof c->input) : -1;
  if (n < 0 && status == 0 && (errno == EINTR || errno == EAGAIN)) return;
  c->input_at = 0;
  c->input_size = n > 0 ? (size_t)n : 0;
  if (n <= 0) {
    c->hangup = true;
    uv_poll_stop(poll);
  }
  tm_console_wake(c);
}

static void on_console_signal(uv_signal_t *handle, int number) {
  console *c = handle->data;
  if (number == SIGWINCH) {
    take_size(c);
  } else if (number == SIGCONT) {
    if (c->is_raw) {
      c->is_raw = false;
      set_raw(c, true);
      take_size(c);
    }
  } else {
    c->terminate = true;
    tm_console_wake(c);
  }
}

static void on_escape(uv_timer_t *timer) {
  console *c = timer->data;
  tm_lineedit_idle(c->edit);
  flush(c);
}

static void on_patience(uv_timer_t *timer) {
  console *c = timer->data;
  uv_stop(c->loop);
}

static void opened(console *c, uv_handle_t *handle) {
  handle->data = c;
  c->open_handles++;
}

static void open_on(console *c, uv_loop_t *loop) {
  static const int numbers[SIGNALS] = {SIGWINCH, SIGCONT, SIGTERM, SIGHUP};
  c->loop = loop;
  c->poll = (uv_poll_t){0};
  if (uv_poll_init(loop, &c->poll, c->fd) == 0) {
    opened(c, (uv_handle_t *)&c->poll);
    uv_poll_start(&c->poll, UV_READABLE, on_readable);
    fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) & ~O_NONBLOCK); // it may be shared with a shell
  }
  for (size_t i = 0; i < SIGNALS; i++) {
    uv_signal_init(loop, &c->signals[i]);
    opened(c, (uv_handle_t *)&c->signals[i]);
    uv_signal_start(&c->signals[i], on_console_signal, numbers[i]);
  }
  uv_timer_init(loop, &c->escape);
  opened(c, (uv_handle_t *)&c->escape);
  uv_timer_init(loop, &c->patience);
  opened(c, (uv_handle_t *)&c->patience);
}

static void on_closed(uv_handle_t *handle) {
  ((console *)handle->data)->open_handles--;
}

static void leave_loop(console *c) {
  uv_handle_t *handles[SIGNALS + 3] = {(uv_handle_t *)&c->poll, (uv_handle_t *)&c->escape,
                                       (uv_handle_t *)&c->patience};
  for (size_t i = 0; i < SIGNALS; i++) handles[3 + i] = (uv_handle_t *)&c->signals[i];
  if (!c->loop) return;
  for (size_t i = 0; i < SIGNALS + 3; i++)
    if (handles[i]->data == c && !uv_is_closing(handles[i])) uv_close(handles[i], on_closed);
  while (c->open_handles) uv_run(c->loop, UV_RUN_NOWAIT);
  c->loop = NULL;
  c->engine = NULL;
}

// What still runs there (a read, a request) is awaited: nobody runs this loop afterwards.
static void finish_own_loop(console *c) {
  while (uv_loop_alive(&c->own_loop)) uv_run(&c->own_loop, UV_RUN_ONCE);
}

// ---- life ----

static int core_console(lua_State *L) { // -> console | nil, err (no terminal)
  console *c = lua_newuserdatauv(L, sizeof *c, 0);
  memset(c, 0, sizeof *c);
  tm_ctx_init(&c->ctx, NULL);
  c->fd = -1;
  luaL_setmetatable(L, CONSOLE_META);
  if (!isatty(IN) || !isatty(OUT) || tcgetattr(IN, &c->cooked) != 0) {
    tm_fail(&c->ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "standard input or output is no terminal");
    return tm_lua_failed(L, &c->ctx);
  }
  char name[256];
  if (ttyname_r(IN, name, sizeof name) == 0) c->fd = open(name, O_RDONLY | O_NOCTTY | O_CLOEXEC);
  if (c->fd < 0) c->fd = fcntl(IN, F_DUPFD_CLOEXEC, 3);
  if (c->fd < 0 || uv_loop_init(&c->own_loop) != 0) {
    tm_fail_errno(&c->ctx, errno, "cannot open the terminal");
    return tm_lua_failed(L, &c->ctx);
  }
  c->edit = tm_lineedit_new(&c->ctx);
  if (!c->edit) return luaL_error(L, "out of memory");
  open_on(c, &c->own_loop);
  take_size(c);
  return 1;
}

static int console_close(lua_State *L) {
  console *c = luaL_checkudata(L, 1, CONSOLE_META);
  if (c->edit) {
    set_raw(c, false);
    leave_loop(c);
    finish_own_loop(c);
    uv_loop_close(&c->own_loop);
    tm_lineedit_free(c->edit);
    c->edit = NULL;
  }
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
  tm_ctx_fini(&c->ctx);
  return 0;
}

static int console_bind(lua_State *L) { // c:bind(engine): keys end its run; c:bind(): own loop
  console *c = check_console(L);
  lua_engine *e = lua_isnoneornil(L, 2) ? NULL : luaL_checkudata(L, 2, ENGINE_META);
  if (e && (e->closed || !e->runner)) return luaL_error(L, "bind: a live engine is needed");
  leave_loop(c);
  finish_own_loop(c);
  c->engine = e;
  open_on(c, e ? tm_runner_loop(e->runner) : &c->own_loop);
  return 0;
}

static int
console_raw(lua_State *L) { // c:raw(yes): keys as they come; else lines, as programs read
  console *c = check_console(L);
  set_raw(c, lua_toboolean(L, 2));
  return 0;
}

static int console_suspend(lua_State *L) { // Ctrl-Z: stops this process until the shell goes on
  console *c = check_console(L);
  tm_lineedit_hide(c->edit);
  flush(c);
  set_raw(c, false);
  raise(SIGTSTP);
  set_raw(c, true);
  tm_lineedit_show(c->edit);
  flush(c);
  return 0;
}

// ---- keys ----

static const char *event_name(tm_line_event event) {
  static const char *const names[] = {
      [TM_LINE_ENTER] = "enter", [TM_LINE_COMPLETE] = "complete", [TM_LINE_INTERRUPT] = "interrupt",
      [TM_LINE_EOF] = "eof",     [TM_LINE_SUSPEND] = "suspend",
  };
  return names[event];
}

static tm_line_event feed(console *c) {
  tm_line_event event = TM_LINE_NONE;
  uv_timer_stop(&c->escape);
  if (c->input_at < c->input_size) {
    size_t used;
    event = tm_lineedit_feed(c->edit, c->input + c->input_at, c->input_size - c->input_at, &used);
    c->input_at += used;
    flush(c);
  }
  if (c->input_at >= c->input_size && !c->hangup && !uv_is_active((uv_handle_t *)&c->poll))
    uv_poll_start(&c->poll, UV_READABLE, on_readable);
  if (tm_lineedit_pending(c->edit)) uv_timer_start(&c->escape, on_escape, ESCAPE_MS, 0);
  return event;
}

static int console_event(lua_State *L) { // -> name, or nil when no key is left: wait
  console *c = check_console(L);
  tm_line_event event = feed(c);
  if (event != TM_LINE_NONE)
    lua_pushstring(L, event_name(event));
  else if (c->terminate)
    lua_pushliteral(L, "terminate");
  else if (c->hangup)
    lua_pushliteral(L, "hangup");
  else
    lua_pushnil(L);
  return 1;
}

// While something runs and no prompt is shown, Ctrl-C alone has a meaning; other keys are kept.
static int console_interrupted(lua_State *L) { // -> true when Ctrl-C was among the keys
  console *c = check_console(L);
  const char *hit = memchr(c->input + c->input_at, 3, c->input_size - c->input_at);
  if (hit) c->input_at = (size_t)(hit + 1 - c->input); // what was typed before it is dropped
  lua_pushboolean(L, hit != NULL || c->hangup || c->terminate);
  return 1;
}

static int console_wait(lua_State *L) { // c:wait(ms): until a key, a signal, or the time; own loop
  console *c = check_console(L);
  lua_Integer ms = luaL_optinteger(L, 2, -1);
  if (c->engine) return luaL_error(L, "wait: the console is bound; run the engine");
  if (ms >= 0) uv_timer_start(&c->patience, on_patience, (uint64_t)ms, 0);
  uv_run(c->loop, ms == 0 ? UV_RUN_NOWAIT : UV_RUN_DEFAULT);
  uv_timer_stop(&c->patience);
  return 0;
}

// ---- the editor ----

static int console_begin(lua_State *L) { // c:begin(prompt, more_prompt)
  console *c = check_console(L);
  tm_lineedit_begin(c->edit, luaL_checkstring(L, 2), luaL_optstring(L, 3, ""));
  flush(c);
  return 0;
}

static int console_text(lua_State *L) { // -> text, byte offset of the cursor
  console *c = check_console(L);
  size_t size;
  const char *text = tm_lineedit_text(c->edit, &size);
  lua_pushlstring(L, text, size);
  lua_pushinteger(L, (lua_Integer)tm_lineedit_cursor(c->edit));
  return 2;
}

static int console_set_text(lua_State *L) {
  console *c = check_console(L);
  size_t size;
  const char *text = luaL_checklstring(L, 2, &size);
  tm_lineedit_set_text(c->edit, text, size);
  flush(c);
  return 0;
}

static int console_accept(lua_State *L) {
  console *c = check_console(L);
  tm_lineedit_accept(c->edit);
  flush(c);
  return 0;
}

static int console_newline(lua_State *L) { // c:newline(indent)
  console *c = check_console(L);
  lua_Integer indent = luaL_optinteger(L, 2, 0);
  tm_lineedit_newline(c->edit, indent > 0 ? (size_t)indent : 0);
  flush(c);
  return 0;
}

static int console_abandon(lua_State *L) {
  console *c = check_console(L);
  tm_lineedit_abandon(c->edit);
  flush(c);
  return 0;
}

static const char *item(lua_State *L, int at, lua_Integer field) {
  lua_rawgeti(L, at, field);
  const char *text = lua_tostring(L, -1);
  lua_pop(L, 1); // the row holds it
  return text ? text : "";
}

static int console_candidates(lua_State *L) { // c:candidates(from, {{text, doc}, ...})
  console *c = check_console(L);
  lua_Integer from = luaL_checkinteger(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  size_t count = lua_rawlen(L, 3);
  if (count > 1000) count = 1000;
  tm_candidate *list = lua_newuserdatauv(L, (count + 1) * sizeof *list, 0);
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, 3, (lua_Integer)i + 1);
    luaL_checktype(L, -1, LUA_TTABLE);
    list[i] = (tm_candidate){item(L, lua_gettop(L), 1), item(L, lua_gettop(L), 2)};
    lua_pop(L, 1);
  }
  tm_lineedit_candidates(c->edit, from > 0 ? (size_t)from : 0, list, count);
  flush(c);
  return 0;
}

static int console_print_above(lua_State *L) {
  console *c = check_console(L);
  size_t size;
  const char *text = luaL_checklstring(L, 2, &size);
  tm_lineedit_print_above(c->edit, text, size);
  flush(c);
  return 0;
}

static int console_add_history(lua_State *L) {
  console *c = check_console(L);
  size_t size;
  const char *text = luaL_checklstring(L, 2, &size);
  tm_lineedit_add_history(c->edit, text, size);
  return 0;
}

static const luaL_Reg methods[] = {{"bind", console_bind},
                                   {"raw", console_raw},
                                   {"suspend", console_suspend},
                                   {"event", console_event},
                                   {"interrupted", console_interrupted},
                                   {"wait", console_wait},
                                   {"begin", console_begin},
                                   {"text", console_text},
                                   {"set_text", console_set_text},
                                   {"accept", console_accept},
                                   {"newline", console_newline},
                                   {"abandon", console_abandon},
                                   {"candidates", console_candidates},
                                   {"print_above", console_print_above},
                                   {"add_history", console_add_history},
                                   {"close", console_close},
                                   {NULL, NULL}};

static int core_width(lua_State *L) { // text -> columns
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  lua_pushinteger(L, (lua_Integer)tm_text_width(text, size));
  return 1;
}

static int core_sleep(lua_State *L) { // ns: at most; a signal ends it
  lua_Integer ns = luaL_checkinteger(L, 1);
  struct timespec span = {ns / 1000000000, ns % 1000000000};
  if (ns > 0) nanosleep(&span, NULL);
  return 0;
}

void tm_lua_add_console(lua_State *L) {
  luaL_newmetatable(L, CONSOLE_META);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, console_close);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  lua_pushcfunction(L, core_console);
  lua_setfield(L, -2, "console");
  tm_lua_add_http_start(L);
  tm_lua_add_read_start(L);
  lua_pushcfunction(L, core_sleep);
  lua_setfield(L, -2, "sleep");
  lua_pushcfunction(L, core_width);
  lua_setfield(L, -2, "width");
}
