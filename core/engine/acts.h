// Private to acts.c and acts_http.c: actions and takes that go over the app's HTTP endpoint.
#ifndef TM_ENGINE_ACTS_H
#define TM_ENGINE_ACTS_H

#include "engine/runner.h"

// Asks a Go app for a collection (GET <endpoint>heap?gc=1) and ends the action's call with what
// came of it.
void tm_acts_http_gc(tm_runner *runner, tm_target *target, uint64_t call_id);

// Takes heap_profile, allocs, goroutine(s), cpu_profile, ... from the endpoint; others are
// TM_E_UNSUPPORTED.
void tm_acts_http_take(tm_runner *runner, tm_target *target, const char *name,
                       const char *options_json, uint64_t timeout_ns, uint64_t id, tm_taken_fn done,
                       void *ud);

#endif
