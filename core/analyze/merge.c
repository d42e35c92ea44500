// Each source is mapped into the result by tables: mapping, function and location of the source to
// that of the result, made when a sample first needs them, so that the result holds only what is
// used, in order of use. Samples are found by a hash over their mapped stack and sorted labels.
// Cost: one pass over the stacks of every source.
#include "analyze/merge.h"

#include "analyze/pprof_units.h"
#include "base/hash.h"
#include "base/idmap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

typedef struct input {
  const tm_profile *p;
  uint32_t *columns; // result's type -> column of p
  double *ratios;    // per type of the result
  bool scaled;       // some ratio is not 1
  bool is_base;      // gets the label pprof::base=true
} input;

typedef struct slots { // hash -> index + 1 into some array of the result
  uint32_t *items;
  size_t count, used;
} slots;

typedef struct merger {
  tm_ctx *ctx;
  tm_profile *out;
  const input *in;
  // per source
  uint32_t *strings, *mappings, *functions, *locations; // index in source -> index in result
  // of the result
  slots mapping_slots, function_slots, location_slots, sample_slots;
  TM_VEC(uint64_t) hashes; // of samples
  TM_VEC(int64_t) row;
  uint32_t base_key, base_value;
} merger;

// --- hash tables ---

static tm_status slots_grow(tm_ctx *ctx, slots *s, uint64_t (*hash)(const merger *, uint32_t),
                            const merger *m) {
  slots bigger = {.count = s->count ? s->count * 2 : 256, .used = s->used};
  bigger.items = tm_calloc(ctx, bigger.count, sizeof *bigger.items);
  if (!bigger.items) return TM_E_NOMEM;
  for (size_t i = 0; i < s->count; i++) {
    if (!s->items[i]) continue;
    size_t at = (size_t)hash(m, s->items[i] - 1) & (bigger.count - 1);
    while (bigger.items[at]) at = (at + 1) & (bigger.count - 1);
    bigger.items[at] = s->items[i];
  }
  tm_free(ctx, s->items, s->count * sizeof *s->items);
  *s = bigger;
  return TM_OK;
}

typedef uint64_t hash_fn(const merger *, uint32_t);
typedef bool equal_fn(const merger *, uint32_t, uint32_t);

// The candidate stands at the end of its array already. Answers the index of an equal one before
// it, or registers the candidate and answers its own.
static tm_status slots_find(merger *m, slots *s, uint32_t candidate, hash_fn *hash, equal_fn *equal,
                            uint32_t *out) {
  if ((s->used + 1) * 2 > s->count) TM_TRY(slots_grow(m->ctx, s, hash, m));
  size_t at = (size_t)hash(m, candidate) & (s->count - 1);
  for (; s->items[at]; at = (at + 1) & (s->count - 1))
    if (equal(m, s->items[at] - 1, candidate)) {
      *out = s->items[at] - 1;
      return TM_OK;
    }
  s->items[at] = candidate + 1;
  s->used++;
  *out = candidate;
  return TM_OK;
}

// --- strings, mappings, functions ---

static tm_status map_string(merger *m, uint32_t id, uint32_t *out) {
  if (m->strings[id] == NONE)
    TM_TRY(tm_profile_intern(m->ctx, m->out, tm_profile_text(m->in->p, id),
                             tm_strtab_length(&m->in->p->strings, id), &m->strings[id]));
  *out = m->strings[id];
  return TM_OK;
}

static uint64_t rounded_size(const tm_mapping *x) {
  return (x->limit - x->start + 0xfff) & ~UINT64_C(0xfff);
}

static uint32_t mapping_name(const tm_mapping *x) {
  return x->build_id ? x->build_id : x->file;
}

static uint64_t hash_mapping(const merger *m, uint32_t i) {
  const tm_mapping *x = &m->out->mappings.items[i];
  return tm_hash_add(tm_hash_add(rounded_size(x), x->file_offset), mapping_name(x));
}

static bool equal_mapping(const merger *m, uint32_t i, uint32_t k) {
  const tm_mapping *a = &m->out->mappings.items[i], *b = &m->out->mappings.items[k];
  return rounded_size(a) == rounded_size(b) && a->file_offset == b->file_offset
         && mapping_name(a) == mapping_name(b);
}

static tm_status map_mapping(merger *m, uint32_t i, uint32_t *out) {
  *out = NONE;
  if (i == TM_PROFILE_NONE) return TM_OK;
  if (m->mappings[i] == NONE) {
    tm_mapping x = m->in->p->mappings.items[i];
    uint32_t candidate = (uint32_t)m->out->mappings.count;
    TM_TRY(map_string(m, x.file, &x.file));
    TM_TRY(map_string(m, x.build_id, &x.build_id));
    x.id = candidate + 1;
    TM_TRY(tm_vec_push(m->ctx, &m->out->mappings, x));
    TM_TRY(
        slots_find(m, &m->mapping_slots, candidate, hash_mapping, equal_mapping, &m->mappings[i]));
    if (m->mappings[i] != candidate) m->out->mappings.count--;
  }
  *out = m->mappings[i];
  return TM_OK;
}

static uint64_t hash_function(const merger *m, uint32_t i) {
  const tm_function *f = &m->out->functions.items[i];
  uint64_t h = tm_hash_add(f->name, f->system_name);
  return tm_hash_add(tm_hash_add(h, f->file), (uint64_t)f->start_line);
}

static bool equal_function(const merger *m, uint32_t i, uint32_t k) {
  const tm_function *a = &m->out->functions.items[i], *b = &m->out->functions.items[k];
  return a->name == b->name && a->system_name == b->system_name && a->file == b->file
         && a->start_line == b->start_line;
}

static tm_status map_function(merger *m, uint32_t i, uint32_t *out) {
  if (m->functions[i] == NONE) {
    tm_function f = m->in->p->functions.items[i];
    uint32_t candidate = (uint32_t)m->out->functions.count;
    TM_TRY(map_string(m, f.name, &f.name));
    TM_TRY(map_string(m, f.system_name, &f.system_name));
    TM_TRY(map_string(m, f.file, &f.file));
    f.id = candidate + 1;
    TM_TRY(tm_vec_push(m->ctx, &m->out->functions, f));
    TM_TRY(slots_find(m, &m->function_slots, candidate, hash_function, equal_function,
                      &m->functions[i]));
    if (m->functions[i] != candidate) m->out->functions.count--;
  }
  *out = m->functions[i];
  return TM_OK;
}

// --- locations ---

static uint64_t address_key(const merger *m, const tm_location *l) {
  return l->mapping == NONE ? l->address : l->address - m->out->mappings.items[l->mapping].start;
}

static uint64_t hash_location(const merger *m, uint32_t i) {
  const tm_location *l = &m->out->locations.items[i];
  uint64_t h = tm_hash_add(address_key(m, l), (uint64_t)l->mapping << 1 | l->folded);
  for (uint32_t k = l->line_begin; k < l->line_end; k++) {
    const tm_line *line = &m->out->lines.items[k];
    h = tm_hash_add(h, (uint64_t)line->function << 32 ^ (uint64_t)line->line);
  }
  return h;
}

// Of columns only the last line's counts: that is the reference's key.
static bool equal_location(const merger *m, uint32_t i, uint32_t j) {
  const tm_location *a = &m->out->locations.items[i], *b = &m->out->locations.items[j];
  uint32_t count = a->line_end - a->line_begin;
  if (a->mapping != b->mapping || a->folded != b->folded || address_key(m, a) != address_key(m, b)
      || count != b->line_end - b->line_begin)
    return false;
  for (uint32_t k = 0; k < count; k++) {
    const tm_line *x = &m->out->lines.items[a->line_begin + k];
    const tm_line *y = &m->out->lines.items[b->line_begin + k];
    if (x->function != y->function || x->line != y->line) return false;
    if (k + 1 == count && x->column != y->column) return false;
  }
  return true;
}

static tm_status map_location(merger *m, uint32_t i, uint32_t *out) {
  tm_profile *p = m->out;
  if (m->locations[i] == NONE) {
    tm_location l = m->in->p->locations.items[i];
    uint32_t candidate = (uint32_t)p->locations.count, begin = (uint32_t)p->lines.count;
    uint64_t old_start =
        l.mapping == TM_PROFILE_NONE ? 0 : m->in->p->mappings.items[l.mapping].start;
    TM_TRY(map_mapping(m, l.mapping, &l.mapping));
    if (l.mapping != NONE) l.address += p->mappings.items[l.mapping].start - old_start;
    for (uint32_t k = l.line_begin; k < l.line_end; k++) {
      tm_line line = m->in->p->lines.items[k];
      TM_TRY(map_function(m, line.function, &line.function));
      TM_TRY(tm_vec_push(m->ctx, &p->lines, line));
    }
    l.id = candidate + 1;
    l.line_begin = begin;
    l.line_end = (uint32_t)p->lines.count;
    TM_TRY(tm_vec_push(m->ctx, &p->locations, l));
    TM_TRY(slots_find(m, &m->location_slots, candidate, hash_location, equal_location,
                      &m->locations[i]));
    if (m->locations[i] != candidate) {
      p->locations.count--;
      p->lines.count = begin;
    }
  }
  *out = m->locations[i];
  return TM_OK;
}

// --- samples ---

static uint32_t stack_end(const tm_profile *p, uint32_t sample) {
  return sample < p->sample_count ? p->stack_end.items[sample] : (uint32_t)p->stack.count;
}

static uint32_t label_end(const tm_profile *p, uint32_t sample) {
  return sample < p->sample_count ? tm_profile_label_end(p, sample) : (uint32_t)p->labels.count;
}

static uint64_t hash_sample(const merger *m, uint32_t i) {
  return m->hashes.items[i];
}

static uint64_t compute_hash(const merger *m, uint32_t sample) {
  const tm_profile *p = m->out;
  uint64_t h = 7;
  for (uint32_t i = tm_profile_stack_begin(p, sample); i < stack_end(p, sample); i++)
    h = tm_hash_add(h, p->stack.items[i]);
  for (uint32_t i = tm_profile_label_begin(p, sample); i < label_end(p, sample); i++) {
    const tm_label *l = &p->labels.items[i];
    h = tm_hash_add(h, (uint64_t)l->key << 32 | l->text);
    h = tm_hash_add(h, (uint64_t)l->number ^ (uint64_t)l->unit << 40);
  }
  return h;
}

static bool equal_sample(const merger *m, uint32_t i, uint32_t j) {
  const tm_profile *p = m->out;
  uint32_t a = tm_profile_stack_begin(p, i), b = tm_profile_stack_begin(p, j);
  uint32_t n = stack_end(p, i) - a;
  if (m->hashes.items[i] != m->hashes.items[j] || n != stack_end(p, j) - b) return false;
  if (n && memcmp(p->stack.items + a, p->stack.items + b, n * sizeof *p->stack.items) != 0)
    return false;
  a = tm_profile_label_begin(p, i);
  b = tm_profile_label_begin(p, j);
  n = label_end(p, i) - a;
  if (n != label_end(p, j) - b) return false;
  for (uint32_t k = 0; k < n; k++) {
    const tm_label *x = &p->labels.items[a + k], *y = &p->labels.items[b + k];
    if (x->key != y->key || x->text != y->text || x->unit != y->unit || x->numeric != y->numeric
        || x->number != y->number)
      return false;
  }
  return true;
}

// Labels of one sample in an order that does not depend on the source: texts first, by key; the
// values of one key keep their order.
static void sort_labels(tm_label *labels, uint32_t count) {
  for (uint32_t i = 1; i < count; i++) {
    tm_label l = labels[i];
    uint32_t k = i;
    for (; k > 0; k--) {
      const tm_label *x = &labels[k - 1];
      bool before = x->numeric != l.numeric ? x->numeric : x->key > l.key;
      if (!before) break;
      labels[k] = *x;
    }
    labels[k] = l;
  }
}

static tm_status copy_labels(merger *m, uint32_t sample) {
  tm_profile *p = m->out;
  uint32_t begin = (uint32_t)p->labels.count, end = tm_profile_label_end(m->in->p, sample);
  for (uint32_t i = tm_profile_label_begin(m->in->p, sample); i < end; i++) {
    tm_label l = m->in->p->labels.items[i];
    TM_TRY(map_string(m, l.key, &l.key));
    TM_TRY(map_string(m, l.text, &l.text));
    TM_TRY(map_string(m, l.unit, &l.unit));
    if (m->in->is_base && l.key == m->base_key && !l.numeric) continue;
    TM_TRY(tm_vec_push(m->ctx, &p->labels, l));
  }
  if (m->in->is_base)
    TM_TRY(tm_vec_push(m->ctx, &p->labels, (tm_label){.key = m->base_key, .text = m->base_value}));
  if (p->labels.count > begin)
    sort_labels(p->labels.items + begin, (uint32_t)p->labels.count - begin);
  return TM_OK;
}

// The values scaled and chosen; false when the sample is to go.
static bool scale_row(merger *m, uint32_t sample) {
  const tm_profile *p = m->in->p;
  const int64_t *values = p->values.items + (size_t)sample * p->types.count;
  bool any = false, keep = !m->in->scaled;
  for (size_t k = 0; k < m->out->types.count; k++) {
    int64_t value = values[m->in->columns[k]];
    if (m->in->ratios[k] != 1) {
      double scaled = round((double)value * m->in->ratios[k]);
      value = scaled >= 9.2233720368547758e18    ? INT64_MAX
              : scaled <= -9.2233720368547758e18 ? INT64_MIN
                                                 : (int64_t)scaled;
      keep |= value != 0;
    }
    m->row.items[k] = value;
    any |= value != 0;
  }
  return any && keep;
}

static tm_status add_sample(merger *m, uint32_t sample) {
  tm_profile *p = m->out;
  if (!scale_row(m, sample)) return TM_OK;
  size_t stack = p->stack.count, labels = p->labels.count;
  uint32_t end = m->in->p->stack_end.items[sample], same, candidate = p->sample_count;
  for (uint32_t i = tm_profile_stack_begin(m->in->p, sample); i < end; i++) {
    uint32_t location;
    TM_TRY(map_location(m, m->in->p->stack.items[i], &location));
    TM_TRY(tm_vec_push(m->ctx, &p->stack, location));
  }
  TM_TRY(copy_labels(m, sample));
  TM_TRY(tm_vec_push(m->ctx, &m->hashes, compute_hash(m, candidate)));
  TM_TRY(slots_find(m, &m->sample_slots, candidate, hash_sample, equal_sample, &same));
  if (same == candidate) return tm_profile_end_sample(m->ctx, p, m->row.items);
  int64_t *values = p->values.items + (size_t)same * p->types.count;
  for (size_t k = 0; k < p->types.count; k++)
    values[k] = (int64_t)((uint64_t)values[k] + (uint64_t)m->row.items[k]);
  p->stack.count = stack;
  p->labels.count = labels;
  m->hashes.count--;
  return TM_OK;
}

// --- one source ---

static tm_status none_table(tm_ctx *ctx, uint32_t **out, size_t count) {
  *out = tm_alloc(ctx, (count + 1) * sizeof **out);
  if (!*out) return TM_E_NOMEM;
  memset(*out, 0xff, (count + 1) * sizeof **out);
  return TM_OK;
}

static tm_status add_samples(merger *m) {
  const tm_profile *p = m->in->p;
  TM_TRY(none_table(m->ctx, &m->strings, p->strings.count));
  TM_TRY(none_table(m->ctx, &m->mappings, p->mappings.count));
  TM_TRY(none_table(m->ctx, &m->functions, p->functions.count));
  TM_TRY(none_table(m->ctx, &m->locations, p->locations.count));
  uint32_t main_mapping;
  if (!m->out->mappings.count && p->mappings.count) // the main binary stays first
    TM_TRY(map_mapping(m, 0, &main_mapping));
  for (uint32_t s = 0; s < p->sample_count; s++) {
    TM_TRY(add_sample(m, s));
    if ((s & 0xffff) == 0xffff) TM_TRY(tm_ctx_tick(m->ctx, s));
  }
  return TM_OK;
}

static tm_status add_source(merger *m, const input *in) {
  m->in = in;
  tm_status status = add_samples(m);
  tm_free(m->ctx, m->strings, (in->p->strings.count + 1) * sizeof *m->strings);
  tm_free(m->ctx, m->mappings, (in->p->mappings.count + 1) * sizeof *m->mappings);
  tm_free(m->ctx, m->functions, (in->p->functions.count + 1) * sizeof *m->functions);
  tm_free(m->ctx, m->locations, (in->p->locations.count + 1) * sizeof *m->locations);
  m->strings = m->mappings = m->functions = m->locations = NULL;
  return status;
}

// --- headers ---

static tm_status copy_string(tm_ctx *ctx, tm_profile *to, const tm_profile *from, uint32_t id,
                             uint32_t *out) {
  return tm_profile_intern(ctx, to, tm_profile_text(from, id), tm_strtab_length(&from->strings, id),
                           out);
}

static tm_status add_comment(tm_ctx *ctx, tm_profile *out, const tm_profile *p, uint32_t id) {
  uint32_t comment;
  TM_TRY(copy_string(ctx, out, p, id, &comment));
  for (size_t i = 0; i < out->comments.count; i++)
    if (out->comments.items[i] == comment) return TM_OK;
  return tm_vec_push(ctx, &out->comments, comment);
}

static tm_status combine_headers(tm_ctx *ctx, tm_profile *out, const input *in, size_t count) {
  const tm_profile *first = in[0].p;
  TM_TRY(copy_string(ctx, out, first, first->drop_frames, &out->drop_frames));
  TM_TRY(copy_string(ctx, out, first, first->keep_frames, &out->keep_frames));
  for (size_t i = 0; i < count; i++) {
    const tm_profile *p = in[i].p;
    if (out->time_ns == 0 || p->time_ns < out->time_ns) out->time_ns = p->time_ns;
    if (out->period == 0 || out->period < p->period) out->period = p->period;
    out->duration_ns = (int64_t)((uint64_t)out->duration_ns + (uint64_t)p->duration_ns);
    for (size_t k = 0; k < p->comments.count; k++)
      TM_TRY(add_comment(ctx, out, p, p->comments.items[k]));
    if (!out->default_type) TM_TRY(copy_string(ctx, out, p, p->default_type, &out->default_type));
    if (!out->doc_url) TM_TRY(copy_string(ctx, out, p, p->doc_url, &out->doc_url));
  }
  return TM_OK;
}

static uint32_t find_type(const tm_profile *p, const char *type) {
  for (uint32_t i = 0; i < p->types.count; i++)
    if (strcmp(tm_profile_text(p, p->types.items[i].type), type) == 0) return i;
  return NONE;
}

// The finest of the units of one type in all inputs; NULL when two do not go together.
static const char *finest_unit(const input *in, size_t count, const char *type) {
  const char *best = NULL;
  for (size_t i = 0; i < count; i++) {
    const tm_profile *p = in[i].p;
    const char *unit = tm_profile_text(p, p->types.items[find_type(p, type)].unit);
    if (!best) {
      best = unit;
      continue;
    }
    tm_scaled s = tm_pprof_scale(1, unit, best);
    if (strcmp(unit, best) != 0 && strcmp(s.unit, best) == 0 && s.value == 1
        && tm_pprof_scale(1, best, unit).value == 1)
      return NULL; // unknown units are only equal to themselves
    if (s.value < 1) best = unit;
  }
  return best;
}

static tm_status choose_types(tm_ctx *ctx, tm_profile *out, input *in, size_t count) {
  const tm_profile *first = in[0].p;
  for (uint32_t i = 0; i < first->types.count; i++) {
    const char *type = tm_profile_text(first, first->types.items[i].type);
    bool everywhere = true;
    for (size_t k = 1; k < count; k++) everywhere &= find_type(in[k].p, type) != NONE;
    if (!everywhere) continue;
    const char *unit = finest_unit(in, count, type);
    if (!unit)
      return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                     "sample type \"%s\" has units that do not go together", type);
    TM_TRY(tm_profile_add_type(ctx, out, type, unit));
  }
  if (!out->types.count)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "the profiles have no sample type in common");
  for (size_t k = 0; k < count; k++) {
    in[k].columns = tm_calloc(ctx, first->types.count + 1, sizeof *in[k].columns);
    if (!in[k].columns) return TM_E_NOMEM;
    for (size_t i = 0; i < out->types.count; i++) {
      const char *type = tm_profile_text(out, out->types.items[i].type);
      uint32_t column = find_type(in[k].p, type);
      const char *unit = tm_profile_text(in[k].p, in[k].p->types.items[column].unit);
      const char *target = tm_profile_text(out, out->types.items[i].unit);
      in[k].columns[i] = column;
      double ratio = strcmp(unit, target) ? tm_pprof_scale(1, unit, target).value : 1;
      in[k].ratios[i] *= ratio;
      in[k].scaled |= in[k].ratios[i] != 1;
    }
  }
  return TM_OK;
}

static tm_status check_period_types(tm_ctx *ctx, tm_profile *out, const input *in, size_t count) {
  const tm_profile *a = in[0].p;
  for (size_t i = 1; i < count; i++) {
    const tm_profile *b = in[i].p;
    const char *x = tm_profile_text(a, a->period_type.type);
    const char *y = tm_profile_text(b, b->period_type.type);
    if (strcmp(x, y) != 0)
      return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "period types \"%s\" and \"%s\" do not match", x,
                     y);
  }
  TM_TRY(copy_string(ctx, out, a, a->period_type.type, &out->period_type.type));
  return copy_string(ctx, out, a, a->period_type.unit, &out->period_type.unit);
}

static void merger_fini(merger *m) {
  slots *all[] = {&m->mapping_slots, &m->function_slots, &m->location_slots, &m->sample_slots};
  for (size_t i = 0; i < TM_COUNT(all); i++)
    tm_free(m->ctx, all[i]->items, all[i]->count * sizeof *all[i]->items);
  tm_vec_free(m->ctx, &m->hashes);
  tm_vec_free(m->ctx, &m->row);
}

static bool has_zero_sample(const tm_profile *p) {
  for (uint32_t s = 0; s < p->sample_count; s++) {
    bool zero = true;
    for (size_t k = 0; k < p->types.count; k++)
      zero &= p->values.items[(size_t)s * p->types.count + k] == 0;
    if (zero) return true;
  }
  return false;
}

static tm_status merge_into(tm_ctx *ctx, input *in, size_t count, tm_profile *out) {
  merger m = {.ctx = ctx, .out = out};
  TM_TRY(choose_types(ctx, out, in, count));
  TM_TRY(check_period_types(ctx, out, in, count));
  TM_TRY(combine_headers(ctx, out, in, count));
  TM_TRY(tm_profile_intern(ctx, out, "pprof::base", 11, &m.base_key));
  TM_TRY(tm_profile_intern(ctx, out, "true", 4, &m.base_value));
  tm_status status = tm_vec_reserve(ctx, &m.row, out->types.count);
  for (size_t i = 0; i < count && status == TM_OK; i++) status = add_source(&m, &in[i]);
  merger_fini(&m);
  return status;
}

static void free_inputs(tm_ctx *ctx, input *in, size_t count, size_t type_room) {
  for (size_t i = 0; in && i < count; i++) {
    tm_free(ctx, in[i].columns, type_room * sizeof *in[i].columns);
    tm_free(ctx, in[i].ratios, type_room * sizeof *in[i].ratios);
  }
  tm_free(ctx, in, count * sizeof *in);
}

// ratios NULL = 1 for all; else per profile, per type of that profile's own order (all equal
// types).
// NOLINTNEXTLINE(misc-no-recursion): at most one level: what was merged has nothing to merge
static tm_status merge(tm_ctx *ctx, const tm_profile *const *profiles, size_t count,
                       const double *last_ratios, const double *first_ratios, bool last_is_base,
                       tm_profile **out) {
  size_t type_room = profiles[0]->types.count + 1;
  input *in = tm_calloc(ctx, count, sizeof *in);
  tm_status status = in ? tm_profile_new(ctx, out) : TM_E_NOMEM;
  if (status != TM_OK) *out = NULL;
  for (size_t i = 0; i < count && status == TM_OK; i++) {
    in[i].p = profiles[i];
    in[i].is_base = last_is_base && i + 1 == count;
    in[i].ratios = tm_alloc(ctx, type_room * sizeof *in[i].ratios);
    if (!in[i].ratios) status = TM_E_NOMEM;
    const double *given = i + 1 == count ? last_ratios : i == 0 ? first_ratios : NULL;
    for (size_t k = 0; k < type_room && in[i].ratios; k++)
      in[i].ratios[k] = given && k + 1 < type_room ? given[k] : 1;
  }
  if (status == TM_OK) status = merge_into(ctx, in, count, *out);
  free_inputs(ctx, in, count, type_room);
  if (status != TM_OK) {
    tm_profile_free(*out);
    *out = NULL;
    return status;
  }
  if (!has_zero_sample(*out)) return TM_OK;
  tm_profile *whole = *out; // cancelled samples go, and what only they used
  const tm_profile *again[] = {whole};
  *out = NULL;
  status = merge(ctx, again, 1, NULL, NULL, false, out);
  tm_profile_free(whole);
  return status;
}

// --- sources and bases ---

static void total_values(const tm_profile *p, const tm_profile *like, double *out) {
  for (size_t k = 0; k < like->types.count; k++) {
    uint32_t column = find_type(p, tm_profile_text(like, like->types.items[k].type));
    uint64_t sum = 0;
    for (uint32_t s = 0; column != NONE && s < p->sample_count; s++)
      sum += (uint64_t)p->values.items[(size_t)s * p->types.count + column];
    out[k] = (double)(int64_t)sum;
  }
}

static tm_status subtract(tm_ctx *ctx, const tm_profile *source, const tm_profile *base,
                          const tm_combine_options *o, tm_profile **out) {
  size_t n = source->types.count;
  double *buffer = tm_calloc(ctx, 3 * n + 1, sizeof *buffer);
  if (!buffer) return TM_E_NOMEM;
  double *minus = buffer, *scale = buffer + n, *totals = buffer + 2 * n;
  for (size_t k = 0; k < n; k++) minus[k] = -1;
  if (o->normalize) {
    total_values(base, source, scale);
    total_values(source, source, totals);
    for (size_t k = 0; k < n; k++) scale[k] = totals[k] != 0 ? scale[k] / totals[k] : 0;
  }
  const tm_profile *pair[] = {source, base};
  tm_status status = merge(ctx, pair, 2, minus, o->normalize ? scale : NULL, o->diff_base, out);
  tm_free(ctx, buffer, (3 * n + 1) * sizeof *buffer);
  return status;
}

tm_status tm_profile_combine(tm_ctx *ctx, const tm_profile *const *sources, size_t source_count,
                             const tm_profile *const *bases, size_t base_count,
                             const tm_combine_options *options, tm_profile **out) {
  tm_profile *source = NULL, *base = NULL;
  if (!source_count) return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no profile to combine");
  if (source_count == 1 && !base_count) return merge(ctx, sources, 1, NULL, NULL, false, out);
  tm_status status = TM_OK;
  if (source_count > 1) status = merge(ctx, sources, source_count, NULL, NULL, false, &source);
  if (status == TM_OK && !base_count) {
    *out = source;
    return TM_OK;
  }
  if (status == TM_OK && base_count > 1)
    status = merge(ctx, bases, base_count, NULL, NULL, false, &base);
  if (status == TM_OK)
    status = subtract(ctx, source ? source : sources[0], base ? base : bases[0], options, out);
  tm_profile_free(source);
  tm_profile_free(base);
  return status;
}
