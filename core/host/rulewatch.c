// inotify on the folder, a short timer to gather the burst that one save makes, then every file is
// compared by its hash with what was told last. A folder holds tens of files: reading them all
// costs less than being clever.
#include "host/rulewatch.h"

#include "base/vec.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>
#include <xxhash.h>

enum { SETTLE_MS = 5, MAX_FILE_BYTES = 1 << 20, MAX_FILES = 500 };

typedef struct seen_file {
  char name[128];
  uint64_t hash;
  bool present;
} seen_file;

struct tm_rulewatch {
  tm_ctx *ctx;
  uv_fs_event_t event;
  uv_timer_t timer;
  char *dir;
  tm_rulewatch_fn fn;
  void *ud;
  TM_VEC(seen_file) files;
  int open_handles;
};

static bool is_rule_file(const char *name) {
  size_t n = strlen(name);
  return n > 4 && n < 120 && name[0] != '.' && strcmp(name + n - 4, ".lua") == 0;
}

static seen_file *file_named(tm_rulewatch *w, const char *name) {
  for (size_t i = 0; i < w->files.count; i++)
    if (strcmp(w->files.items[i].name, name) == 0) return &w->files.items[i];
  if (w->files.count >= MAX_FILES) return NULL;
  seen_file fresh = {.hash = 0};
  snprintf(fresh.name, sizeof fresh.name, "%.120s", name);
  if (tm_vec_push(w->ctx, &w->files, fresh) != TM_OK) return NULL;
  return &w->files.items[w->files.count - 1];
}

static char *read_file(const char *path, size_t *out_size) {
  FILE *f = fopen(path, "rbe");
  if (!f) return NULL;
  struct stat st;
  char *text = NULL;
  if (fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= MAX_FILE_BYTES) {
    text = malloc((size_t)st.st_size + 1);
    *out_size = text ? fread(text, 1, (size_t)st.st_size, f) : 0;
    if (text) text[*out_size] = '\0';
  }
  fclose(f);
  return text;
}

static void look_at(tm_rulewatch *w, const char *name) {
  char path[1200];
  snprintf(path, sizeof path, "%s/%s", w->dir, name);
  size_t size = 0;
  char *text = read_file(path, &size);
  seen_file *file = text ? file_named(w, name) : NULL;
  if (file) {
    uint64_t hash = XXH3_64bits(text, size) | 1; // 0 = never told
    file->present = true;
    if (hash != file->hash) {
      file->hash = hash;
      w->fn(w->ud, name, path, text, size);
    }
  }
  free(text);
}

static void look(tm_rulewatch *w) {
  for (size_t i = 0; i < w->files.count; i++) w->files.items[i].present = false;
  struct dirent **entries;
  int n = scandir(w->dir, &entries, NULL, alphasort);
  for (int i = 0; i < n; i++) {
    if (is_rule_file(entries[i]->d_name)) look_at(w, entries[i]->d_name);
    free(entries[i]);
  }
  if (n >= 0) free(entries);
  for (size_t i = 0; i < w->files.count; i++) {
    seen_file *file = &w->files.items[i];
    if (file->present || !file->hash) continue;
    file->hash = 0;
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", w->dir, file->name);
    w->fn(w->ud, file->name, path, NULL, 0);
  }
}

static void on_settled(uv_timer_t *timer) {
  look(timer->data);
}

static void on_event(uv_fs_event_t *event, const char *name, int events, int status) {
  (void)name, (void)events, (void)status;
  tm_rulewatch *w = event->data;
  uv_timer_start(&w->timer, on_settled, SETTLE_MS, 0);
}

static void on_closed(uv_handle_t *handle) {
  tm_rulewatch *w = handle->data;
  if (--w->open_handles > 0) return;
  tm_ctx *ctx = w->ctx;
  tm_vec_free(ctx, &w->files);
  free(w->dir);
  tm_free(ctx, w, sizeof *w);
}

tm_status tm_rulewatch_new(tm_ctx *ctx, void *uv_loop, const char *dir, tm_rulewatch_fn fn,
                           void *ud, tm_rulewatch **out) {
  tm_rulewatch *w = tm_calloc(ctx, 1, sizeof *w);
  if (!w) return TM_E_NOMEM;
  *w = (tm_rulewatch){.ctx = ctx, .dir = strdup(dir), .fn = fn, .ud = ud, .open_handles = 2};
  uv_fs_event_init(uv_loop, &w->event);
  uv_timer_init(uv_loop, &w->timer);
  w->event.data = w->timer.data = w;
  int problem = uv_fs_event_start(&w->event, on_event, dir, 0);
  if (problem) {
    tm_rulewatch_free(w);
    return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "cannot watch the folder %s: %s", dir,
                   uv_strerror(problem));
  }
  uv_unref((uv_handle_t *)&w->event);
  uv_unref((uv_handle_t *)&w->timer);
  look(w);
  *out = w;
  return TM_OK;
}

void tm_rulewatch_free(tm_rulewatch *w) {
  if (!w) return;
  uv_close((uv_handle_t *)&w->event, on_closed);
  uv_close((uv_handle_t *)&w->timer, on_closed);
}
