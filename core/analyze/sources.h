// Source files as profiles name them: found on this machine, read once, asked line by line.
#ifndef TM_ANALYZE_SOURCES_H
#define TM_ANALYZE_SOURCES_H

#include "base/ctx.h"

#define TM_SOURCE_PATH_MAX 1024 // longer names are not found

typedef struct tm_source_line {
  const char *text; // not NUL-terminated, without its line end
  uint32_t length;
} tm_source_line;

typedef struct tm_source_file {
  const char *name;  // as the profile has it
  const char *path;  // where it was found; "" when it was not
  const char *error; // why it cannot be read, in pprof's words; NULL when it was
  tm_source_line *lines;
  uint32_t line_count, line_room;
  struct tm_source_file *next;
} tm_source_file;

// Borrows search and trim (':' lists of folders and of prefixes, either may be NULL or "").
typedef struct tm_sources {
  const char *search, *trim;
  char *folder; // the working folder, searched when search is empty
  tm_arena arena;
  tm_source_file *files, *last;
} tm_sources;

TM_NODISCARD tm_status tm_sources_init(tm_ctx *ctx, tm_sources *s, const char *search,
                                       const char *trim);
void tm_sources_fini(tm_sources *s);

// The file of that name; a missing one has its error set, which is no failure. Looks where pprof
// looks (the trimmed name; a relative one in every search folder and its parents) and then, in this
// order: GOROOT/src, the module cache with its !x letters, the modules of go.mod and go.work, and
// vendor folders. Lines longer than 64 KiB end a file, as in the reference. Lives as long as s.
TM_NODISCARD tm_status tm_sources_open(tm_ctx *ctx, tm_sources *s, const char *name,
                                       const tm_source_file **out);

// Line number (from 1) of the file, or NULL outside of it.
static inline const tm_source_line *tm_source_file_line(const tm_source_file *file,
                                                        int64_t number) {
  return number < 1 || number > file->line_count ? NULL : &file->lines[number - 1];
}

// --- the search itself; for tests ---

// Where the compiler's file name may stand here: a path whose file exists, or false. buf holds
// TM_SOURCE_PATH_MAX bytes. Reads GOROOT, GOMODCACHE, GOPATH, HOME and PATH from the environment.
bool tm_source_find(const char *name, const char *search, char *buf);

#endif
