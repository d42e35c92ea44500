// The part of a heaptrack recording that names things: strings, instruction pointers, the tree of
// stacks, and of raw recordings where modules were mapped.
#include "read/heaptrack.h"

#include <string.h>

enum { DEPTH_MAX = 1024, FRAMES_MAX = 1 << 26 }; // of one stack; of all samples

static tm_text text_of(const heaptrack *h, uint64_t string) {
  if (string == 0 || string > h->strings.count) return (tm_text){"", 0};
  const char *text = tm_profile_text(h->p, h->strings.items[string - 1]);
  return (tm_text){text, strlen(text)};
}

// Since version 3 a string says how long it is, and may hold line breaks.
tm_status ht_read_string(heaptrack *h) {
  const char *text = h->at;
  uint64_t bytes;
  uint32_t id;
  if (h->version >= 3) {
    if (!ht_hex(h, &bytes) || !ht_has_more(h) || bytes > (uint64_t)(h->end - h->at - 1))
      return ht_bad(h, "a string");
    text = h->at + 1;
  } else {
    if (ht_has_more(h)) text++;
    const char *newline = memchr(text, '\n', (size_t)(h->end - text));
    if (!newline) return ht_bad(h, "a string");
    bytes = (uint64_t)(newline - text);
  }
  h->at = text + bytes;
  TM_TRY(tm_profile_intern(h->ctx, h->p, text, bytes, &id));
  return tm_vec_push(h->ctx, &h->strings, id);
}

static tm_status mapping_of(heaptrack *h, tm_text file, uint32_t *out) {
  uint32_t name;
  TM_TRY(tm_profile_intern(h->ctx, h->p, file.at, file.size, &name));
  *out = tm_idmap_get(&h->mappings, name);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  *out = (uint32_t)h->p->mappings.count;
  TM_TRY(tm_idmap_put(h->ctx, &h->mappings, name, *out));
  return tm_vec_push(h->ctx, &h->p->mappings,
                     (tm_mapping){.id = *out + 1, .file = name, .has_functions = !h->is_raw});
}

static bool is_operator_new(tm_text name) {
  static const char *const names[] = {"operator new(unsigned long)",
                                      "operator new[](unsigned long)", "operator new(unsigned int)",
                                      "operator new[](unsigned int)"};
  for (size_t i = 0; i < TM_COUNT(names); i++)
    if (strlen(names[i]) == name.size && memcmp(names[i], name.at, name.size) == 0) return true;
  return false;
}

// "i ADDRESS MODULE (FUNCTION FILE LINE)*": the innermost of inlined functions first.
tm_status ht_read_ip(heaptrack *h) {
  uint64_t address, module = 0, function, file, line;
  uint32_t number = (uint32_t)h->p->locations.count;
  tm_location l = {.id = number + UINT64_C(1), .mapping = TM_PROFILE_NONE};
  bool is_new = false;
  uint32_t program;
  tm_text first = text_of(h, 1); // the program's own file is told first
  if (!ht_hex(h, &address)) return ht_bad(h, "an address");
  if (!h->p->mappings.count && first.size && *first.at == '/')
    TM_TRY(mapping_of(h, first, &program));
  if (ht_has_more(h) && !ht_hex(h, &module)) return ht_bad(h, "a module");
  tm_text file_name = text_of(h, module);
  if (file_name.size) TM_TRY(mapping_of(h, file_name, &l.mapping));
  l.address = address;
  l.line_begin = (uint32_t)h->p->lines.count;
  while (ht_has_more(h)) {
    uint32_t f;
    file = line = 0; // not every function has a place
    if (!ht_hex(h, &function) || (ht_has_more(h) && !ht_hex(h, &file))
        || (ht_has_more(h) && !ht_hex(h, &line)) || line > INT32_MAX)
      return ht_bad(h, "a frame");
    tm_text name = text_of(h, function);
    if (!name.size) continue;
    is_new = is_new || is_operator_new(name);
    TM_TRY(tm_frames_function(h->ctx, &h->frames, h->p, name, text_of(h, file), &f));
    TM_TRY(tm_vec_push(h->ctx, &h->p->lines, (tm_line){.function = f, .line = (int64_t)line}));
  }
  l.line_end = (uint32_t)h->p->lines.count;
  TM_TRY(tm_vec_push(h->ctx, &h->p->locations, l));
  TM_TRY(tm_vec_push(h->ctx, &h->ip_is_new, is_new));
  return tm_vec_push(h->ctx, &h->ips, number);
}

static tm_status raw_location(heaptrack *h, uint64_t address, uint32_t *out) {
  *out = tm_idmap_get(&h->raw_locations, address);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  *out = (uint32_t)h->p->locations.count;
  tm_location l = {.id = *out + UINT64_C(1), .address = address, .mapping = TM_PROFILE_NONE};
  for (size_t i = h->modules.count; i-- > 0 && l.mapping == TM_PROFILE_NONE;)
    if (address >= h->modules.items[i].start && address < h->modules.items[i].end)
      l.mapping = h->modules.items[i].mapping;
  l.line_begin = l.line_end = (uint32_t)h->p->lines.count;
  TM_TRY(tm_idmap_put(h->ctx, &h->raw_locations, address, *out));
  return tm_vec_push(h->ctx, &h->p->locations, l);
}

// "t IP PARENT"; IP is an address in raw recordings.
tm_status ht_read_trace(heaptrack *h) {
  uint64_t ip, parent;
  ht_trace t = {0};
  if (!ht_hex(h, &ip) || !ht_hex(h, &parent) || parent > h->traces.count)
    return ht_bad(h, "a stack");
  if (h->is_raw) {
    TM_TRY(raw_location(h, ip, &t.location));
  } else {
    if (ip == 0 || ip > h->ips.count) return ht_bad(h, "a stack's instruction pointer");
    t.location = h->ips.items[ip - 1];
    t.is_operator_new = h->ip_is_new.items[ip - 1];
  }
  t.parent = (uint32_t)parent;
  t.depth = parent ? h->traces.items[parent - 1].depth + 1 : 1;
  if (t.depth > DEPTH_MAX) return ht_bad(h, "a stack of 1,024 frames at most");
  TM_TRY(tm_vec_push(h->ctx, &h->traces, t));
  return tm_vec_push(h->ctx, &h->costs, (ht_cost){0});
}

// "m LENGTH FILE BASE (OFFSET BYTES)*", or "m 1 -": all are told anew. x is the program.
tm_status ht_read_module(heaptrack *h) {
  uint64_t bytes, base, offset, size;
  uint32_t mapping;
  if (h->version >= 3) {
    if (!ht_hex(h, &bytes) || !ht_has_more(h) || bytes > (uint64_t)(h->end - h->at - 1))
      return ht_bad(h, "a module");
  } else {
    const char *stop = h->at + 1;
    if (!ht_has_more(h)) return ht_bad(h, "a module");
    while (stop < h->end && *stop != ' ' && *stop != '\n') stop++;
    bytes = (uint64_t)(stop - h->at - 1);
  }
  tm_text file = {h->at + 1, bytes};
  h->at += 1 + bytes;
  if (bytes == 1 && *file.at == '-') {
    h->modules.count = 0;
    return TM_OK;
  }
  if (bytes == 1 && *file.at == 'x') { // the program itself
    const char *name = tm_profile_text(h->p, h->strings.count ? h->strings.items[0] : 0);
    file = (tm_text){name, strlen(name)};
  }
  if (!ht_hex(h, &base)) return ht_bad(h, "a module's address");
  TM_TRY(mapping_of(h, file, &mapping));
  tm_mapping *m = &h->p->mappings.items[mapping];
  while (ht_has_more(h)) {
    if (!ht_hex(h, &offset) || !ht_hex(h, &size)) return ht_bad(h, "a module's segment");
    uint64_t end = base + offset + size;
    if (m->limit == 0) m->start = base;
    if (end > m->limit) m->limit = end;
    TM_TRY(tm_vec_push(h->ctx, &h->modules, (ht_segment){base + offset, end, mapping}));
  }
  return TM_OK;
}

static int64_t number(uint64_t n) {
  return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}

// As in heaptrack's own views, operator new is not where memory is asked for.
tm_status ht_make_samples(heaptrack *h) {
  for (size_t i = 0; i < h->costs.count; i++) {
    const ht_cost *c = &h->costs.items[i];
    uint32_t at = (uint32_t)i + 1;
    if (!c->alloc_count) continue;
    if (h->p->stack.count + h->traces.items[i].depth > FRAMES_MAX)
      return tm_fail(h->ctx, TM_E_LIMIT, TM_NO_OFFSET, "stacks of more than 67 million frames");
    if (i % 4096 == 0) TM_TRY(tm_ctx_tick(h->ctx, (uint64_t)(h->at - h->start)));
    while (h->traces.items[at - 1].is_operator_new && h->traces.items[at - 1].parent)
      at = h->traces.items[at - 1].parent;
    for (; at; at = h->traces.items[at - 1].parent)
      TM_TRY(tm_vec_push(h->ctx, &h->p->stack, h->traces.items[at - 1].location));
    const int64_t values[] = {number(c->alloc_count), number(c->alloc_bytes),
                              number(c->live_count),  number(c->live_bytes),
                              number(c->peak_bytes),  number(c->temporary_count)};
    TM_TRY(tm_profile_end_sample(h->ctx, h->p, values));
  }
  return TM_OK;
}
