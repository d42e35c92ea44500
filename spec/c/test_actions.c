// floors: engine
// Actions: who may, how often, how long, and what they are worth.
#include "engine/actions.h"
#include "failing_alloc.h"
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define S   INT64_C(1000000000)
#define MIB (UINT64_C(1) << 20)

typedef struct rig {
  tm_ctx ctx;
  tm_actions *actions;
  int64_t now;
  char log[4000]; // of outcomes: "name outcome"
  char message[400], sentence[400];
  tm_action_record last; // its strings are gone
  bool done_at_once;     // run ends before it returns
  tm_status answer;
  uint64_t started[100];
  size_t started_count, cancelled_count, depth, deepest;
  tm_action_probe memory;
  bool readable;
  uint64_t gain; // what a run takes from the memory
} rig;

static void on_record(void *ud, const tm_action_record *record) {
  rig *r = ud;
  size_t used = strlen(r->log);
  if (used + 80 < sizeof r->log)
    snprintf(r->log + used, sizeof r->log - used, "%s%s %s", used ? ", " : "", record->name,
             tm_action_outcome_name(record->outcome));
  snprintf(r->message, sizeof r->message, "%s", record->message);
  tm_action_describe(record, r->sentence, sizeof r->sentence);
  assert_non_null(record->rule);
  assert_non_null(record->package);
  assert_non_null(record->capability);
  assert_non_null(record->args_json);
  r->last = *record;
}

static void run(void *ud, const tm_action_call *call) {
  rig *r = ud;
  r->memory.rss_bytes -= r->gain;
  if (r->started_count < TM_COUNT(r->started)) r->started[r->started_count] = call->id;
  r->started_count++;
  if (++r->depth > r->deepest) r->deepest = r->depth;
  if (r->done_at_once) tm_actions_done(r->actions, r->now, call->id, r->answer, "ran");
  r->depth--;
}

static void cancel(void *ud, uint64_t id) {
  rig *r = ud;
  r->cancelled_count++;
  tm_actions_done(r->actions, r->now, id, TM_OK, "too late"); // is ignored
}

static bool probe(void *ud, const char *target, tm_action_probe *out) {
  rig *r = ud;
  assert_string_equal(target, "t");
  *out = r->memory;
  return r->readable;
}

static void register_defs(rig *r) {
  const tm_action_def defs[] = {
      {.name = "trim", .capability = "act:trim", .run = run, .cancel = cancel, .ud = r},
      {.name = "hook", .capability = "act:hook", .unmeasured = true, .run = run, .ud = r},
      {.name = "term", .capability = "signal:TERM", .kill_like = true, .run = run, .ud = r},
  };
  for (size_t i = 0; i < TM_COUNT(defs); i++)
    assert_int_equal(tm_actions_register(r->actions, &defs[i]), TM_OK);
}

static void open_with(rig *r, tm_actions_options options) {
  *r = (rig){.now = 1000 * S, .done_at_once = true, .readable = true};
  r->memory.rss_bytes = 500 * MIB;
  options.audit_fn = on_record;
  options.audit_ud = r;
  tm_ctx_init(&r->ctx, NULL);
  assert_int_equal(tm_actions_new(&r->ctx, &options, &r->actions), TM_OK);
  register_defs(r);
  assert_int_equal(tm_actions_grant(r->actions, "acme/*", "act:*"), TM_OK);
}

static int open_rig(void **state) {
  rig *r = malloc(sizeof *r);
  open_with(r, (tm_actions_options){0});
  *state = r;
  return 0;
}

static int close_rig(void **state) {
  rig *r = *state;
  tm_actions_free(r->actions);
  tm_ctx_fini(&r->ctx);
  free(r);
  return 0;
}

static tm_action_request request_of(const char *name) {
  return (tm_action_request){
      .rule = "slope", .package = "acme/memory", .target = "t", .name = name, .tag = 42};
}

static void ask(rig *r, const char *name) {
  tm_action_request request = request_of(name);
  tm_actions_request(r->actions, r->now, &request);
}

static void wait_s(rig *r, int64_t seconds) {
  r->now += seconds * S;
  tm_actions_tick(r->actions, r->now);
}

static void assert_log(rig *r, const char *expected) {
  assert_string_equal(r->log, expected);
  r->log[0] = '\0';
}

// ---- the gate ----

static void runs_what_is_granted(void **state) {
  rig *r = *state;
  ask(r, "hook");
  assert_log(r, "hook done");
  assert_string_equal(r->message, "ran");
  assert_int_equal(r->last.tag, 42);
  assert_int_equal(r->last.requested_ns, r->now);
  assert_false(tm_actions_busy(r->actions));
}

static void denies_what_is_not_granted(void **state) {
  rig *r = *state;
  tm_action_request request = request_of("trim");
  request.package = "stranger/rules";
  tm_actions_request(r->actions, r->now, &request);
  assert_log(r, "trim denied");
  assert_string_equal(r->message, "act:trim is not granted to stranger/rules");
  request.package = NULL;
  tm_actions_request(r->actions, r->now, &request);
  assert_log(r, "trim denied");
  tm_actions_revoke_all(r->actions);
  ask(r, "trim");
  assert_log(r, "trim denied");
  assert_int_equal(r->started_count, 0);
}

static void only_looking_is_granted_from_the_start(void **state) {
  rig *r = *state;
  tm_actions_revoke_all(r->actions);
  static const char *const refused[] = {
      "act:gc", "exec:/bin/sh", "net:example.org", "signal:TERM", "fs:/tmp", "intake:x", ""};
  assert_true(tm_actions_granted(r->actions, "any", "take:heap_profile"));
  for (size_t i = 0; i < TM_COUNT(refused); i++)
    assert_false(tm_actions_granted(r->actions, "any", refused[i]));
}

static void knows_no_other_actions(void **state) {
  rig *r = *state;
  ask(r, "nonsense");
  assert_log(r, "nonsense failed");
  tm_action_def twice = {.name = "trim", .capability = "act:trim", .run = run};
  assert_int_equal(tm_actions_register(r->actions, &twice), TM_E_ARG);
}

static void a_kill_needs_confirmation_and_fresh_evidence(void **state) {
  rig *r = *state;
  tm_action_request request = request_of("term");
  tm_actions_request(r->actions, r->now, &request);
  assert_log(r, "term denied");
  assert_int_equal(tm_actions_grant(r->actions, "acme/memory", "signal:TERM"), TM_OK);
  tm_actions_request(r->actions, r->now, &request);
  assert_log(r, "term denied");
  assert_non_null(strstr(r->message, "confirm"));
  request.confirm = true;
  tm_actions_request(r->actions, r->now, &request);
  assert_log(r, "term denied");
  assert_non_null(strstr(r->message, "evidence"));
  assert_int_equal(tm_actions_note_evidence(r->actions, r->now, "other"), TM_OK);
  tm_actions_request(r->actions, r->now + 1, &request);
  assert_log(r, "term denied");
  assert_int_equal(tm_actions_note_evidence(r->actions, r->now, "t"), TM_OK);
  tm_actions_request(r->actions, r->now + 30 * S + 1, &request);
  assert_log(r, "term denied");
  tm_actions_request(r->actions, r->now + 30 * S, &request);
  assert_log(r, "term done");
}

static void cooldown_and_hourly_limit(void **state) {
  rig *r = *state;
  tm_action_request request = request_of("hook");
  request.cooldown_ns = 300 * (uint64_t)S;
  tm_actions_request(r->actions, r->now, &request);
  tm_actions_request(r->actions, r->now + 299 * S, &request);
  assert_log(r, "hook done, hook limited");
  assert_string_equal(r->message, "its cooldown lasts another 1 s");
  tm_actions_request(r->actions, r->now + 300 * S, &request);
  assert_log(r, "hook done");
  r->now += 4000 * S;
  for (int i = 0; i < 30; i++) ask(r, "hook");
  assert_int_equal(r->started_count, 32);
  ask(r, "hook");
  ask(r, "trim"); // the same rule and target
  assert_int_equal(r->started_count, 32);
  assert_string_equal(r->message,
                      "30 actions of this rule on this target in one hour are the limit");
  request = request_of("hook");
  request.rule = "another";
  tm_actions_request(r->actions, r->now, &request);
  assert_int_equal(r->started_count, 33);
  r->now += 3600 * S;
  ask(r, "hook");
  assert_int_equal(r->started_count, 34);
}

static void a_dry_run_only_says_what_would_be(void **state) {
  (void)state;
  rig r;
  open_with(&r, (tm_actions_options){.dry_run = true});
  ask(&r, "trim");
  assert_log(&r, "trim dry_run");
  assert_int_equal(r.last.would, TM_ACTION_DONE);
  tm_action_request request = request_of("trim");
  request.cooldown_ns = S;
  tm_actions_request(r.actions, r.now, &request);
  assert_log(&r, "trim dry_run");
  assert_string_equal(r.message, "would be limited: its cooldown lasts another 1 s");
  ask(&r, "term");
  assert_log(&r, "term dry_run");
  assert_int_equal(r.last.would, TM_ACTION_DENIED);
  ask(&r, "nonsense");
  assert_log(&r, "nonsense dry_run");
  assert_int_equal(r.started_count, 0);
  assert_false(tm_actions_busy(r.actions));
  tm_actions_free(r.actions);
  tm_ctx_fini(&r.ctx);
}

static void one_request_may_be_dry(void **state) {
  rig *r = *state;
  tm_action_request request = request_of("trim");
  request.dry_run = true;
  tm_actions_request(r->actions, r->now, &request);
  assert_log(r, "trim dry_run");
  assert_int_equal(r->started_count, 0);
}

// ---- runs ----

static void runs_in_order_and_not_too_many_at_once(void **state) {
  (void)state;
  rig r;
  open_with(&r, (tm_actions_options){.max_running = 2, .max_per_hour = 120});
  r.done_at_once = false;
  for (int i = 0; i < 5; i++) ask(&r, "hook");
  assert_int_equal(r.started_count, 2);
  tm_actions_done(r.actions, r.now, r.started[1], TM_OK, NULL);
  assert_int_equal(r.started_count, 3);
  assert_true(r.started[2] > r.started[1]);
  tm_actions_done(r.actions, r.now, r.started[0], TM_E_IO, "no");
  assert_log(&r, "hook done, hook failed");
  assert_int_equal(r.last.status, TM_E_IO);
  tm_actions_done(r.actions, r.now, r.started[0], TM_OK, "again"); // is ignored
  for (int i = 0; i < 70; i++) ask(&r, "hook");
  assert_string_equal(r.message, "64 actions wait already");
  tm_actions_free(r.actions);
  tm_ctx_fini(&r.ctx);
}

static void those_done_at_once_do_not_nest(void **state) {
  (void)state;
  rig r;
  open_with(&r, (tm_actions_options){.max_running = 1, .max_per_hour = 120});
  r.done_at_once = false;
  for (int i = 0; i < 60; i++) ask(&r, "hook");
  r.done_at_once = true;
  tm_actions_done(r.actions, r.now, r.started[0], TM_OK, NULL);
  assert_int_equal(r.started_count, 60);
  assert_int_equal(r.deepest, 1);
  assert_false(tm_actions_busy(r.actions));
  tm_actions_free(r.actions);
  tm_ctx_fini(&r.ctx);
}

static void every_run_has_a_timeout(void **state) {
  rig *r = *state;
  r->done_at_once = false;
  ask(r, "trim");
  tm_action_request request = request_of("trim");
  request.timeout_ns = 5 * (uint64_t)S;
  tm_actions_request(r->actions, r->now, &request);
  wait_s(r, 4);
  assert_log(r, "");
  wait_s(r, 1);
  assert_log(r, "trim timeout");
  assert_string_equal(
      r->sentence, "trim on t for slope: timed out after 5 s: it was not done within its 5000 ms");
  assert_int_equal(r->last.status, TM_E_TIMEOUT);
  wait_s(r, 24);
  assert_log(r, "");
  wait_s(r, 1);
  assert_log(r, "trim timeout");
  assert_int_equal(r->cancelled_count, 2);
  tm_actions_done(r->actions, r->now, r->started[0], TM_OK, "late");
  assert_log(r, "");
}

static void waiting_has_a_timeout_too(void **state) {
  (void)state;
  rig r;
  open_with(&r, (tm_actions_options){.max_running = 1});
  r.done_at_once = false;
  ask(&r, "trim");
  r.now += 10 * S;
  tm_action_request request = request_of("trim");
  request.timeout_ns = 5 * (uint64_t)S;
  tm_actions_request(r.actions, r.now, &request);
  wait_s(&r, 5);
  assert_log(&r, "trim timeout");
  assert_string_equal(r.message, "it found no place to run within its 5000 ms");
  assert_int_equal(r.started_count, 1);
  assert_int_equal(r.cancelled_count, 0);
  tm_actions_free(r.actions);
  tm_ctx_fini(&r.ctx);
}

static void ends_with_its_target(void **state) {
  rig *r = *state;
  r->done_at_once = false;
  ask(r, "trim");
  tm_actions_target_gone(r->actions, r->now, "other");
  assert_log(r, "");
  tm_actions_target_gone(r->actions, r->now, "t");
  assert_log(r, "trim failed");
  assert_int_equal(r->last.status, TM_E_GONE);
  assert_int_equal(r->cancelled_count, 1);
  assert_false(tm_actions_busy(r->actions));
}

// ---- experiments ----

static void measures_what_it_gained(void **state) {
  rig *r = *state;
  tm_actions_set_probe(r->actions, probe, r);
  r->gain = 100 * MIB;
  ask(r, "trim");
  assert_log(r, "trim done");
  r->memory.refaults_count = 7;
  wait_s(r, 59);
  assert_log(r, "");
  assert_true(tm_actions_busy(r->actions));
  wait_s(r, 1);
  assert_log(r, "trim measured");
  assert_int_equal(r->last.tag, 0);
  assert_true(r->last.has_before && r->last.has_after);
  assert_int_equal(r->last.before.rss_bytes, 500 * MIB);
  assert_int_equal(r->last.after.rss_bytes, 400 * MIB);
  assert_int_equal(r->last.after.refaults_count, 7);
  assert_int_equal(r->last.gained_bytes, (int64_t)(100 * MIB));
  assert_string_equal(r->sentence, "trim on t: RSS 500 MiB -> 400 MiB (gained 100 MiB)");
  assert_false(tm_actions_busy(r->actions));
}

static void try_with_gain(rig *r, uint64_t gain) {
  r->gain = gain;
  ask(r, "trim");
  wait_s(r, 60);
}

static void what_gains_nothing_twice_is_disabled(void **state) {
  rig *r = *state;
  tm_actions_set_probe(r->actions, probe, r);
  try_with_gain(r, 4 * MIB); // less than 1 % of 500 MiB
  assert_false(r->last.disabled);
  try_with_gain(r, 5 * MIB); // enough: the row is broken
  try_with_gain(r, 0);
  assert_false(r->last.disabled);
  try_with_gain(r, 1 * MIB);
  assert_true(r->last.disabled);
  assert_non_null(strstr(r->message, "it gained nothing twice in a row"));
  assert_non_null(strstr(r->sentence, "disabled"));
  assert_non_null(tm_actions_disabled_why(r->actions, "slope", "t", "trim"));
  r->log[0] = '\0';
  ask(r, "trim");
  assert_log(r, "trim disabled");
  ask(r, "hook"); // only this action is
  assert_log(r, "hook done");
  assert_int_equal(tm_actions_enable(r->actions, "other", NULL, NULL), 0);
  assert_int_equal(tm_actions_enable(r->actions, "slope", "t", "trim"), 1);
  ask(r, "trim");
  assert_log(r, "trim done");
}

static void small_processes_have_to_gain_a_mebibyte(void **state) {
  rig *r = *state;
  tm_actions_set_probe(r->actions, probe, r);
  r->memory.rss_bytes = 20 * MIB;
  try_with_gain(r, MIB - 1);
  try_with_gain(r, MIB - 1);
  assert_true(r->last.disabled);
}

static void losing_memory_is_no_gain(void **state) {
  rig *r = *state;
  tm_actions_set_probe(r->actions, probe, r);
  try_with_gain(r, -(10 * MIB)); // grows
  assert_int_equal(r->last.gained_bytes, -(int64_t)(10 * MIB));
  assert_non_null(strstr(r->sentence, "(lost 10 MiB)"));
  try_with_gain(r, -(10 * MIB));
  assert_true(r->last.disabled);
}

static void another_version_of_the_rule_may_try_again(void **state) {
  rig *r = *state;
  tm_actions_set_probe(r->actions, probe, r);
  assert_int_equal(tm_actions_rule_loaded(r->actions, "slope", 1), TM_OK);
  try_with_gain(r, 0);
  try_with_gain(r, 0);
  assert_int_equal(tm_actions_rule_loaded(r->actions, "slope", 1), TM_OK);
  assert_non_null(tm_actions_disabled_why(r->actions, "slope", "t", "trim"));
  assert_int_equal(tm_actions_rule_loaded(r->actions, "slope", 2), TM_OK);
  assert_null(tm_actions_disabled_why(r->actions, "slope", "t", "trim"));
}

static void what_cannot_be_measured_is_not_judged(void **state) {
  rig *r = *state;
  tm_actions_set_probe(r->actions, probe, r);
  for (int i = 0; i < 4; i++) {
    ask(r, "hook"); // not meant to gain
    wait_s(r, 60);
    r->readable = false; // its target cannot be read before
    ask(r, "trim");
    wait_s(r, 60);
    r->readable = true; // nor after
    ask(r, "trim");
    r->readable = false;
    wait_s(r, 60);
    r->answer = TM_E_IO; // it failed
    r->readable = true;
    ask(r, "trim");
    wait_s(r, 60);
    r->answer = TM_OK;
  }
  assert_null(strstr(r->log, "measured"));
  assert_null(strstr(r->log, "disabled"));
  assert_false(tm_actions_busy(r->actions));
}

// ---- no memory ----

static void play(failing_alloc *f) {
  tm_allocator alloc = failing_allocator(f);
  rig r = {.now = 1000 * S, .done_at_once = true, .readable = true};
  r.memory.rss_bytes = 500 * MIB;
  tm_actions_options options = {.audit_fn = on_record, .audit_ud = &r};
  tm_ctx_init(&r.ctx, &alloc);
  if (tm_actions_new(&r.ctx, &options, &r.actions) == TM_OK) {
    tm_action_def def = {.name = "trim", .capability = "act:trim", .run = run, .ud = &r};
    tm_status ignored = tm_actions_register(r.actions, &def);
    ignored = tm_actions_grant(r.actions, "*", "act:*");
    ignored = tm_actions_rule_loaded(r.actions, "slope", 1);
    ignored = tm_actions_note_evidence(r.actions, r.now, "t");
    (void)ignored;
    tm_actions_set_probe(r.actions, probe, &r);
    for (int i = 0; i < 3; i++) {
      r.log[0] = '\0';
      ask(&r, "trim");
      assert_true(r.log[0] != '\0'); // whatever happens, a record is made
      wait_s(&r, 60);
    }
    tm_actions_target_gone(r.actions, r.now, "t");
    tm_actions_free(r.actions);
  }
  tm_ctx_fini(&r.ctx);
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

#define IN_RIG(test) cmocka_unit_test_setup_teardown(test, open_rig, close_rig)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_RIG(runs_what_is_granted),
      IN_RIG(denies_what_is_not_granted),
      IN_RIG(only_looking_is_granted_from_the_start),
      IN_RIG(knows_no_other_actions),
      IN_RIG(a_kill_needs_confirmation_and_fresh_evidence),
      IN_RIG(cooldown_and_hourly_limit),
      cmocka_unit_test(a_dry_run_only_says_what_would_be),
      IN_RIG(one_request_may_be_dry),
      cmocka_unit_test(runs_in_order_and_not_too_many_at_once),
      cmocka_unit_test(those_done_at_once_do_not_nest),
      IN_RIG(every_run_has_a_timeout),
      cmocka_unit_test(waiting_has_a_timeout_too),
      IN_RIG(ends_with_its_target),
      IN_RIG(measures_what_it_gained),
      IN_RIG(what_gains_nothing_twice_is_disabled),
      IN_RIG(small_processes_have_to_gain_a_mebibyte),
      IN_RIG(losing_memory_is_no_gain),
      IN_RIG(another_version_of_the_rule_may_try_again),
      IN_RIG(what_cannot_be_measured_is_not_judged),
      cmocka_unit_test(survives_without_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
