// A finding is what one evaluation of a rule says about one target; an alert is what becomes of it
// over time (alerts.h). Plain data, shared by the engine, the store and the sinks.
#ifndef TM_ENGINE_FINDING_H
#define TM_ENGINE_FINDING_H

#include "base/ctx.h"
#include "base/units.h"

// How bad: ordered, so that levels compare with <. Words in rules: info, warn (warning), high
// (severe), critical, fail (gates only).
typedef enum tm_level {
  TM_LEVEL_NONE,
  TM_LEVEL_INFO,
  TM_LEVEL_WARN,
  TM_LEVEL_HIGH,
  TM_LEVEL_CRITICAL,
  TM_LEVEL_FAIL,
} tm_level;

const char *tm_level_name(tm_level level);   // "none" for NONE
tm_level tm_level_by_name(const char *name); // aliases included; NONE when unknown

// All strings are borrowed for the call that takes the finding; whoever keeps it copies.
typedef struct tm_finding {
  const char *rule;   // rule id, "proc.rss_slope"
  const char *target; // stable id of the target: "pid:start_ticks" or the name of a virtual target
  const char *key;    // which of several in this rule and target; "" when there is only one
  tm_level level;
  double value; // the measured quantity; NAN when there is none
  tm_unit unit;
  int64_t time_ns;           // of the evaluation
  const char *text;          // the rendered sentence
  const char *evidence_json; // further fields as one JSON object, "{}" when none
} tm_finding;

#endif
