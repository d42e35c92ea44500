// u64 -> u32 by open addressing with linear probing; keys are mixed first, because ids and
// addresses come in runs. Doubles at half load.
#include "base/idmap.h"

#include "base/hash.h"

void tm_idmap_free(tm_ctx *ctx, tm_idmap *map) {
  tm_free(ctx, map->keys, map->slot_count * sizeof *map->keys);
  tm_free(ctx, map->values, map->slot_count * sizeof *map->values);
  memset(map, 0, sizeof *map);
}

static size_t slot_of(const tm_idmap *map, uint64_t key) {
  size_t mask = map->slot_count - 1, i = (size_t)tm_hash_mix(key) & mask;
  while (map->values[i] != TM_IDMAP_NONE && map->keys[i] != key) i = (i + 1) & mask;
  return i;
}

uint32_t tm_idmap_get(const tm_idmap *map, uint64_t key) {
  return map->slot_count ? map->values[slot_of(map, key)] : TM_IDMAP_NONE;
}

static tm_status grow(tm_ctx *ctx, tm_idmap *map) {
  tm_idmap bigger = {.slot_count = map->slot_count ? map->slot_count * 2 : 64};
  bigger.keys = tm_alloc(ctx, bigger.slot_count * sizeof *bigger.keys);
  bigger.values = tm_alloc(ctx, bigger.slot_count * sizeof *bigger.values);
  if (!bigger.keys || !bigger.values) {
    tm_idmap_free(ctx, &bigger);
    return TM_E_NOMEM;
  }
  memset(bigger.values, 0xff, bigger.slot_count * sizeof *bigger.values);
  for (size_t i = 0; i < map->slot_count; i++) {
    if (map->values[i] == TM_IDMAP_NONE) continue;
    size_t slot = slot_of(&bigger, map->keys[i]);
    bigger.keys[slot] = map->keys[i];
    bigger.values[slot] = map->values[i];
  }
  bigger.count = map->count;
  tm_idmap_free(ctx, map);
  *map = bigger;
  return TM_OK;
}

tm_status tm_idmap_put(tm_ctx *ctx, tm_idmap *map, uint64_t key, uint32_t value) {
  if ((map->count + 1) * 2 > map->slot_count) TM_TRY(grow(ctx, map));
  size_t slot = slot_of(map, key);
  if (map->values[slot] == TM_IDMAP_NONE) map->count++;
  map->keys[slot] = key;
  map->values[slot] = value;
  return TM_OK;
}

void tm_idmap_remove(tm_idmap *map, uint64_t key) {
  if (!map->slot_count) return;
  size_t mask = map->slot_count - 1, hole = slot_of(map, key);
  if (map->values[hole] == TM_IDMAP_NONE) return;
  map->count--;
  // What stands behind the hole and would no longer be found moves into it.
  for (size_t i = (hole + 1) & mask; map->values[i] != TM_IDMAP_NONE; i = (i + 1) & mask) {
    size_t home = (size_t)tm_hash_mix(map->keys[i]) & mask;
    if (((i - home) & mask) < ((i - hole) & mask)) continue;
    map->keys[hole] = map->keys[i];
    map->values[hole] = map->values[i];
    hole = i;
  }
  map->values[hole] = TM_IDMAP_NONE;
}
