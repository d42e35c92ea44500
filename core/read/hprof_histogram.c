// How wide references are, where elements begin and how objects are aligned is known only at the
// end of the walk, so sizes are kept by their remainders; instances are only counted. A cache in
// front of the map of classes answers for most objects: O(file), 10 ns an object.
#include "read/hprof_histogram.h"

#include "read/hprof_impl.h"

#include <stdlib.h>

enum { CACHE_SLOTS = 1024, TICK_OBJECTS = 1 << 16 };

// Sizes of many objects without what an alignment adds to each.
typedef struct spread {
  uint64_t bytes;                      // of whole HPROF_ALIGN_MAX
  uint64_t remainder[HPROF_ALIGN_MAX]; // how many objects have so many bytes beside these
} spread;

typedef struct tally {
  uint64_t class_id;
  uint64_t instances, arrays;
  spread opaque;      // fields of instances, should nothing be known of their class
  spread elements[2]; // of arrays: of references of 4 and of 8 bytes; of primitives only [0]
} tally;

typedef struct histogram {
  hprof *h;
  TM_VEC(tally) of_class; // in the order in which they are met: a class may come behind its objects
  tm_idmap index;         // class id -> index of of_class
  tally of_primitive[HPROF_TYPES];
  uint64_t seen; // objects
  struct {
    uint64_t id;
    uint32_t index; // + 1
  } cache[CACHE_SLOTS];
} histogram;

static uint64_t align_up(uint64_t n, uint64_t to) {
  return (n + to - 1) / to * to;
}

static void spread_add(spread *s, uint64_t bytes) {
  s->bytes += bytes / HPROF_ALIGN_MAX * HPROF_ALIGN_MAX;
  s->remainder[bytes % HPROF_ALIGN_MAX]++;
}

// The bytes of all of them, each with a header.
static uint64_t spread_sum(const hprof *h, const spread *s, uint64_t header_bytes) {
  uint64_t sum = s->bytes;
  for (uint64_t r = 0; r < HPROF_ALIGN_MAX; r++)
    sum += s->remainder[r] * align_up(header_bytes + r, h->align);
  return sum;
}

static tm_status tally_of(histogram *s, uint64_t class_id, tally **out) {
  size_t slot = (size_t)(class_id >> 3) % CACHE_SLOTS;
  uint32_t index = s->cache[slot].index;
  if (TM_UNLIKELY(!index || s->cache[slot].id != class_id)) {
    index = tm_idmap_get(&s->index, class_id);
    if (index == TM_IDMAP_NONE) {
      index = (uint32_t)s->of_class.count;
      TM_TRY(tm_vec_push(s->h->ctx, &s->of_class, (tally){.class_id = class_id}));
      TM_TRY(tm_idmap_put(s->h->ctx, &s->index, class_id, index));
    }
    s->cache[slot].id = class_id;
    s->cache[slot].index = ++index;
  }
  *out = &s->of_class.items[index - 1];
  return TM_OK;
}

static tm_status add_object(histogram *s, const hprof_object *o) {
  tally *t;
  if (o->tag == HPROF_PRIMITIVE_ARRAY) {
    t = &s->of_primitive[o->element];
    t->arrays++;
    spread_add(&t->elements[0], (uint64_t)o->count * hprof_type_bytes[o->element]);
    return TM_OK;
  }
  if (o->tag == HPROF_CLASS) {
    hprof_class_body body;
    const uint8_t *next;
    if (!hprof_parse_class(s->h, o->body, o->body + o->body_bytes, &body, &next)) return TM_OK;
    return hprof_add_class(s->h, &body, o->at);
  }
  TM_TRY(tally_of(s, o->class_id, &t));
  if (o->tag == HPROF_OBJECT_ARRAY) {
    t->arrays++;
    for (uint32_t i = 0; i < 2; i++) spread_add(&t->elements[i], (uint64_t)o->count * (i ? 8 : 4));
    return TM_OK;
  }
  t->instances++;
  spread_add(&t->opaque, o->body_bytes);
  return TM_OK;
}

static tm_status count(histogram *s, const tm_source *src) {
  hprof_walk w = {.h = s->h, .owner = s->h};
  hprof_object o = {0}, before = {0};
  uint64_t kept = 0;
  while (hprof_next(&w, &o)) {
    TM_TRY(add_object(s, &o));
    TM_TRY(hprof_weigh(s->h, &before, &o));
    before.tag = o.tag;
    before.element = o.element;
    before.id = o.id;
    before.class_id = o.class_id;
    before.count = o.count;
    if (++s->seen % TICK_OBJECTS) continue;
    tm_source_forget(src, kept, o.at);
    kept = o.at;
    TM_TRY(tm_ctx_tick(s->h->ctx, o.at));
  }
  return w.status;
}

// ---- rows ----

typedef struct row {
  const char *name;
  uint64_t count, bytes;
} row;

// Adds objects to the row of a type; those of no bytes are none's, as in the table of a graph.
static void add(row *rows, uint32_t type, uint64_t count, uint64_t bytes) {
  rows[type].count += bytes ? count : 0;
  rows[type].bytes += bytes;
}

static void add_classes(const histogram *s, row *rows) {
  const hprof *h = s->h;
  uint32_t width = h->oop_bytes == 8;
  for (size_t i = 0; i < h->classes.count; i++) {
    const hprof_class *c = &h->classes.items[i];
    if (c->offset) add(rows, h->class_type, 1, align_up(c->static_bytes, h->align));
  }
  for (size_t i = 0; i < s->of_class.count; i++) {
    const tally *t = &s->of_class.items[i];
    const hprof_class *c = &h->classes.items[tm_idmap_get(&h->class_index, t->class_id)];
    uint64_t bytes = t->instances * c->instance_bytes;
    if (!c->instance_bytes) bytes = spread_sum(h, &t->opaque, h->header_bytes);
    add(rows, c->type, t->instances, bytes);
    bytes = spread_sum(h, &t->elements[width], align_up(h->array_base, h->oop_bytes));
    add(rows, c->type, t->arrays, bytes);
  }
}

static int by_bytes(const void *a, const void *b) {
  const row *x = a, *y = b;
  if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
  return strcmp(x->name, y->name);
}

static tm_status write_rows(tm_ctx *ctx, const row *rows, size_t count, size_t row_count,
                            tm_table *out) {
  uint64_t bytes = 0;
  TM_TRY(tm_table_add_column(ctx, out, "type", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "count", TM_CELL_INT, TM_UNIT_COUNT));
  TM_TRY(tm_table_add_column(ctx, out, "shallow_bytes", TM_CELL_INT, TM_UNIT_BYTES));
  for (size_t i = 0; i < count; i++) {
    size_t at;
    bytes += rows[i].bytes;
    if (!rows[i].count || (row_count && tm_table_row_count(out) >= row_count)) continue;
    TM_TRY(tm_table_add_row(ctx, out, &at));
    TM_TRY(tm_table_set_text(ctx, out, at, 0, rows[i].name, strlen(rows[i].name)));
    tm_table_set_int(out, at, 1, (int64_t)rows[i].count);
    tm_table_set_int(out, at, 2, (int64_t)rows[i].bytes);
  }
  return tm_table_note_int(ctx, out, "shallow_bytes", (int64_t)bytes);
}

static tm_status make_table(histogram *s, size_t row_count, tm_table *out) {
  hprof *h = s->h;
  uint32_t of_primitive[HPROF_TYPES];
  TM_TRY(hprof_find_class_type(h));
  for (size_t i = 0; i < s->of_class.count; i++) // those that the dump lacks are made
    if (hprof_class_of(h, s->of_class.items[i].class_id) == UINT32_MAX) return TM_E_NOMEM;
  for (uint32_t e = 0; e < HPROF_TYPES; e++)
    if (s->of_primitive[e].arrays) TM_TRY(hprof_primitive_type(h, (uint8_t)e, &of_primitive[e]));
  size_t types = h->graph->types.count;
  row *rows = tm_calloc(h->ctx, types, sizeof *rows);
  if (!rows) return TM_E_NOMEM;
  for (size_t i = 0; i < types; i++)
    rows[i].name = tm_graph_text(h->graph, h->graph->types.items[i].name);
  add_classes(s, rows);
  for (uint32_t e = 0; e < HPROF_TYPES; e++) {
    const tally *t = &s->of_primitive[e];
    if (!t->arrays) continue;
    uint64_t base = align_up(h->array_base, hprof_type_bytes[e]);
    add(rows, of_primitive[e], t->arrays, spread_sum(h, &t->elements[0], base));
  }
  qsort(rows, types, sizeof *rows, by_bytes);
  tm_status status = write_rows(h->ctx, rows, types, row_count, out);
  tm_free(h->ctx, rows, types * sizeof *rows);
  return status;
}

tm_status tm_hprof_histogram(tm_ctx *ctx, const tm_source *src, size_t row_count, tm_table *out,
                             bool *out_partial) {
  tm_snapshot snapshot = {0};
  tm_graph *g;
  histogram *s = tm_calloc(ctx, 1, sizeof *s);
  tm_status status = s ? hprof_restore(ctx, src, &g) : TM_E_NOMEM;
  if (status != TM_OK) {
    tm_free(ctx, s, sizeof *s);
    return status;
  }
  s->h = g->kept;
  s->h->ctx = ctx;
  s->h->out = &snapshot;
  ctx->total = src->size;
  status = hprof_open(s->h);
  if (status == TM_OK) status = count(s, src);
  if (status == TM_OK) status = hprof_weigh_by_address(s->h);
  if (status == TM_OK) {
    hprof_set_layout(s->h);
    status = hprof_lay_out_classes(s->h);
  }
  if (status == TM_OK) status = make_table(s, row_count, out);
  if (status == TM_OK) status = tm_table_note_int(ctx, out, "objects", (int64_t)s->seen);
  *out_partial = snapshot.partial || s->h->problems[HPROF_BROKEN_SEGMENT].count;
  tm_vec_free(ctx, &s->of_class);
  tm_idmap_free(ctx, &s->index);
  tm_free(ctx, s, sizeof *s);
  tm_graph_free(g);
  return status;
}
