// Files and reports, for a host: what was read is a model, each verb a table, each format a text of
// it. The host's own formats are given the rows as JSON.
#include "analyze/goroutines.h"
#include "analyze/report.h"
#include "analyze/report_options.h"
#include "analyze/timeline.h"
#include "base/json_write.h"
#include "model/table_text.h"
#include "tidemark_report.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 50, PIECE_BYTES = 1 << 16 };

// ---- files ----

static tm_status keep(tm_embed *e, tm_status status, tm_snapshot *read, tm_file **out) {
  bool some = read->model && read->partial && status != TM_E_NOMEM;
  if (status != TM_OK && !some) {
    tm_snapshot_fini(read);
    return status;
  }
  (*out)->snapshot = *read;
  tm_ctx_clear(&e->ctx);
  if (read->kind != TM_KIND_GRAPH) return TM_OK;
  (*out)->dominators = tm_calloc(&e->ctx, 1, sizeof *(*out)->dominators);
  if ((*out)->dominators) return TM_OK;
  tm_snapshot_fini(read);
  return TM_E_NOMEM;
}

static tm_status new_file(tm_embed *e, tm_file **out) {
  *out = tm_calloc(&e->ctx, 1, sizeof **out);
  return *out ? TM_OK : TM_E_NOMEM;
}

tm_status tm_file_read(tm_embed *engine, const char *path, tm_file **out) {
  TM_TRY(tm_embed_enter(engine));
  if (!path || !out) return TM_E_ARG;
  *out = NULL;
  tm_file *file;
  tm_snapshot read = {0};
  TM_TRY(new_file(engine, &file));
  tm_status status = keep(engine, tm_read_file(&engine->ctx, path, NULL, &read), &read, &file);
  if (status == TM_OK)
    *out = file;
  else
    tm_free(&engine->ctx, file, sizeof *file);
  return status;
}

tm_status tm_file_read_bytes(tm_embed *engine, const void *bytes, size_t size, tm_file **out) {
  TM_TRY(tm_embed_enter(engine));
  if ((!bytes && size) || !out) return TM_E_ARG;
  *out = NULL;
  tm_file *file;
  tm_snapshot read = {0};
  TM_TRY(new_file(engine, &file));
  file->size = size ? size : 1;
  file->bytes = tm_alloc(&engine->ctx, file->size);
  tm_status status = TM_E_NOMEM;
  if (file->bytes) {
    if (size) memcpy(file->bytes, bytes, size);
    status =
        keep(engine, tm_read_buffer(&engine->ctx, file->bytes, size, NULL, &read), &read, &file);
  }
  if (status == TM_OK) {
    *out = file;
    return TM_OK;
  }
  if (file->bytes) tm_free(&engine->ctx, file->bytes, file->size);
  tm_free(&engine->ctx, file, sizeof *file);
  return status;
}

void tm_file_free(tm_embed *engine, tm_file *file) {
  if (!engine || !file) return;
  if (file->dominators) {
    tm_embed_drop_tree(file->dominators);
    tm_free(&engine->ctx, file->dominators, sizeof *file->dominators);
  }
  tm_snapshot_fini(&file->snapshot);
  if (file->bytes) tm_free(&engine->ctx, file->bytes, file->size);
  tm_free(&engine->ctx, file, sizeof *file);
}

const char *tm_file_kind(const tm_file *file) {
  static const char *const names[] = {"", "profile", "graph", "trace", "goroutines", "timeline"};
  return file && (size_t)file->snapshot.kind < TM_COUNT(names) ? names[file->snapshot.kind] : "";
}

const char *tm_file_format(const tm_file *file) {
  return file && file->snapshot.format ? file->snapshot.format : "";
}

const char *tm_file_problem(const tm_file *file) {
  return file && file->snapshot.partial ? file->snapshot.problem.message : "";
}

// ---- verbs ----

const char *tm_embed_option(const tm_embed_request *r, const char *name) {
  size_t size = strlen(name);
  for (const char *const *o = r->options; *o; o++)
    if (strncmp(*o, name, size) == 0 && (*o)[size] == '=') return *o + size + 1;
  return NULL;
}

size_t tm_embed_row_count(const tm_embed_request *r) {
  const char *text = tm_embed_option(r, "nodecount");
  long long value = text ? strtoll(text, NULL, 10) : ROWS;
  return value > 0 ? (size_t)value : 0;
}

// Only these are known where pprof's are not.
tm_status tm_embed_check_options(const tm_embed_request *r, const char *const *known) {
  for (const char *const *o = r->options; *o; o++) {
    bool found = false;
    for (const char *const *k = known; *k && !found; k++)
      found = strncmp(*o, *k, strlen(*k)) == 0 && (*o)[strlen(*k)] == '=';
    if (!found)
      return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "%s has no option '%s'", r->verb, *o);
  }
  return TM_OK;
}

tm_status tm_embed_set_option(const tm_embed_request *r, tm_report_options *options,
                              const char *text) {
  char name[64];
  size_t size = strcspn(text, "=");
  if (!text[size] || size >= sizeof name)
    return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "'%s' is no name=value", text);
  memcpy(name, text, size);
  name[size] = '\0';
  return tm_report_options_set(r->ctx, options, name, text + size + 1);
}

static tm_status report_profile(tm_embed_request *r) {
  tm_report_options options = {0};
  tm_report_options_init(&options);
  for (const char *const *o = r->options; *o; o++) TM_TRY(tm_embed_set_option(r, &options, *o));
  return tm_report(r->ctx, r->file->snapshot.model, r->verb, &options,
                   r->wants_text ? &r->text : NULL, r->table);
}

static tm_status report_goroutines(tm_embed_request *r) {
  static const char *const known[] = {"nodecount", NULL};
  const tm_goroutines_options options = {.row_count = tm_embed_row_count(r)};
  const tm_snapshot *s = &r->file->snapshot;
  TM_TRY(tm_embed_check_options(r, known));
  return s->kind == TM_KIND_TRACE ? tm_goroutines_of_trace(r->ctx, s->model, &options, r->table)
                                  : tm_goroutines_of_profile(r->ctx, s->model, &options, r->table);
}

static tm_status report_timeline(tm_embed_request *r) {
  static const char *const known[] = {NULL};
  const tm_timeline *t = r->file->snapshot.model;
  const tm_tl_tasks_options tasks = {.over_ns = 16000000};
  const tm_tl_span whole = {0};
  TM_TRY(tm_embed_check_options(r, known));
  if (strcmp(r->verb, "tasks") == 0) return tm_timeline_tasks(r->ctx, t, &tasks, r->table);
  if (strcmp(r->verb, "asyncs") == 0) return tm_timeline_asyncs(r->ctx, t, r->table);
  if (strcmp(r->verb, "counters") == 0)
    return tm_timeline_counters(r->ctx, t, whole, false, r->table);
  if (strcmp(r->verb, "frames") == 0) return tm_timeline_frames(r->ctx, t, r->table);
  return tm_timeline_memory(r->ctx, t, whole, r->table);
}

static tm_status run_verb(tm_embed_request *r) {
  static const struct {
    const char *verb;
    unsigned kinds; // bits of tm_kind
    tm_status (*run)(tm_embed_request *r);
  } verbs[] = {{"top", 1u << TM_KIND_PROFILE, report_profile},
               {"tree", 1u << TM_KIND_PROFILE, report_profile},
               {"peek", 1u << TM_KIND_PROFILE, report_profile},
               {"traces", 1u << TM_KIND_PROFILE, report_profile},
               {"tags", 1u << TM_KIND_PROFILE, report_profile},
               {"raw", 1u << TM_KIND_PROFILE, report_profile},
               {"comments", 1u << TM_KIND_PROFILE, report_profile},
               {"objects", 1u << TM_KIND_GRAPH, tm_embed_report_graph},
               {"holders", 1u << TM_KIND_GRAPH, tm_embed_report_graph},
               {"path", 1u << TM_KIND_GRAPH, tm_embed_report_graph},
               {"suspects", 1u << TM_KIND_GRAPH, tm_embed_report_graph},
               {"consumers", 1u << TM_KIND_GRAPH, tm_embed_report_graph},
               {"detached", 1u << TM_KIND_GRAPH, tm_embed_report_graph},
               {"info", 1u << TM_KIND_GRAPH, tm_embed_report_graph},
               {"goroutines",
                1u << TM_KIND_TRACE | 1u << TM_KIND_GOROUTINES | 1u << TM_KIND_PROFILE,
                report_goroutines},
               {"tasks", 1u << TM_KIND_TIMELINE, report_timeline},
               {"asyncs", 1u << TM_KIND_TIMELINE, report_timeline},
               {"counters", 1u << TM_KIND_TIMELINE, report_timeline},
               {"frames", 1u << TM_KIND_TIMELINE, report_timeline},
               {"memory", 1u << TM_KIND_TIMELINE, report_timeline}};
  for (size_t i = 0; i < TM_COUNT(verbs); i++) {
    if (strcmp(verbs[i].verb, r->verb) != 0) continue;
    if (verbs[i].kinds >> r->file->snapshot.kind & 1) return verbs[i].run(r);
    return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "%s says nothing of a %s", r->verb,
                   tm_file_kind(r->file));
  }
  return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "no report is called '%s'", r->verb);
}

// ---- formats ----

static tm_status write_out(tm_ctx *ctx, const tm_bytes *text, tm_write_fn write, void *ud) {
  for (size_t at = 0; at < text->size; at += PIECE_BYTES) {
    size_t left = text->size - at, size = left < PIECE_BYTES ? left : PIECE_BYTES;
    if (write(ud, (const char *)text->data + at, size) != 0)
      return tm_fail(ctx, TM_E_CANCELLED, TM_NO_OFFSET, "the host took no more of the report");
  }
  return TM_OK;
}

static const host_format *format_named(const tm_embed *e, const char *name) {
  for (size_t i = 0; i < e->formats.count; i++)
    if (strcmp(e->formats.items[i].name, name) == 0) return &e->formats.items[i];
  return NULL;
}

static bool is_builtin(const char *name) {
  return strcmp(name, "json") == 0 || strcmp(name, "csv") == 0 || strcmp(name, "text") == 0;
}

tm_status tm_embed_check_format(tm_embed *e, const char *name) {
  if (is_builtin(name) || format_named(e, name)) return TM_OK;
  return tm_fail(&e->ctx, TM_E_ARG, TM_NO_OFFSET, "no format is called '%s'", name);
}

static tm_status render(tm_embed *e, const host_format *format, const char *verb,
                        const tm_bytes *json, tm_write_fn write, void *ud) {
  e->inside++;
  tm_status status = format->fn(format->ud, verb, json->data ? (const char *)json->data : "",
                                json->size, write, ud);
  e->inside--;
  if (status == TM_OK) return TM_OK;
  return tm_fail(&e->ctx, status, TM_NO_OFFSET, "the format '%s' failed", format->name);
}

tm_status tm_embed_write_table(tm_embed *e, tm_embed_request *r, const char *format,
                               tm_write_fn write, void *ud) {
  tm_bytes out = {0};
  tm_ctx *ctx = &e->ctx;
  const host_format *own = format_named(e, format);
  bool csv = strcmp(format, "csv") == 0;
  tm_status status = csv ? tm_table_csv(ctx, r->table, &out) : tm_table_json(ctx, r->table, &out);
  if (status == TM_OK)
    status = own ? render(e, own, r->verb, &out, write, ud) : write_out(ctx, &out, write, ud);
  tm_bytes_free(ctx, &out);
  return status;
}

tm_status tm_report_file(tm_embed *engine, const tm_file *file, const char *verb,
                         const char *const *options, const char *format, tm_write_fn write,
                         void *ud) {
  static const char *const none[] = {NULL};
  TM_TRY(tm_embed_enter(engine));
  if (!file || !verb || !format || !write) return TM_E_ARG;
  tm_embed_request r = {.ctx = &engine->ctx,
                        .file = file,
                        .verb = verb,
                        .options = options ? options : none,
                        .wants_text = strcmp(format, "text") == 0};
  TM_TRY(tm_embed_check_format(engine, format));
  if (r.wants_text && file->snapshot.kind != TM_KIND_PROFILE)
    return tm_fail(r.ctx, TM_E_ARG, TM_NO_OFFSET, "only reports of profiles have a text");
  TM_TRY(tm_table_new(r.ctx, &r.table));
  tm_status status = run_verb(&r);
  if (status == TM_OK)
    status = r.wants_text ? write_out(r.ctx, &r.text, write, ud)
                          : tm_embed_write_table(engine, &r, format, write, ud);
  tm_bytes_free(r.ctx, &r.text);
  tm_table_free(r.table);
  return status;
}

// ---- findings ----

typedef struct telling {
  tm_json json;
  tm_bytes *text; // instead, when a line each is wanted
  tm_ctx *ctx;
  tm_status status;
} telling;

static void tell_finding(void *ud, const tm_notice *n) {
  telling *t = ud;
  if (t->status != TM_OK) return;
  if (t->text) {
    t->status =
        tm_bytes_printf(t->ctx, t->text, "%s %s %s: %s\n", n->word, n->rule, n->target, n->text);
    return;
  }
  const char *const names[] = {"state", "rule", "target", "key", "text", "unit"};
  const char *const values[] = {n->word, n->rule, n->target, n->key, n->text, n->unit};
  tm_json_object(&t->json);
  for (size_t i = 0; i < TM_COUNT(names); i++) {
    tm_json_key(&t->json, names[i]);
    tm_json_string(&t->json, values[i]);
  }
  tm_json_key(&t->json, "level");
  tm_json_int(&t->json, n->level);
  tm_json_key(&t->json, "value");
  tm_json_double(&t->json, n->value);
  tm_json_key(&t->json, "time_ns");
  tm_json_int(&t->json, n->time_ns);
  tm_json_close(&t->json);
}

tm_status tm_report_findings(tm_embed *engine, const char *format, tm_write_fn write, void *ud) {
  TM_TRY(tm_embed_enter(engine));
  if (!format || !write) return TM_E_ARG;
  const host_format *own = format_named(engine, format);
  bool as_text = strcmp(format, "text") == 0;
  if (!own && !as_text && strcmp(format, "json") != 0)
    return tm_fail(&engine->ctx, TM_E_ARG, TM_NO_OFFSET, "no format of findings is called '%s'",
                   format);
  tm_bytes out = {0};
  telling t = {.text = as_text ? &out : NULL, .ctx = &engine->ctx};
  t.json = tm_json_begin(&engine->ctx, &out);
  if (!as_text) tm_json_array(&t.json);
  tm_status status = tm_findings(engine, tell_finding, &t);
  if (status == TM_OK) status = t.status;
  if (!as_text) tm_json_close(&t.json);
  if (status == TM_OK && !as_text) status = tm_json_end(&t.json);
  if (status == TM_OK)
    status = own ? render(engine, own, "findings", &out, write, ud)
                 : write_out(&engine->ctx, &out, write, ud);
  tm_bytes_free(&engine->ctx, &out);
  return status;
}

tm_status tm_format_register(tm_embed *engine, const char *name, tm_render_fn fn, void *ud) {
  TM_TRY(tm_embed_enter(engine));
  host_format format = {.fn = fn, .ud = ud};
  if (!name || !*name || !fn || strlen(name) >= sizeof format.name)
    return tm_fail(&engine->ctx, TM_E_ARG, TM_NO_OFFSET,
                   "a format needs a name of up to 63 bytes and a function");
  if (is_builtin(name) || format_named(engine, name))
    return tm_fail(&engine->ctx, TM_E_ARG, TM_NO_OFFSET, "a format is called '%s' already", name);
  memcpy(format.name, name, strlen(name) + 1);
  return tm_vec_push(&engine->ctx, &engine->formats, format);
}
