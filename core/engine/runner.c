// One timer stands at the earliest of a sampler's next group, the rules' wish, and the timers of
// alerts and actions (a second). A tick reads what is due, feeds it, and moves the engine's clock.
#include "engine/runner.h"

#include "base/clock.h"
#include "base/vec.h"
#include "engine/account_feed.h"
#include "engine/mailbox.h"
#include "engine/shot_feed.h"
#include "live/app_counters.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#define SECOND_NS UINT64_C(1000000000)
#define SLICE_NS  UINT64_C(1000000) // for which a callback may keep the loop from others, as keys

typedef struct watched {
  tm_runner *runner;
  tm_target *target;
  tm_sampler *sampler;
  tm_app_counters *counters; // NULL until somebody wants one
  tm_shot_feed *shots;       // likewise
  tm_account_feed *account;  // likewise
  uv_poll_t exit_poll;       // of its pidfd
  int exit_fd;
  bool polling, plan_stale;
} watched;

typedef struct ticker {
  uv_timer_t timer;
  void (*fn)(void *ud);
  void *ud;
} ticker;

typedef struct spawned {
  uv_process_t process;
  tm_runner *runner;
  bool running;
} spawned;

typedef struct pressure {
  uv_poll_t poll;
  tm_runner *runner;
  int fd;
} pressure;

struct tm_runner {
  tm_ctx *ctx;
  tm_engine *engine;
  tm_runner_options options;
  tm_plat *plat;
  uv_loop_t own_loop, *loop;
  uv_timer_t timer;
  uint64_t timer_due_ns; // UINT64_MAX = it stands still
  uv_async_t async;
  tm_mailbox mail;
  TM_VEC(watched *) watched;
  TM_VEC(ticker *) tickers;
  TM_VEC(spawned *) spawned;
  TM_VEC(pressure *) pressures;
  uint32_t fetching; // profiles under way, of all targets
  tm_account_turns account_turns;
  int64_t wall_base_ns;
  uint64_t mono_base_ns;
  int exit_code;
  atomic_bool stopping;
  bool until_idle, closing, plans_wait, stale_plans;
  tm_runner_stats stats;
};

int64_t tm_runner_now_ns(const tm_runner *runner) {
  return runner->wall_base_ns + (int64_t)(tm_clock_mono_ns() - runner->mono_base_ns);
}

static void follow_wall_clock(tm_runner *runner) {
  int64_t ahead = tm_clock_wall_ns() - tm_runner_now_ns(runner);
  if (ahead > 2 * (int64_t)SECOND_NS) runner->wall_base_ns += ahead;
}

// ---- posting ----

void tm_runner_post(tm_runner *runner, void (*fn)(void *arg), void *arg) {
  tm_mailbox_post(&runner->mail, fn, arg);
  uv_async_send(&runner->async);
}

void tm_runner_post_fn(void *runner, void (*fn)(void *arg), void *arg) {
  tm_runner_post(runner, fn, arg);
}

static void plan_target(tm_runner *runner, watched *w);

// Rules post some forty demands for each new target: it is planned once for all that a slice has.
// True = some are left.
static bool plan_stale(tm_runner *runner, uint64_t until_ns) {
  for (size_t i = 0; runner->stale_plans && i < runner->watched.count; i++) {
    watched *w = runner->watched.items[i];
    if (w->plan_stale && tm_clock_mono_ns() >= until_ns) return true;
    if (w->plan_stale) plan_target(runner, w);
  }
  return runner->stale_plans = false;
}

static void run_posted(tm_runner *runner) {
  uint64_t until_ns = tm_clock_mono_ns() + SLICE_NS;
  runner->plans_wait = true;
  bool more = tm_mailbox_run(&runner->mail, SLICE_NS / 2);
  runner->plans_wait = false;
  if (plan_stale(runner, until_ns) || more) uv_async_send(&runner->async);
}

// ---- ticks ----

typedef struct feeding {
  tm_runner *runner;
  tm_target *target;
} feeding;

static void on_sample(void *ud, const tm_sample *sample) {
  feeding *f = ud;
  f->runner->stats.samples++;
  if (tm_engine_feed(f->runner->engine, f->target, sample->metric, sample->key, sample->unit,
                     sample->time_ns, sample->value)
      != TM_OK) {
    tm_log_line(tm_engine_log(f->runner->engine), TM_LOG_WARN, "engine", "%s",
                tm_engine_ctx(f->runner->engine)->error.message);
    tm_ctx_clear(tm_engine_ctx(f->runner->engine));
  }
}

static bool any_spawned(const tm_runner *runner) {
  for (size_t i = 0; i < runner->spawned.count; i++)
    if (runner->spawned.items[i]->running) return true;
  return false;
}

// A command may be seen to be gone before its exit code has come: that is waited for.
static void stop_when_idle(tm_runner *runner) {
  if (runner->until_idle && runner->watched.count == 0 && !any_spawned(runner))
    tm_runner_stop(runner);
}

static void end_target(tm_runner *runner, tm_target *target, const char *why) {
  tm_engine_remove_target(runner->engine, target, why);
  stop_when_idle(runner);
}

// What is still due after a slice is so at the next tick, which then follows at once.
static void sample_due(tm_runner *runner, int64_t now_ns) {
  uint64_t mono = tm_clock_mono_ns(), cpu = tm_clock_thread_cpu_ns();
  for (size_t i = 0; i < runner->watched.count;) {
    watched *w = runner->watched.items[i];
    if (tm_sampler_next_due_ns(w->sampler) <= mono) {
      if (tm_clock_mono_ns() - mono > SLICE_NS) break;
      feeding f = {runner, w->target};
      tm_ctx_clear(runner->ctx);
      tm_status status = tm_sampler_tick(runner->ctx, w->sampler, mono, now_ns, on_sample, &f);
      if (status == TM_E_GONE) {
        end_target(runner, w->target, "the process ended");
        continue; // its place was taken by the next one
      }
      if (status != TM_OK)
        tm_log_line(tm_engine_log(runner->engine), TM_LOG_WARN, "sampler", "%s",
                    runner->ctx->error.message);
    }
    i++;
  }
  runner->stats.sampling_cpu_ns += tm_clock_thread_cpu_ns() - cpu;
}

static void on_timer(uv_timer_t *timer);

static void set_timer(tm_runner *runner, uint64_t due_ns) {
  runner->timer_due_ns = due_ns;
  if (due_ns == UINT64_MAX) {
    uv_timer_stop(&runner->timer);
    return;
  }
  uint64_t now_ns = tm_clock_mono_ns();
  uv_update_time(runner->loop);
  // Rounded up: a timer that fires early would only spin once more. Never 0: libuv would run it
  // before it looks at its other handles.
  uint64_t wait_ms = due_ns > now_ns ? (due_ns - now_ns + 999999) / 1000000 : 1;
  uv_timer_start(&runner->timer, on_timer, wait_ms, 0);
}

static void schedule(tm_runner *runner) {
  if (runner->closing) return;
  uint64_t mono = tm_clock_mono_ns(), due = UINT64_MAX;
  for (size_t i = 0; i < runner->watched.count; i++) {
    uint64_t next = tm_sampler_next_due_ns(runner->watched.items[i]->sampler);
    if (next < due) due = next;
  }
  int64_t other = runner->options.next_due_ns
                      ? runner->options.next_due_ns(runner->options.next_due_ud)
                      : INT64_MAX;
  if (other != INT64_MAX) {
    int64_t wait = other - tm_runner_now_ns(runner);
    uint64_t at = mono + (wait > 0 ? (uint64_t)wait : 0);
    if (at < due) due = at;
  }
  if ((tm_alerts_busy(runner->engine ? tm_engine_alerts(runner->engine) : NULL)
       || tm_actions_busy(tm_engine_actions(runner->engine)))
      && due > mono + SECOND_NS)
    due = mono + SECOND_NS;
  set_timer(runner, due);
}

// The same after a change of one sampler: a timer that stands too early does no harm.
static void schedule_sampler(tm_runner *runner, const tm_sampler *sampler) {
  uint64_t due = tm_sampler_next_due_ns(sampler);
  if (!runner->closing && due < runner->timer_due_ns) set_timer(runner, due);
}

static void tick(tm_runner *runner) {
  runner->stats.ticks++;
  follow_wall_clock(runner);
  int64_t now_ns = tm_runner_now_ns(runner);
  sample_due(runner, now_ns);
  tm_engine_advance(runner->engine, now_ns);
}

static void on_timer(uv_timer_t *timer) {
  tm_runner *runner = timer->data;
  runner->stats.wakeups++;
  tick(runner);
  schedule(runner);
}

static void on_async(uv_async_t *async) {
  tm_runner *runner = async->data;
  runner->stats.wakeups++;
  // Posted work is stamped with the time at which it runs.
  tm_engine_advance(runner->engine, tm_runner_now_ns(runner));
  run_posted(runner);
  if (atomic_load(&runner->stopping)) uv_stop(runner->loop);
  schedule(runner);
}

// ---- the plan ----

enum { APP_WANTS_MAX = 128 };

typedef struct planning {
  uint64_t period_ns[TM_GROUP_COUNT];
  bool peaks;
  tm_app_want wants[APP_WANTS_MAX];
  size_t want_count;
} planning;

static void add_demand(void *ud, const tm_demand *demand) {
  planning *plan = ud;
  tm_group group = tm_metric_group(demand->metric);
  if (tm_app_metric(demand->metric) && plan->want_count < APP_WANTS_MAX)
    plan->wants[plan->want_count++] = (tm_app_want){demand->metric, demand->every_ns};
  if (group == TM_GROUP_COUNT) return;
  uint64_t *period = &plan->period_ns[group];
  if (!*period || demand->every_ns < *period) *period = demand->every_ns;
  if (strcmp(demand->metric, "proc.peak_rss") == 0) plan->peaks = true;
}

static void on_app_sample(void *ud, const tm_sample *sample) {
  watched *w = ud;
  feeding f = {w->runner, w->target};
  on_sample(&f, sample);
}

static void on_app_read(void *ud) {
  tm_runner *runner = ((watched *)ud)->runner; // the watch may end in the next line
  tm_engine_advance(runner->engine, tm_runner_now_ns(runner));
  schedule(runner);
}

static int64_t app_now_ns(void *ud) {
  return tm_runner_now_ns(((watched *)ud)->runner);
}

// Without an endpoint there is nobody to ask; rules that need one do not apply then.
static void plan_app_counters(watched *w, const planning *plan) {
  tm_runner *runner = w->runner;
  const tm_endpoint endpoint = tm_target_endpoint(tm_target_get_facts(w->target));
  bool has_page = tm_endpoint_has(&endpoint, TM_ENDPOINT_VARS)
                  || tm_endpoint_has(&endpoint, TM_ENDPOINT_METRICS);
  if (!has_page || (!plan->want_count && !w->counters)) return;
  const tm_app_counters_options options = {.uv_loop = runner->loop,
                                           .log = tm_engine_log(runner->engine),
                                           .sample = on_app_sample,
                                           .read_done = on_app_read,
                                           .now_ns = app_now_ns,
                                           .ud = w};
  tm_ctx_clear(runner->ctx);
  tm_status status = TM_OK;
  if (!w->counters) status = tm_app_counters_new(runner->ctx, &options, &w->counters);
  if (status == TM_OK)
    status = tm_app_counters_plan(w->counters, &endpoint, plan->wants, plan->want_count);
  if (status != TM_OK)
    tm_log_line(tm_engine_log(runner->engine), TM_LOG_WARN, "counters", "%s",
                runner->ctx->error.message);
}

static void plan_changed(void *ud, tm_target *target) {
  tm_runner *runner = ud;
  watched *w = tm_target_get_slot(target, TM_SLOT_RUNNER);
  if (w && runner->plans_wait)
    w->plan_stale = runner->stale_plans = true;
  else if (w)
    plan_target(runner, w);
}

static void plan_target(tm_runner *runner, watched *w) {
  tm_target *target = w->target;
  w->plan_stale = false;
  planning plan = {.period_ns[TM_GROUP_STATM] = runner->options.every_ns};
  tm_target_each_demand(target, add_demand, &plan);
  tm_sampler_plan(w->sampler, plan.period_ns);
  tm_sampler_interval_peaks(w->sampler, plan.peaks);
  plan_app_counters(w, &plan);
  tm_account_feed_plan(runner->ctx, runner, target, &runner->account_turns, &w->account);
  tm_ctx_clear(runner->ctx);
  if (tm_shot_feed_plan(runner->ctx, runner, target, &runner->fetching, &w->shots) != TM_OK)
    tm_log_line(tm_engine_log(runner->engine), TM_LOG_WARN, "snapshots", "%s",
                runner->ctx->error.message);
  schedule_sampler(runner, w->sampler);
}

// ---- targets ----

static void on_exit_fd_closed(uv_handle_t *handle) {
  watched *w = handle->data;
  close(w->exit_fd);
  tm_free(w->runner->ctx, w, sizeof *w);
}

static void target_gone(void *ud, tm_target *target) {
  tm_runner *runner = ud;
  watched *w = tm_target_get_slot(target, TM_SLOT_RUNNER);
  if (!w) return;
  tm_target_set_slot(target, TM_SLOT_RUNNER, NULL);
  for (size_t i = 0; i < runner->watched.count; i++)
    if (runner->watched.items[i] == w) {
      memmove(&runner->watched.items[i], &runner->watched.items[i + 1],
              (runner->watched.count - i - 1) * sizeof(watched *));
      runner->watched.count--;
      break;
    }
  tm_app_counters_free(w->counters);
  tm_shot_feed_add_stats(w->shots, &runner->stats);
  tm_shot_feed_free(runner->ctx, w->shots);
  tm_account_feed_end(runner->ctx, w->account, &runner->stats);
  tm_sampler_free(w->sampler);
  if (w->polling)
    uv_close((uv_handle_t *)&w->exit_poll, on_exit_fd_closed);
  else
    tm_free(runner->ctx, w, sizeof *w);
}

static void on_process_exit(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  watched *w = poll->data;
  uv_poll_stop(poll);
  tm_runner *runner = w->runner;
  tick(runner); // a last look is refused by the kernel, but time must be right
  if (tm_target_get_slot(w->target, TM_SLOT_RUNNER) == w)
    end_target(runner, w->target, "the process ended");
  schedule(runner);
}

static void poll_exit(tm_runner *runner, watched *w) {
  tm_ctx_clear(runner->ctx);
  if (tm_proc_exit_fd(runner->ctx, tm_sampler_proc(w->sampler), &w->exit_fd) != TM_OK) {
    tm_ctx_clear(runner->ctx); // without a pidfd the next sample says it
    return;
  }
  if (uv_poll_init(runner->loop, &w->exit_poll, w->exit_fd) != 0) {
    close(w->exit_fd);
    return;
  }
  w->exit_poll.data = w;
  w->polling = true;
  uv_poll_start(&w->exit_poll, UV_READABLE, on_process_exit);
  uv_unref((uv_handle_t *)&w->exit_poll);
}

tm_status tm_runner_watch(tm_runner *runner, int64_t pid, const tm_target_facts *app,
                          tm_target **out) {
  tm_ctx *ctx = runner->ctx;
  tm_ctx_clear(ctx);
  tm_process_info info;
  TM_TRY(tm_plat_describe(ctx, runner->plat, pid, &info));
  watched *w = tm_calloc(ctx, 1, sizeof *w);
  if (!w) return TM_E_NOMEM;
  w->runner = runner;
  tm_status status = tm_sampler_new(ctx, runner->plat, pid, &w->sampler);
  if (status == TM_OK) status = tm_vec_push(ctx, &runner->watched, w);
  if (status != TM_OK) {
    tm_sampler_free(w->sampler);
    tm_free(ctx, w, sizeof *w);
    return status;
  }
  tm_sampler_budget(w->sampler, runner->options.sampling_budget_ratio);
  char id[64];
  snprintf(id, sizeof id, "%lld:%llu", (long long)info.id.pid,
           (unsigned long long)info.id.start_ticks);
  tm_target_facts facts = app ? *app : (tm_target_facts){.id = NULL};
  facts.id = id;
  facts.name = info.name;
  facts.command = info.command;
  facts.exe = info.exe;
  facts.pid = pid;
  facts.uid = info.uid;
  facts.start_time_ns = info.start_time_ns;
  tm_engine_advance(runner->engine, tm_runner_now_ns(runner));
  tm_ctx_clear(tm_engine_ctx(runner->engine));
  status = tm_engine_add_target(runner->engine, &facts, &w->target);
  if (status != TM_OK) {
    tm_fail(ctx, status, TM_NO_OFFSET, "%s", tm_engine_ctx(runner->engine)->error.message);
    runner->watched.count--;
    tm_sampler_free(w->sampler);
    tm_free(ctx, w, sizeof *w);
    return status;
  }
  tm_target_set_slot(w->target, TM_SLOT_RUNNER, w);
  poll_exit(runner, w);
  plan_changed(runner, w->target);
  if (out) *out = w->target;
  return TM_OK;
}

// ---- spawned commands ----

static void on_spawned_closed(uv_handle_t *handle) {
  (void)handle; // the row is freed with the runner
}

static void on_spawned_exit(uv_process_t *process, int64_t code, int signal) {
  spawned *s = process->data;
  s->running = false;
  s->runner->exit_code = signal ? 128 + signal : (int)code;
  uv_close((uv_handle_t *)process, on_spawned_closed);
  stop_when_idle(s->runner);
}

// NAME= of an addition stands for what the environment has by that name.
static bool is_replaced(const char *entry, const char *const *additions) {
  size_t name = strcspn(entry, "=") + 1;
  for (; additions && *additions; additions++)
    if (strncmp(entry, *additions, name) == 0) return true;
  return false;
}

void tm_runner_tell(tm_target *target, tm_owner owner, double bytes) {
  const watched *w = tm_target_get_slot(target, TM_SLOT_RUNNER);
  if (w) tm_account_feed_tell(w->account, owner, bytes);
}

tm_status tm_runner_spawn(tm_runner *runner, const char *const *argv, const char *const *env_add,
                          const tm_target_facts *app, tm_target **out) {
  tm_ctx_clear(runner->ctx);
  spawned *s = tm_calloc(runner->ctx, 1, sizeof *s);
  if (!s) return TM_E_NOMEM;
  s->runner = runner;
  s->process.data = s;
  uv_stdio_container_t streams[3];
  for (int i = 0; i < 3; i++)
    streams[i] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = i};
  TM_VEC(char *) env = {0};
  tm_status status = TM_OK;
  for (char **e = environ; *e && status == TM_OK; e++)
    if (!is_replaced(*e, env_add)) status = tm_vec_push(runner->ctx, &env, *e);
  for (; env_add && *env_add && status == TM_OK; env_add++)
    status = tm_vec_push(runner->ctx, &env, (char *)(uintptr_t)*env_add);
  if (status == TM_OK) status = tm_vec_push(runner->ctx, &env, NULL);
  if (status == TM_OK) status = tm_vec_push(runner->ctx, &runner->spawned, s);
  uv_process_options_t options = {.exit_cb = on_spawned_exit,
                                  .file = argv[0],
                                  .args = (char **)(uintptr_t)argv,
                                  .env = env.items,
                                  .stdio_count = 3,
                                  .stdio = streams};
  int problem = status == TM_OK ? uv_spawn(runner->loop, &s->process, &options) : UV_ENOMEM;
  tm_vec_free(runner->ctx, &env);
  if (problem) {
    uv_close((uv_handle_t *)&s->process, on_spawned_closed);
    return tm_fail(runner->ctx, TM_E_IO, TM_NO_OFFSET, "cannot run '%s': %s", argv[0],
                   uv_strerror(problem));
  }
  s->running = true;
  runner->exit_code = -1;
  return tm_runner_watch(runner, s->process.pid, app, out);
}

static void signal_spawned(tm_runner *runner, int signal) {
  for (size_t i = 0; i < runner->spawned.count; i++)
    if (runner->spawned.items[i]->running)
      uv_process_kill(&runner->spawned.items[i]->process, signal);
}

void tm_runner_end_spawned(tm_runner *runner, uint64_t grace_ns) {
  signal_spawned(runner, SIGTERM);
  uint64_t until = tm_clock_mono_ns() + grace_ns;
  while (any_spawned(runner) && tm_clock_mono_ns() < until) {
    uv_run(runner->loop, UV_RUN_NOWAIT);
    uv_sleep(10);
  }
  signal_spawned(runner, SIGKILL);
  for (int i = 0; any_spawned(runner) && i < 200; i++) {
    uv_run(runner->loop, UV_RUN_NOWAIT);
    uv_sleep(5);
  }
}

int tm_runner_exit_code(const tm_runner *runner) {
  return runner->exit_code;
}

// ---- pressure ----

static void on_pressure(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  pressure *p = poll->data;
  tm_runner *runner = p->runner;
  tick(runner);
  tm_engine_note(runner->engine, TM_EVENT_PRESSURE, TM_LEVEL_WARN, "", "",
                 "tasks stalled for want of memory", "{}");
  schedule(runner);
}

static void on_pressure_closed(uv_handle_t *handle) {
  pressure *p = handle->data;
  close(p->fd);
  tm_free(p->runner->ctx, p, sizeof *p);
}

tm_status tm_runner_pressure(tm_runner *runner, uint64_t stall_ns, uint64_t window_ns) {
  tm_ctx_clear(runner->ctx);
  pressure *p = tm_calloc(runner->ctx, 1, sizeof *p);
  if (!p) return TM_E_NOMEM;
  p->runner = runner;
  p->poll.data = p;
  uint64_t taken_ns = 0;
  tm_status status =
      tm_plat_pressure_fd(runner->ctx, runner->plat, 0, stall_ns, window_ns, &p->fd, &taken_ns);
  if (status == TM_OK && uv_poll_init(runner->loop, &p->poll, p->fd) != 0) {
    close(p->fd);
    status = tm_fail(runner->ctx, TM_E_IO, TM_NO_OFFSET, "the pressure trigger cannot be polled");
  }
  if (status == TM_OK) {
    status = tm_vec_push(runner->ctx, &runner->pressures, p);
    uv_poll_start(&p->poll, UV_PRIORITIZED, on_pressure);
    uv_unref((uv_handle_t *)&p->poll);
    return status;
  }
  tm_free(runner->ctx, p, sizeof *p);
  return status;
}

// ---- tickers ----

static void on_ticker(uv_timer_t *timer) {
  ticker *t = timer->data;
  t->fn(t->ud);
}

tm_status tm_runner_every(tm_runner *runner, uint64_t period_ns, void (*fn)(void *ud), void *ud) {
  ticker *t = tm_calloc(runner->ctx, 1, sizeof *t);
  if (!t) return TM_E_NOMEM;
  *t = (ticker){.fn = fn, .ud = ud};
  TM_TRY(tm_vec_push(runner->ctx, &runner->tickers, t));
  uv_timer_init(runner->loop, &t->timer);
  t->timer.data = t;
  uint64_t period_ms = (period_ns + 999999) / 1000000;
  uv_timer_start(&t->timer, on_ticker, period_ms, period_ms);
  uv_unref((uv_handle_t *)&t->timer);
  return TM_OK;
}

// ---- life ----

tm_status tm_runner_new(tm_ctx *ctx, tm_engine *engine, const tm_runner_options *options,
                        tm_runner **out) {
  tm_runner *runner = tm_calloc(ctx, 1, sizeof *runner);
  if (!runner) return TM_E_NOMEM;
  runner->ctx = ctx;
  runner->engine = engine;
  runner->options = *options;
  if (!runner->options.every_ns) runner->options.every_ns = 5 * SECOND_NS;
  if (runner->options.sampling_budget_ratio <= 0) runner->options.sampling_budget_ratio = 0.005;
  runner->exit_code = -1;
  runner->account_turns.most_readings = 1 + uv_available_parallelism() / 4;
  tm_status status = tm_plat_open(ctx, options->proc_root, options->sys_root, &runner->plat);
  if (status != TM_OK) {
    tm_free(ctx, runner, sizeof *runner);
    return status;
  }
  runner->loop = options->uv_loop ? options->uv_loop : &runner->own_loop;
  if (!options->uv_loop && uv_loop_init(&runner->own_loop) != 0) {
    tm_plat_close(runner->plat);
    tm_free(ctx, runner, sizeof *runner);
    return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "cannot make an event loop");
  }
  tm_mailbox_init(&runner->mail, ctx);
  uv_timer_init(runner->loop, &runner->timer);
  uv_async_init(runner->loop, &runner->async, on_async);
  runner->timer.data = runner->async.data = runner;
  runner->timer_due_ns = UINT64_MAX;
  runner->wall_base_ns = tm_clock_wall_ns();
  runner->mono_base_ns = runner->stats.started_mono_ns = tm_clock_mono_ns();
  tm_engine_advance(engine, tm_runner_now_ns(runner));
  tm_engine_observer observer = {
      .ud = runner, .plan_changed = plan_changed, .target_gone = target_gone};
  status = tm_engine_observe(engine, &observer);
  *out = runner;
  return status;
}

static void close_handle(uv_handle_t *handle) {
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

void tm_runner_free(tm_runner *runner) {
  if (!runner) return;
  runner->closing = true;
  tm_ctx *ctx = runner->ctx;
  tm_mailbox_run_all(&runner->mail);
  while (runner->watched.count)
    tm_engine_remove_target(runner->engine, runner->watched.items[0]->target, "the watch ended");
  tm_engine_unobserve(runner->engine, runner);
  close_handle((uv_handle_t *)&runner->timer);
  close_handle((uv_handle_t *)&runner->async);
  for (size_t i = 0; i < runner->tickers.count; i++)
    close_handle((uv_handle_t *)&runner->tickers.items[i]->timer);
  for (size_t i = 0; i < runner->spawned.count; i++)
    close_handle((uv_handle_t *)&runner->spawned.items[i]->process);
  for (size_t i = 0; i < runner->pressures.count; i++)
    uv_close((uv_handle_t *)&runner->pressures.items[i]->poll, on_pressure_closed);
  uv_run(runner->loop, UV_RUN_NOWAIT);
  if (runner->loop == &runner->own_loop) {
    while (uv_loop_close(&runner->own_loop) == UV_EBUSY) uv_run(&runner->own_loop, UV_RUN_ONCE);
  }
  tm_mailbox_run_all(&runner->mail);
  for (size_t i = 0; i < runner->tickers.count; i++)
    tm_free(ctx, runner->tickers.items[i], sizeof(ticker));
  for (size_t i = 0; i < runner->spawned.count; i++)
    tm_free(ctx, runner->spawned.items[i], sizeof(spawned));
  tm_vec_free(ctx, &runner->tickers);
  tm_vec_free(ctx, &runner->spawned);
  tm_vec_free(ctx, &runner->pressures);
  tm_vec_free(ctx, &runner->watched);
  tm_plat_close(runner->plat);
  tm_mailbox_fini(&runner->mail);
  tm_free(ctx, runner, sizeof *runner);
}

void tm_runner_run(tm_runner *runner, bool until_idle) {
  runner->until_idle = until_idle;
  atomic_store(&runner->stopping, until_idle && runner->watched.count == 0 && !any_spawned(runner));
  schedule(runner);
  if (!atomic_load(&runner->stopping)) uv_run(runner->loop, UV_RUN_DEFAULT);
}

void tm_runner_stop(tm_runner *runner) {
  atomic_store(&runner->stopping, true);
  uv_async_send(&runner->async);
}

tm_plat *tm_runner_plat(tm_runner *runner) {
  return runner->plat;
}

void *tm_runner_loop(tm_runner *runner) {
  return runner->loop;
}

tm_engine *tm_runner_engine(tm_runner *runner) {
  return runner->engine;
}

tm_sampler *tm_runner_sampler(const tm_target *target) {
  const watched *w = tm_target_get_slot(target, TM_SLOT_RUNNER);
  return w ? w->sampler : NULL;
}

void tm_runner_get_stats(tm_runner *runner, tm_runner_stats *out) {
  *out = runner->stats;
  out->cpu_ns = tm_clock_process_cpu_ns();
  for (size_t i = 0; i < runner->watched.count; i++) {
    out->missed += tm_sampler_get_stats(runner->watched.items[i]->sampler)->missed;
    tm_shot_feed_add_stats(runner->watched.items[i]->shots, out);
    tm_account_feed_add_stats(runner->watched.items[i]->account, out);
  }
  tm_reading reading;
  tm_reading_clear(&reading);
  tm_proc *self = NULL;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  if (tm_proc_open(&ctx, runner->plat, getpid(), &self) == TM_OK
      && tm_proc_read(&ctx, self, TM_GROUP_BIT(TM_GROUP_STATM) | TM_GROUP_BIT(TM_GROUP_STATUS),
                      &reading)
             == TM_OK) {
    out->rss_bytes = reading.value[TM_SIGNAL_RSS];
    out->peak_rss_bytes = reading.value[TM_SIGNAL_PEAK];
  }
  tm_proc_close(self);
  tm_ctx_fini(&ctx);
}
