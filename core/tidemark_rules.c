// Rules and actions, for a host.
#include "host/embedded.h"
#include "host/package.h"
#include "tidemark_impl.h"

#include <string.h>

// ---- rules ----

static tm_status load(tm_embed *e, const char *name, const char *origin, const char *text,
                      size_t size) {
  return tm_rulehost_load(e->rules, name, origin, text, size, NULL, NULL);
}

tm_status tm_rules_load(tm_embed *engine, const char *name, const char *text, size_t size) {
  TM_TRY(tm_embed_enter(engine));
  if (!name || !*name || !text)
    return tm_fail(&engine->ctx, TM_E_ARG, TM_NO_OFFSET, "a rule file needs a name and a text");
  return load(engine, name, name, text, size);
}

tm_status tm_rules_unload(tm_embed *engine, const char *name) {
  TM_TRY(tm_embed_enter(engine));
  return name ? tm_rulehost_unload(engine->rules, name) : TM_E_ARG;
}

tm_status tm_rules_builtin(tm_embed *engine) {
  TM_TRY(tm_embed_enter(engine));
  static const char folder[] = "rules/";
  const size_t skip = sizeof folder - 1;
  for (const tm_embedded_file *file = tm_embedded_files; file->path; file++)
    if (strncmp(file->path, folder, skip) == 0)
      TM_TRY(load(engine, file->path + skip, file->path, file->start,
                  (size_t)(file->end - file->start)));
  return TM_OK;
}

static void on_rule_file(void *ud, const char *name, const char *path, const char *source,
                         size_t size) {
  tm_embed *e = ud;
  tm_ctx_clear(&e->ctx);
  tm_status status =
      source ? load(e, name, path, source, size) : tm_rulehost_unload(e->rules, name);
  if (status != TM_OK)
    tm_engine_note(e->engine, TM_EVENT_NOTE, TM_LEVEL_WARN, name, "", e->ctx.error.message, "{}");
}

// Without a loop nothing follows the files: one look, on a loop that lives for it.
static tm_status load_folder_once(tm_embed *e, const char *path) {
  uv_loop_t loop;
  tm_rulewatch *watch = NULL;
  if (uv_loop_init(&loop) != 0)
    return tm_fail(&e->ctx, TM_E_IO, TM_NO_OFFSET, "cannot make an event loop");
  tm_status status = tm_rulewatch_new(&e->ctx, &loop, path, on_rule_file, e, &watch);
  if (status == TM_OK) tm_rulewatch_free(watch);
  while (uv_loop_close(&loop) == UV_EBUSY) uv_run(&loop, UV_RUN_NOWAIT);
  return status;
}

tm_status tm_rules_folder(tm_embed *engine, const char *path) {
  TM_TRY(tm_embed_enter(engine));
  if (!path) return tm_fail(&engine->ctx, TM_E_ARG, TM_NO_OFFSET, "a folder is needed");
  if (!engine->runner) return load_folder_once(engine, path);
  if (engine->folder_count == TM_EMBED_FOLDERS)
    return tm_fail(&engine->ctx, TM_E_LIMIT, TM_NO_OFFSET, "at most %d folders are followed",
                   (int)TM_EMBED_FOLDERS);
  TM_TRY(tm_rulewatch_new(&engine->ctx, tm_runner_loop(engine->runner), path, on_rule_file, engine,
                          &engine->folders[engine->folder_count]));
  engine->folder_count++;
  return TM_OK;
}

tm_status tm_rules_check(tm_embed *engine, const char *name, const char *text, size_t size) {
  TM_TRY(tm_embed_enter(engine));
  if (!name || !text) return TM_E_ARG;
  const tm_sandbox_limits limits = {.memory_bytes = (size_t)engine->config.rule_memory_bytes,
                                    .instructions_count = engine->config.rule_instructions,
                                    .load_ns = engine->config.rule_load_ns};
  const tm_natives natives = {.functions = engine->functions};
  tm_package *package = NULL;
  TM_TRY(tm_package_build(&engine->ctx, name, name, text, size, &limits, &natives, &package));
  tm_package_free(package);
  return TM_OK;
}

tm_status tm_grant(tm_embed *engine, const char *package_glob, const char *capability_glob) {
  TM_TRY(tm_embed_enter(engine));
  if (!package_glob || !capability_glob) return TM_E_ARG;
  return tm_embed_fail(
      engine, tm_actions_grant(tm_engine_actions(engine->engine), package_glob, capability_glob));
}

tm_status tm_mute(tm_embed *engine, const char *rule_glob, const char *target_glob,
                  int64_t until_ns, const char *why) {
  TM_TRY(tm_embed_enter(engine));
  const tm_silence silence = {
      .rule = rule_glob, .target = target_glob, .why = why, .until_ns = until_ns};
  return tm_embed_fail(engine, tm_alerts_silence(tm_engine_alerts(engine->engine), &silence, NULL));
}

// ---- actions ----

static void run_action(void *ud, const tm_action_call *call) {
  const host_action *action = ud;
  const tm_call given = {.size = sizeof given,
                         .id = call->id,
                         .name = call->name,
                         .rule = call->rule,
                         .target = call->target,
                         .args_json = call->args_json,
                         .deadline_ns = call->deadline_ns};
  action->engine->inside++;
  action->fn(action->ud, &given);
  action->engine->inside--;
}

tm_status tm_action_register(tm_embed *engine, const char *name, tm_call_fn fn, void *ud) {
  TM_TRY(tm_embed_enter(engine));
  if (!name || !*name || !fn)
    return tm_fail(&engine->ctx, TM_E_ARG, TM_NO_OFFSET, "an action needs a name and a function");
  tm_arena_mark mark = tm_arena_save(&engine->ctx.scratch);
  size_t size = strlen(name) + sizeof "act:";
  char *capability = tm_arena_alloc(&engine->ctx.scratch, size);
  host_action *action = tm_calloc(&engine->ctx, 1, sizeof *action);
  tm_status status =
      capability && action ? tm_vec_push(&engine->ctx, &engine->actions, action) : TM_E_NOMEM;
  if (status == TM_OK) {
    *action = (host_action){engine, fn, ud};
    snprintf(capability, size, "act:%s", name);
    const tm_action_def def = {
        .name = name, .capability = capability, .run = run_action, .ud = action};
    status = tm_actions_register(tm_engine_actions(engine->engine), &def);
    if (status != TM_OK) engine->actions.count--;
  }
  if (status != TM_OK) tm_free(&engine->ctx, action, sizeof *action);
  tm_arena_rewind(&engine->ctx.scratch, mark);
  return tm_embed_fail(engine, status);
}

tm_status tm_action_done(tm_embed *engine, uint64_t call_id, tm_status status,
                         const char *message) {
  TM_TRY(tm_embed_enter(engine));
  tm_actions_done(tm_engine_actions(engine->engine), tm_now_ns(engine), call_id, status, message);
  return TM_OK;
}

// ---- functions ----

static tm_status set_function(tm_embed *e, const char *name, tm_function_fn json,
                              tm_function_number_fn number, void *ud) {
  TM_TRY(tm_embed_enter(e));
  if (!name) return tm_fail(&e->ctx, TM_E_ARG, TM_NO_OFFSET, "a function needs a name");
  return tm_functions_set(&e->ctx, e->functions, name, json, number, ud);
}

tm_status tm_function_register(tm_embed *engine, const char *name, tm_function_fn fn, void *ud) {
  return set_function(engine, name, fn, NULL, ud);
}

tm_status tm_function_register_number(tm_embed *engine, const char *name, tm_function_number_fn fn,
                                      void *ud) {
  return set_function(engine, name, NULL, fn, ud);
}

// ---- figures ----

static void add_rule(void *ud, const tm_rule_view *view) {
  tm_usage *usage = ud;
  usage->rules++;
  usage->evaluations += view->rule->stats.evaluations;
  usage->rules_cpu_ns += view->rule->stats.cpu_ns;
  usage->rules_killed += view->rule->stats.kills;
}

tm_status tm_get_usage(tm_embed *engine, tm_usage *out) {
  TM_TRY(tm_embed_enter(engine));
  if (!out || out->size < offsetof(tm_usage, evaluations) || out->size > sizeof *out)
    return tm_fail(&engine->ctx, TM_E_ARG, TM_NO_OFFSET, "tm_usage.size is not set");
  tm_usage usage = {.size = out->size};
  if (!tm_rulehost_each_rule(engine->rules, add_rule, &usage))
    return tm_fail(&engine->ctx, TM_E_BUSY, TM_NO_OFFSET, "a check holds the rules");
  usage.targets = (uint32_t)tm_engine_target_count(engine->engine);
  usage.firing = (uint32_t)tm_alerts_get_stats(tm_engine_alerts(engine->engine)).firing_count;
  if (engine->runner) {
    tm_runner_stats stats;
    tm_runner_get_stats(engine->runner, &stats);
    usage.samples = stats.samples;
    usage.sampling_ns = stats.sampling_cpu_ns;
  }
  memcpy(out, &usage, out->size);
  return TM_OK;
}
