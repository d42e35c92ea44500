// A list of candidate paths in a fixed order; the first that opens as a binary and does not say
// another build id is it. Then the same for its debug file, where the build id must be the same.
#include "symbol/locate.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PATH_BYTES   2048
#define SYSTEM_DEBUG "/usr/lib/debug"

typedef struct locator {
  tm_ctx *ctx;
  const char *file, *base, *id;
  tm_bytes *notes;
  tm_binary *found;
} locator;

// Opens without leaving an error behind.
static tm_binary *try_open(tm_ctx *ctx, const char *path) {
  tm_binary *b = NULL;
  if (tm_binary_open(ctx, path, &b) != TM_OK) tm_ctx_clear(ctx);
  return b;
}

static bool fits(const locator *l, const tm_binary *b) {
  const char *id = tm_binary_build_id(b);
  return !*l->id || !*id || strcasecmp(id, l->id) == 0;
}

static tm_status try_path(locator *l, const char *fmt, ...) TM_PRINTF(2, 3);

static tm_status try_path(locator *l, const char *fmt, ...) {
  char path[PATH_BYTES];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(path, sizeof path, fmt, args);
  va_end(args);
  if (l->found || n <= 0 || n >= PATH_BYTES) return TM_OK;
  tm_binary *b = try_open(l->ctx, path);
  if (!b) return TM_OK;
  if (fits(l, b)) return l->found = b, TM_OK;
  tm_status status = TM_OK;
  if (l->notes)
    status = tm_bytes_printf(l->ctx, l->notes, "%s: another build (id %s, not %s)\n", path,
                             tm_binary_build_id(b), l->id);
  tm_binary_free(b);
  return status;
}

static tm_status try_any_in(locator *l, const char *folder) {
  char path[PATH_BYTES];
  int n = snprintf(path, sizeof path, "%s/%s", folder, l->id);
  DIR *dir = n > 0 && n < PATH_BYTES ? opendir(path) : NULL;
  tm_status status = TM_OK;
  const struct dirent *e;
  while (dir && status == TM_OK && !l->found && (e = readdir(dir)))
    if (e->d_name[0] != '.') status = try_path(l, "%s/%s/%s", folder, l->id, e->d_name);
  if (dir) closedir(dir);
  return status;
}

static tm_status try_folder(locator *l, const char *folder) {
  int dir = (int)(l->base - l->file);
  if (strlen(l->id) > 2) {
    TM_TRY(try_path(l, "%s/%s/%s", folder, l->id, l->base));
    TM_TRY(try_any_in(l, folder));
    if (*l->file) TM_TRY(try_path(l, "%s/%s/%s", folder, l->file, l->id));
    TM_TRY(try_path(l, "%s/%.2s/%s.debug", folder, l->id, l->id + 2));
  }
  if (!*l->file) return TM_OK;
  TM_TRY(try_path(l, "%s/%s", folder, l->base));
  TM_TRY(try_path(l, "%s/%s", folder, l->file));
  TM_TRY(try_path(l, "%s/%s.debug", folder, l->file));
  TM_TRY(try_path(l, "%s/%.*s.debug/%s.debug", folder, dir, l->file, l->base));
  return try_path(l, "%s/usr/lib/debug/%s.debug", folder, l->file);
}

static tm_status try_folders(locator *l, const char *search) {
  char folder[PATH_BYTES];
  size_t length;
  for (const char *s = search; *s; s += length + (s[length] == ':')) {
    length = strcspn(s, ":");
    if (!length || length >= sizeof folder) continue;
    memcpy(folder, s, length);
    folder[length] = '\0';
    TM_TRY(try_folder(l, folder));
  }
  return TM_OK;
}

// --- the debug file ---

// Its id must be the binary's: a name alone is no proof.
static bool try_debug(tm_ctx *ctx, tm_binary *b, const char *fmt, ...) TM_PRINTF(3, 4);

static bool try_debug(tm_ctx *ctx, tm_binary *b, const char *fmt, ...) {
  char path[PATH_BYTES];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(path, sizeof path, fmt, args);
  va_end(args);
  if (n <= 0 || n >= PATH_BYTES || strcmp(path, tm_binary_path(b)) == 0) return false;
  tm_binary *debug = try_open(ctx, path);
  bool same = debug && strcmp(tm_binary_build_id(debug), tm_binary_build_id(b)) == 0;
  if (same)
    tm_binary_set_debug(b, debug);
  else
    tm_binary_free(debug);
  return same;
}

static void attach_debug(tm_ctx *ctx, tm_binary *b, const char *search) {
  const char *id = tm_binary_build_id(b), *link = tm_binary_debug_link(b),
             *path = tm_binary_path(b);
  const char *slash = strrchr(path, '/');
  int dir = slash ? (int)(slash - path) : 0;
  size_t length;
  if (strlen(id) < 3) return;
  for (const char *s = search; *s; s += length + (s[length] == ':')) {
    length = strcspn(s, ":");
    if (length && try_debug(ctx, b, "%.*s/%.2s/%s.debug", (int)length, s, id, id + 2)) return;
  }
  if (try_debug(ctx, b, SYSTEM_DEBUG "/.build-id/%.2s/%s.debug", id, id + 2) || !*link || !slash)
    return;
  if (try_debug(ctx, b, "%.*s/%s", dir, path, link)) return;
  if (try_debug(ctx, b, "%.*s/.debug/%s", dir, path, link)) return;
  (void)try_debug(ctx, b, SYSTEM_DEBUG "/%.*s/%s", dir, path, link);
}

// --- all of it ---

static const char *default_search(char buf[PATH_BYTES]) {
  const char *set = getenv("PPROF_BINARY_PATH"), *home = getenv("HOME");
  if (set && *set) return set;
  snprintf(buf, PATH_BYTES, "%s/pprof/binaries", home ? home : "");
  return buf;
}

static tm_status nothing_fits(const locator *l) {
  if (*l->id)
    return tm_fail(l->ctx, TM_E_IO, TM_NO_OFFSET, "no binary %s with build id %s here", l->file,
                   l->id);
  return tm_fail(l->ctx, TM_E_IO, TM_NO_OFFSET, "no binary %s here", l->file);
}

tm_status tm_binary_locate(tm_ctx *ctx, const char *file, const char *build_id, const char *search,
                           tm_bytes *notes, tm_binary **out) {
  char buf[PATH_BYTES];
  const char *slash = strrchr(file, '/');
  locator l = {ctx, file, slash ? slash + 1 : file, build_id, notes, NULL};
  if (!search) search = default_search(buf);
  bool id_is_name = !strchr(build_id, '/');
  if (!id_is_name) l.id = "";
  tm_status status = try_folders(&l, search);
  if (status == TM_OK && *file) status = try_path(&l, "%s", file);
  if (status == TM_OK && strlen(l.id) > 2)
    status = try_path(&l, SYSTEM_DEBUG "/.build-id/%.2s/%s.debug", l.id, l.id + 2);
  if (status == TM_OK && !l.found) return nothing_fits(&l);
  if (status != TM_OK) {
    tm_binary_free(l.found);
    return status;
  }
  attach_debug(ctx, l.found, search);
  *out = l.found;
  return TM_OK;
}
