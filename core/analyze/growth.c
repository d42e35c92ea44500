// A key is a path: the ids of its frames from the root on, or the one id of a function. Frames get
// their ids by name once per snapshot, so that equal paths of two snapshots are equal numbers, and
// no name is touched per sample. A key keeps running sums instead of its points: first, last, rises
// and falls, and the sums of a least-squares line; where a snapshot lacks it, it counts as 0. Cost:
// one hash step per frame of every stack and one step per known key; memory four bytes per frame
// of every distinct path.
#include "analyze/growth.h"

#include "analyze/flatcum.h"
#include "base/bytes.h"
#include "base/hash.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct key_state {
  int64_t first, last; // values of the first and the last snapshot
  int64_t previous;    // value at `seen`
  int64_t current;     // being summed for the snapshot under way
  uint32_t seen;       // snapshots counted so far in the sums below, in order
  uint32_t touched;    // snapshot + 1 that `current` belongs to
  uint32_t rises, falls;
  double sum_y, sum_yy, sum_ty; // over snapshots; missing ones add nothing
} key_state;

typedef struct path_slot {
  uint32_t hash, key; // key + 1; 0 = free
} path_slot;

struct tm_growth {
  tm_allocator alloc;
  tm_growth_by by;
  tm_report_options options;
  tm_strtab names;           // of frames
  TM_VEC(uint32_t) frames;   // of every key, behind each other: ids of names
  TM_VEC(size_t) frames_end; // per key
  TM_VEC(key_state) states;  // per key
  path_slot *slots;
  size_t slot_count;
  uint32_t snapshot_count;
  int64_t first_time_ns, last_time_ns, first_total, last_total;
  double sum_t, sum_tt; // hours since the first snapshot
  char type[64], unit[64];
  bool keep_unchanged;
};

tm_status tm_growth_new(tm_ctx *ctx, tm_growth_by by, const tm_report_options *options,
                        tm_growth **out) {
  tm_growth *g = tm_calloc(ctx, 1, sizeof *g);
  if (!g) return TM_E_NOMEM;
  g->alloc = ctx->alloc;
  g->by = by;
  g->options = *options;
  tm_strtab_init(&g->names, &ctx->alloc, 0);
  *out = g;
  return TM_OK;
}

void tm_growth_free(tm_growth *g) {
  if (!g) return;
  tm_ctx ctx = {.alloc = g->alloc};
  tm_vec_free(&ctx, &g->states);
  tm_vec_free(&ctx, &g->frames);
  tm_vec_free(&ctx, &g->frames_end);
  tm_free(&ctx, g->slots, g->slot_count * sizeof *g->slots);
  tm_strtab_fini(&g->names);
  tm_free(&ctx, g, sizeof *g);
}

static int64_t plus(int64_t a, int64_t b) {
  return (int64_t)((uint64_t)a + (uint64_t)b);
}

// --- keys ---

static size_t frames_begin(const tm_growth *g, uint32_t key) {
  return key ? g->frames_end.items[key - 1] : 0;
}

static tm_status grow_slots(tm_ctx *ctx, tm_growth *g) {
  size_t count = g->slot_count ? g->slot_count * 2 : 1024;
  path_slot *slots = tm_calloc(ctx, count, sizeof *slots);
  if (!slots) return TM_E_NOMEM;
  for (size_t i = 0; i < g->slot_count; i++) {
    if (!g->slots[i].key) continue;
    size_t at = g->slots[i].hash & (count - 1);
    while (slots[at].key) at = (at + 1) & (count - 1);
    slots[at] = g->slots[i];
  }
  tm_free(ctx, g->slots, g->slot_count * sizeof *g->slots);
  g->slots = slots;
  g->slot_count = count;
  return TM_OK;
}

static tm_status add_key(tm_ctx *ctx, tm_growth *g, const uint32_t *frames, size_t count,
                         path_slot *slot, uint32_t hash) {
  if (g->states.count >= UINT32_MAX - 1)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "over 4 G different call paths");
  TM_TRY(tm_vec_reserve(ctx, &g->frames, count));
  TM_TRY(tm_vec_reserve(ctx, &g->frames_end, 1));
  TM_TRY(tm_vec_push(ctx, &g->states, (key_state){0}));
  if (count) memcpy(g->frames.items + g->frames.count, frames, count * sizeof *frames);
  g->frames.count += count;
  g->frames_end.items[g->frames_end.count++] = g->frames.count;
  *slot = (path_slot){hash, (uint32_t)g->states.count};
  return TM_OK;
}

static tm_status find_key(tm_ctx *ctx, tm_growth *g, const uint32_t *frames, size_t count,
                          uint32_t *out) {
  if ((g->states.count + 1) * 2 > g->slot_count) TM_TRY(grow_slots(ctx, g));
  uint64_t h = count;
  for (size_t i = 0; i < count; i++) h = (h ^ frames[i]) * UINT64_C(0x9e3779b97f4a7c15);
  uint32_t hash = (uint32_t)tm_hash_mix(h);
  size_t mask = g->slot_count - 1, i = hash & mask;
  for (; g->slots[i].key; i = (i + 1) & mask) {
    if (g->slots[i].hash != hash) continue;
    uint32_t key = g->slots[i].key - 1;
    size_t begin = frames_begin(g, key);
    if (g->frames_end.items[key] - begin != count) continue;
    if (count && memcmp(g->frames.items + begin, frames, count * sizeof *frames) != 0) continue;
    *out = key;
    return TM_OK;
  }
  *out = (uint32_t)g->states.count;
  return add_key(ctx, g, frames, count, &g->slots[i], hash);
}

static tm_status add_value(tm_ctx *ctx, tm_growth *g, const uint32_t *frames, size_t count,
                           int64_t value) {
  uint32_t key;
  TM_TRY(find_key(ctx, g, frames, count, &key));
  key_state *k = &g->states.items[key];
  if (k->touched != g->snapshot_count + 1) {
    k->touched = g->snapshot_count + 1;
    k->current = 0;
  }
  k->current = plus(k->current, value);
  return TM_OK;
}

static tm_status name_id(tm_ctx *ctx, tm_growth *g, tm_flatcum *f, uint32_t node, uint32_t *out) {
  const char *label;
  TM_TRY(tm_flatcum_label(ctx, f, node, &label));
  return tm_strtab_intern(ctx, &g->names, label, strlen(label), out);
}

// --- one snapshot's values ---

static tm_status add_functions(tm_ctx *ctx, tm_growth *g, tm_flatcum *f) {
  for (uint32_t i = 0; i < f->nodes.count; i++) {
    uint32_t name;
    if (!f->nodes.items[i].flat) continue;
    TM_TRY(name_id(ctx, g, f, i, &name));
    TM_TRY(add_value(ctx, g, &name, 1, tm_node_flat(&f->nodes.items[i])));
  }
  return TM_OK;
}

typedef TM_VEC(uint32_t) path_frames;

// Root first; names stand per frame of a location.
static tm_status path_of(tm_ctx *ctx, const tm_flatcum *f, const uint32_t *names, uint32_t s,
                         path_frames *path) {
  const tm_view *v = f->v;
  path->count = 0;
  for (uint32_t i = v->end[s]; i > v->begin[s]; i--) {
    uint32_t loc = v->stack[i - 1], begin = f->frame_begin[loc], k = f->frame_begin[loc + 1];
    TM_TRY(tm_vec_reserve(ctx, path, k - begin));
    while (k > begin) path->items[path->count++] = names[--k];
  }
  return TM_OK;
}

static tm_status add_stacks(tm_ctx *ctx, tm_growth *g, tm_flatcum *f, const uint32_t *names) {
  path_frames path = {0};
  tm_status status = TM_OK;
  for (uint32_t s = 0; s < f->v->sample_count && status == TM_OK; s++) {
    int64_t value = tm_view_value(f->v, f->v->samples[s]);
    if (!value) continue;
    status = path_of(ctx, f, names, s, &path);
    if (status == TM_OK) status = add_value(ctx, g, path.items, path.count, value);
  }
  tm_vec_free(ctx, &path);
  return status;
}

static tm_status add_paths(tm_ctx *ctx, tm_growth *g, tm_flatcum *f) {
  size_t nodes = f->nodes.count + 1, frames = f->frames.count + 1;
  uint32_t *of_node = tm_alloc(ctx, nodes * sizeof *of_node);
  uint32_t *names = tm_alloc(ctx, frames * sizeof *names); // per frame of a location
  tm_status status = of_node && names ? TM_OK : TM_E_NOMEM;
  for (uint32_t i = 0; i < f->nodes.count && status == TM_OK; i++)
    status = name_id(ctx, g, f, i, &of_node[i]);
  for (size_t i = 0; i < f->frames.count && status == TM_OK; i++)
    names[i] = of_node[f->frames.items[i]];
  if (status == TM_OK) status = add_stacks(ctx, g, f, names);
  tm_free(ctx, of_node, nodes * sizeof *of_node);
  tm_free(ctx, names, frames * sizeof *names);
  return status;
}

static tm_status note_type(tm_ctx *ctx, tm_growth *g, const char *type, const char *unit) {
  if (g->snapshot_count && strncmp(g->type, type, sizeof g->type - 1) != 0)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "snapshot %u counts \"%s\", those before \"%s\"",
                   g->snapshot_count + 1, type, g->type);
  strncpy(g->type, type, sizeof g->type - 1);
  strncpy(g->unit, unit, sizeof g->unit - 1);
  return TM_OK;
}

static tm_status note_view_type(tm_ctx *ctx, tm_growth *g, const tm_view *v) {
  const tm_value_type *t = &v->profile->types.items[v->value_index];
  return note_type(ctx, g, tm_profile_text(v->profile, t->type),
                   tm_profile_text(v->profile, t->unit));
}

static tm_status collect(tm_ctx *ctx, tm_growth *g, const tm_profile *p, tm_view *v, tm_flatcum *f,
                         int64_t *total) {
  tm_flatcum_options o = {.granularity = g->options.granularity,
                          .no_inlines = g->options.no_inlines,
                          .show_columns = g->options.show_columns,
                          .source_path = g->options.source_path,
                          .trim_path = g->options.trim_path};
  TM_TRY(tm_view_init(ctx, p, &g->options, v));
  TM_TRY(note_view_type(ctx, g, v));
  TM_TRY(tm_view_filter(ctx, v, &g->options));
  *total = tm_view_total(v);
  if (g->by == TM_GROWTH_BY_PATH) {
    TM_TRY(tm_flatcum_names(ctx, v, &o, f));
    return add_paths(ctx, g, f);
  }
  TM_TRY(tm_flatcum_init(ctx, v, &o, f));
  return add_functions(ctx, g, f);
}

// --- the sums ---

static void step(key_state *k, int64_t value) {
  if (value > k->previous) k->rises++;
  if (value < k->previous) k->falls++;
  k->previous = value;
}

// Closes the snapshot under way for every key: `current`, or 0 for one that it lacks.
static void close_snapshot(tm_growth *g, double hours) {
  uint32_t now = g->snapshot_count;
  for (size_t i = 0; i < g->states.count; i++) {
    key_state *k = &g->states.items[i];
    int64_t value = k->touched == now + 1 ? k->current : 0;
    if (now == 0) {
      k->first = k->previous = value;
    } else {
      step(k, value);
    }
    k->seen = now + 1;
    k->last = value;
    double y = (double)value;
    k->sum_y += y;
    k->sum_yy += y * y;
    k->sum_ty += hours * y;
  }
}

// Without times the snapshots count as an hour apart.
static tm_status begin_snapshot(tm_ctx *ctx, tm_growth *g, int64_t time_ns, double *hours) {
  if (!g->snapshot_count) g->first_time_ns = time_ns;
  int64_t since = (int64_t)((uint64_t)time_ns - (uint64_t)g->first_time_ns);
  if (g->snapshot_count && time_ns && time_ns < g->last_time_ns)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                   "snapshot %u is older than the one before; give them in order of time",
                   g->snapshot_count + 1);
  *hours = time_ns ? (double)since / 3.6e12 : (double)g->snapshot_count;
  return TM_OK;
}

static void end_snapshot(tm_growth *g, int64_t time_ns, double hours, int64_t total) {
  close_snapshot(g, hours);
  if (!g->snapshot_count) g->first_total = total;
  g->last_total = total;
  g->last_time_ns = time_ns;
  g->sum_t += hours;
  g->sum_tt += hours * hours;
  g->snapshot_count++;
}

tm_status tm_growth_add(tm_ctx *ctx, tm_growth *g, const tm_profile *p, int64_t time_ns) {
  if (!time_ns) time_ns = p->time_ns;
  double hours;
  TM_TRY(begin_snapshot(ctx, g, time_ns, &hours));
  tm_view v = {0};
  tm_flatcum f = {0};
  int64_t total = 0;
  tm_status status = collect(ctx, g, p, &v, &f, &total);
  tm_flatcum_fini(&f);
  tm_view_fini(&v);
  TM_TRY(status);
  end_snapshot(g, time_ns, hours, total);
  return TM_OK;
}

tm_status tm_growth_add_pivot(tm_ctx *ctx, tm_growth *g, const tm_pivot *pivot, int64_t time_ns) {
  double hours;
  TM_TRY(begin_snapshot(ctx, g, time_ns, &hours));
  TM_TRY(note_type(ctx, g, pivot->type, pivot->unit));
  for (uint32_t id = 0; id < pivot->values.count; id++) {
    const char *key = tm_strtab_text(&pivot->keys, id);
    uint32_t name;
    if (!pivot->values.items[id]) continue;
    TM_TRY(tm_strtab_intern(ctx, &g->names, key, tm_strtab_length(&pivot->keys, id), &name));
    TM_TRY(add_value(ctx, g, &name, 1, pivot->values.items[id]));
  }
  end_snapshot(g, time_ns, hours, pivot->total);
  return TM_OK;
}

void tm_growth_keep_unchanged(tm_growth *g) {
  g->keep_unchanged = true;
}

// --- the table ---

typedef struct rank {
  uint32_t id;
  double score, slope, fit, monotone, last;
} rank;

// Slope and r squared of the least-squares line, from the sums.
static void fit_line(const tm_growth *g, const key_state *k, rank *r) {
  double n = g->snapshot_count;
  double tt = g->sum_tt - g->sum_t * g->sum_t / n;
  double yy = k->sum_yy - k->sum_y * k->sum_y / n;
  double ty = k->sum_ty - g->sum_t * k->sum_y / n;
  uint32_t changes = k->rises + k->falls;
  r->slope = tt > 0 ? ty / tt : 0;
  r->fit = tt > 0 && yy > 0 ? ty * ty / (tt * yy) : 0;
  if (r->fit > 1) r->fit = 1;
  r->monotone = changes ? (double)k->rises / changes : 0;
  double delta = (double)k->last - (double)k->first;
  double net = changes ? ((double)k->rises - (double)k->falls) / changes : 0;
  r->last = (double)k->last;
  r->score = delta * fabs(net) * net * r->fit;
}

static int compare_ranks(const void *left, const void *right) {
  const rank *a = left, *b = right;
  if (a->score != b->score) return a->score > b->score ? -1 : 1;
  if (a->score == 0 && a->last != b->last) return a->last > b->last ? -1 : 1;
  return a->id < b->id ? -1 : a->id > b->id;
}

// How much the steps say: many rises and no fall are evidence, two points are little.
static double confidence(const tm_growth *g, const rank *r, const key_state *k) {
  uint32_t changes = k->rises + k->falls, steps = g->snapshot_count - 1;
  if (!changes || !steps) return 0;
  return (1 - pow(0.5, k->rises)) * r->monotone * sqrt(r->fit);
}

// The names of a key's frames, joined by ';'.
static tm_status put_key(tm_ctx *ctx, const tm_growth *g, uint32_t key, tm_bytes *text) {
  text->size = 0;
  size_t begin = frames_begin(g, key);
  for (size_t i = begin; i < g->frames_end.items[key]; i++) {
    uint32_t name = g->frames.items[i];
    if (i > begin) TM_TRY(tm_bytes_append(ctx, text, ";", 1));
    TM_TRY(tm_bytes_append(ctx, text, tm_strtab_text(&g->names, name),
                           tm_strtab_length(&g->names, name)));
  }
  return TM_OK;
}

static tm_status add_row(tm_ctx *ctx, const tm_growth *g, const rank *r, tm_bytes *key,
                         tm_table *out) {
  const key_state *k = &g->states.items[r->id];
  size_t row;
  TM_TRY(put_key(ctx, g, r->id, key));
  TM_TRY(tm_table_add_row(ctx, out, &row));
  TM_TRY(tm_table_set_text(ctx, out, row, 0, key->size ? (const char *)key->data : "", key->size));
  tm_table_set_int(out, row, 1, k->first);
  tm_table_set_int(out, row, 2, k->last);
  tm_table_set_int(out, row, 3, (int64_t)((uint64_t)k->last - (uint64_t)k->first));
  tm_table_set_int(out, row, 4, k->rises);
  tm_table_set_int(out, row, 5, k->falls);
  tm_table_set_real(out, row, 6, r->slope);
  tm_table_set_real(out, row, 7, r->monotone);
  tm_table_set_real(out, row, 8, r->fit);
  tm_table_set_real(out, row, 9, confidence(g, r, k));
  return TM_OK;
}

static tm_status add_columns(tm_ctx *ctx, const tm_growth *g, tm_table *out) {
  tm_unit unit = strcmp(g->unit, "bytes") == 0         ? TM_UNIT_BYTES
                 : strcmp(g->unit, "nanoseconds") == 0 ? TM_UNIT_NS
                                                       : TM_UNIT_COUNT;
  const struct {
    const char *name;
    tm_cell cell;
    tm_unit unit;
  } columns[] = {{"key", TM_CELL_TEXT, TM_UNIT_NONE},
                 {"first", TM_CELL_INT, unit},
                 {"last", TM_CELL_INT, unit},
                 {"delta", TM_CELL_INT, unit},
                 {"steps", TM_CELL_INT, TM_UNIT_COUNT},
                 {"falls", TM_CELL_INT, TM_UNIT_COUNT},
                 {"per_hour", TM_CELL_REAL, unit},
                 {"monotone_ratio", TM_CELL_REAL, TM_UNIT_RATIO},
                 {"fit_ratio", TM_CELL_REAL, TM_UNIT_RATIO},
                 {"confidence_ratio", TM_CELL_REAL, TM_UNIT_RATIO}};
  for (size_t i = 0; i < TM_COUNT(columns); i++)
    TM_TRY(tm_table_add_column(ctx, out, columns[i].name, columns[i].cell, columns[i].unit));
  TM_TRY(tm_table_note_int(ctx, out, "snapshots", g->snapshot_count));
  TM_TRY(tm_table_note_text(ctx, out, "type", g->type));
  TM_TRY(tm_table_note_text(ctx, out, "unit", g->unit));
  TM_TRY(tm_table_note_int(ctx, out, "first_total", g->first_total));
  TM_TRY(tm_table_note_int(ctx, out, "last_total", g->last_total));
  double hours = (double)(g->last_time_ns - g->first_time_ns) / 3.6e12;
  return tm_table_note_real(ctx, out, "hours", hours);
}

tm_status tm_growth_table(tm_ctx *ctx, const tm_growth *g, size_t row_count, tm_table *out) {
  TM_TRY(add_columns(ctx, g, out));
  size_t count = g->states.count, kept = 0;
  rank *ranks = tm_alloc(ctx, (count + 1) * sizeof *ranks);
  if (!ranks) return TM_E_NOMEM;
  for (uint32_t i = 0; i < count; i++) {
    const key_state *k = &g->states.items[i];
    bool changed = k->rises || k->falls;
    if (!k->seen || (!changed && !(g->keep_unchanged && k->last))) continue;
    ranks[kept].id = i;
    fit_line(g, k, &ranks[kept++]);
  }
  qsort(ranks, kept, sizeof *ranks, compare_ranks);
  tm_status status = TM_OK;
  tm_bytes key = {0};
  for (size_t i = 0; i < kept && (!row_count || i < row_count) && status == TM_OK; i++)
    status = add_row(ctx, g, &ranks[i], &key, out);
  tm_bytes_free(ctx, &key);
  tm_free(ctx, ranks, (count + 1) * sizeof *ranks);
  return status;
}
