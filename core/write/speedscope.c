// speedscope's shared frames are our lines (a function at a line); a stack is their indexes from
// the root. Locations without lines get a frame with their address behind the lines.
#include "write/speedscope.h"

#include "base/json_write.h"

#include <stdio.h>
#include <string.h>

static void put_frames(tm_json *w, const tm_profile *p) {
  tm_json_key(w, "shared");
  tm_json_object(w);
  tm_json_key(w, "frames");
  tm_json_array(w);
  for (size_t i = 0; i < p->lines.count; i++) {
    const tm_line *line = &p->lines.items[i];
    const tm_function *f = &p->functions.items[line->function];
    tm_json_object(w);
    tm_json_key(w, "name");
    tm_json_string(w, tm_profile_text(p, f->name));
    if (f->file) {
      tm_json_key(w, "file");
      tm_json_string(w, tm_profile_text(p, f->file));
    }
    if (line->line > 0) {
      tm_json_key(w, "line");
      tm_json_int(w, line->line);
    }
    tm_json_close(w);
  }
  for (size_t i = 0; i < p->locations.count; i++) {
    char address[24];
    snprintf(address, sizeof address, "0x%llx", (unsigned long long)p->locations.items[i].address);
    tm_json_object(w);
    tm_json_key(w, "name");
    tm_json_string(w, address);
    tm_json_close(w);
  }
  tm_json_close(w);
  tm_json_close(w);
}

static void put_stack(tm_json *w, const tm_profile *p, uint32_t s) {
  tm_json_array(w);
  for (uint32_t i = p->stack_end.items[s]; i > tm_profile_stack_begin(p, s); i--) {
    uint32_t location = p->stack.items[i - 1];
    const tm_location *loc = &p->locations.items[location];
    if (loc->line_begin == loc->line_end) tm_json_uint(w, p->lines.count + location);
    for (uint32_t k = loc->line_end; k > loc->line_begin; k--) tm_json_uint(w, k - 1);
  }
  tm_json_close(w);
}

static bool known_unit(const char *unit) {
  static const char *const units[] = {"nanoseconds", "microseconds", "milliseconds", "seconds",
                                      "bytes"};
  for (size_t i = 0; i < TM_COUNT(units); i++)
    if (strcmp(units[i], unit) == 0) return true;
  return false;
}

static tm_status put_profile(tm_ctx *ctx, tm_json *w, const tm_profile *p, size_t column) {
  const char *unit = tm_profile_text(p, p->types.items[column].unit);
  double sum = 0;
  tm_json_object(w);
  tm_json_key(w, "type");
  tm_json_string(w, "sampled");
  tm_json_key(w, "name");
  tm_json_string(w, tm_profile_text(p, p->types.items[column].type));
  tm_json_key(w, "unit");
  tm_json_string(w, known_unit(unit) ? unit : "none");
  tm_json_key(w, "samples");
  tm_json_array(w);
  for (uint32_t s = 0; s < p->sample_count; s++) {
    put_stack(w, p, s);
    if ((s & 0xffff) == 0xffff) TM_TRY(tm_ctx_tick(ctx, s));
  }
  tm_json_close(w);
  tm_json_key(w, "weights");
  tm_json_array(w);
  for (uint32_t s = 0; s < p->sample_count; s++) {
    int64_t value = p->values.items[(size_t)s * p->types.count + column];
    tm_json_int(w, value);
    sum += (double)value;
  }
  tm_json_close(w);
  tm_json_key(w, "startValue");
  tm_json_int(w, 0);
  tm_json_key(w, "endValue");
  tm_json_double(w, sum);
  tm_json_close(w);
  return TM_OK;
}

tm_status tm_write_speedscope(tm_ctx *ctx, const tm_profile *p, const char *name, tm_bytes *out) {
  tm_json w = tm_json_begin(ctx, out);
  tm_json_object(&w);
  tm_json_key(&w, "$schema");
  tm_json_string(&w, "https://www.speedscope.app/file-format-schema.json");
  tm_json_key(&w, "name");
  tm_json_string(&w, name);
  tm_json_key(&w, "exporter");
  tm_json_string(&w, "tidemark " TM_VERSION);
  put_frames(&w, p);
  tm_json_key(&w, "profiles");
  tm_json_array(&w);
  for (size_t i = 0; i < p->types.count; i++) TM_TRY(put_profile(ctx, &w, p, i));
  tm_json_close(&w);
  tm_json_close(&w);
  return tm_json_end(&w);
}
