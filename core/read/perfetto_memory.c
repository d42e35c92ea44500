// Memory dumps: what a process holds in all (ProcessStats) and what its allocators say
// (MemoryTrackerSnapshot), as the 'v' events of Chrome's JSON: numbers are hex texts there.
// Source: protos/perfetto/trace/ps/process_stats.proto, protos/perfetto/trace/memory_graph.proto.
#include "read/perfetto_graph.h"

#include <stdio.h>
#include <stdlib.h>
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

// Puts the path of a node behind what stands there; negative when it does not fit.
static int put_path(pf_reader *r, const pf_graph *g, uint32_t at) {
  static const char start[] = "dumps.allocators.";
  size_t end = sizeof r->path - 64, size = 0;
  for (uint32_t n = at; g->nodes.items[n].parent != PF_NONE; n = g->nodes.items[n].parent)
    size += g->nodes.items[n].name.size + (size > 0);
  if (sizeof start - 1 + size > end) return -1;
  memcpy(r->path, start, sizeof start - 1);
  size_t left = size;
  for (uint32_t n = at; g->nodes.items[n].parent != PF_NONE; n = g->nodes.items[n].parent) {
    pf_span name = g->nodes.items[n].name;
    if (left < size) r->path[sizeof start - 1 + --left] = '/';
    left -= name.size;
    memcpy(r->path + sizeof start - 1 + left, name.data, name.size);
  }
  return (int)(sizeof start - 1 + size);
}

static tm_status send_attribute(pf_reader *r, int name_size, const char *attribute,
                                uint64_t value) {
  int size = snprintf(r->path + name_size, sizeof r->path - (size_t)name_size, ".attrs.%s.value",
                      attribute);
  return send_hex(r, name_size + size, value);
}

// In the order of Chrome's JSON, which has no sizes of zero.
static tm_status send_node(pf_reader *r, const pf_graph *g, uint32_t at) {
  const pf_node *n = &g->nodes.items[at];
  int size = put_path(r, g, at);
  if (size < 0) return TM_OK;
  if (n->effective) TM_TRY(send_attribute(r, size, "effective_size", n->effective));
  if (n->counted) TM_TRY(send_attribute(r, size, "object_count", n->objects));
  return n->size ? send_attribute(r, size, "size", n->size) : TM_OK;
}

// What processes share is told with the first of them.
static tm_status send_graph(pf_reader *r, const pf_dump *d, const pf_graph *g) {
  for (uint32_t process = 0; process < g->pids.count; process++) {
    int64_t pid = g->pids.items[process];
    if (!pid && g->pids.count > 1) pid = g->pids.items[1];
    TM_TRY(open_dump(r, d, pid));
    for (size_t i = 0; i < g->order.count; i++) {
      const pf_node *n = &g->nodes.items[g->order.items[i]];
      if (n->process == process && n->parent != PF_NONE && !n->weak)
        TM_TRY(send_node(r, g, g->order.items[i]));
    }
    TM_TRY(tm_tl_close(r->ctx, &r->builder));
  }
  return TM_OK;
}

// MemoryTrackerSnapshot: 3 process_memory_dumps. Each process may come in a packet of its own;
// those of one moment are one dump.
static tm_status build_graph(pf_reader *r, size_t first, pf_graph *g) {
  int64_t time_ns = r->dumps.items[first].time_ns;
  for (int pass = 0; pass < 2; pass++) {
    for (size_t i = first; i < r->dumps.count && r->dumps.items[i].time_ns == time_ns; i++) {
      if (r->dumps.items[i].field != PF_MEMORY_SNAPSHOT) continue;
      wire w = pf_wire(r->dumps.items[i].message);
      for (wire_field f; pf_next(&w, &f);) {
        if (f.number != 3 || f.type != 2) continue;
        if (!pass)
          TM_TRY(pf_graph_add(g, pf_span_of(&f)));
        else
          pf_graph_link(g, pf_span_of(&f));
      }
    }
  }
  return pf_graph_solve(g);
}

static tm_status send_allocators(pf_reader *r, size_t first) {
  pf_graph g = {.ctx = r->ctx};
  tm_status status = build_graph(r, first, &g);
  if (status == TM_OK) status = send_graph(r, &r->dumps.items[first], &g);
  pf_graph_fini(&g);
  return status;
}

static tm_status send_totals(pf_reader *r, const pf_dump *d) { // ProcessStats: 1 processes
  wire w = pf_wire(d->message);
  for (wire_field f; pf_next(&w, &f);)
    if (f.number == 1 && f.type == 2) TM_TRY(send_process(r, d, pf_span_of(&f)));
  return TM_OK;
}

static int by_time(const void *left, const void *right) {
  const pf_dump *a = left, *b = right;
  if (a->time_ns != b->time_ns) return a->time_ns < b->time_ns ? -1 : 1;
  if (a->field != b->field) return a->field < b->field ? -1 : 1;
  return a->message.data < b->message.data ? -1 : a->message.data > b->message.data;
}

tm_status pf_send_dumps(pf_reader *r) {
  if (r->dumps.count) qsort(r->dumps.items, r->dumps.count, sizeof *r->dumps.items, by_time);
  for (size_t i = 0; i < r->dumps.count; i++) {
    const pf_dump *d = &r->dumps.items[i];
    if (d->field == PF_PROCESS_STATS) {
      TM_TRY(send_totals(r, d));
      continue;
    }
    const pf_dump *before = i ? d - 1 : NULL;
    bool told = before && before->time_ns == d->time_ns && before->field == d->field;
    if (!told) TM_TRY(send_allocators(r, i));
  }
  return TM_OK;
}
