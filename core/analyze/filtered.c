// The view of the filters becomes a profile of its own: the tables of the original, its functions
// and locations replaced by the view's (which has the label frames behind the real ones), then the
// samples that are left. One pass over stacks and labels.
// Source: the output of `go tool pprof -proto`.
#include "analyze/filtered.h"

#include "analyze/pprof_units.h"

#include <string.h>

typedef struct filtered {
  tm_ctx *ctx;
  const tm_report_options *o;
  tm_view v;
  tm_profile *to;
  double ratio;
  TM_VEC(int64_t) values; // of the sample at hand
} filtered;

static bool is_set(const char *text) {
  return text && *text;
}

bool tm_report_options_filter(const tm_report_options *o) {
  const char *const texts[] = {o->focus,     o->ignore,     o->hide,      o->show,
                               o->show_from, o->prune_from, o->tag_focus, o->tag_ignore,
                               o->tag_show,  o->tag_hide,   o->tag_root,  o->tag_leaf};
  for (size_t i = 0; i < TM_COUNT(texts); i++)
    if (is_set(texts[i])) return true;
  return o->no_inlines || o->divide_by != 1;
}

// The id in the new profile of a text of the view; those of the old one are the same.
static tm_status text_id(filtered *f, uint32_t id, uint32_t *out) {
  *out = id;
  if (id < f->v.profile->strings.count) return TM_OK;
  const char *text = tm_view_text(&f->v, id);
  return tm_profile_intern(f->ctx, f->to, text, strlen(text), out);
}

static tm_status put_functions(filtered *f) {
  uint64_t last_id = 0;
  for (size_t i = 0; i < f->to->functions.count; i++)
    if (f->to->functions.items[i].id > last_id) last_id = f->to->functions.items[i].id;
  for (size_t i = f->to->functions.count; i < f->v.functions.count; i++) {
    const tm_view_function *from = &f->v.functions.items[i];
    tm_function made = {.id = ++last_id, .start_line = from->start_line};
    TM_TRY(text_id(f, from->name, &made.name));
    TM_TRY(text_id(f, from->system_name, &made.system_name));
    TM_TRY(text_id(f, from->file, &made.file));
    TM_TRY(tm_vec_push(f->ctx, &f->to->functions, made));
  }
  return TM_OK;
}

static tm_status put_locations(filtered *f) {
  bool columns = !f->o->no_inlines || f->o->show_columns;
  f->to->locations.count = f->to->lines.count = 0;
  for (size_t i = 0; i < f->v.lines.count; i++) {
    tm_line line = f->v.lines.items[i];
    if (!columns) line.column = 0;
    TM_TRY(tm_vec_push(f->ctx, &f->to->lines, line));
  }
  for (size_t i = 0; i < f->v.locations.count; i++) {
    tm_location made = f->v.locations.items[i];
    if (f->o->no_inlines && made.line_end > made.line_begin) made.line_begin = made.line_end - 1;
    TM_TRY(tm_vec_push(f->ctx, &f->to->locations, made));
  }
  for (size_t i = 0; f->o->no_inlines && i < f->to->mappings.count; i++)
    f->to->mappings.items[i].has_inline_frames = false;
  return TM_OK;
}

static tm_status put_sample(filtered *f, uint32_t s) {
  const tm_view *v = &f->v;
  const tm_profile *p = v->profile;
  uint32_t sample = v->samples[s], labels_end = tm_profile_label_end(p, sample);
  for (uint32_t i = v->begin[s]; i < v->end[s]; i++)
    if (!tm_view_is_hidden(v, v->stack[i])) TM_TRY(tm_vec_push(f->ctx, &f->to->stack, v->stack[i]));
  for (uint32_t i = tm_profile_label_begin(p, sample); i < labels_end; i++)
    if (!v->hidden_keys || !v->hidden_keys[p->labels.items[i].key])
      TM_TRY(tm_vec_push(f->ctx, &f->to->labels, p->labels.items[i]));
  f->values.count = 0;
  for (uint32_t k = 0; k < v->type_count; k++) {
    int64_t value = p->values.items[(size_t)sample * v->type_count + k];
    if (f->ratio > 0 && f->ratio != 1) value = tm_pprof_whole((double)value * f->ratio);
    TM_TRY(tm_vec_push(f->ctx, &f->values, value));
  }
  return tm_profile_end_sample(f->ctx, f->to, f->values.items);
}

static tm_status build(filtered *f, const tm_profile *p) {
  TM_TRY(tm_view_init(f->ctx, p, f->o, &f->v));
  TM_TRY(tm_view_add_label_frames(f->ctx, &f->v, f->o));
  TM_TRY(tm_view_filter(f->ctx, &f->v, f->o));
  bool *none = tm_calloc(f->ctx, p->sample_count + (size_t)1, sizeof *none);
  if (!none) return TM_E_NOMEM;
  tm_status status = tm_profile_keep(f->ctx, p, none, &f->to);
  tm_free(f->ctx, none, (p->sample_count + (size_t)1) * sizeof *none);
  if (status == TM_OK) status = put_functions(f);
  if (status == TM_OK) status = put_locations(f);
  for (uint32_t s = 0; status == TM_OK && s < f->v.sample_count; s++) status = put_sample(f, s);
  return status;
}

tm_status tm_profile_filtered(tm_ctx *ctx, const tm_profile *p, const tm_report_options *o,
                              tm_profile **out) {
  if (o->divide_by == 0) return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "zero divisor specified");
  filtered f = {.ctx = ctx, .o = o, .ratio = 1 / o->divide_by};
  tm_status status = build(&f, p);
  tm_view_fini(&f.v);
  tm_vec_free(ctx, &f.values);
  if (status == TM_OK)
    *out = f.to;
  else
    tm_profile_free(f.to);
  return status;
}
