// The state machine. An evaluation first gives every finding to its alert (`incoming`), then steps
// every alert of that rule and target once, with its finding or with none; a tick steps the clocks
// alone. Transitions are queued and delivered when the books are in order, so that the callback may
// call back. Room in the queue is made before anything changes: no memory, no half step.
// An evaluation costs its findings times the alerts of the pair (both capped by the policy's
// limit).
#include "engine/alerts_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *tm_alert_state_name(tm_alert_state state) {
  static const char *const names[] = {"inactive", "pending", "firing", "resolved", "gone"};
  return (size_t)state < TM_COUNT(names) ? names[state] : "unknown";
}

static bool is_active(const alert *a) {
  return a->view.state == TM_ALERT_PENDING || a->view.state == TM_ALERT_FIRING;
}

static const tm_alert_policy *policy_of(const alert *a) {
  return &a->pair->rule->policy;
}

// ---- delivery ----

static void set_now(tm_alerts *alerts, int64_t now_ns) {
  if (now_ns > alerts->now_ns) alerts->now_ns = now_ns; // wall clocks are set back, alerts are not
}

static void deliver(tm_alerts *alerts) {
  if (alerts->delivering) return;
  alerts->delivering = true;
  for (size_t i = 0; i < alerts->queue.count; i++) {
    tm_alert_transition t = alerts->queue.items[i];
    tm_alerts_refresh(alerts, (alert *)t.alert); // the view is its first member
    alerts->fn(alerts->ud, &t);
  }
  alerts->queue.count = 0;
  alerts->delivering = false;
}

// Whether somebody is to be told of a firing alert now; what is muted is counted once per level.
static bool tell(tm_alerts *alerts, alert *a) {
  uint64_t repeat_ns = policy_of(a)->repeat_ns;
  bool rose = a->view.level > a->told_level;
  if (a->view.level < a->told_level) a->told_level = a->view.level;
  if (!rose && !(repeat_ns && elapsed_ns(alerts->now_ns, a->view.told_ns) >= repeat_ns))
    return false;
  if (tm_alerts_refresh(alerts, a)) {
    if (a->view.level > a->muted_level) {
      a->muted_level = a->view.level;
      alerts->stats.muted_count++;
    }
    return false;
  }
  a->told_level = a->view.level;
  a->view.told_ns = alerts->now_ns;
  return true;
}

typedef struct before {
  tm_alert_state state;
  tm_level level;
} before;

static before look(const alert *a) {
  return (before){a->view.state, is_active(a) ? a->view.level : TM_LEVEL_NONE};
}

// Queues what happened since `from`, if anything did.
static void commit(tm_alerts *alerts, alert *a, before from) {
  before to = look(a);
  bool notify = false;
  if (to.state == TM_ALERT_FIRING) {
    notify = tell(alerts, a);
  } else if (from.state == TM_ALERT_FIRING) {
    notify = a->told_level != TM_LEVEL_NONE; // whoever heard of it hears of its end
    a->told_level = TM_LEVEL_NONE;
  }
  if (to.state != from.state) a->view.since_ns = alerts->now_ns;
  bool level_changed = to.state == TM_ALERT_FIRING && to.level != from.level;
  if (to.state == from.state && !level_changed && !notify) return;
  if (notify) alerts->stats.told_count++;
  if (!alerts->fn || alerts->queue.count == alerts->queue.room) return;
  alerts->queue.items[alerts->queue.count++] = (tm_alert_transition){
      &a->view, from.state, to.state, from.level, to.level, alerts->now_ns, notify};
}

// ---- steps ----

static void end(tm_alerts *alerts, alert *a, tm_alert_state state) {
  a->pair->firing_count--;
  a->view.state = a->ended_state = state;
  a->view.ended_ns = alerts->now_ns;
  a->ended_level = a->view.level;
  a->has_ended = true;
}

// A pending alert that did not come true is again what it was.
static void withdraw(tm_alerts *alerts, alert *a) {
  bool listed =
      a->has_ended && elapsed_ns(alerts->now_ns, a->view.ended_ns) < policy_of(a)->retain_ns;
  a->view.state = listed ? a->ended_state : TM_ALERT_INACTIVE;
  a->view.level = listed ? a->ended_level : TM_LEVEL_NONE;
}

static void fire_when_due(tm_alerts *alerts, alert *a) {
  if (elapsed_ns(alerts->now_ns, a->view.pending_since_ns) < policy_of(a)->hold_ns
      || alert_is_cooling(a, alerts->now_ns))
    return;
  a->pair->firing_count++;
  a->view.state = TM_ALERT_FIRING;
  a->view.fired_ns = alerts->now_ns;
  a->view.peak_level = a->seen_level = a->view.level;
  a->told_level = a->muted_level = TM_LEVEL_NONE;
  a->lowest_value = a->view.value;
  a->below = false;
}

// Whether a finding of a lower level stands so near under the present one that the level is kept.
static bool in_dead_band(const alert *a, double value) {
  double begin = a->lowest_value;
  return begin > 0 && isfinite(begin) && value < begin
         && value >= begin * policy_of(a)->leave_ratio;
}

static void start_below(tm_alerts *alerts, alert *a) {
  if (!a->below) a->below_since_ns = alerts->now_ns;
  a->below = true;
}

// What an evaluation says of a firing alert: it rises at once, and only starts to fall.
static void follow(tm_alerts *alerts, alert *a, const tm_finding *f) {
  if (!f) {
    if (a->seen_level != TM_LEVEL_NONE) a->absent_since_ns = alerts->now_ns;
    a->seen_level = TM_LEVEL_NONE;
    start_below(alerts, a);
    return;
  }
  a->seen_level = f->level;
  if (f->level > a->view.level) {
    a->view.level = f->level;
    a->lowest_value = f->value;
    a->below = false;
  } else if (f->level == a->view.level) {
    a->lowest_value = fmin(a->lowest_value, f->value); // a NAN gives way to the other
    a->below = false;
  } else if (in_dead_band(a, f->value)) {
    a->below = false;
  } else {
    start_below(alerts, a);
  }
  if (a->view.level > a->view.peak_level) a->view.peak_level = a->view.level;
}

// The clocks of a firing alert.
static void settle(tm_alerts *alerts, alert *a) {
  uint64_t linger_ns = policy_of(a)->linger_ns;
  if (a->seen_level == TM_LEVEL_NONE
      && elapsed_ns(alerts->now_ns, a->absent_since_ns) >= linger_ns) {
    end(alerts, a, TM_ALERT_RESOLVED);
    return;
  }
  while (a->below && a->view.level > TM_LEVEL_INFO
         && elapsed_ns(alerts->now_ns, a->below_since_ns) >= linger_ns) {
    a->view.level--;
    a->lowest_value = NAN;
    a->below = a->view.level > a->seen_level;
    a->below_since_ns = alerts->now_ns;
  }
}

static void take(tm_alerts *alerts, alert *a, const tm_finding *f, tm_status *status) {
  a->view.value = f->value;
  a->view.unit = f->unit;
  a->view.last_seen_ns = alerts->now_ns;
  a->view.evaluations_count++;
  tm_status copied = tm_alerts_set_text(alerts, a, f->text, f->evidence_json);
  if (*status == TM_OK) *status = copied;
}

static void step(tm_alerts *alerts, alert *a, const tm_finding *f, tm_status *status) {
  before from = look(a);
  if (!f && !is_active(a)) return;
  if (!is_active(a)) {
    a->view.state = TM_ALERT_PENDING;
    a->view.pending_since_ns = alerts->now_ns;
    a->view.evaluations_count = 0;
    a->forget = false;
  }
  if (f) take(alerts, a, f, status);
  if (a->view.state == TM_ALERT_FIRING) {
    follow(alerts, a, f);
    settle(alerts, a);
  } else if (!f) {
    withdraw(alerts, a);
  } else {
    a->view.level = f->level;
    fire_when_due(alerts, a);
  }
  commit(alerts, a, from);
}

// ---- evaluation ----

typedef struct more {
  uint64_t count;
  tm_finding finding;
  char text[160];
} more;

static bool counts(const alert *a) {
  return (a->incoming || is_active(a)) && strcmp(a->key, TM_ALERT_MORE_KEY) != 0;
}

// Gives one finding to its alert; past the limit it only counts into `rest`.
static tm_status give(tm_alerts *alerts, pair *p, const tm_finding *f, size_t *taken, more *rest) {
  const char *key = f->key ? f->key : "";
  alert *a = tm_alerts_find_alert(p, key);
  if (!a || !counts(a)) {
    if (*taken >= p->rule->policy.limit) {
      rest->count++;
      if (rest->count == 1 || f->level > rest->finding.level) rest->finding.level = f->level;
      return TM_OK;
    }
    if (!a) a = tm_alerts_make_alert(alerts, p, key);
    if (!a) return TM_E_NOMEM;
    ++*taken;
  }
  if (!a->incoming || f->level > a->incoming->level) a->incoming = f;
  return TM_OK;
}

// One alert stands for all that were too many.
static tm_status give_rest(tm_alerts *alerts, pair *p, more *rest) {
  if (!rest->count) return TM_OK;
  alerts->stats.overflowed_count += rest->count;
  snprintf(rest->text, sizeof rest->text,
           "%" PRIu64 " more findings are not shown: the limit is %" PRIu32 " per target",
           rest->count, p->rule->policy.limit);
  rest->finding.value = (double)rest->count;
  rest->finding.unit = TM_UNIT_COUNT;
  rest->finding.text = rest->text;
  alert *a = tm_alerts_find_alert(p, TM_ALERT_MORE_KEY);
  if (!a) a = tm_alerts_make_alert(alerts, p, TM_ALERT_MORE_KEY);
  if (!a) return TM_E_NOMEM;
  a->incoming = &rest->finding;
  return TM_OK;
}

static tm_status give_all(tm_alerts *alerts, pair *p, const tm_finding *findings, size_t n,
                          more *rest) {
  tm_status status = TM_OK;
  size_t taken = 0;
  for (size_t i = 0; i < p->alerts.count; i++) taken += counts(p->alerts.items[i]);
  for (size_t i = 0; i < n; i++) {
    if (findings[i].level <= TM_LEVEL_NONE || findings[i].level > TM_LEVEL_FAIL) continue;
    tm_status given = give(alerts, p, &findings[i], &taken, rest);
    if (status == TM_OK) status = given;
  }
  tm_status given = give_rest(alerts, p, rest);
  return status == TM_OK ? given : status;
}

static void forget(tm_alerts *alerts, alert *a) {
  before from = look(a);
  a->view.state = TM_ALERT_INACTIVE;
  commit(alerts, a, from);
}

// Ended alerts are remembered up to the limit too: keys that never come back must not pile up.
static void forget_oldest(tm_alerts *alerts, pair *p) {
  for (;;) {
    alert *oldest = NULL;
    size_t ended = 0;
    for (size_t i = 0; i < p->alerts.count; i++) {
      alert *a = p->alerts.items[i];
      if (is_active(a) || a->forget || !a->has_ended) continue;
      ended++;
      if (!oldest || a->view.ended_ns < oldest->view.ended_ns) oldest = a;
    }
    if (ended <= p->rule->policy.limit) return;
    oldest->forget = true;
    forget(alerts, oldest);
  }
}

static bool says_something(const tm_finding *findings, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (findings[i].level > TM_LEVEL_NONE && findings[i].level <= TM_LEVEL_FAIL) return true;
  return false;
}

tm_status tm_alerts_evaluate(tm_alerts *alerts, int64_t now_ns, const char *rule,
                             const char *target, const tm_finding *findings, size_t n) {
  set_now(alerts, now_ns);
  alerts->stats.evaluations_count++;
  pair *p = tm_alerts_find_pair(alerts, rule, target);
  if (!p) {
    if (!says_something(findings, n)) return TM_OK;
    p = tm_alerts_make_pair(alerts, rule, target);
    if (!p) return TM_E_NOMEM;
  }
  size_t fresh = n < p->rule->policy.limit ? n : p->rule->policy.limit;
  TM_TRY(tm_vec_reserve(alerts->ctx, &alerts->queue, 2 * (p->alerts.count + fresh + 1)));
  more rest = {0};
  tm_status status = give_all(alerts, p, findings, n, &rest);
  for (size_t i = 0; i < p->alerts.count; i++) {
    alert *a = p->alerts.items[i];
    const tm_finding *f = a->incoming;
    a->incoming = NULL;
    step(alerts, a, f, &status);
  }
  forget_oldest(alerts, p);
  bool outermost = !alerts->delivering;
  deliver(alerts);
  if (outermost) tm_alerts_sweep_pair(alerts, p);
  return status;
}

// ---- time, targets, rules ----

static size_t count_alerts(const tm_alerts *alerts) {
  size_t count = 0;
  for (size_t i = 0; i < alerts->pairs.count; i++) count += alerts->pairs.items[i]->alerts.count;
  return count;
}

// Room for one transition of every alert. These callers cannot fail: without memory a tick is put
// off, and an end happens all the same, untold.
static bool reserve_for_all(tm_alerts *alerts) {
  bool clean = alerts->ctx->error.status == TM_OK;
  if (tm_vec_reserve(alerts->ctx, &alerts->queue, count_alerts(alerts)) == TM_OK) return true;
  if (clean) tm_ctx_clear(alerts->ctx);
  return false;
}

static void tick_alert(tm_alerts *alerts, alert *a) {
  before from = look(a);
  if (from.state == TM_ALERT_FIRING) {
    settle(alerts, a);
    commit(alerts, a, from);
  } else if ((from.state == TM_ALERT_RESOLVED || from.state == TM_ALERT_GONE)
             && elapsed_ns(alerts->now_ns, a->view.ended_ns) >= policy_of(a)->retain_ns) {
    forget(alerts, a);
  }
}

static void finish(tm_alerts *alerts) {
  bool outermost = !alerts->delivering;
  deliver(alerts);
  if (outermost) tm_alerts_sweep(alerts);
}

void tm_alerts_tick(tm_alerts *alerts, int64_t now_ns) {
  set_now(alerts, now_ns);
  tm_alerts_drop_expired_silences(alerts);
  if (!alerts->pairs.count || !reserve_for_all(alerts)) return;
  for (size_t i = 0; i < alerts->pairs.count; i++) {
    pair *p = alerts->pairs.items[i];
    for (size_t k = 0; k < p->alerts.count; k++) tick_alert(alerts, p->alerts.items[k]);
  }
  finish(alerts);
}

static void end_pair(tm_alerts *alerts, pair *p, tm_alert_state state) {
  for (size_t i = 0; i < p->alerts.count; i++) {
    alert *a = p->alerts.items[i];
    before from = look(a);
    if (from.state == TM_ALERT_FIRING)
      end(alerts, a, state);
    else if (from.state == TM_ALERT_PENDING)
      withdraw(alerts, a);
    commit(alerts, a, from);
  }
}

void tm_alerts_target_gone(tm_alerts *alerts, int64_t now_ns, const char *target) {
  set_now(alerts, now_ns);
  reserve_for_all(alerts);
  for (size_t i = 0; i < alerts->pairs.count; i++)
    if (strcmp(alerts->pairs.items[i]->target, target) == 0)
      end_pair(alerts, alerts->pairs.items[i], TM_ALERT_GONE);
  finish(alerts);
}

void tm_alerts_rule_removed(tm_alerts *alerts, int64_t now_ns, const char *rule) {
  set_now(alerts, now_ns);
  reserve_for_all(alerts);
  for (size_t i = 0; i < alerts->pairs.count; i++)
    if (strcmp(alerts->pairs.items[i]->rule->id, rule) == 0)
      end_pair(alerts, alerts->pairs.items[i], TM_ALERT_RESOLVED);
  finish(alerts);
}

// ---- questions ----

bool tm_alerts_is_firing(const tm_alerts *alerts, const char *rule, const char *target) {
  const pair *p = tm_alerts_find_pair(alerts, rule, target);
  return p && p->firing_count > 0;
}

bool tm_alerts_busy(const tm_alerts *alerts) {
  return alerts && alerts->pairs.count > 0;
}

void tm_alerts_each(tm_alerts *alerts, tm_alert_each_fn fn, void *ud) {
  for (size_t i = 0; i < alerts->pairs.count; i++) {
    pair *p = alerts->pairs.items[i];
    for (size_t k = 0; k < p->alerts.count; k++) {
      alert *a = p->alerts.items[k];
      if (a->view.state == TM_ALERT_INACTIVE) continue;
      tm_alerts_refresh(alerts, a);
      if (!fn(ud, &a->view)) return;
    }
  }
}

tm_alerts_stats tm_alerts_get_stats(const tm_alerts *alerts) {
  tm_alerts_stats stats = alerts->stats;
  for (size_t i = 0; i < alerts->pairs.count; i++)
    for (size_t k = 0; k < alerts->pairs.items[i]->alerts.count; k++) {
      tm_alert_state state = alerts->pairs.items[i]->alerts.items[k]->view.state;
      stats.pending_count += state == TM_ALERT_PENDING;
      stats.firing_count += state == TM_ALERT_FIRING;
      stats.ended_count += state == TM_ALERT_RESOLVED || state == TM_ALERT_GONE;
    }
  return stats;
}
