// One object of a JVM heap dump, decoded again from the file: its fields by name, what its edges
// are called, and a few words that people know it by (a string's letters, a class's name).
#include "read/hprof_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static hprof *of(const tm_graph *g) {
  return g->kept;
}

static bool object_of(const tm_graph *g, uint32_t node, hprof_object *o) {
  return node < g->node_count && hprof_object_at(of(g), hprof_at(of(g), node), o);
}

static uint64_t node_id(const tm_graph *g, uint32_t node) {
  hprof_object o;
  return object_of(g, node, &o) ? o.id : 0;
}

static uint32_t find_node(const tm_graph *g, uint64_t id) {
  uint32_t node = tm_addr_rank_get(&of(g)->rank, id);
  return node == TM_ADDR_NONE ? TM_NODE_NONE : node;
}

static const hprof_class *class_of(const hprof *h, uint64_t class_id) {
  uint32_t index = tm_idmap_get(&h->class_index, class_id);
  return index == TM_IDMAP_NONE ? NULL : &h->classes.items[index];
}

// ---- fields ----

// One field, static or element of an object, as somebody walks over them.
typedef struct member {
  const char *name;
  size_t name_size;
  int64_t index; // of an element, else -1
  uint8_t type;
  const uint8_t *value;
} member;

// Answers false to stop.
typedef bool (*member_fn)(void *ud, const hprof *h, const member *m);

static bool each_instance_field(const hprof *h, const hprof_object *o, member_fn fn, void *ud) {
  const hprof_class *c = class_of(h, o->class_id);
  if (!c || c->field_bytes != o->body_bytes) return true;
  const uint8_t *p = o->body;
  for (; c; c = c->super == UINT32_MAX ? NULL : &h->classes.items[c->super]) {
    for (uint32_t f = c->field_begin; f < c->field_end; f++) {
      member m = {.index = -1, .type = h->fields.items[f].type, .value = p};
      if (hprof_string(h, h->fields.items[f].name_id, &m.name, &m.name_size) != TM_OK) return false;
      if (!fn(ud, h, &m)) return false;
      p += hprof_value_bytes(h, m.type);
    }
  }
  return true;
}

static bool each_element(const hprof *h, const hprof_object *o, member_fn fn, void *ud) {
  uint8_t type = o->tag == HPROF_OBJECT_ARRAY ? HPROF_OBJECT : o->element;
  uint32_t bytes = hprof_value_bytes(h, type);
  for (uint32_t i = 0; i < o->count && o->body_bytes; i++) {
    member m = {.index = i, .type = type, .value = o->body + (size_t)i * bytes};
    if (!fn(ud, h, &m)) return false;
  }
  return true;
}

static bool each_static(const hprof *h, const hprof_object *o, member_fn fn, void *ud) {
  static const char *const fixed[] = {"<super>", "<loader>", "<signers>", "<domain>"};
  hprof_class_body body;
  const uint8_t *next, *p = o->body + h->id_bytes + 4;
  if (!hprof_parse_class(h, o->body, o->body + o->body_bytes, &body, &next)) return true;
  for (size_t i = 0; i < TM_COUNT(fixed); i++, p += h->id_bytes) {
    member m = {fixed[i], strlen(fixed[i]), -1, HPROF_OBJECT, p};
    if (!fn(ud, h, &m)) return false;
  }
  p = body.statics;
  for (uint32_t i = 0; i < body.static_count; i++) {
    member m = {.index = -1, .type = p[h->id_bytes], .value = p + h->id_bytes + 1};
    if (hprof_string(h, hprof_id(h, p), &m.name, &m.name_size) != TM_OK) return false;
    if (!fn(ud, h, &m)) return false;
    p = m.value + hprof_value_bytes(h, m.type);
  }
  return true;
}

static void each_member(const hprof *h, const hprof_object *o, member_fn fn, void *ud) {
  if (o->tag == HPROF_INSTANCE)
    each_instance_field(h, o, fn, ud);
  else if (o->tag == HPROF_CLASS)
    each_static(h, o, fn, ud);
  else
    each_element(h, o, fn, ud);
}

// ---- names of edges ----

typedef struct edge_search {
  const tm_graph *graph;
  uint32_t wanted, at; // edges of the object so far, in the order of the reader
  uint64_t referent;   // id that the reader put first, 0 = none
  bool referent_first, found;
  char *out;
  size_t size;
} edge_search;

static void write_member_name(const member *m, char *out, size_t size) {
  if (m->index >= 0)
    snprintf(out, size, "[%" PRId64 "]", m->index);
  else
    snprintf(out, size, "%.*s", (int)m->name_size, m->name);
}

static bool is_referent(const member *m) {
  return m->name_size == 8 && memcmp(m->name, "referent", 8) == 0;
}

// The reader keeps references in field order, but for a referent, which comes first; nulls and ids
// of no object have no edge.
static bool count_edge(void *ud, const hprof *h, const member *m) {
  edge_search *s = ud;
  if (m->type != HPROF_OBJECT) return true;
  if (s->referent_first && is_referent(m)) return true;
  if (tm_addr_rank_get(&h->rank, hprof_id(h, m->value)) == TM_ADDR_NONE) return true;
  if (s->at++ < s->wanted) return true;
  write_member_name(m, s->out, s->size);
  s->found = true;
  return false;
}

static tm_status edge_name(tm_ctx *ctx, const tm_graph *g, uint32_t node, uint32_t index, char *out,
                           size_t size) {
  hprof_object o;
  if (!object_of(g, node, &o))
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no object %u in this dump", node);
  edge_search s = {.graph = g, .wanted = index, .out = out, .size = size};
  const hprof_class *c = o.tag == HPROF_INSTANCE ? class_of(of(g), o.class_id) : NULL;
  if (c && c->strength != TM_STRENGTH_STRONG) {
    s.referent_first = true;
    if (!index) {
      snprintf(out, size, "referent");
      return TM_OK;
    }
    s.wanted = index - 1;
  }
  each_member(of(g), &o, count_edge, &s);
  if (!s.found) hprof_local_name(g, node, s.wanted - s.at, out, size);
  return TM_OK;
}

// ---- places ----

static uint32_t all_elements(uint32_t count, uint32_t *out, uint32_t room) {
  for (uint32_t i = 0; i < count && i < room; i++) out[i] = TM_PLACE_ELEMENT;
  return count;
}

// In the order of the reader: see put_instance. Statics have names of their own.
static uint32_t places(const tm_graph *g, uint32_t node, uint32_t *out, uint32_t room) {
  const hprof *h = of(g);
  hprof_object o;
  uint32_t edges = g->edge_begin[node + 1] - g->edge_begin[node], n = 0;
  if (!object_of(g, node, &o) || o.tag == HPROF_CLASS) return 0;
  if (o.tag != HPROF_INSTANCE) return all_elements(edges, out, room);
  const hprof_class *c = class_of(h, o.class_id);
  if (!c || c->field_bytes != o.body_bytes) return 0;
  const uint32_t *refs = h->refs.items;
  for (uint32_t r = c->ref_begin; r < c->ref_end && n < room && n < edges; r++) {
    bool referent = r == c->ref_begin && c->strength != TM_STRENGTH_STRONG;
    uint64_t id = hprof_id(h, o.body + refs[r]);
    if (!referent && (!id || tm_addr_rank_get(&h->rank, id) == TM_ADDR_NONE)) continue;
    out[n++] = 1 + (r - c->ref_begin);
  }
  return n;
}

// ---- values ----

static void write_number(const hprof *h, const member *m, char *out, size_t size) {
  const uint8_t *p = m->value;
  switch (m->type) {
  case HPROF_BOOLEAN:
    snprintf(out, size, "%s", *p ? "true" : "false");
    break;
  case HPROF_BYTE:
    snprintf(out, size, "%d", (int8_t)*p);
    break;
  case HPROF_SHORT:
    snprintf(out, size, "%d", (int16_t)(p[0] << 8 | p[1]));
    break;
  case HPROF_CHAR:
    snprintf(out, size, "%u", (unsigned)(p[0] << 8 | p[1]));
    break;
  case HPROF_INT:
    snprintf(out, size, "%" PRId32, (int32_t)hprof_be32(p));
    break;
  case HPROF_LONG:
    snprintf(out, size, "%" PRId64, (int64_t)hprof_be64(p));
    break;
  case HPROF_FLOAT: {
    uint32_t bits = (uint32_t)hprof_be32(p);
    float value;
    memcpy(&value, &bits, sizeof value);
    snprintf(out, size, "%g", (double)value);
    break;
  }
  case HPROF_DOUBLE: {
    uint64_t bits = hprof_be64(p);
    double value;
    memcpy(&value, &bits, sizeof value);
    snprintf(out, size, "%.17g", value);
    break;
  }
  default:
    snprintf(out, size, "0x%" PRIx64, hprof_id(h, p));
  }
}

typedef struct field_rows {
  tm_ctx *ctx;
  const tm_graph *graph;
  tm_table *table;
  tm_status status;
} field_rows;

static const char *const type_words[HPROF_TYPES] = {
    [HPROF_OBJECT] = "object", [HPROF_BOOLEAN] = "boolean", [HPROF_CHAR] = "char",
    [HPROF_FLOAT] = "float",   [HPROF_DOUBLE] = "double",   [HPROF_BYTE] = "byte",
    [HPROF_SHORT] = "short",   [HPROF_INT] = "int",         [HPROF_LONG] = "long",
};

static tm_status add_row(field_rows *r, const hprof *h, const member *m) {
  size_t row;
  char name[256], value[128];
  uint64_t id = m->type == HPROF_OBJECT ? hprof_id(h, m->value) : 0;
  uint32_t node = id ? tm_addr_rank_get(&h->rank, id) : TM_ADDR_NONE;
  const char *type = type_words[m->type];
  if (node != TM_ADDR_NONE) type = tm_graph_type_name(r->graph, node);
  write_member_name(m, name, sizeof name);
  if (m->type == HPROF_OBJECT && !id)
    snprintf(value, sizeof value, "null");
  else
    write_number(h, m, value, sizeof value);
  TM_TRY(tm_table_add_row(r->ctx, r->table, &row));
  TM_TRY(tm_table_set_text(r->ctx, r->table, row, 0, name, strlen(name)));
  TM_TRY(tm_table_set_text(r->ctx, r->table, row, 1, type, strlen(type)));
  TM_TRY(tm_table_set_text(r->ctx, r->table, row, 2, value, strlen(value)));
  tm_table_set_int(r->table, row, 3, node == TM_ADDR_NONE ? -1 : (int64_t)node);
  return TM_OK;
}

enum { ROWS_MAX = 100000 }; // of an array that is shown

static bool on_row(void *ud, const hprof *h, const member *m) {
  field_rows *r = ud;
  if (r->status == TM_OK) r->status = add_row(r, h, m);
  return r->status == TM_OK && tm_table_row_count(r->table) < ROWS_MAX;
}

static tm_status fields(tm_ctx *ctx, const tm_graph *g, uint32_t node, tm_table *out) {
  hprof_object o;
  if (!object_of(g, node, &o))
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no object %u in this dump", node);
  TM_TRY(tm_table_add_column(ctx, out, "name", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "type", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "value", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "node", TM_CELL_INT, TM_UNIT_NONE));
  field_rows rows = {.ctx = ctx, .graph = g, .table = out};
  each_member(of(g), &o, on_row, &rows);
  return rows.status;
}

// ---- previews ----

static bool field(const tm_graph *g, uint32_t node, const char *name, tm_field *out);

typedef struct string_parts {
  uint64_t value;
  int64_t coder, offset, count;
} string_parts;

static bool named(const member *m, const char *name) {
  return m->name_size == strlen(name) && memcmp(m->name, name, m->name_size) == 0;
}

static bool on_string_part(void *ud, const hprof *h, const member *m) {
  string_parts *s = ud;
  if (named(m, "value") && m->type == HPROF_OBJECT) s->value = hprof_id(h, m->value);
  if (named(m, "coder") && m->type == HPROF_BYTE) s->coder = *m->value;
  if (named(m, "offset") && m->type == HPROF_INT) s->offset = (int32_t)hprof_be32(m->value);
  if (named(m, "count") && m->type == HPROF_INT) s->count = (int32_t)hprof_be32(m->value);
  return true;
}

static size_t put_utf8(char *out, uint32_t c) {
  if (c < 0x80) return out[0] = (char)c, 1;
  if (c < 0x800) {
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
  }
  if (c >= 0xd800 && c < 0xe000) c = 0xfffd; // half of a pair
  if (c < 0x10000) {
    out[0] = (char)(0xe0 | c >> 12);
    out[1] = (char)(0x80 | (c >> 6 & 0x3f));
    out[2] = (char)(0x80 | (c & 0x3f));
    return 3;
  }
  out[0] = (char)(0xf0 | c >> 18);
  out[1] = (char)(0x80 | (c >> 12 & 0x3f));
  out[2] = (char)(0x80 | (c >> 6 & 0x3f));
  out[3] = (char)(0x80 | (c & 0x3f));
  return 4;
}

// The i-th unit of a string's array.
static uint32_t unit_at(const hprof_object *array, bool wide, size_t i) {
  const uint8_t *p = array->body + i * (wide ? 2 : 1);
  if (!wide) return *p;
  return array->element == HPROF_CHAR ? (uint32_t)(p[0] << 8 | p[1]) : (uint32_t)(p[1] << 8 | p[0]);
}

// A String's letters: Latin-1 or UTF-16 of the VM's own byte order since JDK 9 (little endian on
// every machine of today), chars of the file's order before.
static void write_letters(const hprof_object *array, const string_parts *s, char *out,
                          size_t size) {
  bool wide = array->element == HPROF_CHAR || s->coder == 1;
  size_t n = 0, units = (size_t)(array->body_bytes / (wide ? 2 : 1)), from = 0, zeros = 0;
  if (s->count >= 0 && s->offset >= 0 && (uint64_t)(s->offset + s->count) <= units) {
    from = (size_t)s->offset;
    units = from + (size_t)s->count;
  }
  for (size_t i = from; i < units && n + 4 < size; i++) {
    uint32_t c = unit_at(array, wide, i);
    uint32_t low = c >> 10 == 0x36 && i + 1 < units ? unit_at(array, wide, i + 1) : 0;
    if (low >> 10 == 0x37) c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff)), i++;
    zeros += c == 0;
    n += put_utf8(out + n, c ? c : 0x2400); // a zero would end the text: its picture
  }
  if (n == 3 * zeros) n = 0; // nothing else: it was blanked
  out[n] = '\0';
}

void hprof_thread_name(const tm_graph *g, uint32_t node, char *out, size_t size) {
  hprof_object o, array;
  string_parts s = {.count = -1};
  tm_field name;
  out[0] = '\0';
  if (!field(g, node, "name", &name) || name.node == TM_NODE_NONE) return;
  if (!object_of(g, name.node, &o)) return;
  if (o.tag == HPROF_INSTANCE) each_instance_field(of(g), &o, on_string_part, &s);
  uint32_t at = o.tag == HPROF_INSTANCE && s.value ? find_node(g, s.value) : name.node;
  if (at != TM_NODE_NONE && object_of(g, at, &array) && array.tag == HPROF_PRIMITIVE_ARRAY)
    write_letters(&array, &s, out, size); // of chars before JDK 9
}

static bool on_boxed_value(void *ud, const hprof *h, const member *m) {
  char *out = ud;
  if (!named(m, "value") || m->type == HPROF_OBJECT) return true;
  write_number(h, m, out, 64);
  return false;
}

static tm_status preview(tm_ctx *ctx, const tm_graph *g, uint32_t node, char *out, size_t size) {
  hprof_object o, array;
  const hprof *h = of(g);
  out[0] = '\0';
  if (!object_of(g, node, &o))
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no object %u in this dump", node);
  const char *type = tm_graph_type_name(g, node);
  if (o.tag == HPROF_CLASS) {
    const hprof_class *c = class_of(h, o.id);
    if (c) snprintf(out, size, "class %s", tm_graph_text(g, g->types.items[c->type].name));
  } else if (o.tag == HPROF_INSTANCE && strcmp(type, "java.lang.String") == 0) {
    string_parts s = {.count = -1};
    each_instance_field(h, &o, on_string_part, &s);
    uint32_t at = s.value ? find_node(g, s.value) : TM_NODE_NONE;
    if (at != TM_NODE_NONE && object_of(g, at, &array) && array.tag == HPROF_PRIMITIVE_ARRAY)
      write_letters(&array, &s, out, size);
  } else if (o.tag == HPROF_INSTANCE && strncmp(type, "java.lang.", 10) == 0 && size >= 64) {
    each_instance_field(h, &o, on_boxed_value, out);
  } else if (o.tag != HPROF_INSTANCE) {
    snprintf(out, size, "%u elements", o.count);
  }
  return TM_OK;
}

// ---- for programs ----

enum { KIND_STRING = 0x100 }; // of contents, above the types of elements

static bool array_contents(const hprof_object *o, uint32_t node, tm_contents *out) {
  if (o->tag != HPROF_PRIMITIVE_ARRAY) return false;
  *out = (tm_contents){o->body, o->body_bytes, node, o->element};
  return true;
}

// A String's are its array's; of one that uses a part only (before JDK 7), that part.
static bool contents(const tm_graph *g, uint32_t node, tm_contents *out) {
  hprof_object o, array;
  if (!object_of(g, node, &o)) return false;
  if (o.tag != HPROF_INSTANCE) return array_contents(&o, node, out);
  if (strcmp(tm_graph_type_name(g, node), "java.lang.String") != 0) return false;
  string_parts s = {.count = -1};
  each_instance_field(of(g), &o, on_string_part, &s);
  uint32_t at = s.value ? find_node(g, s.value) : TM_NODE_NONE;
  if (at == TM_NODE_NONE || !object_of(g, at, &array) || !array_contents(&array, at, out))
    return false;
  uint64_t from = 2 * (uint64_t)s.offset, size = 2 * (uint64_t)s.count;
  if (s.count >= 0 && s.offset >= 0 && array.element == HPROF_CHAR
      && from + size <= out->size_bytes)
    *out = (tm_contents){out->data + from, size, node, 0};
  out->kind = KIND_STRING + (uint32_t)s.coder;
  return true;
}

typedef struct field_search {
  const char *name;
  tm_field *out;
  bool found;
} field_search;

static bool on_wanted_field(void *ud, const hprof *h, const member *m) {
  field_search *s = ud;
  if (!named(m, s->name)) return true;
  uint32_t bytes = hprof_value_bytes(h, m->type);
  uint64_t bits = 0;
  for (uint32_t i = 0; i < bytes; i++) bits = bits << 8 | m->value[i];
  uint32_t unused = bytes && bytes < 8 ? 64 - 8 * bytes : 0;
  *s->out = (tm_field){(int64_t)(bits << unused) >> unused, TM_NODE_NONE};
  if (m->type == HPROF_OBJECT) s->out->node = tm_addr_rank_get(&h->rank, bits);
  s->found = true;
  return false;
}

static bool field(const tm_graph *g, uint32_t node, const char *name, tm_field *out) {
  hprof_object o;
  field_search s = {name, out, false};
  if (!object_of(g, node, &o)) return false;
  if (o.tag == HPROF_OBJECT_ARRAY || o.tag == HPROF_PRIMITIVE_ARRAY) {
    *out = (tm_field){o.count, TM_NODE_NONE};
    return strcmp(name, "[]") == 0;
  }
  if (o.tag == HPROF_INSTANCE) each_instance_field(of(g), &o, on_wanted_field, &s);
  return s.found;
}

static uint32_t heap(const tm_graph *g, uint32_t node) {
  uint32_t index = g->flags ? g->flags[node] >> HPROF_HEAP_SHIFT : 0;
  return index && index <= of(g)->heap_count ? of(g)->heap_names[index - 1] : 0;
}

static void free_kept(tm_graph *g) {
  hprof_free_kept(of(g));
}

const tm_graph_detail hprof_detail = {.id = node_id,
                                      .find = find_node,
                                      .edge_name = edge_name,
                                      .places = places,
                                      .fields = fields,
                                      .preview = preview,
                                      .contents = contents,
                                      .field = field,
                                      .stack = hprof_stack,
                                      .allocations = hprof_allocations,
                                      .problems = hprof_problems,
                                      .heap = heap,
                                      .columns = hprof_columns,
                                      .free = free_kept};
