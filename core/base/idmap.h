// u64 key -> u32 value: sparse ids or addresses to dense indexes. Open addressing, half load.
#ifndef TM_BASE_IDMAP_H
#define TM_BASE_IDMAP_H

#include "base/ctx.h"

#define TM_IDMAP_NONE UINT32_MAX

typedef struct tm_idmap {
  uint64_t *keys;
  uint32_t *values; // TM_IDMAP_NONE = empty slot
  size_t slot_count, count;
} tm_idmap; // zero-initialise

void tm_idmap_free(tm_ctx *ctx, tm_idmap *map);

// The value of key, or TM_IDMAP_NONE.
uint32_t tm_idmap_get(const tm_idmap *map, uint64_t key);

// Sets a key that may be there already; value must not be TM_IDMAP_NONE.
TM_NODISCARD tm_status tm_idmap_put(tm_ctx *ctx, tm_idmap *map, uint64_t key, uint32_t value);

// Forgets a key; one that is not there is fine.
void tm_idmap_remove(tm_idmap *map, uint64_t key);

#endif
