// The public face: what a host calls, in terms of engine, runner and rule host. Every call checks
// the thread, forgets the last error and passes on; nothing is computed here.
//
// This file holds the life of an engine. tidemark_loop.c runs it, tidemark_targets.c puts data in,
// tidemark_rules.c rules and actions, tidemark_events.c what comes out, tidemark_files.c what was
// read.
#include "base/clock.h"
#include "tidemark_impl.h"

#include <string.h>

// ---- versions and words ----

uint32_t tm_abi(void) {
  return TM_ABI;
}

const char *tm_version_string(void) {
  return TM_VERSION;
}

uint64_t tm_features(void) {
  return TM_FEATURE_PROCESSES | TM_FEATURE_RULES;
}

const char *tm_status_word(tm_status status) {
  return tm_status_name(status);
}

const char *tm_status_help(tm_status status) {
  return tm_status_advice(status);
}

const char *tm_message(const tm_embed *engine) {
  return engine ? engine->ctx.error.message : "";
}

// ---- calls ----

tm_status tm_embed_enter(tm_embed *e) {
  if (!e) return TM_E_ARG;
  if (!pthread_equal(atomic_load(&e->owner), pthread_self())) return TM_E_THREAD;
  if (tm_functions_inside(e->functions)) return TM_E_BUSY;
  tm_ctx_clear(&e->ctx);
  tm_ctx_clear(tm_engine_ctx(e->engine));
  e->dirty = true;
  return TM_OK;
}

tm_status tm_embed_fail(tm_embed *e, tm_status status) {
  if (status == TM_OK || e->ctx.error.status != TM_OK) return status;
  const char *said = tm_engine_ctx(e->engine)->error.message;
  return tm_fail(&e->ctx, status, TM_NO_OFFSET, "%s", *said ? said : tm_status_advice(status));
}

int64_t tm_now_ns(tm_embed *engine) {
  if (!engine) return 0;
  return engine->runner ? tm_runner_now_ns(engine->runner) : tm_engine_now_ns(engine->engine);
}

tm_status tm_clock_set(tm_embed *engine, int64_t now_ns) {
  TM_TRY(tm_embed_enter(engine));
  if (engine->runner)
    return tm_fail(&engine->ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "a live engine follows the wall clock; open it with TM_VIRTUAL_TIME");
  if (now_ns < tm_engine_now_ns(engine->engine))
    return tm_fail(&engine->ctx, TM_E_ARG, TM_NO_OFFSET, "time does not go back");
  tm_embed_run_posted(engine);
  tm_engine_advance(engine->engine, now_ns);
  return TM_OK;
}

// ---- opening ----

void tm_config_init(tm_config *config, size_t size_of) {
  if (!config || size_of < sizeof config->size + sizeof config->abi) return;
  memset(config, 0, size_of);
  config->size = (uint32_t)size_of;
  config->abi = TM_ABI;
}

// A caller of an older header gives less of the struct: the rest is zero, the default.
static tm_status read_config(const tm_config *given, tm_config *own) {
  tm_config_init(own, sizeof *own);
  if (given) {
    if (given->abi > TM_ABI || given->size > sizeof *own) return TM_E_VERSION;
    if (given->size < offsetof(tm_config, max_targets)) return TM_E_ARG;
    memcpy(own, given, given->size);
  }
  if (!own->max_targets) own->max_targets = 1000;
  return TM_OK;
}

static int64_t rules_due(void *ud) {
  const tm_embed *e = ud;
  return e->rules ? tm_rulehost_next_due_ns(e->rules) : INT64_MAX;
}

static void taken(void *ud, uint64_t id, tm_status status, const void *bytes, size_t size) {
  tm_rulehost_job_done(ud, id, status, bytes, size);
}

static void take(void *ud, tm_target *target, const char *name, const char *options_json,
                 uint64_t timeout_ns, uint64_t job_id) {
  static const char virtual_text[] = "a target that the host feeds has no evidence to take";
  tm_embed *e = ud;
  if (e->runner && tm_target_get_facts(target)->pid)
    tm_runner_take(e->runner, target, name, options_json, timeout_ns, job_id, taken, e->rules);
  else
    tm_rulehost_job_done(e->rules, job_id, TM_E_UNSUPPORTED, virtual_text, sizeof virtual_text - 1);
}

static const char *name_of_target(void *ud, const char *id) {
  const tm_target *target = tm_engine_target_by_id(ud, id);
  return target ? tm_target_get_facts(target)->name : NULL;
}

static tm_status open_engine(tm_embed *e) {
  tm_engine_options options = {.log = {e->config.log_fn, e->config.log_ud},
                               .dry_run = e->config.flags & TM_DRY_RUN,
                               .settle_ns = e->config.settle_ns,
                               .alloc = &e->ctx.alloc};
  TM_TRY(tm_engine_new(&e->ctx, &options, &e->engine));
  tm_alerts_set_namer(tm_engine_alerts(e->engine), name_of_target, e->engine);
  return tm_embed_listen(e);
}

static void on_post_signal(uv_async_t *async) {
  tm_embed *e = async->data;
  tm_engine_advance(e->engine, tm_runner_now_ns(e->runner));
  tm_embed_run_posted(e);
}

static tm_status open_runner(tm_embed *e) {
  tm_runner_options options = {.every_ns = e->config.every_ns,
                               .sampling_budget_ratio = e->config.sampling_ratio,
                               .next_due_ns = rules_due,
                               .next_due_ud = e};
  TM_TRY(tm_runner_new(&e->ctx, e->engine, &options, &e->runner));
  uv_loop_t *loop = tm_runner_loop(e->runner);
  if (uv_async_init(loop, &e->post_signal, on_post_signal) != 0)
    return tm_fail(&e->ctx, TM_E_IO, TM_NO_OFFSET, "the event loop takes no wake-ups");
  uv_timer_init(loop, &e->deadline);
  e->post_signal.data = e->deadline.data = e;
  e->has_handles = true;
  return tm_runner_register_actions(e->runner);
}

static tm_status open_rules(tm_embed *e) {
  const tm_config *c = &e->config;
  tm_rulehost_options options = {.threaded = e->runner != NULL,
                                 .skip_self_tests = c->flags & TM_NO_SELF_TEST,
                                 .limits = {.memory_bytes = (size_t)c->rule_memory_bytes,
                                            .instructions_count = c->rule_instructions,
                                            .load_ns = c->rule_load_ns,
                                            .soft_ns = c->rule_soft_ns,
                                            .hard_ns = c->rule_hard_ns},
                                 .functions = e->functions,
                                 .take = take,
                                 .take_ud = e};
  if (e->runner) {
    options.post = tm_runner_post_fn;
    options.post_ud = e->runner;
  }
  TM_TRY(tm_rulehost_new(&e->ctx, e->engine, &options, &e->rules));
  return tm_rulehost_start(e->rules);
}

static tm_status open_parts(tm_embed *e) {
  TM_TRY(open_engine(e));
  TM_TRY(tm_functions_new(&e->ctx, &e->functions));
  if (e->config.flags & TM_VIRTUAL_TIME)
    tm_engine_advance(e->engine, e->config.start_ns ? e->config.start_ns : tm_clock_wall_ns());
  else
    TM_TRY(open_runner(e));
  TM_TRY(open_rules(e));
  return e->config.uv_loop && e->runner ? tm_embed_join_loop(e, e->config.uv_loop) : TM_OK;
}

static void close_parts(tm_embed *e);

tm_status tm_open(const tm_config *config, tm_embed **out) {
  if (!out) return TM_E_ARG;
  *out = NULL;
  tm_config own;
  TM_TRY(read_config(config, &own));
  const tm_allocator given = {own.realloc_fn, own.alloc_ud};
  tm_ctx ctx;
  tm_ctx_init(&ctx, own.realloc_fn ? &given : NULL);
  tm_embed *e = tm_calloc(&ctx, 1, sizeof *e);
  if (!e) return TM_E_NOMEM;
  e->ctx = ctx;
  e->config = own;
  atomic_init(&e->owner, pthread_self());
  pthread_mutex_init(&e->post_lock, NULL);
  tm_status status = open_parts(e);
  if (status == TM_OK) {
    *out = e;
    return TM_OK;
  }
  const tm_log log = {own.log_fn, own.log_ud};
  const char *said = e->ctx.error.message;
  if (!*said && e->engine) said = tm_engine_ctx(e->engine)->error.message;
  tm_log_line(&log, TM_LOG_ERROR, "open", "%s", said);
  close_parts(e);
  return status;
}

// ---- closing ----

static void close_handles(tm_embed *e) {
  if (!e->has_handles) return;
  uv_close((uv_handle_t *)&e->post_signal, NULL);
  uv_close((uv_handle_t *)&e->deadline, NULL);
}

// The rule thread ends first; the loop finishes work that names the rule host before that is freed.
static void close_parts(tm_embed *e) {
  e->notice_fn = NULL;
  tm_rulehost_stop(e->rules);
  while (e->engine && tm_engine_target_count(e->engine))
    tm_engine_remove_target(e->engine, tm_engine_target_at(e->engine, 0), "the watch ended");
  close_handles(e);
  for (size_t i = 0; i < e->folder_count; i++) tm_rulewatch_free(e->folders[i]);
  tm_runner_free(e->runner);
  tm_rulehost_free(e->rules);
  tm_functions_free(e->functions);
  for (size_t i = 0; i < e->targets.count; i++) tm_target_release(e->targets.items[i]);
  tm_vec_free(&e->ctx, &e->targets);
  tm_engine_free(e->engine);
  for (size_t i = 0; i < e->actions.count; i++)
    tm_free(&e->ctx, e->actions.items[i], sizeof(host_action));
  tm_vec_free(&e->ctx, &e->actions);
  tm_vec_free(&e->ctx, &e->formats);
  pthread_mutex_destroy(&e->post_lock);
  tm_ctx ctx = e->ctx;
  tm_free(&ctx, e, sizeof *e);
  tm_ctx_fini(&ctx);
}

tm_status tm_close(tm_embed *engine, void (*done)(void *ud), void *ud) {
  if (engine) {
    bool owns = pthread_equal(atomic_load(&engine->owner), pthread_self());
    if (tm_functions_inside(engine->functions)) return TM_E_BUSY;
    if (owns && engine->inside) return TM_E_BUSY;
    if (!owns && !engine->has_thread) return TM_E_THREAD;
    if (engine->has_thread) {
      tm_runner_stop(engine->runner);
      pthread_join(engine->thread, NULL);
      atomic_store(&engine->owner, pthread_self());
    }
    tm_embed_run_posted(engine);
    bool later = engine->host_loop != NULL;
    if (later) tm_embed_leave_loop(engine, done, ud);
    close_parts(engine);
    if (later) return TM_OK;
  }
  if (done) done(ud);
  return TM_OK;
}
