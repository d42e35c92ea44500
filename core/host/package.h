// A rule package: one rule file in its own sandboxed state, with what it declared read into C.
// Building one touches nothing that is live, so a new version can be built and tried beside the old
// one.
#ifndef TM_HOST_PACKAGE_H
#define TM_HOST_PACKAGE_H

#include "base/bytes.h"
#include "bind/lua_series.h"
#include "engine/alerts.h"
#include "host/functions.h"
#include "host/sandbox.h"

typedef struct tm_rule_stats {
  uint64_t evaluations, findings, errors, kills, soft_overruns, throttled, missed;
  uint64_t wall_ns, cpu_ns;
} tm_rule_stats;

typedef struct tm_rule {
  char *id, *doc, *kind; // kind: rule or gate
  uint64_t every_ns, warmup_ns;
  uint64_t declared_every_ns; // as the file says it; overrides change the others
  tm_alert_policy declared_policy;
  bool declared_enabled;
  double budget_ratio; // share of a core that its checks may cost
  tm_alert_policy policy;
  tm_rule_input *inputs;
  size_t input_count;
  char **caps, **needs, **inhibits, **tags;
  size_t cap_count, need_count, inhibit_count, tag_count;
  char *runtime;
  bool enabled, dry;
  int64_t state_version;
  size_t test_count;
  int lua_ref; // the normalised rule table in the package's registry
  tm_rule_stats stats;
  char last_error[256];      // of a failed check; "" = fine
  uint64_t backoff_until_ns; // engine time; 0 = not backing off
  uint32_t backoff_step, kills_in_a_row;
  bool quarantined; // three hard kills: off until the file changes
} tm_rule;

typedef struct tm_package {
  tm_ctx *ctx;
  char *name;   // file name without folder: "pressure.lua"
  char *origin; // full path, or "builtin:rules/pressure.lua"
  char *source;
  size_t source_size;
  uint64_t hash; // of the source
  tm_sandbox *sandbox;
  int api_ref; // the table that dsl.lua gave back
  tm_rule *rules;
  size_t rule_count, list_count, override_count, format_count;
  char *policies_json; // what tm.policy declared, as one JSON array
  tm_arena strings;    // everything named above
  void *owner;         // the rule host that its native functions talk to
} tm_package;

// Native functions of dsl.lua: registered into the table on top of the stack.
typedef struct tm_natives {
  // Adds functions that need a rule host; they find it through *owner, which may change. May be
  // NULL.
  void (*install)(lua_State *L, void **owner);
  void *owner;
  tm_functions *functions; // of the embedding program; NULL = none
  tm_bytes *dsl_code; // compiled dsl.lua, filled by the first build and used by the later ones;
                      // NULL = compile each time
} tm_natives;

// Runs the file in a fresh sandbox and reads what it declared. The message of a failure begins with
// the stable code (LOAD_SYNTAX, LOAD_SCHEMA, LOAD_DUPLICATE, LOAD_TEMPLATE, LOAD_LIMIT,
// LOAD_RUNTIME) and names file and line.
TM_NODISCARD tm_status tm_package_build(tm_ctx *ctx, const char *name, const char *origin,
                                        const char *source, size_t size,
                                        const tm_sandbox_limits *limits, const tm_natives *natives,
                                        tm_package **out);
void tm_package_free(tm_package *package);

// The rule of an id, or NULL.
tm_rule *tm_package_rule(const tm_package *package, const char *id);

// Pushes a function of dsl.lua ("check"). The package's state must be idle.
void tm_package_push_api(const tm_package *package, const char *name);

#endif
