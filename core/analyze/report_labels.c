// traces and tags: the reports over single samples and their labels.
#include "analyze/pprof_units.h"
#include "analyze/report_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_shown(const tm_view *v, const tm_label *l) {
  return !v->hidden_keys || !v->hidden_keys[l->key];
}

// Columns that fmt's %10s counts are code points, not bytes.
static size_t rune_count(const char *s) {
  size_t n = 0;
  for (; *s; s++) n += ((uint8_t)*s & 0xc0) != 0x80;
  return n;
}

// --- traces ---

typedef struct label_line {
  const char *text; // NUL-terminated, sorts as printed
} label_line;

static int compare_lines(const void *a, const void *b) {
  return strcmp(((const label_line *)a)->text, ((const label_line *)b)->text);
}

// One line per key: "       key:  value value". Built in the ctx's scratch memory.
static tm_status build_line(report *r, uint32_t sample, const tm_label *first, bool numeric,
                            label_line *out) {
  const tm_profile *p = r->p;
  tm_bytes text = {0};
  const char *key = tm_view_text(&r->view, first->key);
  size_t width = rune_count(key);
  tm_status status =
      tm_bytes_printf(r->ctx, &text, "%*s%s: ", width < 10 ? (int)(10 - width) : 0, "", key);
  uint32_t end = tm_profile_label_end(p, sample);
  for (uint32_t i = tm_profile_label_begin(p, sample); i < end && status == TM_OK; i++) {
    const tm_label *l = &p->labels.items[i];
    char number[400];
    if (l->key != first->key || l->numeric != numeric) continue;
    if (numeric)
      tm_pprof_label(number, sizeof number, l->number,
                     tm_view_text(&r->view, r->view.number_units[l->key]), "auto");
    status =
        tm_bytes_printf(r->ctx, &text, " %s", numeric ? number : tm_view_text(&r->view, l->text));
  }
  if (status == TM_OK) {
    out->text = tm_arena_strndup(&r->ctx->scratch, (const char *)text.data, text.size);
    if (!out->text) status = tm_fail(r->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (labels)");
  }
  tm_bytes_free(r->ctx, &text);
  return status;
}

static bool is_first_of_key(const tm_profile *p, uint32_t begin, uint32_t i) {
  for (uint32_t k = begin; k < i; k++)
    if (p->labels.items[k].key == p->labels.items[i].key
        && p->labels.items[k].numeric == p->labels.items[i].numeric)
      return false;
  return true;
}

static tm_status print_labels(report *r, uint32_t sample, bool numeric) {
  const tm_profile *p = r->p;
  uint32_t begin = tm_profile_label_begin(p, sample), end = tm_profile_label_end(p, sample);
  if (begin == end || !r->text) return TM_OK;
  tm_arena_mark mark = tm_arena_save(&r->ctx->scratch);
  label_line *lines = tm_arena_calloc(&r->ctx->scratch, end - begin, sizeof *lines);
  if (!lines) return tm_fail(r->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (labels)");
  size_t count = 0;
  for (uint32_t i = begin; i < end; i++) {
    const tm_label *l = &p->labels.items[i];
    if (l->numeric != numeric || !is_shown(&r->view, l) || !is_first_of_key(p, begin, i)) continue;
    TM_TRY(build_line(r, sample, l, numeric, &lines[count++]));
  }
  qsort(lines, count, sizeof *lines, compare_lines);
  for (size_t i = 0; i < count; i++) REPORT_PRINT(r, "%s\n", lines[i].text);
  tm_arena_rewind(&r->ctx->scratch, mark);
  return TM_OK;
}

static tm_status trace_row(report *r, uint32_t s, uint32_t depth, const char *name, bool is_inline,
                           int64_t value) {
  size_t row;
  if (!r->table) return TM_OK;
  TM_TRY(tm_table_add_row(r->ctx, r->table, &row));
  tm_table_set_int(r->table, row, 0, s);
  tm_table_set_int(r->table, row, 1, depth);
  TM_TRY(tm_table_set_text(r->ctx, r->table, row, 2, name, strlen(name)));
  tm_table_set_int(r->table, row, 3, is_inline);
  tm_table_set_int(r->table, row, 4, value);
  return TM_OK;
}

static const char separator[] =
    "-----------+-------------------------------------------------------\n";

static tm_status print_trace(report *r, uint32_t s) {
  const tm_view *v = &r->view;
  tm_flatcum *f = &r->nodes;
  uint32_t sample = v->samples[s], depth = 0;
  int64_t value = tm_view_value(v, sample), divisor = tm_view_divisor(v, sample);
  if (divisor) value /= divisor;
  for (uint32_t i = v->begin[s]; i < v->end[s]; i++) {
    uint32_t loc = v->stack[i];
    for (uint32_t k = f->frame_begin[loc]; k < f->frame_begin[loc + 1]; k++, depth++) {
      char text[400] = "";
      const char *name;
      if (depth == 0) {
        REPORT_PRINT(r, "%s", separator);
        TM_TRY(print_labels(r, sample, false));
        TM_TRY(print_labels(r, sample, true));
        report_value(r, value, text, sizeof text);
      }
      bool is_inline = k + 1 != f->frame_begin[loc + 1];
      TM_TRY(tm_flatcum_label(r->ctx, f, f->frames.items[k], &name));
      REPORT_PRINT(r, "%10s   %s%s\n", text, name, is_inline ? " (inline)" : "");
      TM_TRY(trace_row(r, s, depth, name, is_inline, value));
    }
  }
  return TM_OK;
}

tm_status report_traces(report *r) {
  tm_flatcum_options o = {.granularity = r->o.granularity,
                          .no_inlines = r->o.no_inlines,
                          .show_columns = r->o.show_columns};
  static const char *const names[] = {"trace", "depth", "name", "inline", "value"};
  for (size_t i = 0; r->table && i < TM_COUNT(names); i++)
    TM_TRY(tm_table_add_column(r->ctx, r->table, names[i], i == 2 ? TM_CELL_TEXT : TM_CELL_INT,
                               i == 2 ? TM_UNIT_NONE : TM_UNIT_COUNT));
  TM_TRY(tm_flatcum_names(r->ctx, &r->view, &o, &r->nodes));
  TM_TRY(report_profile_labels(r));
  for (uint32_t s = 0; s < r->view.sample_count; s++) TM_TRY(print_trace(r, s));
  REPORT_PRINT(r, "%s", separator);
  return TM_OK;
}

// --- tags ---

// A value of a key, by its text as shown.
typedef struct tag {
  uint32_t key;   // view string id
  uint32_t value; // view string id
  int64_t amount;
  const char *key_text, *value_text;
} tag;

typedef TM_VEC(tag) tag_list;

static int compare_tags(const void *left, const void *right) {
  const tag *a = left, *b = right;
  int order = strcmp(a->key_text, b->key_text);
  if (order) return order;
  uint64_t x = a->amount < 0 ? 0 - (uint64_t)a->amount : (uint64_t)a->amount;
  uint64_t y = b->amount < 0 ? 0 - (uint64_t)b->amount : (uint64_t)b->amount;
  if (x != y) return x > y ? -1 : 1;
  return strcmp(a->value_text, b->value_text);
}

static tm_status value_id(report *r, const tm_label *l, uint32_t *out) {
  char number[400];
  if (!l->numeric) {
    *out = l->text;
    return TM_OK;
  }
  tm_pprof_label(number, sizeof number, l->number,
                 tm_view_text(&r->view, r->view.number_units[l->key]), r->output_unit);
  return tm_view_intern(r->ctx, &r->view, number, strlen(number), out);
}

static tm_status collect_tags(report *r, tag_list *tags, tm_idmap *index) {
  const tm_profile *p = r->p;
  for (uint32_t s = 0; s < r->view.sample_count; s++) {
    uint32_t sample = r->view.samples[s], end = tm_profile_label_end(p, sample);
    int64_t amount = tm_view_value(&r->view, sample);
    for (uint32_t i = tm_profile_label_begin(p, sample); i < end; i++) {
      const tm_label *l = &p->labels.items[i];
      uint32_t value;
      if (!is_shown(&r->view, l)) continue;
      TM_TRY(value_id(r, l, &value));
      uint64_t key = (uint64_t)l->key << 32 | value;
      uint32_t at = tm_idmap_get(index, key);
      if (at == TM_IDMAP_NONE) {
        at = (uint32_t)tags->count;
        tag t = {.key = l->key, .value = value};
        TM_TRY(tm_vec_push(r->ctx, tags, t));
        TM_TRY(tm_idmap_put(r->ctx, index, key, at));
      }
      tags->items[at].amount += amount;
    }
  }
  for (size_t i = 0; i < tags->count; i++) {
    tags->items[i].key_text = tm_view_text(&r->view, tags->items[i].key);
    tags->items[i].value_text = tm_view_text(&r->view, tags->items[i].value);
  }
  return TM_OK;
}

static void amount_cell(report *r, int64_t amount, char *buf, size_t size) {
  char value[400], percent[48];
  report_value(r, amount, value, sizeof value);
  tm_pprof_percent(percent, sizeof percent, amount, r->total);
  if (r->total > 0)
    snprintf(buf, size, "%s (%s):", value, percent);
  else
    snprintf(buf, size, "%s:", value);
}

// The values of one key: right-aligned columns, one blank before each.
static tm_status print_key(report *r, const tag *tags, size_t count) {
  char cell[500], total_text[400], sum_text[400], percent[48];
  uint64_t sum = 0;
  size_t key_width = rune_count(tags[0].key_text) + 1, cell_width = 0;
  for (size_t i = 0; i < count; i++) {
    amount_cell(r, tags[i].amount, cell, sizeof cell);
    if (strlen(cell) > cell_width) cell_width = strlen(cell);
    sum += (uint64_t)tags[i].amount;
  }
  tm_pprof_percent(percent, sizeof percent, (int64_t)sum, r->total);
  REPORT_PRINT(r, " %s: Total %s of %s", tags[0].key_text,
               report_value(r, (int64_t)sum, sum_text, sizeof sum_text),
               report_value(r, r->total, total_text, sizeof total_text));
  if (r->total > 0) REPORT_PRINT(r, " (%s)", percent);
  REPORT_PRINT(r, "\n");
  for (size_t i = 0; i < count; i++) {
    amount_cell(r, tags[i].amount, cell, sizeof cell);
    REPORT_PRINT(r, "%*s %*s %s\n", (int)key_width + 1, "", (int)cell_width, cell,
                 tags[i].value_text);
  }
  REPORT_PRINT(r, "\n");
  return TM_OK;
}

static tm_status tag_rows(report *r, const tag_list *tags) {
  if (!r->table) return TM_OK;
  TM_TRY(tm_table_note_int(r->ctx, r->table, "total", r->total));
  TM_TRY(tm_table_add_column(r->ctx, r->table, "key", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(r->ctx, r->table, "value", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(r->ctx, r->table, "amount", TM_CELL_INT, TM_UNIT_COUNT));
  for (size_t i = 0; i < tags->count; i++) {
    const tag *t = &tags->items[i];
    size_t row;
    TM_TRY(tm_table_add_row(r->ctx, r->table, &row));
    TM_TRY(tm_table_set_text(r->ctx, r->table, row, 0, t->key_text, strlen(t->key_text)));
    TM_TRY(tm_table_set_text(r->ctx, r->table, row, 1, t->value_text, strlen(t->value_text)));
    tm_table_set_int(r->table, row, 2, t->amount);
  }
  return TM_OK;
}

tm_status report_tags(report *r) {
  tag_list tags = {0};
  tm_idmap index = {0};
  tm_status status = collect_tags(r, &tags, &index);
  if (tags.count) qsort(tags.items, tags.count, sizeof *tags.items, compare_tags);
  if (status == TM_OK) status = tag_rows(r, &tags);
  for (size_t i = 0, n; i < tags.count && status == TM_OK; i += n) {
    for (n = 1; i + n < tags.count && tags.items[i + n].key == tags.items[i].key; n++) continue;
    status = print_key(r, tags.items + i, n);
  }
  tm_vec_free(r->ctx, &tags);
  tm_idmap_free(r->ctx, &index);
  return status;
}
