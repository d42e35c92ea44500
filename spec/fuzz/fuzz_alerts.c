// floors: engine
// Any bytes as saved alerts: refused, or taken, and then they live on, end, and save to the same
// bytes that loading those gives.
#include "engine/alerts.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KEPT = 64 };

typedef struct named {
  char rule[KEPT], target[KEPT];
} named;

static bool first(void *ud, const tm_alert *alert) {
  named *n = ud;
  if (strlen(alert->rule) >= KEPT || strlen(alert->target) >= KEPT) return true;
  strcpy(n->rule, alert->rule);
  strcpy(n->target, alert->target);
  return false;
}

static void on_transition(void *ud, const tm_alert_transition *transition) {
  size_t *bytes = ud;
  *bytes += strlen(transition->alert->text) + strlen(transition->alert->silence_why);
}

// Saving what was loaded from a save gives the same bytes.
static void check_stable(tm_ctx *ctx, const tm_alerts *alerts, int64_t now_ns) {
  tm_alerts *again;
  tm_bytes one = {0}, two = {0};
  if (tm_alerts_new(ctx, NULL, NULL, &again) != TM_OK) abort();
  if (tm_alerts_save(alerts, &one) != TM_OK) abort();
  if (tm_alerts_load(again, now_ns, one.data, one.size) != TM_OK) abort();
  if (tm_alerts_save(again, &two) != TM_OK) abort();
  if (one.size != two.size || memcmp(one.data, two.data, one.size) != 0) abort();
  tm_bytes_free(ctx, &one);
  tm_bytes_free(ctx, &two);
  tm_alerts_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const int64_t now_ns = INT64_C(1000000000) * 3600;
  tm_ctx ctx;
  tm_alerts *alerts;
  size_t seen_bytes = 0;
  named who = {"r", "t"};
  tm_ctx_init(&ctx, NULL);
  if (tm_alerts_new(&ctx, on_transition, &seen_bytes, &alerts) != TM_OK) abort();
  if (tm_alerts_load(alerts, now_ns, data, size) != TM_OK) {
    if (tm_alerts_busy(alerts)) abort();
  } else {
    check_stable(&ctx, alerts, now_ns);
    tm_alerts_each(alerts, first, &who);
    tm_finding finding = {.key = "k", .level = TM_LEVEL_HIGH, .value = 1, .text = "x"};
    if (tm_alerts_evaluate(alerts, now_ns, who.rule, who.target, &finding, 1) != TM_OK) abort();
    tm_alerts_tick(alerts, now_ns + 1);
    tm_alerts_target_gone(alerts, now_ns + 2, who.target);
    tm_alerts_tick(alerts, INT64_MAX);
  }
  tm_alerts_free(alerts);
  tm_ctx_fini(&ctx);
  return 0;
}
