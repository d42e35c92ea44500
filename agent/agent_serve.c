// What each verb does, and its words on the wire (agent_wire.h).
#include "agent_serve.h"

#include "agent_handles.h"
#include "agent_hooks.h"
#include "agent_proto.h"
#include "agent_tables.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { CHUNK_BYTES = 65536 };

// ---- bytes ----

static bool send_all(int fd, const void *data, size_t size) {
  const uint8_t *at = data;
  while (size) {
    ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    at += sent;
    size -= (size_t)sent;
  }
  return true;
}

static bool receive_all(int fd, void *data, size_t size) {
  uint8_t *at = data;
  while (size) {
    ssize_t got = recv(fd, at, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    size -= (size_t)got;
  }
  return true;
}

static bool send_frame(int fd, const void *data, uint32_t size) {
  const uint8_t head[4] = {(uint8_t)size, (uint8_t)(size >> 8), (uint8_t)(size >> 16),
                           (uint8_t)(size >> 24)};
  return send_all(fd, head, sizeof head) && (size == 0 || send_all(fd, data, size));
}

// ---- requests ----

typedef struct request {
  uint64_t fields[TM_AGENT_ASK_FLAGS + 1];
  uint32_t given; // bits
} request;

static bool parse(const uint8_t *data, size_t size, request *out) {
  size_t at = 0;
  *out = (request){0};
  while (at < size) {
    uint64_t pair[2] = {0, 0}; // field and value, both varints: nothing else is asked
    for (int i = 0; i < 2; i++) {
      unsigned shift = 0;
      do {
        if (at == size || shift > 63) return false;
        pair[i] |= (uint64_t)(data[at] & 0x7f) << shift;
        shift += 7;
      } while (data[at++] & 0x80);
      if (i == 0 && pair[0] & 7) return false;
    }
    if (pair[0] >> 3 > TM_AGENT_ASK_FLAGS) continue; // of a newer tidemark
    out->fields[pair[0] >> 3] = pair[1];
    out->given |= 1u << (pair[0] >> 3);
  }
  return true;
}

static uint64_t field_or(const request *r, uint32_t field, uint64_t otherwise) {
  return r->given & 1u << field ? r->fields[field] : otherwise;
}

static void value(tm_message *m, const char *name, uint64_t number) {
  tm_message_text(m, TM_AGENT_REPLY_NAME, name);
  tm_message_number(m, TM_AGENT_REPLY_VALUE, number);
}

// ---- verbs ----

static void about(tm_message *m) {
  value(m, "abi", TM_AGENT_ABI);
  value(m, "mode", atomic_load(&tm_agent.mode));
  value(m, "rate_bytes", atomic_load(&tm_agent.rate_bytes));
  value(m, "min_size_bytes", atomic_load(&tm_agent.min_size_bytes));
  value(m, "epoch", atomic_load(&tm_agent.epoch));
  value(m, "is_preloaded", tm_agent_is_preloaded());
  value(m, "is_patched", tm_got_is_patched());
  value(m, "known_from", tm_agent_known_from());
  value(m, "samples", tm_live_inserted());
  value(m, "live", tm_live_count());
  value(m, "handles_on", tm_handles_are_on());
  value(m, "handles_seen", tm_handles_seen());
}

static bool is_allocator_of_libc(void) {
  Dl_info allocator, libc;
  void *symbol, *known = dlsym(RTLD_DEFAULT, "gnu_get_libc_version");
  memcpy(&symbol, &tm_next.malloc, sizeof symbol);
  return known && dladdr(symbol, &allocator) && dladdr(known, &libc)
         && allocator.dli_fbase == libc.dli_fbase;
}

static struct mallinfo2 books(void) {
  struct mallinfo2 (*ask)(void);
  void *found = dlsym(RTLD_DEFAULT, "mallinfo2"); // since glibc 2.33
  memcpy(&ask, &found, sizeof ask);
  return ask && is_allocator_of_libc() ? ask() : (struct mallinfo2){0};
}

static void stats(tm_message *m) {
  struct mallinfo2 heap = books();
  about(m);
  value(m, "dropped", atomic_load(&tm_counters.dropped));
  value(m, "missed_frees", atomic_load(&tm_counters.missed_frees));
  value(m, "stacks", tm_stack_number_end() - 1);
  value(m, "table_bytes", tm_live_table_bytes());
  value(m, "allocator_is_libc", is_allocator_of_libc());
  value(m, "arena_bytes", heap.arena + heap.hblkhd);
  value(m, "used_bytes", heap.uordblks + heap.hblkhd);
  value(m, "free_bytes", heap.fordblks);
  value(m, "top_bytes", heap.keepcost);
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void refuse(tm_message *m, const char *why) {
  tm_message_number(m, TM_AGENT_REPLY_STATUS, 1);
  tm_message_text(m, TM_AGENT_REPLY_TEXT, why);
}

static void trim(tm_message *m) {
  int (*trimmer)(size_t);
  void *found = dlsym(RTLD_DEFAULT, "malloc_trim");
  memcpy(&trimmer, &found, sizeof trimmer);
  if (!trimmer || !is_allocator_of_libc()) {
    refuse(m, "the program's allocator is not libc's");
    return;
  }
  uint64_t began = now_ns();
  value(m, "has_released", trimmer(0) != 0);
  value(m, "trim_ns", now_ns() - began);
}

static void start(const request *r, tm_message *m) {
  uint64_t mode = field_or(r, TM_AGENT_ASK_MODE, TM_AGENT_SAMPLED);
  if (mode > TM_AGENT_FULL) {
    refuse(m, "no such mode");
    return;
  }
  tm_agent_configure((uint32_t)mode,
                     field_or(r, TM_AGENT_ASK_RATE, atomic_load(&tm_agent.rate_bytes)),
                     field_or(r, TM_AGENT_ASK_MIN_SIZE, 0));
  about(m);
}

static void detach(tm_message *m) {
  tm_agent_detach();
  about(m);
}

// Answers all verbs but the snapshot.
static void answer(const request *r, tm_message *m) {
  switch (r->fields[TM_AGENT_ASK_VERB]) {
  case TM_AGENT_HELLO:
    if (tm_agent_refusal()) tm_message_number(m, TM_AGENT_REPLY_STATUS, 1);
    tm_message_text(m, TM_AGENT_REPLY_TEXT,
                    tm_agent_refusal() ? tm_agent_refusal() : "tidemark " TM_VERSION);
    about(m);
    break;
  case TM_AGENT_START:
    start(r, m);
    break;
  case TM_AGENT_STOP:
    tm_agent_pause();
    about(m);
    break;
  case TM_AGENT_MARK:
    value(m, "epoch", atomic_fetch_add(&tm_agent.epoch, 1) + 1);
    break;
  case TM_AGENT_RESET:
    tm_agent_reset();
    about(m);
    break;
  case TM_AGENT_STATS:
    stats(m);
    break;
  case TM_AGENT_TRIM:
    trim(m);
    break;
  case TM_AGENT_HANDLES_START:
    if (!tm_handles_start()) refuse(m, "no memory for the table of handles");
    about(m);
    break;
  case TM_AGENT_HANDLES_STOP:
    tm_handles_stop();
    about(m);
    break;
  case TM_AGENT_DETACH:
    detach(m);
    break;
  default:
    refuse(m, "no such verb");
  }
}

// ---- the snapshot ----

typedef struct chunks {
  int fd;
  uint32_t used;
  uint8_t data[CHUNK_BYTES];
} chunks;

static bool flush(chunks *c) {
  uint32_t size = c->used;
  c->used = 0;
  return size == 0 || send_frame(c->fd, c->data, size);
}

static bool write_chunk(void *ud, const void *data, size_t size) {
  chunks *c = ud;
  if (c->used + size > sizeof c->data && !flush(c)) return false;
  memcpy(c->data + c->used, data, size); // messages are smaller than a chunk
  c->used += (uint32_t)size;
  return true;
}

static bool snapshot(int fd, const request *r) {
  chunks *c = tm_pages_get(sizeof *c);
  const tm_agent_filter_ask ask = {
      .since_epoch = (uint32_t)field_or(r, TM_AGENT_ASK_SINCE_EPOCH, 0),
      .min_age_ms = field_or(r, TM_AGENT_ASK_MIN_AGE_MS, 0),
      .kinds = (uint32_t)field_or(r, TM_AGENT_ASK_KINDS, 1u << TM_AGENT_MALLOC),
      .flags = (uint32_t)field_or(r, TM_AGENT_ASK_FLAGS, 0)};
  tm_message m;
  if (!c) return false;
  tm_message_clear(&m);
  about(&m);
  c->fd = fd;
  tm_agent_sink sink = {write_chunk, c};
  bool ok = send_frame(fd, m.data, (uint32_t)m.size) && tm_pprof_write(&ask, &sink) && flush(c)
            && send_frame(fd, NULL, 0);
  tm_pages_drop(c, sizeof *c);
  return ok;
}

bool tm_serve_request(int fd) {
  uint8_t head[4], data[TM_AGENT_REQUEST_BYTES];
  request r;
  tm_message m;
  if (!receive_all(fd, head, sizeof head)) return false;
  uint32_t size = (uint32_t)head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16
                  | (uint32_t)head[3] << 24;
  if (size > sizeof data || !receive_all(fd, data, size) || !parse(data, size, &r)) return false;
  if (r.fields[TM_AGENT_ASK_VERB] == TM_AGENT_SNAPSHOT) return snapshot(fd, &r);
  tm_message_clear(&m);
  answer(&r, &m);
  return send_frame(fd, m.data, (uint32_t)m.size);
}

void tm_serve_last(int fd) {
  const request all = {{0}, 0};
  const char *refusal = tm_agent_refusal();
  tm_message m;
  if (!refusal) {
    snapshot(fd, &all);
    return;
  }
  tm_message_clear(&m);
  tm_message_number(&m, TM_AGENT_REPLY_STATUS, 1);
  tm_message_text(&m, TM_AGENT_REPLY_TEXT, refusal);
  send_frame(fd, m.data, (uint32_t)m.size);
}
