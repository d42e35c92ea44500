// Takes and collections over the app's own HTTP endpoint.
#include "engine/acts.h"

#include <string.h>

void tm_acts_http_gc(tm_runner *runner, tm_target *target, uint64_t call_id) {
  (void)target;
  tm_engine *engine = tm_runner_engine(runner);
  tm_actions_done(tm_engine_actions(engine), tm_engine_now_ns(engine), call_id, TM_E_UNSUPPORTED,
                  "no HTTP client in this build");
}

void tm_acts_http_take(tm_runner *runner, tm_target *target, const char *name,
                       const char *options_json, uint64_t timeout_ns, uint64_t id, tm_taken_fn done,
                       void *ud) {
  (void)runner, (void)target, (void)name, (void)options_json, (void)timeout_ns;
  static const char text[] = "this kind of evidence cannot be taken here";
  done(ud, id, TM_E_UNSUPPORTED, text, sizeof text - 1);
}
