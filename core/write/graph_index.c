// Arrays go to the file as they are, each behind the last at the next multiple of 64 bytes, with
// the hash of each in a table behind all; the head comes last, when what it tells is true.
// O(bytes), bound by the disk.
#include "write/graph_index.h"

#include "model/graph.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_BYTES = 8 << 20, PATH_ROOM = 4096 };

typedef struct index_writer {
  tm_columns columns; // first: the walk hands it back
  int fd;
  uint64_t at;
  TM_VEC(tm_index_section) sections;
} index_writer;

static tm_status put(index_writer *w, const void *data, size_t bytes) {
  const uint8_t *p = data;
  while (bytes) {
    size_t piece = bytes < PIECE_BYTES ? bytes : PIECE_BYTES;
    ssize_t n = pwrite(w->fd, p, piece, (off_t)w->at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return tm_fail_errno(w->columns.ctx, errno, "cannot write the index");
    p += n;
    w->at += (uint64_t)n;
    bytes -= (size_t)n;
    TM_TRY(tm_ctx_tick(w->columns.ctx, w->at));
  }
  return TM_OK;
}

static tm_status store(tm_columns *columns, const void *items, size_t bytes) {
  index_writer *w = (index_writer *)columns;
  w->at = (w->at + TM_INDEX_ALIGN - 1) / TM_INDEX_ALIGN * TM_INDEX_ALIGN;
  tm_index_section section = {w->at, bytes, tm_index_hash(bytes ? items : "", bytes)};
  TM_TRY(tm_vec_push(columns->ctx, &w->sections, section));
  return put(w, items, bytes);
}

// Whether the dump was whole, and what was not, then the graph and what its reader keeps.
static tm_status store_snapshot(tm_columns *c, const tm_snapshot *s) {
  tm_graph *g = s->model;
  tm_index_problem problem = {s->partial, s->problem.status, s->problem.offset_bytes, ""};
  snprintf(problem.message, sizeof problem.message, "%s", s->problem.message);
  TM_TRY(tm_columns_value(c, &problem, sizeof problem));
  TM_TRY(tm_graph_columns(c, g));
  return g->detail->columns(c, g);
}

static tm_status put_head(index_writer *w, const char *reader, const tm_index_identity *of) {
  size_t bytes = w->sections.count * sizeof *w->sections.items;
  tm_index_head head = {.version = TM_INDEX_VERSION,
                        .order = TM_INDEX_ORDER,
                        .of = *of,
                        .section_count = (uint32_t)w->sections.count,
                        .word_bytes = sizeof(void *)};
  memcpy(head.magic, TM_INDEX_MAGIC, sizeof head.magic);
  snprintf(head.program, sizeof head.program, "%s", TM_VERSION);
  snprintf(head.reader, sizeof head.reader, "%s", reader);
  w->at = (w->at + TM_INDEX_ALIGN - 1) / TM_INDEX_ALIGN * TM_INDEX_ALIGN;
  head.table_offset = w->at;
  head.table_hash = tm_index_hash(w->sections.items, bytes);
  TM_TRY(put(w, w->sections.items, bytes));
  head.file_bytes = w->at;
  head.head_hash = tm_index_hash(&head, offsetof(tm_index_head, head_hash));
  w->at = 0;
  TM_TRY(put(w, &head, sizeof head));
  w->at = head.file_bytes;
  return TM_OK;
}

static tm_status write_all(index_writer *w, const tm_snapshot *s, const tm_index_identity *of,
                           tm_index_more_fn more, void *ud) {
  w->at = sizeof(tm_index_head);
  TM_TRY(store_snapshot(&w->columns, s));
  if (more) TM_TRY(more(&w->columns, ud));
  return put_head(w, s->format, of);
}

// A file without a name, which nothing is left of should we be killed; where the system has none,
// one with a name of its own. named: room for that name, in front path + ".XXXXXX".
static int open_aside(const char *path, char *named, bool *has_name) {
#ifdef O_TMPFILE
  char folder[PATH_ROOM];
  const char *slash = strrchr(path, '/');
  snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 2, slash ? path : "./");
  int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  *has_name = fd < 0;
  if (fd >= 0) return fd;
#else
  (void)path;
  *has_name = true;
#endif
  return mkostemp(named, O_CLOEXEC);
}

// Puts the whole file where the index is to be.
static tm_status publish(tm_ctx *ctx, int fd, char *named, bool has_name, const char *path) {
  char self[64];
  snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
  if (!has_name) {
    int unused = mkostemp(named, O_CLOEXEC); // a name that is free
    if (unused >= 0) close(unused);
    unlink(named);
    if (linkat(AT_FDCWD, self, AT_FDCWD, named, AT_SYMLINK_FOLLOW) != 0)
      return tm_fail_errno(ctx, errno, "cannot write %s", path);
  }
  if (rename(named, path) == 0) return TM_OK;
  tm_fail_errno(ctx, errno, "cannot write %s", path);
  unlink(named);
  return ctx->error.status;
}

tm_status tm_graph_index_write(tm_ctx *ctx, const char *path, const tm_snapshot *s,
                               const tm_index_identity *of, tm_index_more_fn more, void *ud,
                               uint64_t *out_bytes) {
  const tm_graph *g = s->model;
  char name[PATH_ROOM];
  bool has_name;
  if (!g->detail->columns || !g->node_count)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "this dump (%s) has no index", s->format);
  int n = snprintf(name, sizeof name, "%s.XXXXXX", path);
  if (n < 0 || (size_t)n >= sizeof name)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "the path of the index is too long");
  index_writer w = {.columns = {.ctx = ctx, .store = store},
                    .fd = open_aside(path, name, &has_name)};
  if (w.fd < 0) return tm_fail_errno(ctx, errno, "cannot write %s", path);
  tm_status status = write_all(&w, s, of, more, ud);
  if (status == TM_OK)
    status = publish(ctx, w.fd, name, has_name, path);
  else if (has_name)
    unlink(name);
  close(w.fd);
  *out_bytes = w.at;
  tm_vec_free(ctx, &w.sections);
  return status;
}
