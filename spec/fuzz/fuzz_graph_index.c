// floors: read write analyze
// A heap dump (as in fuzz_heap_questions: its last byte chooses the format) behind a list of
// changes to its saved index: a byte with their count, then 8 bytes each: array, kind, place (2),
// value (4). The index is written, changed, its hashes made right again, and opened: it is refused,
// or everything that can be asked has an answer within bounds. Without changes it is the same
// graph.
#include "analyze/domtree.h"
#include "analyze/objects.h"
#include "model/profile.h"
#include "read/goheap_typing.h"
#include "read/graph_index.h"
#include "read/reader.h"
#include "write/graph_index.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CHANGE_BYTES = 8, NODES_ASKED = 48 };

static char dump_path[64], index_path[64];

// A changed index may send a question to bytes that are no object: that is refused.
static bool may_refuse;

static void must(tm_status status) {
  if (status != TM_OK && !(may_refuse && status == TM_E_ARG)) abort();
}

static void remove_files(void) {
  unlink(dump_path);
  unlink(index_path);
}

static void name_files(void) {
  if (dump_path[0]) return;
  const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  snprintf(dump_path, sizeof dump_path, "%s/tm-index-%ld", folder, (long)getpid());
  snprintf(index_path, sizeof index_path, "%s.tmx", dump_path);
  atexit(remove_files);
}

static void write_file(const char *path, const void *data, size_t size) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
  close(fd);
}

// ---- writing ----

typedef struct stored_tree {
  tm_domtree *tree;
  tm_domchildren children;
} stored_tree;

static tm_status store_tree(tm_columns *c, void *ud) {
  const stored_tree *t = ud;
  return tm_domtree_store(c, t->tree, &t->children);
}

static void save(tm_ctx *ctx, const tm_snapshot *s) {
  stored_tree t;
  tm_index_identity of;
  uint64_t bytes;
  int fd = open(dump_path, O_RDONLY | O_CLOEXEC);
  must(tm_index_identify(ctx, fd, &of));
  close(fd);
  must(tm_domtree_new(ctx, s->model, TM_STRENGTH_SOFT, &t.tree));
  must(tm_domtree_children(ctx, t.tree, &t.children));
  must(tm_graph_index_write(ctx, index_path, s, &of, store_tree, &t, &bytes));
  tm_domchildren_fini(&t.children);
  tm_domtree_free(t.tree);
}

// ---- changing ----

static void change(uint8_t *index, size_t size, tm_index_section *sections, uint32_t count,
                   const uint8_t *c) {
  tm_index_section *s = &sections[c[0] % count];
  size_t place = (size_t)c[2] | (size_t)c[3] << 8;
  uint32_t value;
  memcpy(&value, c + 4, sizeof value);
  if (c[1] % 4 == 3) { // another length
    uint64_t bytes = s->bytes + (uint64_t)(int64_t)(int8_t)c[4] * (1u << c[5] % 8);
    if (s->offset <= size && bytes <= size - s->offset) s->bytes = bytes;
    return;
  }
  size_t width = c[1] % 4 == 0 ? 1 : 4;
  if (s->bytes < width) return;
  uint8_t *at = index + s->offset + (width == 4 ? place * 4 : place) % (s->bytes - width + 1);
  if (c[1] % 4 == 2) {
    uint32_t old;
    memcpy(&old, at, sizeof old);
    value = old + (uint32_t)(int32_t)(int8_t)c[4];
  }
  memcpy(at, &value, width);
}

static void spoil(const uint8_t *changes, size_t count) {
  int fd = open(index_path, O_RDWR | O_CLOEXEC);
  off_t size = lseek(fd, 0, SEEK_END);
  uint8_t *index = malloc((size_t)size);
  tm_index_head head;
  if (!index || pread(fd, index, (size_t)size, 0) != size) abort();
  memcpy(&head, index, sizeof head);
  size_t table = head.section_count * sizeof(tm_index_section);
  tm_index_section *sections = malloc(table);
  if (!sections) abort();
  memcpy(sections, index + head.table_offset, table);
  for (size_t i = 0; i < count; i++)
    change(index, (size_t)size, sections, head.section_count, changes + i * CHANGE_BYTES);
  for (uint32_t i = 0; i < head.section_count; i++)
    sections[i].hash = tm_index_hash(index + sections[i].offset, (size_t)sections[i].bytes);
  memcpy(index + head.table_offset, sections, table);
  head.table_hash = tm_index_hash(sections, table);
  head.head_hash = tm_index_hash(&head, offsetof(tm_index_head, head_hash));
  memcpy(index, &head, sizeof head);
  if (pwrite(fd, index, (size_t)size, 0) != size) abort();
  close(fd);
  free(sections);
  free(index);
}

// ---- asking ----

static tm_table *table(tm_ctx *ctx) {
  tm_table *out;
  must(tm_table_new(ctx, &out));
  return out;
}

static void ask_node(tm_ctx *ctx, const tm_graph *g, uint32_t n) {
  char text[256];
  uint32_t places[16];
  tm_contents contents;
  tm_field field;
  uint8_t sum = 0;
  (void)g->detail->find(g, g->detail->id(g, n));
  must(g->detail->preview(ctx, g, n, text, sizeof text));
  tm_table *t = table(ctx);
  must(g->detail->fields(ctx, g, n, t));
  tm_table_free(t);
  (void)g->detail->places(g, n, places, 16);
  uint32_t edges = g->edge_begin[n + 1] - g->edge_begin[n];
  for (uint32_t e = 0; e < edges && e < 16; e++)
    must(g->detail->edge_name(ctx, g, n, e, text, sizeof text));
  if (g->detail->contents(g, n, &contents))
    for (uint64_t i = 0; i < contents.size_bytes; i++) sum ^= contents.data[i];
  if (g->detail->field) (void)g->detail->field(g, n, sum ? "left" : "[]", &field);
  if (g->detail->source) g->detail->source(g, n, text, sizeof text);
  if (g->detail->raw_bytes) (void)g->detail->raw_bytes(g, n);
  if (!g->detail->stack) return;
  t = table(ctx);
  must(g->detail->stack(ctx, g, n, t));
  tm_table_free(t);
}

static void ask_distances(tm_ctx *ctx, const tm_graph *g) {
  size_t n = (size_t)g->node_count + 1;
  int32_t *out = malloc(n * sizeof *out);
  uint32_t *queue = malloc(n * sizeof *queue);
  if (!out || !queue) abort();
  for (size_t i = 0; i < n; i++) out[i] = -5;
  must(g->detail->distances(ctx, g, out, queue));
  free(out);
  free(queue);
}

static void ask_allocations(tm_ctx *ctx, const tm_graph *g) {
  tm_profile *p = NULL;
  if (g->detail->allocations(ctx, g, &p) == TM_OK) tm_profile_free(p);
  tm_ctx_clear(ctx);
}

static void ask(tm_ctx *ctx, const tm_graph *g, const tm_domtree *tree, const tm_domchildren *c) {
  for (uint32_t n = 0; n < g->node_count && n < NODES_ASKED; n++) {
    ask_node(ctx, g, n);
    tm_table *t = table(ctx);
    must(tm_objects_dominated(ctx, g, tree, c, n, 5, t));
    tm_table_free(t);
    t = table(ctx);
    must(tm_objects_path(ctx, g, tree, n, TM_STRENGTH_SOFT, t));
    tm_table_free(t);
  }
  tm_table *t = table(ctx);
  must(tm_objects_table(ctx, g, tree, c, TM_OBJECTS_BY_RETAINED, 10, t));
  tm_table_free(t);
  if (g->detail->distances) ask_distances(ctx, g);
  if (g->detail->allocations) ask_allocations(ctx, g);
}

static void compare(const tm_graph *a, const tm_graph *b) {
  if (a->node_count != b->node_count || a->edge_count != b->edge_count) abort();
  if (a->shallow_bytes != b->shallow_bytes || a->types.count != b->types.count) abort();
  for (uint32_t n = 0; n < a->node_count; n++)
    if (a->detail->id(a, n) != b->detail->id(b, n) || a->size[n] != b->size[n]) abort();
}

static void open_again(tm_ctx *ctx, const char *format, const tm_graph *before, bool changed) {
  tm_snapshot s = {0};
  tm_domtree *tree = NULL;
  tm_domchildren children = {0};
  tm_status status = tm_read_by_index(ctx, dump_path, format, index_path, &s);
  if (status == TM_OK) status = tm_domtree_take(s.more, s.model, &tree, &children);
  if (status != TM_OK && (!changed || !*ctx->error.message)) abort();
  if (status == TM_OK && !changed) compare(before, s.model);
  may_refuse = changed;
  if (status == TM_OK) ask(ctx, s.model, tree, &children);
  may_refuse = false;
  tm_domchildren_fini(&children);
  tm_domtree_free(tree);
  tm_snapshot_fini(&s);
  tm_ctx_clear(ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const formats[] = {"hprof", "v8heap", "goheap"};
  size_t changes = size ? data[0] % 16 : 0, head = 1 + changes * CHANGE_BYTES;
  if (size < head + 2 || data[head] == 0x1f || data[head] == 0x28) return 0;
  const char *format = formats[data[size - 1] % 3];
  tm_ctx ctx;
  tm_snapshot s = {0};
  name_files();
  tm_ctx_init(&ctx, NULL);
  write_file(dump_path, data + head, size - head - 1);
  tm_status status = tm_read_file(&ctx, dump_path, format, &s);
  (void)status; // what is whole of a damaged dump is indexed, too
  tm_ctx_clear(&ctx);
  const tm_graph *g = s.model;
  if (g && g->node_count) {
    save(&ctx, &s);
    if (changes) spoil(data + 1, changes);
    open_again(&ctx, format, s.model, changes != 0);
  }
  tm_snapshot_fini(&s);
  tm_ctx_fini(&ctx);
  return 0;
}
