/* tidemark.h: the engine inside another program.
 *
 *   tm_config config;
 *   tm_embed *engine;
 *   tm_config_init(&config, sizeof config);
 *   if (tm_open(&config, &engine) == TM_OK) {
 *     tm_on_event(engine, print_event, NULL);
 *     tm_rules_builtin(engine);
 *     tm_attach_pid(engine, 0, NULL, NULL);
 *     while (running) tm_poll(engine, 1000);
 *     tm_close(engine, NULL, NULL);
 *   }
 *
 * One engine belongs to one thread at a time: the one that opened it, or its own after
 * tm_start_thread. From any other thread only tm_post may be called; all else answers
 * TM_E_THREAD. Several engines in one process know nothing of each other.
 *
 * Callbacks run on the engine's thread and may call everything except tm_close, tm_poll and
 * tm_start_thread (TM_E_BUSY). What a callback is given is borrowed for the call.
 *
 * The library has no global state, never exits, never prints, installs no signal handler and
 * changes no locale. Strings are UTF-8 and copied. Times are nanoseconds since the epoch.
 *
 * ABI: handles are opaque; structs begin with their size and only grow at their end; numbers of
 * enums never change. C11 and C++17. */
#ifndef TIDEMARK_H
#define TIDEMARK_H

#include <stddef.h>
#include <stdint.h>

#ifndef TM_API
#if defined(__GNUC__)
#define TM_API __attribute__((visibility("default")))
#else
#define TM_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The number in libtidemark.so.N: a program runs with the library whose number it was built for. */
#define TM_ABI 1

/* ---- status codes ---- */

#ifndef TM_BASE_STATUS_H /* the library's own sources have them from there; a test compares */
typedef enum tm_status {
  TM_OK = 0,
  TM_E_ARG = 1,         /* the caller is wrong: see the doc comment of the call */
  TM_E_NOMEM = 2,       /* no memory, or a cap is reached */
  TM_E_IO = 3,          /* a file, folder or address cannot be used */
  TM_E_FORMAT = 4,      /* the input is damaged or of another format */
  TM_E_UNSUPPORTED = 5, /* this platform, build or kind of engine lacks it */
  TM_E_PERM = 6,        /* the kernel or a missing grant says no */
  TM_E_GONE = 7,        /* the process ended */
  TM_E_BUSY = 8,        /* not from inside a callback, or try again later */
  TM_E_LIMIT = 9,       /* past the limit that the message names */
  TM_E_LUA = 10,        /* Lua code does not parse, or raised */
  TM_E_RULE = 11,       /* a rule file is not what a rule file must be */
  TM_E_CANCELLED = 12,  /* somebody stopped it */
  TM_E_VERSION = 13,    /* built against a newer header than this library */
  TM_E_THREAD = 14,     /* the calling thread does not own the engine: use tm_post */
  TM_E_TIMEOUT = 15     /* it took too long */
} tm_status;
#endif

/* The stable word of a status ("permission"; "unknown"), and one sentence that says what to do
 * about it ("" when there is nothing to say). Static strings; any thread. */
TM_API const char *tm_status_word(tm_status status);
TM_API const char *tm_status_help(tm_status status);

/* ---- version ---- */

/* TM_ABI of the library, its version ("0.1.0"), and what this build can do (a sum of TM_FEATURE_).
 * Any thread. */
TM_API uint32_t tm_abi(void);
TM_API const char *tm_version_string(void);
TM_API uint64_t tm_features(void);

#define TM_FEATURE_PROCESSES UINT64_C(1) /* processes of this machine can be watched */
#define TM_FEATURE_RULES     UINT64_C(2) /* rules in Lua */

/* ---- engine ---- */

typedef struct tm_embed tm_embed;   /* an engine; from tm_open to tm_close */
typedef struct tm_target tm_target; /* something watched; from tm_attach_pid to tm_detach */

/* Memory from the host: realloc_fn(ud, p, old_size, size); p NULL = new, size 0 = free (answers
 * NULL). NULL = out of memory. Called from the engine's threads, at the same time. */
typedef void *(*tm_realloc_fn)(void *ud, void *p, size_t old_size, size_t size);

/* One line of the library's own log. level: 0 debug, 1 info, 2 warning, 3 error. area: "sampler".
 * Any thread of the engine. */
typedef void (*tm_log_fn)(void *ud, int32_t level, const char *area, const char *text);

#define TM_VIRTUAL_TIME                                                                            \
  UINT32_C(1)                       /* no processes and no loop: time moves by tm_clock_set alone  \
                                     */
#define TM_DRY_RUN      UINT32_C(2) /* actions are told, not done */
#define TM_NO_SELF_TEST UINT32_C(4) /* rule files are loaded without running the tests in them */

/* How an engine is opened. tm_config_init fills in the defaults; zero means the default everywhere.
 */
typedef struct tm_config {
  uint32_t size; /* of this struct as the caller knows it */
  uint32_t abi;  /* TM_ABI */
  uint32_t flags;
  uint32_t max_targets;     /* watched at once; 1000 */
  tm_realloc_fn realloc_fn; /* NULL = malloc. It serves models, series, alerts and Lua states; small
                               messages between threads and third-party libraries use malloc */
  void *alloc_ud;
  tm_log_fn log_fn; /* NULL = silent */
  void *log_ud;
  void *uv_loop; /* a uv_loop_t of the host that runs the engine; it outlives it. NULL = tm_poll or
                    tm_start_thread do */
  uint64_t every_ns;          /* how often a process' RSS is read; 5 s. Rules ask for more */
  double sampling_ratio;      /* share of a core that dear readings of one target may cost; 0.005 */
  uint64_t rule_memory_bytes; /* of one rule file's Lua state; 16 MiB */
  uint64_t rule_instructions; /* that one call of a rule may run; no limit but time */
  uint64_t rule_load_ns;      /* to parse a rule file, and again to run its top level; 200 ms */
  uint64_t rule_soft_ns;      /* a check beyond it is counted as slow; 5 ms */
  uint64_t rule_hard_ns;      /* a check beyond it is stopped; 50 ms */
  uint64_t settle_ns;         /* after an action, before its effect is measured; 60 s */
  int64_t start_ns;           /* of virtual time; 0 = the wall clock */
} tm_config;

/* Writes the defaults. size_of: sizeof(tm_config) of the caller. */
TM_API void tm_config_init(tm_config *config, size_t size_of);

/* Opens an engine. Without targets and rules it does nothing. The caller closes it. TM_E_ARG,
 * TM_E_VERSION (of a newer header), TM_E_NOMEM, TM_E_IO (no event loop); what failed goes to the
 * log. *out is NULL then. */
TM_API tm_status tm_open(const tm_config *config, tm_embed **out);

/* Ends everything and frees the engine; blocks while a check (at most rule_hard_ns) or a reading of
 * evidence ends. With a uv_loop of the host, three handles close on its next turns; done (or NULL)
 * is called when they are gone, otherwise before the return. Called by the owner, or for an engine
 * with a thread of its own by anyone else but its callbacks. TM_E_BUSY inside a callback,
 * TM_E_THREAD: nothing happened. NULL is fine. */
TM_API tm_status tm_close(tm_embed *engine, void (*done)(void *ud), void *ud);

/* What the last failed call said: what, where, what to do. Valid until the next call on the engine;
 * "" when nothing failed. */
TM_API const char *tm_message(const tm_embed *engine);

/* ---- running: one of four ways ---- */

/* 1. Given uv_loop in the config: the host's loop runs it, nothing to call.
 *
 * 2. A thread of its own: from now on callbacks run there, and only tm_post and tm_close may be
 * called from elsewhere. TM_E_UNSUPPORTED for virtual time or with a uv_loop. */
TM_API tm_status tm_start_thread(tm_embed *engine);

/* 3. One step: does what is due, after waiting for it at most timeout_ms (0 = not at all, -1 =
 * until something is due). Virtual time: runs what was posted. TM_E_UNSUPPORTED with a uv_loop. */
TM_API tm_status tm_poll(tm_embed *engine, int32_t timeout_ms);

/* 4. In any other loop: wait until the descriptor is readable or the time has passed, then call
 * tm_poll(engine, 0), and ask for the time anew. -1: no descriptor (virtual time), or no end. */
TM_API int tm_backend_fd(const tm_embed *engine);
TM_API int32_t tm_next_timeout_ms(tm_embed *engine);

/* Runs fn(engine, ud) on the engine's thread soon, in order. Any thread, as long as the engine is
 * open; what is still queued at tm_close is run by it. TM_E_NOMEM: it will not be run. */
TM_API tm_status tm_post(tm_embed *engine, void (*fn)(tm_embed *engine, void *ud), void *ud);

/* Engine time now: the wall clock that never goes back, or virtual time. */
TM_API int64_t tm_now_ns(tm_embed *engine);

/* Moves virtual time on: checks, alerts and actions that are due by then run before it returns, as
 * of now_ns. Step it as finely as rules should look. TM_E_ARG when it would go back,
 * TM_E_UNSUPPORTED on a live engine. */
TM_API tm_status tm_clock_set(tm_embed *engine, int64_t now_ns);

/* ---- targets ---- */

/* How a program is asked beside what the kernel knows of it; all may be NULL. */
typedef struct tm_target_options {
  uint32_t size;
  uint32_t reserved;
  const char *endpoint; /* base URL of its /debug/pprof/: "http://127.0.0.1:6060", "unix:/path.sock"
                         */
  const char *hook;     /* where it takes words ("clear-caches"): "unix:/path" or a URL */
} tm_target_options;

/* Watches a process; pid 0 = this one. out may be NULL. TM_E_GONE, TM_E_PERM, TM_E_ARG (it is
 * watched already), TM_E_LIMIT, TM_E_UNSUPPORTED (virtual time). When the process ends, an event
 * says so and the target takes no more data. */
TM_API tm_status tm_attach_pid(tm_embed *engine, int64_t pid, const tm_target_options *options,
                               tm_target **out);

/* A target that the host feeds: a document, a session, a device. name is its id in findings and
 * unique in the engine. TM_E_ARG, TM_E_LIMIT. */
TM_API tm_status tm_target_virtual(tm_embed *engine, const char *name, tm_target **out);

/* Stops watching; the pointer is dead afterwards. Otherwise it is valid until tm_close, also when
 * its process has ended. */
TM_API tm_status tm_detach(tm_embed *engine, tm_target *target);

/* The id that events carry ("4711:880211", or the name of a virtual one). Lives as long as target.
 */
TM_API const char *tm_target_id(const tm_target *target);

/* One sample. metric: one of the product's own ("proc.rss") or the host's, which begins with "app."
 * ("app.undo_bytes"). Its unit is that of the product's own, else bytes for *_bytes, nanoseconds
 * for
 * *_ns, a ratio for *_ratio, else a count. time_ns 0 = now. A sample older than the newest of its
 * series is dropped. TM_E_LIMIT: too many series; TM_E_GONE: the process ended. */
TM_API tm_status tm_feed(tm_embed *engine, tm_target *target, const char *metric, int64_t time_ns,
                         double value);

/* The same for one of a family: key "socket" of "proc.handles". */
TM_API tm_status tm_feed_key(tm_embed *engine, tm_target *target, const char *metric,
                             const char *key, int64_t time_ns, double value);

/* One profile (pprof or any other format that tidemark reads), as if it had been fetched: metric
 * "pprof.heap", "go.goroutines", ... bytes are copied. TM_E_FORMAT. */
TM_API tm_status tm_feed_profile(tm_embed *engine, tm_target *target, const char *metric,
                                 int64_t time_ns, const void *bytes, size_t size);

/* ---- rules ---- */

/* All that is loaded is told as events rule_loaded and rule_load_failed: on a live engine soon
 * after the call, in virtual time before it returns.
 *
 * The rules that come with tidemark. TM_E_NOMEM. */
TM_API tm_status tm_rules_builtin(tm_embed *engine);

/* Every *.lua of a folder. A live engine follows changes of the files. TM_E_IO. */
TM_API tm_status tm_rules_folder(tm_embed *engine, const char *path);

/* One rule file from memory; name ("leak.lua") stands for it in messages, and loading the name
 * again replaces it while alerts and state live on. A file that does not load leaves the old one
 * running.
 */
TM_API tm_status tm_rules_load(tm_embed *engine, const char *name, const char *text, size_t size);

/* Takes one out; its alerts end. An unknown name is fine. */
TM_API tm_status tm_rules_unload(tm_embed *engine, const char *name);

/* Looks at a rule file without loading it: TM_OK, or TM_E_RULE or TM_E_LUA and tm_message. */
TM_API tm_status tm_rules_check(tm_embed *engine, const char *name, const char *text, size_t size);

/* Lets packages (glob over rule files, "*") do what they ask for in caps (glob: "act:*",
 * "act:app.trim"). Without a grant actions are denied; reading evidence is granted to all.
 * TM_E_NOMEM. */
TM_API tm_status tm_grant(tm_embed *engine, const char *package_glob, const char *capability_glob);

/* Nobody is told of matching alerts until until_ns. Globs; NULL = all. why: for people. */
TM_API tm_status tm_mute(tm_embed *engine, const char *rule_glob, const char *target_glob,
                         int64_t until_ns, const char *why);

/* ---- events ---- */

typedef enum tm_event_type {
  TM_ON_FINDING = 1, /* an alert fired, changed its level, ended, or is told again */
  TM_ON_ACTION = 2,  /* what came of an action, or what it gained */
  TM_ON_NOTE = 3,    /* everything else; `word` says which */
  TM_ON_TARGET = 4   /* word: target_added, target_gone */
} tm_event_type;

/* One event. Strings are "" when there is nothing to say, never NULL. */
typedef struct tm_notice {
  uint32_t size;
  uint32_t type;      /* tm_event_type */
  int32_t level;      /* 0 none, 1 info, 2 warn, 3 high, 4 critical, 5 fail */
  uint32_t tell;      /* of a finding: 1 = somebody should hear of it; 0 = only its state changed */
  int64_t time_ns;    /* engine time */
  const char *word;   /* finding: pending, firing, resolved, gone; action: done, failed, denied,
                         dry_run, limited, disabled, timeout, measured; note: rule_loaded, ... */
  const char *rule;   /* rule id; of rule_loaded the file's name */
  const char *target; /* id */
  const char *key;    /* finding: which of several; action: its name */
  const char *text;   /* one sentence for people */
  const char *json;   /* evidence, arguments or further fields: one JSON object */
  const char *unit;   /* of value: "bytes", "ns", "count", "ratio", "bytes/s", "count/s", "time" */
  double value;       /* finding: what was measured, NAN when nothing; action: bytes gained */
  uint64_t finding_id; /* the same for all events of one alert; 0 for others */
} tm_notice;

typedef void (*tm_notice_fn)(void *ud, const tm_notice *notice);

/* Sets who is told of events; NULL = nobody. */
TM_API tm_status tm_on_event(tm_embed *engine, tm_notice_fn fn, void *ud);

/* Shows the alerts that are pending, firing, or ended a short while ago, as findings. fn must not
 * call the engine. */
TM_API tm_status tm_findings(tm_embed *engine, tm_notice_fn fn, void *ud);

/* ---- actions of the host ---- */

/* One run of an action. */
typedef struct tm_call {
  uint32_t size;
  uint32_t reserved;
  uint64_t id; /* for tm_action_done */
  const char *name, *rule, *target;
  const char *args_json; /* what the rule gave: one JSON object */
  int64_t deadline_ns;   /* engine time; then it counts as timed out */
} tm_call;

typedef void (*tm_call_fn)(void *ud, const tm_call *call);

/* Offers an action to rules as c:act("name", {...}). fn starts it and returns soon; tm_action_done
 * ends it, from inside fn or later (by tm_post from other threads). Its capability is "act:name":
 * rules name it in caps, tm_grant allows it. The engine limits how often it runs and measures what
 * it gains. TM_E_ARG: the name is taken. */
TM_API tm_status tm_action_register(tm_embed *engine, const char *name, tm_call_fn fn, void *ud);

/* Ends a run: TM_OK or why not, and one sentence (NULL = ""). An id that has timed out is ignored.
 */
TM_API tm_status tm_action_done(tm_embed *engine, uint64_t call_id, tm_status status,
                                const char *message);

/* ---- functions ---- */

/* Takes a part of a text; answers 0, or anything else to end it. */
typedef int (*tm_write_fn)(void *ud, const char *bytes, size_t size);

/* A function of the host that rules call and that needs nothing of Lua. args_json: the arguments,
 * one JSON array of up to 1 MiB. The answer goes through write(write_ud, ...): one JSON value of up
 * to 1 MiB (nonzero beyond it), nothing = nil. A status other than TM_OK, or an answer that is no
 * JSON, raises a Lua error with file, line and traceback; what was written is its text.
 *
 * It runs where rules run: on a thread of the library's own, inside tm_clock_set in virtual time,
 * and inside tm_rules_check. Calls of one engine never overlap. It may call tm_post, and nothing
 * else of its engine (TM_E_THREAD or TM_E_BUSY). No exception may leave it. While it runs, its rule
 * cannot be stopped: it returns soon. */
#ifndef TM_HOST_FUNCTIONS_H
typedef tm_status (*tm_function_fn)(void *ud, const char *args_json, size_t size, tm_write_fn write,
                                    void *write_ud);
typedef double (*tm_function_number_fn)(const double *args, size_t count, void *ud);
#endif

/* Offers a function to all rules as `require "geo".distance(...)` and host.geo.distance(...), when
 * its name is "geo.distance". The name again puts another in its place, fn NULL takes it away:
 * rules that are loaded see it with their next call. Both wait for a call under way. What changes
 * something is better an action, which needs a grant. TM_E_ARG: the name. */
TM_API tm_status tm_function_register(tm_embed *engine, const char *name, tm_function_fn fn,
                                      void *ud);

/* The same for up to 16 numbers to a number, without JSON: for what is called often. */
TM_API tm_status tm_function_register_number(tm_embed *engine, const char *name,
                                             tm_function_number_fn fn, void *ud);

/* ---- snapshots and reports ---- */

/* A profile, heap dump, goroutine dump or trace that was read: any format that tidemark knows. It
 * belongs to its engine; free it before that closes. */
typedef struct tm_file tm_file;

/* Reads a file, gzip or zstd too. Blocks as long as it takes: give large ones a thread and an
 * engine of their own. TM_E_IO, TM_E_FORMAT, TM_E_NOMEM, with *out NULL; a damaged file whose
 * beginning could be read is TM_OK with tm_file_problem. */
TM_API tm_status tm_file_read(tm_embed *engine, const char *path, tm_file **out);

/* The same from memory, which is copied. */
TM_API tm_status tm_file_read_bytes(tm_embed *engine, const void *bytes, size_t size,
                                    tm_file **out);

TM_API void tm_file_free(tm_embed *engine, tm_file *file);

/* "profile", "goroutines", "graph" (a heap dump), "trace" (of Go), "timeline" (of a browser); the
 * format ("pprof", "hprof", ...); and what is wrong with a damaged file, "" = nothing. */
TM_API const char *tm_file_kind(const tm_file *file);
TM_API const char *tm_file_format(const tm_file *file);
TM_API const char *tm_file_problem(const tm_file *file);

/* Says what is in a file; verb by what it is:
 *   profile     top, tree, peek, traces, tags, raw, comments
 *   heap dump   objects (by type; order=retained|shallow|count), holders (by retained bytes; of
 * all, or right below node=N or id=ID), path (from a root to node=N or id=ID), suspects (share=0.1,
 * references=1000, fans=10), consumers (by=type|package|loader|module|
 *               context|global|root|thread|heap), detached (DOM), info (one row)
 *   goroutines, Go's trace    goroutines
 *   browser's trace           tasks, asyncs, counters, frames, memory
 * options: "name=value" strings, ended by NULL (or NULL): those of `go tool pprof` for profiles;
 * nodecount (rows, 0 = all; 50) for all; follow=strong|soft|weak|final|phantom (edges that hold;
 * soft) for heap dumps. format: "json" (an array of rows), "csv", "text" (profiles only), or a name
 * of tm_format_register. TM_E_ARG names what is wrong. The first report of a heap dump takes the
 * time of its dominator tree. */
TM_API tm_status tm_report_file(tm_embed *engine, const tm_file *file, const char *verb,
                                const char *const *options, const char *format, tm_write_fn write,
                                void *ud);

/* Any file as a profile, which outlives it: a heap dump as objects and bytes by type path from the
 * roots (option follow, as above), a trace as its goroutines that are alive at the end, a profile
 * as it is. The verbs of profiles report it; a great dump can be freed behind it. TM_E_ARG: a
 * browser's trace. */
TM_API tm_status tm_file_fold(tm_embed *engine, const tm_file *file, const char *const *options,
                              tm_file **out);

/* What `file` has more than `base`, and less: a profile, as `go tool pprof -diff_base` makes it;
 * what is no profile is folded before. TM_E_ARG: their sample types have nothing in common. */
TM_API tm_status tm_file_diff(tm_embed *engine, const tm_file *base, const tm_file *file,
                              tm_file **out);

/* What rises over two or more files of one program, the oldest first, ranked by steady growth: rows
 * of key (a call path; of heap dumps the type path), first, last, delta, steps (rises), falls,
 * per_hour, monotone_ratio, fit_ratio, confidence_ratio. What is no profile is folded; fold it
 * yourself to free great dumps one by one. times_ns: when each was taken; NULL, or 0 of one = the
 * file's own time, and a step each where it has none. options: by=path|function, nodecount (50),
 * follow, and those of `go tool pprof` (sample_index, focus, ...). format: not "text". TM_E_ARG
 * also for times that go back. */
TM_API tm_status tm_report_growth(tm_embed *engine, const tm_file *const *files, size_t count,
                                  const int64_t *times_ns, const char *const *options,
                                  const char *format, tm_write_fn write, void *ud);

/* Says what an engine has found: its alerts as tm_findings shows them. format: "json", "text" (a
 * line each), or a name of tm_format_register. */
TM_API tm_status tm_report_findings(tm_embed *engine, const char *format, tm_write_fn write,
                                    void *ud);

/* Makes a report of rows, a JSON array of objects, for one verb ("findings" for those). Writes
 * through write(write_ud, ...); what it answers ends the report: TM_OK or why not. */
typedef tm_status (*tm_render_fn)(void *ud, const char *verb, const char *json, size_t size,
                                  tm_write_fn write, void *write_ud);

/* Offers a format for reports under a name. TM_E_ARG: the name is taken. */
TM_API tm_status tm_format_register(tm_embed *engine, const char *name, tm_render_fn fn, void *ud);

/* ---- figures ---- */

typedef struct tm_usage {
  uint32_t size;
  uint32_t targets;      /* watched now */
  uint32_t rules;        /* loaded now */
  uint32_t firing;       /* alerts now */
  uint64_t evaluations;  /* of rules' checks so far, of the rules loaded now */
  uint64_t samples;      /* read from processes so far */
  uint64_t sampling_ns;  /* CPU time of that */
  uint64_t rules_cpu_ns; /* CPU time of the loaded rules' checks */
  uint64_t rules_killed; /* checks that were stopped over their budget */
} tm_usage;

/* Fills what the caller's size has room for. Waits up to 20 ms for a check that holds the rules,
 * then TM_E_BUSY: try later. */
TM_API tm_status tm_get_usage(tm_embed *engine, tm_usage *out);

#ifdef __cplusplus
}
#endif

#endif
