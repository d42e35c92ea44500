// What alerts.c (the state machine), alerts_mute.c (silences, inhibition) and alerts_save.c share.
#ifndef TM_ENGINE_ALERTS_IMPL_H
#define TM_ENGINE_ALERTS_IMPL_H

#include "base/vec.h"
#include "engine/alerts.h"

enum { ALERT_LIMIT_MAX = 1000, ALERTS_OF_PAIR_MAX = 2 * ALERT_LIMIT_MAX + 2 };

typedef struct rule_policy {
  char *id;
  tm_alert_policy policy; // defaults filled in; inhibits point into the copies below
  char **inhibits;
} rule_policy;

typedef struct alert alert;

// One rule on one target, while it has alerts.
typedef struct pair {
  struct pair *next; // in its bucket
  uint64_t hash;     // of rule and target
  rule_policy *rule;
  char *target;
  TM_VEC(alert *) alerts;
  size_t firing_count;
} pair;

struct alert {
  tm_alert view;
  pair *pair;
  char *key;
  tm_bytes text, evidence;    // with their NUL
  const tm_finding *incoming; // of the evaluation under way
  tm_level seen_level;        // of the last evaluation; NONE = absent
  tm_level told_level;        // somebody was told of; NONE = nobody
  tm_level muted_level;       // withheld and counted
  tm_level ended_level;       // when it last ended
  tm_alert_state ended_state; // RESOLVED or GONE
  int64_t below_since_ns;     // of `below`
  int64_t absent_since_ns;    // of seen_level NONE
  double lowest_value;        // that its level was reported with: where the level begins
  bool below;                 // below its level: the linger clock runs
  bool has_ended;             // ended_* and view.ended_ns say something
  bool forget;                // to be freed, whatever the cooldown says
};

typedef struct silence {
  tm_silence view;
  char *texts[4]; // rule, target, key, why
} silence;

struct tm_alerts {
  tm_ctx *ctx;
  tm_alert_fn fn;
  void *ud;
  tm_target_namer_fn namer;
  void *namer_ud;
  int64_t now_ns;
  TM_VEC(rule_policy *) rules;
  TM_VEC(pair *) pairs; // in order of appearance
  pair **buckets;
  size_t bucket_count; // a power of two, or 0
  TM_VEC(silence) silences;
  uint64_t last_silence_id;
  TM_VEC(tm_alert_transition) queue; // to be delivered
  bool delivering;
  tm_alerts_stats stats;
};

// Time that passed, 0 when the clock stands before `since`.
static inline uint64_t elapsed_ns(int64_t now_ns, int64_t since_ns) {
  return now_ns > since_ns ? (uint64_t)now_ns - (uint64_t)since_ns : 0;
}

// A copy of text on the ctx's allocator, freed by tm_alerts_free_text.
char *tm_alerts_copy_text(tm_ctx *ctx, const char *text);
void tm_alerts_free_text(tm_ctx *ctx, char *text);

// The pair of a rule and a target; found, or made (NULL: no memory).
pair *tm_alerts_find_pair(const tm_alerts *alerts, const char *rule, const char *target);
pair *tm_alerts_make_pair(tm_alerts *alerts, const char *rule, const char *target);

// The alert of a key; found, or made inactive (NULL: no memory).
alert *tm_alerts_find_alert(const pair *p, const char *key);
alert *tm_alerts_make_alert(tm_alerts *alerts, pair *p, const char *key);
tm_status tm_alerts_set_text(tm_alerts *alerts, alert *a, const char *text, const char *evidence);
void tm_alerts_drop_all(tm_alerts *alerts);
void tm_alerts_sweep_pair(tm_alerts *alerts, pair *p); // frees what is over
void tm_alerts_sweep(tm_alerts *alerts);               // all pairs, and the empty ones

// Refreshes silenced, inhibited_by and cooling of the view; returns whether it is muted.
bool tm_alerts_refresh(tm_alerts *alerts, alert *a);
void tm_alerts_drop_expired_silences(tm_alerts *alerts);
void tm_alerts_drop_silences(tm_alerts *alerts);

static inline bool alert_is_cooling(const alert *a, int64_t now_ns) {
  return a->has_ended && elapsed_ns(now_ns, a->view.ended_ns) < a->pair->rule->policy.cooldown_ns;
}

#endif
