// floors: engine
// Alerts beside a model: random findings, ticks, ends of the target and restarts, with random
// policies. The model keeps what it saw and looks back through it; the state machine keeps only
// clocks.
#include "alerts_rig.h"

enum { HISTORY = 128 };

typedef struct entry {
  int64_t time;
  tm_level level;
  double value;
} entry;

typedef struct model {
  tm_alert_state state, ended_state;
  tm_level level;
  int64_t pending_since, ended, level_since;
  bool has_ended;
  entry seen[HISTORY]; // since it fired
  size_t count, base;  // base: first entry that knows the present level
  size_t told;
} model;

static uint64_t seed;
static uint32_t pick(uint32_t n) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (uint32_t)(seed >> 33) % n;
}

static bool supports(const model *m, size_t index, double ratio) {
  const entry *e = &m->seen[index];
  if (e->level >= m->level) return true;
  double lowest = INFINITY;
  for (size_t i = m->base; i < index; i++)
    if (m->seen[i].level == m->level && m->seen[i].value < lowest) lowest = m->seen[i].value;
  return e->level != TM_LEVEL_NONE && isfinite(lowest) && e->value < lowest
         && e->value >= ratio * lowest;
}

// Since when nothing supported the level, or -1.
static int64_t model_below_since(const model *m, double ratio) {
  int64_t since = -1;
  for (size_t i = m->count; i-- > 0;) {
    bool before_level = i < m->base; // only what was seen last still speaks of the new level
    if (before_level ? m->seen[i].level >= m->level : supports(m, i, ratio)) return since;
    since = m->seen[i].time > m->level_since ? m->seen[i].time : m->level_since;
    if (before_level) return since;
  }
  return since;
}

static void model_settle(model *m, int64_t now, const tm_alert_policy *p) {
  int64_t linger = (int64_t)p->linger_ns, absent = -1;
  for (size_t i = m->count; i-- > 0 && m->seen[i].level == TM_LEVEL_NONE;) absent = m->seen[i].time;
  if (absent >= 0 && now - absent >= linger) {
    m->state = m->ended_state = TM_ALERT_RESOLVED;
    m->ended = now;
    m->has_ended = true;
    m->told++;
    return;
  }
  for (;;) {
    int64_t below = model_below_since(m, p->leave_ratio);
    if (below < 0 || now - below < linger || m->level == TM_LEVEL_INFO) return;
    m->level--;
    m->level_since = now;
    m->base = m->count;
  }
}

static void model_set_level(model *m, int64_t now, tm_level level) {
  m->level = level;
  m->level_since = now;
  m->base = m->count - 1;
  m->told++;
}

static void model_evaluate(model *m, int64_t now, entry e, const tm_alert_policy *p) {
  if (m->state == TM_ALERT_FIRING) {
    m->seen[m->count++] = e;
    if (e.level > m->level)
      model_set_level(m, now, e.level);
    else
      model_settle(m, now, p);
    return;
  }
  if (e.level == TM_LEVEL_NONE) {
    if (m->state != TM_ALERT_PENDING) return;
    bool listed = m->has_ended && now - m->ended < (int64_t)p->retain_ns;
    m->state = listed ? m->ended_state : TM_ALERT_INACTIVE;
    return;
  }
  if (m->state != TM_ALERT_PENDING) m->pending_since = now;
  m->state = TM_ALERT_PENDING;
  m->level = e.level;
  if (now - m->pending_since < (int64_t)p->hold_ns
      || (m->has_ended && now - m->ended < (int64_t)p->cooldown_ns))
    return;
  m->state = TM_ALERT_FIRING;
  m->seen[0] = e;
  m->count = 1;
  model_set_level(m, now, e.level);
}

static void model_tick(model *m, int64_t now, const tm_alert_policy *p) {
  if (m->state == TM_ALERT_FIRING)
    model_settle(m, now, p);
  else if (m->state >= TM_ALERT_RESOLVED && now - m->ended >= (int64_t)p->retain_ns)
    m->state = TM_ALERT_INACTIVE;
}

static void model_gone(model *m, int64_t now, const tm_alert_policy *p) {
  if (m->state == TM_ALERT_PENDING) {
    model_evaluate(m, now, (entry){.level = TM_LEVEL_NONE}, p);
  } else if (m->state == TM_ALERT_FIRING) {
    m->state = m->ended_state = TM_ALERT_GONE;
    m->ended = now;
    m->has_ended = true;
    m->told++;
  }
}

static void compare(rig *r, const model *models, const char *const *keys, int round, int64_t now) {
  size_t told = 0;
  for (size_t k = 0; k < 3; k++) {
    tm_alert a = alert_of(r, "r", keys[k]);
    const model *m = &models[k];
    bool active = m->state == TM_ALERT_PENDING || m->state == TM_ALERT_FIRING;
    if (a.state != m->state || (active && a.level != m->level))
      fail_msg("round %d, %" PRId64 " s, key %s: model %s:%s, alert %s:%s\n%s", round, now / S,
               keys[k], tm_alert_state_name(m->state), tm_level_name(m->level),
               tm_alert_state_name(a.state), tm_level_name(a.level), r->log);
    told += m->told;
  }
  assert_int_equal(r->told, told);
}

static const char *const model_keys[] = {"a", "b", ""};

static void evaluate_both(rig *r, model *models, int64_t now) {
  tm_finding f[3];
  size_t n = 0;
  for (size_t k = 0; k < 3; k++) {
    tm_level level = pick(3) ? (tm_level)pick(5) : TM_LEVEL_NONE;
    double value = 20 * level + pick(60);
    model_evaluate(&models[k], now, (entry){now, level, value}, &r->policy);
    if (level)
      f[n++] = (tm_finding){.key = model_keys[k], .level = level, .value = value, .text = ""};
  }
  evaluate(r, now / S, "r", f, n);
}

static void walk(const tm_alert_policy *policy, int round) {
  rig r;
  static model models[3];
  int64_t now = 0;
  memset(models, 0, sizeof models);
  open_rig(&r, policy);
  for (int i = 0; i < HISTORY - 2; i++) {
    uint32_t what = pick(20);
    now += (int64_t)pick(4) * S;
    if (what < 14) {
      evaluate_both(&r, models, now);
    } else if (what < 18) {
      for (size_t k = 0; k < 3; k++) model_tick(&models[k], now, policy);
      tm_alerts_tick(r.alerts, now);
    } else if (what < 19) {
      for (size_t k = 0; k < 3; k++) model_gone(&models[k], now, policy);
      tm_alerts_target_gone(r.alerts, now, "t");
    } else {
      reload(&r, now);
    }
    compare(&r, models, model_keys, round, now);
  }
  close_rig(&r);
}

static void agrees_with_a_model(void **state) {
  (void)state;
  static const uint64_t waits[] = {0, 1 * S, 3 * S, 10 * S, 30 * S};
  seed = 20231123;
  for (int round = 0; round < 400; round++) {
    tm_alert_policy policy = {.hold_ns = waits[pick(4)],
                              .linger_ns = waits[pick(5)],
                              .cooldown_ns = waits[pick(5)],
                              .retain_ns = waits[1 + pick(4)],
                              .leave_ratio = 0.8};
    walk(&policy, round);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_a_model)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
