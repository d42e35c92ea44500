// Which rules look at which targets: a pair is a rule bound to a target, with its context in the
// package's Lua state and its demands on the target's sampling plan. A reload binds the new version
// beside the old one and carries state.
#include "bind/lua_series.h"
#include "bind/lua_shots.h"
#include "bind/plain.h"
#include "host/rulehost_impl.h"
#include "live/account_series.h"
#include "live/app_counters.h"
#include "live/sampler.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETIRE_NS (5 * INT64_C(1000000000))

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

static void free_demand(demand_copy *d) {
  tm_target_release(d->target);
  free(d->owner);
  free(d->metric);
  free(d);
}

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
  free_demand(d);
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
  if (d->owner && (d->metric || d->withdraw))
    tm_host_post(host, deliver_demand, d);
  else
    free_demand(d);
}

// The owner of an armed input is "rule/input", so that it can be withdrawn alone.
void tm_host_arm(tm_rulehost *host, pair *p, const tm_rule_input *input, bool on) {
  char owner[256];
  snprintf(owner, sizeof owner, "%s/%s", p->rule->id, input->name);
  post_demand(host, p->target, owner, on ? input : NULL);
}

bool tm_metric_is_told(const char *metric) {
  static const char *const prefixes[] = {"go.",   "app.", "jvm.",  "v8.",
                                         "node.", "dom.", "page.", "session."};
  for (size_t i = 0; i < TM_COUNT(prefixes); i++)
    if (strncmp(metric, prefixes[i], strlen(prefixes[i])) == 0) return true;
  return false;
}

static bool has_input_source(const tm_rule_input *input, const tm_target_facts *facts) {
  // The runs of a gate are fed by whoever drives it, one sample a run: only to a virtual target.
  if (facts->pid == 0 && strcmp(input->kind, "runs") == 0) return true;
  if (strcmp(input->kind, "snapshots") == 0 && strncmp(input->metric, "dump.", 5) == 0)
    return true; // fed by whoever takes a dump
  if (strcmp(input->kind, "snapshots") == 0 && strncmp(input->metric, "agent.", 6) == 0)
    return true;                                               // an agent may come at any time
  if (strcmp(input->metric, "trace.chrome") == 0) return true; // likewise an inspector
  if (strcmp(input->kind, "snapshots") == 0)
    return facts->pid == 0 || (facts->endpoint && *facts->endpoint);
  if (strcmp(input->kind, "series") != 0 && strcmp(input->kind, "gauge") != 0
      && strcmp(input->kind, "ring") != 0)
    return false;
  // Virtual targets are fed by somebody; processes have what the platform samples, and what their
  // runtime reports.
  if (facts->pid == 0 || tm_metric_group(input->metric) != TM_GROUP_COUNT) return true;
  if (tm_account_metric(input->metric)) return true;
  const tm_endpoint endpoint = tm_target_endpoint(facts);
  if (tm_app_metric(input->metric)) return tm_app_metric_has_page(input->metric, &endpoint);
  return tm_metric_is_told(input->metric);
}

static bool applies(tm_rulehost *host, tm_package *package, tm_rule *rule,
                    const tm_target_facts *facts) {
  for (size_t i = 0; i < rule->input_count; i++)
    if (!has_input_source(&rule->inputs[i], facts)) return false;
  if (tm_sandbox_ready(package->sandbox) != TM_OK) return false;
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

// Whether a rule runs on a target: overrides for the target's name go over what the rule says.
static bool enabled_on(const tm_rulehost *host, const tm_rule *rule, const tm_target_facts *facts) {
  bool enabled = rule->enabled;
  for (size_t i = 0; i < host->overrides.count; i++) {
    const override *o = host->overrides.items[i];
    if (o->app && o->enabled >= 0 && tm_host_override_matches(o, rule->id, facts->name))
      enabled = o->enabled;
  }
  return enabled;
}

// Makes the context; carried: state of the pair in the version before, or NULL.
struct carried {
  tm_bytes states;
  int64_t version;
};

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

typedef struct context_making {
  tm_rulehost *host;
  pair *p;
  const carried *from;
} context_making;

static int make_context_in(lua_State *L) {
  const context_making *m = lua_touserdata(L, 1);
  tm_rulehost *host = m->host;
  pair *p = m->p;
  const tm_target_facts *facts = tm_target_get_facts(p->target);
  lua_settop(L, 0);
  push_states(host, p, L, m->from); // 1
  tm_package_push_api(p->package, "context");
  lua_rawgeti(L, LUA_REGISTRYINDEX, p->rule->lua_ref);
  lua_pushlightuserdata(L, p);
  push_target(L, facts);
  lua_newtable(L);
  for (size_t i = 0; i < p->rule->input_count; i++) {
    const tm_rule_input *input = &p->rule->inputs[i];
    if (strcmp(input->kind, "snapshots") == 0)
      tm_lua_push_shots(L, host->engine, p->target, input, NULL, &p->warm_ns, &host->now_ns);
    else
      tm_lua_push_series(L, host->engine, p->target, input, &p->warm_ns, &host->now_ns);
    lua_setfield(L, -2, input->name);
  }
  tm_host_push_shared(L, facts->id);
  lua_pushvalue(L, 1);
  push_override_params(host, L, p->rule, facts);
  if (tm_host_call(host, p->package, p->rule, 7, 1) == TM_OK)
    p->context_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

// Protected: what is pushed may find no memory.
static bool make_context(tm_rulehost *host, pair *p, const carried *from) {
  lua_State *L = tm_sandbox_state(p->package->sandbox);
  context_making making = {host, p, from};
  lua_settop(L, 0);
  lua_pushcfunction(L, make_context_in);
  lua_pushlightuserdata(L, &making);
  (void)lua_pcall(L, 1, 0, 0);
  lua_settop(L, 0);
  return p->context_ref != LUA_NOREF;
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

void tm_host_bind_pair(tm_rulehost *host, tm_package *package, tm_rule *rule, tm_target *target,
                       const carried *from) {
  const tm_target_facts *facts = tm_target_get_facts(target);
  if (host->options.only_rule && strcmp(host->options.only_rule, rule->id) != 0) return;
  if ((strcmp(rule->kind, "rule") != 0 && facts->pid != 0) || !applies(host, package, rule, facts))
    return;
  pair *p = calloc(1, sizeof *p);
  if (!p) return;
  int64_t start = facts->start_time_ns ? facts->start_time_ns : host->now_ns;
  *p = (pair){.package = package,
              .rule = rule,
              .target = tm_target_retain(target),
              .context_ref = LUA_NOREF,
              .reported = true,
              .enabled = enabled_on(host, rule, facts)};
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
  if (tm_sandbox_ready(p->package->sandbox) != TM_OK) return;
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
// Its handlers must not run any more.
static void free_retired(tm_rulehost *host, retired *old) {
  for (size_t k = 0; k < old->pairs.count; k++) tm_host_free_pair(host, old->pairs.items[k]);
  tm_vec_free(&host->ctx, &old->pairs);
  tm_host_cancel_handlers(host, old->package, NULL);
  tm_package_free(old->package);
  free(old);
}

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
  if (!old) { // without memory its handlers end now
    tm_host_cancel_handlers(host, package, NULL);
    tm_package_free(package);
    return;
  }
  old->package = package;
  old->until_ns = host->now_ns + RETIRE_NS;
  if (tm_vec_push(&host->ctx, &host->retired, old) != TM_OK) free_retired(host, old);
}

void tm_host_free_retired(tm_rulehost *host, bool all) {
  size_t kept = 0;
  for (size_t i = 0; i < host->retired.count; i++) {
    retired *old = host->retired.items[i];
    if (!all && tm_host_has_handlers(host, old->package) && host->now_ns < old->until_ns) {
      host->retired.items[kept++] = old;
      continue;
    }
    free_retired(host, old);
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
      tm_host_bind_pair(host, package, rule, host->targets.items[t], was ? &from : NULL);
      if (was && host->pairs.count > count) {
        pair *now = host->pairs.items[count];
        now->reported = reported;
        if (before && before->every_ns == rule->every_ns) now->next_ns = next_ns;
      }
    }
  }
  tm_bytes_free(&host->ctx, &from.states);
}
