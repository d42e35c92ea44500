// disasm: the instructions of the functions that match, with flat and cum of each. Nodes are
// addresses without inlined frames; per mapping they are sorted by the binary's address, so one
// walk over a function's instructions meets its samples. A sample in the middle of an instruction
// counts for that instruction.
#include "analyze/paths.h"
#include "analyze/pprof_units.h"
#include "analyze/report_impl.h"
#include "model/code.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sample {
  uint64_t address; // of the binary
  const tm_node *node;
} sample;

typedef struct routine {
  const char *name, *linkage_name, *binary;
  uint64_t begin, end;
  uint32_t mapping;
  size_t first, count; // of the samples
} routine;

typedef struct disasm {
  report *r;
  const tm_code_source *code;
  uint32_t mapping; // being searched
  size_t sample_begin;
  bool has_address, seen_function;
  char missing[240]; // why a binary could not be read, "" = none
  uint64_t address, local_address;
  TM_VEC(sample) samples; // per mapping, sorted
  TM_VEC(routine) routines;
  tm_instructions instructions;
} disasm;

enum { FUNCTION, ADDRESS, FLAT, CUM, INSTRUCTION, PLACE };

// --- which functions ---

static int compare_samples(const void *left, const void *right) {
  const sample *a = left, *b = right;
  if (a->address != b->address) return a->address < b->address ? -1 : 1;
  return a->node < b->node ? -1 : a->node > b->node;
}

static tm_status collect_samples(disasm *d, uint8_t *seen) {
  report *r = d->r;
  const tm_flatcum *f = &r->nodes;
  memset(seen, 0, f->nodes.count);
  for (uint32_t i = 0; i < f->order_count; i++) seen[f->order[i]] = 1;
  d->sample_begin = d->samples.count;
  for (size_t i = 0; i < r->p->locations.count && i < f->location_count; i++) {
    const tm_location *l = &r->p->locations.items[i];
    uint64_t address;
    if (l->mapping != d->mapping || f->frame_begin[i] == f->frame_begin[i + 1]) continue;
    uint32_t node = f->frames.items[f->frame_begin[i]];
    if (!seen[node] || !d->code->address(r->ctx, d->code->ud, d->mapping, l->address, &address))
      continue;
    seen[node] = 0;
    TM_TRY(tm_vec_push(r->ctx, &d->samples, (sample){address, &f->nodes.items[node]}));
  }
  if (d->samples.count > d->sample_begin)
    qsort(d->samples.items + d->sample_begin, d->samples.count - d->sample_begin,
          sizeof *d->samples.items, compare_samples);
  return TM_OK;
}

static size_t first_sample(const disasm *d, uint64_t address) {
  size_t low = d->sample_begin, high = d->samples.count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (d->samples.items[middle].address < address)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static bool matches(disasm *d, const tm_code_function *f) {
  tm_regex *rx = d->r->symbol;
  if (d->has_address && d->local_address >= f->begin && d->local_address < f->end) return true;
  return tm_regex_match(rx, f->name, strlen(f->name))
         || tm_regex_match(rx, f->linkage_name, strlen(f->linkage_name));
}

static tm_status visit(tm_ctx *ctx, void *ud, const tm_code_function *f) {
  disasm *d = ud;
  if (!matches(d, f)) return TM_OK;
  d->seen_function = true;
  size_t first = first_sample(d, f->begin), end = first_sample(d, f->end);
  if (first == end) return TM_OK;
  const tm_mapping *m = &d->r->p->mappings.items[d->mapping];
  routine one = {f->name,  f->linkage_name, tm_profile_text(d->r->p, m->file),
                 f->begin, f->end,          d->mapping,
                 first,    end - first};
  return tm_vec_push(ctx, &d->routines, one);
}

// Whether any function with samples in the mapping may match; saves opening every library.
static bool mapping_matters(disasm *d, uint32_t mapping) {
  report *r = d->r;
  const tm_mapping *m = &r->p->mappings.items[mapping];
  if (d->has_address && d->address >= m->start && d->address <= m->limit) return true;
  for (uint32_t i = 0; i < r->nodes.order_count; i++) {
    const tm_node *n = &r->nodes.nodes.items[r->nodes.order[i]];
    if (!n->object || n->object != m->file) continue;
    const char *name = tm_view_text(&r->view, n->name);
    if (!*name || tm_regex_match(r->symbol, name, strlen(name))) return true;
  }
  return false;
}

static tm_status search_mapping(disasm *d, uint32_t mapping, uint8_t *seen) {
  tm_ctx *ctx = d->r->ctx;
  d->mapping = mapping;
  if (!mapping_matters(d, mapping)) return TM_OK;
  if (!d->has_address
      || !d->code->address(ctx, d->code->ud, mapping, d->address, &d->local_address))
    d->local_address = d->address;
  TM_TRY(collect_samples(d, seen));
  tm_status status = d->code->functions(ctx, d->code->ud, mapping, visit, d);
  if (status != TM_E_IO && status != TM_E_FORMAT) return status;
  snprintf(d->missing, sizeof d->missing, "; %.200s", ctx->error.message);
  if (d->r->table) TM_TRY(tm_table_note_text(ctx, d->r->table, "missing", ctx->error.message));
  tm_ctx_clear(ctx);
  return TM_OK;
}

static int compare_routines(const void *left, const void *right) {
  const routine *a = left, *b = right;
  int order = strcmp(a->name, b->name);
  if (order) return order;
  if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
  return strcmp(a->linkage_name, b->linkage_name);
}

static tm_status nothing_found(const disasm *d) {
  report *r = d->r;
  if (!d->has_address)
    return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "no matches found for regexp %s%s", r->o.symbol,
                   d->missing);
  if (!d->seen_function)
    return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "no matches found for address 0x%llx%s",
                   (unsigned long long)d->address, d->missing);
  return tm_fail(
      r->ctx, TM_E_ARG, TM_NO_OFFSET,
      "address 0x%llx found in binary, but the corresponding symbols do not have samples "
      "in the profile",
      (unsigned long long)d->address);
}

static tm_status search(disasm *d) {
  report *r = d->r;
  char *end;
  d->address = strtoull(r->o.symbol, &end, 0);
  d->has_address = *r->o.symbol >= '0' && *r->o.symbol <= '9' && !*end;
  size_t room = r->nodes.nodes.count + 1;
  uint8_t *seen = tm_alloc(r->ctx, room);
  if (!seen) return TM_E_NOMEM;
  tm_status status = TM_OK;
  for (uint32_t m = 0; m < r->p->mappings.count && status == TM_OK; m++)
    status = search_mapping(d, m, seen);
  tm_free(r->ctx, seen, room);
  TM_TRY(status);
  if (!d->routines.count) return nothing_found(d);
  qsort(d->routines.items, d->routines.count, sizeof *d->routines.items, compare_routines);
  return TM_OK;
}

// --- printing ---

typedef struct line {
  int64_t flat, cum, flat_divisor, cum_divisor;
  const char *function, *file;
  size_t file_length;
  int64_t number;
} line;

static void base_of(const char *path, line *out) {
  if (*path) out->file = tm_path_base(path, &out->file_length);
}

static void add(report *r, line *to, const tm_node *n) {
  to->flat += n->flat;
  to->cum += n->cum;
  to->flat_divisor += n->flat_divisor;
  to->cum_divisor += n->cum_divisor;
  if (!*to->file) base_of(tm_view_text(&r->view, n->file), to);
  if (!to->number) to->number = n->line;
  if (!*to->function) to->function = tm_view_text(&r->view, n->name);
}

static const char *value_or_dot(const report *r, int64_t value, char *buf, size_t size) {
  return value ? report_value(r, value, buf, size) : ".";
}

static tm_status add_row(report *r, const routine *of, const tm_instruction *i, int64_t flat,
                         int64_t cum, const char *place) {
  size_t row;
  TM_TRY(tm_table_add_row(r->ctx, r->table, &row));
  TM_TRY(tm_table_set_text(r->ctx, r->table, row, FUNCTION, of->name, strlen(of->name)));
  tm_table_set_int(r->table, row, ADDRESS, (int64_t)i->address);
  tm_table_set_int(r->table, row, FLAT, flat);
  tm_table_set_int(r->table, row, CUM, cum);
  TM_TRY(tm_table_set_text(r->ctx, r->table, row, INSTRUCTION, i->text, strlen(i->text)));
  return tm_table_set_text(r->ctx, r->table, row, PLACE, place, strlen(place));
}

// "function file:line" of the instruction.
static void format_place(const line *l, char *buf, size_t size) {
  char number[32] = "";
  if (l->number) snprintf(number, sizeof number, ":%lld", (long long)l->number);
  snprintf(buf, size, "%s%s%.*s%s", l->function, *l->function ? " " : "", (int)l->file_length,
           l->file, *l->file ? number : "");
}

static tm_status print_instruction(report *r, const routine *of, const tm_instruction *i,
                                   const line *l, char *last_place, size_t place_size) {
  char flat[400], cum[400], place[2048];
  int64_t f = l->flat_divisor ? l->flat / l->flat_divisor : l->flat;
  int64_t c = l->cum_divisor ? l->cum / l->cum_divisor : l->cum;
  format_place(l, place, sizeof place);
  bool same = strcmp(place, last_place) == 0;
  const char *x = value_or_dot(r, f, flat, sizeof flat), *y = value_or_dot(r, c, cum, sizeof cum);
  if (r->table) TM_TRY(add_row(r, of, i, f, c, place));
  snprintf(last_place, place_size, "%s", place);
  if (!same && *place && strlen(i->text) < 40) {
    REPORT_PRINT(r, "%10s %10s %10llx: %-40s;%s\n", x, y, (unsigned long long)i->address, i->text,
                 place);
    return TM_OK;
  }
  if (!same && *place) REPORT_PRINT(r, "%74s;%s\n", "", place);
  REPORT_PRINT(r, "%10s %10s %10llx: %s\n", x, y, (unsigned long long)i->address, i->text);
  return TM_OK;
}

static tm_status print_instructions(disasm *d, const routine *of) {
  const tm_instructions *all = &d->instructions;
  char last_place[2048] = "";
  size_t s = of->first, end = of->first + of->count;
  for (size_t i = 0; i < all->count; i++) {
    const tm_instruction *one = &all->items[i];
    uint64_t next = i + 1 < all->count ? all->items[i + 1].address : UINT64_MAX;
    line l = {.function = one->function, .file = "", .number = one->line};
    base_of(one->file, &l);
    for (; s < end && d->samples.items[s].address < next; s++)
      add(d->r, &l, d->samples.items[s].node);
    TM_TRY(print_instruction(d->r, of, one, &l, last_place, sizeof last_place));
  }
  return TM_OK;
}

static tm_status print_routine(disasm *d, const routine *of) {
  report *r = d->r;
  char flat[400], cum[400], percent[48];
  int64_t flat_sum = 0, cum_sum = 0;
  for (size_t i = of->first; i < of->first + of->count; i++) {
    flat_sum += d->samples.items[i].node->flat;
    cum_sum += d->samples.items[i].node->cum;
  }
  d->instructions.count = 0;
  TM_TRY(d->code->disassemble(r->ctx, d->code->ud, of->mapping, of->begin, of->end,
                              r->o.intel_syntax, &d->instructions));
  tm_pprof_percent(percent, sizeof percent, cum_sum, r->total);
  REPORT_PRINT(r, "ROUTINE ======================== %s\n", of->name);
  if (strcmp(of->name, of->linkage_name) != 0)
    REPORT_PRINT(r, "    AKA ======================== %s\n", of->linkage_name);
  REPORT_PRINT(r, "%10s %10s (flat, cum) %s of Total\n",
               report_value(r, flat_sum, flat, sizeof flat),
               report_value(r, cum_sum, cum, sizeof cum), percent);
  return print_instructions(d, of);
}

// Two mappings of one binary name its functions twice, each with its own samples; two names of one
// address have the same samples and are shown once.
static bool is_repeated(const routine *a, const routine *b) {
  return a->mapping == b->mapping && a->begin == b->begin && strcmp(a->name, b->name) == 0;
}

static tm_status print_all(disasm *d) {
  report *r = d->r;
  char total[400];
  REPORT_PRINT(r, "Total: %s\n", report_value(r, r->total, total, sizeof total));
  for (size_t i = 0; i < d->routines.count; i++)
    if (!i || !is_repeated(&d->routines.items[i], &d->routines.items[i - 1]))
      TM_TRY(print_routine(d, &d->routines.items[i]));
  return TM_OK;
}

static tm_status add_columns(report *r) {
  static const char *const names[] = {"function", "address", "flat", "cum", "instruction", "place"};
  for (size_t i = 0; i < TM_COUNT(names) && r->table; i++)
    TM_TRY(tm_table_add_column(r->ctx, r->table, names[i],
                               i >= ADDRESS && i <= CUM ? TM_CELL_INT : TM_CELL_TEXT,
                               i == FLAT || i == CUM ? report_unit(r) : TM_UNIT_NONE));
  return r->table ? tm_table_note_int(r->ctx, r->table, "total", r->total) : TM_OK;
}

tm_status report_disasm(report *r) {
  disasm d = {.r = r, .code = r->o.code};
  if (!r->symbol)
    return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "disasm needs a regexp or an address");
  if (!d.code)
    return tm_fail(r->ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "disasm needs the program's binary");
  r->object_names = r->o.no_inlines = true;
  TM_TRY(report_graph(r));
  TM_TRY(add_columns(r));
  tm_status status = search(&d);
  if (status == TM_OK) status = print_all(&d);
  tm_vec_free(r->ctx, &d.samples);
  tm_vec_free(r->ctx, &d.routines);
  tm_vec_free(r->ctx, &d.instructions);
  return status;
}
