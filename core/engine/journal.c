// Tracks carry the numbers that the recording and the history gave their series (0 = not announced
// yet). Events of the bus become one JSON line each in the recording and one entry in the history.
#include "engine/journal.h"

#include "base/json_write.h"

#include <stdlib.h>
#include <string.h>

struct tm_journal {
  tm_ctx *ctx;
  tm_engine *engine;
  tm_recording *recording;
  tm_history *history;
  uint64_t subscription;
  bool complained;
  tm_bytes line;
};

static uint32_t slot_number(const tm_target *target, int slot) {
  return (uint32_t)(uintptr_t)tm_target_get_slot(target, slot);
}

static void complain(tm_journal *j) {
  if (!j->complained)
    tm_log_line(tm_engine_log(j->engine), TM_LOG_ERROR, "record", "%s", j->ctx->error.message);
  j->complained = true;
  tm_ctx_clear(j->ctx);
}

static void target_added(void *ud, tm_target *target) {
  tm_journal *j = ud;
  const tm_target_facts *f = tm_target_get_facts(target);
  uint32_t number = 0;
  tm_ctx_clear(j->ctx);
  if (j->recording) {
    tm_recording_target row = {f->id, f->pid, f->start_time_ns, f->name, f->command, "{}"};
    if (tm_recording_add_target(j->ctx, j->recording, &row, &number) == TM_OK)
      tm_target_set_slot(target, TM_SLOT_RECORDER, (void *)(uintptr_t)(number + 1));
    else
      complain(j);
  }
  if (j->history) {
    tm_history_target row = {.id = f->id,
                             .pid = f->pid,
                             .start_time_ns = f->start_time_ns,
                             .name = f->name,
                             .command = f->command,
                             .labels_json = "{}"};
    number = tm_history_add_target(j->history, &row);
    if (number != UINT32_MAX)
      tm_target_set_slot(target, TM_SLOT_HISTORY, (void *)(uintptr_t)(number + 1));
  }
}

static void target_gone(void *ud, tm_target *target) {
  tm_journal *j = ud;
  uint32_t number = slot_number(target, TM_SLOT_HISTORY);
  if (j->history && number) tm_history_forget(j->history, number - 1);
}

static void announce(tm_journal *j, tm_target *target, tm_track *track) {
  uint32_t number = slot_number(target, TM_SLOT_RECORDER);
  if (j->recording && number) {
    tm_recording_series row = {number - 1, track->metric, track->key, tm_unit_name(track->unit)};
    if (tm_recording_add_series(j->ctx, j->recording, &row, &track->recording_number) == TM_OK)
      track->recording_number++;
    else
      complain(j);
  }
  number = slot_number(target, TM_SLOT_HISTORY);
  if (j->history && number)
    track->history_number =
        tm_history_add_series(j->history, number - 1, track->metric, track->key, track->unit) + 1;
  track->observed = true;
}

static void sample(void *ud, tm_target *target, tm_track *track, int64_t time_ns, double value) {
  tm_journal *j = ud;
  if (!track->observed) announce(j, target, track);
  if (j->recording && track->recording_number
      && tm_recording_sample(j->ctx, j->recording, track->recording_number - 1, time_ns, value)
             != TM_OK)
    complain(j);
  if (j->history && track->history_number)
    tm_history_sample(j->history, track->history_number - 1, time_ns, value);
}

// ---- alerts, actions, events ----

static tm_json begin_line(tm_journal *j, const char *type, int64_t time_ns) {
  j->line.size = 0;
  tm_json w = tm_json_begin(j->ctx, &j->line);
  tm_json_object(&w);
  tm_json_key(&w, "type");
  tm_json_string(&w, type);
  tm_json_key(&w, "time_ns");
  tm_json_int(&w, time_ns);
  return w;
}

static void add_text(tm_json *w, const char *key, const char *text) {
  tm_json_key(w, key);
  tm_json_string(w, text ? text : "");
}

static void end_line(tm_journal *j, tm_json *w) {
  tm_json_close(w);
  if (tm_json_end(w) != TM_OK
      || tm_recording_event(j->ctx, j->recording, (const char *)j->line.data) != TM_OK)
    complain(j);
}

static void alert(void *ud, const tm_alert_transition *t) {
  tm_journal *j = ud;
  const tm_alert *a = t->alert;
  if (j->recording) {
    tm_json w = begin_line(j, "alert", t->time_ns);
    add_text(&w, "state", tm_alert_state_name(t->to_state));
    add_text(&w, "from_state", tm_alert_state_name(t->from_state));
    add_text(&w, "level", tm_level_name(t->to_level ? t->to_level : a->level));
    add_text(&w, "rule", a->rule);
    add_text(&w, "target", a->target);
    add_text(&w, "key", a->key);
    tm_json_key(&w, "value");
    tm_json_double(&w, a->value);
    add_text(&w, "unit", tm_unit_name(a->unit));
    add_text(&w, "text", a->text);
    tm_json_key(&w, "evidence");
    tm_json_raw(&w, a->evidence_json);
    end_line(j, &w);
  }
  if (j->history) {
    tm_history_entry entry = {.kind = TM_ENTRY_ALERT,
                              .time_ns = t->time_ns,
                              .state = tm_alert_state_name(t->to_state),
                              .level = t->to_level ? t->to_level : a->level,
                              .rule = a->rule,
                              .target = a->target,
                              .key = a->key,
                              .value = a->value,
                              .unit = a->unit,
                              .text = a->text,
                              .json = a->evidence_json};
    tm_history_note(j->history, &entry);
  }
}

static void action(void *ud, const tm_action_record *r) {
  tm_journal *j = ud;
  char text[600];
  tm_action_describe(r, text, sizeof text);
  if (j->recording) {
    tm_json w = begin_line(j, "action", r->time_ns);
    add_text(&w, "name", r->name);
    add_text(&w, "outcome", tm_action_outcome_name(r->outcome));
    add_text(&w, "rule", r->rule);
    add_text(&w, "target", r->target);
    add_text(&w, "text", text);
    tm_json_key(&w, "gained_bytes");
    tm_json_int(&w, r->gained_bytes);
    end_line(j, &w);
  }
  if (j->history) {
    tm_history_entry entry = {.kind = TM_ENTRY_ACTION,
                              .time_ns = r->time_ns,
                              .state = tm_action_outcome_name(r->outcome),
                              .rule = r->rule,
                              .target = r->target,
                              .key = r->name,
                              .value = (double)r->gained_bytes,
                              .unit = TM_UNIT_BYTES,
                              .text = text,
                              .json = r->args_json};
    tm_history_note(j->history, &entry);
  }
}

static void event(void *ud, const tm_event *e) {
  tm_journal *j = ud;
  if (e->kind == TM_EVENT_EVIDENCE) {
    uint32_t number;
    const tm_target *target = tm_engine_target_by_id(j->engine, e->target);
    if (j->recording && target && (number = slot_number(target, TM_SLOT_RECORDER)) != 0) {
      tm_recording_blob blob = {number - 1, e->time_ns, e->text, e->json, strlen(e->json)};
      if (tm_recording_add_blob(j->ctx, j->recording, &blob, 16u << 20) != TM_OK) complain(j);
    }
    if (j->history)
      tm_history_evidence(j->history, e->target, e->time_ns, e->text, e->json, strlen(e->json));
    return;
  }
  if (j->recording) {
    tm_json w = begin_line(j, tm_event_kind_name(e->kind), e->time_ns);
    add_text(&w, "rule", e->rule);
    add_text(&w, "target", e->target);
    add_text(&w, "text", e->text);
    end_line(j, &w);
  }
  if (j->history) {
    bool rules = e->kind == TM_EVENT_RULE_LOADED || e->kind == TM_EVENT_RULE_LOAD_FAILED
                 || e->kind == TM_EVENT_RULE_UNLOADED;
    tm_history_entry entry = {.kind = rules ? TM_ENTRY_RULES : TM_ENTRY_EVENT,
                              .time_ns = e->time_ns,
                              .state = tm_event_kind_name(e->kind),
                              .level = e->level,
                              .rule = e->rule,
                              .target = e->target,
                              .value = 0,
                              .text = e->text,
                              .json = e->json};
    tm_history_note(j->history, &entry);
  }
}

tm_status tm_journal_new(tm_ctx *ctx, tm_engine *engine, tm_recording *recording,
                         tm_history *history, tm_journal **out) {
  tm_journal *j = tm_calloc(ctx, 1, sizeof *j);
  if (!j) return TM_E_NOMEM;
  *j = (tm_journal){.ctx = ctx, .engine = engine, .recording = recording, .history = history};
  tm_engine_observer observer = {.ud = j,
                                 .target_added = target_added,
                                 .target_gone = target_gone,
                                 .sample = sample,
                                 .alert = alert,
                                 .action = action};
  uint32_t kinds = ~(TM_EVENT_BIT(TM_EVENT_SAMPLE) | TM_EVENT_BIT(TM_EVENT_ALERT)
                     | TM_EVENT_BIT(TM_EVENT_ACTION));
  tm_status status = tm_engine_observe(engine, &observer);
  if (status == TM_OK)
    status = tm_bus_subscribe(tm_engine_bus(engine), kinds, event, j, &j->subscription);
  if (status != TM_OK) {
    tm_free(ctx, j, sizeof *j);
    return tm_fail(ctx, status, TM_NO_OFFSET, "cannot record: %s",
                   tm_engine_ctx(engine)->error.message);
  }
  for (size_t i = 0; i < tm_engine_target_count(engine); i++)
    target_added(j, tm_engine_target_at(engine, i));
  *out = j;
  return TM_OK;
}

void tm_journal_flush(tm_journal *j) {
  if (!j->recording) return;
  tm_ctx_clear(j->ctx);
  if (tm_recording_flush(j->ctx, j->recording) == TM_OK)
    j->complained = false;
  else
    complain(j);
}

void tm_journal_free(tm_journal *j) {
  if (!j) return;
  tm_bus_unsubscribe(tm_engine_bus(j->engine), j->subscription);
  tm_engine_unobserve(j->engine, j);
  tm_bytes_free(j->ctx, &j->line);
  tm_free(j->ctx, j, sizeof *j);
}
