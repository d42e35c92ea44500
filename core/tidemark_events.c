// What the engine tells, as one struct of strings and numbers.
#include "tidemark_impl.h"

#include <math.h>

static const char *text_or_empty(const char *text) {
  return text ? text : "";
}

static void tell(tm_embed *e, tm_notice *n) {
  if (!e->notice_fn) return;
  n->size = sizeof *n;
  const char **texts[] = {&n->word, &n->rule, &n->target, &n->key, &n->text, &n->json, &n->unit};
  for (size_t i = 0; i < TM_COUNT(texts); i++) *texts[i] = text_or_empty(*texts[i]);
  e->inside++;
  e->notice_fn(e->notice_ud, n);
  e->inside--;
}

static tm_notice notice_of_alert(const tm_alert *a) {
  return (tm_notice){.size = sizeof(tm_notice),
                     .type = TM_ON_FINDING,
                     .level = a->level,
                     .word = tm_alert_state_name(a->state),
                     .rule = a->rule,
                     .target = a->target,
                     .key = a->key,
                     .text = text_or_empty(a->text),
                     .json = text_or_empty(a->evidence_json),
                     .unit = tm_unit_name(a->unit),
                     .value = a->value,
                     .finding_id = a->fingerprint,
                     .time_ns = a->since_ns};
}

static void on_transition(void *ud, const tm_alert_transition *t) {
  tm_notice n = notice_of_alert(t->alert);
  n.word = tm_alert_state_name(t->to_state);
  n.time_ns = t->time_ns;
  n.tell = t->notify;
  tell(ud, &n);
}

static void on_record(void *ud, const tm_action_record *r) {
  char text[600];
  tm_notice n = {.type = TM_ON_ACTION,
                 .time_ns = r->time_ns,
                 .word = tm_action_outcome_name(r->outcome),
                 .rule = r->rule,
                 .target = r->target,
                 .key = r->name,
                 .text = tm_action_describe(r, text, sizeof text),
                 .json = r->args_json,
                 .unit = tm_unit_name(TM_UNIT_BYTES),
                 .value = r->outcome == TM_ACTION_MEASURED ? (double)r->gained_bytes : NAN};
  tell(ud, &n);
}

static void on_event(void *ud, const tm_event *event) {
  bool of_target = event->kind == TM_EVENT_TARGET_ADDED || event->kind == TM_EVENT_TARGET_GONE;
  tm_notice n = {.type = of_target ? TM_ON_TARGET : TM_ON_NOTE,
                 .time_ns = event->time_ns,
                 .level = event->level,
                 .word = tm_event_kind_name(event->kind),
                 .rule = event->rule,
                 .target = event->target,
                 .text = event->text,
                 .json = event->json,
                 .value = NAN};
  tell(ud, &n);
}

tm_status tm_embed_listen(tm_embed *e) {
  const tm_engine_observer observer = {.ud = e, .alert = on_transition, .action = on_record};
  TM_TRY(tm_engine_observe(e->engine, &observer));
  const uint32_t kinds = ~(TM_EVENT_BIT(TM_EVENT_SAMPLE) | TM_EVENT_BIT(TM_EVENT_ALERT)
                           | TM_EVENT_BIT(TM_EVENT_ACTION));
  uint64_t id;
  return tm_bus_subscribe(tm_engine_bus(e->engine), kinds, on_event, e, &id);
}

tm_status tm_on_event(tm_embed *engine, tm_notice_fn fn, void *ud) {
  TM_TRY(tm_embed_enter(engine));
  engine->notice_fn = fn;
  engine->notice_ud = ud;
  return TM_OK;
}

typedef struct showing {
  tm_notice_fn fn;
  void *ud;
} showing;

static bool show(void *ud, const tm_alert *alert) {
  const showing *s = ud;
  const tm_notice n = notice_of_alert(alert);
  s->fn(s->ud, &n);
  return true;
}

tm_status tm_findings(tm_embed *engine, tm_notice_fn fn, void *ud) {
  TM_TRY(tm_embed_enter(engine));
  if (!fn) return TM_E_ARG;
  showing s = {fn, ud};
  engine->inside++;
  tm_alerts_each(tm_engine_alerts(engine->engine), show, &s);
  engine->inside--;
  return TM_OK;
}
