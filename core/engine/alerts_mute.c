// Why nobody is told of an alert: a silence that somebody set, or another rule that fires on the
// same target and inhibits this one. Asked when a notification is due and when an alert is shown.
#include "base/glob.h"
#include "engine/alerts_impl.h"

#include <string.h>

// ---- silences ----

static bool matches(const tm_alerts *alerts, const silence *s, const alert *a) {
  if (!tm_glob(s->view.rule, a->view.rule) || !tm_glob(s->view.key, a->view.key)) return false;
  if (tm_glob(s->view.target, a->view.target)) return true;
  const char *name = alerts->namer ? alerts->namer(alerts->namer_ud, a->view.target) : NULL;
  return name && tm_glob(s->view.target, name);
}

static const silence *silence_of(const tm_alerts *alerts, const alert *a) {
  for (size_t i = 0; i < alerts->silences.count; i++) {
    const silence *s = &alerts->silences.items[i];
    if (alerts->now_ns < s->view.until_ns && matches(alerts, s, a)) return s;
  }
  return NULL;
}

static void free_silence(tm_ctx *ctx, silence *s) {
  for (size_t i = 0; i < TM_COUNT(s->texts); i++) tm_alerts_free_text(ctx, s->texts[i]);
}

tm_status tm_alerts_silence(tm_alerts *alerts, const tm_silence *wish, uint64_t *out_id) {
  if (alerts->silences.count >= TM_SILENCE_LIMIT)
    return tm_fail(alerts->ctx, TM_E_LIMIT, TM_NO_OFFSET,
                   "%d silences stand already; take some back first", TM_SILENCE_LIMIT);
  TM_TRY(tm_vec_reserve(alerts->ctx, &alerts->silences, 1));
  const char *texts[4] = {wish->rule ? wish->rule : "*", wish->target ? wish->target : "*",
                          wish->key ? wish->key : "*", wish->why ? wish->why : ""};
  silence s = {0};
  for (size_t i = 0; i < 4; i++) {
    s.texts[i] = tm_alerts_copy_text(alerts->ctx, texts[i]);
    if (s.texts[i]) continue;
    free_silence(alerts->ctx, &s);
    return TM_E_NOMEM;
  }
  s.view = (tm_silence){.id = ++alerts->last_silence_id,
                        .rule = s.texts[0],
                        .target = s.texts[1],
                        .key = s.texts[2],
                        .why = s.texts[3],
                        .until_ns = wish->until_ns};
  alerts->silences.items[alerts->silences.count++] = s;
  if (out_id) *out_id = s.view.id;
  return TM_OK;
}

static void remove_silence(tm_alerts *alerts, size_t index) {
  silence *s = &alerts->silences.items[index];
  free_silence(alerts->ctx, s);
  memmove(s, s + 1, (--alerts->silences.count - index) * sizeof *s);
}

bool tm_alerts_unsilence(tm_alerts *alerts, uint64_t id) {
  for (size_t i = 0; i < alerts->silences.count; i++)
    if (alerts->silences.items[i].view.id == id) {
      remove_silence(alerts, i);
      return true;
    }
  return false;
}

void tm_alerts_drop_expired_silences(tm_alerts *alerts) {
  for (size_t i = alerts->silences.count; i-- > 0;)
    if (alerts->silences.items[i].view.until_ns <= alerts->now_ns) remove_silence(alerts, i);
}

void tm_alerts_drop_silences(tm_alerts *alerts) {
  while (alerts->silences.count) remove_silence(alerts, alerts->silences.count - 1);
}

void tm_alerts_each_silence(const tm_alerts *alerts, tm_silence_each_fn fn, void *ud) {
  for (size_t i = 0; i < alerts->silences.count; i++)
    if (!fn(ud, &alerts->silences.items[i].view)) return;
}

void tm_alerts_set_namer(tm_alerts *alerts, tm_target_namer_fn fn, void *ud) {
  alerts->namer = fn;
  alerts->namer_ud = ud;
}

// ---- inhibition ----

static const char *inhibitor_of(const tm_alerts *alerts, const pair *p) {
  for (size_t i = 0; i < alerts->rules.count; i++) {
    const rule_policy *rule = alerts->rules.items[i];
    for (size_t k = 0; k < rule->policy.inhibit_count; k++)
      if (rule != p->rule && tm_glob(rule->inhibits[k], p->rule->id)
          && tm_alerts_is_firing(alerts, rule->id, p->target))
        return rule->id;
  }
  return NULL;
}

bool tm_alerts_refresh(tm_alerts *alerts, alert *a) {
  const silence *s = silence_of(alerts, a);
  a->view.silenced = s != NULL;
  a->view.silence_why = s ? s->view.why : "";
  a->view.inhibited_by = inhibitor_of(alerts, a->pair);
  a->view.cooling =
      a->view.state == TM_ALERT_PENDING && alert_is_cooling(a, alerts->now_ns)
      && elapsed_ns(alerts->now_ns, a->view.pending_since_ns) >= a->pair->rule->policy.hold_ns;
  return s || a->view.inhibited_by;
}
