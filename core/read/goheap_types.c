// What an object of a Go heap dump is called. The dump gives objects no types, so in this order:
//   the function that allocated it, when the heap profile sampled it     "main.leak 512 B"
//   the runtime's type in front of the object (Go >= 1.22, 512 B to 32 KiB) "main.conn, 640 B"
//   its size class and where its pointers are                           "48 B p-pp--"
// Words with a pointer are p, others -; what repeats stands in brackets: "4096 B (pp-)*".
#include "base/hash.h"
#include "read/goheap_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
  NAME_BYTES = 512,
  LITERAL_WORDS = 16, // objects up to so many words are spelled out
  LOOK_WORDS = 64,
  LONGEST_PERIOD = 34, // words of a bucket of map[string]string, before Go 1.24
  SMALLEST_LARGE = 32 << 10
};

// ---- shapes ----

// The pointer slots among the first 64 words, as bits, from word `first` on.
static uint64_t head_bits(const goheap *h, const goheap_object *o, uint32_t first) {
  uint64_t bits = 0, offset;
  goheap_slots slots = goheap_slots_of(h, o->fields, o->contents.size);
  while (goheap_next_slot(&slots, &offset)) {
    uint64_t word = offset / h->pointer_bytes;
    if (word >= first + LOOK_WORDS) break;
    if (word >= first) bits |= UINT64_C(1) << (word - first);
  }
  return bits;
}

// Whether the pointers are those of an array of elements of so many words, from its start to its
// last pointer.
static bool repeats(const goheap *h, const goheap_object *o, uint64_t bits, uint32_t period) {
  uint64_t offset, expected = 0;
  goheap_slots slots = goheap_slots_of(h, o->fields, o->contents.size);
  while (goheap_next_slot(&slots, &offset)) {
    while (!(bits >> expected % period & 1)) expected++;
    if (offset != expected * h->pointer_bytes) return false;
    expected++;
  }
  return true;
}

static size_t put_words(char *out, uint64_t bits, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) out[i] = bits >> i & 1 ? 'p' : '-';
  out[n] = '\0';
  return n;
}

static void write_shape(const goheap *h, const goheap_object *o, char *out, size_t size) {
  uint64_t words = o->contents.size / h->pointer_bytes;
  uint64_t bits = head_bits(h, o, 0);
  char shape[LOOK_WORDS + 1];
  int used = snprintf(out, size, "%zu B ", o->contents.size);
  out += used;
  size -= (size_t)used;
  if (words <= LITERAL_WORDS) {
    put_words(shape, bits, (uint32_t)words);
    snprintf(out, size, "%s", shape);
    return;
  }
  for (uint32_t period = 1; period <= LONGEST_PERIOD && 2 * period <= words; period++) {
    uint64_t element = bits & ((UINT64_C(1) << period) - 1);
    if (!element || !repeats(h, o, element, period)) continue;
    // a single element that holds all pointers repeats nothing
    uint64_t offset, last = 0;
    goheap_slots slots = goheap_slots_of(h, o->fields, o->contents.size);
    while (goheap_next_slot(&slots, &offset)) last = offset / h->pointer_bytes;
    if (last < period) break;
    put_words(shape, element, period);
    snprintf(out, size, "(%s)*", shape);
    return;
  }
  put_words(shape, bits, words < LOOK_WORDS ? (uint32_t)words : LOOK_WORDS);
  char *end = strrchr(shape, 'p');
  if (words <= LOOK_WORDS) {
    if (end) end[1] = '\0';
    snprintf(out, size, "%s", shape);
  } else {
    shape[32] = '\0';
    snprintf(out, size, "%s.. %08" PRIx32, shape, (uint32_t)tm_hash_mix(bits));
  }
}

// ---- types ----

tm_status goheap_type_named(goheap *h, uint32_t name, uint32_t *out_type) {
  *out_type = tm_idmap_get(&h->type_of_name, name);
  if (*out_type != TM_IDMAP_NONE) return TM_OK;
  *out_type = (uint32_t)h->graph->types.count;
  tm_type type = {name, TM_NODE_NONE, TM_NODE_NONE, TM_NODE_NONE, TM_STRENGTH_STRONG};
  TM_TRY(tm_vec_push(h->ctx, &h->graph->types, type));
  return tm_idmap_put(h->ctx, &h->type_of_name, name, *out_type);
}

uint64_t goheap_header_of(const goheap *h, const goheap_object *o) {
  uint64_t size = o->contents.size, first;
  if (h->go_minor < 22 || size <= 8ull * h->pointer_bytes * h->pointer_bytes
      || size > SMALLEST_LARGE)
    return 0;
  goheap_slots slots = goheap_slots_of(h, o->fields, size);
  if (!goheap_next_slot(&slots, &first) || first < GOHEAP_HEADER_BYTES) return 0;
  return goheap_pointer(h, o->contents.data);
}

static tm_status name_object(goheap *h, const goheap_object *o, uint64_t header, uint32_t *out) {
  char name[NAME_BYTES];
  uint32_t type = header ? tm_idmap_get(&h->type_names, header) : TM_IDMAP_NONE;
  size_t size = o->contents.size;
  if (type != TM_IDMAP_NONE)
    snprintf(name, sizeof name, "%.400s, %zu B", tm_graph_text(h->graph, type), size);
  else if (header)
    snprintf(name, sizeof name, "type 0x%" PRIx64 ", %zu B", header, size);
  else if (!*o->fields)
    snprintf(name, sizeof name, "%zu B without pointers", size);
  else
    write_shape(h, o, name, sizeof name);
  return tm_strtab_intern(h->ctx, &h->graph->strings, name, strlen(name), out);
}

tm_status goheap_type_of(goheap *h, const goheap_object *o, const uint8_t *fields_end,
                         uint32_t *out_type) {
  uint32_t name;
  uint64_t header = goheap_header_of(h, o);
  uint64_t key = tm_hash_add(o->contents.size, header);
  if (!header) // one type has one shape
    key = tm_hash_add(key, tm_hash_bytes(o->fields, (size_t)(fields_end - o->fields)));
  *out_type = tm_idmap_get(&h->type_of_shape, key);
  if (*out_type != TM_IDMAP_NONE) return TM_OK;
  TM_TRY(name_object(h, o, header, &name));
  TM_TRY(goheap_type_named(h, name, out_type));
  return tm_idmap_put(h->ctx, &h->type_of_shape, key, *out_type);
}

// ---- families ----

// Whether words are those of an array: a pattern that repeats or is long, or pointers alone, which
// the directories of maps are.
static bool is_array(const char *shape) {
  return shape[0] == '(' || strstr(shape, ".. ") || !shape[strspn(shape, "p")];
}

// A slice that grows goes from spelled out pointers to a type in front and, above 32 KiB, to a
// pattern: all of these are "array". Sites and types lose the size behind them.
bool goheap_family(const tm_graph *g, uint32_t type, char *out, size_t size) {
  const char *name = tm_graph_text(g, g->types.items[type].name);
  size_t n = strlen(name), digits = strspn(name, "0123456789");
  snprintf(out, size, "%s", name);
  if (digits && strncmp(name + digits, " B ", 3) == 0) {
    if (!is_array(name + digits + 3)) return false;
    snprintf(out, size, "array");
    return true;
  }
  if (n < 4 || n >= size || strcmp(name + n - 2, " B") != 0) return false;
  size_t end = n - 2;
  while (end > 0 && name[end - 1] >= '0' && name[end - 1] <= '9') end--;
  if (end == n - 2 || end < 2 || name[end - 1] != ' ') return false;
  out[name[end - 2] == ',' ? end - 2 : end - 1] = '\0';
  if (strncmp(name, "type 0x", 7) != 0) return false;
  snprintf(out, size, "array");
  return true;
}

// ---- allocation sites ----

static bool of_runtime(const goheap_bytes *function) {
  static const char *const prefixes[] = {"runtime.", "internal/", "reflect.", "runtime/"};
  for (size_t i = 0; i < TM_COUNT(prefixes); i++) {
    size_t n = strlen(prefixes[i]);
    if (function->size > n && memcmp(function->data, prefixes[i], n) == 0) return true;
  }
  return false;
}

// The site of a bucket is the first function of its stack that is not the runtime's.
tm_status goheap_add_bucket(goheap *h, uint64_t at) {
  wire w = wire_of(h->data + at + 1, h->size - at - 1);
  uint64_t bucket, ignored, n, size;
  goheap_bytes site = {NULL, 0};
  if (!wire_varint(&w, &bucket) || !wire_varint(&w, &ignored) || !wire_varint(&w, &n)) return TM_OK;
  for (uint64_t i = 0; i < n; i++) {
    goheap_bytes function;
    if (!wire_varint(&w, &size)) return TM_OK;
    function = (goheap_bytes){w.at, (size_t)size};
    w.at += size;
    if (!site.data) site = function;
    if (!of_runtime(&function)) {
      site = function;
      break;
    }
    if (!wire_varint(&w, &size)) return TM_OK;
    w.at += size; // of the file's name
    if (!wire_varint(&w, &ignored)) return TM_OK;
  }
  if (!site.size || site.size > UINT16_MAX) return TM_OK;
  uint32_t id;
  TM_TRY(tm_strtab_intern(h->ctx, &h->graph->strings, site.data, site.size, &id));
  return tm_idmap_put(h->ctx, &h->sites, bucket, id);
}

tm_status goheap_add_sample(goheap *h, uint64_t address, uint64_t bucket) {
  char name[NAME_BYTES];
  uint32_t id, site = tm_idmap_get(&h->sites, bucket), node = goheap_find(h, address);
  goheap_object o;
  if (site == TM_IDMAP_NONE || node == TM_NODE_NONE || !goheap_object_of(h, node, &o)) return TM_OK;
  snprintf(name, sizeof name, "%.400s %zu B", tm_graph_text(h->graph, site), o.contents.size);
  TM_TRY(tm_strtab_intern(h->ctx, &h->graph->strings, name, strlen(name), &id));
  return tm_vec_push(h->ctx, &h->names, (goheap_mark){node, id});
}
