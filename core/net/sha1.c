// The message and its padding stand in two blocks, so nothing is carried between calls.
#include "net/sha1.h"

#include <string.h>

enum { BLOCK = 64, BLOCKS_MAX = 2, SIZE_MAX_BYTES = BLOCK * BLOCKS_MAX - 9 };

static uint32_t rotate(uint32_t x, int n) {
  return x << n | x >> (32 - n);
}

static void mix(uint32_t state[5], const uint8_t block[BLOCK]) {
  uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
  for (int t = 0; t < 16; t++)
    w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16
           | (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
  for (int t = 16; t < 80; t++) w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
  for (int t = 0; t < 80; t++) {
    uint32_t f = t < 20   ? ((b & c) | (~b & d)) + 0x5a827999u
                 : t < 40 ? (b ^ c ^ d) + 0x6ed9eba1u
                 : t < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdcu
                          : (b ^ c ^ d) + 0xca62c1d6u;
    uint32_t next = rotate(a, 5) + f + e + w[t];
    e = d, d = c, c = rotate(b, 30), b = a, a = next;
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

void tm_sha1_short(const void *data, size_t size, uint8_t out[20]) {
  uint8_t blocks[BLOCK * BLOCKS_MAX] = {0};
  uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  if (size > SIZE_MAX_BYTES) size = SIZE_MAX_BYTES;
  size_t count = size + 9 <= BLOCK ? 1 : 2, bits = size * 8;
  memcpy(blocks, data, size);
  blocks[size] = 0x80;
  blocks[count * BLOCK - 2] = (uint8_t)(bits >> 8);
  blocks[count * BLOCK - 1] = (uint8_t)bits;
  for (size_t i = 0; i < count; i++) mix(state, blocks + i * BLOCK);
  for (int i = 0; i < 20; i++) out[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}
