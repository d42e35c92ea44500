// How the VM that wrote a dump lays objects out, as far as the records do not say: by how far apart
// the addresses of neighbours are. Two objects never overlap, so a distance bounds the size of the
// first one; where it is the same for many, it is their size. So packed fields (JDK 15), fields
// that the VM adds to its own classes, padding of @Contended ones, narrow class pointers beside
// wide references and compact headers (JDK 24) are all seen without knowing the VM.
//
// Ids of a dump that no VM wrote need not be addresses. So distances count only where they agree
// with the fields of many classes of different sizes, which chance or even spacing would not.
//
// One look at each pair of neighbours in the file, or by address where the file's order says
// nothing; classes are found by a cache in front of a map.
//
// Source: OpenJDK fieldLayoutBuilder.cpp, arrayOop.hpp (where elements begin), javaClasses.hpp
// (fields that the VM adds).
#include "read/hprof_impl.h"

#include <stdlib.h>
#include <string.h>

enum {
  INSTANCE_MAX = 1 << 16, // no class has larger ones
  ADDED_MAX = 512,        // most that a VM adds to the fields of a class
  PADDING_MIN = 64,       // more than that is padding and not fields
  TRUSTED_CLASSES = 16,   // whose distances are as their fields say
  TRUSTED_SIZES = 4,      // different ones among them
  TRUSTED_ARRAYS = 8,     // lengths that speak for one place of elements
  SURE_COUNT = 4,         // so many equal distances are no accident
  ALIGN_MAX = HPROF_ALIGN_MAX
};

static const uint8_t array_bases[HPROF_ARRAY_BASES] = {12, 16, 20, 24};

static uint64_t align_up(uint64_t n, uint64_t to) {
  return (n + to - 1) / to * to;
}

// How wide references are, by whether objects lie where wide ones would: only arrays of many tell.
static void weigh_references(hprof *h, const hprof_object *array, uint64_t distance) {
  if (array->count < 8) return;
  if (distance < 16 + 8ull * array->count)
    h->narrow_arrays++;
  else
    h->wide_arrays++;
}

// Votes for the last place where the elements of this array may begin.
static void weigh_array_base(hprof *h, const hprof_object *array, uint64_t distance) {
  uint64_t bytes = (uint64_t)array->count * hprof_type_bytes[array->element];
  if (hprof_type_bytes[array->element] > 4) return; // they are aligned to 8 anyway
  for (int i = HPROF_ARRAY_BASES; i-- > 0;)
    if (align_up(array_bases[i] + bytes, 8) == distance) {
      h->base_votes[i]++;
      h->base_lengths[i] |= UINT64_C(1) << (bytes / 8 % 64);
      return;
    }
}

static tm_status measure_of(hprof *h, uint64_t class_id, hprof_measure **out) {
  size_t slot = (size_t)(class_id >> 3) % HPROF_MEASURE_SLOTS;
  uint32_t index = h->measure_cache[slot].index;
  if (TM_UNLIKELY(!index || h->measure_cache[slot].id != class_id)) {
    index = tm_idmap_get(&h->measure_index, class_id);
    if (index == TM_IDMAP_NONE) {
      index = (uint32_t)h->measures.count;
      TM_TRY(tm_vec_push(h->ctx, &h->measures, (hprof_measure){.least_bytes = UINT32_MAX}));
      TM_TRY(tm_idmap_put(h->ctx, &h->measure_index, class_id, index));
    }
    h->measure_cache[slot].id = class_id;
    h->measure_cache[slot].index = ++index;
  }
  *out = &h->measures.items[index - 1];
  return TM_OK;
}

tm_status hprof_weigh(hprof *h, const hprof_object *object, const hprof_object *next) {
  h->address_bits |= next->id;
  if (next->id <= object->id) return TM_OK;
  uint64_t distance = next->id - object->id;
  if (object->tag == HPROF_OBJECT_ARRAY) {
    weigh_references(h, object, distance);
  } else if (object->tag == HPROF_PRIMITIVE_ARRAY) {
    weigh_array_base(h, object, distance);
  } else if (object->tag == HPROF_INSTANCE && distance < INSTANCE_MAX) {
    hprof_measure *m;
    TM_TRY(measure_of(h, object->class_id, &m));
    if (distance < m->least_bytes) *m = (hprof_measure){object->id, (uint32_t)distance, 0};
    m->count += distance == m->least_bytes;
  }
  return TM_OK;
}

// The lowest place that more than a few arrays speak for.
static uint32_t choose_array_base(const hprof *h) {
  uint64_t sum = 0;
  for (int i = 0; i < HPROF_ARRAY_BASES; i++) sum += h->base_votes[i];
  for (int i = 0; i < HPROF_ARRAY_BASES; i++)
    if (__builtin_popcountll(h->base_lengths[i]) >= TRUSTED_ARRAYS && h->base_votes[i] >= sum / 32)
      return array_bases[i];
  return 0;
}

// ---- neighbours by address ----

// ZGC and others write objects in the order in which they are reached. Then the addresses around
// one object are sorted, and these objects weighed by the next ones. Two more walks over the file.

enum { WINDOW_BYTES = 64 << 20, WINDOW_OBJECTS = 1 << 21 };

typedef TM_VEC(uint64_t) address_list;

static int by_address(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static tm_status list_window(hprof *h, address_list *near) {
  hprof_walk w = {.h = h};
  hprof_object o = {0};
  uint64_t from = 0;
  for (uint64_t seen = 0; hprof_next(&w, &o) && near->count < WINDOW_OBJECTS; seen++) {
    if (!from && o.tag != HPROF_CLASS) from = o.id < WINDOW_BYTES ? 1 : o.id - WINDOW_BYTES;
    if (from && o.id - from < 2ull * WINDOW_BYTES) TM_TRY(tm_vec_push(h->ctx, near, o.id));
    if (seen % WINDOW_OBJECTS == 0) TM_TRY(tm_ctx_tick(h->ctx, o.at));
  }
  if (near->count) qsort(near->items, near->count, sizeof *near->items, by_address);
  return TM_OK;
}

static void forget_weights(hprof *h) {
  h->narrow_arrays = h->wide_arrays = 0;
  memset(h->base_votes, 0, sizeof h->base_votes);
  memset(h->base_lengths, 0, sizeof h->base_lengths);
  memset(h->measure_cache, 0, sizeof h->measure_cache);
  h->measures.count = 0;
  tm_idmap_free(h->ctx, &h->measure_index);
  h->measure_index = (tm_idmap){0};
}

static tm_status weigh_window(hprof *h, const address_list *near) {
  hprof_walk w = {.h = h};
  hprof_object o = {0};
  for (uint64_t seen = 0; hprof_next(&w, &o); seen++) {
    const uint64_t *at =
        near->count ? bsearch(&o.id, near->items, near->count, sizeof o.id, by_address) : NULL;
    while (at && at + 1 < near->items + near->count && at[1] == o.id) at++;
    if (at && at + 1 < near->items + near->count)
      TM_TRY(hprof_weigh(h, &o, &(hprof_object){.id = at[1]}));
    if (seen % WINDOW_OBJECTS == 0) TM_TRY(tm_ctx_tick(h->ctx, o.at));
  }
  return TM_OK;
}

tm_status hprof_weigh_by_address(hprof *h) {
  if (h->id_bytes != 8 || choose_array_base(h)) return TM_OK;
  address_list near = {0};
  tm_status status = list_window(h, &near);
  if (status == TM_OK) {
    forget_weights(h);
    status = weigh_window(h, &near);
  }
  tm_vec_free(h->ctx, &near);
  return status;
}

void hprof_set_layout(hprof *h) {
  h->oop_bytes = h->id_bytes;
  if (h->id_bytes == 8 && h->narrow_arrays > h->wide_arrays) h->oop_bytes = 4;
  h->header_bytes = h->id_bytes + h->oop_bytes;
  h->align = 8;
  uint32_t base = h->id_bytes == 8 ? choose_array_base(h) : 0;
  if (base) h->header_bytes = base == 12 ? 8 : base == 16 ? 12 : 16;
  h->array_base = base ? base : (uint32_t)align_up(h->header_bytes + 4, h->oop_bytes);
  uint64_t align = h->address_bits & ~(h->address_bits - 1);
  if (h->measures.count >= TRUSTED_CLASSES && base && align > h->align && align <= ALIGN_MAX)
    h->align = (uint32_t)align;
}

uint64_t hprof_array_bytes(const hprof *h, uint8_t element, uint64_t count) {
  uint64_t bytes = element == HPROF_OBJECT ? h->oop_bytes : hprof_type_bytes[element];
  return align_up(align_up(h->array_base, bytes) + count * bytes, h->align);
}

// Bytes of the fields that instances of a class have, without any gap.
static uint64_t packed_bytes(const hprof *h, const hprof_class *c) {
  uint64_t references = c->ref_end - c->ref_begin;
  return h->header_bytes + c->field_bytes - references * (h->id_bytes - h->oop_bytes);
}

static const hprof_measure *measured(const hprof *h, const hprof_class *c) {
  uint32_t index = tm_idmap_get(&h->measure_index, c->id);
  return index == TM_IDMAP_NONE ? NULL : &h->measures.items[index];
}

// Whether distances are those of a VM's objects.
static bool are_trusted(const hprof *h) {
  uint32_t sure = 0, agree = 0;
  uint64_t sizes = 0;
  for (size_t i = 0; i < h->classes.count; i++) {
    const hprof_class *c = &h->classes.items[i];
    const hprof_measure *m = c->offset ? measured(h, c) : NULL;
    if (!m || m->count < SURE_COUNT) continue;
    sure++;
    if (m->least_bytes != align_up(packed_bytes(h, c), h->align)
        && m->least_bytes != align_up(c->instance_bytes, h->align))
      continue;
    agree++;
    sizes |= UINT64_C(1) << (m->least_bytes / 8 % 64);
  }
  return agree >= TRUSTED_CLASSES && agree >= sure / 2
         && __builtin_popcountll(sizes) >= TRUSTED_SIZES;
}

// Whether some class is smaller than if each level of it were padded: then all are packed.
static bool is_packing(const hprof *h) {
  for (size_t i = 0; i < h->classes.count; i++) {
    const hprof_class *c = &h->classes.items[i];
    const hprof_measure *m = measured(h, c);
    if (m && m->count >= SURE_COUNT && m->least_bytes >= align_up(packed_bytes(h, c), h->align)
        && m->least_bytes < align_up(c->instance_bytes, h->align))
      return true;
  }
  return false;
}

// Whether a class object, of which there is no instance record, lies behind the least distance's
// first object: then that is no size.
static bool is_over_class(const hprof *h, const hprof_measure *m) {
  for (size_t i = 0; i < h->classes.count; i++)
    if (h->classes.items[i].id - m->at - 1 < m->least_bytes) return true;
  return false;
}

// What neighbours say of a class that is taken to have that many bytes; 0 = nothing certain.
static uint64_t measured_bytes(const hprof *h, const hprof_class *c, uint64_t packed,
                               uint64_t bytes) {
  const hprof_measure *m = measured(h, c);
  if (!m || m->least_bytes % h->align || m->least_bytes < packed) return 0;
  if (m->least_bytes <= bytes) return m->least_bytes;
  if (m->count < SURE_COUNT || m->least_bytes - bytes > ADDED_MAX || is_over_class(h, m)) return 0;
  return m->least_bytes;
}

// Fields that HotSpot adds to classes of which a dump may have too few to measure: how many
// pointers, and bytes beside them.
static const struct {
  const char *name;
  uint8_t pointers, bytes;
} added_fields[] = {
    {"java.lang.ClassLoader", 1, 0}, {"java.lang.Thread", 1, 7}, {"java.lang.InternalError", 0, 1}};

// What the VM adds to a class that nothing was measured of: as much as to the class above it.
static uint64_t added_bytes(const hprof *h, const hprof_class *c) {
  for (const hprof_class *s = c;; s = &h->classes.items[s->super]) {
    uint64_t grown = s->is_grown ? s->instance_bytes - packed_bytes(h, s) : 0;
    if (grown > PADDING_MIN || (s->is_measured && !grown)) return grown;
    const char *name = tm_graph_text(h->graph, h->graph->types.items[s->type].name);
    for (size_t i = 0; i < TM_COUNT(added_fields); i++)
      if (strcmp(name, added_fields[i].name) == 0)
        return added_fields[i].pointers * h->id_bytes + added_fields[i].bytes;
    if (grown || s->super == UINT32_MAX) return grown;
  }
}

void hprof_size_instances(hprof *h) {
  bool trusted = are_trusted(h), packing = trusted && is_packing(h);
  for (size_t i = 0; i < h->classes.count; i++) {
    hprof_class *c = &h->classes.items[i];
    if (!c->offset) continue; // nothing is known of it
    uint64_t packed = align_up(packed_bytes(h, c), h->align);
    uint64_t bytes = packing ? packed : align_up(c->instance_bytes, h->align);
    uint64_t seen = trusted ? measured_bytes(h, c, packed, bytes) : 0;
    c->is_measured = seen > 0;
    c->is_grown = seen > bytes;
    c->instance_bytes = (uint32_t)(seen ? seen : bytes);
  }
  for (size_t i = 0; i < h->classes.count; i++) {
    hprof_class *c = &h->classes.items[i];
    uint64_t added = trusted && c->offset && !c->is_measured ? added_bytes(h, c) : 0;
    if (added) c->instance_bytes = (uint32_t)align_up(packed_bytes(h, c) + added, h->align);
  }
}
