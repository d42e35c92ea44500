// Everything that happens, as typed events in one order for all subscribers; the last ones are kept
// for those who come late (web page, REPL). Thread: the engine's.
#ifndef TM_ENGINE_BUS_H
#define TM_ENGINE_BUS_H

#include "engine/finding.h"

typedef struct tm_bus tm_bus;

typedef enum tm_event_kind {
  TM_EVENT_SAMPLE, // a tick of sampling
  TM_EVENT_TARGET_ADDED,
  TM_EVENT_TARGET_GONE,
  TM_EVENT_ALERT,
  TM_EVENT_ACTION,
  TM_EVENT_EVIDENCE,
  TM_EVENT_RULE_LOADED,
  TM_EVENT_RULE_LOAD_FAILED,
  TM_EVENT_RULE_UNLOADED, // its file is gone
  TM_EVENT_RULE_ERROR,
  TM_EVENT_RULE_KILLED,
  TM_EVENT_NOTE, // a sentence for people
  TM_EVENT_SELF, // what tidemark itself costs
  TM_EVENT_MARK, // somebody named this moment
  TM_EVENT_PRESSURE,
  TM_EVENT_KINDS,
} tm_event_kind;

const char *tm_event_kind_name(tm_event_kind kind); // "target_added", ...; "unknown"

// Strings are borrowed for the call; NULL is taken as "" (json: "{}") and never delivered.
typedef struct tm_event {
  uint64_t seq; // 1, 2, ...; given by the bus
  tm_event_kind kind;
  tm_level level;
  int64_t time_ns;
  const char *rule, *target, *text;
  const char *json; // further fields as one JSON object
} tm_event;

typedef void (*tm_event_fn)(void *ud, const tm_event *event);

#define TM_EVENT_BIT(kind) (UINT32_C(1) << (kind))

enum {
  TM_BUS_RECENT = 256,           // events kept
  TM_BUS_RECENT_BYTES = 1 << 20, // and never more than this
  TM_BUS_NESTED = 256,           // events that subscribers may cause before one publish returns
};

// ctx lends its allocator; it must outlive the bus.
TM_NODISCARD tm_status tm_bus_new(tm_ctx *ctx, tm_bus **out);
void tm_bus_free(tm_bus *bus);

// Delivers to every subscriber, in order of subscription. An event published by a subscriber waits
// until the present one has reached all. Without memory the event is still delivered, but not
// remembered; only one published by a subscriber is then dropped (and counted).
void tm_bus_publish(tm_bus *bus, const tm_event *event);

// kinds: a sum of TM_EVENT_BIT, 0 = all. Both may be called during delivery: a new subscriber gets
// what is published from then on, a gone one nothing more. Ids are never used again.
TM_NODISCARD tm_status tm_bus_subscribe(tm_bus *bus, uint32_t kinds, tm_event_fn fn, void *ud,
                                        uint64_t *out_id);
void tm_bus_unsubscribe(tm_bus *bus, uint64_t id);

// Shows the remembered events after a sequence number, oldest first. The JSON of an event above
// 64 KiB is not remembered. fn must not publish.
void tm_bus_recent(const tm_bus *bus, uint64_t after_seq, tm_event_fn fn, void *ud);

uint64_t tm_bus_dropped_count(const tm_bus *bus);

#endif
