// Small hashes for tables in memory. Not for files, not against attackers who choose all keys:
// every table that uses them grows at half load and compares whole keys.
#ifndef TM_BASE_HASH_H
#define TM_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t tm_hash_mix(uint64_t h) {
  h ^= h >> 32;
  h *= UINT64_C(0x9e3779b97f4a7c15);
  h ^= h >> 29;
  h *= UINT64_C(0xd6e8feb86659fd93);
  return h ^ (h >> 32);
}

static inline uint64_t tm_hash_add(uint64_t h, uint64_t value) {
  return tm_hash_mix(h ^ value) + UINT64_C(0x632be59bd9b4e019);
}

static inline uint64_t tm_hash_bytes(const void *data, size_t size) {
  const uint8_t *p = data;
  uint64_t h = tm_hash_mix(size + 1);
  while (size >= 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    h = tm_hash_add(h, word);
    p += 8;
    size -= 8;
  }
  uint64_t tail = 0;
  if (size) memcpy(&tail, p, size);
  return tm_hash_add(h, tail);
}

#endif
