// The file is mapped, private and writable, so that what names objects anew (Go's types) writes to
// copies of pages. Its arrays are hashed before anything looks at them: 10 GB/s, and with the
// checks of tm_graph_columns all that an index costs. Models free through an allocator that knows
// the map and leaves what lies in it alone.
#include "read/graph_index.h"

#include "model/graph.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct tm_graph_index {
  tm_columns columns; // first: the walk hands it back
  tm_allocator base;
  uint8_t *data;
  size_t size;
  const tm_reader *reader;
  const tm_index_section *sections;
  size_t section_count, next;
};

static bool is_mapped(const tm_graph_index *index, const void *p) {
  uintptr_t at = (uintptr_t)p, begin = (uintptr_t)index->data;
  return at >= begin && at < begin + index->size;
}

static void *reallocate(void *ud, void *p, size_t old_size, size_t size) {
  tm_graph_index *index = ud;
  if (!is_mapped(index, p)) return index->base.realloc_fn(index->base.ud, p, old_size, size);
  if (!size) return NULL;
  void *copy = index->base.realloc_fn(index->base.ud, NULL, 0, size);
  if (copy) memcpy(copy, p, old_size < size ? old_size : size);
  return copy;
}

// ---- the file ----

static tm_status stale(tm_ctx *ctx, const char *what) {
  return tm_fail(ctx, TM_E_VERSION, TM_NO_OFFSET, "the index is of another %s", what);
}

static tm_status damaged(tm_ctx *ctx, const char *what) {
  return tm_fail(ctx, TM_E_FORMAT, TM_NO_OFFSET, "the index is damaged: %s", what);
}

// Only what nobody else can have written may speak for a dump.
static tm_status map_file(tm_ctx *ctx, const char *path, tm_graph_index *index) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return tm_fail_errno(ctx, errno, "cannot open the index %s", path);
  bool known = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
  bool own = known && (st.st_uid == geteuid() || st.st_uid == 0) && !(st.st_mode & 022);
  if (own && (uint64_t)st.st_size >= sizeof(tm_index_head)) {
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (p != MAP_FAILED) {
      index->data = p;
      index->size = (size_t)st.st_size;
    }
  }
  close(fd);
  if (index->data) return TM_OK;
  if (known && !own) return tm_fail(ctx, TM_E_PERM, TM_NO_OFFSET, "others may write the index");
  return damaged(ctx, "it is no file or too short");
}

static tm_status check_head(tm_ctx *ctx, tm_graph_index *index, const tm_index_identity *of,
                            const char *reader) {
  tm_index_head head;
  memcpy(&head, index->data, sizeof head);
  if (memcmp(head.magic, TM_INDEX_MAGIC, sizeof head.magic) != 0)
    return damaged(ctx, "it does not begin as one");
  if (head.order != TM_INDEX_ORDER || head.word_bytes != sizeof(void *))
    return stale(ctx, "machine");
  if (head.version != TM_INDEX_VERSION
      || strncmp(head.program, TM_VERSION, sizeof head.program) != 0)
    return stale(ctx, "version of tidemark");
  if (head.head_hash != tm_index_hash(&head, offsetof(tm_index_head, head_hash)))
    return damaged(ctx, "its head");
  bool same = head.of.size_bytes == of->size_bytes && head.of.changed_ns == of->changed_ns
              && head.of.sample_hash == of->sample_hash;
  if (!same) return stale(ctx, "state of the dump");
  head.reader[sizeof head.reader - 1] = '\0';
  index->reader = tm_reader_named(head.reader);
  if (!index->reader || !index->reader->restore || (reader && strcmp(reader, head.reader) != 0))
    return stale(ctx, "format");
  uint64_t table = (uint64_t)head.section_count * sizeof *index->sections;
  if (head.file_bytes != index->size || head.table_offset > index->size
      || index->size - head.table_offset != table || head.table_offset % TM_INDEX_ALIGN)
    return damaged(ctx, "it is of another size than it says");
  index->sections = (const tm_index_section *)(const void *)(index->data + head.table_offset);
  index->section_count = head.section_count;
  if (tm_index_hash(index->sections, (size_t)table) != head.table_hash)
    return damaged(ctx, "its table");
  return TM_OK;
}

static tm_status check_sections(tm_ctx *ctx, const tm_graph_index *index) {
  for (size_t i = 0; i < index->section_count; i++) {
    const tm_index_section *s = &index->sections[i];
    if (s->offset % TM_INDEX_ALIGN || s->offset > index->size || s->bytes > index->size - s->offset)
      return damaged(ctx, "an array lies outside of it");
    if (tm_index_hash(index->data + s->offset, (size_t)s->bytes) != s->hash)
      return tm_fail(ctx, TM_E_FORMAT, s->offset, "the index is damaged: array %zu of %zu", i + 1,
                     index->section_count);
  }
  return TM_OK;
}

static tm_status take(tm_columns *columns, void **items, size_t *bytes) {
  tm_graph_index *index = (tm_graph_index *)columns;
  if (index->next == index->section_count) return damaged(columns->ctx, "an array is missing");
  const tm_index_section *s = &index->sections[index->next++];
  *items = s->bytes ? index->data + s->offset : NULL;
  *bytes = (size_t)s->bytes;
  return TM_OK;
}

tm_status tm_graph_index_open(tm_ctx *ctx, const char *path, const tm_index_identity *of,
                              const char *reader, tm_graph_index **out) {
  tm_graph_index *index = tm_calloc(ctx, 1, sizeof *index);
  if (!index) return TM_E_NOMEM;
  index->base = ctx->alloc;
  index->columns =
      (tm_columns){.taking = true, .alloc = {.realloc_fn = reallocate, .ud = index}, .take = take};
  tm_status status = map_file(ctx, path, index);
  if (status == TM_OK) status = check_head(ctx, index, of, reader);
  if (status == TM_OK) status = check_sections(ctx, index);
  if (status == TM_OK) (void)mprotect(index->data, index->size, PROT_READ | PROT_WRITE);
  if (status != TM_OK) {
    tm_graph_index_close(index);
    return status;
  }
  *out = index;
  return TM_OK;
}

void tm_graph_index_close(tm_graph_index *index) {
  if (!index) return;
  if (index->data) munmap(index->data, index->size);
  index->base.realloc_fn(index->base.ud, index, sizeof *index, 0);
}

const tm_reader *tm_graph_index_reader(const tm_graph_index *index) {
  return index->reader;
}

// ---- the graph ----

static tm_status take_problem(tm_columns *c, tm_snapshot *out) {
  tm_index_problem problem;
  TM_TRY(tm_columns_value(c, &problem, sizeof problem));
  out->partial = problem.partial != 0;
  if (!out->partial) return TM_OK;
  if (problem.status < TM_E_ARG || problem.status > TM_E_TIMEOUT)
    return tm_columns_damaged(c, "its problem is of no kind");
  out->problem.status = (tm_status)problem.status;
  out->problem.offset_bytes = problem.offset_bytes;
  problem.message[sizeof problem.message - 1] = '\0';
  memcpy(out->problem.message, problem.message, sizeof problem.message);
  return TM_OK;
}

static void free_graph(void *graph) {
  tm_graph_free(graph);
}

tm_status tm_graph_index_take(tm_ctx *ctx, tm_graph_index *index, const tm_source *src,
                              tm_snapshot *out) {
  tm_columns *c = tm_graph_index_more(ctx, index);
  tm_snapshot s = {.kind = index->reader->kind, .format = index->reader->name};
  tm_graph *g;
  TM_TRY(take_problem(c, &s));
  TM_TRY(index->reader->restore(ctx, src, &g));
  g->alloc = c->alloc;
  tm_status status = tm_graph_columns(c, g);
  if (status == TM_OK) status = g->detail->columns(c, g);
  if (status != TM_OK) {
    tm_graph_free(g);
    return status;
  }
  out->kind = s.kind;
  out->format = s.format;
  out->partial = s.partial;
  out->problem = s.problem;
  out->model = g;
  out->free_model = free_graph;
  return TM_OK;
}

tm_columns *tm_graph_index_more(tm_ctx *ctx, tm_graph_index *index) {
  index->columns.ctx = ctx;
  return &index->columns;
}
