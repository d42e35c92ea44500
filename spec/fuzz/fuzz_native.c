// floors: read analyze
// Any bytes as what the malloc agent of a program says lives there: read into sites, and its blocks
// looked for in the same bytes.
#include "analyze/native_sites.h"
#include "read/reader.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_sites(const tm_native_sites *s, const tm_profile *p) {
  for (size_t i = 0; i < s->sites.count; i++) {
    const tm_native_site *site = &s->sites.items[i];
    if (site->frame_begin + site->frame_count > s->frames.count) abort();
    if (site->frame_end > s->frames.count) abort();
  }
  for (size_t i = 0; i < s->frames.count; i++)
    if (!tm_profile_text(p, s->frames.items[i].name)) abort();
  for (size_t i = 0; i < s->blocks.count; i++) {
    if (s->blocks.items[i].site >= s->sites.count) abort();
    if (s->blocks.items[i].age >= TM_AGE_STEPS) abort();
    if (i && s->blocks.items[i].start < s->blocks.items[i - 1].start) abort();
  }
}

static void look_for_blocks(tm_ctx *ctx, const tm_native_sites *s, const uint8_t *data,
                            size_t size) {
  uint64_t words[64] = {0};
  tm_pointer_hit hits[8];
  tm_pointers *pointers = NULL;
  size_t count = s->blocks.count < TM_COUNT(words) / 2 ? s->blocks.count : TM_COUNT(words) / 2;
  tm_block *blocks = malloc((s->blocks.count + 1) * sizeof *blocks);
  if (!blocks) abort();
  for (size_t i = 0; i < s->blocks.count; i++) // terabytes would take gigabytes of pages
    blocks[i] = (tm_block){s->blocks.items[i].start, s->blocks.items[i].bytes & 0xffffff};
  memcpy(words, data, size < sizeof words / 2 ? size : sizeof words / 2);
  for (size_t i = 0; i < count; i++) words[TM_COUNT(words) / 2 + i] = blocks[i].start;
  if (tm_pointers_new(ctx, blocks, s->blocks.count, &pointers) == TM_OK) {
    uint32_t from = 0, found = 0;
    while (from < TM_COUNT(words)) {
      size_t n = tm_pointers_scan(pointers, words, TM_COUNT(words), &from, hits, TM_COUNT(hits));
      for (size_t i = 0; i < n; i++, found++)
        if (tm_pointers_find(pointers, words[hits[i].word]) != hits[i].block) abort();
    }
    if (found < count) abort(); // their own starts
    tm_pointers_free(ctx, pointers);
  }
  tm_ctx_clear(ctx);
  free(blocks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_snapshot s = {0};
  tm_ctx_init(&ctx, NULL);
  ctx.max_output_bytes = 1 << 22;
  tm_status status = tm_read_buffer(&ctx, data, size, "pprof", &s);
  for (int whole = 0; whole < 2 && status == TM_OK; whole++) {
    tm_native_sites sites = {0};
    tm_status read = tm_native_sites_read(&ctx, s.model, whole, &sites);
    if (read != TM_OK && !ctx.error.message[0]) abort();
    if (read == TM_OK) {
      check_sites(&sites, s.model);
      look_for_blocks(&ctx, &sites, data, size);
    }
    tm_native_sites_fini(&ctx, &sites);
    tm_ctx_clear(&ctx);
  }
  tm_snapshot_fini(&s);
  tm_ctx_fini(&ctx);
  return 0;
}
