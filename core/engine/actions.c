// A request passes the gate (actions_gate.c), then waits in one list, in order, for a free place to
// run; done, it stays there settling until its effect is measured. Every run is taken out of the
// list before anybody is told of its end, and loops look for the next due run from the start, so
// that callbacks may request, finish and tick as they like.
#include "engine/actions_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

tm_status tm_actions_new(tm_ctx *ctx, const tm_actions_options *options, tm_actions **out) {
  tm_actions *actions = tm_calloc(ctx, 1, sizeof *actions);
  if (!actions) return TM_E_NOMEM;
  actions->ctx = ctx;
  actions->options = *options;
  tm_actions_options *o = &actions->options;
  if (!o->settle_ns) o->settle_ns = 60 * SECOND_NS;
  if (!o->max_running) o->max_running = 4;
  if (!o->max_per_hour) o->max_per_hour = 30;
  if (o->max_per_hour > PER_HOUR_MAX) o->max_per_hour = PER_HOUR_MAX;
  *out = actions;
  return TM_OK;
}

void tm_actions_set_probe(tm_actions *actions, tm_action_probe_fn fn, void *ud) {
  actions->probe = fn;
  actions->probe_ud = ud;
}

// ---- kinds of action ----

const action *tm_actions_find(const tm_actions *actions, const char *name) {
  for (size_t i = 0; i < actions->defs.count; i++)
    if (strcmp(actions->defs.items[i]->def.name, name) == 0) return actions->defs.items[i];
  return NULL;
}

static void free_action(tm_ctx *ctx, action *a) {
  tm_actions_free_text(ctx, a->def.name);
  tm_actions_free_text(ctx, a->def.capability);
  tm_free(ctx, a, sizeof *a);
}

tm_status tm_actions_register(tm_actions *actions, const tm_action_def *def) {
  if (!def->name || !*def->name || !def->capability || !def->run)
    return tm_fail(actions->ctx, TM_E_ARG, TM_NO_OFFSET,
                   "an action needs a name, a capability and a run function");
  if (tm_actions_find(actions, def->name))
    return tm_fail(actions->ctx, TM_E_ARG, TM_NO_OFFSET, "the action %s is registered already",
                   def->name);
  TM_TRY(tm_vec_reserve(actions->ctx, &actions->defs, 1));
  action *a = tm_calloc(actions->ctx, 1, sizeof *a);
  if (!a) return TM_E_NOMEM;
  a->def = *def;
  a->def.name = tm_actions_copy_text(actions->ctx, def->name);
  a->def.capability = tm_actions_copy_text(actions->ctx, def->capability);
  if (!a->def.name || !a->def.capability) {
    free_action(actions->ctx, a);
    return TM_E_NOMEM;
  }
  actions->defs.items[actions->defs.count++] = a;
  return TM_OK;
}

void tm_actions_each_def(const tm_actions *actions, tm_action_def_fn fn, void *ud) {
  for (size_t i = 0; i < actions->defs.count; i++)
    if (!fn(ud, &actions->defs.items[i]->def)) return;
}

// ---- runs ----

static void free_run(tm_ctx *ctx, run *r) {
  tm_actions_free_text(ctx, r->call.rule);
  tm_actions_free_text(ctx, r->call.package);
  tm_actions_free_text(ctx, r->call.target);
  tm_actions_free_text(ctx, r->call.name);
  tm_actions_free_text(ctx, r->call.args_json);
  tm_free(ctx, r, sizeof *r);
}

static run *new_run(tm_actions *actions, const tm_action_request *request, const action *def) {
  tm_ctx *ctx = actions->ctx;
  run *r = tm_calloc(ctx, 1, sizeof *r);
  if (!r) return NULL;
  r->call.rule = tm_actions_copy_text(ctx, request->rule);
  r->call.package = tm_actions_copy_text(ctx, request->package);
  r->call.target = tm_actions_copy_text(ctx, request->target);
  r->call.name = tm_actions_copy_text(ctx, request->name);
  r->call.args_json = tm_actions_copy_text(ctx, request->args_json);
  if (!r->call.rule || !r->call.package || !r->call.target || !r->call.name || !r->call.args_json) {
    free_run(ctx, r);
    return NULL;
  }
  r->call.id = ++actions->last_id;
  r->action = def;
  r->tag = request->tag;
  r->timeout_ns = request->timeout_ns ? request->timeout_ns : 30 * SECOND_NS;
  return r;
}

static void take_out(tm_actions *actions, run *r) {
  for (run **at = &actions->runs; *at; at = &(*at)->next)
    if (*at == r) {
      *at = r->next;
      break;
    }
  actions->queued_count -= r->state == RUN_QUEUED;
  actions->running_count -= r->state == RUN_RUNNING;
}

static void put_last(tm_actions *actions, run *r) {
  run **at = &actions->runs;
  while (*at) at = &(*at)->next;
  r->next = NULL;
  *at = r;
  actions->queued_count += r->state == RUN_QUEUED;
  actions->running_count += r->state == RUN_RUNNING;
}

static void audit(const tm_actions *actions, const tm_action_record *record) {
  if (actions->options.audit_fn) actions->options.audit_fn(actions->options.audit_ud, record);
}

static tm_action_record record_of(const run *r, int64_t now_ns, tm_action_outcome outcome,
                                  tm_status status, const char *message) {
  return (tm_action_record){.outcome = outcome,
                            .would = outcome,
                            .status = status,
                            .call_id = r->call.id,
                            .tag = r->tag,
                            .rule = r->call.rule,
                            .package = r->call.package,
                            .target = r->call.target,
                            .name = r->call.name,
                            .capability = r->action->def.capability,
                            .args_json = r->call.args_json,
                            .message = message,
                            .time_ns = now_ns,
                            .requested_ns = r->requested_ns,
                            .started_ns = r->started_ns,
                            .finished_ns = r->finished_ns,
                            .has_before = r->has_before,
                            .before = r->before};
}

static run *first_of(const tm_actions *actions, run_state state) {
  for (run *r = actions->runs; r; r = r->next)
    if (r->state == state) return r;
  return NULL;
}

static void start(tm_actions *actions, int64_t now_ns, run *r) {
  actions->queued_count--;
  actions->running_count++;
  r->state = RUN_RUNNING;
  r->started_ns = now_ns;
  r->due_ns = r->call.deadline_ns = after_ns(now_ns, r->timeout_ns);
  if (actions->probe && !r->action->def.unmeasured)
    r->has_before = actions->probe(actions->probe_ud, r->call.target, &r->before);
  r->action->def.run(r->action->def.ud, &r->call); // may be done, and freed, after this
}

// One that is done at once calls back into here: the outermost call goes on with the queue.
static void start_queued(tm_actions *actions, int64_t now_ns) {
  if (actions->starting) return;
  actions->starting = true;
  run *r;
  while (actions->running_count < actions->options.max_running
         && (r = first_of(actions, RUN_QUEUED)))
    start(actions, now_ns, r);
  actions->starting = false;
}

// ---- requests ----

static void refuse(const tm_actions *actions, int64_t now_ns, const tm_action_request *request,
                   const action *def, tm_action_outcome outcome, tm_action_outcome would,
                   const char *message) {
  tm_action_record record = {.outcome = outcome,
                             .would = would,
                             .status = outcome == TM_ACTION_FAILED ? TM_E_ARG : TM_OK,
                             .tag = request->tag,
                             .rule = request->rule,
                             .package = request->package,
                             .target = request->target,
                             .name = request->name,
                             .capability = def ? def->def.capability : "",
                             .args_json = request->args_json,
                             .message = message,
                             .time_ns = now_ns,
                             .requested_ns = now_ns};
  audit(actions, &record);
}

static void enter_in_ledger(ledger *l, trial *t, int64_t now_ns) {
  t->has_run = true;
  t->last_run_ns = now_ns;
  l->runs_ns[l->run_count++ % PER_HOUR_MAX] = now_ns;
}

static void run_dry(const tm_actions *actions, int64_t now_ns, const tm_action_request *request,
                    const action *def, tm_action_outcome would, const char *why) {
  char message[WHY_SIZE + 32];
  if (would == TM_ACTION_DONE)
    snprintf(message, sizeof message, "would run now");
  else
    snprintf(message, sizeof message, "would be %s: %s", tm_action_outcome_name(would), why);
  refuse(actions, now_ns, request, def, TM_ACTION_DRY_RUN, would, message);
}

static void decide(tm_actions *actions, int64_t now_ns, const tm_action_request *request) {
  char why[WHY_SIZE];
  const action *def = tm_actions_find(actions, request->name);
  ledger *l = tm_actions_ledger(actions, request->rule, request->target);
  trial *t = l ? tm_actions_trial(actions, l, request->name) : NULL;
  if (!t) {
    refuse(actions, now_ns, request, def, TM_ACTION_FAILED, TM_ACTION_FAILED, "out of memory");
    return;
  }
  tm_action_outcome would = tm_actions_gate(actions, now_ns, request, def, l, t, why);
  if (actions->options.dry_run || request->dry_run) {
    if (would == TM_ACTION_DONE) enter_in_ledger(l, t, now_ns); // limits show as they would
    run_dry(actions, now_ns, request, def, would, why);
    return;
  }
  if (would != TM_ACTION_DONE) {
    refuse(actions, now_ns, request, def, would, would, why);
    return;
  }
  run *r = new_run(actions, request, def);
  if (!r) {
    refuse(actions, now_ns, request, def, TM_ACTION_FAILED, TM_ACTION_FAILED, "out of memory");
    return;
  }
  enter_in_ledger(l, t, now_ns);
  r->requested_ns = now_ns;
  r->due_ns = after_ns(now_ns, r->timeout_ns);
  put_last(actions, r);
  start_queued(actions, now_ns);
}

void tm_actions_request(tm_actions *actions, int64_t now_ns, const tm_action_request *wish) {
  tm_action_request request = *wish;
  if (!request.rule) request.rule = "";
  if (!request.package) request.package = "";
  if (!request.target) request.target = "";
  if (!request.name) request.name = "";
  if (!request.args_json) request.args_json = "{}";
  bool clean = actions->ctx->error.status == TM_OK;
  decide(actions, now_ns, &request);
  if (clean) tm_ctx_clear(actions->ctx); // its outcome is in the record
}

// ---- ends ----

void tm_actions_done(tm_actions *actions, int64_t now_ns, uint64_t call_id, tm_status status,
                     const char *message) {
  run *r = actions->runs;
  while (r && !(r->call.id == call_id && r->state == RUN_RUNNING)) r = r->next;
  if (!r) return;
  r->finished_ns = now_ns;
  take_out(actions, r);
  tm_action_record record =
      record_of(r, now_ns, status == TM_OK ? TM_ACTION_DONE : TM_ACTION_FAILED, status,
                message ? message : "");
  audit(actions, &record);
  if (status == TM_OK && r->has_before) {
    r->state = RUN_SETTLING;
    r->due_ns = after_ns(now_ns, actions->options.settle_ns);
    put_last(actions, r);
  } else {
    free_run(actions->ctx, r);
  }
  start_queued(actions, now_ns);
}

static int64_t difference(uint64_t before, uint64_t after) {
  uint64_t amount = before > after ? before - after : after - before;
  int64_t capped = amount > INT64_MAX ? INT64_MAX : (int64_t)amount;
  return before > after ? capped : -capped;
}

static void measure(tm_actions *actions, int64_t now_ns, run *r) {
  tm_action_probe after = {0};
  char why[WHY_SIZE];
  if (!actions->probe || !actions->probe(actions->probe_ud, r->call.target, &after)) {
    free_run(actions->ctx, r);
    return;
  }
  int64_t gained = difference(r->before.rss_bytes, after.rss_bytes);
  tm_action_record record = record_of(r, now_ns, TM_ACTION_MEASURED, TM_OK, "");
  record.tag = 0;
  record.has_after = true;
  record.after = after;
  record.gained_bytes = gained;
  record.disabled = tm_actions_judge(actions, r, gained);
  if (record.disabled) { // a copy: the callback may change the books
    snprintf(why, sizeof why, "%s",
             tm_actions_disabled_why(actions, r->call.rule, r->call.target, r->call.name));
    record.message = why;
  }
  audit(actions, &record);
  free_run(actions->ctx, r);
}

static void time_out(tm_actions *actions, int64_t now_ns, run *r, run_state state) {
  char message[80];
  snprintf(message, sizeof message, "%s within its %" PRIu64 " ms",
           state == RUN_RUNNING ? "it was not done" : "it found no place to run",
           r->timeout_ns / 1000000);
  if (state == RUN_RUNNING) {
    r->finished_ns = now_ns;
    if (r->action->def.cancel) r->action->def.cancel(r->action->def.ud, r->call.id);
  }
  tm_action_record record = record_of(r, now_ns, TM_ACTION_TIMEOUT, TM_E_TIMEOUT, message);
  audit(actions, &record);
  free_run(actions->ctx, r);
}

static run *first_due(const tm_actions *actions, int64_t now_ns) {
  for (run *r = actions->runs; r; r = r->next)
    if (r->due_ns <= now_ns) return r;
  return NULL;
}

void tm_actions_tick(tm_actions *actions, int64_t now_ns) {
  for (run *r; (r = first_due(actions, now_ns));) {
    run_state state = r->state;
    take_out(actions, r);
    if (state == RUN_SETTLING)
      measure(actions, now_ns, r);
    else
      time_out(actions, now_ns, r, state);
  }
  start_queued(actions, now_ns);
}

bool tm_actions_busy(const tm_actions *actions) {
  return actions->runs != NULL;
}

static run *first_on(const tm_actions *actions, const char *target) {
  for (run *r = actions->runs; r; r = r->next)
    if (strcmp(r->call.target, target) == 0) return r;
  return NULL;
}

void tm_actions_target_gone(tm_actions *actions, int64_t now_ns, const char *target) {
  for (run *r; (r = first_on(actions, target));) {
    run_state state = r->state;
    take_out(actions, r);
    if (state == RUN_RUNNING) {
      r->finished_ns = now_ns;
      if (r->action->def.cancel) r->action->def.cancel(r->action->def.ud, r->call.id);
    }
    if (state != RUN_SETTLING) {
      tm_action_record record =
          record_of(r, now_ns, TM_ACTION_FAILED, TM_E_GONE, "the target ended");
      audit(actions, &record);
    }
    free_run(actions->ctx, r);
  }
  tm_actions_drop_target(actions, target);
  start_queued(actions, now_ns);
}

void tm_actions_free(tm_actions *actions) {
  if (!actions) return;
  tm_ctx *ctx = actions->ctx;
  while (actions->runs) {
    run *r = actions->runs;
    bool running = r->state == RUN_RUNNING;
    take_out(actions, r);
    if (running && r->action->def.cancel) r->action->def.cancel(r->action->def.ud, r->call.id);
    free_run(ctx, r);
  }
  tm_actions_revoke_all(actions);
  tm_vec_free(ctx, &actions->grants);
  tm_actions_drop_books(actions);
  for (size_t i = 0; i < actions->defs.count; i++) free_action(ctx, actions->defs.items[i]);
  tm_vec_free(ctx, &actions->defs);
  tm_free(ctx, actions, sizeof *actions);
}
