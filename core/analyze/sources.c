// Each file is read whole into an arena and cut into lines; files stay until the end of the report.
// The order of the places, the errors and the limit of a line are the reference's, so that a
// listing is the same; only then come the places of source_find.c.
#include "analyze/sources.h"

#include "analyze/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE_BYTES (UINT64_C(64) << 20)
#define MAX_LINE_BYTES 65535

tm_status tm_sources_init(tm_ctx *ctx, tm_sources *s, const char *search, const char *trim) {
  char folder[TM_SOURCE_PATH_MAX];
  *s = (tm_sources){.search = search, .trim = trim ? trim : ""};
  tm_arena_init(&s->arena, &ctx->alloc, UINT64_C(1) << 30);
  if (search && *search) return TM_OK;
  if (!getcwd(folder, sizeof folder)) return tm_fail_errno(ctx, errno, "finding this folder");
  s->search = s->folder = tm_arena_strndup(&s->arena, folder, strlen(folder));
  return s->folder ? TM_OK : tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (sources)");
}

void tm_sources_fini(tm_sources *s) {
  if (s->arena.alloc.realloc_fn) tm_arena_fini(&s->arena);
  *s = (tm_sources){0};
}

// Opens without waiting: a name in a profile may be that of a pipe.
static int open_file(const char *path) {
  return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

// The folder and each of its parents, for every folder of the search list.
static int open_relative(const char *name, const char *search, char buf[TM_SOURCE_PATH_MAX]) {
  char joined[2 * TM_SOURCE_PATH_MAX], dir[TM_SOURCE_PATH_MAX];
  size_t length;
  for (const char *s = search; *s; s += length + (s[length] == ':')) {
    length = strcspn(s, ":");
    if (length >= sizeof dir) continue;
    snprintf(dir, sizeof dir, "%.*s", (int)length, s);
    if (!length) memcpy(dir, ".", 2);
    do {
      int n = snprintf(joined, sizeof joined, "%s/%s", dir, name);
      if (n < 0 || (size_t)n + 2 > TM_SOURCE_PATH_MAX) break;
      tm_path_clean(buf, joined);
      int fd = open_file(buf);
      if (fd >= 0) return fd;
    } while (tm_path_up(dir));
  }
  return -1;
}

static tm_status set_error(tm_ctx *ctx, tm_sources *s, tm_source_file *f, const char *path,
                           int problem) {
  char text[2 * TM_SOURCE_PATH_MAX + 128], why[128] = "";
  if (*path == '/') {
    const char *known = strerror_r(problem, why, sizeof why);
    snprintf(text, sizeof text, "open %s: %s", path, known);
    char *first = text + strlen("open : ") + strlen(path);
    if (first < text + sizeof text && *first >= 'A' && *first <= 'Z') *first |= 0x20;
  } else {
    snprintf(text, sizeof text, "could not find file %s on path %s", path, s->search);
  }
  f->error = tm_arena_strndup(&s->arena, text, strlen(text));
  return f->error ? TM_OK : tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (sources)");
}

static tm_status add_line(tm_ctx *ctx, tm_sources *s, tm_source_file *f, const char *text,
                          size_t length) {
  if (f->line_count == f->line_room) {
    uint32_t room = f->line_room ? 2 * f->line_room : 256;
    tm_source_line *lines = tm_arena_alloc(&s->arena, room * sizeof *lines);
    if (!lines) return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "sources larger than 1 GiB");
    if (f->line_count) memcpy(lines, f->lines, f->line_count * sizeof *lines);
    f->lines = lines;
    f->line_room = room;
  }
  if (length && text[length - 1] == '\r') length--;
  f->lines[f->line_count++] = (tm_source_line){text, (uint32_t)length};
  return TM_OK;
}

static tm_status cut_lines(tm_ctx *ctx, tm_sources *s, tm_source_file *f, const char *text,
                           size_t size) {
  for (const char *end = text + size; text < end;) {
    const char *stop = memchr(text, '\n', (size_t)(end - text));
    size_t length = stop ? (size_t)(stop - text) : (size_t)(end - text);
    if (length > MAX_LINE_BYTES) break;
    TM_TRY(add_line(ctx, s, f, text, length));
    text += length + 1;
  }
  return TM_OK;
}

// What is no regular file, or is too large, reads as empty.
static tm_status read_lines(tm_ctx *ctx, tm_sources *s, tm_source_file *f, int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > MAX_FILE_BYTES)
    return TM_OK;
  size_t room = (size_t)st.st_size, size = 0;
  char *text = tm_arena_alloc(&s->arena, room + 1);
  if (!text) return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "sources larger than 1 GiB");
  while (size < room) {
    ssize_t n = read(fd, text + size, room - size);
    if (n <= 0) break;
    size += (size_t)n;
  }
  return cut_lines(ctx, s, f, text, size);
}

static tm_status load(tm_ctx *ctx, tm_sources *s, tm_source_file *f) {
  char found[TM_SOURCE_PATH_MAX] = "";
  const char *path = tm_path_trim(f->name, s->trim, s->search);
  int fd = *path == '/' ? open_file(path) : open_relative(path, s->search, found);
  int problem = errno;
  const char *where = *path == '/' ? path : found;
  if (fd < 0 && tm_source_find(f->name, s->search, found)) {
    fd = open_file(found);
    where = found;
  }
  if (fd < 0) return set_error(ctx, s, f, path, problem);
  f->path = tm_arena_strndup(&s->arena, where, strlen(where));
  tm_status status = f->path ? read_lines(ctx, s, f, fd)
                             : tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (sources)");
  close(fd);
  return status;
}

tm_status tm_sources_open(tm_ctx *ctx, tm_sources *s, const char *name,
                          const tm_source_file **out) {
  if (s->last && strcmp(s->last->name, name) == 0) return *out = s->last, TM_OK;
  for (tm_source_file *f = s->files; f; f = f->next)
    if (strcmp(f->name, name) == 0) return *out = s->last = f, TM_OK;
  tm_source_file *f = tm_arena_calloc(&s->arena, 1, sizeof *f);
  if (f) f->name = tm_arena_strndup(&s->arena, name, strlen(name));
  if (!f || !f->name) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (sources)");
  f->path = "";
  TM_TRY(load(ctx, s, f));
  f->next = s->files;
  s->files = s->last = f;
  *out = f;
  return TM_OK;
}
