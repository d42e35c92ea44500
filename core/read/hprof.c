// JVM heap dumps (HPROF 1.0.1, 1.0.2, Android's 1.0.3).
//
// The file is mapped and walked four times, each at memory speed: once over its records (strings,
// class names, where the heap's segments lie), then over the objects: addresses and classes; types,
// sizes and how many references; the references themselves. Addresses become dense numbers by a
// bitmap with ranks. Nothing is parsed into a copy: an object's fields are decoded again from the
// file when somebody looks at it.
//
// Source: heapDumper.cpp of OpenJDK, hprof_b_spec.h; hprof.h of ART.
#include "read/hprof_impl.h"
#include "read/reader.h"

#include <stdlib.h>
#include <string.h>

enum {
  TAG_UTF8 = 0x01,
  TAG_LOAD_CLASS = 0x02,
  TAG_HEAP_DUMP = 0x0c,
  TAG_LAST_PLAIN = 0x0e,
  TAG_HEAP_DUMP_SEGMENT = 0x1c,
  TAG_HEAP_DUMP_END = 0x2c,
  RECORD_HEAD = 9,
  TICK_OBJECTS = 1 << 16
};

// Bytes behind the id, and the kind, of every root sub-record; extra_ids = ids behind the first.
static const struct {
  uint8_t tag, words, extra_ids, kind;
} root_tags[] = {
    {0xff, 0, 0, TM_ROOT_UNKNOWN},      {0x01, 0, 1, TM_ROOT_JNI_GLOBAL},
    {0x02, 2, 0, TM_ROOT_JNI_LOCAL},    {0x03, 2, 0, TM_ROOT_STACK},
    {0x04, 1, 0, TM_ROOT_NATIVE_STACK}, {0x05, 0, 0, TM_ROOT_STATIC},
    {0x06, 1, 0, TM_ROOT_STACK},        {0x07, 0, 0, TM_ROOT_MONITOR},
    {0x08, 2, 0, TM_ROOT_THREAD},       {0x89, 0, 0, TM_ROOT_INTERNED},
    {0x8a, 0, 0, TM_ROOT_FINALIZER},    {0x8b, 0, 0, TM_ROOT_VM},
    {0x8c, 0, 0, TM_ROOT_VM},           {0x8d, 0, 0, TM_ROOT_VM},
    {0x8e, 2, 0, TM_ROOT_MONITOR},      {0x90, 0, 0, TM_KIND_NONE},
};
enum { ROOT_UNREACHABLE = 0x90 };

static int find_root_tag(uint8_t tag) {
  for (size_t i = 0; i < TM_COUNT(root_tags); i++)
    if (root_tags[i].tag == tag) return (int)i;
  return -1;
}

// ---- walking objects ----

static bool open_next_segment(hprof_walk *w) {
  if (w->segment >= w->h->segments.count) return false;
  const hprof_segment *s = &w->h->segments.items[w->segment++];
  w->p = w->h->data + s->begin;
  w->end = w->h->data + s->end;
  w->heap_name = 0;
  return true;
}

// Steps over one root; false when it does not fit.
static bool pass_root(hprof_walk *w, uint8_t tag) {
  const hprof *h = w->h;
  const uint8_t *body = w->p + 1;
  size_t left = (size_t)(w->end - body);
  int i = find_root_tag(tag);
  size_t bytes = i < 0 ? 4 + h->id_bytes // 0xfe: Android's heap info
                       : h->id_bytes * (1u + root_tags[i].extra_ids) + 4u * root_tags[i].words;
  if (i < 0 && tag != 0xfe) return false;
  if (left < bytes) return false;
  if (i < 0)
    w->heap_name = hprof_id(h, body + 4);
  else if (w->owner && w->status == TM_OK && tag != ROOT_UNREACHABLE)
    w->status = hprof_add_root(w->owner, tag, root_tags[i].kind, root_tags[i].words, body);
  w->p = body + bytes;
  return true;
}

static bool read_class(hprof_walk *w, hprof_object *o) {
  hprof_class_body body;
  const uint8_t *next;
  if (!hprof_parse_class(w->h, w->p + 1, w->end, &body, &next)) return false;
  *o = (hprof_object){.tag = HPROF_CLASS,
                      .id = body.id,
                      .body = w->p + 1,
                      .body_bytes = (uint64_t)(next - w->p - 1),
                      .at = (uint64_t)(w->p - w->h->data)};
  w->p = next;
  return true;
}

// The object whose tag is at p; *next behind it. Classes are the caller's.
static bool parse_object(const hprof *h, const uint8_t *p, const uint8_t *end, hprof_object *o) {
  size_t id = h->id_bytes, left = (size_t)(end - p), head;
  o->tag = *p;
  o->at = (uint64_t)(p - h->data);
  switch (*p) {
  case HPROF_INSTANCE:
    head = 1 + id + 4 + id + 4;
    if (left < head) return false;
    o->class_id = hprof_id(h, p + 1 + id + 4);
    o->count = (uint32_t)hprof_be32(p + head - 4);
    o->body_bytes = o->count;
    break;
  case HPROF_OBJECT_ARRAY:
    head = 1 + id + 4 + 4 + id;
    if (left < head) return false;
    o->count = (uint32_t)hprof_be32(p + 1 + id + 4);
    o->class_id = hprof_id(h, p + head - id);
    o->body_bytes = (uint64_t)o->count * id;
    break;
  case HPROF_PRIMITIVE_ARRAY:
  case HPROF_PRIMITIVE_NODATA:
    head = 1 + id + 4 + 4 + 1;
    if (left < head) return false;
    o->count = (uint32_t)hprof_be32(p + 1 + id + 4);
    o->element = p[head - 1];
    if (o->element >= HPROF_TYPES || !hprof_type_bytes[o->element]) return false;
    o->body_bytes =
        *p == HPROF_PRIMITIVE_NODATA ? 0 : (uint64_t)o->count * hprof_type_bytes[o->element];
    o->tag = HPROF_PRIMITIVE_ARRAY;
    break;
  default:
    return false;
  }
  if (left - head < o->body_bytes) return false;
  o->id = hprof_id(h, p + 1);
  o->body = p + head;
  return true;
}

bool hprof_next(hprof_walk *w, hprof_object *o) {
  for (;;) {
    if (w->p >= w->end) {
      if (!open_next_segment(w)) return false;
      continue;
    }
    uint8_t tag = *w->p;
    bool is_object =
        (tag >= HPROF_CLASS && tag <= HPROF_PRIMITIVE_ARRAY) || tag == HPROF_PRIMITIVE_NODATA;
    if (TM_LIKELY(is_object && tag != HPROF_CLASS && parse_object(w->h, w->p, w->end, o))) {
      w->p = o->body + o->body_bytes;
      return true;
    }
    if (tag == HPROF_CLASS && read_class(w, o)) return true;
    if (is_object || !pass_root(w, tag)) { // what follows cannot be told apart from garbage
      if (w->owner) hprof_note(w->owner, HPROF_BROKEN_SEGMENT, (uint64_t)(w->p - w->h->data));
      w->p = w->end;
    }
  }
}

bool hprof_object_at(const hprof *h, uint64_t at, hprof_object *out) {
  if (at >= h->size) return false;
  hprof_walk w = {.h = h, .p = h->data + at, .end = h->data + h->size};
  *out = (hprof_object){0};
  return h->data[at] == HPROF_CLASS ? read_class(&w, out) : parse_object(h, w.p, w.end, out);
}

// Every so many objects of a walk: what lies behind it is given back to the system's cache.
static tm_status tick(hprof *h, uint64_t *kept, uint64_t at) {
  tm_source_forget(h->source, *kept, at);
  *kept = at;
  return tm_ctx_tick(h->ctx, at);
}

// ---- 1. records ----

static tm_status read_header(hprof *h) {
  static const char magic[] = "JAVA PROFILE 1.0.";
  size_t n = sizeof magic - 1;
  if (h->size < n + 2 + 12 || memcmp(h->data, magic, n) != 0 || h->data[n + 1] != 0)
    return tm_fail(h->ctx, TM_E_FORMAT, 0, "not a JVM heap dump: no \"JAVA PROFILE 1.0.x\"");
  h->android = h->data[n] == '3';
  h->id_bytes = (uint32_t)hprof_be32(h->data + n + 2);
  if (h->id_bytes == 4 || h->id_bytes == 8) return TM_OK;
  return tm_fail(h->ctx, TM_E_FORMAT, n + 2, "ids of %u bytes; a JVM has 4 or 8", h->id_bytes);
}

static tm_status on_utf8(hprof *h, uint64_t at, uint64_t length) {
  if (length < h->id_bytes) return TM_OK;
  TM_TRY(
      tm_idmap_put(h->ctx, &h->strings, hprof_id(h, h->data + at), (uint32_t)h->string_at.count));
  return tm_vec_push(h->ctx, &h->string_at, at);
}

static tm_status on_load_class(hprof *h, uint64_t at, uint64_t length) {
  size_t id = h->id_bytes;
  if (length < 8 + 2 * id) return TM_OK;
  uint32_t name = tm_idmap_get(&h->strings, hprof_id(h, h->data + at + 8 + id));
  if (name == TM_IDMAP_NONE) return TM_OK;
  TM_TRY(tm_idmap_put(h->ctx, &h->class_serials, hprof_be32(h->data + at), name));
  return tm_idmap_put(h->ctx, &h->class_names, hprof_id(h, h->data + at + 4), name);
}

static void mark_partial(hprof *h, uint64_t at, const char *what) {
  if (h->out->partial) return;
  h->out->partial = true;
  tm_fail(h->ctx, TM_E_FORMAT, at, "%s, at byte %llu; what came before was read", what,
          (unsigned long long)at);
  h->out->problem = h->ctx->error;
  tm_ctx_clear(h->ctx);
}

// The length of a heap record is 32 bits: one that is larger says its length modulo 2^32, and one
// that was never finished says 0.
static uint64_t heap_length(const hprof *h, uint64_t at, uint64_t length) {
  uint64_t rest = h->size - at;
  if (length <= rest && (length & 0xffffffffu) == (rest & 0xffffffffu)) return rest;
  return length ? length : rest;
}

static uint32_t wanted_dump(const hprof *h) {
  return h->ctx->part ? h->ctx->part : 1;
}

// Whether a later dump of the file has begun: classes and stacks are those of then.
static bool is_past(const hprof *h) {
  return h->dump_count > wanted_dump(h);
}

// A heap is one HEAP_DUMP record, or segments up to the end mark or a record of the other kind.
static tm_status on_heap(hprof *h, uint8_t tag, uint64_t begin, uint64_t length) {
  if (!h->dump_open || tag == TAG_HEAP_DUMP) h->dump_count++;
  h->dump_open = tag == TAG_HEAP_DUMP_SEGMENT;
  if (h->dump_count == wanted_dump(h))
    return tm_vec_push(h->ctx, &h->segments, (hprof_segment){begin, begin + length});
  return TM_OK;
}

static bool is_known(uint8_t tag) {
  return (tag >= TAG_UTF8 && tag <= TAG_LAST_PLAIN) || tag == TAG_HEAP_DUMP_SEGMENT
         || tag == TAG_HEAP_DUMP_END;
}

static tm_status read_record(hprof *h, uint64_t *at) {
  uint64_t body = *at + RECORD_HEAD;
  if (h->size - *at < RECORD_HEAD) {
    mark_partial(h, *at, "the file ends inside a record's head");
    hprof_note(h, HPROF_CUT, *at);
    *at = h->size;
    return TM_OK;
  }
  uint8_t tag = h->data[*at];
  uint64_t length = hprof_be32(h->data + *at + 5);
  bool is_heap = tag == TAG_HEAP_DUMP || tag == TAG_HEAP_DUMP_SEGMENT;
  if (tag == TAG_HEAP_DUMP) length = heap_length(h, body, length);
  if (length > h->size - body) {
    mark_partial(h, *at, "the file ends inside a record");
    hprof_note(h, HPROF_CUT, *at);
    if (!is_heap) {
      *at = h->size;
      return TM_OK;
    }
    length = h->size - body;
  }
  *at = body + length;
  if (is_heap) return on_heap(h, tag, body, length);
  if (tag == TAG_HEAP_DUMP_END) h->dump_open = false;
  if (tag == TAG_UTF8) return on_utf8(h, body, length);
  if (!is_known(tag)) {
    bool goes_on = *at == h->size || is_known(h->data[*at]);
    mark_partial(h, body - RECORD_HEAD, "an unknown record");
    hprof_note(h, HPROF_SKIPPED_RECORD, body - RECORD_HEAD);
    if (!goes_on) *at = h->size;
    return TM_OK;
  }
  if (is_past(h)) return TM_OK;
  if (tag == TAG_LOAD_CLASS) return on_load_class(h, body, length);
  return hprof_add_stack_record(h, tag, body, length);
}

static tm_status read_records(hprof *h) {
  uint64_t at = sizeof "JAVA PROFILE 1.0.x" + 4 + 8, count = 0;
  while (at < h->size) {
    TM_TRY(read_record(h, &at));
    if (++count % TICK_OBJECTS == 0) TM_TRY(tm_ctx_tick(h->ctx, 0));
  }
  if (h->dump_count > 1)
    h->problems[HPROF_OTHER_DUMP] = (hprof_problem){h->dump_count - 1, TM_NO_OFFSET};
  if (h->segments.count) return TM_OK;
  if (h->dump_count)
    return tm_fail(h->ctx, TM_E_ARG, TM_NO_OFFSET, "the file holds %u dumps, not %u", h->dump_count,
                   wanted_dump(h));
  return tm_fail(h->ctx, TM_E_FORMAT, h->size,
                 "the dump has no heap: it ends before its first segment");
}

// ---- 2. addresses, classes, roots ----

typedef TM_VEC(uint64_t) address_list;

static tm_status list_objects(hprof *h, address_list *addresses) {
  hprof_walk w = {.h = h, .owner = h};
  hprof_object o = {0}, before = {0};
  uint64_t kept = 0;
  while (hprof_next(&w, &o)) {
    TM_TRY(tm_vec_push(h->ctx, addresses, o.id));
    TM_TRY(hprof_weigh(h, &before, &o));
    before = o;
    if (TM_UNLIKELY(o.tag == HPROF_CLASS)) {
      hprof_class_body body;
      const uint8_t *next;
      if (hprof_parse_class(h, o.body, o.body + o.body_bytes, &body, &next))
        TM_TRY(hprof_add_class(h, &body, o.at));
    }
    if (addresses->count % TICK_OBJECTS == 0) TM_TRY(tick(h, &kept, o.at));
  }
  return w.status;
}

static tm_status number_objects(hprof *h) {
  address_list addresses = {0};
  tm_status status = list_objects(h, &addresses);
  if (status == TM_OK)
    status = tm_addr_rank_build(h->ctx, &h->rank, addresses.items, addresses.count,
                                h->id_bytes == 8 ? 3 : 2);
  tm_vec_free(h->ctx, &addresses);
  return status;
}

// ---- 3. columns ----

static tm_status describe_instance(hprof *h, const hprof_object *o, uint32_t *type, uint64_t *bytes,
                                   uint32_t *refs) {
  uint32_t index = hprof_class_of(h, o->class_id);
  if (index == UINT32_MAX) return TM_E_NOMEM;
  const hprof_class *c = &h->classes.items[index];
  *type = c->type;
  *bytes = c->instance_bytes;
  if (!c->instance_bytes) // nothing is known of its class
    *bytes = (h->header_bytes + o->body_bytes + h->align - 1) / h->align * h->align;
  *refs = 0;
  if (c->field_bytes != o->body_bytes) { // a class above is missing
    if (c->offset) hprof_note(h, HPROF_OPAQUE, o->at);
    return TM_OK;
  }
  if (c->ref_begin == c->ref_end) return TM_OK;
  const uint32_t *ref = h->refs.items + c->ref_begin, *end = h->refs.items + c->ref_end;
  if (c->strength != TM_STRENGTH_STRONG) {
    ref++;
    *refs = 1; // the referent always has its edge
  }
  for (; ref < end; ref++) *refs += hprof_id(h, o->body + *ref) != 0;
  return TM_OK;
}

static uint32_t count_ids(const hprof *h, const uint8_t *p, uint32_t n) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < n; i++) count += hprof_id(h, p + (size_t)i * h->id_bytes) != 0;
  return count;
}

// The references that a class object itself holds, one by one; 0 at the end.
typedef struct class_refs {
  hprof_class_body body;
  const uint8_t *p;
  uint32_t i;
} class_refs;

static bool open_class_refs(const hprof *h, const hprof_object *o, class_refs *r) {
  const uint8_t *next;
  if (!hprof_parse_class(h, o->body, o->body + o->body_bytes, &r->body, &next)) return false;
  r->p = r->body.statics;
  r->i = 0;
  return true;
}

static bool next_class_ref(const hprof *h, class_refs *r, uint64_t *out) {
  const uint64_t fixed[] = {r->body.super_id, r->body.loader_id, r->body.signers_id,
                            r->body.domain_id};
  while (r->i < TM_COUNT(fixed))
    if ((*out = fixed[r->i++])) return true;
  while (r->i < TM_COUNT(fixed) + r->body.static_count) {
    uint8_t type = r->p[h->id_bytes];
    const uint8_t *value = r->p + h->id_bytes + 1;
    r->p = value + hprof_value_bytes(h, type);
    r->i++;
    if (type == HPROF_OBJECT && (*out = hprof_id(h, value))) return true;
  }
  return false;
}

static tm_status describe_class(hprof *h, const hprof_object *o, uint32_t *type, uint64_t *bytes,
                                uint32_t *refs, uint32_t node) {
  class_refs r;
  uint64_t id;
  *type = h->class_type;
  *bytes = 0;
  *refs = 0;
  if (open_class_refs(h, o, &r))
    while (next_class_ref(h, &r, &id)) ++*refs;
  uint32_t index = tm_idmap_get(&h->class_index, o->id);
  if (index == TM_IDMAP_NONE) return TM_OK;
  const hprof_class *c = &h->classes.items[index];
  *bytes = (c->static_bytes + h->align - 1) / h->align * h->align;
  h->graph->types.items[c->type].node = node;
  uint32_t loader = c->loader_id ? tm_addr_rank_get(&h->rank, c->loader_id) : TM_ADDR_NONE;
  h->graph->types.items[c->type].loader = loader == TM_ADDR_NONE ? TM_NODE_NONE : loader;
  return TM_OK;
}

static tm_status describe(hprof *h, const hprof_object *o, uint32_t node) {
  tm_graph *g = h->graph;
  uint32_t type = 0, refs = 0;
  uint64_t bytes = 0;
  if (g->edge_begin[node + 1] || h->at_low[node] || h->at_high[node]) {
    hprof_note(h, HPROF_DUPLICATE, o->at);
    return TM_OK;
  }
  if (o->tag == HPROF_INSTANCE) {
    TM_TRY(describe_instance(h, o, &type, &bytes, &refs));
  } else if (o->tag == HPROF_OBJECT_ARRAY) {
    uint32_t index = hprof_class_of(h, o->class_id);
    if (index == UINT32_MAX) return TM_E_NOMEM;
    type = h->classes.items[index].type;
    bytes = hprof_array_bytes(h, HPROF_OBJECT, o->count);
    refs = count_ids(h, o->body, o->count);
  } else if (o->tag == HPROF_PRIMITIVE_ARRAY) {
    TM_TRY(hprof_primitive_type(h, o->element, &type));
    bytes = hprof_array_bytes(h, o->element, o->count);
  } else {
    TM_TRY(describe_class(h, o, &type, &bytes, &refs, node));
  }
  g->type[node] = type;
  g->edge_begin[node + 1] = refs;
  h->at_low[node] = (uint32_t)o->at;
  h->at_high[node] = (uint8_t)(o->at >> 32);
  return tm_graph_set_size(h->ctx, g, node, bytes);
}

// Notes in which part of an Android heap the object lies.
static tm_status put_heap(hprof *h, uint64_t name_id, uint32_t node) {
  const char *text;
  size_t size;
  uint32_t name, i = 0;
  TM_TRY(hprof_string(h, name_id, &text, &size));
  TM_TRY(tm_strtab_intern(h->ctx, &h->graph->strings, text, size, &name));
  while (i < h->heap_count && h->heap_names[i] != name) i++;
  if (i == HPROF_HEAPS_MAX) return TM_OK;
  if (i == h->heap_count) h->heap_names[h->heap_count++] = name;
  if (!h->graph->flags) h->graph->flags = tm_calloc(h->ctx, h->graph->node_count, 1);
  if (!h->graph->flags) return TM_E_NOMEM;
  h->graph->flags[node] = (uint8_t)((i + 1) << HPROF_HEAP_SHIFT);
  return TM_OK;
}

tm_status hprof_find_class_type(hprof *h) {
  uint32_t name;
  TM_TRY(tm_strtab_intern(h->ctx, &h->graph->strings, "java.lang.Class", 15, &name));
  for (uint32_t i = 0; i < h->graph->types.count; i++)
    if (h->graph->types.items[i].name == name) return h->class_type = i, TM_OK;
  h->class_type = (uint32_t)h->graph->types.count;
  tm_type type = {name, TM_NODE_NONE, TM_NODE_NONE, TM_NODE_NONE, TM_STRENGTH_STRONG};
  return tm_vec_push(h->ctx, &h->graph->types, type);
}

static tm_status fill_columns(hprof *h) {
  uint32_t n = h->rank.count, seen = 0;
  TM_TRY(hprof_find_class_type(h));
  TM_TRY(tm_graph_alloc_nodes(h->ctx, h->graph, n));
  h->at_low = tm_calloc(h->ctx, (size_t)n + 1, sizeof *h->at_low);
  h->at_high = tm_calloc(h->ctx, (size_t)n + 1, 1);
  if (!h->at_low || !h->at_high) return TM_E_NOMEM;
  hprof_walk w = {.h = h};
  hprof_object o = {0};
  uint64_t kept = 0;
  while (hprof_next(&w, &o)) {
    uint32_t node = tm_addr_rank_get(&h->rank, o.id);
    TM_TRY(describe(h, &o, node));
    if (TM_UNLIKELY(w.heap_name)) TM_TRY(put_heap(h, w.heap_name, node));
    if (++seen % TICK_OBJECTS == 0) TM_TRY(tick(h, &kept, o.at));
  }
  return TM_OK;
}

// ---- 4. edges ----

static tm_status sum_edges(hprof *h) {
  tm_graph *g = h->graph;
  uint64_t sum = 0;
  for (uint32_t n = 0; n < g->node_count; n++) {
    sum += g->edge_begin[n + 1];
    if (sum >= UINT32_MAX)
      return tm_fail(h->ctx, TM_E_LIMIT, TM_NO_OFFSET, "more than 2^32 references");
    g->edge_begin[n + 1] = (uint32_t)sum;
  }
  g->edge_count = (uint32_t)sum;
  g->edge_to = tm_alloc(h->ctx, ((size_t)sum + !sum) * sizeof *g->edge_to);
  return g->edge_to ? TM_OK : TM_E_NOMEM;
}

// Where the next edge of the object at hand goes. A reference that leads nowhere leaves a hole, a
// self-edge is none.
typedef struct edge_cursor {
  uint32_t *next, *end;
} edge_cursor;

static void put_edge(hprof *h, edge_cursor *c, uint64_t id) {
  uint32_t to = tm_addr_rank_get(&h->rank, id);
  if (to == TM_ADDR_NONE)
    hprof_note(h, HPROF_DANGLING, TM_NO_OFFSET);
  else if (c->next < c->end)
    *c->next++ = to;
}

static void put_instance(hprof *h, const hprof_object *o, edge_cursor *c, uint32_t node) {
  const hprof_class *k = &h->classes.items[tm_idmap_get(&h->class_index, o->class_id)];
  if (k->field_bytes != o->body_bytes || k->ref_begin == k->ref_end) return;
  const uint32_t *ref = h->refs.items + k->ref_begin, *end = h->refs.items + k->ref_end;
  if (k->strength != TM_STRENGTH_STRONG && c->next < c->end) {
    uint32_t to = tm_addr_rank_get(&h->rank, hprof_id(h, o->body + *ref++));
    *c->next++ = to == TM_ADDR_NONE ? node : to; // a cleared referent: see tm_type.strength
  }
  for (; ref < end; ref++) {
    uint64_t id = hprof_id(h, o->body + *ref);
    if (id) put_edge(h, c, id);
  }
}

static void put_class(hprof *h, const hprof_object *o, edge_cursor *c) {
  class_refs r;
  uint64_t id;
  if (!open_class_refs(h, o, &r)) return;
  while (next_class_ref(h, &r, &id)) put_edge(h, c, id);
}

static void put_array(hprof *h, const hprof_object *o, edge_cursor *c) {
  for (uint32_t i = 0; i < o->count; i++) {
    uint64_t id = hprof_id(h, o->body + (size_t)i * h->id_bytes);
    if (id) put_edge(h, c, id);
  }
}

static tm_status put_objects(hprof *h, uint32_t *used) {
  tm_graph *g = h->graph;
  hprof_walk w = {.h = h};
  hprof_object o = {0};
  uint32_t seen = 0;
  uint64_t kept = 0;
  while (hprof_next(&w, &o)) {
    uint32_t node = tm_addr_rank_get(&h->rank, o.id);
    if (hprof_at(h, node) != o.at) continue; // a second object of the same address
    edge_cursor c = {g->edge_to + g->edge_begin[node], g->edge_to + g->edge_begin[node + 1]};
    if (o.tag == HPROF_INSTANCE)
      put_instance(h, &o, &c, node);
    else if (o.tag == HPROF_OBJECT_ARRAY)
      put_array(h, &o, &c);
    else if (o.tag == HPROF_CLASS)
      put_class(h, &o, &c);
    *used += (uint32_t)(c.next - (g->edge_to + g->edge_begin[node]));
    for (; c.next < c.end; c.next++) *c.next = TM_NODE_NONE;
    if (++seen % TICK_OBJECTS == 0) TM_TRY(tick(h, &kept, o.at));
  }
  return TM_OK;
}

// Closes the holes that dangling references left.
static void close_holes(tm_ctx *ctx, tm_graph *g, uint32_t used) {
  if (used == g->edge_count) return;
  uint32_t to = 0, from = 0;
  for (uint32_t n = 0; n < g->node_count; n++) {
    uint32_t end = g->edge_begin[n + 1];
    g->edge_begin[n] = to;
    for (; from < end; from++)
      if (g->edge_to[from] != TM_NODE_NONE) g->edge_to[to++] = g->edge_to[from];
  }
  g->edge_begin[g->node_count] = to;
  size_t old = (size_t)g->edge_count * sizeof *g->edge_to;
  uint32_t *smaller = tm_realloc(ctx, g->edge_to, old, ((size_t)to + !to) * sizeof *g->edge_to);
  if (!smaller) return; // cannot happen to a shrinking block; edge_count is what was allocated
  g->edge_to = smaller;
  g->edge_count = to;
}

static tm_status fill_edges(hprof *h) {
  uint32_t used = 0;
  TM_TRY(hprof_resolve_roots(h));
  TM_TRY(sum_edges(h));
  TM_TRY(put_objects(h, &used));
  hprof_put_locals(h, &used);
  close_holes(h->ctx, h->graph, used);
  return TM_OK;
}

// ---- the reader ----

static unsigned probe(const uint8_t *head, size_t size) {
  return size > 18 && memcmp(head, "JAVA PROFILE 1.0.", 17) == 0 ? 136 : 0;
}

static void drop_scaffold(hprof *h) {
  tm_vec_free(h->ctx, &h->root_ids);
  tm_vec_free(h->ctx, &h->threads);
  tm_vec_free(h->ctx, &h->measures);
  tm_idmap_free(h->ctx, &h->measure_index);
  tm_vec_free(h->ctx, &h->held);
  tm_idmap_free(h->ctx, &h->thread_index);
}

void hprof_free_kept(hprof *h) {
  tm_ctx ctx = {.alloc = h->graph->alloc};
  size_t n = (size_t)h->graph->node_count + 1;
  tm_vec_free(&ctx, &h->segments);
  tm_vec_free(&ctx, &h->string_at);
  tm_vec_free(&ctx, &h->classes);
  tm_vec_free(&ctx, &h->fields);
  tm_vec_free(&ctx, &h->refs);
  tm_vec_free(&ctx, &h->root_ids);
  tm_vec_free(&ctx, &h->threads);
  tm_vec_free(&ctx, &h->measures);
  tm_idmap_free(&ctx, &h->measure_index);
  tm_vec_free(&ctx, &h->held);
  tm_idmap_free(&ctx, &h->thread_index);
  tm_vec_free(&ctx, &h->place_at);
  tm_idmap_free(&ctx, &h->frame_index);
  tm_idmap_free(&ctx, &h->trace_index);
  tm_idmap_free(&ctx, &h->start_index);
  tm_idmap_free(&ctx, &h->class_serials);
  tm_idmap_free(&ctx, &h->strings);
  tm_idmap_free(&ctx, &h->class_names);
  tm_idmap_free(&ctx, &h->class_index);
  tm_addr_rank_fini(&ctx, &h->rank);
  if (h->at_low) tm_free(&ctx, h->at_low, n * sizeof *h->at_low);
  if (h->at_high) tm_free(&ctx, h->at_high, n);
  tm_free(&ctx, h, sizeof *h);
}

tm_status hprof_open(hprof *h) {
  TM_TRY(read_header(h));
  return read_records(h);
}

static tm_status read_all(hprof *h) {
  TM_TRY(hprof_open(h));
  TM_TRY(number_objects(h));
  TM_TRY(hprof_weigh_by_address(h));
  hprof_set_layout(h);
  TM_TRY(hprof_lay_out_classes(h));
  TM_TRY(fill_columns(h));
  TM_TRY(fill_edges(h));
  TM_TRY(hprof_assume_roots(h));
  drop_scaffold(h);
  const hprof_problem *broken = &h->problems[HPROF_BROKEN_SEGMENT];
  if (broken->count) mark_partial(h, broken->offset, "a heap segment holds what is no object");
  return TM_OK;
}

static void free_graph(void *graph) {
  tm_graph_free(graph);
}

static tm_status read_hprof(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  hprof *h = tm_calloc(ctx, 1, sizeof *h);
  if (!h) return TM_E_NOMEM;
  *h = (hprof){.ctx = ctx, .out = out, .source = src, .data = src->data, .size = src->size};
  for (size_t i = 0; i < HPROF_TYPES; i++) h->array_class[i] = UINT32_MAX;
  tm_status status = tm_graph_new(ctx, &h->graph);
  if (status != TM_OK) {
    tm_free(ctx, h, sizeof *h);
    return status;
  }
  h->graph->kept = h;
  h->graph->detail = &hprof_detail;
  h->graph->id_word = "address";
  ctx->total = src->size;
  status = read_all(h);
  tm_graph *graph = h->graph;
  h->ctx = NULL;
  h->out = NULL;
  h->source = NULL;
  if (status != TM_OK) {
    tm_graph_free(graph);
    return status;
  }
  out->model = graph;
  out->free_model = free_graph;
  if (!out->partial) return TM_OK;
  ctx->error = out->problem; // building on after it may have recorded others
  return ctx->error.status;
}

const tm_reader tm_reader_hprof = {.name = "hprof",
                                   .title = "JVM heap dump (HPROF 1.0.x)",
                                   .kind = TM_KIND_GRAPH,
                                   .keeps_source = true,
                                   .takes_part = true,
                                   .probe = probe,
                                   .read = read_hprof,
                                   .restore = hprof_restore};
