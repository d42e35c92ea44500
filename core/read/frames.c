// Two maps over interned ids: (name, file) to function, (function, line) to location.
#include "read/frames.h"

void tm_frames_fini(tm_ctx *ctx, tm_frames *frames) {
  tm_idmap_free(ctx, &frames->functions);
  tm_idmap_free(ctx, &frames->locations);
}

tm_status tm_frames_function(tm_ctx *ctx, tm_frames *frames, tm_profile *p, tm_text name,
                             tm_text file, uint32_t *out) {
  tm_function f = {.id = p->functions.count + 1};
  TM_TRY(tm_profile_intern(ctx, p, name.at, name.size, &f.name));
  TM_TRY(tm_profile_intern(ctx, p, file.at, file.size, &f.file));
  f.system_name = f.name;
  uint64_t key = (uint64_t)f.name << 32 | f.file;
  *out = tm_idmap_get(&frames->functions, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  *out = (uint32_t)p->functions.count;
  TM_TRY(tm_vec_push(ctx, &p->functions, f));
  return tm_idmap_put(ctx, &frames->functions, key, *out);
}

tm_status tm_frames_location(tm_ctx *ctx, tm_frames *frames, tm_profile *p, tm_text name,
                             tm_text file, int64_t line, uint32_t *out) {
  uint32_t function;
  TM_TRY(tm_frames_function(ctx, frames, p, name, file, &function));
  uint64_t key = (uint64_t)function << 32 ^ (uint64_t)line;
  *out = tm_idmap_get(&frames->locations, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  *out = (uint32_t)p->locations.count;
  uint32_t at = (uint32_t)p->lines.count;
  tm_location loc = {
      .id = *out + 1, .mapping = TM_PROFILE_NONE, .line_begin = at, .line_end = at + 1};
  TM_TRY(tm_vec_push(ctx, &p->lines, (tm_line){function, line, 0}));
  TM_TRY(tm_vec_push(ctx, &p->locations, loc));
  return tm_idmap_put(ctx, &frames->locations, key, *out);
}

tm_status tm_frames_allocation_types(tm_ctx *ctx, tm_profile *p) {
  TM_TRY(tm_profile_add_type(ctx, p, "alloc_objects", "count"));
  TM_TRY(tm_profile_add_type(ctx, p, "alloc_space", "bytes"));
  TM_TRY(tm_profile_add_type(ctx, p, "inuse_objects", "count"));
  TM_TRY(tm_profile_add_type(ctx, p, "inuse_space", "bytes"));
  TM_TRY(tm_profile_intern(ctx, p, "inuse_space", 11, &p->default_type));
  p->period_type = p->types.items[3];
  p->period = 1;
  return TM_OK;
}
