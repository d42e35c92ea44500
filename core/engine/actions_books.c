// The books: what each rule did on each target, what it gained, and the sentence about an outcome.
// Linear searches: a ledger exists only for rules that act.
#include "base/units.h"
#include "engine/actions_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MIB (INT64_C(1) << 20)

char *tm_actions_copy_text(tm_ctx *ctx, const char *text) {
  if (!text) text = "";
  size_t size = strlen(text) + 1;
  char *copy = tm_alloc(ctx, size);
  return copy ? memcpy(copy, text, size) : NULL;
}

void tm_actions_free_text(tm_ctx *ctx, const char *text) {
  if (text) tm_free(ctx, (char *)text, strlen(text) + 1);
}

const ledger *tm_actions_find_ledger(const tm_actions *actions, const char *rule,
                                     const char *target) {
  for (size_t i = 0; i < actions->ledgers.count; i++) {
    const ledger *l = actions->ledgers.items[i];
    if (strcmp(l->rule, rule) == 0 && strcmp(l->target, target) == 0) return l;
  }
  return NULL;
}

static void free_ledger(tm_ctx *ctx, ledger *l) {
  for (size_t i = 0; i < l->trials.count; i++) tm_actions_free_text(ctx, l->trials.items[i].name);
  tm_vec_free(ctx, &l->trials);
  tm_actions_free_text(ctx, l->rule);
  tm_actions_free_text(ctx, l->target);
  tm_free(ctx, l, sizeof *l);
}

ledger *tm_actions_ledger(tm_actions *actions, const char *rule, const char *target) {
  ledger *l = (ledger *)tm_actions_find_ledger(actions, rule, target);
  if (l) return l;
  if (tm_vec_reserve(actions->ctx, &actions->ledgers, 1) != TM_OK) return NULL;
  l = tm_calloc(actions->ctx, 1, sizeof *l);
  if (!l) return NULL;
  l->rule = tm_actions_copy_text(actions->ctx, rule);
  l->target = tm_actions_copy_text(actions->ctx, target);
  if (!l->rule || !l->target) {
    free_ledger(actions->ctx, l);
    return NULL;
  }
  actions->ledgers.items[actions->ledgers.count++] = l;
  return l;
}

static trial *find_trial(const ledger *l, const char *name) {
  for (size_t i = 0; i < l->trials.count; i++)
    if (strcmp(l->trials.items[i].name, name) == 0) return &l->trials.items[i];
  return NULL;
}

trial *tm_actions_trial(tm_actions *actions, ledger *l, const char *name) {
  trial *t = find_trial(l, name);
  if (t) return t;
  if (tm_vec_reserve(actions->ctx, &l->trials, 1) != TM_OK) return NULL;
  char *copy = tm_actions_copy_text(actions->ctx, name);
  if (!copy) return NULL;
  t = &l->trials.items[l->trials.count++];
  *t = (trial){.name = copy};
  return t;
}

void tm_actions_drop_target(tm_actions *actions, const char *target) {
  size_t kept = 0;
  for (size_t i = 0; i < actions->ledgers.count; i++) {
    if (strcmp(actions->ledgers.items[i]->target, target) == 0)
      free_ledger(actions->ctx, actions->ledgers.items[i]);
    else
      actions->ledgers.items[kept++] = actions->ledgers.items[i];
  }
  actions->ledgers.count = kept;
  for (size_t i = 0; i < actions->evidences.count; i++)
    if (strcmp(actions->evidences.items[i].target, target) == 0) {
      tm_actions_free_text(actions->ctx, actions->evidences.items[i].target);
      actions->evidences.items[i] = actions->evidences.items[--actions->evidences.count];
      break;
    }
}

void tm_actions_drop_books(tm_actions *actions) {
  tm_ctx *ctx = actions->ctx;
  for (size_t i = 0; i < actions->ledgers.count; i++) free_ledger(ctx, actions->ledgers.items[i]);
  for (size_t i = 0; i < actions->evidences.count; i++)
    tm_actions_free_text(ctx, actions->evidences.items[i].target);
  for (size_t i = 0; i < actions->hashes.count; i++)
    tm_actions_free_text(ctx, actions->hashes.items[i].rule);
  tm_vec_free(ctx, &actions->ledgers);
  tm_vec_free(ctx, &actions->evidences);
  tm_vec_free(ctx, &actions->hashes);
}

// ---- verdicts ----

bool tm_actions_judge(tm_actions *actions, const run *r, int64_t gained_bytes) {
  const ledger *l = tm_actions_find_ledger(actions, r->call.rule, r->call.target);
  trial *t = l ? find_trial(l, r->call.name) : NULL;
  if (!t || r->action->def.unmeasured) return false;
  uint64_t percent = r->before.rss_bytes / 100;
  int64_t wanted = percent > INT64_MAX ? INT64_MAX : (int64_t)percent;
  if (wanted < MIB) wanted = MIB;
  if (gained_bytes >= wanted) {
    t->fruitless_count = 0;
    return false;
  }
  if (++t->fruitless_count < 2 || t->disabled) return false;
  char gained[32], least[32];
  tm_format_value(gained, sizeof gained, TM_UNIT_BYTES, (double)gained_bytes);
  tm_format_value(least, sizeof least, TM_UNIT_BYTES, (double)wanted);
  t->disabled = true;
  snprintf(t->why, sizeof t->why,
           "it gained nothing twice in a row (last %s, at least %s wanted): disabled until it is "
           "enabled again or the rule changes",
           gained, least);
  return true;
}

const char *tm_actions_disabled_why(const tm_actions *actions, const char *rule, const char *target,
                                    const char *name) {
  const ledger *l = tm_actions_find_ledger(actions, rule, target);
  const trial *t = l ? find_trial(l, name) : NULL;
  return t && t->disabled ? t->why : NULL;
}

size_t tm_actions_enable(tm_actions *actions, const char *rule, const char *target,
                         const char *name) {
  size_t count = 0;
  for (size_t i = 0; i < actions->ledgers.count; i++) {
    ledger *l = actions->ledgers.items[i];
    if ((rule && strcmp(l->rule, rule) != 0) || (target && strcmp(l->target, target) != 0))
      continue;
    for (size_t k = 0; k < l->trials.count; k++) {
      trial *t = &l->trials.items[k];
      if (name && strcmp(t->name, name) != 0) continue;
      count += t->disabled;
      t->disabled = false;
      t->fruitless_count = 0;
    }
  }
  return count;
}

tm_status tm_actions_rule_loaded(tm_actions *actions, const char *rule, uint64_t hash) {
  for (size_t i = 0; i < actions->hashes.count; i++) {
    rule_hash *h = &actions->hashes.items[i];
    if (strcmp(h->rule, rule) != 0) continue;
    if (h->hash != hash) tm_actions_enable(actions, rule, NULL, NULL);
    h->hash = hash;
    return TM_OK;
  }
  TM_TRY(tm_vec_reserve(actions->ctx, &actions->hashes, 1));
  char *copy = tm_actions_copy_text(actions->ctx, rule);
  if (!copy) return TM_E_NOMEM;
  actions->hashes.items[actions->hashes.count++] = (rule_hash){copy, hash};
  return TM_OK;
}

// ---- sentences ----

const char *tm_action_outcome_name(tm_action_outcome outcome) {
  static const char *const names[] = {"done",    "failed",   "denied",  "dry_run",
                                      "limited", "disabled", "timeout", "measured"};
  return (size_t)outcome < TM_COUNT(names) ? names[outcome] : "unknown";
}

static void describe_gain(const tm_action_record *r, char *buf, size_t size) {
  char before[32], after[32], gained[32];
  bool lost = r->gained_bytes < 0;
  double amount = (double)r->gained_bytes;
  tm_format_value(before, sizeof before, TM_UNIT_BYTES, (double)r->before.rss_bytes);
  tm_format_value(after, sizeof after, TM_UNIT_BYTES, (double)r->after.rss_bytes);
  tm_format_value(gained, sizeof gained, TM_UNIT_BYTES, lost ? -amount : amount);
  snprintf(buf, size, "%s on %s: RSS %s -> %s (%s %s)%s%s", r->name, r->target, before, after,
           lost ? "lost" : "gained", gained, r->disabled ? "; " : "",
           r->disabled ? r->message : "");
}

const char *tm_action_describe(const tm_action_record *r, char *buf, size_t size) {
  static const char *const words[] = {"done",      "failed",   "denied",    "dry run",
                                      "held back", "disabled", "timed out", "measured"};
  if (r->outcome == TM_ACTION_MEASURED && r->has_after) {
    describe_gain(r, buf, size);
    return buf;
  }
  const char *word = (size_t)r->outcome < TM_COUNT(words) ? words[r->outcome] : "unknown";
  char took[48] = "";
  if (r->started_ns && r->finished_ns) {
    char time[32];
    tm_format_value(time, sizeof time, TM_UNIT_NS,
                    (double)elapsed_ns(r->finished_ns, r->started_ns));
    snprintf(took, sizeof took, " after %s", time);
  }
  snprintf(buf, size, "%s on %s for %s: %s%s%s%s", r->name, r->target, r->rule, word, took,
           *r->message ? ": " : "", r->message);
  return buf;
}
