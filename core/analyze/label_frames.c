// tagroot and tagleaf: label values become frames at the root or the leaf of every stack. The
// stacks are rewritten once, with pseudo locations behind the real ones.
#include "analyze/focus.h"
#include "analyze/tag_filter.h"
#include "base/idmap.h"

#include <string.h>

#define MAX_KEYS   32
#define MAX_VALUES 8192 // bytes of the values of one key in one sample

typedef struct key_list {
  uint32_t ids[MAX_KEYS]; // label keys; UINT32_MAX when no sample has it
  uint32_t names[MAX_KEYS];
  size_t count;
  bool matched;
} key_list;

typedef struct label_frames {
  tm_ctx *ctx;
  tm_view *v;
  const char *unit;
  tm_idmap locations; // key name << 32 | text -> location
  uint64_t last_id;   // of the locations so far
  char text[MAX_VALUES];
} label_frames;

static tm_status parse_keys(tm_ctx *ctx, tm_view *v, const char *list, key_list *keys) {
  for (const char *s = list ? list : ""; *s;) {
    size_t n = strcspn(s, ",");
    if (n) {
      if (keys->count == MAX_KEYS)
        return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "over %d label keys in tagroot or tagleaf",
                       MAX_KEYS);
      keys->ids[keys->count] = tm_strtab_find(&v->profile->strings, s, n);
      TM_TRY(tm_view_intern(ctx, v, s, n, &keys->names[keys->count]));
      keys->count++;
    }
    s += n + (s[n] == ',');
  }
  return TM_OK;
}

static tm_status pseudo_location(label_frames *f, uint32_t key_name, uint32_t text, uint32_t *out) {
  uint64_t id = (uint64_t)key_name << 32 | text;
  *out = tm_idmap_get(&f->locations, id);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  tm_view *v = f->v;
  tm_view_function function = {.name = text, .file = key_name};
  tm_line line = {.function = (uint32_t)v->functions.count};
  tm_location loc = {.mapping = TM_PROFILE_NONE,
                     .id = ++f->last_id,
                     .line_begin = (uint32_t)v->lines.count,
                     .line_end = (uint32_t)v->lines.count + 1};
  *out = (uint32_t)v->locations.count;
  TM_TRY(tm_vec_push(f->ctx, &v->functions, function));
  TM_TRY(tm_vec_push(f->ctx, &v->lines, line));
  TM_TRY(tm_vec_push(f->ctx, &v->locations, loc));
  return tm_idmap_put(f->ctx, &f->locations, id, *out);
}

static tm_status push_frames(label_frames *f, uint32_t sample, key_list *keys) {
  for (size_t i = keys->count; i-- > 0;) {
    bool found;
    uint32_t text, location;
    TM_TRY(tm_label_frame_text(f->ctx, f->v, sample, keys->ids[i], f->unit, f->text, sizeof f->text,
                               &found));
    keys->matched |= found;
    TM_TRY(tm_view_intern(f->ctx, f->v, f->text, strlen(f->text), &text));
    TM_TRY(pseudo_location(f, keys->names[i], text, &location));
    TM_TRY(tm_vec_push(f->ctx, &f->v->own_stack, location));
  }
  return TM_OK;
}

static tm_status rewrite(label_frames *f, key_list *roots, key_list *leaves) {
  tm_view *v = f->v;
  for (uint32_t s = 0; s < v->sample_count; s++) {
    size_t start = v->own_stack.count;
    TM_TRY(push_frames(f, v->samples[s], leaves));
    for (uint32_t i = v->begin[s]; i < v->end[s]; i++)
      TM_TRY(tm_vec_push(f->ctx, &v->own_stack, v->stack[i]));
    TM_TRY(push_frames(f, v->samples[s], roots));
    if (v->own_stack.count >= UINT32_MAX)
      return tm_fail(f->ctx, TM_E_LIMIT, TM_NO_OFFSET, "over 4 G frames");
    v->begin[s] = (uint32_t)start;
    v->end[s] = (uint32_t)v->own_stack.count;
  }
  v->stack = v->own_stack.items;
  return TM_OK;
}

tm_status tm_view_add_label_frames(tm_ctx *ctx, tm_view *v, const tm_report_options *o) {
  key_list roots = {0}, leaves = {0};
  TM_TRY(parse_keys(ctx, v, o->tag_root, &roots));
  TM_TRY(parse_keys(ctx, v, o->tag_leaf, &leaves));
  if (!roots.count && !leaves.count) return TM_OK;
  label_frames f = {.ctx = ctx, .v = v, .unit = o->unit};
  for (size_t i = 0; i < v->locations.count; i++)
    if (v->locations.items[i].id > f.last_id) f.last_id = v->locations.items[i].id;
  tm_status status = rewrite(&f, &roots, &leaves);
  tm_idmap_free(ctx, &f.locations);
  return status;
}
