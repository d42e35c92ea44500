// Per mapping: the places sorted by the binary's address, the functions that hold wanted ones, and
// their instructions. A place in the middle of an instruction counts for that instruction.
#include "analyze/weblist.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FUNCTIONS 200
#define MAX_FRAMES    64
#define NEAR_BYTES    32 // an instruction without a line belongs to the one so close before it

typedef struct found {
  uint64_t begin, end;
} found;

typedef struct finder {
  weblist *w;
  uint32_t mapping;
  TM_VEC(uint32_t) places; // of the mapping, sorted by local address
  TM_VEC(found) functions;
  tm_instructions text;
} finder;

static const weblist_place *place_at(const finder *f, size_t i) {
  return &f->w->places.items[f->places.items[i]];
}

static size_t first_place(const finder *f, uint64_t address) {
  size_t low = 0, high = f->places.count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (place_at(f, middle)->local < address)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static tm_status visit(tm_ctx *ctx, void *ud, const tm_code_function *function) {
  finder *f = ud;
  const found *last = f->functions.count ? &f->functions.items[f->functions.count - 1] : NULL;
  if (f->functions.count >= MAX_FUNCTIONS || (last && function->begin < last->end)) return TM_OK;
  for (size_t i = first_place(f, function->begin); i < f->places.count; i++) {
    if (place_at(f, i)->local >= function->end) break;
    if (place_at(f, i)->wanted)
      return tm_vec_push(ctx, &f->functions, (found){function->begin, function->end});
  }
  return TM_OK;
}

// The figures of the places in begin .. end, which have code from now on.
static void take_places(finder *f, weblist_instruction *one) {
  for (size_t i = first_place(f, one->address); i < f->places.count; i++) {
    weblist_place *p = &f->w->places.items[f->places.items[i]];
    if (p->local >= one->end) break;
    one->flat += p->flat;
    one->cum += p->cum;
    p->has_code = true;
  }
}

static tm_status add_instruction(finder *f, size_t at, tm_code_frame *last, uint32_t *last_count,
                                 uint64_t *last_address) {
  weblist *w = f->w;
  const tm_code_source *code = w->r->o.code;
  const tm_instruction *i = &f->text.items[at];
  tm_code_frame frames[MAX_FRAMES];
  uint32_t count;
  weblist_instruction one = {i->address, i->address + 1, i->text, f->mapping, 0, 0};
  if (at + 1 < f->text.count && i[1].address > i->address) one.end = i[1].address;
  TM_TRY(code->frames(w->r->ctx, code->ud, f->mapping, i->address, frames, MAX_FRAMES, &count));
  take_places(f, &one);
  uint32_t index = (uint32_t)w->instructions.count;
  TM_TRY(tm_vec_push(w->r->ctx, &w->instructions, one));
  if (count && frames[0].line) {
    memcpy(last, frames, count * sizeof *frames);
    *last_count = count;
    *last_address = i->address;
  } else if (*last_count && i->address - *last_address <= NEAR_BYTES) {
    return weblist_add_frames(w, index, last, *last_count);
  }
  return weblist_add_frames(w, index, frames, count);
}

static tm_status add_function(finder *f, const found *function) {
  weblist *w = f->w;
  const tm_code_source *code = w->r->o.code;
  tm_code_frame last[MAX_FRAMES];
  uint32_t last_count = 0;
  uint64_t last_address = 0;
  f->text.count = 0;
  TM_TRY(code->disassemble(w->r->ctx, code->ud, f->mapping, function->begin, function->end,
                           w->r->o.intel_syntax, &f->text));
  for (size_t i = 0; i < f->text.count; i++)
    TM_TRY(add_instruction(f, i, last, &last_count, &last_address));
  return TM_OK;
}

static int compare_keys(const void *left, const void *right) {
  const uint64_t *a = left, *b = right;
  return *a < *b ? -1 : *a > *b;
}

typedef struct keyed {
  uint64_t address;
  uint32_t place;
} keyed;

// The mapping's places that its binary knows, in the order of addresses.
static tm_status collect_places(finder *f) {
  weblist *w = f->w;
  report *r = w->r;
  TM_VEC(keyed) keys = {0};
  tm_status status = TM_OK;
  f->places.count = 0;
  for (size_t i = 0; i < w->places.count && status == TM_OK; i++) {
    weblist_place *p = &w->places.items[i];
    const tm_location *l = &r->view.locations.items[p->location];
    if (!p->address || l->mapping != f->mapping) continue;
    if (r->o.code->address(r->ctx, r->o.code->ud, f->mapping, p->address, &p->local))
      status = tm_vec_push(r->ctx, &keys, (keyed){p->local, (uint32_t)i});
  }
  if (keys.count) qsort(keys.items, keys.count, sizeof *keys.items, compare_keys);
  for (size_t i = 0; i < keys.count && status == TM_OK; i++)
    status = tm_vec_push(r->ctx, &f->places, keys.items[i].place);
  tm_vec_free(r->ctx, &keys);
  return status;
}

static bool is_wanted(const weblist *w, uint32_t mapping) {
  for (size_t i = 0; i < w->places.count; i++) {
    const weblist_place *p = &w->places.items[i];
    if (p->wanted && w->r->view.locations.items[p->location].mapping == mapping) return true;
  }
  return false;
}

// A binary that is not here, or no objdump, leaves the places without code.
static tm_status add_mapping(finder *f) {
  tm_ctx *ctx = f->w->r->ctx;
  const tm_code_source *code = f->w->r->o.code;
  TM_TRY(collect_places(f));
  f->functions.count = 0;
  tm_status status = code->functions(ctx, code->ud, f->mapping, visit, f);
  for (size_t i = 0; i < f->functions.count && status == TM_OK; i++)
    status = add_function(f, &f->functions.items[i]);
  if (status != TM_E_IO && status != TM_E_FORMAT && status != TM_E_UNSUPPORTED) return status;
  tm_ctx_clear(ctx);
  return TM_OK;
}

tm_status weblist_disassemble(weblist *w) {
  finder f = {.w = w};
  tm_status status = TM_OK;
  for (uint32_t m = 0; m < w->r->p->mappings.count && status == TM_OK; m++) {
    f.mapping = m;
    if (is_wanted(w, m)) status = add_mapping(&f);
  }
  tm_vec_free(w->r->ctx, &f.places);
  tm_vec_free(w->r->ctx, &f.functions);
  tm_vec_free(w->r->ctx, &f.text);
  return status;
}
