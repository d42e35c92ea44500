// Go heap dumps (runtime/debug.WriteHeapDump, "go1.7 heap dump", written by Go 1.7 to 1.26).
//
// The file is mapped and walked once over all records, which finds the objects; then once over the
// objects in the order of their addresses. Addresses become dense numbers by a bitmap with ranks,
// which also finds the object that a pointer points into. Nothing is copied: an object is decoded
// again from the file when somebody looks at it. O(file), 8 bytes an object and 4 a pointer beyond
// the graph's own columns.
//
// Source: runtime/heapdump.go.
#include "read/goheap_impl.h"
#include "read/reader.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { TICK_RECORDS = 1 << 16, PAGE_SHIFT = 13, PAGE_BYTES = 1 << PAGE_SHIFT };

static const char magic[] = "go1.7 heap dump\n";

// Parts of each record: v a number, s bytes with their length in front, f a list of fields.
static const char *const parts_of[GOHEAP_TAGS] = {
    [GOHEAP_EOF] = "",
    [GOHEAP_OBJECT] = "vsf",
    [GOHEAP_ROOT] = "sv",
    [GOHEAP_TYPE] = "vvsv",
    [GOHEAP_GOROUTINE] = "vvvvvvvvsvvvv",
    [GOHEAP_FRAME] = "vvvsvvvsf",
    [GOHEAP_PARAMS] = "vvvvssv",
    [GOHEAP_FINALIZER] = "vvvvv",
    [GOHEAP_ITAB] = "vv",
    [GOHEAP_THREAD] = "vvv",
    [GOHEAP_MEMSTATS] = "", // many numbers
    [GOHEAP_QUEUED] = "vvvvv",
    [GOHEAP_DATA] = "vsf",
    [GOHEAP_BSS] = "vsf",
    [GOHEAP_DEFER] = "vvvvvvv",
    [GOHEAP_PANIC] = "vvvvvv",
    [GOHEAP_BUCKET] = "vv", // and a stack
    [GOHEAP_SAMPLE] = "vv",
};

enum { MEMSTATS_NUMBERS = 24 + 256 + 1 };

// ---- records ----

static bool read_bytes(wire *w, goheap_bytes *out) {
  uint64_t size;
  if (!wire_varint(w, &size)) return false;
  if (size > (uint64_t)(w->end - w->at)) {
    w->fault = "the file ends inside the bytes of a record";
    return false;
  }
  *out = (goheap_bytes){w->at, (size_t)size};
  w->at += size;
  return true;
}

static bool skip_fields(wire *w, uint32_t *count) {
  uint64_t kind, offset;
  for (;;) {
    if (!wire_small_varint(w, &kind)) return false;
    if (!kind) return true;
    if (kind > 3) {
      w->fault = "a field of no known kind";
      return false;
    }
    if (!wire_small_varint(w, &offset)) return false;
    ++*count;
  }
}

bool goheap_read_object(wire *w, goheap_object *out, uint32_t *out_fields) {
  *out_fields = 0;
  if (!wire_varint(w, &out->address) || !read_bytes(w, &out->contents)) return false;
  out->fields = w->at;
  return skip_fields(w, out_fields);
}

static bool skip_numbers(wire *w, uint64_t n) {
  uint64_t ignored;
  for (uint64_t i = 0; i < n; i++)
    if (!wire_varint(w, &ignored)) return false;
  return true;
}

static bool skip_stack(wire *w) {
  uint64_t n, line;
  goheap_bytes function, file;
  if (!wire_varint(w, &n)) return false;
  for (uint64_t i = 0; i < n; i++)
    if (!read_bytes(w, &function) || !read_bytes(w, &file) || !wire_varint(w, &line)) return false;
  return skip_numbers(w, 2);
}

bool goheap_read_record(wire *w, goheap_record *out) {
  uint64_t tag;
  uint32_t numbers = 0, texts = 0, fields = 0;
  if (!wire_varint(w, &tag)) return false;
  if (tag >= GOHEAP_TAGS) {
    w->fault = "an unknown record";
    return false;
  }
  out->tag = (uint32_t)tag;
  for (const char *part = parts_of[tag]; *part; part++) {
    bool ok = true;
    if (*part == 'v') {
      ok = wire_varint(w, &out->number[numbers++]);
    } else if (*part == 's') {
      ok = read_bytes(w, &out->text[texts++]);
    } else {
      out->fields = w->at;
      ok = skip_fields(w, &fields);
    }
    if (!ok) return false;
  }
  if (tag == GOHEAP_MEMSTATS) return skip_numbers(w, MEMSTATS_NUMBERS);
  return tag != GOHEAP_BUCKET || skip_stack(w);
}

// ---- 1. all records ----

static void mark_partial(goheap *h, uint64_t at, const char *what) {
  if (h->out->partial) return;
  h->out->partial = true;
  tm_fail(h->ctx, TM_E_FORMAT, at, "%s, at byte %llu; what came before was read", what,
          (unsigned long long)at);
  h->out->problem = h->ctx->error;
  tm_ctx_clear(h->ctx);
}

static bool mentions(const goheap_bytes *text, const char *word) {
  return memmem(text->data, text->size, word, strlen(word)) != NULL;
}

// What the collector keeps at the end of an 8 KiB page of small objects: since Go 1.22 a bit for
// each word, when they have pointers; with "Green Tea" (the default since 1.26) marks too.
enum { MARK_BYTES = 128 };

static bool has_inline_marks(const goheap *h, const goheap_bytes *version) {
  if (mentions(version, "nogreenteagc")) return false;
  return h->go_minor >= 26 || mentions(version, "greenteagc");
}

static void on_params(goheap *h, const goheap_record *r) {
  const goheap_bytes *version = &r->text[1];
  if (h->has_params || (r->number[1] != 4 && r->number[1] != 8)) return;
  h->has_params = true;
  size_t length = version->size < sizeof h->version ? version->size : sizeof h->version - 1;
  memcpy(h->version, version->data, length);
  h->big_endian = r->number[0] != 0;
  h->pointer_bytes = (uint32_t)r->number[1];
  if (version->size > 4 && memcmp(version->data, "go1.", 4) == 0)
    for (size_t i = 4; i < version->size && isdigit(version->data[i]) && h->go_minor < 1000; i++)
      h->go_minor = h->go_minor * 10 + (uint32_t)(version->data[i] - '0');
  else if (mentions(version, "devel"))
    h->go_minor = 26;
  h->reserve_bytes = has_inline_marks(h, version) ? MARK_BYTES : 0;
}

// A page of small objects while its records pass by. The runtime dumps as many slots as would fit
// the whole page, so that the last ones lie over the collector's bits: these are no objects.
typedef struct page {
  uint64_t number;
  size_t first_tail; // index in objects of the first one that reaches over the word bits
  bool has_tail, has_pointers;
} page;

typedef struct object_list {
  TM_VEC(uint64_t) addresses;
  page page;
} object_list;

static void close_page(goheap *h, object_list *list) {
  page *p = &list->page;
  if (p->has_tail && p->has_pointers) h->objects.count = list->addresses.count = p->first_tail;
  *p = (page){.number = UINT64_MAX};
}

// Whether the slot at the end of its page can be none, and notes what tells of the others.
static bool is_phantom(goheap *h, object_list *list, const goheap_object *o, uint32_t fields) {
  page *p = &list->page;
  uint64_t bits = PAGE_BYTES / h->pointer_bytes / 8;
  uint64_t small = 8ull * h->pointer_bytes * h->pointer_bytes; // a word of bits for its words
  uint64_t number = o->address >> PAGE_SHIFT, size = o->contents.size;
  if (number != p->number) {
    close_page(h, list);
    p->number = number;
  }
  if (h->go_minor < 22 || size > small) return false;
  uint64_t end = (o->address & (PAGE_BYTES - 1)) + size;
  uint64_t marks = size >= 16 ? h->reserve_bytes : 0;
  if (end > PAGE_BYTES - marks) return marks != 0;
  if (end > PAGE_BYTES - marks - bits) {
    if (!p->has_tail) p->first_tail = h->objects.count;
    p->has_tail = true;
  } else if (fields) {
    p->has_pointers = true;
  }
  return false;
}

static tm_status on_object(goheap *h, object_list *list, const goheap_object *o, uint32_t fields,
                           uint64_t at) {
  if (is_phantom(h, list, o, fields)) return TM_OK;
  h->pointer_count += fields;
  TM_TRY(tm_vec_push(h->ctx, &list->addresses, o->address));
  return tm_vec_push(h->ctx, &h->objects, at);
}

static tm_status on_record(goheap *h, const goheap_record *r, uint64_t at) {
  switch (r->tag) {
  case GOHEAP_PARAMS:
    on_params(h, r);
    return TM_OK;
  case GOHEAP_ITAB:
    TM_TRY(tm_idmap_put(h->ctx, &h->itabs, r->number[0], (uint32_t)h->itab_types.count));
    return tm_vec_push(h->ctx, &h->itab_types, r->number[1]);
  case GOHEAP_THREAD:
  case GOHEAP_MEMSTATS:
  case GOHEAP_EOF:
    return TM_OK;
  default:
    return tm_vec_push(h->ctx, &h->others, at);
  }
}

static tm_status read_records(goheap *h, object_list *list) {
  wire w = wire_of(h->data + GOHEAP_MAGIC_BYTES, h->size - GOHEAP_MAGIC_BYTES);
  goheap_record record = {.tag = GOHEAP_TAGS};
  goheap_object object;
  uint32_t fields;
  uint64_t count = 0;
  while (w.at < w.end) {
    uint64_t at = (uint64_t)(w.at - h->data);
    if (++count % TICK_RECORDS == 0) TM_TRY(tm_ctx_tick(h->ctx, at));
    if (TM_LIKELY(*w.at == GOHEAP_OBJECT)) {
      w.at++;
      if (goheap_read_object(&w, &object, &fields)) {
        TM_TRY(on_object(h, list, &object, fields, at));
        continue;
      }
    } else if (goheap_read_record(&w, &record)) {
      TM_TRY(on_record(h, &record, at));
      if (record.tag == GOHEAP_EOF) break;
      continue;
    }
    mark_partial(h, at, w.fault);
    break;
  }
  close_page(h, list);
  if (record.tag != GOHEAP_EOF) mark_partial(h, h->size, "the file ends before its last record");
  if (h->objects.count) return TM_OK;
  return tm_fail(h->ctx, TM_E_FORMAT, h->size, "the dump has no objects: it ends before the first");
}

// ---- 2. numbers ----

static tm_status place_objects(goheap *h) {
  h->at = tm_calloc(h->ctx, h->rank.count, sizeof *h->at);
  if (!h->at) return TM_E_NOMEM;
  for (size_t i = 0; i < h->objects.count; i++) {
    uint64_t at = h->objects.items[i], address;
    wire w = wire_of(h->data + at + 1, h->size - at - 1);
    if (!wire_varint(&w, &address)) continue;
    uint32_t node = tm_addr_rank_get(&h->rank, address);
    if (!h->at[node]) h->at[node] = at; // of two at one address the first stays
  }
  tm_vec_free(h->ctx, &h->objects);
  return TM_OK;
}

static tm_status number_objects(goheap *h) {
  object_list list = {.page.number = UINT64_MAX};
  tm_status status = read_records(h, &list);
  if (status == TM_OK)
    status = tm_addr_rank_build(h->ctx, &h->rank, list.addresses.items, list.addresses.count, 3);
  tm_vec_free(h->ctx, &list.addresses);
  TM_TRY(status);
  return place_objects(h);
}

// ---- the reader ----

static unsigned probe(const uint8_t *head, size_t size) {
  return size >= GOHEAP_MAGIC_BYTES && memcmp(head, magic, GOHEAP_MAGIC_BYTES) == 0 ? 128 : 0;
}

void goheap_free_kept(goheap *h) {
  tm_ctx ctx = {.alloc = h->graph->alloc};
  tm_vec_free(&ctx, &h->objects);
  tm_vec_free(&ctx, &h->others);
  tm_vec_free(&ctx, &h->held);
  tm_vec_free(&ctx, &h->names);
  tm_vec_free(&ctx, &h->frames);
  tm_vec_free(&ctx, &h->finalized);
  tm_vec_free(&ctx, &h->segments);
  tm_vec_free(&ctx, &h->buckets);
  tm_vec_free(&ctx, &h->itab_types);
  tm_idmap_free(&ctx, &h->itabs);
  tm_go_types_free(h->types);
  if (h->typed) tm_free(&ctx, h->typed, h->rank.count * sizeof *h->typed);
  tm_idmap_free(&ctx, &h->type_names);
  tm_idmap_free(&ctx, &h->sites);
  tm_idmap_free(&ctx, &h->type_of_name);
  tm_idmap_free(&ctx, &h->type_of_shape);
  if (h->at) tm_free(&ctx, h->at, h->rank.count * sizeof *h->at);
  tm_addr_rank_fini(&ctx, &h->rank);
  tm_free(&ctx, h, sizeof *h);
}

static tm_status read_all(goheap *h) {
  if (h->size < GOHEAP_MAGIC_BYTES || memcmp(h->data, magic, GOHEAP_MAGIC_BYTES) != 0)
    return tm_fail(h->ctx, TM_E_FORMAT, 0, "not a Go heap dump: no \"go1.7 heap dump\"");
  TM_TRY(number_objects(h));
  return goheap_fill_graph(h);
}

static void free_graph(void *graph) {
  tm_graph_free(graph);
}

static tm_status read_goheap(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  goheap *h = tm_calloc(ctx, 1, sizeof *h);
  if (!h) return TM_E_NOMEM;
  *h = (goheap){.ctx = ctx,
                .out = out,
                .data = src->data,
                .size = src->size,
                .pointer_bytes = 8,
                .goroutine = TM_NODE_NONE};
  tm_status status = tm_graph_new(ctx, &h->graph);
  if (status != TM_OK) {
    tm_free(ctx, h, sizeof *h);
    return status;
  }
  tm_graph *graph = h->graph;
  graph->kept = h;
  graph->detail = &goheap_detail;
  graph->id_word = "address";
  ctx->total = src->size;
  status = read_all(h);
  h->ctx = NULL;
  h->out = NULL;
  if (status != TM_OK) {
    tm_graph_free(graph);
    return status;
  }
  out->model = graph;
  out->free_model = free_graph;
  if (!out->partial) return TM_OK;
  ctx->error = out->problem; // building on after it may have recorded others
  return ctx->error.status;
}

const tm_reader tm_reader_goheap = {.name = "goheap",
                                    .title = "Go heap dump (debug.WriteHeapDump)",
                                    .kind = TM_KIND_GRAPH,
                                    .keeps_source = true,
                                    .takes_part = true,
                                    .probe = probe,
                                    .read = read_goheap,
                                    .restore = goheap_restore};
