// weblist: one HTML page without anything from elsewhere. Per file the lines with entries are cut
// into runs of one function; each run shows some lines around, and a line opens to its
// instructions.
#include "analyze/paths.h"
#include "analyze/pprof_units.h"
#include "analyze/weblist.h"

#include <string.h>

#define MERGE_LINES  20 // between lines of one function
#define AROUND_LINES 5
#define MAX_LINES    100000 // of one run: line numbers come from strangers

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<title>%s</title>\n<style>\n"
    "body{font-family:sans-serif;margin:1rem 2rem;color:#222;background:#fff}\n"
    "h1{font-size:1.2rem}h2{font-size:1rem;margin:1.5rem 0 .2rem}.path,.sum{color:#666}\n"
    "pre{margin:.3rem 0 0;font-size:.85rem;line-height:1.35;tab-size:8}\n"
    "summary{cursor:pointer;list-style:none}summary::-webkit-details-marker{display:none}\n"
    "summary:hover{background:#eef}summary::before{content:'+ ';color:#888}\n"
    "details[open]>summary::before{content:'- '}.l::before{content:'  '}\n"
    ".l,summary,.i{display:block;white-space:pre}.n{color:#888}.v{color:#0645ad}\n"
    ".i{color:#555;background:#f6f6f6}.i b{color:#a40;font-weight:normal}.gap{color:#bbb}\n"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}.i{background:#222;"
    "color:#aaa}.v{color:#8ab4f8}summary:hover{background:#333}}\n"
    "</style></head><body>\n";

enum { FUNCTION, FILE_NAME, LINE, FLAT, CUM, SOURCE };

// Entries of one function that stand close together.
typedef struct run {
  size_t first, end; // entries
  int64_t begin_line, end_line;
  int64_t flat, cum;
} run;

static tm_status put_text(report *r, const char *text, size_t length) {
  for (size_t i = 0; i < length; i++) {
    uint8_t c = (uint8_t)text[i];
    const char *escaped = c == '&'               ? "&amp;"
                          : c == '<'             ? "&lt;"
                          : c == '>'             ? "&gt;"
                          : c == '"'             ? "&quot;"
                          : c == '\''            ? "&#39;"
                          : c < ' ' && c != '\t' ? " "
                                                 : NULL;
    if (escaped)
      TM_TRY(tm_bytes_append(r->ctx, r->text, escaped, strlen(escaped)));
    else
      TM_TRY(tm_bytes_append(r->ctx, r->text, text + i, 1));
  }
  return TM_OK;
}

static const char *value_or_dot(const report *r, int64_t value, char *buf, size_t size) {
  return value ? report_value(r, value, buf, size) : ".";
}

static tm_status put_values(report *r, int64_t flat, int64_t cum) {
  char a[400], b[400];
  REPORT_PRINT(r, "<span class=\"v\">%10s %10s</span> ", value_or_dot(r, flat, a, sizeof a),
               value_or_dot(r, cum, b, sizeof b));
  return TM_OK;
}

// --- one line ---

static tm_status put_instruction(weblist *w, const weblist_entry *e, bool gap) {
  report *r = w->r;
  const weblist_instruction *i = &w->instructions.items[e->instruction];
  if (gap) REPORT_PRINT(r, "<span class=\"i gap\">%28s\xe2\x8b\xae</span>", "");
  REPORT_PRINT(r, "<span class=\"i\">  ");
  TM_TRY(put_values(r, i->flat, i->cum));
  REPORT_PRINT(r, "%10llx: ", (unsigned long long)i->address);
  TM_TRY(put_text(r, i->text, strlen(i->text)));
  if (*e->calls) {
    REPORT_PRINT(r, " <b>");
    TM_TRY(put_text(r, e->calls, strlen(e->calls)));
    REPORT_PRINT(r, "</b>");
  }
  REPORT_PRINT(r, "</span>");
  return TM_OK;
}

static tm_status add_row(weblist *w, const weblist_entry *of, int64_t number, int64_t flat,
                         int64_t cum, const tm_source_line *source) {
  tm_table *t = w->r->table;
  size_t row;
  TM_TRY(tm_table_add_row(w->r->ctx, t, &row));
  TM_TRY(tm_table_set_text(w->r->ctx, t, row, FUNCTION, of->function, strlen(of->function)));
  TM_TRY(tm_table_set_text(w->r->ctx, t, row, FILE_NAME, of->file, strlen(of->file)));
  tm_table_set_int(t, row, LINE, number);
  tm_table_set_int(t, row, FLAT, flat);
  tm_table_set_int(t, row, CUM, cum);
  return tm_table_set_text(w->r->ctx, t, row, SOURCE, source->text, source->length);
}

// first .. end: the entries of the line.
static tm_status put_line(weblist *w, const weblist_entry *of, int64_t number, size_t first,
                          size_t end, const tm_source_line *source) {
  report *r = w->r;
  int64_t flat = 0, cum = 0;
  bool has_code = false;
  for (size_t i = first; i < end; i++) {
    const weblist_instruction *one = &w->instructions.items[w->entries.items[i].instruction];
    flat += one->flat;
    cum += one->cum;
    has_code = has_code || *one->text || *w->entries.items[i].calls;
  }
  if (r->table) TM_TRY(add_row(w, of, number, flat, cum, source));
  if (!r->text) return TM_OK;
  REPORT_PRINT(r, "%s<span class=\"n\">%6lld</span> ",
               has_code ? "<details><summary>" : "<span class=\"l\">", (long long)number);
  TM_TRY(put_values(r, flat, cum));
  TM_TRY(put_text(r, source->text, source->length));
  REPORT_PRINT(r, "%s", has_code ? "</summary>" : "</span>");
  for (size_t i = first; i < end && has_code; i++) {
    const weblist_instruction *one = &w->instructions.items[w->entries.items[i].instruction];
    bool gap = i > first && one->address != one[-1].end;
    TM_TRY(put_instruction(w, &w->entries.items[i], gap));
  }
  if (has_code) REPORT_PRINT(r, "</details>");
  return TM_OK;
}

// --- one run ---

static tm_source_line line_of(const tm_source_file *file, int64_t number) {
  static const char unknown[] = "(instructions of unknown lines)", past[] = "???";
  const tm_source_line *line = tm_source_file_line(file, number);
  if (line) return *line;
  return number ? (tm_source_line){past, sizeof past - 1}
                : (tm_source_line){unknown, sizeof unknown - 1};
}

static tm_status put_lines(weblist *w, const run *of) {
  const weblist_entry *first = &w->entries.items[of->first];
  const tm_source_file *file;
  size_t next = of->first;
  int64_t end =
      of->end_line - of->begin_line > MAX_LINES ? of->begin_line + MAX_LINES : of->end_line;
  TM_TRY(tm_sources_open(w->r->ctx, &w->sources, first->file, &file));
  for (int64_t number = of->begin_line; number < end; number++) {
    size_t begin = next;
    while (next < of->end && w->entries.items[next].line == number) next++;
    if (next == begin && !tm_source_file_line(file, number)) continue;
    tm_source_line line = line_of(file, number);
    TM_TRY(put_line(w, first, number, begin, next, &line));
  }
  return TM_OK;
}

static tm_status put_run(weblist *w, const run *of) {
  report *r = w->r;
  char flat[400], cum[400], percent[48];
  const weblist_entry *first = &w->entries.items[of->first];
  if (!of->cum) return TM_OK;
  if (!r->text) return put_lines(w, of);
  tm_pprof_percent(percent, sizeof percent, of->cum, r->total);
  REPORT_PRINT(r, "<h2>");
  TM_TRY(put_text(r, first->function, strlen(first->function)));
  REPORT_PRINT(r, "</h2><div class=\"path\">");
  TM_TRY(put_text(r, first->file, strlen(first->file)));
  REPORT_PRINT(r, "</div><pre>\n<span class=\"l\">%6s <span class=\"v\">%10s %10s</span> ", "Total",
               value_or_dot(r, of->flat, flat, sizeof flat),
               value_or_dot(r, of->cum, cum, sizeof cum));
  REPORT_PRINT(r, "<span class=\"sum\">(flat, cum) %s</span></span>", percent);
  TM_TRY(put_lines(w, of));
  REPORT_PRINT(r, "</pre>\n");
  return TM_OK;
}

// --- runs ---

static void extend_back(run *of, const run *before) {
  if (!before) {
    if (of->begin_line > AROUND_LINES)
      of->begin_line -= AROUND_LINES;
    else if (of->begin_line > 1)
      of->begin_line = 1;
  }
}

// Runs side by side share what lies between them.
static void share_gap(run *before, run *of) {
  int64_t half = (of->begin_line - before->end_line) / 2;
  if (half > AROUND_LINES) half = AROUND_LINES;
  before->end_line += half;
  of->begin_line -= half;
}

static run next_run(const weblist *w, size_t first) {
  const weblist_entry *all = w->entries.items;
  run of = {.first = first, .end = first, .begin_line = all[first].line};
  of.end_line = of.begin_line;
  const char *function = all[first].function; // the first one that names a line names the line
  while (of.end < w->entries.count && strcmp(all[of.end].file, all[first].file) == 0) {
    const weblist_entry *e = &all[of.end];
    bool new_line = e->line >= of.end_line;
    if (new_line && of.end > first
        && (strcmp(e->function, function) != 0 || e->line - of.end_line >= MERGE_LINES))
      break;
    of.flat += w->instructions.items[e->instruction].flat;
    of.cum += w->instructions.items[e->instruction].cum;
    if (new_line) of.end_line = e->line + 1;
    of.end++;
  }
  return of;
}

static tm_status put_runs(weblist *w) {
  run before = {0};
  for (size_t i = 0; i < w->entries.count; i = before.end) {
    run of = next_run(w, i);
    bool same_file =
        before.end && strcmp(w->entries.items[before.first].file, w->entries.items[i].file) == 0;
    if (same_file)
      share_gap(&before, &of);
    else if (before.end)
      before.end_line += AROUND_LINES;
    extend_back(&of, same_file ? &before : NULL);
    if (before.end) TM_TRY(put_run(w, &before));
    before = of;
  }
  before.end_line += AROUND_LINES;
  return before.end ? put_run(w, &before) : TM_OK;
}

// --- the page ---

static tm_status put_page(weblist *w) {
  report *r = w->r;
  char total[400];
  const char *binary =
      r->p->mappings.count ? tm_profile_text(r->p, r->p->mappings.items[0].file) : "profile";
  const char *type = tm_profile_text(r->p, r->p->types.items[r->view.value_index].type);
  if (!r->text) return put_runs(w);
  REPORT_PRINT(r, head, "tidemark listing");
  REPORT_PRINT(r, "<h1>");
  TM_TRY(put_text(r, r->o.symbol, strlen(r->o.symbol)));
  REPORT_PRINT(r, "</h1><div class=\"sum\">");
  TM_TRY(put_text(r, binary, strlen(binary)));
  REPORT_PRINT(r, " ");
  TM_TRY(put_text(r, type, strlen(type)));
  REPORT_PRINT(r, ", total %s</div>\n", report_value(r, r->total, total, sizeof total));
  TM_TRY(put_runs(w));
  REPORT_PRINT(r, "</body></html>\n");
  return TM_OK;
}

static tm_status add_columns(report *r) {
  static const char *const names[] = {"function", "file", "line", "flat", "cum", "source"};
  for (size_t i = 0; i < TM_COUNT(names) && r->table; i++)
    TM_TRY(tm_table_add_column(r->ctx, r->table, names[i],
                               i >= LINE && i <= CUM ? TM_CELL_INT : TM_CELL_TEXT,
                               i == FLAT || i == CUM ? report_unit(r) : TM_UNIT_NONE));
  return r->table ? tm_table_note_int(r->ctx, r->table, "total", r->total) : TM_OK;
}

tm_status report_weblist(report *r) {
  weblist w = {.r = r};
  if (!r->symbol)
    return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "weblist needs a regexp or an address");
  TM_TRY(add_columns(r));
  tm_arena_init(&w.arena, &r->ctx->alloc, UINT64_C(1) << 30);
  tm_status status = tm_sources_init(r->ctx, &w.sources, r->o.source_path, r->o.trim_path);
  if (status == TM_OK) status = weblist_gather(&w);
  if (status == TM_OK) status = put_page(&w);
  tm_idmap_free(r->ctx, &w.by_address);
  tm_vec_free(r->ctx, &w.places);
  tm_vec_free(r->ctx, &w.instructions);
  tm_vec_free(r->ctx, &w.entries);
  tm_free(r->ctx, w.interest, w.interest_room);
  tm_sources_fini(&w.sources);
  tm_arena_fini(&w.arena);
  return status;
}
