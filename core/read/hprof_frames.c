// Stacks of a JVM heap dump: which frame a local is of, who allocated an object, what the dump
// tells of allocations. Frames and traces are found by their ids and decoded from the file when
// they are asked for; every offset is checked then.
//
// HotSpot names no allocation site: all its objects have a trace without frames. The agent of old
// JVMs (-agentlib:hprof, up to JDK 8) gives each object its trace and writes ALLOC_SITES records,
// each with all sites until then: the last one counts.
//
// Source: hprof_b_spec.h of JDK 8; line numbers below 0 by heapDumper.cpp.
#include "read/frames.h"
#include "read/hprof_impl.h"

#include <stdio.h>

enum { TAG_UNUSED, TAG_FRAME = 4, TAG_TRACE = 5, TAG_SITES = 6, TAG_START_THREAD = 0x0a };
enum { SITES_HEAD = 2 + 4 + 4 + 4 + 8 + 8 + 4, SITE_BYTES = 1 + 4 + 4 + 4 * 4 };
enum { FRAMES_MAX = 512, NO_LINE = 0, NATIVE_LINE = -3 };

static tm_status put_place(hprof *h, tm_idmap *index, uint64_t key, uint64_t at) {
  TM_TRY(tm_idmap_put(h->ctx, index, key, (uint32_t)h->place_at.count));
  return tm_vec_push(h->ctx, &h->place_at, at);
}

tm_status hprof_add_stack_record(hprof *h, uint8_t tag, uint64_t at, uint64_t length) {
  size_t id = h->id_bytes;
  const uint8_t *body = h->data + at;
  if (tag == TAG_FRAME && length >= 4 * id + 8)
    return put_place(h, &h->frame_index, hprof_id(h, body), at);
  if (tag == TAG_TRACE && length >= 12) return put_place(h, &h->trace_index, hprof_be32(body), at);
  if (tag == TAG_START_THREAD && length >= 8 + 2 * id)
    return put_place(h, &h->start_index, hprof_be32(body), at);
  if (tag == TAG_SITES && length >= SITES_HEAD) h->sites_at = at;
  return TM_OK;
}

// The record's body of that key, if `bytes` of it are in the file.
static const uint8_t *find_record(const hprof *h, const tm_idmap *index, uint64_t key,
                                  uint64_t bytes) {
  uint32_t place = tm_idmap_get(index, key);
  if (place == TM_IDMAP_NONE || place >= h->place_at.count) return NULL;
  uint64_t at = h->place_at.items[place];
  return at < h->size && h->size - at >= bytes ? h->data + at : NULL;
}

uint64_t hprof_start_name(const hprof *h, uint32_t thread_serial) {
  const uint8_t *p = find_record(h, &h->start_index, thread_serial, 8 + 2 * (uint64_t)h->id_bytes);
  return p ? hprof_id(h, p + 8 + h->id_bytes) : 0;
}

// ---- frames ----

static bool read_frame(const hprof *h, const uint8_t *p, hprof_frame *out) {
  size_t id = h->id_bytes;
  const char *file;
  size_t file_size;
  uint32_t class_name = tm_idmap_get(&h->class_serials, hprof_be32(p + 4 * id));
  tm_text parts[2] = {0};
  if (class_name != TM_IDMAP_NONE) hprof_text_at(h, class_name, &parts[0].at, &parts[0].size);
  if (hprof_string(h, hprof_id(h, p + id), &parts[1].at, &parts[1].size) != TM_OK) return false;
  if (hprof_string(h, hprof_id(h, p + 3 * id), &file, &file_size) != TM_OK) return false;
  snprintf(out->function, sizeof out->function, "%.*s%s%.*s", (int)parts[0].size,
           parts[0].size ? parts[0].at : "", parts[0].size ? "." : "", (int)parts[1].size,
           parts[1].at);
  for (size_t i = 0; i < parts[0].size && out->function[i]; i++)
    if (out->function[i] == '/') out->function[i] = '.';
  snprintf(out->file, sizeof out->file, "%.*s", (int)file_size, file);
  int32_t line = (int32_t)hprof_be32(p + 4 * id + 4);
  out->line = line > 0 ? line : NO_LINE;
  out->is_native = line == NATIVE_LINE;
  return true;
}

uint32_t hprof_frame_count(const hprof *h, uint32_t trace_serial) {
  const uint8_t *p = find_record(h, &h->trace_index, trace_serial, 12);
  if (!p) return 0;
  uint64_t count = hprof_be32(p + 8), room = (uint64_t)(h->data + h->size - p - 12) / h->id_bytes;
  count = count < room ? count : room;
  return count < FRAMES_MAX ? (uint32_t)count : FRAMES_MAX;
}

bool hprof_frame_of(const hprof *h, uint32_t trace_serial, uint32_t depth, hprof_frame *out) {
  if (depth >= hprof_frame_count(h, trace_serial)) return false;
  const uint8_t *trace = find_record(h, &h->trace_index, trace_serial, 12);
  uint64_t id = hprof_id(h, trace + 12 + (size_t)depth * h->id_bytes);
  const uint8_t *p = find_record(h, &h->frame_index, id, 4 * (uint64_t)h->id_bytes + 8);
  return p && read_frame(h, p, out);
}

void hprof_write_frame(const hprof_frame *f, char *out, size_t size) {
  if (f->is_native)
    snprintf(out, size, "%s (native)", f->function);
  else if (f->line && *f->file)
    snprintf(out, size, "%s (%s:%d)", f->function, f->file, f->line);
  else if (*f->file)
    snprintf(out, size, "%s (%s)", f->function, f->file);
  else
    snprintf(out, size, "%s", f->function);
}

// ---- the stack of one object ----

// The serial of the trace that an object's record names.
static uint32_t trace_of(const hprof *h, uint32_t node) {
  uint64_t at = hprof_at(h, node) + 1 + h->id_bytes;
  return at < h->size && h->size - at >= 4 ? (uint32_t)hprof_be32(h->data + at) : 0;
}

tm_status hprof_stack(tm_ctx *ctx, const tm_graph *g, uint32_t node, tm_table *out) {
  const hprof *h = g->kept;
  hprof_frame f;
  size_t row;
  TM_TRY(tm_table_add_column(ctx, out, "function", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "file", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "line", TM_CELL_INT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "column", TM_CELL_INT, TM_UNIT_NONE));
  uint32_t trace = node < g->node_count ? trace_of(h, node) : 0;
  for (uint32_t i = 0; i < hprof_frame_count(h, trace); i++) {
    if (!hprof_frame_of(h, trace, i, &f)) continue;
    TM_TRY(tm_table_add_row(ctx, out, &row));
    TM_TRY(tm_table_set_text(ctx, out, row, 0, f.function, strlen(f.function)));
    TM_TRY(tm_table_set_text(ctx, out, row, 1, f.file, strlen(f.file)));
    tm_table_set_int(out, row, 2, f.line);
    tm_table_set_int(out, row, 3, 0);
  }
  return TM_OK;
}

// ---- allocations ----

typedef struct maker {
  tm_ctx *ctx;
  const hprof *h;
  tm_profile *p;
  tm_frames frames;
} maker;

// The type as the leaf, where the allocation is of one, and the frames of the trace behind it.
static tm_status push_stack(maker *m, const char *type, uint32_t trace) {
  uint32_t location;
  hprof_frame f;
  tm_text none = {"", 0};
  if (*type) {
    tm_text name = {type, strlen(type)};
    TM_TRY(tm_frames_location(m->ctx, &m->frames, m->p, name, none, 0, &location));
    TM_TRY(tm_vec_push(m->ctx, &m->p->stack, location));
  }
  for (uint32_t i = 0; i < hprof_frame_count(m->h, trace); i++) {
    if (!hprof_frame_of(m->h, trace, i, &f)) continue;
    tm_text name = {f.function, strlen(f.function)}, file = {f.file, strlen(f.file)};
    TM_TRY(tm_frames_location(m->ctx, &m->frames, m->p, name, file, f.line, &location));
    TM_TRY(tm_vec_push(m->ctx, &m->p->stack, location));
  }
  return TM_OK;
}

static tm_status add_site(maker *m, const uint8_t *p) {
  const hprof *h = m->h;
  char type[256] = "";
  const char *raw;
  size_t size;
  uint32_t name = tm_idmap_get(&h->class_serials, hprof_be32(p + 1));
  if (name != TM_IDMAP_NONE) {
    hprof_text_at(h, name, &raw, &size);
    type[hprof_write_class_name(raw, size, type, sizeof type - 3)] = '\0';
  }
  int64_t values[4] = {(int64_t)hprof_be32(p + 21), (int64_t)hprof_be32(p + 17),
                       (int64_t)hprof_be32(p + 13), (int64_t)hprof_be32(p + 9)};
  TM_TRY(push_stack(m, type, (uint32_t)hprof_be32(p + 5)));
  return tm_profile_end_sample(m->ctx, m->p, values);
}

static tm_status add_sites(maker *m) {
  const hprof *h = m->h;
  if (h->sites_at >= h->size || h->size - h->sites_at < SITES_HEAD) return TM_OK;
  const uint8_t *p = h->data + h->sites_at + SITES_HEAD;
  uint64_t count = hprof_be32(p - 4), room = (uint64_t)(h->data + h->size - p) / SITE_BYTES;
  for (uint64_t i = 0; i < count && i < room; i++) TM_TRY(add_site(m, p + i * SITE_BYTES));
  return TM_OK;
}

typedef struct live {
  int64_t count, bytes;
} live;

// What is alive of each trace, when no record says more.
static tm_status add_live(maker *m, const tm_graph *g) {
  size_t room = m->h->place_at.count * sizeof(live);
  live *sums = tm_calloc(m->ctx, m->h->place_at.count + 1, sizeof *sums);
  if (!sums) return TM_E_NOMEM;
  for (uint32_t n = 0; n < g->node_count; n++) {
    uint32_t at = tm_idmap_get(&m->h->trace_index, trace_of(m->h, n));
    if (at == TM_IDMAP_NONE || at >= m->h->place_at.count) continue;
    sums[at].count++;
    sums[at].bytes += (int64_t)tm_graph_size(g, n);
  }
  tm_status status = TM_OK;
  for (size_t i = 0; i < m->h->trace_index.slot_count && status == TM_OK; i++) {
    uint32_t at = m->h->trace_index.values[i];
    if (at >= m->h->place_at.count || !sums[at].count) continue;
    uint32_t trace = (uint32_t)m->h->trace_index.keys[i];
    if (!hprof_frame_count(m->h, trace)) continue;
    int64_t values[4] = {sums[at].count, sums[at].bytes, sums[at].count, sums[at].bytes};
    status = push_stack(m, "", trace);
    if (status == TM_OK) status = tm_profile_end_sample(m->ctx, m->p, values);
  }
  tm_free(m->ctx, sums, room + sizeof *sums);
  return status;
}

tm_status hprof_allocations(tm_ctx *ctx, const tm_graph *g, tm_profile **out) {
  maker m = {.ctx = ctx, .h = g->kept};
  *out = NULL;
  TM_TRY(tm_profile_new(ctx, &m.p));
  tm_status status = tm_frames_allocation_types(ctx, m.p);
  if (status == TM_OK) status = m.h->sites_at ? add_sites(&m) : add_live(&m, g);
  tm_frames_fini(ctx, &m.frames);
  if (status == TM_OK && m.p->sample_count) {
    *out = m.p;
    return TM_OK;
  }
  tm_profile_free(m.p);
  return status;
}
