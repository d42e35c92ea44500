// The rule thread: a queue of messages, a list of packages, a list of (rule, target) pairs. At each
// message "time is t" the pairs that are due are checked; what they find is copied and posted to
// the engine's thread, which runs the alert state machine and sends transitions back. A pair with
// nothing to say now and before posts nothing.
#include "base/clock.h"
#include "bind/lua_series.h"
#include "bind/plain.h"
#include "host/rulehost_impl.h"
#include "live/sampler.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_FINDINGS = 1000, KILLS_TO_QUARANTINE = 3 };
#define RETIRE_NS (5 * INT64_C(1000000000))

// ---- messages ----

void tm_host_tell(tm_rulehost *host, void (*fn)(tm_rulehost *, void *), void *arg) {
  message *m = malloc(sizeof *m);
  if (!m) return; // an unsent wake-up: the next tick carries on
  *m = (message){NULL, fn, arg};
  pthread_mutex_lock(&host->queue_lock);
  if (host->last)
    host->last->next = m;
  else
    host->first = m;
  host->last = m;
  pthread_cond_signal(&host->queue_filled);
  pthread_mutex_unlock(&host->queue_lock);
  if (!host->running) tm_host_drain(host);
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
    free(m);
  }
  host->draining = 0;
}

static void *rule_thread(void *arg) {
  tm_rulehost *host = arg;
  for (;;) {
    message *m = take_message(host, true);
    if (!m) return NULL;
    m->fn(host, m->arg);
    free(m);
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

static void deliver_note(void *arg) {
  note *n = arg;
  tm_engine_note(n->engine, n->kind, n->level, n->rule, n->target, n->text, "{}");
  free(n->rule);
  free(n->target);
  free(n->text);
  free(n);
}

void tm_host_note(tm_rulehost *host, tm_event_kind kind, tm_level level, const char *rule,
                  const char *target, const char *text) {
  note *n = malloc(sizeof *n);
  if (!n) return;
  *n = (note){host->engine, kind, level, strdup(rule ? rule : ""), strdup(target ? target : ""),
              strdup(text)};
  tm_host_post(host, deliver_note, n);
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
  p->reported = count > 0;
  p->rule->stats.findings += count;
  batch *b = calloc(1, sizeof *b);
  if (b) {
    tm_arena_init(&b->strings, NULL, 4u << 20);
    b->engine = host->engine;
    b->target = tm_target_retain(p->target);
    b->rule = tm_arena_strndup(&b->strings, p->rule->id, strlen(p->rule->id));
    b->findings = tm_arena_calloc(&b->strings, count + 1, sizeof *b->findings);
    b->count = b->findings && b->rule ? count : 0;
    b->needs = tm_arena_calloc(&b->strings, p->rule->need_count + 1, sizeof *b->needs);
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
    tm_host_post(host, deliver_batch, b);
  }
  lua_pop(L, 1);
}

// ---- checking ----

static bool resting(tm_rulehost *host, const tm_rule *rule) {
  return !rule->enabled || rule->quarantined || (uint64_t)host->now_ns < rule->backoff_until_ns;
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
  if (!resting(host, rule) && host->now_ns >= p->warm_ns) {
    lua_State *L = tm_sandbox_state(p->package->sandbox);
    lua_settop(L, 0);
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

// ---- binding ----

bool tm_host_override_matches(const override *o, const char *rule, const char *app) {
  return o->rule && tm_glob(o->rule, rule) && (!o->app || tm_glob(o->app, app));
}

static void push_target(lua_State *L, const tm_target_facts *facts) {
  lua_createtable(L, 0, 8);
  lua_pushstring(L, facts->id);
  lua_setfield(L, -2, "id");
  lua_pushstring(L, facts->name);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, facts->command);
  lua_setfield(L, -2, "command");
  lua_pushstring(L, facts->exe);
  lua_setfield(L, -2, "exe");
  lua_pushinteger(L, facts->pid);
  lua_setfield(L, -2, "pid");
  lua_pushinteger(L, facts->uid);
  lua_setfield(L, -2, "uid");
  lua_pushboolean(L, facts->hook && *facts->hook);
  lua_setfield(L, -2, "has_hook");
  lua_pushboolean(L, facts->endpoint && *facts->endpoint);
  lua_setfield(L, -2, "has_endpoint");
}

typedef struct demand_copy {
  tm_engine *engine;
  tm_target *target; // retained
  char *owner, *metric;
  uint64_t every_ns;
  size_t keep;
  bool withdraw;
} demand_copy;

static void deliver_demand(void *arg) {
  demand_copy *d = arg;
  if (tm_target_is_live(d->target)) {
    tm_demand demand = {d->owner, d->metric, d->every_ns, d->keep};
    if (d->withdraw)
      tm_target_withdraw(d->engine, d->target, d->owner);
    else if (tm_target_demand(d->engine, d->target, &demand) != TM_OK)
      tm_log_line(tm_engine_log(d->engine), TM_LOG_WARN, "plan", "%s",
                  tm_engine_ctx(d->engine)->error.message);
  }
  tm_target_release(d->target);
  free(d->owner);
  free(d->metric);
  free(d);
}

static void post_demand(tm_rulehost *host, tm_target *target, const char *owner,
                        const tm_rule_input *input) {
  demand_copy *d = calloc(1, sizeof *d);
  if (!d) return;
  *d = (demand_copy){.engine = host->engine,
                     .target = tm_target_retain(target),
                     .owner = strdup(owner),
                     .withdraw = !input};
  if (input) {
    d->metric = strdup(input->metric);
    d->every_ns = input->every_ns;
    d->keep = input->keep;
  }
  tm_host_post(host, deliver_demand, d);
}

// The owner of an armed input is "rule/input", so that it can be withdrawn alone.
void tm_host_arm(tm_rulehost *host, pair *p, const tm_rule_input *input, bool on) {
  char owner[256];
  snprintf(owner, sizeof owner, "%s/%s", p->rule->id, input->name);
  post_demand(host, p->target, owner, on ? input : NULL);
}

static bool has_input_source(const tm_rule_input *input, const tm_target_facts *facts) {
  if (strcmp(input->kind, "series") != 0 && strcmp(input->kind, "gauge") != 0
      && strcmp(input->kind, "ring") != 0)
    return false;
  // Virtual targets are fed by somebody; processes have what the platform samples, and what their
  // runtime reports.
  if (facts->pid == 0 || tm_metric_group(input->metric) != TM_GROUP_COUNT) return true;
  return strncmp(input->metric, "go.", 3) == 0 || strncmp(input->metric, "app.", 4) == 0;
}

static bool applies(tm_rulehost *host, tm_package *package, tm_rule *rule,
                    const tm_target_facts *facts) {
  for (size_t i = 0; i < rule->input_count; i++)
    if (!has_input_source(&rule->inputs[i], facts)) return false;
  lua_State *L = tm_sandbox_state(package->sandbox);
  lua_settop(L, 0);
  tm_package_push_api(package, "applies");
  lua_rawgeti(L, LUA_REGISTRYINDEX, rule->lua_ref);
  push_target(L, facts);
  bool yes = tm_host_call(host, package, rule, 2, 1) == TM_OK && lua_toboolean(L, -1);
  lua_settop(L, 0);
  return yes;
}

// Pushes the merged parameters of all overrides that match, as a table.
static void push_override_params(tm_rulehost *host, lua_State *L, const tm_rule *rule,
                                 const tm_target_facts *facts) {
  lua_newtable(L);
  for (size_t i = 0; i < host->overrides.count; i++) {
    const override *o = host->overrides.items[i];
    if (!o->params.size || !tm_host_override_matches(o, rule->id, facts->name)) continue;
    if (tm_plain_push(&host->ctx, L, o->params.data, o->params.size) != TM_OK) continue;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
      lua_pushvalue(L, -2);
      lua_insert(L, -2);
      lua_settable(L, -5);
    }
    lua_pop(L, 1);
  }
}

// Makes the context; carried: state of the pair in the version before, or NULL.
typedef struct carried {
  tm_bytes states;
  int64_t version;
} carried;

static void push_states(tm_rulehost *host, pair *p, lua_State *L, const carried *from) {
  if (!from || !from->states.size
      || tm_plain_push(&host->ctx, L, from->states.data, from->states.size) != TM_OK) {
    lua_newtable(L);
    return;
  }
  tm_package_push_api(p->package, "migrate");
  lua_insert(L, -2);
  lua_rawgeti(L, LUA_REGISTRYINDEX, p->rule->lua_ref);
  lua_insert(L, -2);
  lua_pushinteger(L, from->version);
  if (tm_host_call(host, p->package, p->rule, 3, 2) == TM_OK && lua_istable(L, -2)) {
    lua_pop(L, 1);
    return;
  }
  char text[400];
  snprintf(text, sizeof text, "%s: state could not be migrated and starts empty: %.250s",
           p->rule->id, lua_isstring(L, -1) ? lua_tostring(L, -1) : host->ctx.error.message);
  tm_host_note(host, TM_EVENT_NOTE, TM_LEVEL_WARN, p->rule->id, "", text);
  lua_settop(L, 0);
  lua_newtable(L);
}

static bool make_context(tm_rulehost *host, pair *p, const carried *from) {
  lua_State *L = tm_sandbox_state(p->package->sandbox);
  const tm_target_facts *facts = tm_target_get_facts(p->target);
  lua_settop(L, 0);
  push_states(host, p, L, from); // 1
  tm_package_push_api(p->package, "context");
  lua_rawgeti(L, LUA_REGISTRYINDEX, p->rule->lua_ref);
  lua_pushlightuserdata(L, p);
  push_target(L, facts);
  lua_newtable(L);
  for (size_t i = 0; i < p->rule->input_count; i++) {
    tm_lua_push_series(L, host->engine, p->target, &p->rule->inputs[i], &p->warm_ns, &host->now_ns);
    lua_setfield(L, -2, p->rule->inputs[i].name);
  }
  tm_host_push_shared(L, facts->id);
  lua_pushvalue(L, 1);
  push_override_params(host, L, p->rule, facts);
  bool ok = tm_host_call(host, p->package, p->rule, 7, 1) == TM_OK;
  if (ok) p->context_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_settop(L, 0);
  return ok;
}

// c.shared: one table per target in each package's state.
void tm_host_push_shared(lua_State *L, const char *target_id) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, "tidemark.shared");
  luaL_getsubtable(L, -1, target_id);
  lua_remove(L, -2);
}

static int64_t first_check_ns(tm_rulehost *host, const tm_rule *rule) {
  // The first check comes one period after binding, but never later than 5 s: a fresh watch answers
  // soon.
  uint64_t wait = rule->every_ns < 5000000000u ? rule->every_ns : 5000000000u;
  return host->now_ns + (int64_t)wait;
}

static void bind_pair(tm_rulehost *host, tm_package *package, tm_rule *rule, tm_target *target,
                      const carried *from) {
  const tm_target_facts *facts = tm_target_get_facts(target);
  if (host->options.only_rule && strcmp(host->options.only_rule, rule->id) != 0) return;
  if (strcmp(rule->kind, "rule") != 0 || !applies(host, package, rule, facts)) return;
  pair *p = calloc(1, sizeof *p);
  if (!p) return;
  int64_t start = facts->start_time_ns ? facts->start_time_ns : host->now_ns;
  *p = (pair){.package = package,
              .rule = rule,
              .target = tm_target_retain(target),
              .context_ref = LUA_NOREF,
              .reported = true};
  p->warm_ns = start + (int64_t)rule->warmup_ns;
  p->next_ns = first_check_ns(host, rule);
  if (!make_context(host, p, from) || tm_vec_push(&host->ctx, &host->pairs, p) != TM_OK) {
    tm_target_release(p->target);
    free(p);
    return;
  }
  if (from) post_demand(host, target, rule->id, NULL); // what the version before wanted
  for (size_t i = 0; i < rule->input_count; i++)
    if (!rule->inputs[i].arm) post_demand(host, target, rule->id, &rule->inputs[i]);
}

static void carry_state(tm_rulehost *host, pair *p, carried *out) {
  lua_State *L = tm_sandbox_state(p->package->sandbox);
  lua_settop(L, 0);
  lua_rawgeti(L, LUA_REGISTRYINDEX, p->context_ref);
  lua_pushliteral(L, "states");
  lua_rawget(L, -2);
  out->version = p->rule->state_version;
  out->states.size = 0;
  tm_ctx_clear(&host->ctx);
  if (tm_plain_write(&host->ctx, L, -1, &out->states) != TM_OK) {
    char text[400];
    snprintf(text, sizeof text, "%s: its state is not carried over: %.250s", p->rule->id,
             host->ctx.error.message);
    tm_host_note(host, TM_EVENT_NOTE, TM_LEVEL_WARN, p->rule->id, "", text);
    out->states.size = 0;
  }
  lua_settop(L, 0);
}

void tm_host_free_pair(tm_rulehost *host, pair *p) {
  lua_State *L = tm_sandbox_state(p->package->sandbox);
  luaL_unref(L, LUA_REGISTRYINDEX, p->context_ref);
  tm_host_cancel_handlers(host, p->package, p->target);
  tm_target_release(p->target);
  free(p);
}

// Unless the rule lives on in a new version, which made its own demands.
static void withdraw_demands(tm_rulehost *host, pair *p) {
  for (size_t i = 0; i < host->pairs.count; i++)
    if (host->pairs.items[i]->target == p->target
        && strcmp(host->pairs.items[i]->rule->id, p->rule->id) == 0)
      return;
  post_demand(host, p->target, p->rule->id, NULL);
  for (size_t k = 0; k < p->rule->input_count; k++)
    if (p->rule->inputs[k].arm) tm_host_arm(host, p, &p->rule->inputs[k], false);
}

// Takes a package's pairs out; handlers that still run get five seconds to end, then they are
// cancelled.
void tm_host_unbind_package(tm_rulehost *host, tm_package *package) {
  retired *old = calloc(1, sizeof *old);
  size_t kept = 0;
  for (size_t i = 0; i < host->pairs.count; i++) {
    pair *p = host->pairs.items[i];
    if (p->package != package)
      host->pairs.items[kept++] = p;
    else if (!old || tm_vec_push(&host->ctx, &old->pairs, p) != TM_OK)
      tm_host_free_pair(host, p);
  }
  host->pairs.count = kept;
  for (size_t i = 0; old && i < old->pairs.count; i++) withdraw_demands(host, old->pairs.items[i]);
  if (!old) return;
  old->package = package;
  old->until_ns = host->now_ns + RETIRE_NS;
  if (tm_vec_push(&host->ctx, &host->retired, old) != TM_OK) free(old);
}

void tm_host_free_retired(tm_rulehost *host, bool all) {
  size_t kept = 0;
  for (size_t i = 0; i < host->retired.count; i++) {
    retired *old = host->retired.items[i];
    if (!all && tm_host_has_handlers(host, old->package) && host->now_ns < old->until_ns) {
      host->retired.items[kept++] = old;
      continue;
    }
    for (size_t k = 0; k < old->pairs.count; k++) tm_host_free_pair(host, old->pairs.items[k]);
    tm_vec_free(&host->ctx, &old->pairs);
    tm_host_cancel_handlers(host, old->package, NULL);
    tm_package_free(old->package);
    free(old);
  }
  host->retired.count = kept;
}

// Makes every context anew, since overrides changed; state is carried.
void tm_host_rebind_all(tm_rulehost *host) {
  size_t count = host->pairs.count;
  for (size_t i = 0; i < host->packages.count; i++)
    tm_host_bind_package(host, host->packages.items[i], host->packages.items[i]);
  for (size_t i = 0; i < count; i++) tm_host_free_pair(host, host->pairs.items[i]);
  if (count)
    memmove(host->pairs.items, host->pairs.items + count,
            (host->pairs.count - count) * sizeof(pair *));
  host->pairs.count -= count;
}

static pair *find_pair(tm_rulehost *host, const tm_package *package, const char *rule,
                       const tm_target *target) {
  for (size_t i = 0; i < host->pairs.count; i++) {
    pair *p = host->pairs.items[i];
    if (p->package == package && p->target == target && strcmp(p->rule->id, rule) == 0) return p;
  }
  return NULL;
}

// Binds every rule of a package to every target. With an old version, state and the phase of checks
// are carried.
void tm_host_bind_package(tm_rulehost *host, tm_package *package, const tm_package *old) {
  carried from = {0};
  for (size_t r = 0; r < package->rule_count; r++) {
    tm_rule *rule = &package->rules[r];
    const tm_rule *before = old ? tm_package_rule(old, rule->id) : NULL;
    if (before) rule->stats = before->stats;
    for (size_t t = 0; t < host->targets.count; t++) {
      pair *was = old ? find_pair(host, old, rule->id, host->targets.items[t]) : NULL;
      int64_t next_ns = was ? was->next_ns : 0;
      bool reported = was ? was->reported : true;
      if (was) carry_state(host, was, &from);
      size_t count = host->pairs.count;
      bind_pair(host, package, rule, host->targets.items[t], was ? &from : NULL);
      if (was && host->pairs.count > count) {
        pair *now = host->pairs.items[count];
        now->reported = reported;
        if (before && before->every_ns == rule->every_ns) now->next_ns = next_ns;
      }
    }
  }
  tm_bytes_free(&host->ctx, &from.states);
}

// ---- what the engine tells ----

static void on_target_added(tm_rulehost *host, void *arg) {
  tm_target *target = arg; // retained by the sender
  pthread_mutex_lock(&host->state_lock);
  if (tm_vec_push(&host->ctx, &host->targets, target) != TM_OK) {
    tm_target_release(target);
  } else {
    for (size_t i = 0; i < host->packages.count; i++)
      for (size_t r = 0; r < host->packages.items[i]->rule_count; r++)
        bind_pair(host, host->packages.items[i], &host->packages.items[i]->rules[r], target, NULL);
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
  host->natives = (tm_natives){tm_host_install_natives, host, &host->dsl_code};
  host->now_ns = tm_engine_now_ns(engine);
  tm_engine_observer observer = {.ud = host,
                                 .target_added = target_added,
                                 .target_gone = target_gone,
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
