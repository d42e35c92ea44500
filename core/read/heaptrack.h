// What the two files of the heaptrack reader share: a recording's lines, and what is counted over
// them.
#ifndef TM_READ_HEAPTRACK_H
#define TM_READ_HEAPTRACK_H

#include "base/idmap.h"
#include "read/frames.h"

// A node of the tree of stacks; numbers begin at 1.
typedef struct ht_trace {
  uint32_t location, parent;
  uint32_t depth;
  bool is_operator_new;
} ht_trace;

typedef struct ht_cost {
  uint64_t alloc_count, alloc_bytes, live_count, live_bytes, temporary_count, peak_bytes;
} ht_cost;

// What one kind of allocation is: in a raw recording, one block that lives.
typedef struct ht_info {
  uint64_t bytes, live_count;
  uint32_t trace, next_free;
} ht_info;

typedef struct ht_segment {
  uint64_t start, end;
  uint32_t mapping;
} ht_segment;

typedef struct heaptrack {
  tm_ctx *ctx;
  tm_profile *p;
  tm_frames frames;
  const char *start, *at, *end, *line; // line: begin of the present one
  uint64_t version;
  bool has_version, has_program, is_raw, is_second_pass;

  TM_VEC(uint32_t) strings; // ids
  TM_VEC(uint32_t) ips;     // locations
  TM_VEC(uint8_t) ip_is_new;
  TM_VEC(ht_trace) traces;
  TM_VEC(ht_cost) costs; // by trace
  TM_VEC(ht_info) infos;
  TM_VEC(ht_segment) modules;
  tm_idmap mappings; // string id -> mapping
  tm_idmap raw_locations;
  tm_idmap pointers; // of raw recordings: -> info
  uint32_t free_info;

  uint64_t last;                            // what was allocated last, 0 behind a free
  uint64_t live_bytes, peak_bytes, peak_at; // peak_at: offset of the event that made it
  uint64_t alloc_count, temporary_count, time_ms, rss_pages, page_bytes;
} heaptrack;

// ---- fields of a line ----

static inline bool ht_has_more(const heaptrack *h) {
  return h->at < h->end && *h->at == ' ';
}

// Takes " 1f3a". False: there is none, or it is too long.
static inline bool ht_hex(heaptrack *h, uint64_t *out) {
  const char *p = h->at;
  uint64_t value = 0;
  if (p == h->end || *p != ' ') return false;
  const char *digits = ++p;
  for (; p < h->end; p++) {
    unsigned c = (unsigned char)*p, d = c - '0';
    if (d > 9) d = (c | 32) - 'a' < 6 ? (c | 32) - 'a' + 10 : 16;
    if (d > 15) break;
    value = value << 4 | d;
  }
  if (p == digits || p - digits > 16) return false;
  h->at = p;
  *out = value;
  return true;
}

tm_status ht_bad(heaptrack *h, const char *what);

// Names, code and stacks: everything but what happened.
TM_NODISCARD tm_status ht_read_string(heaptrack *h);
TM_NODISCARD tm_status ht_read_ip(heaptrack *h);
TM_NODISCARD tm_status ht_read_trace(heaptrack *h);
TM_NODISCARD tm_status ht_read_module(heaptrack *h);

// Samples of all that was counted.
TM_NODISCARD tm_status ht_make_samples(heaptrack *h);

#endif
