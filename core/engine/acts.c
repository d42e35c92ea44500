// Built-in actions and takes. What asks the kernel (page out, reclaim, descriptor tables) runs on a
// worker thread with its own view of the platform, since it may take long; what asks the app talks
// to its hook, a unix socket that takes one word a line ("clear-caches", "collect", "pause",
// "resume") and answers one line.
#include "engine/acts.h"

#include "base/bytes.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

// ---- arguments ----

// The value of one field of a flat JSON object that tm_lua_json wrote (no blanks, sorted keys);
// NULL when it is not there.
static const char *field_of(const char *json, const char *name) {
  char want[64];
  snprintf(want, sizeof want, "\"%s\":", name);
  const char *at = strstr(json, want);
  return at ? at + strlen(want) : NULL;
}

static uint64_t number_arg(const char *json, const char *name, uint64_t otherwise) {
  const char *at = field_of(json, name);
  if (!at) return otherwise;
  double value = strtod(*at == '"' ? at + 1 : at, NULL);
  if (*at == '"') {
    char text[32];
    tm_ctx ctx;
    tm_ctx_init(&ctx, NULL);
    snprintf(text, sizeof text, "%.*s", (int)strcspn(at + 1, "\""), at + 1);
    uint64_t bytes;
    return tm_parse_bytes(&ctx, text, &bytes) == TM_OK ? bytes : otherwise;
  }
  return value >= 0 && value < 0x1p63 ? (uint64_t)value : otherwise;
}

static void text_arg(const char *json, const char *name, const char *otherwise, char *out,
                     size_t size) {
  const char *at = field_of(json, name);
  if (at && *at == '"')
    snprintf(out, size, "%.*s", (int)strcspn(at + 1, "\""), at + 1);
  else
    snprintf(out, size, "%s", otherwise);
}

// ---- work on a thread ----

typedef struct work {
  uv_work_t request;
  tm_runner *runner;
  int64_t pid;
  tm_identity id;
  tm_plat_act act;
  uint64_t argument;
  bool is_take;
  char name[32], kind[32];
  tm_ctx ctx;
  tm_bytes text;
  tm_status status;
  size_t rows;
  // who waits
  uint64_t call_id, take_id;
  tm_taken_fn done;
  void *ud;
} work;

static bool add_handle(void *ud, const tm_handle_row *row) {
  work *w = ud;
  char bytes[32] = "";
  if (w->kind[0] && strcmp(w->kind, tm_handle_kind_name(row->kind)) != 0) return true;
  if (row->bytes) tm_format_value(bytes, sizeof bytes, TM_UNIT_BYTES, (double)row->bytes);
  w->rows++;
  return tm_bytes_printf(&w->ctx, &w->text, "%6lld  %-10s %10s  %s\n", (long long)row->number,
                         tm_handle_kind_name(row->kind), bytes, row->target)
         == TM_OK;
}

static bool add_mapping(void *ud, const tm_mapping_row *row) {
  work *w = ud;
  char bytes[32];
  if (w->kind[0] && strcmp(w->kind, tm_mapping_kind_name(row->kind)) != 0) return true;
  w->rows++;
  return tm_bytes_printf(
             &w->ctx, &w->text, "%12llx-%-12llx %s %-9s %10s  %s\n", (unsigned long long)row->start,
             (unsigned long long)row->end, row->access, tm_mapping_kind_name(row->kind),
             tm_format_value(bytes, sizeof bytes, TM_UNIT_BYTES, (double)(row->end - row->start)),
             row->name)
         == TM_OK;
}

static tm_status take_signals(work *w, tm_proc *proc) {
  tm_reading *reading = malloc(sizeof *reading);
  if (!reading) return tm_fail(&w->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory");
  tm_reading_clear(reading);
  tm_status status = tm_proc_read(&w->ctx, proc, (1u << TM_GROUP_COUNT) - 1, reading);
  for (size_t s = 0; status == TM_OK && s < TM_SIGNAL_COUNT; s++) {
    const tm_signal_info *info = tm_signal_describe((tm_signal)s);
    char text[48];
    if (isnan(reading->value[s])) continue;
    status = tm_bytes_printf(&w->ctx, &w->text, "%-24s %s\n", info->name,
                             tm_format_value(text, sizeof text, info->unit, reading->value[s]));
  }
  free(reading);
  return status;
}

static void add_x_type(void *ud, const tm_x_row *row) {
  work *w = ud;
  char bytes[32] = "";
  if (row->bytes) tm_format_value(bytes, sizeof bytes, TM_UNIT_BYTES, (double)row->bytes);
  w->status = tm_bytes_printf(&w->ctx, &w->text, "%8llu  %-16s %10s\n",
                              (unsigned long long)row->count, row->type, bytes);
}

static void add_gpu_region(void *ud, const tm_gpu_row *row) {
  work *w = ud;
  char resident[32], total[32];
  w->status = tm_bytes_printf(
      &w->ctx, &w->text, "%-8s %-12s %-14s %10s of %10s  %u clients\n", row->driver, row->region,
      row->device,
      tm_format_value(resident, sizeof resident, TM_UNIT_BYTES, (double)row->resident_bytes),
      tm_format_value(total, sizeof total, TM_UNIT_BYTES, (double)row->total_bytes),
      row->client_count);
}

static tm_status take_on(work *w, tm_proc *proc) {
  w->text.cap_bytes = 8u << 20;
  if (strcmp(w->name, "x_table") == 0) return tm_proc_each_x_resource(&w->ctx, proc, add_x_type, w);
  if (strcmp(w->name, "gpu_table") == 0)
    return tm_proc_each_gpu_region(&w->ctx, proc, add_gpu_region, w);
  if (strcmp(w->name, "handle_table") == 0)
    return tm_proc_each_handle(&w->ctx, proc, add_handle, w);
  if (strcmp(w->name, "mapping_table") == 0)
    return tm_proc_each_mapping(&w->ctx, proc, add_mapping, w);
  return take_signals(w, proc);
}

static void on_worker(uv_work_t *request) {
  work *w = request->data;
  tm_plat *plat = NULL;
  tm_proc *proc = NULL;
  w->status = tm_plat_open(&w->ctx, NULL, NULL, &plat);
  if (w->status == TM_OK) w->status = tm_proc_open(&w->ctx, plat, w->pid, &proc);
  if (w->status == TM_OK && tm_proc_identity(proc).start_ticks != w->id.start_ticks)
    w->status = tm_fail(&w->ctx, TM_E_GONE, TM_NO_OFFSET, "pid %lld belongs to another process now",
                        (long long)w->pid);
  if (w->status == TM_OK)
    w->status = w->is_take ? take_on(w, proc) : tm_proc_act(&w->ctx, proc, w->act, w->argument);
  tm_proc_close(proc);
  tm_plat_close(plat);
}

static void on_worked(uv_work_t *request, int cancelled) {
  work *w = request->data;
  tm_engine *engine = tm_runner_engine(w->runner);
  if (cancelled) w->status = tm_fail(&w->ctx, TM_E_CANCELLED, TM_NO_OFFSET, "cancelled");
  int64_t now = tm_runner_now_ns(w->runner);
  tm_engine_advance(engine, now);
  if (w->is_take && w->status == TM_OK)
    w->done(w->ud, w->take_id, TM_OK, w->text.data ? (const void *)w->text.data : "", w->text.size);
  else if (w->is_take)
    w->done(w->ud, w->take_id, w->status, w->ctx.error.message, strlen(w->ctx.error.message));
  else
    tm_actions_done(tm_engine_actions(engine), now, w->call_id, w->status,
                    w->status == TM_OK ? "" : w->ctx.error.message);
  tm_bytes_free(&w->ctx, &w->text);
  tm_ctx_fini(&w->ctx);
  free(w);
}

static work *new_work(tm_runner *runner, const tm_target *target) {
  tm_sampler *sampler = tm_runner_sampler(target);
  if (!sampler) return NULL;
  work *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  tm_ctx_init(&w->ctx, NULL);
  w->request.data = w;
  w->runner = runner;
  w->id = tm_proc_identity(tm_sampler_proc(sampler));
  w->pid = w->id.pid;
  return w;
}

// ---- kernel actions ----

typedef struct kernel_act {
  const char *name, *capability;
  tm_plat_act act;
  uint64_t argument; // of signals; else read from `bytes`
  bool kill_like, unmeasured;
} kernel_act;

static const kernel_act kernel_acts[] = {
    {"cgroup.reclaim", "act:cgroup.reclaim", TM_PLAT_ACT_RECLAIM, 0, false, false},
    {"cgroup.high", "act:cgroup.high", TM_PLAT_ACT_HIGH, 0, false, false},
    {"mem.page_out", "act:mem.page_out", TM_PLAT_ACT_PAGE_OUT, 0, false, false},
    {"mem.cold", "act:mem.cold", TM_PLAT_ACT_COLD, 0, false, false},
    {"proc.freeze", "act:proc.freeze", TM_PLAT_ACT_FREEZE, 0, false, true},
    {"proc.thaw", "act:proc.thaw", TM_PLAT_ACT_THAW, 0, false, true},
    {"signal.USR1", "signal:USR1", TM_PLAT_ACT_SIGNAL, SIGUSR1, false, true},
    {"signal.USR2", "signal:USR2", TM_PLAT_ACT_SIGNAL, SIGUSR2, false, true},
    {"signal.HUP", "signal:HUP", TM_PLAT_ACT_SIGNAL, SIGHUP, true, true},
    {"signal.TERM", "signal:TERM", TM_PLAT_ACT_SIGNAL, SIGTERM, true, true},
    {"signal.KILL", "signal:KILL", TM_PLAT_ACT_SIGNAL, SIGKILL, true, true},
};

static void run_kernel(void *ud, const tm_action_call *call) {
  tm_runner *runner = ud;
  tm_engine *engine = tm_runner_engine(runner);
  tm_target *target = tm_engine_target_by_id(engine, call->target);
  work *w = target ? new_work(runner, target) : NULL;
  if (!w) {
    tm_actions_done(tm_engine_actions(engine), tm_engine_now_ns(engine), call->id, TM_E_UNSUPPORTED,
                    "the target is no process");
    return;
  }
  for (size_t i = 0; i < TM_COUNT(kernel_acts); i++)
    if (strcmp(call->name, kernel_acts[i].name) == 0) {
      w->act = kernel_acts[i].act;
      w->argument = w->act == TM_PLAT_ACT_SIGNAL ? kernel_acts[i].argument
                                                 : number_arg(call->args_json, "bytes", 0);
    }
  w->call_id = call->id;
  uv_queue_work(tm_runner_loop(runner), &w->request, on_worker, on_worked);
}

// ---- the app's hook ----

typedef struct hook_call {
  uv_pipe_t pipe;
  uv_connect_t connect;
  uv_write_t write;
  uv_timer_t timer;
  int open_handles;
  tm_runner *runner;
  uint64_t call_id;
  bool finished;
  char line[128], reply[256];
  size_t reply_size;
} hook_call;

static void on_hook_closed(uv_handle_t *handle) {
  hook_call *h = handle->data;
  if (--h->open_handles == 0) free(h);
}

static void finish_hook(hook_call *h, tm_status status, const char *message) {
  if (h->finished) return;
  h->finished = true;
  tm_engine *engine = tm_runner_engine(h->runner);
  int64_t now = tm_runner_now_ns(h->runner);
  tm_engine_advance(engine, now);
  tm_actions_done(tm_engine_actions(engine), now, h->call_id, status, message);
  uv_close((uv_handle_t *)&h->pipe, on_hook_closed);
  uv_close((uv_handle_t *)&h->timer, on_hook_closed);
}

static void on_hook_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
  (void)suggested;
  hook_call *h = handle->data;
  *out = uv_buf_init(h->reply + h->reply_size, (uint32_t)(sizeof h->reply - 1 - h->reply_size));
}

static void on_hook_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  (void)buf;
  hook_call *h = stream->data;
  if (n > 0) h->reply_size += (size_t)n;
  h->reply[h->reply_size] = '\0';
  char *end = strchr(h->reply, '\n');
  if (!end && n >= 0 && h->reply_size < sizeof h->reply - 1) return;
  if (end) *end = '\0';
  for (char *p = h->reply; *p; p++)
    if ((unsigned char)*p < 0x20) *p = '?';
  bool ok = strncmp(h->reply, "ok", 2) == 0;
  finish_hook(h, ok ? TM_OK : TM_E_IO,
              h->reply[0] ? h->reply : "the app's hook closed without an answer");
}

static void on_hook_written(uv_write_t *write, int status) {
  hook_call *h = write->data;
  if (status < 0 && status != UV_ECANCELED) finish_hook(h, TM_E_IO, uv_strerror(status));
}

static void on_hook_connected(uv_connect_t *connect, int status) {
  hook_call *h = connect->data;
  if (status < 0) {
    if (status != UV_ECANCELED) finish_hook(h, TM_E_IO, uv_strerror(status));
    return;
  }
  uv_buf_t line = uv_buf_init(h->line, (uint32_t)strlen(h->line));
  h->write.data = h;
  uv_write(&h->write, (uv_stream_t *)&h->pipe, &line, 1, on_hook_written);
  uv_read_start((uv_stream_t *)&h->pipe, on_hook_alloc, on_hook_read);
}

static void on_hook_timeout(uv_timer_t *timer) {
  finish_hook(timer->data, TM_E_TIMEOUT, "the app's hook did not answer in 10 s");
}

static void call_hook(tm_runner *runner, const char *path, const char *word, uint64_t call_id) {
  hook_call *h = calloc(1, sizeof *h);
  if (!h) return; // the action times out
  h->runner = runner;
  h->call_id = call_id;
  snprintf(h->line, sizeof h->line, "%.100s\n", word);
  uv_pipe_init(tm_runner_loop(runner), &h->pipe, 0);
  uv_timer_init(tm_runner_loop(runner), &h->timer);
  h->pipe.data = h->timer.data = h->connect.data = h;
  h->open_handles = 2;
  uv_timer_start(&h->timer, on_hook_timeout, 10000, 0);
  uv_pipe_connect(&h->connect, &h->pipe, path, on_hook_connected);
}

static void run_hook(void *ud, const tm_action_call *call) {
  tm_runner *runner = ud;
  tm_engine *engine = tm_runner_engine(runner);
  tm_target *target = tm_engine_target_by_id(engine, call->target);
  const char *hook = target ? tm_target_get_facts(target)->hook : "";
  bool gc = strcmp(call->name, "runtime.gc") == 0;
  char word[100];
  text_arg(call->args_json, "command", gc ? "collect" : "clear-caches", word, sizeof word);
  if (target && strncmp(hook, "unix:", 5) == 0)
    call_hook(runner, hook + 5, word, call->id);
  else if (target && gc && *tm_target_get_facts(target)->endpoint)
    tm_acts_http_gc(runner, target, call->id);
  else
    tm_actions_done(
        tm_engine_actions(engine), tm_engine_now_ns(engine), call->id, TM_E_UNSUPPORTED,
        gc ? "the target has neither a hook nor a pprof endpoint (give --hook or --endpoint)"
           : "the target has no hook (give --hook unix:PATH)");
}

// ---- registration, probe, takes ----

static bool probe(void *ud, const char *target_id, tm_action_probe *out) {
  tm_runner *runner = ud;
  tm_target *target = tm_engine_target_by_id(tm_runner_engine(runner), target_id);
  tm_sampler *sampler = target ? tm_runner_sampler(target) : NULL;
  if (!sampler) return false;
  tm_reading *reading = malloc(sizeof *reading);
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  uint32_t groups = TM_GROUP_BIT(TM_GROUP_STATM) | TM_GROUP_BIT(TM_GROUP_STATUS)
                    | TM_GROUP_BIT(TM_GROUP_PSI) | TM_GROUP_BIT(TM_GROUP_SYSTEM);
  bool ok = false;
  if (reading) {
    tm_reading_clear(reading);
    ok = tm_proc_read(&ctx, tm_sampler_proc(sampler), groups, reading) == TM_OK;
    const double *v = reading->value;
    *out = (tm_action_probe){
        .rss_bytes = isnan(v[TM_SIGNAL_RSS]) ? 0 : (uint64_t)v[TM_SIGNAL_RSS],
        .swap_bytes = isnan(v[TM_SIGNAL_SWAP]) ? 0 : (uint64_t)v[TM_SIGNAL_SWAP],
        .psi_some_us =
            isnan(v[TM_SIGNAL_PSI_SOME_TOTAL]) ? 0 : (uint64_t)(v[TM_SIGNAL_PSI_SOME_TOTAL] / 1e3),
        .refaults_count =
            isnan(v[TM_SIGNAL_SYS_REFAULTS]) ? 0 : (uint64_t)v[TM_SIGNAL_SYS_REFAULTS],
    };
  }
  free(reading);
  tm_ctx_fini(&ctx);
  return ok;
}

tm_status tm_runner_register_actions(tm_runner *runner) {
  tm_actions *actions = tm_engine_actions(tm_runner_engine(runner));
  tm_actions_set_probe(actions, probe, runner);
  for (size_t i = 0; i < TM_COUNT(kernel_acts); i++) {
    const kernel_act *k = &kernel_acts[i];
    tm_action_def def = {k->name,    k->capability, k->kill_like, k->unmeasured,
                         run_kernel, NULL,          runner};
    TM_TRY(tm_actions_register(actions, &def));
  }
  tm_action_def hook = {"app.hook", "act:app.hook", false, false, run_hook, NULL, runner};
  tm_action_def gc = {"runtime.gc", "act:runtime.gc", false, false, run_hook, NULL, runner};
  TM_TRY(tm_actions_register(actions, &hook));
  return tm_actions_register(actions, &gc);
}

void tm_runner_take(tm_runner *runner, tm_target *target, const char *name,
                    const char *options_json, uint64_t timeout_ns, uint64_t id, tm_taken_fn done,
                    void *ud) {
  static const char *const kernel_takes[] = {"handle_table", "mapping_table", "signals", "x_table",
                                             "gpu_table"};
  bool known = false;
  for (size_t i = 0; i < TM_COUNT(kernel_takes); i++)
    known = known || strcmp(name, kernel_takes[i]) == 0;
  if (!known) {
    tm_acts_http_take(runner, target, name, options_json, timeout_ns, id, done, ud);
    return;
  }
  work *w = new_work(runner, target);
  if (!w) {
    done(ud, id, TM_E_UNSUPPORTED, "the target is no process", 24);
    return;
  }
  w->is_take = true;
  w->take_id = id;
  w->done = done;
  w->ud = ud;
  snprintf(w->name, sizeof w->name, "%s", name);
  text_arg(options_json, "kind", "", w->kind, sizeof w->kind);
  tm_ctx_clear(tm_engine_ctx(tm_runner_engine(runner)));
  if (tm_actions_note_evidence(tm_engine_actions(tm_runner_engine(runner)),
                               tm_engine_now_ns(tm_runner_engine(runner)),
                               tm_target_get_facts(target)->id)
      != TM_OK)
    tm_ctx_clear(tm_engine_ctx(tm_runner_engine(runner)));
  uv_queue_work(tm_runner_loop(runner), &w->request, on_worker, on_worked);
}
