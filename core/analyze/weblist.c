// Samples are summed per address. Addresses with a matching frame make their functions interesting;
// then every instruction near them (or, without a binary, every such address itself) is put under
// each source line of an interesting function that its frames name.
#include "analyze/weblist.h"

#include "analyze/paths.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FRAMES 64

// --- figures per address ---

static tm_status place_of(weblist *w, uint32_t location, uint32_t *out) {
  report *r = w->r;
  uint64_t address = r->view.locations.items[location].address;
  uint64_t key = address ? address : UINT64_C(1) << 63 | location;
  *out = tm_idmap_get(&w->by_address, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  *out = (uint32_t)w->places.count;
  weblist_place p = {.address = address, .local = address, .location = location};
  TM_TRY(tm_vec_push(r->ctx, &w->places, p));
  return tm_idmap_put(r->ctx, &w->by_address, key, *out);
}

static bool rx_matches(const weblist *w, uint32_t text) {
  const char *s = tm_view_text(&w->r->view, text);
  return *s && tm_regex_match(w->r->symbol, s, strlen(s));
}

static void mark(weblist *w, weblist_place *p, const tm_line *line) {
  const tm_view_function *f = &w->r->view.functions.items[line->function];
  w->interest[f->name] = w->interest[f->system_name] = 1;
  p->wanted = true;
}

// Which frames of the place match, by function, file or binary.
static void match_place(weblist *w, weblist_place *p, const uint64_t *address) {
  const tm_view *v = &w->r->view;
  const tm_location *l = &v->locations.items[p->location];
  if (address && p->address == *address) {
    if (l->line_end > l->line_begin) mark(w, p, &v->lines.items[l->line_end - 1]);
    return;
  }
  bool binary = l->mapping != TM_PROFILE_NONE && l->mapping < v->profile->mappings.count
                && rx_matches(w, v->profile->mappings.items[l->mapping].file);
  for (uint32_t i = l->line_begin; i < l->line_end; i++) {
    const tm_view_function *f = &v->functions.items[v->lines.items[i].function];
    bool hit = binary && i == l->line_begin;
    if (hit || rx_matches(w, f->name) || rx_matches(w, f->system_name) || rx_matches(w, f->file))
      mark(w, p, &v->lines.items[i]);
  }
}

static tm_status sum_samples(weblist *w) {
  const tm_view *v = &w->r->view;
  for (uint32_t s = 0; s < v->sample_count; s++) {
    int64_t value = tm_view_value(v, v->samples[s]), divisor = tm_view_divisor(v, v->samples[s]);
    if (divisor) value /= divisor;
    for (uint32_t i = v->begin[s]; i < v->end[s]; i++) {
      uint32_t place;
      if (tm_view_is_hidden(v, v->stack[i])) continue;
      TM_TRY(place_of(w, v->stack[i], &place));
      w->places.items[place].cum += value;
      if (i == v->begin[s]) w->places.items[place].flat += value;
    }
  }
  return TM_OK;
}

static tm_status match_places(weblist *w) {
  char *end;
  const char *symbol = w->r->o.symbol;
  uint64_t address = strtoull(symbol, &end, 0);
  bool is_address = *symbol >= '0' && *symbol <= '9' && !*end, any = false;
  for (size_t i = 0; i < w->places.count; i++) {
    match_place(w, &w->places.items[i], is_address ? &address : NULL);
    any = any || w->places.items[i].wanted;
  }
  if (any) return TM_OK;
  return tm_fail(w->r->ctx, TM_E_ARG, TM_NO_OFFSET, "no matches found for regexp: %s", symbol);
}

// --- entries ---

static const char *arena_copy(weblist *w, const char *text) {
  const char *copy = tm_arena_strndup(&w->arena, text, strlen(text));
  return copy ? copy : "";
}

static bool is_interesting(const weblist *w, const char *function) {
  const tm_profile *p = w->r->p;
  uint32_t id = tm_strtab_find(&p->strings, function, strlen(function));
  return *function && id != UINT32_MAX && id < w->interest_room && w->interest[id];
}

static const char *inlined_calls(weblist *w, const tm_code_frame *frames, uint32_t count) {
  char text[1024] = "";
  size_t n = 0;
  for (uint32_t i = count; i-- > 0 && n < sizeof text;) {
    size_t length;
    const char *base = tm_path_base(frames[i].file, &length);
    int more = snprintf(text + n, sizeof text - n, "%s%.*s:%lld", n ? " " : "", (int)length, base,
                        (long long)frames[i].line);
    n += more > 0 ? (size_t)more : 0;
  }
  return count ? arena_copy(w, text) : "";
}

tm_status weblist_add_frames(weblist *w, uint32_t instruction, const tm_code_frame *frames,
                             uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    if (!is_interesting(w, frames[i].function)) continue;
    size_t size = strlen(frames[i].file) + 2;
    char *file = tm_arena_alloc(&w->arena, size);
    if (!file) return tm_fail(w->r->ctx, TM_E_LIMIT, TM_NO_OFFSET, "too many source lines");
    tm_path_clean(file, frames[i].file);
    weblist_entry e = {file, arena_copy(w, frames[i].function), frames[i].line, instruction,
                       inlined_calls(w, frames, i)};
    TM_TRY(tm_vec_push(w->r->ctx, &w->entries, e));
  }
  return TM_OK;
}

// A place whose binary is not here stands for itself.
static tm_status add_bare_place(weblist *w, const weblist_place *p) {
  const tm_view *v = &w->r->view;
  const tm_location *l = &v->locations.items[p->location];
  tm_code_frame frames[MAX_FRAMES];
  uint32_t count = 0, instruction = (uint32_t)w->instructions.count;
  weblist_instruction one = {p->address, p->address + 1, "", TM_PROFILE_NONE, p->flat, p->cum};
  for (uint32_t i = l->line_begin; i < l->line_end && count < MAX_FRAMES; i++) {
    const tm_line *line = &v->lines.items[i];
    const tm_view_function *f = &v->functions.items[line->function];
    frames[count++] = (tm_code_frame){tm_view_text(v, f->name), tm_view_text(v, f->file),
                                      line->line, line->column, f->start_line};
  }
  TM_TRY(tm_vec_push(w->r->ctx, &w->instructions, one));
  return weblist_add_frames(w, instruction, frames, count);
}

static int compare_entries(const void *left, const void *right) {
  const weblist_entry *a = left, *b = right;
  int order = strcmp(a->file, b->file);
  if (order) return order;
  if (a->line != b->line) return a->line < b->line ? -1 : 1;
  return a->instruction < b->instruction ? -1 : a->instruction > b->instruction;
}

tm_status weblist_gather(weblist *w) {
  report *r = w->r;
  w->interest_room = (size_t)r->p->strings.count + r->view.extra.count + 1;
  w->interest = tm_calloc(r->ctx, w->interest_room, 1);
  if (!w->interest) return TM_E_NOMEM;
  TM_TRY(sum_samples(w));
  TM_TRY(match_places(w));
  if (r->o.code) TM_TRY(weblist_disassemble(w));
  for (size_t i = 0; i < w->places.count; i++)
    if (w->places.items[i].wanted && !w->places.items[i].has_code)
      TM_TRY(add_bare_place(w, &w->places.items[i]));
  if (w->entries.count)
    qsort(w->entries.items, w->entries.count, sizeof *w->entries.items, compare_entries);
  return TM_OK;
}
