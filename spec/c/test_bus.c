// floors: engine
// The bus: one order for all, safe against subscribers that subscribe, leave or publish meanwhile.
#include "engine/bus.h"
#include "failing_alloc.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

typedef struct listener {
  tm_bus *bus;
  char heard[4000];
  uint64_t id, other_id;
  struct listener *other;
  int todo; // what to do on the next event
} listener;

enum { NOTHING, LEAVE, DROP_OTHER, ADD_OTHER, PUBLISH, STORM };

static void hear(void *ud, const tm_event *event);

static void say(tm_bus *bus, tm_event_kind kind, const char *text) {
  tm_event event = {.kind = kind, .text = text, .time_ns = 7};
  tm_bus_publish(bus, &event);
}

static void listen(listener *l, tm_bus *bus, uint32_t kinds) {
  l->bus = bus;
  assert_int_equal(tm_bus_subscribe(bus, kinds, hear, l, &l->id), TM_OK);
}

static void hear(void *ud, const tm_event *event) {
  listener *l = ud;
  size_t used = strlen(l->heard);
  assert_non_null(event->rule);
  assert_non_null(event->target);
  assert_non_null(event->json);
  if (used + 64 < sizeof l->heard)
    snprintf(l->heard + used, sizeof l->heard - used, "%s ", event->text);
  int todo = l->todo;
  if (todo != STORM) l->todo = NOTHING;
  if (todo == LEAVE) tm_bus_unsubscribe(l->bus, l->id);
  if (todo == DROP_OTHER) tm_bus_unsubscribe(l->bus, l->other->id);
  if (todo == ADD_OTHER) listen(l->other, l->bus, 0);
  if (todo == PUBLISH) say(l->bus, TM_EVENT_NOTE, "nested");
  if (todo == STORM) say(l->bus, TM_EVENT_NOTE, "again");
}

typedef struct rig {
  tm_ctx ctx;
  tm_bus *bus;
  listener a, b, c;
} rig;

static int open_rig(void **state) {
  rig *r = calloc(1, sizeof *r);
  tm_ctx_init(&r->ctx, NULL);
  if (tm_bus_new(&r->ctx, &r->bus) != TM_OK) return -1;
  *state = r;
  return 0;
}

static int close_rig(void **state) {
  rig *r = *state;
  tm_bus_free(r->bus);
  tm_ctx_fini(&r->ctx);
  free(r);
  return 0;
}

static void delivers_in_order_and_by_kind(void **state) {
  rig *r = *state;
  listen(&r->a, r->bus, 0);
  listen(&r->b, r->bus, TM_EVENT_BIT(TM_EVENT_MARK) | TM_EVENT_BIT(TM_EVENT_ALERT));
  say(r->bus, TM_EVENT_NOTE, "1");
  say(r->bus, TM_EVENT_MARK, "2");
  say(r->bus, TM_EVENT_ALERT, "3");
  say(r->bus, TM_EVENT_KINDS, "no such kind");
  assert_string_equal(r->a.heard, "1 2 3 ");
  assert_string_equal(r->b.heard, "2 3 ");
  assert_int_equal(tm_bus_dropped_count(r->bus), 1);
}

static void subscribers_may_leave_during_delivery(void **state) {
  rig *r = *state;
  r->a.todo = DROP_OTHER;
  r->a.other = &r->b;
  r->c.todo = LEAVE;
  listen(&r->a, r->bus, 0);
  listen(&r->b, r->bus, 0);
  listen(&r->c, r->bus, 0);
  say(r->bus, TM_EVENT_NOTE, "1");
  say(r->bus, TM_EVENT_NOTE, "2");
  assert_string_equal(r->a.heard, "1 2 ");
  assert_string_equal(r->b.heard, "");
  assert_string_equal(r->c.heard, "1 ");
  tm_bus_unsubscribe(r->bus, 999);
}

static void a_new_subscriber_hears_what_comes_after(void **state) {
  rig *r = *state;
  r->a.todo = ADD_OTHER;
  r->a.other = &r->b;
  listen(&r->a, r->bus, 0);
  say(r->bus, TM_EVENT_NOTE, "1");
  say(r->bus, TM_EVENT_NOTE, "2");
  assert_string_equal(r->b.heard, "2 ");
}

static void nested_events_wait_for_their_turn(void **state) {
  rig *r = *state;
  r->a.todo = PUBLISH;
  listen(&r->a, r->bus, 0);
  listen(&r->b, r->bus, 0);
  say(r->bus, TM_EVENT_NOTE, "1");
  say(r->bus, TM_EVENT_NOTE, "2");
  assert_string_equal(r->a.heard, "1 nested 2 ");
  assert_string_equal(r->b.heard, "1 nested 2 ");
}

static void a_storm_ends(void **state) {
  rig *r = *state;
  r->a.todo = STORM;
  listen(&r->a, r->bus, 0);
  say(r->bus, TM_EVENT_NOTE, "1");
  assert_int_equal(tm_bus_dropped_count(r->bus), 1);
}

typedef struct seen {
  size_t count;
  uint64_t first, last;
  size_t json_bytes;
} seen;

static void look(void *ud, const tm_event *event) {
  seen *s = ud;
  if (!s->count++) s->first = event->seq;
  assert_true(s->count == 1 || event->seq == s->last + 1);
  s->last = event->seq;
  s->json_bytes += strlen(event->json);
}

static void remembers_the_last_ones(void **state) {
  rig *r = *state;
  char text[16];
  for (int i = 1; i <= 1000; i++) {
    snprintf(text, sizeof text, "%d", i);
    say(r->bus, TM_EVENT_NOTE, text);
  }
  seen s = {0};
  tm_bus_recent(r->bus, 0, look, &s);
  assert_int_equal(s.count, TM_BUS_RECENT);
  assert_int_equal(s.first, 1000 - TM_BUS_RECENT + 1);
  assert_int_equal(s.last, 1000);
  s = (seen){0};
  tm_bus_recent(r->bus, 998, look, &s);
  assert_int_equal(s.count, 2);
}

static void big_events_do_not_fill_the_memory(void **state) {
  rig *r = *state;
  static char big[100 << 10], middle[40 << 10];
  memset(big, ' ', sizeof big - 1);
  memset(middle, ' ', sizeof middle - 1);
  listen(&r->a, r->bus, 0);
  for (int i = 0; i < 100; i++) {
    tm_event event = {.kind = TM_EVENT_EVIDENCE, .text = "x", .json = i % 2 ? big : middle};
    tm_bus_publish(r->bus, &event);
  }
  seen s = {0};
  tm_bus_recent(r->bus, 0, look, &s);
  assert_int_equal(s.last, 100);
  assert_true(s.json_bytes <= TM_BUS_RECENT_BYTES && s.json_bytes > TM_BUS_RECENT_BYTES / 2);
}

static void without_memory_it_still_delivers(void **state) {
  (void)state;
  for (uint64_t fail_at = 2; fail_at < 40; fail_at++) {
    failing_alloc f = {.fail_at = fail_at};
    tm_allocator alloc = failing_allocator(&f);
    rig r = {0};
    tm_ctx_init(&r.ctx, &alloc);
    assert_int_equal(tm_bus_new(&r.ctx, &r.bus), TM_OK);
    r.a.bus = r.bus;
    r.a.todo = PUBLISH;
    if (tm_bus_subscribe(r.bus, 0, hear, &r.a, &r.a.id) == TM_OK) {
      for (int i = 0; i < 20; i++) say(r.bus, TM_EVENT_NOTE, "1");
      assert_int_equal(strlen(r.a.heard) >= 40, 1);
    }
    tm_bus_free(r.bus);
    tm_ctx_fini(&r.ctx);
    assert_int_equal(f.held_bytes, 0);
  }
}

static void names_every_kind(void **state) {
  (void)state;
  for (int kind = 0; kind < TM_EVENT_KINDS; kind++)
    assert_non_null(tm_event_kind_name((tm_event_kind)kind));
  assert_string_equal(tm_event_kind_name(TM_EVENT_RULE_LOAD_FAILED), "rule_load_failed");
  assert_string_equal(tm_event_kind_name(TM_EVENT_KINDS), "unknown");
}

#define IN_RIG(test) cmocka_unit_test_setup_teardown(test, open_rig, close_rig)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_RIG(delivers_in_order_and_by_kind),
      IN_RIG(subscribers_may_leave_during_delivery),
      IN_RIG(a_new_subscriber_hears_what_comes_after),
      IN_RIG(nested_events_wait_for_their_turn),
      IN_RIG(a_storm_ends),
      IN_RIG(remembers_the_last_ones),
      IN_RIG(big_events_do_not_fill_the_memory),
      cmocka_unit_test(without_memory_it_still_delivers),
      cmocka_unit_test(names_every_kind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
