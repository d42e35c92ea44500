// One rule "r" and one target "t" under a virtual clock, with a log of transitions.
#ifndef TM_SPEC_ALERTS_RIG_H
#define TM_SPEC_ALERTS_RIG_H

#include "engine/alerts.h"
#include "unit.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S INT64_C(1000000000)

typedef struct rig {
  tm_ctx ctx;
  tm_alerts *alerts;
  tm_alert_policy policy;
  char log[8000]; // of transitions
  size_t told;
} rig;

static inline void on_transition(void *ud, const tm_alert_transition *t) {
  rig *r = ud;
  size_t used = strlen(r->log);
  if (used + 120 < sizeof r->log)
    snprintf(r->log + used, sizeof r->log - used, "%" PRId64 " %s%s%s %s:%s>%s:%s%s\n",
             t->time_ns / S, t->alert->rule, *t->alert->key ? "/" : "", t->alert->key,
             tm_alert_state_name(t->from_state), tm_level_name(t->from_level),
             tm_alert_state_name(t->to_state), tm_level_name(t->to_level), t->notify ? " !" : "");
  r->told += t->notify;
}

static inline void open_rig(rig *r, const tm_alert_policy *policy) {
  *r = (rig){0};
  tm_ctx_init(&r->ctx, NULL);
  assert_int_equal(tm_alerts_new(&r->ctx, on_transition, r, &r->alerts), TM_OK);
  if (policy) r->policy = *policy;
  assert_int_equal(tm_alerts_policy(r->alerts, "r", &r->policy), TM_OK);
}

static inline void close_rig(rig *r) {
  tm_alerts_free(r->alerts);
  tm_ctx_fini(&r->ctx);
}

// The alerts go through bytes and go on as if nothing had been.
static inline void reload(rig *r, int64_t now_ns) {
  tm_bytes blob = {0};
  assert_int_equal(tm_alerts_save(r->alerts, &blob), TM_OK);
  tm_alerts_free(r->alerts);
  assert_int_equal(tm_alerts_new(&r->ctx, on_transition, r, &r->alerts), TM_OK);
  assert_int_equal(tm_alerts_policy(r->alerts, "r", &r->policy), TM_OK);
  assert_int_equal(tm_alerts_load(r->alerts, now_ns, blob.data, blob.size), TM_OK);
  tm_bytes_free(&r->ctx, &blob);
}

static inline void evaluate(rig *r, int64_t now_s, const char *rule, const tm_finding *findings,
                            size_t n) {
  assert_int_equal(tm_alerts_evaluate(r->alerts, now_s * S, rule, "t", findings, n), TM_OK);
}

static inline void see(rig *r, int64_t now_s, const char *rule, tm_level level) {
  tm_finding f = {.key = "", .level = level, .value = NAN, .text = "text"};
  evaluate(r, now_s, rule, &f, level != TM_LEVEL_NONE);
}

typedef struct wanted {
  const char *rule, *key;
  tm_alert found; // its strings stay valid until the next change
  size_t count;
} wanted;

static inline bool find(void *ud, const tm_alert *alert) {
  wanted *w = ud;
  if (strcmp(alert->rule, w->rule) != 0 || strcmp(alert->key, w->key) != 0
      || strcmp(alert->target, "t") != 0)
    return true;
  w->found = *alert;
  w->count++;
  return true;
}

static inline tm_alert alert_of(rig *r, const char *rule, const char *key) {
  wanted w = {.rule = rule, .key = key};
  tm_alerts_each(r->alerts, find, &w);
  assert_true(w.count <= 1);
  return w.found;
}

static inline bool count_all(void *ud, const tm_alert *alert) {
  assert_true(alert->state != TM_ALERT_INACTIVE);
  ++*(size_t *)ud;
  return true;
}

static inline size_t alert_count(rig *r) {
  size_t count = 0;
  tm_alerts_each(r->alerts, count_all, &count);
  return count;
}

#endif
