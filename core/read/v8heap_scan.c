// The great arrays of a heap snapshot: numbers and strings, at the speed of the memory they fill.
//
// Nodes and edges go straight into columns whose room the header told; a header that claims more
// than the file can hold is not believed. Strings stay in the file: an offset each, decoded when
// somebody asks.
#include "base/hash.h"
#include "read/v8heap_impl.h"

#include <inttypes.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

tm_status v8heap_cut(v8heap *h, const char *at, const char *what) {
  uint64_t offset = (uint64_t)(at - h->data);
  if (at >= h->data + h->size)
    return tm_fail(h->ctx, TM_E_FORMAT, offset, "the snapshot ends inside %s, at byte %" PRIu64,
                   what, offset);
  return tm_fail(h->ctx, TM_E_FORMAT, offset, "a number is expected in %s, at byte %" PRIu64, what,
                 offset);
}

// ---- numbers ----

// A number that has mostly one digit: types, which come first, and what comes last. That the next
// starts two bytes on is foretold by a branch, so that nothing waits for this one.
static TM_ALWAYS_INLINE const char *take_digit(const char *p, const char *end, uint64_t *out) {
  if (TM_LIKELY(end - p > 2 && (unsigned)(*p - '0') < 10 && (unsigned)(p[1] - '0') >= 10)) {
    *out = (uint64_t)(*p - '0');
    return p + 1;
  }
  return v8heap_number(p, end, out);
}

// Fills values[0 .. count) from p and passes what stands before the next record; NULL when a number
// is missing. A number that ends with the file may have lost digits and does not count. What
// follows a number is foretold by branches, not waited for.
static TM_ALWAYS_INLINE const char *take_record(const char *p, const char *end, uint64_t *values,
                                                uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    p = i == 0 || i > N_EDGES ? take_digit(p, end, &values[i]) : v8heap_number(p, end, &values[i]);
    if (TM_UNLIKELY(!p || p >= end)) return NULL;
    if (TM_LIKELY(*p == ','))
      p++;
    else if (TM_LIKELY(*p == '\n' && i + 1 == count && end - p > 2 && p[1] == ','))
      p += 2;
    else
      p = v8heap_skip_gap(p, end);
  }
  return p;
}

static tm_status not_a_record(v8heap *h, const char *p, const char *what) {
  const char *end = h->data + h->size;
  while (p < end && (*p == ',' || (unsigned)(*p - '0') < 10 || *p == '\n')) p++;
  return v8heap_cut(h, p, what);
}

typedef tm_status push_fn(v8heap *, const uint64_t *);

// Inlined with its push, which is most of the work. Records lie in the file line by line:
// "\n,1,2,3".
static TM_ALWAYS_INLINE tm_status read_records(v8heap *h, const char *what, uint32_t fields,
                                               push_fn *push) {
  uint64_t values[FIELDS_MAX + 1] = {0}, count = 0;
  const char *p = h->json->at, *end = h->data + h->size, *kept = p;
  if (!fields) return tm_fail(h->ctx, TM_E_FORMAT, 0, "%s come before their \"meta\"", what);
  p = v8heap_skip_gap(p, end);
  for (;;) {
    if (p < end && *p == ']') break;
    const char *next = take_record(p, end, values, fields);
    if (TM_UNLIKELY(!next)) return not_a_record(h, p, what);
    if (TM_UNLIKELY(push(h, values) != TM_OK)) {
      if (h->ctx->error.offset_bytes == TM_NO_OFFSET)
        h->ctx->error.offset_bytes = (uint64_t)(p - h->data);
      return h->ctx->error.status;
    }
    p = next;
    if (++count % TICK) continue;
    tm_source_forget(h->source, (uint64_t)(kept - h->data), (uint64_t)(p - h->data));
    kept = p;
    TM_TRY(tm_ctx_tick(h->ctx, (uint64_t)(p - h->data)));
  }
  h->json->at = p;
  return TM_OK;
}

tm_status v8heap_read_numbers(v8heap *h, const char *what, uint32_t fields, push_fn *push) {
  return read_records(h, what, fields, push);
}

// Where each field stands in a record; absent ones read the zero behind the last.
static void place_fields(const uint8_t *fields, uint32_t count, uint8_t *at, uint32_t kinds) {
  memset(at, FIELDS_MAX, kinds);
  for (uint32_t i = 0; i < count; i++)
    if (fields[i] < kinds) at[fields[i]] = (uint8_t)i;
}

// All columns of nodes have the same count and room; that of the type is kept while they fill.
static void count_nodes(v8heap *h) {
  size_t n = h->type.count;
  h->name.count = h->id.count = h->self.count = h->edge_count.count = n;
  if (h->has_detached) h->detached.count = n;
  if (h->has_trace) h->trace.count = n;
}

static tm_status reserve_nodes(v8heap *h, size_t more) {
  count_nodes(h);
  if (h->has_detached) TM_TRY(tm_vec_reserve(h->ctx, &h->detached, more));
  if (h->has_trace) TM_TRY(tm_vec_reserve(h->ctx, &h->trace, more));
  TM_TRY(tm_vec_reserve(h->ctx, &h->name, more));
  TM_TRY(tm_vec_reserve(h->ctx, &h->id, more));
  TM_TRY(tm_vec_reserve(h->ctx, &h->self, more));
  TM_TRY(tm_vec_reserve(h->ctx, &h->edge_count, more));
  return tm_vec_reserve(h->ctx, &h->type, more);
}

static tm_status big_size(v8heap *h, uint64_t bytes) {
  tm_big_size big = {(uint32_t)h->type.count, bytes};
  return tm_vec_push(h->ctx, &h->self_big, big);
}

static TM_ALWAYS_INLINE tm_status push_node(v8heap *h, const uint64_t *v) {
  const uint8_t *at = h->node_at;
  size_t n = h->type.count;
  uint64_t type = v[at[N_TYPE]], bytes = v[at[N_SIZE]], edges = v[at[N_EDGES]];
  if (TM_UNLIKELY(n == h->type.room)) TM_TRY(reserve_nodes(h, 1));
  if (TM_UNLIKELY(n >= UINT32_MAX - 1))
    return tm_fail(h->ctx, TM_E_LIMIT, TM_NO_OFFSET, "more than 4294967294 nodes");
  if (TM_UNLIKELY(bytes >= UINT32_MAX)) TM_TRY(big_size(h, bytes));
  h->type.items[n] = (uint8_t)(type < h->node_type_count ? type : TYPE_NAMES_MAX - 1);
  h->name.items[n] = (uint32_t)v[at[N_NAME]];
  h->id.items[n] = (uint32_t)v[at[N_ID]];
  h->self.items[n] = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
  h->edge_count.items[n] = edges < UINT32_MAX ? (uint32_t)edges : UINT32_MAX;
  if (h->has_detached) h->detached.items[n] = v[at[N_DETACHED]] & TM_NODE_LINK;
  if (h->has_trace) h->trace.items[n] = (uint32_t)v[at[N_TRACE]];
  h->type.count = n + 1;
  return TM_OK;
}

// The counts that are met get loops of their own.
static tm_status read_node_records(v8heap *h) {
  if (h->node_field_count == 6) return read_records(h, "its nodes", 6, push_node);
  if (h->node_field_count == 7) return read_records(h, "its nodes", 7, push_node);
  return read_records(h, "its nodes", h->node_field_count, push_node);
}

tm_status v8heap_read_nodes(v8heap *h) {
  uint64_t told = h->told_nodes;
  if (h->type.count) return tm_fail(h->ctx, TM_E_FORMAT, 0, "\"nodes\" come twice");
  if (h->node_field_count && told <= h->size / (2 * (uint64_t)h->node_field_count))
    TM_TRY(reserve_nodes(h, told));
  place_fields(h->node_fields, h->node_field_count, h->node_at, N_OTHER);
  tm_status status = read_node_records(h);
  count_nodes(h);
  return status;
}

static tm_status reserve_edges(v8heap *h, size_t more) {
  h->edge_type.count = h->edge_name.count = h->to.count;
  TM_TRY(tm_vec_reserve(h->ctx, &h->edge_type, more));
  TM_TRY(tm_vec_reserve(h->ctx, &h->edge_name, more));
  return tm_vec_reserve(h->ctx, &h->to, more);
}

static TM_ALWAYS_INLINE tm_status push_edge(v8heap *h, const uint64_t *v) {
  const uint8_t *at = h->edge_at;
  size_t e = h->to.count;
  uint64_t type = v[at[E_TYPE]], index = v[at[E_TO]];
  uint32_t to = (uint32_t)index / h->node_field_count;
  if (TM_UNLIKELY(index > UINT32_MAX || to >= h->type.count || to * h->node_field_count != index))
    return tm_fail(h->ctx, TM_E_FORMAT, TM_NO_OFFSET, "edge %zu leads to no node", e);
  if (TM_UNLIKELY(e == h->to.room)) TM_TRY(reserve_edges(h, 1));
  if (TM_UNLIKELY(e >= UINT32_MAX - 1))
    return tm_fail(h->ctx, TM_E_LIMIT, TM_NO_OFFSET, "more than 4294967294 edges");
  h->edge_type.items[e] = type < TYPE_NAMES_MAX ? h->edge_types[type] : (uint8_t)X_OTHER;
  h->edge_name.items[e] = (uint32_t)v[at[E_NAME]];
  h->to.items[e] = to;
  h->to.count = e + 1;
  return TM_OK;
}

tm_status v8heap_read_edges(v8heap *h) {
  uint64_t told = h->told_edges;
  if (h->edge_field_count && told <= h->size / (2 * (uint64_t)h->edge_field_count))
    TM_TRY(reserve_edges(h, told));
  place_fields(h->edge_fields, h->edge_field_count, h->edge_at, E_OTHER);
  tm_status status = h->edge_field_count == 3
                         ? read_records(h, "its edges", 3, push_edge)
                         : read_records(h, "its edges", h->edge_field_count, push_edge);
  h->edge_type.count = h->edge_name.count = h->to.count;
  return status;
}

// ---- strings ----

// A string's end, behind its quote; NULL when the file ends first.
static const char *string_end(const char *p, const char *end) {
  for (p++; p < end; p++) {
    p = memchr(p, '"', (size_t)(end - p));
    if (!p) return NULL;
    const char *slash = p;
    while (slash[-1] == '\\') slash--;
    if ((p - slash) % 2 == 0) return p + 1;
  }
  return NULL;
}

static const char *const known_words[S_COUNT] = {
    [S_OBJECT] = "Object",
    [S_PROTO] = "__proto__",
    [S_DOCUMENT_TREES] = "(Document DOM trees)",
    [S_NATIVE_CONTEXT] = "system / NativeContext",
    [S_SLOPPY_MAP] = "sloppy_function_map",
    [S_DESCRIPTORS] = "(map descriptors)",
    [S_EXTERNAL_STRING] = "system / ExternalStringData",
    [S_SHARED] = "shared",
    [S_SCRIPT] = "script",
    [S_SCRIPT_OR_DEBUG_INFO] = "script_or_debug_info",
    [S_NAME] = "name",
    [S_FIRST] = "first",
    [S_SECOND] = "second",
};

static void note_known(v8heap *h, const char *text, size_t length, uint32_t string) {
  for (size_t i = 0; i < S_COUNT; i++)
    if (h->known[i] == UINT32_MAX && strlen(known_words[i]) == length
        && memcmp(known_words[i], text, length) == 0)
      h->known[i] = string;
}

// The first place of a word that has one letter which is rare: memmem is slow on short ones.
static const char *find(const char *p, const char *end, const char *word, size_t rare) {
  size_t length = strlen(word);
  for (; (size_t)(end - p) >= length; p++) {
    const char *at = memchr(p + rare, word[rare], (size_t)(end - p) - (length - 1));
    if (!at) return NULL;
    p = at - rare;
    if (memcmp(p, word, length) == 0) return p;
  }
  return NULL;
}

static bool has_line_break(const char *p, const char *end) {
  for (; (p = memchr(p, '\\', (size_t)(end - p))); p++)
    if (end - p > 1 && (p[1] == 'n' || p[1] == 'r')) return true;
  return false;
}

// What ends in " pair in WeakMap (table @123)": where that begins, and the number.
static const char *find_table(const char *p, const char *end, uint64_t *out_id) {
  static const char behind[] = " pair in WeakMap (table @";
  const char *digits = end - 1;
  while (digits > p && (unsigned)(digits[-1] - '0') < 10) digits--;
  if (digits - p < (ptrdiff_t)sizeof behind - 1) return NULL;
  const char *at = digits - (sizeof behind - 1);
  if (memcmp(at, behind, sizeof behind - 1) != 0) return NULL;
  return v8heap_number(digits, end, out_id) == end - 1 ? at : NULL;
}

// Notes a WeakMap's pair; text is still escaped, which changes nothing in the words looked for.
static tm_status note_pair(v8heap *h, const char *p, const char *end, tm_idmap *pairs) {
  const char *start, *table, *value;
  v8heap_pair pair = {(uint32_t)h->string_at.count - 1, 0, 0};
  while (p < end && (unsigned)(*p - '0') < 10) p++;
  start = p;
  if (end - p < 64 || memcmp(p, " / part of key (", 16) != 0 || end[-1] != ')') return TM_OK;
  table = find_table(p, end, &pair.table);
  value = table ? find(p, end, ") -> value (", 3) : NULL;
  if (!value || value > table || has_line_break(p, end)) return TM_OK;
  uint64_t key = XXH3_64bits(start, (size_t)(end - start));
  pair.pair = tm_idmap_get(pairs, key);
  if (pair.pair == TM_IDMAP_NONE) {
    pair.pair = h->pair_count++;
    TM_TRY(tm_idmap_put(h->ctx, pairs, key, pair.pair));
  }
  return tm_vec_push(h->ctx, &h->pairs, pair);
}

static tm_status read_strings(v8heap *h, tm_idmap *pairs) {
  const char *p = h->json->at, *end = h->data + h->size, *kept = p;
  if (h->string_at.count) return tm_fail(h->ctx, TM_E_FORMAT, 0, "\"strings\" come twice");
  for (;;) {
    p = v8heap_skip_gap(p, end);
    if (p < end && *p == ']') break;
    const char *next = p < end && *p == '"' ? string_end(p, end) : NULL;
    if (!next) return v8heap_cut(h, p < end && *p != '"' ? p : end, "its strings");
    TM_TRY(tm_vec_push(h->ctx, &h->string_at, (uint64_t)(p - h->data)));
    size_t length = (size_t)(next - p) - 2;
    if (length < 32) note_known(h, p + 1, length, (uint32_t)h->string_at.count - 1);
    if ((unsigned)(p[1] - '0') < 10) TM_TRY(note_pair(h, p + 1, next - 1, pairs));
    p = next;
    if (h->string_at.count % TICK) continue;
    tm_source_forget(h->source, (uint64_t)(kept - h->data), (uint64_t)(p - h->data));
    kept = p;
    TM_TRY(tm_ctx_tick(h->ctx, (uint64_t)(p - h->data)));
  }
  h->json->at = p;
  return TM_OK;
}

tm_status v8heap_read_strings(v8heap *h) {
  tm_idmap pairs = {0};
  tm_status status = read_strings(h, &pairs);
  tm_idmap_free(h->ctx, &pairs);
  if (status == TM_E_NOMEM || h->is_pair) return status;
  h->is_pair = tm_calloc(h->ctx, h->string_at.count / 8 + 1, 1);
  if (!h->is_pair) return TM_E_NOMEM;
  h->is_pair_bytes = h->string_at.count / 8 + 1;
  for (size_t i = 0; i < h->pairs.count; i++)
    h->is_pair[h->pairs.items[i].string / 8] |= (uint8_t)(1u << h->pairs.items[i].string % 8);
  return status;
}

const v8heap_pair *v8heap_pair_of(const v8heap *h, uint32_t string) {
  size_t low = 0, high = h->pairs.count;
  if (string / 8 >= h->is_pair_bytes || !(h->is_pair[string / 8] >> string % 8 & 1)) return NULL;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (h->pairs.items[middle].string < string)
      low = middle + 1;
    else
      high = middle;
  }
  return &h->pairs.items[low];
}

// ---- text of strings ----

static size_t put_utf8(char *out, uint32_t c) {
  static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  if (c >= 0xd800 && c < 0xe000) c = 0xfffd;
  size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = n; i-- > 1; c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
  out[0] = (char)(lead[n] | c);
  return n;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The code point of \uXXXX at p (six bytes are there), with its second half when it is the first.
static const char *take_unicode(const char *p, const char *end, uint32_t *out) {
  uint32_t half[2] = {0, 0};
  for (int k = 0; k < 2; k++, p += 6) {
    if (k && (end - p < 6 || p[0] != '\\' || p[1] != 'u' || half[0] < 0xd800 || half[0] >= 0xdc00))
      break;
    for (int i = 2; i < 6 && hex_digit(p[i]) >= 0; i++)
      half[k] = half[k] * 16 + (uint32_t)hex_digit(p[i]);
    if (k && (half[1] < 0xdc00 || half[1] >= 0xe000)) break;
    *out = k ? 0x10000 + ((half[0] - 0xd800) << 10) + (half[1] - 0xdc00) : half[0];
  }
  return p;
}

size_t v8heap_decode(const v8heap *h, uint32_t string, char *out, size_t size) {
  size_t n = 0;
  out[0] = '\0';
  if (string >= h->string_at.count) return 0;
  const char *p = h->data + h->string_at.items[string] + 1, *end = h->data + h->size;
  while (p < end && *p != '"' && n + 5 < size) {
    if (*p != '\\') {
      out[n++] = *p++;
      continue;
    }
    if (end - p < (p + 1 < end && p[1] == 'u' ? 6 : 2)) break;
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *known = memchr(from, p[1], sizeof from - 1);
    uint32_t c = 0;
    if (p[1] == 'u') {
      p = take_unicode(p, end, &c);
      n += put_utf8(out + n, c);
    } else {
      out[n++] = known ? to[known - from] : p[1];
      p += 2;
    }
  }
  out[n] = '\0';
  return n;
}
