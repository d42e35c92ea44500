// The rows of `top` as a profile: a location for each, with its cumulative and its flat value.
// Source: the output of `go tool pprof -topproto`.
#include "analyze/pprof_units.h"
#include "analyze/report_impl.h"
#include "base/idmap.h"

#include <string.h>

typedef struct maker {
  report *r;
  tm_profile *p;
  tm_idmap functions; // name << 32 | file -> function
} maker;

static tm_status put_text(maker *m, const char *text, uint32_t *out) {
  return tm_profile_intern(m->r->ctx, m->p, text, strlen(text), out);
}

static tm_status put_function(maker *m, const tm_node *n, uint32_t *out) {
  tm_function made = {.id = m->p->functions.count + 1, .start_line = n->start_line};
  TM_TRY(put_text(m, tm_view_text(&m->r->view, n->name), &made.name));
  TM_TRY(put_text(m, tm_view_text(&m->r->view, n->file), &made.file));
  uint64_t key = (uint64_t)made.name << 32 | made.file;
  *out = tm_idmap_get(&m->functions, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  *out = (uint32_t)m->p->functions.count;
  TM_TRY(tm_vec_push(m->r->ctx, &m->p->functions, made));
  return tm_idmap_put(m->r->ctx, &m->functions, key, *out);
}

static int64_t scaled(const report *r, int64_t value) {
  return tm_pprof_whole(tm_pprof_scale(value, r->sample_unit, r->output_unit).value);
}

static tm_status put_node(maker *m, const tm_node *n) {
  tm_profile *p = m->p;
  tm_line line = {.line = n->line, .column = n->column};
  TM_TRY(put_function(m, n, &line.function));
  tm_location at = {.id = p->locations.count + 1,
                    .address = n->address,
                    .mapping = TM_PROFILE_NONE,
                    .line_begin = (uint32_t)p->lines.count,
                    .line_end = (uint32_t)p->lines.count + 1};
  TM_TRY(tm_vec_push(m->r->ctx, &p->stack, (uint32_t)p->locations.count));
  TM_TRY(tm_vec_push(m->r->ctx, &p->lines, line));
  TM_TRY(tm_vec_push(m->r->ctx, &p->locations, at));
  int64_t values[] = {scaled(m->r, tm_node_cum(n)), scaled(m->r, tm_node_flat(n))};
  return tm_profile_end_sample(m->r->ctx, p, values);
}

static tm_status put_all(maker *m) {
  report *r = m->r;
  const tm_profile *from = r->p;
  TM_TRY(tm_profile_add_type(r->ctx, m->p, "cum", r->output_unit));
  TM_TRY(tm_profile_add_type(r->ctx, m->p, "flat", r->output_unit));
  TM_TRY(put_text(m, tm_profile_text(from, from->period_type.type), &m->p->period_type.type));
  TM_TRY(put_text(m, tm_profile_text(from, from->period_type.unit), &m->p->period_type.unit));
  m->p->period = from->period;
  m->p->time_ns = from->time_ns;
  m->p->duration_ns = from->duration_ns;
  for (uint32_t i = 0; i < r->nodes.order_count; i++)
    TM_TRY(put_node(m, &r->nodes.nodes.items[r->nodes.order[i]]));
  return TM_OK;
}

tm_status report_topproto(report *r, tm_profile **out) {
  maker m = {.r = r};
  TM_TRY(report_graph(r));
  report_choose_unit(r);
  TM_TRY(tm_profile_new(r->ctx, &m.p));
  tm_status status = put_all(&m);
  tm_idmap_free(r->ctx, &m.functions);
  if (status == TM_OK)
    *out = m.p;
  else
    tm_profile_free(m.p);
  return status;
}
