// Interned strings: an array of (text, length, hash) by id, and an open-addressed table of ids that
// doubles at half load. Texts live in an arena. One intern costs one hash and mostly one compare.
#include "base/strtab.h"

#include "base/hash.h"

void tm_strtab_init(tm_strtab *table, const tm_allocator *alloc, uint64_t cap_bytes) {
  memset(table, 0, sizeof *table);
  tm_arena_init(&table->arena, alloc ? alloc : &tm_allocator_malloc, cap_bytes);
}

void tm_strtab_fini(tm_strtab *table) {
  tm_allocator *alloc = &table->arena.alloc;
  if (table->items) alloc->realloc_fn(alloc->ud, table->items, table->room * sizeof(tm_str), 0);
  if (table->slots)
    alloc->realloc_fn(alloc->ud, table->slots, table->slot_count * sizeof(uint32_t), 0);
  tm_arena_fini(&table->arena);
  memset(table, 0, sizeof *table);
}

// The slot that holds the string, or the empty one where it belongs.
static uint32_t find_slot(const tm_strtab *table, const void *text, size_t length, uint32_t hash) {
  uint32_t mask = table->slot_count - 1, i = hash & mask;
  for (; table->slots[i]; i = (i + 1) & mask) {
    const tm_str *s = &table->items[table->slots[i] - 1];
    if (s->hash == hash && s->length == length && memcmp(s->text, text, length) == 0) break;
  }
  return i;
}

static void *resize(tm_ctx *ctx, tm_strtab *table, void *p, size_t old_size, size_t size) {
  tm_allocator *alloc = &table->arena.alloc;
  void *q = alloc->realloc_fn(alloc->ud, p, old_size, size);
  if (!q) tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (%zu bytes of strings)", size);
  return q;
}

static tm_status grow_slots(tm_ctx *ctx, tm_strtab *table) {
  uint32_t count = table->slot_count ? table->slot_count * 2 : 64;
  uint32_t *slots = resize(ctx, table, NULL, 0, count * sizeof *slots);
  if (!slots) return TM_E_NOMEM;
  memset(slots, 0, count * sizeof *slots);
  for (uint32_t id = 0; id < table->count; id++) {
    uint32_t i = table->items[id].hash & (count - 1);
    while (slots[i]) i = (i + 1) & (count - 1);
    slots[i] = id + 1;
  }
  tm_allocator *alloc = &table->arena.alloc;
  if (table->slots)
    alloc->realloc_fn(alloc->ud, table->slots, table->slot_count * sizeof *slots, 0);
  table->slots = slots;
  table->slot_count = count;
  return TM_OK;
}

static tm_status add(tm_ctx *ctx, tm_strtab *table, const void *text, size_t length, uint32_t hash,
                     uint32_t *out_id) {
  if (table->count >= (UINT32_C(1) << 30) || length > UINT32_MAX)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "too many strings, or one over 4 GiB");
  if (table->count == table->room) {
    uint32_t room = table->room ? table->room * 2 : 32;
    tm_str *items =
        resize(ctx, table, table->items, table->room * sizeof *items, room * sizeof *items);
    if (!items) return TM_E_NOMEM;
    table->items = items;
    table->room = room;
  }
  if (table->slot_count < (table->count + 1) * 2) TM_TRY(grow_slots(ctx, table));
  char *copy = tm_arena_strndup(&table->arena, length ? text : "", length);
  if (!copy) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (strings)");
  table->items[table->count] = (tm_str){copy, (uint32_t)length, hash};
  table->slots[find_slot(table, text, length, hash)] = table->count + 1;
  *out_id = table->count++;
  return TM_OK;
}

tm_status tm_strtab_intern(tm_ctx *ctx, tm_strtab *table, const void *text, size_t length,
                           uint32_t *out_id) {
  uint32_t empty;
  if (table->count == 0) TM_TRY(add(ctx, table, "", 0, (uint32_t)tm_hash_bytes("", 0), &empty));
  uint32_t hash = (uint32_t)tm_hash_bytes(text, length);
  uint32_t slot = find_slot(table, text, length, hash);
  if (table->slots[slot]) {
    *out_id = table->slots[slot] - 1;
    return TM_OK;
  }
  return add(ctx, table, text, length, hash, out_id);
}

uint32_t tm_strtab_find(const tm_strtab *table, const void *text, size_t length) {
  if (!table->count) return length ? UINT32_MAX : 0;
  uint32_t slot = find_slot(table, text, length, (uint32_t)tm_hash_bytes(text, length));
  return table->slots[slot] ? table->slots[slot] - 1 : UINT32_MAX;
}
