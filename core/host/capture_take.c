// A child with two pipes and a timer. The child's own answer decides: exit 0 and its output, or the
// first line of what it complained about. Everything is freed when the last of its handles closed.
#include "host/capture_take.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { WATCH_MS = 200, OUTPUT_BYTES = 4 << 20, READ_BYTES = 16384, ARGS_MAX = 16, GRACE_MS = 3000 };

typedef struct stream {
  uv_pipe_t pipe;
  tm_bytes text;
} stream;

typedef struct capture {
  tm_ctx ctx;
  tm_runner *runner;
  tm_target *target; // held
  uv_process_t process;
  uv_timer_t watch;
  stream out, err;
  uint32_t handles; // that are open
  bool exited, ending, reported;
  int64_t exit_code;
  uint64_t deadline_ns, kill_ns;
  uint64_t id;
  tm_taken_fn done;
  void *ud;
  char word[300], endpoint[300], kind[40], seconds[24];
  char read[READ_BYTES];
} capture;

bool tm_capture_is(const char *name) {
  return strcmp(name, "heap_dump") == 0 || strcmp(name, "class_histogram") == 0
         || strcmp(name, "native_leaks") == 0;
}

tm_capture_options tm_capture_of_take(const char *name, const char *json, uint64_t timeout_ns) {
  bool is_dump = strcmp(name, "heap_dump") == 0;
  const char *seconds = json ? strstr(json, "\"seconds\":") : NULL;
  if (strcmp(name, "native_leaks") == 0)
    return (tm_capture_options){.kind = "leaks",
                                .seconds = seconds ? strtod(seconds + 10, NULL) : 0,
                                .timeout_ns = timeout_ns};
  return (tm_capture_options){.kind = is_dump ? "dump" : "histogram",
                              .redact = json && strstr(json, "\"redact\":true") != NULL,
                              .timeout_ns = timeout_ns};
}

static void on_closed(uv_handle_t *handle) {
  capture *c = handle->data;
  if (--c->handles) return;
  tm_bytes_free(&c->ctx, &c->out.text);
  tm_bytes_free(&c->ctx, &c->err.text);
  tm_target_release(c->target);
  tm_ctx_fini(&c->ctx);
  free(c);
}

static void report(capture *c, tm_status status, const void *text, size_t size) {
  if (c->reported) return;
  c->reported = true;
  c->done(c->ud, c->id, status, text ? text : "", size);
}

// The exit codes of the command line. Source: lua/tidemark/cli/init.lua.
static tm_status status_of(int64_t exit_code) {
  switch (exit_code) {
  case 2:
    return TM_E_ARG;
  case 3:
    return TM_E_LIMIT;
  case 4:
    return TM_E_GONE;
  case 5:
    return TM_E_PERM;
  case 6:
    return TM_E_UNSUPPORTED;
  case 130:
    return TM_E_CANCELLED;
  default:
    return TM_E_IO;
  }
}

static void report_exit(capture *c) {
  static const char prefix[] = "tidemark: ";
  if (c->exit_code == 0) {
    report(c, TM_OK, c->out.text.data, c->out.text.size);
    return;
  }
  const char *text = c->err.text.size ? (const char *)c->err.text.data : "the capture failed";
  size_t size = c->err.text.size ? c->err.text.size : strlen(text);
  const char *end = memchr(text, '\n', size);
  if (end) size = (size_t)(end - text);
  if (size >= sizeof prefix && memcmp(text, prefix, sizeof prefix - 1) == 0) {
    text += sizeof prefix - 1;
    size -= sizeof prefix - 1;
  }
  report(c, status_of(c->exit_code), text, size);
}

static void close_one(uv_handle_t *handle) {
  if (!uv_is_closing(handle)) uv_close(handle, on_closed);
}

// Both pipes are at their end and the child is gone.
static void finish(capture *c) {
  if (!c->exited || !uv_is_closing((uv_handle_t *)&c->out.pipe)
      || !uv_is_closing((uv_handle_t *)&c->err.pipe))
    return;
  report_exit(c);
  close_one((uv_handle_t *)&c->watch);
  close_one((uv_handle_t *)&c->process);
}

static void on_child_exit(uv_process_t *process, int64_t exit_code, int signal) {
  capture *c = process->data;
  c->exited = true;
  c->exit_code = signal ? 128 + signal : exit_code;
  finish(c);
}

static void give_room(uv_handle_t *handle, size_t wanted, uv_buf_t *out) {
  capture *c = handle->data;
  (void)wanted;
  *out = uv_buf_init(c->read, sizeof c->read);
}

static void on_read(uv_stream_t *pipe, ssize_t size, const uv_buf_t *buffer) {
  capture *c = pipe->data;
  stream *s = pipe == (uv_stream_t *)&c->out.pipe ? &c->out : &c->err;
  if (size < 0) {
    close_one((uv_handle_t *)pipe);
    finish(c);
    return;
  }
  size_t room = OUTPUT_BYTES - s->text.size, n = (size_t)size < room ? (size_t)size : room;
  if (n && tm_bytes_append(&c->ctx, &s->text, buffer->base, n) != TM_OK) tm_ctx_clear(&c->ctx);
}

// The first SIGTERM lets it clean up after itself.
static void end_child(capture *c, tm_status status, const char *why) {
  uint64_t now_ns = tm_clock_mono_ns();
  if (!c->ending) {
    c->ending = true;
    c->kill_ns = now_ns + GRACE_MS * UINT64_C(1000000);
    if (!c->exited) uv_process_kill(&c->process, SIGTERM);
    report(c, status, why, strlen(why));
  } else if (!c->exited && now_ns > c->kill_ns) {
    uv_process_kill(&c->process, SIGKILL);
  }
}

static void on_watch(uv_timer_t *timer) {
  capture *c = timer->data;
  if (!tm_target_is_live(c->target))
    end_child(c, TM_E_GONE, "the target ended before its dump was taken");
  else if (tm_clock_mono_ns() > c->deadline_ns)
    end_child(c, TM_E_TIMEOUT, "the capture took longer than it may");
  else if (c->ending)
    end_child(c, TM_E_CANCELLED, "");
}

static void adopt(capture *c, uv_handle_t *handle) {
  handle->data = c;
  c->handles++;
}

static void fill_leaks_args(capture *c, const tm_capture_options *o, const char *args[ARGS_MAX]) {
  size_t n = 0;
  snprintf(c->word, sizeof c->word, "%lld", (long long)tm_target_get_facts(c->target)->pid);
  args[n++] = "/proc/self/exe";
  args[n++] = "leaks";
  args[n++] = c->word;
  if (o->seconds > 0) args[n++] = "--seconds";
  if (o->seconds > 0) args[n++] = c->seconds;
  args[n] = NULL;
}

static void fill_args(capture *c, const tm_capture_options *o, const char *args[ARGS_MAX]) {
  snprintf(c->seconds, sizeof c->seconds, "%g", o->seconds);
  if (strcmp(o->kind, "leaks") == 0) {
    fill_leaks_args(c, o, args);
    return;
  }
  const tm_target_facts *facts = tm_target_get_facts(c->target);
  size_t n = 0;
  if (o->word)
    snprintf(c->word, sizeof c->word, "%s", o->word);
  else
    snprintf(c->word, sizeof c->word, "%lld", (long long)facts->pid);
  snprintf(c->endpoint, sizeof c->endpoint, "%s", facts->endpoint ? facts->endpoint : "");
  snprintf(c->kind, sizeof c->kind, "%s", o->kind);
  args[n++] = "/proc/self/exe";
  args[n++] = "snap";
  args[n++] = c->word;
  args[n++] = c->kind;
  if (*c->endpoint) args[n++] = "--endpoint";
  if (*c->endpoint) args[n++] = c->endpoint;
  if (o->folder) args[n++] = "--dir";
  if (o->folder) args[n++] = o->folder;
  if (o->seconds > 0) args[n++] = "--seconds";
  if (o->seconds > 0) args[n++] = c->seconds;
  if (o->redact) args[n++] = "--redact";
  if (o->json) args[n++] = "--paths";
  if (o->json) args[n++] = "--json";
  args[n] = NULL;
}

static int spawn(capture *c, const tm_capture_options *o) {
  const char *args[ARGS_MAX];
  uv_loop_t *loop = tm_runner_loop(c->runner);
  fill_args(c, o, args);
  uv_pipe_init(loop, &c->out.pipe, 0);
  uv_pipe_init(loop, &c->err.pipe, 0);
  uv_timer_init(loop, &c->watch);
  adopt(c, (uv_handle_t *)&c->out.pipe);
  adopt(c, (uv_handle_t *)&c->err.pipe);
  adopt(c, (uv_handle_t *)&c->watch);
  adopt(c, (uv_handle_t *)&c->process);
  const uv_stdio_flags flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE;
  uv_stdio_container_t streams[3] = {{.flags = UV_IGNORE},
                                     {.flags = flags, .data.stream = (uv_stream_t *)&c->out.pipe},
                                     {.flags = flags, .data.stream = (uv_stream_t *)&c->err.pipe}};
  uv_process_options_t options = {.exit_cb = on_child_exit,
                                  .file = args[0],
                                  .args = (char **)(uintptr_t)args, // libuv writes to none
                                  .stdio_count = 3,
                                  .stdio = streams};
  return uv_spawn(loop, &c->process, &options);
}

static void refuse(tm_taken_fn done, void *ud, uint64_t id, tm_status status, const char *text) {
  done(ud, id, status, text, strlen(text));
}

void tm_capture_take(tm_runner *runner, tm_target *target, const tm_capture_options *options,
                     uint64_t id, tm_taken_fn done, void *ud) {
  if (!tm_target_get_facts(target)->pid) {
    refuse(done, ud, id, TM_E_UNSUPPORTED, "the target is no process");
    return;
  }
  capture *c = calloc(1, sizeof *c);
  if (!c) {
    refuse(done, ud, id, TM_E_NOMEM, "out of memory");
    return;
  }
  tm_ctx_init(&c->ctx, NULL);
  c->runner = runner;
  c->target = tm_target_retain(target);
  c->id = id;
  c->done = done;
  c->ud = ud;
  c->deadline_ns = tm_clock_mono_ns() + options->timeout_ns;
  int problem = spawn(c, options);
  if (problem) {
    report(c, TM_E_IO, uv_strerror(problem), strlen(uv_strerror(problem)));
    close_one((uv_handle_t *)&c->out.pipe);
    close_one((uv_handle_t *)&c->err.pipe);
    close_one((uv_handle_t *)&c->watch);
    close_one((uv_handle_t *)&c->process);
    return;
  }
  uv_read_start((uv_stream_t *)&c->out.pipe, give_room, on_read);
  uv_read_start((uv_stream_t *)&c->err.pipe, give_room, on_read);
  uv_timer_start(&c->watch, on_watch, WATCH_MS, WATCH_MS);
}
