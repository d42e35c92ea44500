// Collapsed stacks ("root;…;leaf 12"), as perf scripts, async-profiler, py-spy and others write
// them. Every line is a sample of one value; equal frames share a function by name. One pass.
#include "model/profile.h"
#include "read/lines.h"
#include "read/reader.h"

// Splits "stack value"; false when the line is no such thing.
static bool split_line(tm_text t, tm_text *stack, int64_t *value) {
  t = text_trim(t);
  size_t n = t.size;
  while (n && !text_is_space(t.at[n - 1])) n--;
  tm_text number = text_skip(t, n);
  *stack = text_trim((tm_text){t.at, n});
  return n && stack->size && text_int(&number, value) && !number.size;
}

static tm_status add_stack(tm_ctx *ctx, tm_profile *p, tm_frames *frames, tm_text stack) {
  while (stack.size) { // from the leaf, at the end
    size_t n = stack.size;
    while (n && stack.at[n - 1] != ';') n--;
    tm_text name = text_skip(stack, n);
    uint32_t location;
    if (name.size) {
      TM_TRY(tm_frames_location(ctx, frames, p, name, (tm_text){"", 0}, 0, &location));
      TM_TRY(tm_vec_push(ctx, &p->stack, location));
    }
    stack.size = n ? n - 1 : 0;
  }
  return TM_OK;
}

static tm_status read_lines(tm_ctx *ctx, tm_profile *p, tm_frames *frames, lines *l) {
  TM_TRY(tm_profile_add_type(ctx, p, "samples", "count"));
  for (size_t n = 1; lines_next(l); n++) {
    tm_text stack;
    int64_t value;
    if (n % 65536 == 0) TM_TRY(tm_ctx_tick(ctx, lines_offset(l)));
    if (!text_trim(l->line).size || l->line.at[0] == '#') continue;
    if (!split_line(l->line, &stack, &value))
      return tm_fail(ctx, TM_E_FORMAT, lines_offset(l),
                     "the line at byte %llu is no \"frame;frame value\"",
                     (unsigned long long)lines_offset(l));
    TM_TRY(add_stack(ctx, p, frames, stack));
    TM_TRY(tm_profile_end_sample(ctx, p, &value));
  }
  return TM_OK;
}

static void free_profile(void *model) {
  tm_profile_free(model);
}

static tm_status collapsed_read(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  lines l = lines_of(src->data, src->size);
  tm_frames frames = {0};
  tm_profile *p;
  TM_TRY(tm_profile_new(ctx, &p));
  out->model = p;
  out->free_model = free_profile;
  tm_status status = read_lines(ctx, p, &frames, &l);
  if (status != TM_OK) {
    out->partial = true;
    out->problem = ctx->error;
  }
  tm_frames_fini(ctx, &frames);
  return status;
}

// Weak evidence: the first lines all have the shape, and one has a ';'.
static unsigned collapsed_probe(const uint8_t *head, size_t head_bytes) {
  lines l = lines_of(head, head_bytes);
  bool frames = false;
  size_t count = 0;
  while (lines_next(&l) && count < 8) {
    tm_text stack;
    int64_t value;
    if (l.next == l.end && count) break; // may be cut
    if (!split_line(l.line, &stack, &value) || memchr(stack.at, '\0', stack.size)) return 0;
    frames |= memchr(stack.at, ';', stack.size) != NULL;
    count++;
  }
  return frames ? 12 : 0;
}

const tm_reader tm_reader_collapsed = {.name = "collapsed",
                                       .title = "collapsed stacks (flame graph input)",
                                       .kind = TM_KIND_PROFILE,
                                       .takes_part = true,
                                       .probe = collapsed_probe,
                                       .read = collapsed_read};
