// Where alerts live: rule policies by linear search (they are few), pairs of rule and target in a
// chained hash table, the alerts of a pair in an array. A lookup that finds nothing, which is what
// most evaluations are, costs one hash and one bucket.
#include "engine/alerts_impl.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

char *tm_alerts_copy_text(tm_ctx *ctx, const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = tm_alloc(ctx, size);
  return copy ? memcpy(copy, text, size) : NULL;
}

void tm_alerts_free_text(tm_ctx *ctx, char *text) {
  if (text) tm_free(ctx, text, strlen(text) + 1);
}

// ---- rules ----

#define MINUTE_NS (60 * UINT64_C(1000000000))

static void fill_defaults(tm_alert_policy *policy) {
  if (!policy->retain_ns) policy->retain_ns = 15 * MINUTE_NS;
  if (!policy->limit) policy->limit = 50;
  if (policy->limit > ALERT_LIMIT_MAX) policy->limit = ALERT_LIMIT_MAX;
  if (!(policy->leave_ratio > 0)) policy->leave_ratio = 0.8;
}

static void free_inhibits(tm_ctx *ctx, char **inhibits, size_t count, size_t room) {
  for (size_t i = 0; i < count; i++) tm_alerts_free_text(ctx, inhibits[i]);
  tm_free(ctx, inhibits, room * sizeof *inhibits);
}

static rule_policy *make_rule(tm_alerts *alerts, const char *rule) {
  for (size_t i = 0; i < alerts->rules.count; i++)
    if (strcmp(alerts->rules.items[i]->id, rule) == 0) return alerts->rules.items[i];
  if (tm_vec_reserve(alerts->ctx, &alerts->rules, 1) != TM_OK) return NULL;
  rule_policy *made = tm_calloc(alerts->ctx, 1, sizeof *made);
  if (!made) return NULL;
  made->id = tm_alerts_copy_text(alerts->ctx, rule);
  if (!made->id) {
    tm_free(alerts->ctx, made, sizeof *made);
    return NULL;
  }
  fill_defaults(&made->policy);
  alerts->rules.items[alerts->rules.count++] = made;
  return made;
}

tm_status tm_alerts_policy(tm_alerts *alerts, const char *rule, const tm_alert_policy *policy) {
  tm_ctx *ctx = alerts->ctx;
  rule_policy *record = make_rule(alerts, rule);
  if (!record) return TM_E_NOMEM;
  size_t count = policy->inhibit_count;
  char **inhibits = NULL;
  if (count) {
    inhibits = tm_calloc(ctx, count, sizeof *inhibits);
    if (!inhibits) return TM_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
      inhibits[i] = tm_alerts_copy_text(ctx, policy->inhibits[i]);
      if (inhibits[i]) continue;
      free_inhibits(ctx, inhibits, i, count);
      return TM_E_NOMEM;
    }
  }
  free_inhibits(ctx, record->inhibits, record->policy.inhibit_count, record->policy.inhibit_count);
  record->policy = *policy;
  record->policy.inhibits = (const char *const *)inhibits;
  record->inhibits = inhibits;
  fill_defaults(&record->policy);
  return TM_OK;
}

// ---- pairs ----

static uint64_t hash_pair(const char *rule, const char *target) {
  uint64_t hash = XXH3_64bits(rule, strlen(rule));
  return XXH3_64bits_withSeed(target, strlen(target), hash);
}

pair *tm_alerts_find_pair(const tm_alerts *alerts, const char *rule, const char *target) {
  if (!alerts->bucket_count) return NULL;
  uint64_t hash = hash_pair(rule, target);
  pair *p = alerts->buckets[hash & (alerts->bucket_count - 1)];
  for (; p; p = p->next)
    if (p->hash == hash && strcmp(p->rule->id, rule) == 0 && strcmp(p->target, target) == 0)
      return p;
  return NULL;
}

static tm_status grow_buckets(tm_alerts *alerts) {
  if (alerts->pairs.count < alerts->bucket_count) return TM_OK;
  size_t count = alerts->bucket_count ? alerts->bucket_count * 2 : 64;
  pair **buckets = tm_calloc(alerts->ctx, count, sizeof *buckets);
  if (!buckets) return TM_E_NOMEM;
  for (size_t i = 0; i < alerts->pairs.count; i++) {
    pair *p = alerts->pairs.items[i], **bucket = &buckets[p->hash & (count - 1)];
    p->next = *bucket;
    *bucket = p;
  }
  tm_free(alerts->ctx, alerts->buckets, alerts->bucket_count * sizeof *alerts->buckets);
  alerts->buckets = buckets;
  alerts->bucket_count = count;
  return TM_OK;
}

pair *tm_alerts_make_pair(tm_alerts *alerts, const char *rule, const char *target) {
  tm_ctx *ctx = alerts->ctx;
  pair *p = tm_alerts_find_pair(alerts, rule, target);
  if (p) return p;
  rule_policy *policy = make_rule(alerts, rule);
  if (!policy || tm_vec_reserve(ctx, &alerts->pairs, 1) != TM_OK || grow_buckets(alerts) != TM_OK)
    return NULL;
  p = tm_calloc(ctx, 1, sizeof *p);
  if (!p) return NULL;
  p->hash = hash_pair(rule, target);
  p->rule = policy;
  p->target = tm_alerts_copy_text(ctx, target);
  if (!p->target) {
    tm_free(ctx, p, sizeof *p);
    return NULL;
  }
  pair **bucket = &alerts->buckets[p->hash & (alerts->bucket_count - 1)];
  p->next = *bucket;
  *bucket = p;
  alerts->pairs.items[alerts->pairs.count++] = p;
  return p;
}

// ---- alerts ----

static void free_alert(tm_ctx *ctx, alert *a) {
  tm_bytes_free(ctx, &a->text);
  tm_bytes_free(ctx, &a->evidence);
  tm_alerts_free_text(ctx, a->key);
  tm_free(ctx, a, sizeof *a);
}

alert *tm_alerts_find_alert(const pair *p, const char *key) {
  uint64_t fingerprint = XXH3_64bits_withSeed(key, strlen(key), p->hash);
  for (size_t i = 0; i < p->alerts.count; i++) {
    alert *a = p->alerts.items[i];
    if (a->view.fingerprint == fingerprint && strcmp(a->key, key) == 0) return a;
  }
  return NULL;
}

alert *tm_alerts_make_alert(tm_alerts *alerts, pair *p, const char *key) {
  tm_ctx *ctx = alerts->ctx;
  if (tm_vec_reserve(ctx, &p->alerts, 1) != TM_OK) return NULL;
  alert *a = tm_calloc(ctx, 1, sizeof *a);
  if (!a) return NULL;
  a->pair = p;
  a->key = tm_alerts_copy_text(ctx, key);
  if (!a->key || tm_alerts_set_text(alerts, a, "", "{}") != TM_OK) {
    free_alert(ctx, a);
    return NULL;
  }
  a->lowest_value = NAN;
  a->ended_state = TM_ALERT_RESOLVED;
  a->view.fingerprint = XXH3_64bits_withSeed(key, strlen(key), p->hash);
  a->view.rule = p->rule->id;
  a->view.target = p->target;
  a->view.key = a->key;
  a->view.value = NAN;
  a->view.silence_why = "";
  p->alerts.items[p->alerts.count++] = a;
  return a;
}

static tm_status replace(tm_ctx *ctx, tm_bytes *bytes, const char *text) {
  size_t size = strlen(text) + 1, old = bytes->size;
  bytes->size = 0;
  tm_status status = tm_bytes_append(ctx, bytes, text, size);
  if (status != TM_OK) bytes->size = old; // the old text still stands there
  return status;
}

tm_status tm_alerts_set_text(tm_alerts *alerts, alert *a, const char *text, const char *evidence) {
  tm_status status = replace(alerts->ctx, &a->text, text ? text : "");
  tm_status second = replace(alerts->ctx, &a->evidence, evidence ? evidence : "{}");
  a->view.text = (const char *)a->text.data;
  a->view.evidence_json = (const char *)a->evidence.data;
  return status != TM_OK ? status : second;
}

// ---- the end of things ----

static bool is_over(const alert *a, int64_t now_ns) {
  return a->view.state == TM_ALERT_INACTIVE && (a->forget || !alert_is_cooling(a, now_ns));
}

void tm_alerts_sweep_pair(tm_alerts *alerts, pair *p) {
  size_t kept = 0;
  for (size_t i = 0; i < p->alerts.count; i++) {
    if (is_over(p->alerts.items[i], alerts->now_ns))
      free_alert(alerts->ctx, p->alerts.items[i]);
    else
      p->alerts.items[kept++] = p->alerts.items[i];
  }
  p->alerts.count = kept;
}

static void free_pair(tm_alerts *alerts, pair *p) {
  for (pair **at = &alerts->buckets[p->hash & (alerts->bucket_count - 1)]; *at; at = &(*at)->next)
    if (*at == p) {
      *at = p->next;
      break;
    }
  for (size_t i = 0; i < p->alerts.count; i++) free_alert(alerts->ctx, p->alerts.items[i]);
  tm_vec_free(alerts->ctx, &p->alerts);
  tm_alerts_free_text(alerts->ctx, p->target);
  tm_free(alerts->ctx, p, sizeof *p);
}

void tm_alerts_sweep(tm_alerts *alerts) {
  size_t kept = 0;
  for (size_t i = 0; i < alerts->pairs.count; i++) {
    pair *p = alerts->pairs.items[i];
    tm_alerts_sweep_pair(alerts, p);
    if (p->alerts.count)
      alerts->pairs.items[kept++] = p;
    else
      free_pair(alerts, p);
  }
  alerts->pairs.count = kept;
}

void tm_alerts_drop_all(tm_alerts *alerts) {
  for (size_t i = 0; i < alerts->pairs.count; i++) free_pair(alerts, alerts->pairs.items[i]);
  alerts->pairs.count = 0;
}

// ---- life ----

tm_status tm_alerts_new(tm_ctx *ctx, tm_alert_fn fn, void *ud, tm_alerts **out) {
  tm_alerts *alerts = tm_calloc(ctx, 1, sizeof *alerts);
  if (!alerts) return TM_E_NOMEM;
  alerts->ctx = ctx;
  alerts->fn = fn;
  alerts->ud = ud;
  alerts->now_ns = INT64_MIN;
  *out = alerts;
  return TM_OK;
}

void tm_alerts_free(tm_alerts *alerts) {
  if (!alerts) return;
  tm_ctx *ctx = alerts->ctx;
  tm_alerts_drop_all(alerts);
  tm_alerts_drop_silences(alerts);
  for (size_t i = 0; i < alerts->rules.count; i++) {
    rule_policy *rule = alerts->rules.items[i];
    free_inhibits(ctx, rule->inhibits, rule->policy.inhibit_count, rule->policy.inhibit_count);
    tm_alerts_free_text(ctx, rule->id);
    tm_free(ctx, rule, sizeof *rule);
  }
  tm_vec_free(ctx, &alerts->rules);
  tm_vec_free(ctx, &alerts->pairs);
  tm_vec_free(ctx, &alerts->silences);
  tm_vec_free(ctx, &alerts->queue);
  tm_free(ctx, alerts->buckets, alerts->bucket_count * sizeof *alerts->buckets);
  tm_free(ctx, alerts, sizeof *alerts);
}
