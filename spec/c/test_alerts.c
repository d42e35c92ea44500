// floors: engine
// Alerts over virtual time: every rule of the state machine as a timeline, and all of them again
// with a save and a load after each step; limits, mutes, damaged blobs, no memory.
#include "alerts_rig.h"
#include "failing_alloc.h"

// ---- timelines ----

// Steps "SECOND INPUT EXPECTED;": input - (clear), i w h c f (a level, with @VALUE), t (tick only),
// G (target gone), R (rule removed); expected STATE[:LEVEL][!], ! = somebody is told.
typedef struct timeline {
  const char *says;
  tm_alert_policy policy;
  const char *steps;
} timeline;

static const timeline timelines[] = {
    {"fires at once without hold, resolves at once without linger",
     {0},
     "0 w firing:w!; 10 w firing:w; 20 - resolved!"},
    {"is pending until it was seen for hold",
     {.hold_ns = 120 * S},
     "0 w pending:w; 60 w pending:w; 119 w pending:w; 120 w firing:w!; 180 w firing:w"},
    {"begins again when the condition clears before hold",
     {.hold_ns = 120 * S},
     "0 w pending:w; 60 - inactive; 90 w pending:w; 180 w pending:w; 210 w firing:w!"},
    {"never fires by time alone",
     {.hold_ns = 60 * S},
     "0 w pending:w; 100 t pending:w; 101 w firing:w!"},
    {"fires with the level of now",
     {.hold_ns = 60 * S},
     "0 w pending:w; 30 c pending:c; 60 h firing:h!"},
    {"rises at once",
     {.hold_ns = 60 * S},
     "0 w pending:w; 60 w firing:w!; 61 c firing:c!; 62 c firing:c"},
    {"resolves after linger, by an evaluation",
     {.linger_ns = 60 * S},
     "0 w firing:w!; 10 - firing:w; 69 - firing:w; 70 - resolved!"},
    {"resolves after linger, by a tick",
     {.linger_ns = 60 * S},
     "0 w firing:w!; 10 - firing:w; 69 t firing:w; 70 t resolved!"},
    {"flapping within linger is one alert",
     {.linger_ns = 60 * S},
     "0 w firing:w!; 10 - firing:w; 50 w firing:w; 60 - firing:w; 110 w firing:w; 120 - firing:w; "
     "179 t firing:w; 180 t resolved!"},
    {"falls one step per linger",
     {.linger_ns = 60 * S},
     "0 c firing:c!; 10 i firing:c; 69 i firing:c; 70 i firing:h; 129 i firing:h; 130 t firing:w; "
     "190 i firing:i; 500 i firing:i"},
    {"falls at once without linger",
     {0},
     "0 c firing:c!; 10 w firing:w; 20 i firing:i; 30 - resolved!"},
    {"is told again when it rises after a fall",
     {0},
     "0 c firing:c!; 10 w firing:w; 20 c firing:c!"},
    {"resolves from any level",
     {.linger_ns = 60 * S},
     "0 c firing:c!; 10 - firing:c; 70 - resolved!"},
    {"the clocks of level and of absence run apart",
     {.linger_ns = 60 * S},
     "0 c firing:c!; 10 w firing:c; 40 - firing:c; 70 t firing:h; 99 t firing:h; 100 t resolved!"},
    {"a value just under the level keeps it",
     {.linger_ns = 10 * S},
     "0 h@100 firing:h!; 5 w@85 firing:h; 20 w@80 firing:h; 40 w@79 firing:h; 50 w@79 firing:w"},
    {"the lowest value of the level is where it begins",
     {.linger_ns = 10 * S},
     "0 h@100 firing:h!; 5 h@60 firing:h; 6 w@50 firing:h; 50 w@50 firing:h; 51 w@47 firing:h; 61 "
     "t firing:w"},
    {"a value that does not decide the level does not keep it",
     {.linger_ns = 10 * S},
     "0 h@100 firing:h!; 5 w@100 firing:h; 15 w@120 firing:w"},
    {"leave ratio 1 keeps nothing",
     {.linger_ns = 10 * S, .leave_ratio = 1},
     "0 h@100 firing:h!; 5 w@99 firing:h; 15 w@99 firing:w"},
    {"cooldown holds the next firing back",
     {.cooldown_ns = 100 * S},
     "0 w firing:w!; 10 - resolved!; 20 w pending:w; 109 w pending:w; 110 w firing:w!"},
    {"cooldown outlives retain",
     {.cooldown_ns = 100 * S, .retain_ns = 10 * S},
     "0 w firing:w!; 10 - resolved!; 20 t inactive; 30 w pending:w; 40 - inactive; 50 w pending:w; "
     "110 w firing:w!"},
    {"what was resolved is so again after a false start",
     {.hold_ns = 10 * S},
     "0 w pending:w; 10 w firing:w!; 20 - resolved!; 30 c pending:c; 35 - resolved:-"},
    {"is forgotten after retain",
     {.retain_ns = 30 * S},
     "0 w firing:w!; 10 - resolved!; 39 t resolved; 40 t inactive"},
    {"is kept 15 minutes by default",
     {0},
     "0 w firing:w!; 10 - resolved!; 909 t resolved; 910 t inactive"},
    {"is repeated only when asked",
     {.repeat_ns = 100 * S},
     "0 w firing:w!; 99 w firing:w; 100 w firing:w!; 199 t firing:w; 200 t firing:w!; 201 - "
     "resolved!"},
    {"ends with its target",
     {0},
     "0 w firing:w!; 10 G gone!; 20 t gone; 909 t gone; 910 t inactive"},
    {"a pending one vanishes with its target", {.hold_ns = 60 * S}, "0 w pending:w; 10 G inactive"},
    {"a target that comes back begins anew", {0}, "0 w firing:w!; 10 G gone!; 20 w firing:w!"},
    {"ends with its rule", {0}, "0 w firing:w!; 10 R resolved!"},
    {"time that goes back is taken as standing",
     {.hold_ns = 60 * S},
     "100 w pending:w; 50 w pending:w; 160 w firing:w!"},
    {"a gate's failure is a level", {0}, "0 f firing:f!; 1 - resolved!"},
};

static tm_level level_of(char letter) {
  static const char letters[] = "-iwhcf";
  const char *at = strchr(letters, letter);
  assert_non_null(at);
  return (tm_level)(at - letters);
}

static void apply(rig *r, int64_t now_s, const char *input) {
  if (*input == 't') {
    tm_alerts_tick(r->alerts, now_s * S);
  } else if (*input == 'G') {
    tm_alerts_target_gone(r->alerts, now_s * S, "t");
  } else if (*input == 'R') {
    tm_alerts_rule_removed(r->alerts, now_s * S, "r");
  } else {
    const char *at = strchr(input, '@');
    tm_finding f = {.key = "",
                    .level = level_of(*input),
                    .value = at ? strtod(at + 1, NULL) : NAN,
                    .unit = TM_UNIT_BYTES,
                    .text = input,
                    .evidence_json = "{\"a\":1}"};
    evaluate(r, now_s, "r", &f, f.level != TM_LEVEL_NONE);
    if (f.level) assert_string_equal(alert_of(r, "r", "").text, input);
  }
}

static void run_timeline(const timeline *line, bool with_reload) {
  rig r;
  open_rig(&r, &line->policy);
  for (const char *at = line->steps; *at;) {
    int64_t now_s;
    char input[16], expected[32], got[64];
    int used = 0;
    assert_int_equal(sscanf(at, " %" SCNd64 " %15s %31[^;]%n", &now_s, input, expected, &used), 3);
    size_t told = r.told;
    apply(&r, now_s, input);
    tm_alert a = alert_of(&r, "r", "");
    bool active = a.state == TM_ALERT_PENDING || a.state == TM_ALERT_FIRING;
    snprintf(got, sizeof got, "%s%s%.1s%s", tm_alert_state_name(a.state), active ? ":" : "",
             active ? tm_level_name(a.level) : "", r.told > told ? "!" : "");
    char *shown = strstr(expected, ":-");
    if (shown) *shown = '\0';
    if (strcmp(got, expected) != 0)
      fail_msg("%s%s: at %" PRId64 " expected %s, got %s", line->says,
               with_reload ? " (with reload)" : "", now_s, expected, got);
    assert_int_equal(tm_alerts_is_firing(r.alerts, "r", "t"), a.state == TM_ALERT_FIRING);
    if (with_reload) reload(&r, now_s * S);
    at += used;
    if (*at == ';') at++;
  }
  close_rig(&r);
}

static void follows_every_timeline(void **state) {
  (void)state;
  for (size_t i = 0; i < TM_COUNT(timelines); i++) run_timeline(&timelines[i], false);
}

static void follows_every_timeline_through_restarts(void **state) {
  (void)state;
  for (size_t i = 0; i < TM_COUNT(timelines); i++) run_timeline(&timelines[i], true);
}

// ---- what one alert carries ----

static void carries_what_was_found(void **state) {
  (void)state;
  rig r;
  open_rig(&r, &(tm_alert_policy){.hold_ns = 10 * S});
  tm_finding f = {
      .key = "fd", .level = TM_LEVEL_WARN, .value = 5, .unit = TM_UNIT_COUNT, .text = "one"};
  evaluate(&r, 0, "r", &f, 1);
  f = (tm_finding){.key = "fd",
                   .level = TM_LEVEL_HIGH,
                   .value = 7,
                   .unit = TM_UNIT_COUNT,
                   .text = "two",
                   .evidence_json = "{\"n\":7}"};
  evaluate(&r, 10, "r", &f, 1);
  tm_alert a = alert_of(&r, "r", "fd");
  assert_string_equal(a.text, "two");
  assert_string_equal(a.evidence_json, "{\"n\":7}");
  assert_string_equal(a.target, "t");
  assert_true(a.value == 7);
  assert_int_equal(a.unit, TM_UNIT_COUNT);
  assert_int_equal(a.evaluations_count, 2);
  assert_int_equal(a.pending_since_ns, 0);
  assert_int_equal(a.fired_ns, 10 * S);
  assert_int_equal(a.since_ns, 10 * S);
  assert_int_equal(a.told_ns, 10 * S);
  assert_int_equal(a.peak_level, TM_LEVEL_HIGH);
  assert_true(a.fingerprint != alert_of(&r, "r", "").fingerprint);
  close_rig(&r);
}

static void keys_are_alerts_of_their_own_and_the_worse_counts(void **state) {
  (void)state;
  rig r;
  open_rig(&r, NULL);
  tm_finding f[] = {{.key = "a", .level = TM_LEVEL_HIGH, .text = "worse"},
                    {.key = "b", .level = TM_LEVEL_WARN, .text = "b"},
                    {.key = "a", .level = TM_LEVEL_WARN, .text = "better"},
                    {.key = "c", .level = TM_LEVEL_NONE, .text = "none"},
                    {.key = "d", .level = (tm_level)77, .text = "no such level"}};
  evaluate(&r, 0, "r", f, TM_COUNT(f));
  assert_int_equal(alert_count(&r), 2);
  assert_string_equal(alert_of(&r, "r", "a").text, "worse");
  evaluate(&r, 1, "r", f + 1, 1);
  assert_int_equal(alert_of(&r, "r", "a").state, TM_ALERT_RESOLVED);
  assert_int_equal(alert_of(&r, "r", "b").state, TM_ALERT_FIRING);
  assert_int_equal(r.told, 3);
  close_rig(&r);
}

static void a_new_policy_keeps_the_state(void **state) {
  (void)state;
  rig r;
  open_rig(&r, &(tm_alert_policy){.hold_ns = 100 * S});
  see(&r, 0, "r", TM_LEVEL_WARN);
  tm_alert_policy shorter = {.hold_ns = 30 * S};
  assert_int_equal(tm_alerts_policy(r.alerts, "r", &shorter), TM_OK);
  see(&r, 30, "r", TM_LEVEL_WARN);
  assert_int_equal(alert_of(&r, "r", "").state, TM_ALERT_FIRING);
  assert_string_equal(r.log, "0 r inactive:none>pending:warn\n30 r pending:warn>firing:warn !\n");
  close_rig(&r);
}

static void says_when_only_the_cooldown_holds_it_back(void **state) {
  (void)state;
  rig r;
  open_rig(&r, &(tm_alert_policy){.hold_ns = 5 * S, .cooldown_ns = 60 * S});
  see(&r, 0, "r", TM_LEVEL_WARN);
  see(&r, 5, "r", TM_LEVEL_WARN);
  see(&r, 10, "r", TM_LEVEL_NONE);
  see(&r, 20, "r", TM_LEVEL_WARN);
  assert_false(alert_of(&r, "r", "").cooling);
  see(&r, 25, "r", TM_LEVEL_WARN);
  assert_true(alert_of(&r, "r", "").cooling);
  close_rig(&r);
}

// ---- limits ----

static tm_finding *many(size_t n, char (*keys)[32], const char *prefix) {
  tm_finding *f = calloc(n, sizeof *f);
  for (size_t i = 0; i < n; i++) {
    snprintf(keys[i], 32, "%.4s%zu", prefix, i);
    f[i] = (tm_finding){
        .key = keys[i], .level = i == n - 1 ? TM_LEVEL_CRITICAL : TM_LEVEL_WARN, .text = "x"};
  }
  return f;
}

static void the_rest_is_one_alert(void **state) {
  (void)state;
  rig r;
  char keys[80][32];
  open_rig(&r, NULL);
  tm_finding *f = many(80, keys, "k");
  evaluate(&r, 0, "r", f, 80);
  assert_int_equal(alert_count(&r), 51);
  tm_alert rest = alert_of(&r, "r", TM_ALERT_MORE_KEY);
  assert_int_equal(rest.state, TM_ALERT_FIRING);
  assert_int_equal(rest.level, TM_LEVEL_CRITICAL);
  assert_true(rest.value == 30);
  assert_string_equal(rest.text, "30 more findings are not shown: the limit is 50 per target");
  evaluate(&r, 1, "r", f + 40, 40); // the last ten of the old stay, the places are taken up
  assert_int_equal(alert_of(&r, "r", "k45").state, TM_ALERT_FIRING);
  assert_int_equal(alert_of(&r, "r", "k0").state, TM_ALERT_RESOLVED);
  evaluate(&r, 2, "r", f + 40, 40);
  assert_int_equal(alert_of(&r, "r", "k79").state, TM_ALERT_FIRING);
  assert_int_equal(alert_of(&r, "r", TM_ALERT_MORE_KEY).state, TM_ALERT_RESOLVED);
  assert_int_equal(tm_alerts_get_stats(r.alerts).overflowed_count, 60);
  free(f);
  close_rig(&r);
}

static void keys_that_never_return_do_not_pile_up(void **state) {
  (void)state;
  rig r;
  open_rig(&r, &(tm_alert_policy){.limit = 10, .cooldown_ns = 3600 * S});
  for (int64_t t = 0; t < 200; t++) {
    char keys[10][32], prefix[8];
    snprintf(prefix, sizeof prefix, "%03d", (int)(t % 1000));
    tm_finding *f = many(5, keys, prefix);
    evaluate(&r, t, "r", f, 5);
    free(f);
    assert_true(alert_count(&r) <= 22);
  }
  close_rig(&r);
}

// ---- mutes ----

static void a_silence_mutes_until_it_ends(void **state) {
  (void)state;
  rig r;
  open_rig(&r, NULL);
  tm_silence wish = {.rule = "r*", .target = "t", .until_ns = 50 * S, .why = "known"};
  uint64_t id = 0;
  assert_int_equal(tm_alerts_silence(r.alerts, &wish, &id), TM_OK);
  see(&r, 0, "r", TM_LEVEL_WARN);
  see(&r, 10, "other", TM_LEVEL_WARN);
  assert_int_equal(r.told, 1);
  tm_alert a = alert_of(&r, "r", "");
  assert_true(a.silenced);
  assert_string_equal(a.silence_why, "known");
  reload(&r, 20 * S); // silences survive too
  tm_alerts_tick(r.alerts, 49 * S);
  assert_int_equal(r.told, 1);
  tm_alerts_tick(r.alerts, 50 * S);
  assert_int_equal(r.told, 2);
  assert_false(alert_of(&r, "r", "").silenced);
  assert_non_null(strstr(r.log, "50 r firing:warn>firing:warn !"));
  assert_false(tm_alerts_unsilence(r.alerts, id)); // it is gone by itself
  close_rig(&r);
}

static void what_was_never_told_ends_silently(void **state) {
  (void)state;
  rig r;
  open_rig(&r, NULL);
  tm_silence wish = {.key = "", .until_ns = 500 * S};
  uint64_t id = 0;
  assert_int_equal(tm_alerts_silence(r.alerts, &wish, &id), TM_OK);
  see(&r, 0, "r", TM_LEVEL_WARN);
  see(&r, 10, "r", TM_LEVEL_CRITICAL);
  see(&r, 20, "r", TM_LEVEL_NONE);
  assert_int_equal(r.told, 0);
  assert_int_equal(tm_alerts_get_stats(r.alerts).muted_count, 2);
  assert_true(tm_alerts_unsilence(r.alerts, id));
  see(&r, 30, "r", TM_LEVEL_WARN);
  assert_int_equal(r.told, 1);
  close_rig(&r);
}

static const char *name_target(void *ud, const char *target) {
  return strcmp(target, "t") == 0 ? ud : NULL;
}

static void a_silence_knows_targets_by_name(void **state) {
  (void)state;
  rig r;
  char name[] = "checkout";
  open_rig(&r, NULL);
  tm_alerts_set_namer(r.alerts, name_target, name);
  tm_silence wish = {.target = "check*", .until_ns = 500 * S};
  assert_int_equal(tm_alerts_silence(r.alerts, &wish, NULL), TM_OK);
  see(&r, 0, "r", TM_LEVEL_WARN);
  tm_finding f = {.key = "", .level = TM_LEVEL_WARN};
  assert_int_equal(tm_alerts_evaluate(r.alerts, 0, "r", "u", &f, 1), TM_OK);
  assert_int_equal(r.told, 1);
  close_rig(&r);
}

static void silences_are_limited(void **state) {
  (void)state;
  rig r;
  open_rig(&r, NULL);
  tm_silence wish = {.until_ns = S};
  for (int i = 0; i < TM_SILENCE_LIMIT; i++)
    assert_int_equal(tm_alerts_silence(r.alerts, &wish, NULL), TM_OK);
  assert_int_equal(tm_alerts_silence(r.alerts, &wish, NULL), TM_E_LIMIT);
  close_rig(&r);
}

static void a_firing_rule_inhibits_others_on_its_target(void **state) {
  (void)state;
  static const char *const muted[] = {"slope", "x.*"};
  rig r;
  open_rig(&r, NULL);
  tm_alert_policy policy = {.inhibits = muted, .inhibit_count = 2};
  assert_int_equal(tm_alerts_policy(r.alerts, "pressure", &policy), TM_OK);
  see(&r, 0, "pressure", TM_LEVEL_CRITICAL);
  see(&r, 1, "slope", TM_LEVEL_WARN);
  see(&r, 1, "x.y", TM_LEVEL_WARN);
  assert_int_equal(r.told, 1);
  assert_string_equal(alert_of(&r, "slope", "").inhibited_by, "pressure");
  tm_finding f = {.key = "", .level = TM_LEVEL_WARN};
  assert_int_equal(tm_alerts_evaluate(r.alerts, 2 * S, "slope", "elsewhere", &f, 1), TM_OK);
  assert_int_equal(r.told, 2);
  see(&r, 3, "pressure", TM_LEVEL_NONE);
  assert_int_equal(r.told, 3);
  tm_alerts_tick(r.alerts, 4 * S); // those that still fire are told now
  assert_int_equal(r.told, 5);
  assert_null(alert_of(&r, "slope", "").inhibited_by);
  close_rig(&r);
}

// ---- callbacks that call back ----

typedef struct echo {
  rig r;
  int depth, deepest, count;
} echo;

static void call_back(void *ud, const tm_alert_transition *t) {
  echo *e = ud;
  if (++e->depth > e->deepest) e->deepest = e->depth;
  e->count++;
  int64_t now_s = t->time_ns / S;
  if (t->to_state == TM_ALERT_FIRING && strcmp(t->alert->rule, "r") == 0) {
    see(&e->r, now_s, "second", TM_LEVEL_WARN);
    see(&e->r, now_s, "r", TM_LEVEL_NONE); // the very alert that is being delivered
    tm_alerts_tick(e->r.alerts, t->time_ns + 10000 * S);
    tm_alerts_target_gone(e->r.alerts, t->time_ns, "t");
    assert_string_equal(t->alert->rule, "r");
  }
  e->depth--;
}

static void callbacks_may_call_back(void **state) {
  (void)state;
  echo e = {0};
  tm_ctx_init(&e.r.ctx, NULL);
  assert_int_equal(tm_alerts_new(&e.r.ctx, call_back, &e, &e.r.alerts), TM_OK);
  see(&e.r, 0, "r", TM_LEVEL_WARN);
  assert_int_equal(e.deepest, 1);
  assert_int_equal(e.count, 5); // r: firing, resolved, forgotten; second: firing, gone
  close_rig(&e.r);
}

// ---- damaged blobs ----

static void make_blob(rig *r, tm_bytes *blob) {
  open_rig(r, &(tm_alert_policy){.hold_ns = 10 * S, .cooldown_ns = 100 * S});
  tm_finding f[] = {
      {.key = "a", .level = TM_LEVEL_HIGH, .value = 3, .text = "sentence", .evidence_json = "{}"},
      {.key = "b", .level = TM_LEVEL_WARN, .value = 4, .text = "another"}};
  evaluate(r, 0, "r", f, 2);
  evaluate(r, 10, "r", f, 2);
  evaluate(r, 20, "r", f, 1);
  see(r, 20, "other", TM_LEVEL_INFO);
  tm_silence wish = {.rule = "x", .until_ns = 900 * S, .why = "because"};
  assert_int_equal(tm_alerts_silence(r->alerts, &wish, NULL), TM_OK);
  assert_int_equal(tm_alerts_save(r->alerts, blob), TM_OK);
}

// Loads size bytes in a block of exactly that size, and lives on with what was loaded.
static tm_status try_load(const uint8_t *bytes, size_t size) {
  tm_ctx ctx;
  tm_alerts *alerts;
  uint8_t *exact = malloc(size ? size : 1);
  if (size) memcpy(exact, bytes, size);
  tm_ctx_init(&ctx, NULL);
  assert_int_equal(tm_alerts_new(&ctx, NULL, NULL, &alerts), TM_OK);
  tm_status status = tm_alerts_load(alerts, 30 * S, exact, size);
  free(exact);
  if (status != TM_OK) assert_false(tm_alerts_busy(alerts));
  assert_int_equal(tm_alerts_evaluate(alerts, 40 * S, "r", "t", NULL, 0), TM_OK);
  tm_alerts_tick(alerts, 50 * S);
  tm_alerts_target_gone(alerts, 60 * S, "t");
  tm_alerts_tick(alerts, INT64_MAX);
  tm_alerts_free(alerts);
  tm_ctx_fini(&ctx);
  return status;
}

static void damaged_blobs_are_refused(void **state) {
  (void)state;
  rig r;
  tm_bytes blob = {0};
  make_blob(&r, &blob);
  assert_int_equal(try_load(blob.data, blob.size), TM_OK);
  for (size_t size = 0; size < blob.size; size++)
    assert_int_equal(try_load(blob.data, size), TM_E_FORMAT);
  assert_int_equal(tm_bytes_append(&r.ctx, &blob, "x", 1), TM_OK);
  assert_int_equal(try_load(blob.data, blob.size--), TM_E_FORMAT);
  size_t refused = 0;
  for (size_t i = 0; i < blob.size; i++)
    for (int bit = 0; bit < 8; bit++) {
      blob.data[i] ^= (uint8_t)(1 << bit);
      tm_status status = try_load(blob.data, blob.size);
      assert_true(status == TM_OK || status == TM_E_FORMAT || status == TM_E_VERSION);
      refused += status != TM_OK;
      blob.data[i] ^= (uint8_t)(1 << bit);
    }
  assert_true(refused > blob.size); // more than one bit of each byte matters
  blob.data[4] = 9;
  assert_int_equal(try_load(blob.data, blob.size), TM_E_VERSION);
  assert_int_equal(tm_alerts_load(r.alerts, 0, blob.data, blob.size), TM_E_ARG); // not empty
  tm_bytes_free(&r.ctx, &blob);
  close_rig(&r);
}

// ---- no memory ----

static void play(failing_alloc *f) {
  static const char *const muted[] = {"second"};
  tm_allocator alloc = failing_allocator(f);
  tm_ctx ctx;
  tm_alerts *alerts;
  tm_bytes blob = {0};
  char keys[6][32];
  rig r = {0};
  tm_ctx_init(&ctx, &alloc);
  if (tm_alerts_new(&ctx, on_transition, &r, &alerts) == TM_OK) {
    tm_alert_policy policy = {.limit = 4, .inhibits = muted, .inhibit_count = 1};
    tm_silence wish = {.rule = "s", .until_ns = 5 * S};
    tm_status ignored = tm_alerts_policy(alerts, "r", &policy);
    ignored = tm_alerts_silence(alerts, &wish, NULL);
    tm_finding *found = many(6, keys, "k");
    for (int64_t t = 0; t < 4; t++) {
      ignored = tm_alerts_evaluate(alerts, t * S, "r", "t", found, t == 2 ? 1 : 6);
      ignored = tm_alerts_evaluate(alerts, t * S, "second", "t", found, 2);
      tm_alerts_tick(alerts, t * S);
    }
    free(found);
    ignored = tm_alerts_save(alerts, &blob);
    tm_alerts_target_gone(alerts, 9 * S, "t");
    tm_alerts_tick(alerts, 10000 * S);
    tm_alerts *again;
    if (tm_alerts_new(&ctx, NULL, NULL, &again) == TM_OK) {
      ignored = tm_alerts_load(again, 9 * S, blob.data, blob.size);
      tm_alerts_free(again);
    }
    (void)ignored;
    tm_alerts_free(alerts);
  }
  tm_bytes_free(&ctx, &blob);
  tm_ctx_fini(&ctx);
}

static void survives_without_memory(void **state) {
  (void)state;
  failing_alloc all = {0};
  play(&all);
  assert_int_equal(all.held_bytes, 0);
  for (uint64_t at = 1; at <= all.requests; at++)
    for (int once = 0; once < 2; once++) {
      failing_alloc f = {.fail_at = at, .once = once};
      play(&f);
      assert_int_equal(f.held_bytes, 0);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(follows_every_timeline),
      cmocka_unit_test(follows_every_timeline_through_restarts),
      cmocka_unit_test(carries_what_was_found),
      cmocka_unit_test(keys_are_alerts_of_their_own_and_the_worse_counts),
      cmocka_unit_test(a_new_policy_keeps_the_state),
      cmocka_unit_test(says_when_only_the_cooldown_holds_it_back),
      cmocka_unit_test(the_rest_is_one_alert),
      cmocka_unit_test(keys_that_never_return_do_not_pile_up),
      cmocka_unit_test(a_silence_mutes_until_it_ends),
      cmocka_unit_test(what_was_never_told_ends_silently),
      cmocka_unit_test(a_silence_knows_targets_by_name),
      cmocka_unit_test(silences_are_limited),
      cmocka_unit_test(a_firing_rule_inhibits_others_on_its_target),
      cmocka_unit_test(callbacks_may_call_back),
      cmocka_unit_test(damaged_blobs_are_refused),
      cmocka_unit_test(survives_without_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
