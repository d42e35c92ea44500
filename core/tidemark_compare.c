// Several files, for a host: any file folded to a profile, which the verbs of profiles report and
// which outlives a large dump; the difference of two; and what grows over many.
#include "analyze/growth.h"
#include "analyze/merge.h"
#include "analyze/report_options.h"
#include "analyze/trace_profile.h"
#include "analyze/type_paths.h"
#include "tidemark_report.h"

#include <string.h>

// ---- folding ----

// What a file says as a profile: its own (*made NULL), or one that is made.
static tm_status profile_of(const tm_embed_request *r, const tm_file *file, const tm_profile **out,
                            tm_profile **made) {
  const tm_snapshot *s = &file->snapshot;
  uint32_t weakest;
  *made = NULL;
  TM_TRY(tm_embed_follow(r, &weakest));
  switch (s->kind) {
  case TM_KIND_PROFILE:
  case TM_KIND_GOROUTINES:
    *out = s->model;
    return TM_OK;
  case TM_KIND_GRAPH:
    TM_TRY(tm_type_paths(r->ctx, s->model, (tm_strength)weakest, NULL, made));
    break;
  case TM_KIND_TRACE:
    TM_TRY(tm_trace_profile(r->ctx, s->model, false, made));
    break;
  default:
    return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "a %s cannot be folded to a profile",
                   tm_file_kind(file));
  }
  *out = *made;
  return TM_OK;
}

static void free_profile(void *model) {
  tm_profile_free(model);
}

// Takes the profile over, also when it fails.
static tm_status keep(tm_ctx *ctx, const char *format, tm_profile *profile, tm_file **out) {
  tm_file *file = tm_calloc(ctx, 1, sizeof *file);
  if (!file) {
    tm_profile_free(profile);
    return TM_E_NOMEM;
  }
  file->snapshot = (tm_snapshot){
      .kind = TM_KIND_PROFILE, .format = format, .model = profile, .free_model = free_profile};
  *out = file;
  return TM_OK;
}

static void note_damage(tm_file *out, const tm_file *of) {
  if (!of->snapshot.partial || out->snapshot.partial) return;
  out->snapshot.partial = true;
  out->snapshot.problem = of->snapshot.problem;
}

static const char *const no_options[] = {NULL};

tm_status tm_file_fold(tm_embed *engine, const tm_file *file, const char *const *options,
                       tm_file **out) {
  static const char *const known[] = {"follow", NULL};
  TM_TRY(tm_embed_enter(engine));
  if (!file || !out) return TM_E_ARG;
  *out = NULL;
  const tm_embed_request r = {
      .ctx = &engine->ctx, .verb = "fold", .options = options ? options : no_options};
  TM_TRY(tm_embed_check_options(&r, known));
  const tm_profile *profile;
  tm_profile *made;
  TM_TRY(profile_of(&r, file, &profile, &made));
  const tm_combine_options as_it_is = {0};
  if (!made) TM_TRY(tm_profile_combine(r.ctx, &profile, 1, NULL, 0, &as_it_is, &made));
  TM_TRY(keep(r.ctx, file->snapshot.kind == TM_KIND_GRAPH ? "paths" : "pprof", made, out));
  note_damage(*out, file);
  return TM_OK;
}

// ---- differences ----

tm_status tm_file_diff(tm_embed *engine, const tm_file *base, const tm_file *file, tm_file **out) {
  const tm_combine_options how = {.diff_base = true};
  TM_TRY(tm_embed_enter(engine));
  if (!base || !file || !out) return TM_E_ARG;
  *out = NULL;
  const tm_embed_request r = {.ctx = &engine->ctx, .verb = "diff", .options = no_options};
  const tm_profile *from, *to;
  tm_profile *from_made, *to_made = NULL, *made;
  TM_TRY(profile_of(&r, base, &from, &from_made));
  tm_status status = profile_of(&r, file, &to, &to_made);
  if (status == TM_OK) status = tm_profile_combine(r.ctx, &to, 1, &from, 1, &how, &made);
  tm_profile_free(from_made);
  tm_profile_free(to_made);
  TM_TRY(status);
  TM_TRY(keep(r.ctx, "pprof", made, out));
  note_damage(*out, base);
  note_damage(*out, file);
  return TM_OK;
}

// ---- growth ----

// Options of profiles' reports but for those that are growth's own.
static tm_status growth_options(const tm_embed_request *r, tm_report_options *options,
                                tm_growth_by *by) {
  static const char *const own[] = {"by=", "nodecount=", "follow=", NULL};
  const char *word = tm_embed_option(r, "by");
  *by = word && strcmp(word, "function") == 0 ? TM_GROWTH_BY_FUNCTION : TM_GROWTH_BY_PATH;
  if (word && *by == TM_GROWTH_BY_PATH && strcmp(word, "path") != 0)
    return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "growth: by is path or function, not '%s'",
                   word);
  tm_report_options_init(options);
  for (const char *const *o = r->options; *o; o++) {
    size_t i = 0;
    while (own[i] && strncmp(*o, own[i], strlen(own[i])) != 0) i++;
    if (!own[i]) TM_TRY(tm_embed_set_option(r, options, *o));
  }
  return TM_OK;
}

static tm_status add_file(const tm_embed_request *r, tm_growth *growth, const tm_file *file,
                          int64_t time_ns) {
  const tm_profile *profile;
  tm_profile *made;
  TM_TRY(profile_of(r, file, &profile, &made));
  tm_status status = tm_growth_add(r->ctx, growth, profile, time_ns);
  tm_profile_free(made);
  return status;
}

tm_status tm_report_growth(tm_embed *engine, const tm_file *const *files, size_t count,
                           const int64_t *times_ns, const char *const *options, const char *format,
                           tm_write_fn write, void *ud) {
  TM_TRY(tm_embed_enter(engine));
  if (!files || !format || !write) return TM_E_ARG;
  tm_embed_request r = {
      .ctx = &engine->ctx, .verb = "growth", .options = options ? options : no_options};
  if (count < 2) return tm_fail(r.ctx, TM_E_ARG, TM_NO_OFFSET, "growth wants two files or more");
  TM_TRY(tm_embed_check_format(engine, format));
  if (strcmp(format, "text") == 0)
    return tm_fail(r.ctx, TM_E_ARG, TM_NO_OFFSET, "growth has no text: json, csv or your own");
  tm_report_options how;
  tm_growth_by by;
  tm_growth *growth;
  TM_TRY(growth_options(&r, &how, &by));
  TM_TRY(tm_growth_new(r.ctx, by, &how, &growth));
  tm_status status = TM_OK;
  for (size_t i = 0; i < count && status == TM_OK; i++)
    status = files[i] ? add_file(&r, growth, files[i], times_ns ? times_ns[i] : 0) : TM_E_ARG;
  if (status == TM_OK) status = tm_table_new(r.ctx, &r.table);
  if (status == TM_OK) status = tm_growth_table(r.ctx, growth, tm_embed_row_count(&r), r.table);
  if (status == TM_OK) status = tm_embed_write_table(engine, &r, format, write, ud);
  tm_table_free(r.table);
  tm_growth_free(growth);
  return status;
}
