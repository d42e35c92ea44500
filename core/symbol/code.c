// One slot per mapping: its binary once asked for, or the fact that there is none. Texts handed out
// lie in one arena, binaries stay open until the end.
#include "symbol/code.h"

#include "symbol/demangle.h"
#include "symbol/locate.h"
#include "symbol/objdump.h"

#include <string.h>

#define MAX_TEXT_BYTES (UINT64_C(256) << 20)

typedef struct slot {
  tm_binary *binary;
  bool asked;
} slot;

struct tm_code {
  tm_allocator alloc;
  const tm_profile *p;
  tm_arena arena;
  const char *binary_path, *main_binary;
  slot *slots;
  size_t slot_count;
  tm_code_source source;
};

static tm_status open_slot(tm_ctx *ctx, tm_code *c, uint32_t mapping, tm_binary **out) {
  slot *s = &c->slots[mapping];
  const tm_mapping *m = &c->p->mappings.items[mapping];
  const char *file = tm_profile_text(c->p, m->file);
  if (mapping == 0 && c->main_binary) file = c->main_binary;
  if (!s->asked) {
    s->asked = true;
    TM_TRY(tm_binary_locate(ctx, file, tm_profile_text(c->p, m->build_id), c->binary_path, NULL,
                            &s->binary));
  }
  if (!s->binary) return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "no binary %s here", file);
  *out = s->binary;
  return TM_OK;
}

// --- the source ---

static tm_status readable(tm_ctx *ctx, tm_code *c, const char *linkage_name, const char **out) {
  tm_bytes text = {0};
  bool changed;
  *out = linkage_name;
  tm_status status = tm_demangle(ctx, linkage_name, TM_DEMANGLE_NAMES, &text, &changed);
  if (status == TM_OK && changed) {
    *out = tm_arena_strndup(&c->arena, (const char *)text.data, text.size);
    if (!*out) status = tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "too many names in binaries");
  }
  tm_bytes_free(ctx, &text);
  return status;
}

static tm_status functions(tm_ctx *ctx, void *ud, uint32_t mapping, tm_code_visit visit,
                           void *visit_ud) {
  tm_code *c = ud;
  tm_binary *b;
  size_t count;
  TM_TRY(open_slot(ctx, c, mapping, &b));
  const tm_code_symbol *s = tm_binary_symbols(b, &count);
  for (size_t i = 0; i < count; i++) {
    tm_code_function f = {.linkage_name = s[i].name, .begin = s[i].address};
    f.end = s[i].address + s[i].size;
    TM_TRY(readable(ctx, c, s[i].name, &f.name));
    TM_TRY(visit(ctx, visit_ud, &f));
  }
  return TM_OK;
}

static bool address(tm_ctx *ctx, void *ud, uint32_t mapping, uint64_t at, uint64_t *out) {
  tm_code *c = ud;
  tm_binary *b;
  if (open_slot(ctx, c, mapping, &b) != TM_OK) return tm_ctx_clear(ctx), false;
  return tm_binary_address(b, &c->p->mappings.items[mapping], at, out);
}

static tm_status frames(tm_ctx *ctx, void *ud, uint32_t mapping, uint64_t at, tm_code_frame *out,
                        uint32_t room, uint32_t *out_count) {
  tm_code *c = ud;
  tm_binary *b;
  TM_TRY(open_slot(ctx, c, mapping, &b));
  TM_TRY(tm_binary_frames(ctx, b, at, out, room, out_count));
  for (uint32_t i = 0; i < *out_count; i++)
    TM_TRY(readable(ctx, c, out[i].function, &out[i].function));
  return TM_OK;
}

static tm_status add_lines(tm_ctx *ctx, tm_binary *b, tm_instructions *all, size_t from) {
  for (size_t i = from; i < all->count; i++) {
    tm_code_frame frame;
    uint32_t count;
    tm_instruction *one = &all->items[i];
    TM_TRY(tm_binary_frames(ctx, b, one->address, &frame, 1, &count));
    if (!count) continue;
    one->file = frame.file;
    one->line = frame.line;
  }
  return TM_OK;
}

static tm_status disassemble(tm_ctx *ctx, void *ud, uint32_t mapping, uint64_t begin, uint64_t end,
                             bool intel_syntax, tm_instructions *out) {
  tm_code *c = ud;
  tm_binary *b;
  tm_bytes text = {0};
  size_t from = out->count;
  TM_TRY(open_slot(ctx, c, mapping, &b));
  tm_status status = tm_objdump_run(ctx, tm_binary_path(b), begin, end, intel_syntax, &text);
  if (status == TM_OK)
    status = tm_objdump_parse(ctx, (const char *)text.data, text.size, &c->arena, out);
  tm_bytes_free(ctx, &text);
  return status == TM_OK ? add_lines(ctx, b, out, from) : status;
}

// --- the object ---

static const char *copy(tm_code *c, const char *text) {
  return text ? tm_arena_strndup(&c->arena, text, strlen(text)) : NULL;
}

tm_status tm_code_new(tm_ctx *ctx, const tm_profile *p, const char *binary_path,
                      const char *main_binary, tm_code **out) {
  tm_code *c = tm_calloc(ctx, 1, sizeof *c);
  if (!c) return TM_E_NOMEM;
  c->alloc = ctx->alloc;
  c->p = p;
  tm_arena_init(&c->arena, &ctx->alloc, MAX_TEXT_BYTES);
  c->slot_count = p->mappings.count + 1;
  c->slots = tm_calloc(ctx, c->slot_count, sizeof *c->slots);
  c->binary_path = copy(c, binary_path);
  c->main_binary = copy(c, main_binary);
  c->source = (tm_code_source){c, functions, address, frames, disassemble};
  if (!c->slots) {
    tm_code_free(c);
    return TM_E_NOMEM;
  }
  *out = c;
  return TM_OK;
}

void tm_code_free(tm_code *c) {
  if (!c) return;
  tm_ctx ctx = {.alloc = c->alloc};
  for (size_t i = 0; c->slots && i < c->slot_count; i++) tm_binary_free(c->slots[i].binary);
  tm_free(&ctx, c->slots, c->slot_count * sizeof *c->slots);
  tm_arena_fini(&c->arena);
  tm_free(&ctx, c, sizeof *c);
}

const tm_code_source *tm_code_as_source(const tm_code *c) {
  return &c->source;
}
