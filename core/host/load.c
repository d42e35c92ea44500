// The reload protocol. Everything up to the swap works on a new package beside the old one, so that
// any failure leaves the old one as it was: build (text only, own sandbox), validate against what
// is there, the file's own tests on a virtual engine, a shadow run over the last samples of bound
// targets, then swap and carry state.
#include "base/clock.h"
#include "bind/lua_series.h"
#include "bind/plain.h"
#include "host/rulehost_impl.h"
#include "live/account_series.h"
#include "live/app_counters.h"
#include "live/sampler.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct load_request {
  tm_engine *engine;
  char *name, *origin, *source;
  size_t size;
  tm_load_fn fn;
  void *ud;
  // the answer
  tm_load_report report;
  char problem[600], notes[1200];
  char *fields; // of the event that tells it, as JSON; NULL = none
  bool unload;
} load_request;

// Profiles that the package asks for, for whoever takes them; none is told too, since a reload may
// take them back.
static char *fields_of(const tm_package *package) {
  static const char form[] = "{\"policies\":%s}";
  size_t size = sizeof form + strlen(package->policies_json);
  char *fields = malloc(size);
  if (fields) snprintf(fields, size, form, package->policies_json);
  return fields;
}

// ---- policies and overrides ----

typedef struct policy_update {
  tm_engine *engine;
  char *rule;
  tm_alert_policy policy;
  char **inhibits;
  size_t inhibit_count;
  uint64_t hash; // of the file: another text gives disabled actions a new chance
  bool remove;
} policy_update;

static void free_policy(policy_update *u) {
  for (size_t i = 0; i < u->inhibit_count; i++) free(u->inhibits[i]);
  free(u->inhibits);
  free(u->rule);
  free(u);
}

static void deliver_policy(void *arg) {
  policy_update *u = arg;
  if (u->remove)
    tm_alerts_rule_removed(tm_engine_alerts(u->engine), tm_engine_now_ns(u->engine), u->rule);
  else {
    u->policy.inhibits = (const char *const *)u->inhibits;
    u->policy.inhibit_count = u->inhibit_count;
    if (tm_alerts_policy(tm_engine_alerts(u->engine), u->rule, &u->policy) != TM_OK)
      tm_log_line(tm_engine_log(u->engine), TM_LOG_WARN, "rules",
                  "%s: out of memory for its policy", u->rule);
  }
  if (!u->remove && tm_actions_rule_loaded(tm_engine_actions(u->engine), u->rule, u->hash) != TM_OK)
    tm_log_line(tm_engine_log(u->engine), TM_LOG_WARN, "rules", "%s: out of memory", u->rule);
  free_policy(u);
}

void tm_host_post_policy(tm_rulehost *host, const tm_package *package, const tm_rule *rule,
                         bool remove) {
  policy_update *u = calloc(1, sizeof *u);
  if (!u) return;
  *u = (policy_update){.engine = host->engine,
                       .rule = strdup(rule->id),
                       .policy = rule->policy,
                       .remove = remove,
                       .hash = package->hash};
  u->inhibits = calloc(rule->inhibit_count + 1, sizeof *u->inhibits);
  bool whole = u->rule && u->inhibits;
  for (size_t i = 0; whole && i < rule->inhibit_count; i++)
    whole = (u->inhibits[u->inhibit_count++] = strdup(rule->inhibits[i])) != NULL;
  if (whole)
    tm_host_post(host, deliver_policy, u);
  else
    free_policy(u);
}

static void free_override(tm_rulehost *host, override *o) {
  free(o->package);
  free(o->app);
  free(o->rule);
  tm_bytes_free(&host->ctx, &o->params);
  free(o);
}

void tm_host_drop_overrides(tm_rulehost *host, const char *package) {
  size_t kept = 0;
  for (size_t i = 0; i < host->overrides.count; i++) {
    override *o = host->overrides.items[i];
    if (package && strcmp(o->package, package) != 0)
      host->overrides.items[kept++] = o;
    else
      free_override(host, o);
  }
  host->overrides.count = kept;
}

static char *copy_string(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  char *copy = lua_isstring(L, -1) ? strdup(lua_tostring(L, -1)) : NULL;
  lua_pop(L, 1);
  return copy;
}

static double number_or(lua_State *L, int index, const char *name, double otherwise) {
  lua_getfield(L, index, name);
  double value = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : otherwise;
  lua_pop(L, 1);
  return value;
}

static void read_level_map(lua_State *L, int index, override *o) {
  lua_getfield(L, index, "level");
  if (lua_istable(L, -1)) {
    lua_pushnil(L);
    while (lua_next(L, -2)) {
      if (lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING)
        o->level_map[tm_level_by_name(lua_tostring(L, -2))] = tm_level_by_name(lua_tostring(L, -1));
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
}

static void read_override(tm_rulehost *host, tm_package *package, lua_State *L) {
  override *o = calloc(1, sizeof *o);
  if (!o) return;
  int index = lua_gettop(L);
  o->package = strdup(package->name);
  o->app = copy_string(L, index, "app");
  o->rule = copy_string(L, index, "rule");
  o->hold_s = number_or(L, index, "hold", -1);
  o->linger_s = number_or(L, index, "linger", -1);
  o->cooldown_s = number_or(L, index, "cooldown", -1);
  o->every_s = number_or(L, index, "every", -1);
  lua_getfield(L, index, "enabled");
  o->enabled = lua_isboolean(L, -1) ? lua_toboolean(L, -1) : -1;
  lua_pop(L, 1);
  read_level_map(L, index, o);
  lua_getfield(L, index, "params");
  if (lua_istable(L, -1) && tm_plain_write(&host->ctx, L, -1, &o->params) != TM_OK)
    o->params.size = 0;
  lua_pop(L, 1);
  if (!o->package || tm_vec_push(&host->ctx, &host->overrides, o) != TM_OK) free_override(host, o);
}

static void read_overrides(tm_rulehost *host, tm_package *package) {
  lua_State *L = tm_sandbox_state(package->sandbox);
  if (tm_sandbox_ready(package->sandbox) != TM_OK) return;
  lua_settop(L, 0);
  tm_package_push_api(package, "overrides");
  for (size_t i = 0; i < package->override_count; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i + 1);
    read_override(host, package, L);
    lua_settop(L, 1);
  }
  lua_settop(L, 0);
}

// List overrides are handed to every package that declares the list.
static void override_lists(tm_rulehost *host, tm_package *from, tm_package *to) {
  lua_State *A = tm_sandbox_state(from->sandbox), *B = tm_sandbox_state(to->sandbox);
  tm_bytes bytes = {0};
  if (tm_sandbox_ready(from->sandbox) != TM_OK || tm_sandbox_ready(to->sandbox) != TM_OK) return;
  lua_settop(A, 0);
  tm_package_push_api(from, "overrides");
  for (size_t i = 0; i < from->override_count; i++) {
    lua_rawgeti(A, 1, (lua_Integer)i + 1);
    lua_getfield(A, 2, "list");
    bytes.size = 0;
    tm_ctx_clear(&host->ctx);
    if (lua_isstring(A, 3) && tm_plain_write(&host->ctx, A, 2, &bytes) == TM_OK) {
      lua_settop(B, 0);
      tm_package_push_api(to, "override_list");
      if (tm_plain_push(&host->ctx, B, bytes.data, bytes.size) == TM_OK) {
        lua_getfield(B, 2, "list");
        lua_getfield(B, 2, "append");
        lua_getfield(B, 2, "replace");
        lua_remove(B, 2);
        tm_ctx_clear(&host->ctx);
        if (tm_sandbox_call(&host->ctx, to->sandbox, 3, 0, 0, NULL) != TM_OK)
          tm_host_note(host, TM_EVENT_NOTE, TM_LEVEL_WARN, "", "", host->ctx.error.message);
      }
      lua_settop(B, 0);
    }
    lua_settop(A, 1);
  }
  lua_settop(A, 0);
  tm_bytes_free(&host->ctx, &bytes);
}

// A rule over snapshots is checked as often as they come: both have the same period.
static void override_period(tm_rule *rule, uint64_t every_ns) {
  rule->every_ns = every_ns;
  for (size_t i = 0; i < rule->input_count; i++)
    if (strcmp(rule->inputs[i].kind, "snapshots") == 0) rule->inputs[i].every_ns = every_ns;
}

static void override_rule(tm_rulehost *host, tm_rule *rule) {
  rule->every_ns = rule->declared_every_ns;
  rule->policy = rule->declared_policy;
  rule->enabled = rule->declared_enabled;
  for (size_t i = 0; i < rule->input_count; i++)
    rule->inputs[i].every_ns = rule->inputs[i].declared_every_ns;
  for (size_t i = 0; i < host->overrides.count; i++) {
    const override *o = host->overrides.items[i];
    if (o->app || !tm_host_override_matches(o, rule->id, "")) continue;
    if (o->enabled >= 0) rule->enabled = o->enabled;
    if (o->every_s > 0) override_period(rule, (uint64_t)(o->every_s * 1e9));
    if (o->hold_s >= 0) rule->policy.hold_ns = (uint64_t)(o->hold_s * 1e9);
    if (o->linger_s >= 0) rule->policy.linger_ns = (uint64_t)(o->linger_s * 1e9);
    if (o->cooldown_s >= 0) rule->policy.cooldown_ns = (uint64_t)(o->cooldown_s * 1e9);
  }
}

static void apply_overrides(tm_rulehost *host, tm_package *package) {
  for (size_t i = 0; i < host->packages.count; i++)
    if (host->packages.items[i]->override_count)
      override_lists(host, host->packages.items[i], package);
  for (size_t r = 0; r < package->rule_count; r++) override_rule(host, &package->rules[r]);
}

// ---- validation ----

static bool known_input(const tm_rule_input *input) {
  static const char *const other_kinds[] = {"snapshots", "runs", "dumps", "trace"};
  for (size_t i = 0; i < TM_COUNT(other_kinds); i++)
    if (strcmp(input->kind, other_kinds[i]) == 0) return true;
  return tm_metric_is_told(input->metric) || tm_app_metric(input->metric)
         || tm_account_metric(input->metric) || tm_metric_group(input->metric) != TM_GROUP_COUNT;
}

// The platform's signal whose name shares the longest beginning with a mistyped one.
static const char *nearest_metric(const char *metric) {
  const char *best = "proc.rss";
  size_t best_length = 0;
  for (size_t s = 0; s < TM_SIGNAL_COUNT; s++) {
    const char *name = tm_signal_describe((tm_signal)s)->name;
    size_t n = 0;
    while (name[n] && name[n] == metric[n]) n++;
    if (n > best_length) {
      best_length = n;
      best = name;
    }
  }
  return best;
}

static tm_status validate(tm_rulehost *host, const tm_package *package) {
  for (size_t r = 0; r < package->rule_count; r++) {
    const tm_rule *rule = &package->rules[r];
    for (size_t i = 0; i < host->packages.count; i++) {
      const tm_package *other = host->packages.items[i];
      if (strcmp(other->name, package->name) != 0 && tm_package_rule(other, rule->id))
        return tm_fail(&host->ctx, TM_E_RULE, TM_NO_OFFSET,
                       "LOAD_DUPLICATE: %s: rule '%s' is declared in %s too", package->name,
                       rule->id, other->origin);
    }
    for (size_t i = 0; i < rule->input_count; i++)
      if (!known_input(&rule->inputs[i]))
        return tm_fail(&host->ctx, TM_E_RULE, TM_NO_OFFSET,
                       "LOAD_INPUT: %s: rule '%s': no signal is called '%s'; the nearest is '%s' "
                       "(tidemark help signals)",
                       package->name, rule->id, rule->inputs[i].metric,
                       nearest_metric(rule->inputs[i].metric));
  }
  return TM_OK;
}

typedef struct test_sum {
  size_t passed;
  char first[500];
} test_sum;

static void count_test(void *ud, const char *rule, const char *test, bool ok, const char *why) {
  test_sum *sum = ud;
  if (ok)
    sum->passed++;
  else if (!sum->first[0])
    snprintf(sum->first, sizeof sum->first, "%s: \"%s\": %s", rule, test, why);
}

// The tests run in a package of their own, so that what they leave in the file's locals does not go
// live.
static tm_status self_test(tm_rulehost *host, load_request *request) {
  test_sum sum = {0};
  tm_package *package = NULL;
  TM_TRY(tm_package_build(&host->ctx, request->name, request->origin, request->source,
                          request->size, &host->options.limits, &host->natives, &package));
  tm_status status = tm_host_test_package(&host->ctx, package, count_test, &sum);
  tm_package_free(package);
  request->report.tests = sum.passed;
  if (!sum.first[0]) return status;
  tm_ctx_clear(&host->ctx);
  return tm_fail(&host->ctx, TM_E_RULE, TM_NO_OFFSET, "LOAD_TEST: %s: %s", request->name,
                 sum.first);
}

// ---- the protocol ----

static tm_package *find_package(tm_rulehost *host, const char *name, size_t *out_index) {
  for (size_t i = 0; i < host->packages.count; i++)
    if (strcmp(host->packages.items[i]->name, name) == 0) {
      if (out_index) *out_index = i;
      return host->packages.items[i];
    }
  return NULL;
}

static void set_stale(tm_rulehost *host, const char *name, const char *problem) {
  for (size_t i = 0; i < host->stale.count; i++)
    if (strcmp(host->stale.items[i]->name, name) == 0) {
      free(host->stale.items[i]);
      host->stale.items[i] = host->stale.items[--host->stale.count];
      break;
    }
  if (!problem) return;
  stale_note *n = calloc(1, sizeof *n);
  if (!n) return;
  snprintf(n->name, sizeof n->name, "%s", name);
  snprintf(n->problem, sizeof n->problem, "%s", problem);
  if (tm_vec_push(&host->ctx, &host->stale, n) != TM_OK) free(n);
}

// Every package anew under the overrides there are: its lists, its contexts, and what the engine
// knows of its alerts.
static void override_all(tm_rulehost *host) {
  for (size_t i = 0; i < host->packages.count; i++) {
    tm_package *package = host->packages.items[i];
    apply_overrides(host, package);
    for (size_t r = 0; r < package->rule_count; r++)
      tm_host_post_policy(host, package, &package->rules[r], false);
  }
  tm_host_rebind_all(host);
}

static void swap(tm_rulehost *host, tm_package *old, size_t index, tm_package *package) {
  bool overrides = package->override_count || (old && old->override_count);
  if (old) tm_host_drop_overrides(host, old->name);
  read_overrides(host, package);
  apply_overrides(host, package);
  for (size_t r = 0; r < package->rule_count; r++)
    tm_host_post_policy(host, package, &package->rules[r], false);
  tm_host_bind_package(host, package, old);
  if (old) {
    for (size_t r = 0; r < old->rule_count; r++)
      if (!tm_package_rule(package, old->rules[r].id))
        tm_host_post_policy(host, old, &old->rules[r], true);
    tm_host_unbind_package(host, old);
    host->packages.items[index] = package;
  } else if (tm_vec_push(&host->ctx, &host->packages, package) != TM_OK) {
    tm_host_unbind_package(host, package);
    return;
  }
  if (overrides) override_all(host);
}

static tm_status load_locked(tm_rulehost *host, load_request *request) {
  size_t index = 0;
  tm_package *old = find_package(host, request->name, &index), *package = NULL;
  if (old && old->hash == XXH3_64bits(request->source, request->size)) {
    request->report.unchanged = true;
    request->report.rules = old->rule_count;
    set_stale(host, request->name, NULL);
    return TM_OK;
  }
  request->report.kept_old = old != NULL;
  TM_TRY(tm_package_build(&host->ctx, request->name, request->origin, request->source,
                          request->size, &host->options.limits, &host->natives, &package));
  tm_status status = validate(host, package);
  if (status == TM_OK && !host->options.skip_self_tests) status = self_test(host, request);
  if (status == TM_OK && old)
    status = tm_host_shadow(host, old, package, request->notes, sizeof request->notes);
  if (status != TM_OK) {
    tm_package_free(package);
    return status;
  }
  request->report.rules = package->rule_count;
  request->fields = fields_of(package);
  swap(host, old, index, package);
  set_stale(host, request->name, NULL);
  request->report.kept_old = false;
  return TM_OK;
}

static void free_request(load_request *request) {
  free(request->name);
  free(request->origin);
  free(request->source);
  free(request->fields);
  free(request);
}

static void deliver_report(void *arg) {
  load_request *request = arg;
  tm_load_report *report = &request->report;
  report->name = request->name;
  report->origin = request->origin;
  report->problem = request->problem;
  report->notes = request->notes;
  tm_engine *engine = request->engine;
  char text[900];
  if (request->unload) {
    snprintf(text, sizeof text, "%s is gone: %zu rule%s ended", report->name, report->rules,
             report->rules == 1 ? "" : "s");
    tm_engine_note(engine, TM_EVENT_RULE_UNLOADED, TM_LEVEL_INFO, report->name, "", text,
                   "{\"policies\":[]}");
  } else if (!report->ok) {
    snprintf(text, sizeof text, "%s%s", report->problem,
             report->kept_old ? " (the version before goes on running)" : "");
    tm_engine_note(engine, TM_EVENT_RULE_LOAD_FAILED, TM_LEVEL_WARN, report->name, "", text, "{}");
  } else if (!report->unchanged) {
    snprintf(text, sizeof text, "%s: %zu rule%s, %zu test%s passed, live after %.1f ms%s%.600s",
             report->name, report->rules, report->rules == 1 ? "" : "s", report->tests,
             report->tests == 1 ? "" : "s", (double)report->took_ns / 1e6,
             report->notes[0] ? "; " : "", report->notes);
    tm_engine_note(engine, TM_EVENT_RULE_LOADED, TM_LEVEL_INFO, report->name, "", text,
                   request->fields ? request->fields : "{}");
  }
  if (request->fn) request->fn(request->ud, report);
  free_request(request);
}

static void unload_locked(tm_rulehost *host, load_request *request) {
  size_t index = 0;
  tm_package *old = find_package(host, request->name, &index);
  if (!old) return;
  request->report.rules = old->rule_count;
  request->report.ok = true;
  for (size_t r = 0; r < old->rule_count; r++) tm_host_post_policy(host, old, &old->rules[r], true);
  bool overrides = old->override_count > 0;
  tm_host_drop_overrides(host, old->name);
  tm_host_unbind_package(host, old);
  memmove(host->packages.items + index, host->packages.items + index + 1,
          (host->packages.count - index - 1) * sizeof(tm_package *));
  host->packages.count--;
  if (overrides) override_all(host);
  set_stale(host, request->name, NULL);
}

static void on_load(tm_rulehost *host, void *arg) {
  load_request *request = arg;
  uint64_t start = tm_clock_mono_ns();
  pthread_mutex_lock(&host->state_lock);
  tm_ctx_clear(&host->ctx);
  tm_status status = TM_OK;
  if (request->unload)
    unload_locked(host, request);
  else
    status = load_locked(host, request);
  if (!request->unload) request->report.ok = status == TM_OK;
  if (status != TM_OK) {
    snprintf(request->problem, sizeof request->problem, "%s", host->ctx.error.message);
    if (request->report.kept_old) set_stale(host, request->name, request->problem);
  }
  tm_host_set_due(host);
  pthread_mutex_unlock(&host->state_lock);
  request->report.took_ns = tm_clock_mono_ns() - start;
  if (request->unload && !request->report.ok) // it was not there: nothing to tell
    free_request(request);
  else
    tm_host_post(host, deliver_report, request);
}

tm_status tm_rulehost_load(tm_rulehost *host, const char *name, const char *origin,
                           const char *source, size_t size, tm_load_fn fn, void *ud) {
  load_request *request = calloc(1, sizeof *request);
  if (!request) return tm_fail(host->owner, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %s", name);
  *request = (load_request){.engine = host->engine,
                            .name = strdup(name),
                            .origin = strdup(origin),
                            .size = size,
                            .fn = fn,
                            .ud = ud};
  request->source = malloc(size + 1);
  if (!request->name || !request->origin || !request->source) {
    free_request(request);
    return tm_fail(host->owner, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %s", name);
  }
  memcpy(request->source, source, size);
  request->source[size] = '\0';
  tm_host_tell(host, on_load, request);
  return TM_OK;
}

tm_status tm_rulehost_unload(tm_rulehost *host, const char *name) {
  load_request *request = calloc(1, sizeof *request);
  if (!request) return tm_fail(host->owner, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %s", name);
  *request = (load_request){.engine = host->engine, .name = strdup(name), .unload = true};
  if (!request->name) {
    free_request(request);
    return tm_fail(host->owner, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %s", name);
  }
  tm_host_tell(host, on_load, request);
  return TM_OK;
}
