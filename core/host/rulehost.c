// The rule thread: a queue of messages, a list of packages, a list of (rule, target) pairs. At each
// message "time is t" the pairs that are due are checked; what they find is copied and posted to
// the engine's thread, which runs the alert state machine and sends transitions back. A pair with
// nothing to say now and before posts nothing.
#include "base/clock.h"
#include "bind/lua_series.h"
#include "bind/plain.h"
#include "engine/shots.h"
#include "host/rulehost_impl.h"
#include "live/sampler.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_FINDINGS = 1000, KILLS_TO_QUARANTINE = 3 };

// ---- messages ----

void tm_host_tell(tm_rulehost *host, void (*fn)(tm_rulehost *, void *), void *arg) {
  message *m = malloc(sizeof *m);
  pthread_mutex_lock(&host->queue_lock);
  if (!m && (m = host->spare_first)) host->spare_first = m->next;
  if (m) {
    *m = (message){NULL, fn, arg};
    if (host->last)
      host->last->next = m;
    else
      host->first = m;
    host->last = m;
  }
  pthread_cond_signal(&host->queue_filled);
  pthread_mutex_unlock(&host->queue_lock);
  if (!host->running) tm_host_drain(host);
}

static void end_message(tm_rulehost *host, message *m) {
  if (m < host->spare || m >= host->spare + SPARE_MESSAGES) {
    free(m);
    return;
  }
  pthread_mutex_lock(&host->queue_lock);
  m->next = host->spare_first;
  host->spare_first = m;
  pthread_mutex_unlock(&host->queue_lock);
}

static message *take_message(tm_rulehost *host, bool wait) {
  pthread_mutex_lock(&host->queue_lock);
  while (wait && !host->first && !host->stop)
    pthread_cond_wait(&host->queue_filled, &host->queue_lock);
  message *m = host->first;
  if (m) {
    host->first = m->next;
    if (!host->first) host->last = NULL;
  }
  pthread_mutex_unlock(&host->queue_lock);
  return m;
}

// Runs what is queued. Inline, a message that queues another one is not re-entered: the outer loop
// takes it.
void tm_host_drain(tm_rulehost *host) {
  if (host->draining) return;
  host->draining = 1;
  for (message *m; (m = take_message(host, false));) {
    m->fn(host, m->arg);
    end_message(host, m);
  }
  host->draining = 0;
}

static void *rule_thread(void *arg) {
  tm_rulehost *host = arg;
  for (;;) {
    message *m = take_message(host, true);
    if (!m) return NULL;
    m->fn(host, m->arg);
    end_message(host, m);
  }
}

void tm_host_post(tm_rulehost *host, void (*fn)(void *), void *arg) {
  if (host->options.post)
    host->options.post(host->options.post_ud, fn, arg);
  else
    fn(arg);
}

typedef struct note {
  tm_engine *engine;
  tm_event_kind kind;
  tm_level level;
  char *rule, *target, *text;
} note;

static void free_note(note *n) {
  free(n->rule);
  free(n->target);
  free(n->text);
  free(n);
}

static void deliver_note(void *arg) {
  note *n = arg;
  tm_engine_note(n->engine, n->kind, n->level, n->rule, n->target, n->text, "{}");
  free_note(n);
}

void tm_host_note(tm_rulehost *host, tm_event_kind kind, tm_level level, const char *rule,
                  const char *target, const char *text) {
  note *n = malloc(sizeof *n);
  if (!n) return;
  *n = (note){host->engine, kind, level, strdup(rule ? rule : ""), strdup(target ? target : ""),
              strdup(text)};
  if (n->rule && n->target && n->text)
    tm_host_post(host, deliver_note, n);
  else
    free_note(n);
}

// ---- calling into a package ----

static void note_failure(tm_rulehost *host, tm_rule *rule, bool killed) {
  static const uint64_t minutes[] = {1, 2, 4, 8, 16, 32, 60};
  bool first = strncmp(rule->last_error, host->ctx.error.message, sizeof rule->last_error - 1) != 0;
  snprintf(rule->last_error, sizeof rule->last_error, "%.*s", (int)sizeof rule->last_error - 1,
           host->ctx.error.message);
  rule->stats.errors++;
  if (killed) {
    rule->stats.kills++;
    rule->kills_in_a_row++;
    uint32_t step = rule->backoff_step < TM_COUNT(minutes) ? rule->backoff_step++
                                                           : (uint32_t)TM_COUNT(minutes) - 1;
    rule->backoff_until_ns = (uint64_t)host->now_ns + minutes[step] * 60000000000u;
    rule->quarantined = rule->kills_in_a_row >= KILLS_TO_QUARANTINE;
  }
  if (first || killed) {
    char text[400];
    snprintf(text, sizeof text, "%s %s: %s", rule->id,
             rule->quarantined ? "is quarantined until its file changes"
             : killed          ? "was stopped and rests for a while"
                               : "failed",
             rule->last_error);
    tm_host_note(host, killed ? TM_EVENT_RULE_KILLED : TM_EVENT_RULE_ERROR, TM_LEVEL_WARN, rule->id,
                 "", text);
  }
}

tm_status tm_host_call(tm_rulehost *host, tm_package *package, tm_rule *rule, int nargs,
                       int nresults) {
  tm_sandbox_cost cost = {0};
  atomic_store(&host->busy_rule, rule);
  atomic_store(&host->busy_sandbox, package->sandbox);
  atomic_store(&host->busy_since_ns, tm_clock_mono_ns());
  tm_ctx_clear(&host->ctx);
  tm_status status = tm_sandbox_call(&host->ctx, package->sandbox, nargs, nresults,
                                     host->options.limits.hard_ns, &cost);
  atomic_store(&host->busy_since_ns, 0);
  atomic_store(&host->busy_sandbox, NULL);
  rule->stats.wall_ns += cost.wall_ns;
  rule->stats.cpu_ns += cost.cpu_ns;
  rule->stats.soft_overruns += cost.soft_exceeded;
  if (status != TM_OK) {
    note_failure(host, rule, cost.killed);
  } else {
    rule->kills_in_a_row = 0;
    rule->backoff_step = 0;
  }
  return status;
}

// ---- findings to the engine ----

typedef struct batch {
  tm_engine *engine;
  tm_target *target; // retained
  tm_arena strings;
  tm_finding *findings;
  size_t count;
  char *rule;
  const char **needs; // rules that must be firing on this target
  size_t need_count;
} batch;

static void free_batch(batch *b) {
  tm_target_release(b->target);
  tm_arena_fini(&b->strings);
  free(b);
}

static bool needs_met(const batch *b) {
  for (size_t i = 0; i < b->need_count; i++)
    if (!tm_alerts_is_firing(tm_engine_alerts(b->engine), b->needs[i],
                             tm_target_get_facts(b->target)->id))
      return false;
  return true;
}

static void deliver_batch(void *arg) {
  batch *b = arg;
  if (tm_target_is_live(b->target)) {
    tm_ctx_clear(tm_engine_ctx(b->engine));
    size_t count = needs_met(b) ? b->count : 0;
    if (tm_engine_report(b->engine, b->rule, b->target, b->findings, count) != TM_OK)
      tm_log_line(tm_engine_log(b->engine), TM_LOG_WARN, "alerts", "%s",
                  tm_engine_ctx(b->engine)->error.message);
  }
  free_batch(b);
}

static const char *copy_field(batch *b, lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  size_t size;
  const char *text = lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER
                         ? lua_tolstring(L, -1, &size)
                         : NULL;
  const char *copy = text ? tm_arena_strndup(&b->strings, text, size) : "";
  lua_pop(L, 1);
  return copy ? copy : "";
}

static const char *copy_evidence(batch *b, lua_State *L) {
  lua_getfield(L, -1, "evidence");
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_bytes json = {.cap_bytes = 64 * 1024};
  const char *copy = "{}";
  if (tm_lua_json(&ctx, L, -1, &json) == TM_OK) {
    char *text = tm_arena_strndup(&b->strings, (const char *)json.data, json.size);
    if (text) copy = text;
  }
  tm_bytes_free(&ctx, &json);
  tm_ctx_fini(&ctx);
  lua_pop(L, 1);
  return copy;
}

static tm_level mapped_level(tm_rulehost *host, const pair *p, tm_level level) {
  for (size_t i = 0; i < host->overrides.count; i++) {
    const override *o = host->overrides.items[i];
    if (tm_host_override_matches(o, p->rule->id, tm_target_get_facts(p->target)->name)
        && o->level_map[level])
      level = o->level_map[level];
  }
  return level;
}

static void read_finding(tm_rulehost *host, const pair *p, batch *b, lua_State *L, tm_finding *f) {
  f->rule = b->rule;
  f->target = tm_target_get_facts(p->target)->id;
  f->time_ns = host->now_ns;
  f->key = copy_field(b, L, "key");
  f->level = mapped_level(host, p, tm_level_by_name(copy_field(b, L, "level")));
  f->text = copy_field(b, L, "text");
  f->unit = tm_unit_by_name(copy_field(b, L, "unit"));
  lua_getfield(L, -1, "value");
  f->value = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : NAN;
  lua_pop(L, 1);
  f->evidence_json = copy_evidence(b, L);
}

// Takes the list of findings from the top of the stack and pops it.
static void report(tm_rulehost *host, pair *p, lua_State *L) {
  size_t count = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
  if (count > MAX_FINDINGS) count = MAX_FINDINGS;
  if (count == 0 && !p->reported) {
    lua_pop(L, 1);
    return;
  }
  p->reported = true; // also when there is no memory to tell it: then the next check does
  p->rule->stats.findings += count;
  batch *b = calloc(1, sizeof *b);
  if (b) {
    tm_arena_init(&b->strings, NULL, 4u << 20);
    b->engine = host->engine;
    b->target = tm_target_retain(p->target);
    b->rule = tm_arena_strndup(&b->strings, p->rule->id, strlen(p->rule->id));
    b->findings = tm_arena_calloc(&b->strings, count + 1, sizeof *b->findings);
    b->count = b->findings ? count : 0;
    b->needs = tm_arena_calloc(&b->strings, p->rule->need_count + 1, sizeof *b->needs);
    bool whole = b->rule && b->findings && b->needs;
    for (size_t i = 0; b->needs && i < p->rule->need_count; i++) {
      b->needs[b->need_count] =
          tm_arena_strndup(&b->strings, p->rule->needs[i], strlen(p->rule->needs[i]));
      if (b->needs[b->need_count]) b->need_count++;
    }
    for (size_t i = 0; i < b->count; i++) {
      lua_rawgeti(L, -1, (lua_Integer)i + 1);
      read_finding(host, p, b, L, &b->findings[i]);
      lua_pop(L, 1);
    }
    if (whole) {
      p->reported = count > 0;
      tm_host_post(host, deliver_batch, b);
    } else {
      free_batch(b);
    }
  }
  lua_pop(L, 1);
}

// ---- checking ----

static bool resting(tm_rulehost *host, const tm_rule *rule) {
  return rule->quarantined || (uint64_t)host->now_ns < rule->backoff_until_ns;
}

// A rule that costs more than its budget is checked less often, and that is counted.
static void set_next(tm_rulehost *host, pair *p, uint64_t cost_ns) {
  tm_rule *rule = p->rule;
  p->recent_cost_ns =
      p->recent_cost_ns > 0 ? 0.8 * p->recent_cost_ns + 0.2 * (double)cost_ns : (double)cost_ns;
  uint64_t wait = rule->every_ns;
  if (rule->budget_ratio > 0 && p->recent_cost_ns > rule->budget_ratio * (double)wait) {
    wait = (uint64_t)(p->recent_cost_ns / rule->budget_ratio);
    rule->stats.throttled++;
  }
  int64_t next = p->next_ns + (int64_t)wait;
  if (next <= host->now_ns) {
    rule->stats.missed += (uint64_t)((host->now_ns - p->next_ns) / (int64_t)wait);
    next = host->now_ns + (int64_t)wait;
  }
  p->next_ns = next;
}

static void check_pair(tm_rulehost *host, pair *p) {
  tm_rule *rule = p->rule;
  uint64_t before = rule->stats.cpu_ns;
  lua_State *L = tm_sandbox_state(p->package->sandbox);
  if (tm_sandbox_ready(p->package->sandbox) != TM_OK) {
    set_next(host, p, 0);
    return;
  }
  lua_settop(L, 0);
  if (!p->enabled) {
    lua_pushnil(L);
    report(host, p, L); // what it found before it was switched off ends
  } else if (!resting(host, rule) && host->now_ns >= p->warm_ns) {
    tm_package_push_api(p->package, "check");
    lua_rawgeti(L, LUA_REGISTRYINDEX, rule->lua_ref);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->context_ref);
    rule->stats.evaluations++;
    if (tm_host_call(host, p->package, rule, 2, 1) == TM_OK) {
      rule->last_error[0] = '\0';
      report(host, p, L);
    }
    lua_settop(L, 0);
  }
  set_next(host, p, rule->stats.cpu_ns - before);
}

void tm_host_set_due(tm_rulehost *host) {
  int64_t due = tm_host_next_timer_ns(host);
  for (size_t i = 0; i < host->pairs.count; i++)
    if (host->pairs.items[i]->next_ns < due) due = host->pairs.items[i]->next_ns;
  atomic_store(&host->next_due_ns, due);
}

static void on_time(tm_rulehost *host, void *arg) {
  int64_t now = *(int64_t *)arg;
  free(arg);
  if (now < host->now_ns) return;
  host->now_ns = now;
  pthread_mutex_lock(&host->state_lock);
  for (size_t i = 0; i < host->pairs.count; i++)
    if (host->pairs.items[i]->next_ns <= now) check_pair(host, host->pairs.items[i]);
  tm_host_run_timers(host);
  tm_host_free_retired(host, false);
  tm_host_set_due(host);
  pthread_mutex_unlock(&host->state_lock);
}

// ---- what the engine tells ----

typedef struct new_shot {
  tm_target *target; // retained
  int64_t time_ns;
  char metric[64];
} new_shot;

static bool looks_at(const tm_rule *rule, const char *metric) {
  for (size_t i = 0; i < rule->input_count; i++)
    if (strcmp(rule->inputs[i].kind, "snapshots") == 0
        && strcmp(rule->inputs[i].metric, metric) == 0)
      return true;
  return false;
}

// A rule over snapshots is checked when there is a new one, besides its own rhythm.
static void on_new_shot(tm_rulehost *host, void *arg) {
  new_shot *n = arg;
  if (n->time_ns > host->now_ns) host->now_ns = n->time_ns;
  pthread_mutex_lock(&host->state_lock);
  for (size_t i = 0; i < host->pairs.count; i++) {
    pair *p = host->pairs.items[i];
    if (p->target != n->target || !looks_at(p->rule, n->metric)) continue;
    p->next_ns = host->now_ns;
    check_pair(host, p);
  }
  tm_host_set_due(host);
  pthread_mutex_unlock(&host->state_lock);
  tm_target_release(n->target);
  free(n);
}

static void snapshot_kept(void *ud, tm_target *target, const char *metric,
                          const struct tm_shot *shot) {
  new_shot *n = calloc(1, sizeof *n);
  if (!n) return; // the rule's own rhythm finds it
  n->target = tm_target_retain(target);
  n->time_ns = shot->time_ns;
  snprintf(n->metric, sizeof n->metric, "%s", metric);
  tm_host_tell(ud, on_new_shot, n);
} // NOLINT(clang-analyzer-unix.Malloc): the queue owns it now

static void on_target_added(tm_rulehost *host, void *arg) {
  tm_target *target = arg; // retained by the sender
  pthread_mutex_lock(&host->state_lock);
  if (tm_vec_push(&host->ctx, &host->targets, target) != TM_OK) {
    tm_target_release(target);
  } else {
    for (size_t i = 0; i < host->packages.count; i++)
      for (size_t r = 0; r < host->packages.items[i]->rule_count; r++)
        tm_host_bind_pair(host, host->packages.items[i], &host->packages.items[i]->rules[r], target,
                          NULL);
    tm_host_set_due(host);
  }
  pthread_mutex_unlock(&host->state_lock);
}

static void on_target_gone(tm_rulehost *host, void *arg) {
  tm_target *target = arg;
  pthread_mutex_lock(&host->state_lock);
  tm_host_cancel_handlers(host, NULL, target);
  size_t kept = 0;
  for (size_t i = 0; i < host->pairs.count; i++) {
    if (host->pairs.items[i]->target == target)
      tm_host_free_pair(host, host->pairs.items[i]);
    else
      host->pairs.items[kept++] = host->pairs.items[i];
  }
  host->pairs.count = kept;
  for (size_t i = 0; i < host->targets.count; i++)
    if (host->targets.items[i] == target) {
      host->targets.items[i] = host->targets.items[--host->targets.count];
      tm_target_release(target);
      break;
    }
  tm_host_set_due(host);
  pthread_mutex_unlock(&host->state_lock);
  tm_target_release(target);
}

static void target_added(void *ud, tm_target *target) {
  tm_rulehost *host = ud;
  if (!host->running) host->now_ns = tm_engine_now_ns(host->engine);
  tm_host_tell(host, on_target_added, tm_target_retain(target));
}

static void target_gone(void *ud, tm_target *target) {
  tm_host_tell(ud, on_target_gone, tm_target_retain(target));
}

static void advanced(void *ud, int64_t now_ns) {
  tm_rulehost *host = ud;
  if (now_ns < atomic_load(&host->next_due_ns)) return;
  int64_t *now = malloc(sizeof *now);
  if (!now) return;
  *now = now_ns;
  // Until the thread has worked it off, further ticks need not be queued: one is enough.
  if (host->running) atomic_store(&host->next_due_ns, INT64_MAX);
  tm_host_tell(host, on_time, now);
} // NOLINT(clang-analyzer-unix.Malloc): the queue owns it now

static void alert_changed(void *ud, const tm_alert_transition *transition) {
  transition_copy *copy = tm_host_copy_transition(transition);
  if (copy) tm_host_tell(ud, tm_host_transition, copy);
}

static void action_finished(void *ud, const tm_action_record *record) {
  if (!record->tag) return;
  bool ok = record->outcome == TM_ACTION_DONE || record->outcome == TM_ACTION_DRY_RUN;
  job_result *result = tm_host_job_result(record->tag, ok ? TM_OK : TM_E_PERM, record->message,
                                          strlen(record->message));
  if (result) tm_host_tell(ud, tm_host_action_done, result);
}

// ---- life ----

tm_status tm_rulehost_new(tm_ctx *ctx, tm_engine *engine, const tm_rulehost_options *options,
                          tm_rulehost **out) {
  tm_rulehost *host = tm_calloc(ctx, 1, sizeof *host);
  if (!host) return TM_E_NOMEM;
  host->owner = ctx;
  host->engine = engine;
  host->options = *options;
  tm_ctx_init(&host->ctx, NULL);
  pthread_mutex_init(&host->queue_lock, NULL);
  pthread_mutex_init(&host->state_lock, NULL);
  pthread_cond_init(&host->queue_filled, NULL);
  atomic_init(&host->next_due_ns, INT64_MAX);
  atomic_init(&host->next_job_id, 1);
  for (size_t i = 0; i < SPARE_MESSAGES; i++) {
    host->spare[i].next = host->spare_first;
    host->spare_first = &host->spare[i];
  }
  host->natives = (tm_natives){tm_host_install_natives, host, options->functions, &host->dsl_code};
  host->now_ns = tm_engine_now_ns(engine);
  tm_engine_observer observer = {.ud = host,
                                 .target_added = target_added,
                                 .target_gone = target_gone,
                                 .snapshot = snapshot_kept,
                                 .advanced = advanced,
                                 .alert = alert_changed,
                                 .action = action_finished};
  tm_status status = tm_engine_observe(engine, &observer);
  if (status != TM_OK) {
    tm_free(ctx, host, sizeof *host);
    return status;
  }
  for (size_t i = 0; i < tm_engine_target_count(engine); i++)
    target_added(host, tm_engine_target_at(engine, i));
  *out = host;
  return TM_OK;
}

tm_status tm_rulehost_start(tm_rulehost *host) {
  if (!host->options.threaded || host->running) return TM_OK;
  host->running = true;
  int problem = pthread_create(&host->thread, NULL, rule_thread, host);
  if (problem) {
    host->running = false;
    return tm_fail_errno(host->owner, problem, "cannot start the rule thread");
  }
  return TM_OK;
}

void tm_rulehost_stop(tm_rulehost *host) {
  if (!host || !host->running) return;
  pthread_mutex_lock(&host->queue_lock);
  host->stop = true;
  pthread_cond_signal(&host->queue_filled);
  pthread_mutex_unlock(&host->queue_lock);
  tm_sandbox *busy = atomic_load(&host->busy_sandbox);
  if (busy) tm_sandbox_interrupt(busy);
  pthread_join(host->thread, NULL);
  host->running = false;
  tm_host_drain(host);
}

void tm_rulehost_free(tm_rulehost *host) {
  if (!host) return;
  tm_engine_unobserve(host->engine, host);
  tm_rulehost_stop(host);
  tm_host_drain(host);
  tm_host_cancel_handlers(host, NULL, NULL);
  tm_host_free_retired(host, true);
  while (host->pairs.count) tm_host_free_pair(host, host->pairs.items[--host->pairs.count]);
  for (size_t i = 0; i < host->targets.count; i++) tm_target_release(host->targets.items[i]);
  for (size_t i = 0; i < host->packages.count && !host->borrowed; i++)
    tm_package_free(host->packages.items[i]);
  tm_host_drop_overrides(host, NULL);
  for (size_t i = 0; i < host->stale.count; i++) free(host->stale.items[i]);
  tm_vec_free(&host->ctx, &host->pairs);
  tm_vec_free(&host->ctx, &host->targets);
  tm_vec_free(&host->ctx, &host->packages);
  tm_vec_free(&host->ctx, &host->overrides);
  tm_vec_free(&host->ctx, &host->stale);
  tm_vec_free(&host->ctx, &host->retired);
  tm_bytes_free(&host->ctx, &host->dsl_code);
  tm_ctx_fini(&host->ctx);
  pthread_mutex_destroy(&host->queue_lock);
  pthread_mutex_destroy(&host->state_lock);
  pthread_cond_destroy(&host->queue_filled);
  tm_free(host->owner, host, sizeof *host);
}

void tm_host_adopt(tm_rulehost *host, tm_package *package) {
  host->borrowed = true;
  package->owner = host;
  for (size_t r = 0; r < package->rule_count; r++) {
    tm_rule *rule = &package->rules[r];
    rule->stats = (tm_rule_stats){0};
    rule->last_error[0] = '\0';
    rule->backoff_until_ns = 0;
    rule->backoff_step = rule->kills_in_a_row = 0;
    rule->quarantined = false;
    tm_host_post_policy(host, package, rule, false);
  }
  if (tm_vec_push(&host->ctx, &host->packages, package) == TM_OK)
    tm_host_bind_package(host, package, NULL);
}

int64_t tm_rulehost_next_due_ns(tm_rulehost *host) {
  return atomic_load(&host->next_due_ns);
}

bool tm_rulehost_busy(tm_rulehost *host, uint64_t *since_ns, char *rule, size_t rule_size) {
  uint64_t since = atomic_load(&host->busy_since_ns);
  if (!since) return false;
  *since_ns = since;
  tm_sandbox *sandbox = atomic_load(&host->busy_sandbox);
  if (sandbox)
    tm_sandbox_where(sandbox, rule, rule_size);
  else
    snprintf(rule, rule_size, "?");
  return true;
}

static const char *state_of(const tm_rule *rule, const char *stale) {
  if (stale) return "stale";
  if (rule->quarantined) return "quarantined";
  if (!rule->enabled) return "disabled";
  return rule->last_error[0] ? "error" : "ok";
}

bool tm_rulehost_each_rule(tm_rulehost *host, tm_rule_view_fn fn, void *ud) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 20000000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  if (pthread_mutex_timedlock(&host->state_lock, &until) != 0) return false;
  for (size_t i = 0; i < host->packages.count; i++) {
    const tm_package *package = host->packages.items[i];
    const char *stale = NULL;
    for (size_t s = 0; s < host->stale.count; s++)
      if (strcmp(host->stale.items[s]->name, package->name) == 0)
        stale = host->stale.items[s]->problem;
    for (size_t r = 0; r < package->rule_count; r++) {
      tm_rule_view view = {package->name,
                           package->origin,
                           &package->rules[r],
                           0,
                           state_of(&package->rules[r], stale),
                           stale ? stale : package->rules[r].last_error};
      for (size_t k = 0; k < host->pairs.count; k++)
        view.bound_targets += host->pairs.items[k]->rule == &package->rules[r];
      fn(ud, &view);
    }
  }
  pthread_mutex_unlock(&host->state_lock);
  return true;
}

// ---- formats ----

static int write_chunk(lua_State *L) {
  tm_bytes *out = lua_touserdata(L, lua_upvalueindex(1));
  tm_ctx *ctx = lua_touserdata(L, lua_upvalueindex(2));
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  if (tm_bytes_append(ctx, out, text, size) != TM_OK)
    return luaL_error(L, "%s", ctx->error.message);
  return 0;
}

static tm_status render_with(tm_ctx *ctx, tm_package *package, const uint8_t *report_plain,
                             size_t size, tm_bytes *out) {
  lua_State *L = tm_sandbox_state(package->sandbox); // the format's table is at 1
  tm_package_push_api(package, "render");
  lua_pushvalue(L, 1);
  TM_TRY(tm_plain_push(ctx, L, report_plain, size));
  lua_pushlightuserdata(L, out);
  lua_pushlightuserdata(L, ctx);
  lua_pushcclosure(L, write_chunk, 2);
  return tm_sandbox_call(ctx, package->sandbox, 3, 0, 5000000000u, NULL);
}

tm_status tm_rulehost_render(tm_ctx *ctx, tm_rulehost *host, const char *format_id,
                             const uint8_t *report_plain, size_t size, tm_bytes *out) {
  for (size_t i = 0; i < host->packages.count; i++) {
    tm_package *package = host->packages.items[i];
    lua_State *L = tm_sandbox_state(package->sandbox);
    for (size_t k = 1; k <= package->format_count; k++) {
      lua_settop(L, 0);
      tm_package_push_api(package, "formats");
      lua_rawgeti(L, -1, (lua_Integer)k);
      lua_remove(L, 1);
      lua_getfield(L, 1, "id");
      bool found = lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), format_id) == 0;
      lua_pop(L, 1);
      if (!found) continue;
      tm_status status = render_with(ctx, package, report_plain, size, out);
      lua_settop(L, 0);
      return status;
    }
    lua_settop(L, 0);
  }
  return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                 "no format is called '%s'; rule files declare them with tm.format", format_id);
}
