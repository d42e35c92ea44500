// The frame of every report: which options a verb overrides, in which order label frames, total and
// filters come, the header lines, and the unit that all values of one report share.
#include "analyze/report.h"

#include "analyze/paths.h"
#include "analyze/pprof_units.h"
#include "analyze/report_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct verb {
  const char *name;
  tm_status (*run)(report *r);
  bool untrimmed;          // never cut
  int64_t node_count;      // the default
  const char *granularity; // forced, or NULL
} verb;

static const verb verbs[] = {{"top", report_top, false, 0, NULL},
                             {"text", report_top, false, 0, NULL},
                             {"tree", report_tree, false, 80, NULL},
                             {"peek", report_tree, true, 0, NULL},
                             {"traces", report_traces, false, 80, NULL},
                             {"tags", report_tags, false, 80, NULL},
                             {"raw", report_raw, true, 0, "addresses"},
                             {"comments", report_comments, false, 80, NULL},
                             {"list", report_list, true, 0, "lines"},
                             {"disasm", report_disasm, true, 0, "addresses"},
                             {"weblist", report_weblist, true, 0, "addresses"},
                             {"dot", report_dot, false, 80, NULL},
                             {"svg", report_svg, false, 80, NULL},
                             {"callgrind", report_callgrind, true, 0, "addresses"}};

const char *report_value(const report *r, int64_t value, char *buf, size_t size) {
  if (r->ratio > 0 && r->ratio != 1) value = tm_pprof_whole((double)value * r->ratio);
  tm_pprof_label(buf, size, value, r->sample_unit, r->output_unit);
  return buf;
}

static uint64_t size_of(int64_t v) {
  return v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
}

// "minimum": the unit of the smallest node shown, or of a hundred of it when the largest is far
// off.
void report_choose_unit(report *r) {
  int64_t least = 0;
  for (uint32_t i = 0; i < r->nodes.order_count; i++) {
    const tm_node *n = &r->nodes.nodes.items[r->nodes.order[i]];
    report_least(&least, tm_node_flat(n), tm_node_cum(n));
  }
  if (r->nodes.order_count) report_unit_from(r, least, true);
}

void report_least(int64_t *least, int64_t flat, int64_t cum) {
  int64_t size = (int64_t)size_of(flat);
  if (!size) size = (int64_t)size_of(cum);
  if (size > 0 && (!*least || size < *least)) *least = size;
}

void report_unit_from(report *r, int64_t least, bool hundredfold) {
  if (strcmp(r->output_unit, "minimum") != 0) return;
  int64_t most = r->total;
  if (!least) least = most;
  if (r->ratio > 0 && r->ratio != 1) {
    least = tm_pprof_whole((double)least * r->ratio);
    most = tm_pprof_whole((double)most * r->ratio);
  }
  const char *low = tm_pprof_scale(least, r->sample_unit, "minimum").unit;
  const char *high = tm_pprof_scale(most, r->sample_unit, "minimum").unit;
  const char *unit = low;
  int64_t hundred = (int64_t)((uint64_t)least * 100);
  if (hundredfold && strcmp(low, high) != 0 && hundred < most)
    unit = tm_pprof_scale(hundred, r->sample_unit, "minimum").unit;
  r->output_unit = *unit ? unit : r->sample_unit;
}

static tm_status time_label(report *r, int64_t time_ns) {
  int64_t seconds = time_ns / 1000000000 - (time_ns % 1000000000 < 0);
  time_t t = (time_t)seconds;
  struct tm parts;
  char text[80];
  if (!localtime_r(&t, &parts)) return TM_OK;
  strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %Z", &parts);
  REPORT_PRINT(r, "Time: %s\n", text);
  return TM_OK;
}

static tm_status duration_label(report *r) {
  char duration[400], total[400], percent[48];
  tm_pprof_label(duration, sizeof duration, r->p->duration_ns, "nanoseconds", "auto");
  tm_scaled ns = tm_pprof_scale(r->total, r->sample_unit, "nanoseconds");
  REPORT_PRINT(r, "Duration: %s, Total samples = %s ", duration,
               report_value(r, r->total, total, sizeof total));
  if (strcmp(ns.unit, "ns") == 0 && ns.value != 0) {
    tm_pprof_percent(percent, sizeof percent, tm_pprof_whole(ns.value), r->p->duration_ns);
    REPORT_PRINT(r, "(%s)", percent);
  }
  REPORT_PRINT(r, "\n");
  return TM_OK;
}

tm_status report_profile_labels(report *r) {
  const tm_profile *p = r->p;
  if (p->mappings.count) {
    const char *file = tm_profile_text(p, p->mappings.items[0].file);
    const char *build_id = tm_profile_text(p, p->mappings.items[0].build_id);
    size_t n;
    const char *base = tm_path_base(file, &n);
    if (*file) REPORT_PRINT(r, "File: %.*s\n", (int)n, base);
    if (*build_id) REPORT_PRINT(r, "Build ID: %s\n", build_id);
  }
  for (size_t i = 0; i < p->comments.count; i++) {
    const char *comment = tm_profile_text(p, p->comments.items[i]);
    if (*comment != '#') REPORT_PRINT(r, "%s\n", comment);
  }
  const char *type = tm_profile_text(p, p->types.items[r->view.value_index].type);
  if (*type || r->o.mean) REPORT_PRINT(r, "Type: %s%s\n", r->o.mean ? "mean_" : "", type);
  const char *doc = tm_profile_text(p, p->doc_url);
  if (*doc) REPORT_PRINT(r, "Doc: %s\n", doc);
  if (p->time_ns) TM_TRY(time_label(r, p->time_ns));
  return p->duration_ns ? duration_label(r) : TM_OK;
}

tm_status report_filter_labels(report *r) {
  const struct {
    const char *name, *value;
  } filters[] = {{"focus", r->o.focus},
                 {"ignore", r->o.ignore},
                 {"hide", r->o.hide},
                 {"show", r->o.show},
                 {"show_from", r->o.show_from},
                 {"tagfocus", r->o.tag_focus},
                 {"tagignore", r->o.tag_ignore},
                 {"tagshow", r->o.tag_show},
                 {"taghide", r->o.tag_hide}};
  bool first = true;
  for (size_t i = 0; i < TM_COUNT(filters); i++) {
    if (!filters[i].value || !*filters[i].value) continue;
    if (first) REPORT_PRINT(r, "Active filters:\n");
    first = false;
    size_t room = 80 - strlen(filters[i].name) - 1;
    bool cut = strlen(filters[i].value) > room;
    REPORT_PRINT(r, "   %s=%.*s%s\n", filters[i].name, (int)room, filters[i].value,
                 cut ? "\xe2\x80\xa6" : "");
  }
  return TM_OK;
}

static tm_status note_graph(report *r, int64_t shown_total) {
  if (!r->table) return TM_OK;
  TM_TRY(tm_table_note_int(r->ctx, r->table, "total", r->total));
  TM_TRY(tm_table_note_int(r->ctx, r->table, "shown", shown_total));
  TM_TRY(tm_table_note_int(r->ctx, r->table, "dropped_nodes", r->nodes.dropped_count));
  return tm_table_note_int(r->ctx, r->table, "original_nodes", r->nodes.original_count);
}

tm_status report_labels(report *r, int64_t shown_total) {
  char a[400], b[400], percent[48];
  TM_TRY(note_graph(r, shown_total));
  if (!r->text) return TM_OK;
  if (!r->o.compact_labels) TM_TRY(report_profile_labels(r));
  TM_TRY(report_filter_labels(r));
  tm_pprof_percent(percent, sizeof percent, shown_total, r->total);
  REPORT_PRINT(r, "Showing nodes accounting for %s, %s of %s total\n",
               report_value(r, shown_total, a, sizeof a), percent + strspn(percent, " "),
               report_value(r, r->total, b, sizeof b));
  if (!r->total) return TM_OK;
  uint32_t dropped = r->nodes.dropped_count;
  int64_t cut = (int64_t)size_of(tm_pprof_whole((double)r->total * r->o.node_fraction));
  if (dropped)
    REPORT_PRINT(r, "Dropped %u node%s (cum <= %s)\n", dropped, dropped > 1 ? "s" : "",
                 report_value(r, cut, a, sizeof a));
  if (r->nodes.order_count && r->nodes.order_count < r->nodes.original_count)
    REPORT_PRINT(r, "Showing top %u nodes out of %u\n", r->nodes.order_count,
                 r->nodes.original_count);
  return TM_OK;
}

tm_status report_graph(report *r) {
  tm_flatcum_options o = {.granularity = r->o.granularity,
                          .no_inlines = r->o.no_inlines,
                          .show_columns = r->o.show_columns,
                          .source_path = r->o.source_path,
                          .trim_path = r->o.trim_path ? r->o.trim_path : "",
                          .object_names = r->object_names};
  TM_TRY(tm_flatcum_init(r->ctx, &r->view, &o, &r->nodes));
  return tm_flatcum_select(r->ctx, &r->nodes, r->o.cum, r->o.node_fraction, r->o.node_count,
                           r->o.drop_negative);
}

// --- running a verb ---

static tm_status override(report *r, const verb *v) {
  tm_report_options *o = &r->o;
  if (!o->unit) o->unit = "minimum";
  if (v->granularity) o->granularity = v->granularity;
  if (o->node_count < 0) o->node_count = v->node_count;
  if (v->untrimmed || !o->trim) {
    o->node_count = 0;
    o->node_fraction = o->edge_fraction = 0;
  }
  if (o->divide_by == 0) return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "zero divisor specified");
  r->ratio = 1 / o->divide_by;
  r->output_unit = o->unit;
  if (!o->symbol || !*o->symbol) return TM_OK;
  if (tm_regex_new(r->ctx, o->symbol, strlen(o->symbol), &r->symbol) != TM_OK)
    return tm_fail_in(r->ctx, "parsing argument regexp");
  return TM_OK;
}

static tm_status note_view(report *r) {
  if (!r->table) return TM_OK;
  const tm_value_type *t = &r->p->types.items[r->view.value_index];
  TM_TRY(tm_table_note_text(r->ctx, r->table, "type", tm_profile_text(r->p, t->type)));
  TM_TRY(tm_table_note_text(r->ctx, r->table, "unit", tm_profile_text(r->p, t->unit)));
  for (size_t i = 0; i < r->view.warnings.count; i++)
    TM_TRY(tm_table_note_text(r->ctx, r->table, "warning",
                              tm_view_text(&r->view, r->view.warnings.items[i])));
  return TM_OK;
}

static tm_status prepare(report *r, const verb *v) {
  TM_TRY(override(r, v));
  TM_TRY(tm_view_init(r->ctx, r->p, &r->o, &r->view));
  TM_TRY(tm_view_add_label_frames(r->ctx, &r->view, &r->o));
  if (r->o.relative_percentages) TM_TRY(tm_view_filter(r->ctx, &r->view, &r->o));
  r->sample_unit = tm_profile_text(r->p, r->p->types.items[r->view.value_index].unit);
  r->total = tm_view_total(&r->view);
  if (!r->o.relative_percentages) TM_TRY(tm_view_filter(r->ctx, &r->view, &r->o));
  return note_view(r);
}

tm_status tm_report(tm_ctx *ctx, const tm_profile *profile, const char *name,
                    const tm_report_options *options, tm_bytes *text, tm_table *table) {
  const verb *v = NULL;
  for (size_t i = 0; i < TM_COUNT(verbs); i++)
    if (strcmp(verbs[i].name, name) == 0) v = &verbs[i];
  if (!v) return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no report is called \"%s\"", name);
  report r = {.ctx = ctx, .p = profile, .o = *options, .verb = name, .text = text, .table = table};
  tm_status status = prepare(&r, v);
  if (status == TM_OK) status = v->run(&r);
  tm_flatcum_fini(&r.nodes);
  tm_view_fini(&r.view);
  tm_regex_free(r.symbol);
  return status;
}

tm_status tm_report_topproto(tm_ctx *ctx, const tm_profile *profile,
                             const tm_report_options *options, tm_profile **out) {
  report r = {.ctx = ctx, .p = profile, .o = *options, .verb = "top"};
  tm_status status = prepare(&r, &verbs[0]);
  if (status == TM_OK) status = report_topproto(&r, out);
  tm_flatcum_fini(&r.nodes);
  tm_view_fini(&r.view);
  tm_regex_free(r.symbol);
  return status;
}
