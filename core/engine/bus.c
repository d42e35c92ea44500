// An event is copied into one block, goes through the queue to the subscribers and then to the list
// of recent ones, which is cut by number and by bytes. A publish from inside a delivery only
// queues: the outermost one delivers, so that all subscribers see the same order.
#include "engine/bus.h"

#include "base/vec.h"

#include <string.h>

enum { JSON_REMEMBERED_MAX = 64 << 10 };

typedef struct node {
  struct node *next;
  size_t size; // of this block
  tm_event event;
  char strings[];
} node;

typedef struct subscriber {
  uint64_t id, from_seq;
  uint32_t kinds;
  tm_event_fn fn; // NULL: gone, removed after the delivery
  void *ud;
} subscriber;

typedef struct list {
  node *first, *last;
  size_t count, size_bytes;
} list;

struct tm_bus {
  tm_ctx *ctx;
  TM_VEC(subscriber) subscribers;
  list queue, recent;
  uint64_t last_seq, last_id, dropped_count;
  size_t nested_count; // queued since the outermost publish began
  bool delivering;
};

const char *tm_event_kind_name(tm_event_kind kind) {
  static const char *const names[TM_EVENT_KINDS] = {
      [TM_EVENT_SAMPLE] = "sample",
      [TM_EVENT_TARGET_ADDED] = "target_added",
      [TM_EVENT_TARGET_GONE] = "target_gone",
      [TM_EVENT_ALERT] = "alert",
      [TM_EVENT_ACTION] = "action",
      [TM_EVENT_EVIDENCE] = "evidence",
      [TM_EVENT_RULE_LOADED] = "rule_loaded",
      [TM_EVENT_RULE_LOAD_FAILED] = "rule_load_failed",
      [TM_EVENT_RULE_UNLOADED] = "rule_unloaded",
      [TM_EVENT_RULE_ERROR] = "rule_error",
      [TM_EVENT_RULE_KILLED] = "rule_killed",
      [TM_EVENT_NOTE] = "note",
      [TM_EVENT_SELF] = "self",
      [TM_EVENT_MARK] = "mark",
      [TM_EVENT_PRESSURE] = "pressure",
  };
  return (size_t)kind < TM_COUNT(names) ? names[kind] : "unknown";
}

tm_status tm_bus_new(tm_ctx *ctx, tm_bus **out) {
  tm_bus *bus = tm_calloc(ctx, 1, sizeof *bus);
  if (!bus) return TM_E_NOMEM;
  bus->ctx = ctx;
  *out = bus;
  return TM_OK;
}

// ---- lists of events ----

static void append(list *l, node *n) {
  n->next = NULL;
  if (l->last)
    l->last->next = n;
  else
    l->first = n;
  l->last = n;
  l->count++;
  l->size_bytes += n->size;
}

static node *take_first(list *l) {
  node *n = l->first;
  l->first = n->next;
  if (!l->first) l->last = NULL;
  l->count--;
  l->size_bytes -= n->size;
  return n;
}

static void free_node(tm_bus *bus, node *n) {
  tm_free(bus->ctx, n, n->size);
}

static const char *place(char **at, const char *text, size_t size) {
  char *copy = memcpy(*at, text, size);
  *at += size;
  return copy;
}

// A copy of an event without NULL strings, in one block; NULL without memory.
static node *copy_event(tm_bus *bus, const tm_event *event) {
  const char *texts[4] = {event->rule, event->target, event->text, event->json};
  size_t sizes[4], total = sizeof(node);
  for (size_t i = 0; i < 4; i++) total += sizes[i] = strlen(texts[i]) + 1;
  bool clean = bus->ctx->error.status == TM_OK;
  node *n = tm_alloc(bus->ctx, total);
  if (!n) {
    if (clean) tm_ctx_clear(bus->ctx);
    return NULL;
  }
  char *at = n->strings;
  n->next = NULL;
  n->size = total;
  n->event = *event;
  n->event.rule = place(&at, texts[0], sizes[0]);
  n->event.target = place(&at, texts[1], sizes[1]);
  n->event.text = place(&at, texts[2], sizes[2]);
  n->event.json = place(&at, texts[3], sizes[3]);
  return n;
}

static void remember(tm_bus *bus, node *n) {
  if (strlen(n->event.json) > JSON_REMEMBERED_MAX) {
    tm_event slim = n->event;
    slim.json = "{}";
    node *full = n;
    n = copy_event(bus, &slim);
    free_node(bus, full);
    if (!n) return;
  }
  append(&bus->recent, n);
  while (bus->recent.count > TM_BUS_RECENT || bus->recent.size_bytes > TM_BUS_RECENT_BYTES)
    free_node(bus, take_first(&bus->recent));
}

void tm_bus_free(tm_bus *bus) {
  if (!bus) return;
  while (bus->queue.first) free_node(bus, take_first(&bus->queue));
  while (bus->recent.first) free_node(bus, take_first(&bus->recent));
  tm_vec_free(bus->ctx, &bus->subscribers);
  tm_free(bus->ctx, bus, sizeof *bus);
}

// ---- delivery ----

static void hand_out(tm_bus *bus, const tm_event *event) {
  for (size_t i = 0; i < bus->subscribers.count; i++) { // may grow meanwhile
    subscriber s = bus->subscribers.items[i];
    if (s.fn && event->seq >= s.from_seq && (s.kinds & TM_EVENT_BIT(event->kind)))
      s.fn(s.ud, event);
  }
}

static void drop_unsubscribed(tm_bus *bus) {
  size_t kept = 0;
  for (size_t i = 0; i < bus->subscribers.count; i++)
    if (bus->subscribers.items[i].fn) bus->subscribers.items[kept++] = bus->subscribers.items[i];
  bus->subscribers.count = kept;
}

void tm_bus_publish(tm_bus *bus, const tm_event *published) {
  tm_event event = *published;
  if ((size_t)event.kind >= TM_EVENT_KINDS
      || (bus->delivering && bus->nested_count >= TM_BUS_NESTED)) {
    bus->dropped_count++;
    return;
  }
  if (!event.rule) event.rule = "";
  if (!event.target) event.target = "";
  if (!event.text) event.text = "";
  if (!event.json) event.json = "{}";
  event.seq = bus->last_seq + 1;
  node *n = copy_event(bus, &event);
  if (!n && bus->delivering) {
    bus->dropped_count++;
    return;
  }
  bus->last_seq++;
  if (n) append(&bus->queue, n);
  if (bus->delivering) {
    bus->nested_count++;
    return;
  }
  bus->delivering = true;
  bus->nested_count = 0;
  if (!n) hand_out(bus, &event); // no memory for a copy: delivered, but not remembered
  while (bus->queue.first) {
    n = take_first(&bus->queue);
    hand_out(bus, &n->event);
    remember(bus, n);
  }
  bus->delivering = false;
  drop_unsubscribed(bus);
}

tm_status tm_bus_subscribe(tm_bus *bus, uint32_t kinds, tm_event_fn fn, void *ud,
                           uint64_t *out_id) {
  subscriber s = {.id = bus->last_id + 1,
                  .from_seq = bus->last_seq + 1,
                  .kinds = kinds ? kinds : UINT32_MAX,
                  .fn = fn,
                  .ud = ud};
  TM_TRY(tm_vec_push(bus->ctx, &bus->subscribers, s));
  *out_id = ++bus->last_id;
  return TM_OK;
}

void tm_bus_unsubscribe(tm_bus *bus, uint64_t id) {
  for (size_t i = 0; i < bus->subscribers.count; i++)
    if (bus->subscribers.items[i].id == id) bus->subscribers.items[i].fn = NULL;
  if (!bus->delivering) drop_unsubscribed(bus);
}

void tm_bus_recent(const tm_bus *bus, uint64_t after_seq, tm_event_fn fn, void *ud) {
  for (const node *n = bus->recent.first; n; n = n->next)
    if (n->event.seq > after_seq) fn(ud, &n->event);
}

uint64_t tm_bus_dropped_count(const tm_bus *bus) {
  return bus->dropped_count;
}
