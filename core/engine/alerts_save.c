// Alerts and silences as bytes, so that hold and linger go on after a restart:
//   "TMAL" version | now | last silence id, silences | alerts, in order of pairs
// Numbers are varints (times zigzag), doubles 8 bytes little-endian, strings a length and bytes.
// Loading trusts nothing: every string is bounded, every enumeration checked, and all is dropped
// again when anything is wrong.
#include "base/cursor.h"
#include "engine/alerts_impl.h"

#include <string.h>

enum { VERSION = 1, STRING_MAX = 16 << 20 };

enum { FLAG_BELOW = 1, FLAG_ENDED = 2, FLAGS = 3 };

// ---- out ----

typedef struct writer {
  tm_ctx *ctx;
  tm_bytes *out;
  tm_status status; // sticky
} writer;

static void put_raw(writer *w, const void *data, size_t size) {
  if (w->status == TM_OK) w->status = tm_bytes_append(w->ctx, w->out, data, size);
}

static void put_uint(writer *w, uint64_t value) {
  if (w->status == TM_OK) w->status = tm_bytes_varint(w->ctx, w->out, value);
}

static void put_time(writer *w, int64_t time_ns) {
  put_uint(w, tm_zigzag(time_ns));
}

static void put_double(writer *w, double value) {
  uint64_t bits;
  uint8_t bytes[8];
  memcpy(&bits, &value, sizeof bits);
  for (size_t i = 0; i < 8; i++) bytes[i] = (uint8_t)(bits >> (8 * i));
  put_raw(w, bytes, sizeof bytes);
}

static void put_string(writer *w, const char *text) {
  size_t size = strlen(text);
  put_uint(w, size);
  put_raw(w, text, size);
}

static void put_alert(writer *w, const alert *a) {
  const tm_alert *v = &a->view;
  put_string(w, v->rule);
  put_string(w, v->target);
  put_string(w, v->key);
  put_string(w, v->text);
  put_string(w, v->evidence_json);
  put_uint(w, (a->below ? FLAG_BELOW : 0) | (a->has_ended ? FLAG_ENDED : 0));
  const uint64_t words[] = {
      v->state,      v->level,       v->peak_level,  v->unit,        a->seen_level,
      a->told_level, a->muted_level, a->ended_level, a->ended_state, v->evaluations_count};
  for (size_t i = 0; i < TM_COUNT(words); i++) put_uint(w, words[i]);
  const int64_t times[] = {v->since_ns,       v->pending_since_ns, v->fired_ns,
                           v->ended_ns,       v->last_seen_ns,     v->told_ns,
                           a->below_since_ns, a->absent_since_ns};
  for (size_t i = 0; i < TM_COUNT(times); i++) put_time(w, times[i]);
  put_double(w, v->value);
  put_double(w, a->lowest_value);
}

static bool worth_saving(const alert *a) {
  return a->view.state != TM_ALERT_INACTIVE || (a->has_ended && !a->forget);
}

tm_status tm_alerts_save(const tm_alerts *alerts, tm_bytes *out) {
  writer w = {alerts->ctx, out, TM_OK};
  size_t start = out->size;
  uint64_t count = 0;
  put_raw(&w, "TMAL", 4);
  put_uint(&w, VERSION);
  put_time(&w, alerts->now_ns);
  put_uint(&w, alerts->last_silence_id);
  put_uint(&w, alerts->silences.count);
  for (size_t i = 0; i < alerts->silences.count; i++) {
    const silence *s = &alerts->silences.items[i];
    put_uint(&w, s->view.id);
    put_time(&w, s->view.until_ns);
    for (size_t k = 0; k < TM_COUNT(s->texts); k++) put_string(&w, s->texts[k]);
  }
  for (size_t i = 0; i < alerts->pairs.count; i++)
    for (size_t k = 0; k < alerts->pairs.items[i]->alerts.count; k++)
      count += worth_saving(alerts->pairs.items[i]->alerts.items[k]);
  put_uint(&w, count);
  for (size_t i = 0; i < alerts->pairs.count; i++)
    for (size_t k = 0; k < alerts->pairs.items[i]->alerts.count; k++)
      if (worth_saving(alerts->pairs.items[i]->alerts.items[k]))
        put_alert(&w, alerts->pairs.items[i]->alerts.items[k]);
  if (w.status != TM_OK) out->size = start;
  return w.status;
}

// ---- in ----

typedef struct reader {
  tm_alerts *alerts;
  tm_cursor in;
  int64_t now_ns; // no time is later
} reader;

static tm_status damaged(const reader *r, const char *what) {
  return tm_fail(r->alerts->ctx, TM_E_FORMAT, tm_cursor_offset(&r->in),
                 "saved alerts are damaged: %s; delete them to start anew", what);
}

static int64_t get_time(reader *r) {
  int64_t time_ns = tm_unzigzag(tm_get_varint(&r->in));
  return time_ns > r->now_ns ? r->now_ns : time_ns;
}

static double get_double(reader *r) {
  uint64_t bits = tm_get_u64le(&r->in);
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// A terminated copy that the caller frees with tm_alerts_free_text.
static tm_status get_string(reader *r, char **out) {
  uint64_t size = tm_get_varint(&r->in);
  if (!r->in.ok || size > STRING_MAX || size > tm_cursor_left(&r->in))
    return damaged(r, "a string is cut");
  const uint8_t *text = tm_get_bytes(&r->in, (size_t)size);
  if (memchr(text, 0, (size_t)size)) return damaged(r, "a string holds a zero byte");
  char *copy = tm_alloc(r->alerts->ctx, (size_t)size + 1);
  if (!copy) return TM_E_NOMEM;
  memcpy(copy, text, (size_t)size);
  copy[size] = '\0';
  *out = copy;
  return TM_OK;
}

static tm_status get_strings(reader *r, char **texts, size_t count) {
  for (size_t i = 0; i < count; i++) TM_TRY(get_string(r, &texts[i]));
  return TM_OK;
}

static void free_strings(reader *r, char **texts, size_t count) {
  for (size_t i = 0; i < count; i++) tm_alerts_free_text(r->alerts->ctx, texts[i]);
}

static tm_status load_silences(reader *r) {
  tm_alerts *alerts = r->alerts;
  alerts->last_silence_id = tm_get_varint(&r->in);
  uint64_t count = tm_get_varint(&r->in), before = 0;
  if (!r->in.ok || count > TM_SILENCE_LIMIT) return damaged(r, "too many silences");
  for (uint64_t i = 0; i < count; i++) {
    silence s = {0};
    s.view.id = tm_get_varint(&r->in);
    s.view.until_ns = tm_unzigzag(tm_get_varint(&r->in));
    if (!r->in.ok || s.view.id <= before || s.view.id > alerts->last_silence_id)
      return damaged(r, "the number of a silence");
    before = s.view.id;
    tm_status status = get_strings(r, s.texts, TM_COUNT(s.texts));
    if (status == TM_OK) status = tm_vec_reserve(alerts->ctx, &alerts->silences, 1);
    if (status != TM_OK) {
      free_strings(r, s.texts, TM_COUNT(s.texts));
      return status;
    }
    s.view.rule = s.texts[0];
    s.view.target = s.texts[1];
    s.view.key = s.texts[2];
    s.view.why = s.texts[3];
    alerts->silences.items[alerts->silences.count++] = s;
  }
  return TM_OK;
}

static bool is_active_state(uint64_t state) {
  return state == TM_ALERT_PENDING || state == TM_ALERT_FIRING;
}

// The fields behind the strings. What the state machine relies upon is checked here.
static tm_status load_fields(reader *r, alert *a) {
  uint64_t flags = tm_get_varint(&r->in), words[10];
  int64_t times[8];
  for (size_t i = 0; i < TM_COUNT(words); i++) words[i] = tm_get_varint(&r->in);
  for (size_t i = 0; i < TM_COUNT(times); i++) times[i] = get_time(r);
  double value = get_double(r), lowest = get_double(r);
  bool levels = words[1] <= TM_LEVEL_FAIL && words[2] <= TM_LEVEL_FAIL;
  for (size_t i = 4; i < 8; i++) levels = levels && words[i] <= TM_LEVEL_FAIL;
  bool ended = flags & FLAG_ENDED;
  if (!r->in.ok || flags > FLAGS || !levels || words[0] > TM_ALERT_GONE || words[3] > TM_UNIT_TIME
      || (words[8] != TM_ALERT_RESOLVED && words[8] != TM_ALERT_GONE))
    return damaged(r, "a field of an alert is out of range");
  if (is_active_state(words[0]) ? words[1] == TM_LEVEL_NONE : !ended)
    return damaged(r, "state and level of an alert contradict each other");
  tm_alert *v = &a->view;
  v->state = (tm_alert_state)words[0];
  v->level = (tm_level)words[1];
  v->peak_level = (tm_level)words[2];
  v->unit = (tm_unit)words[3];
  a->seen_level = (tm_level)words[4];
  a->told_level = (tm_level)words[5];
  a->muted_level = (tm_level)words[6];
  a->ended_level = (tm_level)words[7];
  a->ended_state = (tm_alert_state)words[8];
  v->evaluations_count = words[9];
  v->since_ns = times[0];
  v->pending_since_ns = times[1];
  v->fired_ns = times[2];
  v->ended_ns = times[3];
  v->last_seen_ns = times[4];
  v->told_ns = times[5];
  a->below_since_ns = times[6];
  a->absent_since_ns = times[7];
  v->value = value;
  a->lowest_value = lowest;
  a->below = flags & FLAG_BELOW;
  a->has_ended = ended;
  return TM_OK;
}

static tm_status load_alert(reader *r, char *const texts[5]) {
  tm_alerts *alerts = r->alerts;
  if (!*texts[0] || !*texts[1]) return damaged(r, "an alert without rule or target");
  pair *p = tm_alerts_make_pair(alerts, texts[0], texts[1]);
  if (!p) return TM_E_NOMEM;
  if (p->alerts.count >= ALERTS_OF_PAIR_MAX || tm_alerts_find_alert(p, texts[2]))
    return damaged(r, "an alert stands there twice, or there are too many");
  alert *a = tm_alerts_make_alert(alerts, p, texts[2]);
  if (!a) return TM_E_NOMEM;
  TM_TRY(tm_alerts_set_text(alerts, a, texts[3], texts[4]));
  TM_TRY(load_fields(r, a));
  if (a->view.state == TM_ALERT_FIRING) p->firing_count++;
  return TM_OK;
}

static tm_status load_all(reader *r) {
  const uint8_t *magic = tm_get_bytes(&r->in, 4);
  if (!magic || memcmp(magic, "TMAL", 4) != 0) return damaged(r, "they do not begin with TMAL");
  uint64_t version = tm_get_varint(&r->in);
  if (r->in.ok && version > VERSION)
    return tm_fail(r->alerts->ctx, TM_E_VERSION, 4,
                   "the alerts were saved by a newer tidemark (version %llu, known: %d)",
                   (unsigned long long)version, VERSION);
  if (version != VERSION) return damaged(r, "no version");
  int64_t saved_ns = get_time(r);
  if (saved_ns > r->alerts->now_ns) r->alerts->now_ns = saved_ns;
  TM_TRY(load_silences(r));
  uint64_t count = tm_get_varint(&r->in);
  for (uint64_t i = 0; i < count; i++) {
    char *texts[5] = {0};
    tm_status status = get_strings(r, texts, TM_COUNT(texts));
    if (status == TM_OK) status = load_alert(r, texts);
    free_strings(r, texts, TM_COUNT(texts));
    TM_TRY(status);
  }
  if (!r->in.ok || tm_cursor_left(&r->in)) return damaged(r, "they are cut, or too long");
  return TM_OK;
}

tm_status tm_alerts_load(tm_alerts *alerts, int64_t now_ns, const void *bytes, size_t size) {
  if (alerts->pairs.count || alerts->silences.count)
    return tm_fail(alerts->ctx, TM_E_ARG, TM_NO_OFFSET,
                   "saved alerts are loaded before the first evaluation");
  reader r = {alerts, tm_cursor_of(bytes, size, 0), now_ns};
  int64_t before_ns = alerts->now_ns;
  tm_status status = load_all(&r);
  if (status == TM_OK) return TM_OK;
  tm_alerts_drop_all(alerts);
  tm_alerts_drop_silences(alerts);
  alerts->last_silence_id = 0;
  alerts->now_ns = before_ns;
  return status;
}
