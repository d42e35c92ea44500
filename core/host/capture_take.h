// Heap dumps as takes of rules and policies: a process of its own (`tidemark snap`) does the work,
// so that sampling goes on, and a dump that hangs or is huge costs the watch nothing.
#ifndef TM_HOST_CAPTURE_TAKE_H
#define TM_HOST_CAPTURE_TAKE_H

#include "engine/runner.h"

typedef struct tm_capture_options {
  const char *kind;   // as `tidemark snap` names it; "dump" fits every runtime; "leaks"
  const char *folder; // where its file goes (made if need be); NULL = the working folder
  const char *word;   // what `tidemark snap` is told of the target; NULL = its pid
  bool redact, json;  // json: the answer is the document of `tidemark snap --json`
  double seconds;     // how long "leaks" looks and a trace takes; 0 = its own
  uint64_t timeout_ns;
} tm_capture_options;

// True for the names of takes that are captures: heap_dump, class_histogram, native_leaks.
bool tm_capture_is(const char *take_name);

// Options of such a take as a rule wrote them (JSON of tm_lua_json).
tm_capture_options tm_capture_of_take(const char *take_name, const char *options_json,
                                      uint64_t timeout_ns);

// done is called once on the loop's thread with what the capture printed, or with a status and a
// message; perhaps at once. The child is ended when the target goes, at the timeout, and when the
// runner ends.
void tm_capture_take(tm_runner *runner, tm_target *target, const tm_capture_options *options,
                     uint64_t id, tm_taken_fn done, void *ud);

#endif
