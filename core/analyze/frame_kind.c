// Names decide. Go: the first element of an import path is a domain (with a dot) for everybody's
// modules and a plain word for the standard library; the words are listed, since "main" and local
// modules are plain too. C++, Rust and C: prefixes of the standard namespaces, names of allocators.
#include "analyze/frame_kind.h"

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

// Sorted, for bsearch.
static const char *const go_standard[] = {
    "archive",  "bufio",   "bytes",   "cmp",      "compress", "container", "context", "crypto",
    "database", "debug",   "embed",   "encoding", "errors",   "expvar",    "flag",    "fmt",
    "go",       "hash",    "html",    "image",    "index",    "internal",  "io",      "iter",
    "log",      "maps",    "math",    "mime",     "net",      "os",        "path",    "plugin",
    "reflect",  "regexp",  "runtime", "slices",   "sort",     "strconv",   "strings", "structs",
    "sync",     "syscall", "testing", "text",     "time",     "unicode",   "unique",  "unsafe",
    "vendor",   "weak"};

// Sorted.
static const char *const allocators[] = {"__libc_calloc",  "__libc_malloc", "__libc_realloc",
                                         "__rdl_alloc",    "__rust_alloc",  "__rust_alloc_zeroed",
                                         "__rust_realloc", "aligned_alloc", "calloc",
                                         "malloc",         "memalign",      "mmap",
                                         "posix_memalign", "realloc",       "reallocarray",
                                         "strdup",         "strndup"};

static const char *const runtime_prefixes[] = {"runtime.", "internal/runtime/", "runtime/internal/",
                                               "internal/bytealg.", "operator new"};

static const char *const standard_prefixes[] = {
    "std::",  "alloc::",     "core::", "<alloc::", "<core::",
    "<std::", "__gnu_cxx::", "je_",    "tcmalloc"};

typedef struct word {
  const char *text;
  size_t length;
} word;

static int compare_word(const void *key, const void *item) {
  const word *w = key;
  const char *text = *(const char *const *)item;
  int order = strncmp(w->text, text, w->length);
  return order ? order : -(text[w->length] != '\0');
}

static bool is_listed(word w, const char *const *list, size_t n) {
  return bsearch(&w, list, n, sizeof *list, compare_word) != NULL;
}

static bool has_prefix(const char *name, const char *const *list, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (strncmp(name, list[i], strlen(list[i])) == 0) return true;
  return false;
}

// "runtime/asm_amd64.s", with whatever folders before it: the file stands directly in that folder.
static bool is_assembly_in(const char *file, const char *folder) {
  const char *base = strrchr(file, '/');
  size_t n = strlen(folder), length = base ? strlen(base) : 0;
  if (!base || length < 3 || strcmp(base + length - 2, ".s") != 0) return false;
  if ((size_t)(base - file) < n || strncmp(base - n, folder, n) != 0) return false;
  return base - n == file || base[-(ptrdiff_t)n - 1] == '/';
}

static bool is_runtime(const char *name, const char *file) {
  if (file && !strchr(name, '.')
      && (is_assembly_in(file, "runtime") || is_assembly_in(file, "internal/bytealg")))
    return true;
  return has_prefix(name, runtime_prefixes, TM_COUNT(runtime_prefixes))
         || is_listed((word){name, strlen(name)}, allocators, TM_COUNT(allocators));
}

tm_frame_kind tm_frame_kind_of(const char *name, const char *file) {
  if (is_runtime(name, file)) return TM_FRAME_RUNTIME;
  if (has_prefix(name, standard_prefixes, TM_COUNT(standard_prefixes))) return TM_FRAME_STANDARD;
  size_t plain = strcspn(name, "["); // type parameters name packages too
  const char *slash = memchr(name, '/', plain), *dot = memchr(name, '.', plain);
  const char *end = slash ? slash : dot;
  if (!end) return TM_FRAME_OWN;
  word first = {name, (size_t)(end - name)};
  return is_listed(first, go_standard, TM_COUNT(go_standard)) ? TM_FRAME_STANDARD : TM_FRAME_OWN;
}
