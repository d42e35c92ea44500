// Where a Go compiler's file names lead when the plain name does not exist: profiles come from
// other machines, from containers and from builds with -trimpath. A name is split into what it
// says (standard library, module@version, main module) and each is tried where it lives here.
#include "analyze/paths.h"
#include "analyze/sources.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct finder {
  const char *name, *search;
  char *buf;                                                 // TM_SOURCE_PATH_MAX
  char path[TM_SOURCE_PATH_MAX], module[TM_SOURCE_PATH_MAX]; // work space, one use at a time
} finder;

static bool try_path(finder *f, const char *fmt, ...) TM_PRINTF(2, 3);

static bool try_path(finder *f, const char *fmt, ...) {
  struct stat st;
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(f->buf, TM_SOURCE_PATH_MAX, fmt, args);
  va_end(args);
  return n > 0 && n < TM_SOURCE_PATH_MAX && stat(f->buf, &st) == 0 && S_ISREG(st.st_mode);
}

// --- the standard library ---

// What follows GOROOT/src/ in the name, or NULL: either -trimpath cut it down to the package, or
// a folder above "src" is called go, go1.22, golang...
static const char *standard_part(const char *name) {
  if (*name != '/')
    return strchr(name, '/') && !memchr(name, '.', strcspn(name, "/")) ? name : NULL;
  const char *src = strstr(name, "/src/"), *go = strstr(name, "/go");
  return src && go && go < src ? src + 5 : NULL;
}

static bool in_root_of_go_command(finder *f, const char *rest) {
  char candidate[TM_SOURCE_PATH_MAX], real[PATH_MAX];
  size_t length;
  const char *path = getenv("PATH");
  for (const char *s = path ? path : ""; *s; s += length + (s[length] == ':')) {
    length = strcspn(s, ":");
    int n = snprintf(candidate, sizeof candidate, "%.*s/go", (int)length, s);
    if (n < 0 || (size_t)n >= sizeof candidate || !realpath(candidate, real)) continue;
    char *bin = strstr(real, "/bin/go");
    if (!bin || strcmp(bin, "/bin/go") != 0) continue;
    *bin = '\0';
    if (try_path(f, "%s/src/%s", real, rest)) return true;
  }
  return false;
}

static bool in_standard_library(finder *f) {
  const char *rest = standard_part(f->name), *root = getenv("GOROOT");
  if (!rest) return false;
  if (root && *root && try_path(f, "%s/src/%s", root, rest)) return true;
  return in_root_of_go_command(f, rest) || try_path(f, "/usr/local/go/src/%s", rest)
         || try_path(f, "/usr/lib/go/src/%s", rest);
}

// --- modules with a version ---

// "host/module@version/file", or NULL.
static const char *module_part(const char *name) {
  const char *cache = strstr(name, "/pkg/mod/");
  const char *part = cache ? cache + strlen("/pkg/mod/") : name;
  const char *at = strchr(part, '@');
  return *part != '/' && at && strchr(at, '/') ? part : NULL;
}

// The cache writes a capital as '!' and its small letter, in the module's path and version.
static bool escape(const char *part, char *out, size_t size) {
  size_t n = 0, end = (size_t)(strchr(strchr(part, '@'), '/') - part);
  for (size_t i = 0; part[i]; i++) {
    bool capital = i < end && part[i] >= 'A' && part[i] <= 'Z';
    if (n + 3 > size) return false;
    if (capital) out[n++] = '!';
    out[n++] = (char)(capital ? part[i] | 0x20 : part[i]);
  }
  out[n] = '\0';
  return true;
}

static bool in_cache(finder *f, const char *cache, const char *part) {
  char escaped[TM_SOURCE_PATH_MAX];
  return try_path(f, "%s/%s", cache, part)
         || (escape(part, escaped, sizeof escaped) && try_path(f, "%s/%s", cache, escaped));
}

static bool in_module_cache(finder *f) {
  char cache[TM_SOURCE_PATH_MAX];
  const char *part = module_part(f->name), *set = getenv("GOMODCACHE");
  if (!part) return false;
  if (set && *set) return in_cache(f, set, part);
  const char *paths = getenv("GOPATH"), *home = getenv("HOME");
  if (!paths || !*paths) {
    int n = snprintf(cache, sizeof cache, "%s/go/pkg/mod", home ? home : "");
    return n > 0 && (size_t)n < sizeof cache && in_cache(f, cache, part);
  }
  size_t length;
  for (const char *s = paths; *s; s += length + (s[length] == ':')) {
    length = strcspn(s, ":");
    int n = snprintf(cache, sizeof cache, "%.*s/pkg/mod", (int)length, s);
    if (n > 0 && (size_t)n < sizeof cache && in_cache(f, cache, part)) return true;
  }
  return false;
}

// --- the folders of the search list: main modules and vendor ---

// name without the module's path, when go.mod in dir says that it is of that module.
static const char *part_of_module(finder *f, const char *dir) {
  char line[1024], module[1024];
  const char *part = NULL;
  int n = snprintf(f->path, sizeof f->path, "%s/go.mod", dir);
  FILE *file = n > 0 && (size_t)n < sizeof f->path ? fopen(f->path, "re") : NULL;
  while (file && fgets(line, sizeof line, file)) {
    if (sscanf(line, " module \"%1023[^\"]\"", module) != 1
        && sscanf(line, " module %1023s", module) != 1)
      continue;
    size_t length = strlen(module);
    if (strncmp(f->name, module, length) == 0 && f->name[length] == '/')
      part = f->name + length + 1;
    break;
  }
  if (file) fclose(file);
  return part;
}

static bool in_module(finder *f, const char *dir) {
  const char *part = part_of_module(f, dir);
  return part && try_path(f, "%s/%s", dir, part);
}

// The modules that go.work in dir names: "use ./a", or lines within "use ( ... )".
static bool in_workspace(finder *f, const char *dir) {
  char line[1024], word[1024];
  int n = snprintf(f->path, sizeof f->path, "%s/go.work", dir);
  FILE *file = n > 0 && (size_t)n < sizeof f->path ? fopen(f->path, "re") : NULL;
  bool found = false, block = false;
  while (file && !found && fgets(line, sizeof line, file)) {
    if (sscanf(line, " use %1023s", word) != 1 && !(block && sscanf(line, " %1023s", word) == 1))
      continue;
    if (strcmp(word, "(") == 0 || strcmp(word, ")") == 0) {
      block = word[0] == '(';
      continue;
    }
    n = snprintf(f->module, sizeof f->module, "%s/%s", *word == '/' ? "" : dir, word);
    found = n > 0 && (size_t)n < sizeof f->module && in_module(f, f->module);
  }
  if (file) fclose(file);
  return found;
}

static bool in_vendor(finder *f, const char *dir) {
  const char *vendored = strstr(f->name, "/vendor/"), *part = module_part(f->name);
  if (vendored && try_path(f, "%s%s", dir, vendored)) return true;
  if (!part) return false;
  const char *at = strchr(part, '@');
  return try_path(f, "%s/vendor/%.*s%s", dir, (int)(at - part), part, strchr(at, '/'));
}

static bool in_folders(finder *f) {
  char dir[TM_SOURCE_PATH_MAX];
  size_t length;
  for (const char *s = f->search; *s; s += length + (s[length] == ':')) {
    length = strcspn(s, ":");
    if (!length || length >= sizeof dir) continue;
    memcpy(dir, s, length);
    dir[length] = '\0';
    do {
      if (in_module(f, dir) || in_workspace(f, dir) || in_vendor(f, dir)) return true;
    } while (tm_path_up(dir));
  }
  return false;
}

// NOLINTNEXTLINE(readability-non-const-parameter): written through the finder
bool tm_source_find(const char *name, const char *search, char *buf) {
  finder f = {.name = name, .search = search, .buf = buf};
  return in_standard_library(&f) || in_module_cache(&f) || in_folders(&f);
}
