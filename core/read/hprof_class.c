// Classes of a JVM heap dump: their names as people write them, where the references of an instance
// stand in its field bytes, and how large the VM makes one.
//
// Source: OpenJDK heapDumper.cpp for the records; the layout rule (superclass first, references as
// wide as the VM's, each level padded to a reference, the whole to the object alignment) was held
// against jcmd GC.class_histogram.
#include "read/hprof_impl.h"

#include <stdlib.h>
#include <string.h>

const uint8_t hprof_type_bytes[HPROF_TYPES] = {
    [HPROF_BOOLEAN] = 1, [HPROF_CHAR] = 2,  [HPROF_FLOAT] = 4, [HPROF_DOUBLE] = 8,
    [HPROF_BYTE] = 1,    [HPROF_SHORT] = 2, [HPROF_INT] = 4,   [HPROF_LONG] = 8,
};

static const char *const element_words[HPROF_TYPES] = {
    [HPROF_BOOLEAN] = "boolean[]", [HPROF_CHAR] = "char[]", [HPROF_FLOAT] = "float[]",
    [HPROF_DOUBLE] = "double[]",   [HPROF_BYTE] = "byte[]", [HPROF_SHORT] = "short[]",
    [HPROF_INT] = "int[]",         [HPROF_LONG] = "long[]",
};

static uint64_t align_up(uint64_t n, uint64_t to) {
  return (n + to - 1) / to * to;
}

// ---- names ----

tm_status hprof_string(const hprof *h, uint64_t string_id, const char **out, size_t *out_size) {
  uint32_t index = tm_idmap_get(&h->strings, string_id);
  if (index == TM_IDMAP_NONE) {
    *out = "";
    *out_size = 0;
    return TM_OK;
  }
  hprof_text_at(h, index, out, out_size);
  return TM_OK;
}

void hprof_text_at(const hprof *h, uint32_t index, const char **out, size_t *out_size) {
  uint64_t at = h->string_at.items[index];
  *out_size = (size_t)hprof_be32(h->data + at - 4) - h->id_bytes;
  *out = (const char *)h->data + at + h->id_bytes;
}

size_t hprof_write_class_name(const char *raw, size_t size, char *out, size_t room) {
  size_t depth = 0, n = 0;
  while (depth < size && raw[depth] == '[') depth++;
  const char *base = raw + depth;
  size_t base_size = size - depth;
  if (depth && base_size == 1) {
    static const char letters[] = "ZCFDBSIJ";
    const char *letter = memchr(letters, *base, sizeof letters - 1);
    if (letter) {
      base = element_words[HPROF_BOOLEAN + (letter - letters)];
      base_size = strlen(base) - 2;
    }
  } else if (depth && base_size > 2 && *base == 'L') {
    base++;
    base_size -= 2;
  }
  for (; n < base_size && n < room; n++) out[n] = base[n] == '/' ? '.' : base[n];
  for (; depth && n + 2 <= room; depth--, n += 2) memcpy(out + n, "[]", 2);
  return n;
}

enum { NAME_MAX_BYTES = 2000 };

static tm_status intern_name(hprof *h, uint64_t class_id, uint32_t *out) {
  char name[NAME_MAX_BYTES + 8];
  size_t size = 0;
  uint32_t index = tm_idmap_get(&h->class_names, class_id);
  if (index != TM_IDMAP_NONE) {
    const char *raw;
    size_t raw_size;
    hprof_text_at(h, index, &raw, &raw_size);
    size = hprof_write_class_name(raw, raw_size, name, NAME_MAX_BYTES);
  }
  if (!size) {
    static const char hex[] = "0123456789abcdef";
    memcpy(name, "unknown-class@", size = 14);
    for (int shift = 60; shift >= 0; shift -= 4) name[size++] = hex[class_id >> shift & 15];
  }
  return tm_strtab_intern(h->ctx, &h->graph->strings, name, size, out);
}

// ---- classes ----

bool hprof_parse_class(const hprof *h, const uint8_t *p, const uint8_t *end, hprof_class_body *out,
                       const uint8_t **next) {
  size_t id = h->id_bytes, head = id + 4 + 6 * id + 4 + 2;
  if ((size_t)(end - p) < head) return false;
  *out = (hprof_class_body){.id = hprof_id(h, p),
                            .super_id = hprof_id(h, p + id + 4),
                            .loader_id = hprof_id(h, p + 2 * id + 4),
                            .signers_id = hprof_id(h, p + 3 * id + 4),
                            .domain_id = hprof_id(h, p + 4 * id + 4)};
  p += head;
  out->constants = p;
  out->constant_count = (uint32_t)p[-2] << 8 | p[-1];
  for (uint32_t i = 0; i < out->constant_count; i++) {
    if (end - p < 3) return false;
    uint32_t bytes = hprof_value_bytes(h, p[2]);
    if (!bytes || (size_t)(end - p) < 3 + bytes) return false;
    p += 3 + bytes;
  }
  if (end - p < 2) return false;
  out->static_count = (uint32_t)p[0] << 8 | p[1];
  out->statics = p += 2;
  for (uint32_t i = 0; i < out->static_count; i++) {
    if ((size_t)(end - p) < id + 1) return false;
    uint32_t bytes = hprof_value_bytes(h, p[id]);
    if (!bytes || (size_t)(end - p) < id + 1 + bytes) return false;
    p += id + 1 + bytes;
  }
  if (end - p < 2) return false;
  out->field_count = (uint32_t)p[0] << 8 | p[1];
  out->fields = p += 2;
  if ((size_t)(end - p) / (id + 1) < out->field_count) return false;
  for (uint32_t i = 0; i < out->field_count; i++)
    if (!hprof_value_bytes(h, p[i * (id + 1) + id])) return false;
  *next = p + out->field_count * (id + 1);
  return true;
}

static uint32_t static_bytes(const hprof *h, const hprof_class_body *body) {
  uint32_t sum = 0;
  const uint8_t *p = body->statics;
  for (uint32_t i = 0; i < body->static_count; i++) {
    sum += hprof_value_bytes(h, p[h->id_bytes]);
    p += h->id_bytes + 1 + hprof_value_bytes(h, p[h->id_bytes]);
  }
  return sum;
}

static tm_status new_class(hprof *h, hprof_class *c) {
  tm_type type = {.super = TM_NODE_NONE, .loader = TM_NODE_NONE, .node = TM_NODE_NONE};
  TM_TRY(intern_name(h, c->id, &type.name));
  c->type = (uint32_t)h->graph->types.count;
  c->super = UINT32_MAX;
  TM_TRY(tm_vec_push(h->ctx, &h->graph->types, type));
  TM_TRY(tm_idmap_put(h->ctx, &h->class_index, c->id, (uint32_t)h->classes.count));
  return tm_vec_push(h->ctx, &h->classes, *c);
}

tm_status hprof_add_class(hprof *h, const hprof_class_body *body, uint64_t at) {
  if (tm_idmap_get(&h->class_index, body->id) != TM_IDMAP_NONE) {
    hprof_note(h, HPROF_DUPLICATE, at);
    return TM_OK;
  }
  hprof_class c = {.id = body->id,
                   .super_id = body->super_id,
                   .loader_id = body->loader_id,
                   .offset = at,
                   .field_begin = (uint32_t)h->fields.count,
                   .static_bytes = static_bytes(h, body)};
  for (uint32_t i = 0; i < body->field_count; i++) {
    const uint8_t *p = body->fields + i * (h->id_bytes + 1);
    TM_TRY(tm_vec_push(h->ctx, &h->fields, (hprof_field){hprof_id(h, p), p[h->id_bytes]}));
  }
  c.field_end = (uint32_t)h->fields.count;
  return new_class(h, &c);
}

uint32_t hprof_class_of(hprof *h, uint64_t class_id) {
  uint32_t index = tm_idmap_get(&h->class_index, class_id);
  if (index != TM_IDMAP_NONE) return index;
  hprof_note(h, HPROF_MISSING_CLASS, TM_NO_OFFSET);
  hprof_class c = {.id = class_id, .laid_out = true, .instance_bytes = 0};
  if (new_class(h, &c) != TM_OK) return UINT32_MAX;
  return (uint32_t)h->classes.count - 1;
}

tm_status hprof_primitive_type(hprof *h, uint8_t element, uint32_t *out_type) {
  if (h->array_class[element] == UINT32_MAX) {
    tm_type type = {.super = TM_NODE_NONE, .loader = TM_NODE_NONE, .node = TM_NODE_NONE};
    const char *word = element_words[element];
    TM_TRY(tm_strtab_intern(h->ctx, &h->graph->strings, word, strlen(word), &type.name));
    for (size_t i = 0; i < h->graph->types.count; i++) // the dump may have [B as a class
      if (h->graph->types.items[i].name == type.name) h->array_class[element] = (uint32_t)i;
    if (h->array_class[element] == UINT32_MAX) {
      h->array_class[element] = (uint32_t)h->graph->types.count;
      TM_TRY(tm_vec_push(h->ctx, &h->graph->types, type));
    }
  }
  *out_type = h->array_class[element];
  return TM_OK;
}

// ---- layouts ----

enum { DEPTH_MAX = 1000, REFS_MAX = 1 << 26 };

static const struct {
  const char *name;
  tm_strength strength;
} references[] = {{"java.lang.ref.SoftReference", TM_STRENGTH_SOFT},
                  {"java.lang.ref.WeakReference", TM_STRENGTH_WEAK},
                  {"java.lang.ref.FinalReference", TM_STRENGTH_FINAL},
                  {"java.lang.ref.PhantomReference", TM_STRENGTH_PHANTOM}};

static tm_strength strength_of(const hprof *h, const hprof_class *c) {
  const char *name = tm_graph_text(h->graph, h->graph->types.items[c->type].name);
  for (size_t i = 0; i < TM_COUNT(references); i++)
    if (strcmp(name, references[i].name) == 0) return references[i].strength;
  return c->super == UINT32_MAX ? TM_STRENGTH_STRONG : h->classes.items[c->super].strength;
}

static bool is_referent(const hprof *h, const hprof_class *c, const hprof_field *f) {
  const char *text;
  size_t size;
  const char *name = tm_graph_text(h->graph, h->graph->types.items[c->type].name);
  if (strcmp(name, "java.lang.ref.Reference") != 0) return false;
  return hprof_string(h, f->name_id, &text, &size) == TM_OK && size == 8
         && memcmp(text, "referent", 8) == 0;
}

// References of c in the order of the field bytes: own fields, then those of the class above, ...
static tm_status list_refs(hprof *h, hprof_class *c) {
  uint32_t offset = 0, referent = UINT32_MAX;
  c->ref_begin = (uint32_t)h->refs.count;
  for (uint32_t up = (uint32_t)(c - h->classes.items); up != UINT32_MAX;
       up = h->classes.items[up].super) {
    const hprof_class *owner = &h->classes.items[up];
    for (uint32_t f = owner->field_begin; f < owner->field_end; f++) {
      const hprof_field *field = &h->fields.items[f];
      if (field->type == HPROF_OBJECT) {
        if (c->strength != TM_STRENGTH_STRONG && is_referent(h, owner, field))
          referent = (uint32_t)h->refs.count;
        TM_TRY(tm_vec_push(h->ctx, &h->refs, offset));
      }
      offset += hprof_value_bytes(h, field->type);
    }
  }
  c->ref_end = (uint32_t)h->refs.count;
  c->field_bytes = offset;
  if (referent == UINT32_MAX) {
    c->strength = TM_STRENGTH_STRONG;
    return TM_OK;
  }
  uint32_t *refs = h->refs.items, first = refs[referent];
  memmove(refs + c->ref_begin + 1, refs + c->ref_begin, (referent - c->ref_begin) * sizeof *refs);
  refs[c->ref_begin] = first;
  return TM_OK;
}

static void size_instance(hprof *h, hprof_class *c) {
  uint64_t own = 0;
  for (uint32_t f = c->field_begin; f < c->field_end; f++) {
    uint8_t type = h->fields.items[f].type;
    own += type == HPROF_OBJECT ? h->oop_bytes : hprof_type_bytes[type];
  }
  uint64_t base =
      c->super == UINT32_MAX ? h->header_bytes : h->classes.items[c->super].instance_bytes;
  c->instance_bytes = (uint32_t)align_up(base + own, h->oop_bytes);
}

// A class is laid out after the one above it; chains are followed without recursion, and a class
// that is its own ancestor loses that ancestor.
static tm_status lay_out(hprof *h, uint32_t index, uint32_t *chain) {
  size_t depth = 0;
  for (uint32_t at = index; at != UINT32_MAX && !h->classes.items[at].laid_out;) {
    hprof_class *c = &h->classes.items[at];
    if (c->laying_out) { // a circle: cut it below this one
      h->classes.items[chain[depth - 1]].super = UINT32_MAX;
      hprof_note(h, HPROF_CUT_CHAIN, c->offset);
      break;
    }
    c->laying_out = true;
    chain[depth++] = at;
    uint32_t super = c->super_id ? tm_idmap_get(&h->class_index, c->super_id) : TM_IDMAP_NONE;
    c->super = super == TM_IDMAP_NONE ? UINT32_MAX : super;
    at = c->super;
  }
  while (depth) {
    hprof_class *c = &h->classes.items[chain[--depth]];
    c->depth = c->super == UINT32_MAX ? 0 : h->classes.items[c->super].depth + 1;
    if (c->depth > DEPTH_MAX || h->refs.count > REFS_MAX) { // no VM loads such a class
      c->super = UINT32_MAX;
      c->depth = 0;
      hprof_note(h, HPROF_CUT_CHAIN, c->offset);
    }
    c->strength = (uint8_t)strength_of(h, c);
    TM_TRY(list_refs(h, c));
    size_instance(h, c);
    c->laid_out = true;
    tm_type *type = &h->graph->types.items[c->type];
    type->strength = c->strength;
    if (c->super != UINT32_MAX) type->super = h->classes.items[c->super].type;
  }
  return TM_OK;
}

tm_status hprof_lay_out_classes(hprof *h) {
  size_t n = h->classes.count;
  uint32_t *chain = tm_alloc(h->ctx, (n + 1) * sizeof *chain);
  if (!chain) return TM_E_NOMEM;
  tm_status status = TM_OK;
  for (uint32_t i = 0; i < n && status == TM_OK; i++) status = lay_out(h, i, chain);
  tm_free(h->ctx, chain, (n + 1) * sizeof *chain);
  // only now: a level's size without the final padding was needed by the levels below
  if (status == TM_OK) hprof_size_instances(h);
  return status;
}
