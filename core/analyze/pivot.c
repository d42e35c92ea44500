// One pass over the samples that the filters leave; a key is built in a buffer and interned. Frames
// are named through tm_flatcum, so that keys read as in the reports. Cost: one pass over the frames
// that the key needs.
#include "analyze/pivot.h"

#include "analyze/flatcum.h"
#include "base/glob.h"

#include <stdio.h>
#include <string.h>

typedef struct pass {
  tm_ctx *ctx;
  const tm_pivot_options *o;
  tm_view v;
  tm_flatcum names; // by function, or by line for sites
  tm_bytes key;
  tm_pivot *out;
} pass;

// ---- labels ----

// The text of a sample's label, or NULL. Numbers are written into room.
static const char *label_text(const tm_profile *p, uint32_t sample, const char *name,
                              char room[24]) {
  if (!p->label_end.count) return NULL;
  for (uint32_t i = tm_profile_label_begin(p, sample); i < tm_profile_label_end(p, sample); i++) {
    const tm_label *l = &p->labels.items[i];
    if (strcmp(tm_profile_text(p, l->key), name) != 0) continue;
    if (!l->numeric) return tm_profile_text(p, l->text);
    snprintf(room, 24, "%lld", (long long)l->number);
    return room;
  }
  return NULL;
}

// States of goroutines that wait for nobody. Source: runtime/runtime2.go's gStatusStrings.
static bool is_blocked(const char *state) {
  static const char *const busy[] = {"idle",      "runnable",  "running", "syscall", "dead",
                                     "copystack", "preempted", "waiting", "leaked"};
  for (size_t i = 0; i < TM_COUNT(busy); i++)
    if (strcmp(state, busy[i]) == 0) return false;
  return true;
}

static bool matches(const pass *w, uint32_t sample) {
  const tm_profile *p = w->v.profile;
  char room[24];
  for (size_t i = 0; i < w->o->condition_count; i++) {
    const char *text = label_text(p, sample, w->o->conditions[i].label, room);
    if (!text || !tm_glob(w->o->conditions[i].glob, text)) return false;
  }
  if (!w->o->blocked) return true;
  const char *state = label_text(p, sample, "state", room);
  return state && is_blocked(state) == (w->o->blocked > 0);
}

// ---- keys ----

static tm_status append(pass *w, const char *text) {
  return tm_bytes_append(w->ctx, &w->key, text, strlen(text));
}

static tm_status append_node(pass *w, uint32_t node) {
  const char *label;
  TM_TRY(tm_flatcum_label(w->ctx, &w->names, node, &label));
  return append(w, label);
}

static tm_status append_path(pass *w, uint32_t s) {
  const tm_flatcum *f = &w->names;
  size_t start = w->key.size, depth = 0;
  for (uint32_t i = w->v.end[s]; i > w->v.begin[s]; i--) {
    uint32_t location = w->v.stack[i - 1];
    for (uint32_t k = f->frame_begin[location + 1]; k > f->frame_begin[location]; k--) {
      if (w->o->depth && ++depth > w->o->depth) return TM_OK;
      if (w->key.size > start) TM_TRY(append(w, ";"));
      TM_TRY(append_node(w, f->frames.items[k - 1]));
    }
  }
  return TM_OK;
}

static bool is_allocator(const char *function) {
  static const char *const globs[] = {"runtime.*", "internal/runtime/*", "malloc", "calloc",
                                      "realloc",   "operator new*",      "je_*",   "tcmalloc*"};
  for (size_t i = 0; i < TM_COUNT(globs); i++)
    if (tm_glob(globs[i], function)) return true;
  return false;
}

// From the leaf; a stack of nothing but allocators keeps its leaf.
static tm_status append_site(pass *w, uint32_t s) {
  const tm_flatcum *f = &w->names;
  uint32_t first = UINT32_MAX;
  for (uint32_t i = w->v.begin[s]; i < w->v.end[s]; i++) {
    uint32_t location = w->v.stack[i];
    for (uint32_t k = f->frame_begin[location]; k < f->frame_begin[location + 1]; k++) {
      uint32_t node = f->frames.items[k];
      if (first == UINT32_MAX) first = node;
      if (!is_allocator(tm_view_text(&w->v, f->nodes.items[node].name)))
        return append_node(w, node);
    }
  }
  return first == UINT32_MAX ? TM_OK : append_node(w, first);
}

// The first frame from the leaf, or from the root.
static tm_status append_end(pass *w, uint32_t s, bool root) {
  const tm_flatcum *f = &w->names;
  uint32_t begin = w->v.begin[s], count = w->v.end[s] - begin;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t location = w->v.stack[root ? begin + count - 1 - i : begin + i];
    uint32_t from = f->frame_begin[location], to = f->frame_begin[location + 1];
    if (from < to) return append_node(w, f->frames.items[root ? to - 1 : from]);
  }
  return TM_OK;
}

static tm_status append_part(pass *w, uint32_t s, const tm_pivot_part *part) {
  char room[24];
  const char *text;
  switch (part->by) {
  case TM_PIVOT_PATH:
    return append_path(w, s);
  case TM_PIVOT_SITE:
    return append_site(w, s);
  case TM_PIVOT_CREATOR:
    text = label_text(w->v.profile, w->v.samples[s], "created_by", room);
    return text ? append(w, text) : append_end(w, s, true);
  case TM_PIVOT_LABEL:
    text = label_text(w->v.profile, w->v.samples[s], part->label, room);
    return append(w, text ? text : "-");
  case TM_PIVOT_FUNCTION:
  default:
    return append_end(w, s, false);
  }
}

// ---- the pass ----

static tm_status add(pass *w, uint32_t sample, int64_t value) {
  tm_pivot *out = w->out;
  uint32_t id;
  const void *key = w->key.size ? (const void *)w->key.data : "";
  TM_TRY(tm_strtab_intern(w->ctx, &out->keys, key, w->key.size, &id));
  while (out->values.count <= id) TM_TRY(tm_vec_push(w->ctx, &out->values, 0));
  while (out->samples.count <= id) TM_TRY(tm_vec_push(w->ctx, &out->samples, UINT32_MAX));
  uint32_t *top = &out->samples.items[id];
  if (*top == UINT32_MAX || value > tm_view_value(&w->v, *top)) *top = sample;
  out->values.items[id] = (int64_t)((uint64_t)out->values.items[id] + (uint64_t)value);
  out->total = (int64_t)((uint64_t)out->total + (uint64_t)value);
  return TM_OK;
}

static tm_status run(pass *w) {
  for (uint32_t s = 0; s < w->v.sample_count; s++) {
    uint32_t sample = w->v.samples[s];
    int64_t value = tm_view_value(&w->v, sample);
    if (!value || !matches(w, sample)) continue;
    w->key.size = 0;
    for (size_t i = 0; i < w->o->part_count; i++) {
      if (i) TM_TRY(append(w, ", "));
      TM_TRY(append_part(w, s, &w->o->parts[i]));
    }
    TM_TRY(add(w, sample, value));
  }
  return TM_OK;
}

// "count" is the one type that counts things, whatever its name: goroutines, contentions, threads.
static const char *value_name(const tm_profile *p, const char *wanted) {
  const char *found = NULL;
  if (!wanted || strcmp(wanted, "count") != 0) return wanted ? wanted : "";
  for (size_t i = 0; i < p->types.count; i++) {
    const char *type = tm_profile_text(p, p->types.items[i].type);
    if (strcmp(type, "count") == 0) return "count";
    if (strcmp(tm_profile_text(p, p->types.items[i].unit), "count") != 0) continue;
    if (found) return "count"; // several: the error names them
    found = type;
  }
  return found ? found : "count";
}

tm_status tm_pivot_read(tm_ctx *ctx, const tm_profile *p, const tm_pivot_options *o,
                        tm_pivot *out) {
  *out = (tm_pivot){.alloc = ctx->alloc};
  tm_strtab_init(&out->keys, &ctx->alloc, 0);
  tm_report_options view;
  tm_report_options_init(&view);
  view.sample_index = value_name(p, o->value);
  view.focus = o->focus;
  view.ignore = o->ignore;
  bool by_line = false;
  for (size_t i = 0; i < o->part_count; i++) by_line |= o->parts[i].by == TM_PIVOT_SITE;
  tm_flatcum_options names = {.granularity = by_line ? "lines" : "functions"};
  pass w = {.ctx = ctx, .o = o, .out = out};
  tm_status status = tm_view_init(ctx, p, &view, &w.v);
  if (status == TM_OK) status = tm_view_filter(ctx, &w.v, &view);
  if (status == TM_OK) status = tm_flatcum_names(ctx, &w.v, &names, &w.names);
  if (status == TM_OK) {
    const tm_value_type *type = &p->types.items[w.v.value_index];
    snprintf(out->type, sizeof out->type, "%s", tm_profile_text(p, type->type));
    snprintf(out->unit, sizeof out->unit, "%s", tm_profile_text(p, type->unit));
    status = run(&w);
  }
  tm_bytes_free(ctx, &w.key);
  tm_flatcum_fini(&w.names);
  tm_view_fini(&w.v);
  return status;
}

void tm_pivot_fini(tm_pivot *pivot) {
  tm_ctx ctx = {.alloc = pivot->alloc};
  if (!pivot->alloc.realloc_fn) return;
  tm_strtab_fini(&pivot->keys);
  tm_vec_free(&ctx, &pivot->values);
  tm_vec_free(&ctx, &pivot->samples);
  *pivot = (tm_pivot){0};
}

tm_status tm_pivot_stack(tm_ctx *ctx, const tm_profile *p, uint32_t sample, size_t max_frames,
                         tm_bytes *out) {
  size_t count = 0;
  for (uint32_t i = tm_profile_stack_begin(p, sample); i < p->stack_end.items[sample]; i++) {
    const tm_location *location = &p->locations.items[p->stack.items[i]];
    for (uint32_t k = location->line_begin; k < location->line_end; k++) {
      const tm_line *line = &p->lines.items[k];
      const tm_function *function = &p->functions.items[line->function];
      const char *file = tm_profile_text(p, function->file);
      char text[512];
      if (count++ >= max_frames) return TM_OK;
      snprintf(text, sizeof text, "%s%.300s%s%.160s", out->size ? "\n" : "",
               tm_profile_text(p, function->name), *file ? " " : "", file);
      TM_TRY(tm_bytes_append(ctx, out, text, strlen(text)));
      if (!*file || !line->line) continue;
      snprintf(text, sizeof text, ":%lld", (long long)line->line);
      TM_TRY(tm_bytes_append(ctx, out, text, strlen(text)));
    }
  }
  return TM_OK;
}
