// Memory dumps: what a process holds in all (ProcessStats) and what its allocators say
// (MemoryTrackerSnapshot), as the 'v' events of Chrome's JSON: numbers are hex texts there.
// Source: protos/perfetto/trace/ps/process_stats.proto, protos/perfetto/trace/memory_graph.proto.
#include "read/perfetto_impl.h"

#include <stdio.h>
#include <string.h>

static tm_status open_dump(pf_reader *r, const pf_dump *d, int64_t pid) {
  static const char name[] = "periodic_interval", category[] = "disabled-by-default-memory-infra";
  tm_tl_event e = {.phase = 'v',
                   .timed = true,
                   .time_ns = d->time_ns,
                   .pid = pid,
                   .tid = -1,
                   .offset = d->offset};
  tm_strtab *strings = &r->timeline->strings;
  TM_TRY(tm_strtab_intern(r->ctx, strings, name, sizeof name - 1, &e.name));
  TM_TRY(tm_strtab_intern(r->ctx, strings, category, sizeof category - 1, &e.category));
  bool wants;
  return tm_tl_open(r->ctx, &r->builder, &e, &wants);
}

static tm_status send_hex(pf_reader *r, int path_size, uint64_t value) {
  if (path_size < 0 || (size_t)path_size >= sizeof r->path) return TM_OK;
  char text[24];
  int size = snprintf(text, sizeof text, "%llx", (unsigned long long)value);
  tm_tl_field f = {.path = r->path,
                   .path_size = (size_t)path_size,
                   .type = TM_TL_TEXT,
                   .text = text,
                   .size = (size_t)size};
  return tm_tl_add_field(r->ctx, &r->builder, &f);
}

// ---- process totals ----

static tm_status send_total(pf_reader *r, const char *name, uint64_t kilobytes) {
  if (kilobytes > UINT64_MAX / 1024) return TM_OK;
  int size = snprintf(r->path, sizeof r->path, "dumps.process_totals.%s", name);
  return send_hex(r, size, kilobytes * 1024);
}

// ProcessStats.Process: 1 pid, 13 chrome_private_footprint_kb, 14 chrome_peak_resident_set_kb.
static tm_status send_process(pf_reader *r, const pf_dump *d, pf_span message) {
  uint64_t pid = 0, private_kb = 0, peak_kb = 0;
  bool has_private = false, has_peak = false;
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.type != 0) continue;
    if (f.number == 1) pid = f.value;
    if (f.number == 13) {
      private_kb = f.value;
      has_private = true;
    }
    if (f.number == 14) {
      peak_kb = f.value;
      has_peak = true;
    }
  }
  if (!has_private && !has_peak) return TM_OK;
  TM_TRY(open_dump(r, d, (int32_t)pid));
  if (has_peak) TM_TRY(send_total(r, "peak_resident_set_size", peak_kb));
  if (has_private) TM_TRY(send_total(r, "private_footprint_bytes", private_kb));
  return tm_tl_close(r->ctx, &r->builder);
}

// ---- allocators ----

static tm_status send_attribute(pf_reader *r, pf_span name, const char *attribute, uint64_t value) {
  if (name.size > 400) return TM_OK;
  int size = snprintf(r->path, sizeof r->path, "dumps.allocators.%.*s.attrs.%s.value",
                      (int)name.size, (const char *)name.data, attribute);
  return send_hex(r, size, value);
}

// MemoryNode: 2 absolute_name, 4 size_bytes, 5 entries {1 name, 3 value_uint64}.
static tm_status send_node(pf_reader *r, pf_span message) {
  pf_span name = {0};
  uint64_t size_bytes = 0;
  wire_field f;
  wire w = pf_wire(message);
  while (pf_next(&w, &f)) {
    if (f.number == 2 && f.type == 2) name = pf_span_of(&f);
    if (f.number == 4 && f.type == 0) size_bytes = f.value;
  }
  if (size_bytes) TM_TRY(send_attribute(r, name, "size", size_bytes));
  w = pf_wire(message);
  while (pf_next(&w, &f)) {
    if (f.number != 5 || f.type != 2) continue;
    pf_span entry = {0};
    uint64_t value = 0;
    wire e = pf_wire(pf_span_of(&f));
    for (wire_field g; pf_next(&e, &g);) {
      if (g.number == 1 && g.type == 2) entry = pf_span_of(&g);
      if (g.number == 3 && g.type == 0) value = g.value;
    }
    if (entry.size == 12 && memcmp(entry.data, "object_count", 12) == 0)
      TM_TRY(send_attribute(r, name, "object_count", value));
  }
  return TM_OK;
}

// ProcessSnapshot: 1 pid, 2 allocator_dumps.
static tm_status send_snapshot(pf_reader *r, const pf_dump *d, pf_span message) {
  int64_t pid = 0;
  wire_field f;
  wire w = pf_wire(message);
  while (pf_next(&w, &f))
    if (f.number == 1 && f.type == 0) pid = (int32_t)f.value;
  TM_TRY(open_dump(r, d, pid));
  w = pf_wire(message);
  while (pf_next(&w, &f))
    if (f.number == 2 && f.type == 2) TM_TRY(send_node(r, pf_span_of(&f)));
  return tm_tl_close(r->ctx, &r->builder);
}

// MemoryTrackerSnapshot: 3 process_memory_dumps. ProcessStats: 1 processes.
tm_status pf_send_dumps(pf_reader *r) {
  for (size_t i = 0; i < r->dumps.count; i++) {
    const pf_dump *d = &r->dumps.items[i];
    bool totals = d->field == PF_PROCESS_STATS;
    wire w = pf_wire(d->message);
    for (wire_field f; pf_next(&w, &f);) {
      if (f.type != 2) continue;
      if (totals && f.number == 1) TM_TRY(send_process(r, d, pf_span_of(&f)));
      if (!totals && f.number == 3) TM_TRY(send_snapshot(r, d, pf_span_of(&f)));
    }
  }
  return TM_OK;
}
