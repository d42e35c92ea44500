// raw and comments: every table of the profile as text.
#include "analyze/report_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// A duration as Go prints it ("1m30.5s"), cut to four characters as the reference does.
// NOLINTNEXTLINE(readability-function-cognitive-complexity): one branch per form of the reference
static void go_duration(char text[96], int64_t ns) {
  char fraction[16] = "";
  uint64_t u = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
  const char *sign = ns < 0 ? "-" : "";
  if (u < 1000000000) {
    uint64_t unit = u >= 1000000 ? 1000000 : u >= 1000 ? 1000 : 1;
    const char *name = unit == 1000000 ? "ms" : unit == 1000 ? "\xc2\xb5s" : u ? "ns" : "s";
    snprintf(fraction, sizeof fraction, "%0*u", unit == 1000000 ? 6 : 3, (uint32_t)(u % unit));
    size_t n = unit == 1 ? 0 : strlen(fraction);
    while (n && fraction[n - 1] == '0') n--;
    fraction[n] = '\0';
    snprintf(text, 96, "%s%llu%s%s%s", sign, (unsigned long long)(u / unit), n ? "." : "", fraction,
             name);
  } else {
    uint64_t seconds = u / 1000000000;
    snprintf(fraction, sizeof fraction, "%09u", (uint32_t)(u % 1000000000));
    size_t n = 9;
    while (n && fraction[n - 1] == '0') n--;
    fraction[n] = '\0';
    char hours[24] = "", minutes[24] = "";
    if (seconds >= 3600)
      snprintf(hours, sizeof hours, "%lluh", (unsigned long long)(seconds / 3600));
    if (seconds >= 60) snprintf(minutes, sizeof minutes, "%um", (uint32_t)(seconds / 60 % 60));
    snprintf(text, 96, "%s%s%s%u%s%ss", sign, hours, minutes, (uint32_t)(seconds % 60),
             n ? "." : "", fraction);
  }
  size_t at = 0;
  for (int runes = 0; text[at] && runes < 4; runes++)
    for (at++; ((uint8_t)text[at] & 0xc0) == 0x80; at++) continue;
  text[at] = '\0';
}

static tm_status raw_header(report *r) {
  const tm_profile *p = r->p;
  for (size_t i = 0; i < p->comments.count; i++)
    REPORT_PRINT(r, "Comment: %s\n", tm_profile_text(p, p->comments.items[i]));
  if (*tm_profile_text(p, p->doc_url)) REPORT_PRINT(r, "Doc: %s\n", tm_profile_text(p, p->doc_url));
  REPORT_PRINT(r, "PeriodType: %s %s\n", tm_profile_text(p, p->period_type.type),
               tm_profile_text(p, p->period_type.unit));
  REPORT_PRINT(r, "Period: %lld\n", (long long)p->period);
  if (p->time_ns) {
    int64_t part = p->time_ns % 1000000000;
    time_t t = (time_t)(p->time_ns / 1000000000 - (part < 0));
    if (part < 0) part += 1000000000;
    struct tm parts;
    char day[40] = "", zone[40] = "", fraction[16] = "";
    if (localtime_r(&t, &parts)) {
      strftime(day, sizeof day, "%Y-%m-%d %H:%M:%S", &parts);
      strftime(zone, sizeof zone, "%z %Z", &parts);
    }
    size_t n = (size_t)snprintf(fraction, sizeof fraction, ".%09u", (uint32_t)part);
    while (n && (fraction[n - 1] == '0' || fraction[n - 1] == '.')) {
      bool dot = fraction[--n] == '.';
      fraction[n] = '\0';
      if (dot) break;
    }
    REPORT_PRINT(r, "Time: %s%s %s\n", day, fraction, zone);
  }
  if (p->duration_ns) {
    char duration[96];
    go_duration(duration, p->duration_ns);
    REPORT_PRINT(r, "Duration: %s\n", duration);
  }
  REPORT_PRINT(r, "Samples:\n");
  for (size_t i = 0; i < p->types.count; i++)
    REPORT_PRINT(r, "%s%s/%s%s", i ? " " : "", tm_profile_text(p, p->types.items[i].type),
                 tm_profile_text(p, p->types.items[i].unit),
                 p->types.items[i].type == p->default_type ? "[dflt]" : "");
  REPORT_PRINT(r, "\n");
  return TM_OK;
}

typedef struct line_ref {
  const char *text;
} line_ref;

static int compare_lines(const void *a, const void *b) {
  return strcmp(((const line_ref *)a)->text, ((const line_ref *)b)->text);
}

static bool has_unit(const tm_profile *p, uint32_t begin, uint32_t end, uint32_t key) {
  for (uint32_t i = begin; i < end; i++)
    if (p->labels.items[i].key == key && p->labels.items[i].numeric && p->labels.items[i].unit)
      return true;
  return false;
}

// "key:[a b]" of one key in scratch memory.
static tm_status raw_key(report *r, uint32_t sample, const tm_label *first, line_ref *out) {
  const tm_profile *p = r->p;
  uint32_t begin = tm_profile_label_begin(p, sample), end = tm_profile_label_end(p, sample);
  bool units = has_unit(p, begin, end, first->key), more = false;
  tm_bytes text = {0};
  tm_status status = tm_bytes_printf(r->ctx, &text, "%s:[", tm_profile_text(p, first->key));
  for (uint32_t i = begin; i < end && status == TM_OK; i++) {
    const tm_label *l = &p->labels.items[i];
    if (l->key != first->key || l->numeric != first->numeric) continue;
    const char *gap = more ? " " : "";
    more = true;
    if (!l->numeric)
      status = tm_bytes_printf(r->ctx, &text, "%s%s", gap, tm_profile_text(p, l->text));
    else
      status = tm_bytes_printf(r->ctx, &text, "%s%lld%s%s", gap, (long long)l->number,
                               units ? " " : "", units ? tm_profile_text(p, l->unit) : "");
  }
  if (status == TM_OK) status = tm_bytes_append(r->ctx, &text, "]", 1);
  if (status == TM_OK) {
    out->text = tm_arena_strndup(&r->ctx->scratch, (const char *)text.data, text.size);
    if (!out->text) status = tm_fail(r->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (labels)");
  }
  tm_bytes_free(r->ctx, &text);
  return status;
}

static tm_status raw_labels(report *r, uint32_t sample, bool numeric) {
  const tm_profile *p = r->p;
  uint32_t begin = tm_profile_label_begin(p, sample), end = tm_profile_label_end(p, sample);
  if (begin == end) return TM_OK;
  tm_arena_mark mark = tm_arena_save(&r->ctx->scratch);
  line_ref *keys = tm_arena_calloc(&r->ctx->scratch, end - begin, sizeof *keys);
  if (!keys) return tm_fail(r->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (labels)");
  size_t count = 0;
  for (uint32_t i = begin; i < end; i++) {
    const tm_label *l = &p->labels.items[i];
    bool seen = l->numeric != numeric || (r->view.hidden_keys && r->view.hidden_keys[l->key]);
    for (uint32_t k = begin; k < i && !seen; k++)
      seen = p->labels.items[k].key == l->key && p->labels.items[k].numeric == numeric;
    if (!seen) TM_TRY(raw_key(r, sample, l, &keys[count++]));
  }
  qsort(keys, count, sizeof *keys, compare_lines);
  for (size_t i = 0; i < count; i++)
    REPORT_PRINT(r, "%s%s", i ? " " : "                ", keys[i].text);
  if (count) REPORT_PRINT(r, "\n");
  tm_arena_rewind(&r->ctx->scratch, mark);
  return TM_OK;
}

static tm_status raw_sample(report *r, uint32_t s) {
  const tm_view *v = &r->view;
  uint32_t sample = v->samples[s];
  for (uint32_t k = 0; k < v->type_count; k++)
    REPORT_PRINT(r, " %10lld", (long long)r->p->values.items[(size_t)sample * v->type_count + k]);
  REPORT_PRINT(r, ": ");
  for (uint32_t i = v->begin[s]; i < v->end[s]; i++)
    if (!tm_view_is_hidden(v, v->stack[i]))
      REPORT_PRINT(r, "%llu ", (unsigned long long)v->locations.items[v->stack[i]].id);
  REPORT_PRINT(r, "\n");
  TM_TRY(raw_labels(r, sample, false));
  return raw_labels(r, sample, true);
}

static tm_status raw_location(report *r, const tm_location *loc) {
  const tm_view *v = &r->view;
  bool of_file = (size_t)(loc - v->locations.items) < r->p->locations.count; // no label's frame
  bool fake = !r->p->mappings.count && of_file;
  REPORT_PRINT(r, "%6llu: 0x%llx ", (unsigned long long)loc->id, (unsigned long long)loc->address);
  if (fake || loc->mapping != TM_PROFILE_NONE)
    REPORT_PRINT(r, "M=%llu ",
                 fake ? 1 : (unsigned long long)r->p->mappings.items[loc->mapping].id);
  if (loc->folded) REPORT_PRINT(r, "[F] ");
  if (loc->line_begin == loc->line_end) REPORT_PRINT(r, "\n");
  uint32_t begin =
      r->o.no_inlines && loc->line_end > loc->line_begin ? loc->line_end - 1 : loc->line_begin;
  for (uint32_t i = begin; i < loc->line_end; i++) {
    const tm_line *line = &v->lines.items[i];
    const tm_view_function *fn = &v->functions.items[line->function];
    const char *name = tm_view_text(v, fn->name), *system = tm_view_text(v, fn->system_name);
    bool other = strcmp(name, system) != 0;
    bool column = !r->o.no_inlines || r->o.show_columns;
    REPORT_PRINT(r, "%s%s %s:%lld:%lld s=%lld%s%s%s\n", i > begin ? "             " : "", name,
                 tm_view_text(v, fn->file), (long long)line->line,
                 column ? (long long)line->column : 0, (long long)fn->start_line, other ? "(" : "",
                 other ? system : "", other ? ")" : "");
  }
  return TM_OK;
}

static tm_status raw_mapping(report *r, const tm_mapping *m) {
  REPORT_PRINT(r, "%llu: 0x%llx/0x%llx/0x%llx %s %s %s%s%s%s\n", (unsigned long long)m->id,
               (unsigned long long)m->start, (unsigned long long)m->limit,
               (unsigned long long)m->file_offset, tm_profile_text(r->p, m->file),
               tm_profile_text(r->p, m->build_id), m->has_functions ? "[FN]" : "",
               m->has_filenames ? "[FL]" : "", m->has_line_numbers ? "[LN]" : "",
               m->has_inline_frames && !r->o.no_inlines ? "[IN]" : "");
  return TM_OK;
}

tm_status report_raw(report *r) {
  if (!r->text) return TM_OK;
  TM_TRY(raw_header(r));
  for (uint32_t s = 0; s < r->view.sample_count; s++) TM_TRY(raw_sample(r, s));
  REPORT_PRINT(r, "Locations\n");
  for (size_t i = 0; i < r->view.locations.count; i++)
    TM_TRY(raw_location(r, &r->view.locations.items[i]));
  REPORT_PRINT(r, "Mappings\n");
  for (size_t i = 0; i < r->p->mappings.count; i++)
    TM_TRY(raw_mapping(r, &r->p->mappings.items[i]));
  if (!r->p->mappings.count) TM_TRY(raw_mapping(r, &(tm_mapping){.id = 1}));
  return TM_OK;
}

tm_status report_comments(report *r) {
  const tm_profile *p = r->p;
  if (r->table)
    TM_TRY(tm_table_add_column(r->ctx, r->table, "comment", TM_CELL_TEXT, TM_UNIT_NONE));
  for (size_t i = 0; i < p->comments.count; i++) {
    const char *comment = tm_profile_text(p, p->comments.items[i]);
    size_t row;
    REPORT_PRINT(r, "%s\n", comment);
    if (!r->table) continue;
    TM_TRY(tm_table_add_row(r->ctx, r->table, &row));
    TM_TRY(tm_table_set_text(r->ctx, r->table, row, 0, comment, strlen(comment)));
  }
  return TM_OK;
}
