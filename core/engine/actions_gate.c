// May it run? The order is that of the answers' usefulness: no such action, no right, no verdict
// against it, no proof, too often, too many.
#include "base/glob.h"
#include "base/units.h"
#include "engine/actions_impl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define EVIDENCE_WINDOW_NS (30 * SECOND_NS)
#define HOUR_NS            (3600 * SECOND_NS)

// ---- grants ----

tm_status tm_actions_grant(tm_actions *actions, const char *package, const char *capability) {
  TM_TRY(tm_vec_reserve(actions->ctx, &actions->grants, 1));
  grant g = {tm_actions_copy_text(actions->ctx, package),
             tm_actions_copy_text(actions->ctx, capability)};
  if (!g.package || !g.capability) {
    tm_actions_free_text(actions->ctx, g.package);
    tm_actions_free_text(actions->ctx, g.capability);
    return TM_E_NOMEM;
  }
  actions->grants.items[actions->grants.count++] = g;
  return TM_OK;
}

void tm_actions_revoke_all(tm_actions *actions) {
  for (size_t i = 0; i < actions->grants.count; i++) {
    tm_actions_free_text(actions->ctx, actions->grants.items[i].package);
    tm_actions_free_text(actions->ctx, actions->grants.items[i].capability);
  }
  actions->grants.count = 0;
}

bool tm_actions_granted(const tm_actions *actions, const char *package, const char *capability) {
  if (strncmp(capability, "take:", 5) == 0) return true; // looking changes nothing
  for (size_t i = 0; i < actions->grants.count; i++)
    if (tm_glob(actions->grants.items[i].package, package)
        && tm_glob(actions->grants.items[i].capability, capability))
      return true;
  return false;
}

// ---- evidence ----

tm_status tm_actions_note_evidence(tm_actions *actions, int64_t now_ns, const char *target) {
  for (size_t i = 0; i < actions->evidences.count; i++)
    if (strcmp(actions->evidences.items[i].target, target) == 0) {
      actions->evidences.items[i].time_ns = now_ns;
      return TM_OK;
    }
  TM_TRY(tm_vec_reserve(actions->ctx, &actions->evidences, 1));
  char *copy = tm_actions_copy_text(actions->ctx, target);
  if (!copy) return TM_E_NOMEM;
  actions->evidences.items[actions->evidences.count++] = (evidence){copy, now_ns};
  return TM_OK;
}

static bool has_fresh_evidence(const tm_actions *actions, int64_t now_ns, const char *target) {
  for (size_t i = 0; i < actions->evidences.count; i++) {
    const evidence *e = &actions->evidences.items[i];
    if (strcmp(e->target, target) == 0) return elapsed_ns(now_ns, e->time_ns) <= EVIDENCE_WINDOW_NS;
  }
  return false;
}

// ---- the gate ----

static TM_PRINTF(3, 4) tm_action_outcome
    refuse(tm_action_outcome outcome, char *why, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(why, WHY_SIZE, fmt, args);
  va_end(args);
  return outcome;
}

static uint32_t runs_of_last_hour(const ledger *l, int64_t now_ns) {
  uint64_t kept = l->run_count < PER_HOUR_MAX ? l->run_count : PER_HOUR_MAX;
  uint32_t count = 0;
  for (uint64_t i = 0; i < kept; i++) count += elapsed_ns(now_ns, l->runs_ns[i]) < HOUR_NS;
  return count;
}

static tm_action_outcome check_rates(const tm_actions *actions, int64_t now_ns,
                                     const tm_action_request *request, const ledger *l,
                                     const trial *t, char *why) {
  uint64_t since_ns = elapsed_ns(now_ns, t->last_run_ns);
  if (t->has_run && since_ns < request->cooldown_ns) {
    char wait[32];
    tm_format_value(wait, sizeof wait, TM_UNIT_NS, (double)(request->cooldown_ns - since_ns));
    return refuse(TM_ACTION_LIMITED, why, "its cooldown lasts another %s", wait);
  }
  if (runs_of_last_hour(l, now_ns) >= actions->options.max_per_hour)
    return refuse(TM_ACTION_LIMITED, why,
                  "%" PRIu32 " actions of this rule on this target in one hour are the limit",
                  actions->options.max_per_hour);
  if (actions->running_count >= actions->options.max_running && actions->queued_count >= QUEUE_MAX)
    return refuse(TM_ACTION_LIMITED, why, "%d actions wait already", QUEUE_MAX);
  return TM_ACTION_DONE;
}

tm_action_outcome tm_actions_gate(const tm_actions *actions, int64_t now_ns,
                                  const tm_action_request *request, const action *def,
                                  const ledger *l, const trial *t, char *why) {
  why[0] = '\0';
  if (!def)
    return refuse(TM_ACTION_FAILED, why, "there is no action of this name; see `tidemark doctor`");
  if (!tm_actions_granted(actions, request->package, def->def.capability))
    return refuse(TM_ACTION_DENIED, why, "%.60s is not granted to %.60s", def->def.capability,
                  *request->package ? request->package : "rules without a package");
  if (t->disabled) return refuse(TM_ACTION_DISABLED, why, "%s", t->why);
  if (def->def.kill_like && !request->confirm)
    return refuse(TM_ACTION_DENIED, why,
                  "it may end the target: the rule has to say confirm = true");
  if (def->def.kill_like && !has_fresh_evidence(actions, now_ns, request->target))
    return refuse(TM_ACTION_DENIED, why,
                  "it may end the target: evidence has to be taken in the 30 s before");
  return check_rates(actions, now_ns, request, l, t, why);
}
