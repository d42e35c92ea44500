// Strings are stored as lengths and letters and interned again in their order, which gives them
// their numbers back. Maps are stored as pairs. The counts in a bitmap of addresses are counted
// again: one pass over two bits per 8 bytes of heap.
#include "model/columns.h"

#include <string.h>

tm_status tm_columns_damaged(tm_columns *c, const char *what) {
  return tm_fail(c->ctx, TM_E_FORMAT, TM_NO_OFFSET, "the index is damaged: %s", what);
}

static tm_status take(tm_columns *c, size_t item_bytes, void **items, size_t *count) {
  size_t bytes;
  TM_TRY(c->take(c, items, &bytes));
  if (bytes % item_bytes) return tm_columns_damaged(c, "an array ends inside an item");
  *count = bytes / item_bytes;
  return TM_OK;
}

tm_status tm_columns_value(tm_columns *c, void *value, size_t bytes) {
  void *items;
  size_t count;
  if (!c->taking) return c->store(c, value, bytes);
  TM_TRY(take(c, bytes, &items, &count));
  if (count != 1) return tm_columns_damaged(c, "a value is of another size");
  memcpy(value, items, bytes);
  return TM_OK;
}

tm_status tm_columns_array(tm_columns *c, void **items, size_t count, size_t item_bytes) {
  size_t taken;
  void *array;
  if (!c->taking) return c->store(c, *items, count * item_bytes);
  TM_TRY(take(c, item_bytes, &array, &taken));
  if (taken != count) return tm_columns_damaged(c, "an array is of another length");
  *items = array;
  return TM_OK;
}

tm_status tm_columns_big_list(tm_columns *c, void **items, size_t *count, size_t *room,
                              size_t item_bytes) {
  void *array;
  if (!c->taking) return c->store(c, *items, *count * item_bytes);
  TM_TRY(take(c, item_bytes, &array, count));
  *items = array;
  *room = *count;
  return TM_OK;
}

tm_status tm_columns_list(tm_columns *c, void **items, size_t *count, size_t *room,
                          size_t item_bytes) {
  void *array;
  size_t taken;
  if (!c->taking) return c->store(c, *items, *count * item_bytes);
  TM_TRY(take(c, item_bytes, &array, &taken));
  *count = 0;
  TM_TRY(tm_vec_grow(c->ctx, items, room, taken, item_bytes));
  if (taken) memcpy(*items, array, taken * item_bytes);
  *count = taken;
  return TM_OK;
}

// ---- maps ----

static tm_status store_idmap(tm_columns *c, tm_idmap *map) {
  size_t n = 0, room = map->count + 1;
  uint64_t *keys = tm_alloc(c->ctx, room * sizeof *keys);
  uint32_t *values = tm_alloc(c->ctx, room * sizeof *values);
  tm_status status = keys && values ? TM_OK : TM_E_NOMEM;
  for (size_t i = 0; status == TM_OK && i < map->slot_count; i++) {
    if (map->values[i] == TM_IDMAP_NONE || n == map->count) continue;
    keys[n] = map->keys[i];
    values[n++] = map->values[i];
  }
  if (status == TM_OK) status = c->store(c, keys, n * sizeof *keys);
  if (status == TM_OK) status = c->store(c, values, n * sizeof *values);
  tm_free(c->ctx, keys, room * sizeof *keys);
  tm_free(c->ctx, values, room * sizeof *values);
  return status;
}

tm_status tm_columns_idmap(tm_columns *c, tm_idmap *map) {
  void *keys = NULL, *values = NULL;
  size_t count;
  if (!c->taking) return store_idmap(c, map);
  TM_TRY(take(c, sizeof(uint64_t), &keys, &count));
  TM_TRY(tm_columns_array(c, &values, count, sizeof(uint32_t)));
  for (size_t i = 0; i < count; i++) {
    uint32_t value = ((uint32_t *)values)[i];
    if (value == TM_IDMAP_NONE) return tm_columns_damaged(c, "a map holds nothing");
    TM_TRY(tm_idmap_put(c->ctx, map, ((uint64_t *)keys)[i], value));
  }
  return TM_OK;
}

// ---- strings ----

static tm_status store_strings(tm_columns *c, const tm_strtab *s) {
  TM_VEC(uint32_t) lengths = {0};
  TM_VEC(char) letters = {0};
  tm_status status = TM_OK;
  for (uint32_t i = 0; status == TM_OK && i < s->count; i++) {
    const tm_str *text = &s->items[i];
    status = tm_vec_push(c->ctx, &lengths, text->length);
    if (status == TM_OK) status = tm_vec_reserve(c->ctx, &letters, (size_t)text->length);
    if (status != TM_OK || !text->length) continue;
    memcpy(letters.items + letters.count, text->text, text->length);
    letters.count += text->length;
  }
  if (status == TM_OK) status = tm_columns_vec(c, &lengths);
  if (status == TM_OK) status = tm_columns_vec(c, &letters);
  tm_vec_free(c->ctx, &lengths);
  tm_vec_free(c->ctx, &letters);
  return status;
}

tm_status tm_columns_strings(tm_columns *c, tm_strtab *s) {
  void *lengths, *letters;
  size_t count, room, at = 0;
  if (!c->taking) return store_strings(c, s);
  TM_TRY(take(c, sizeof(uint32_t), &lengths, &count));
  TM_TRY(take(c, 1, &letters, &room));
  for (size_t i = 0; i < count; i++) {
    uint32_t length = ((uint32_t *)lengths)[i], id;
    if (length > room - at) return tm_columns_damaged(c, "its strings are longer than their text");
    TM_TRY(tm_strtab_intern(c->ctx, s, length ? (char *)letters + at : "", length, &id));
    if (id != i) return tm_columns_damaged(c, "a string comes twice");
    at += length;
  }
  return TM_OK;
}

// ---- addresses ----

static bool ascends(const uint64_t *items, size_t count) {
  for (size_t i = 1; i < count; i++)
    if (items[i - 1] >= items[i]) return false;
  return true;
}

// Whether a bitmap's chunks reach as far as its addresses do.
static bool spans(const tm_addr_rank *rank) {
  if (rank->low > rank->high) return false;
  uint64_t last = (rank->high - rank->low) >> rank->unit_shift >> TM_ADDR_CHUNK_SHIFT;
  return last < rank->chunk_count;
}

tm_status tm_columns_rank(tm_columns *c, tm_addr_rank *rank, uint32_t count) {
  struct {
    uint64_t low, high, chunk_count, word_count;
    uint32_t unit_shift, is_sorted;
  } head = {rank->low,        rank->high,       rank->chunk_count,
            rank->word_count, rank->unit_shift, rank->sorted != NULL};
  TM_TRY(tm_columns_value(c, &head, sizeof head));
  rank->low = head.low;
  rank->high = head.high;
  rank->unit_shift = head.unit_shift & 7;
  rank->word_count = (size_t)head.word_count;
  rank->chunk_count = head.is_sorted ? 0 : (size_t)head.chunk_count;
  void **items = head.is_sorted ? (void **)&rank->sorted : (void **)&rank->words;
  TM_TRY(tm_columns_array(c, items, rank->word_count, sizeof(uint64_t)));
  TM_TRY(tm_columns_array(c, (void **)&rank->chunks, rank->chunk_count, sizeof *rank->chunks));
  if (!c->taking) return TM_OK;
  rank->count = count;
  if (head.is_sorted) {
    bool whole = rank->word_count == count && ascends(rank->sorted, rank->word_count);
    return whole ? TM_OK : tm_columns_damaged(c, "its addresses do not ascend");
  }
  if (!rank->chunks || !spans(rank) || !tm_addr_rank_is_whole(rank))
    return tm_columns_damaged(c, "its addresses do not count");
  return TM_OK;
}
