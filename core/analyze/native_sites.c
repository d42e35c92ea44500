// Two kinds of samples: live blocks (label state=live) with in-use values, and one for each stack
// with what it ever made. Both find their site by a hash of the texts of its frames, so that sites
// of several snapshots can be compared. Two sites with the same 64-bit hash would be taken for one.
#include "analyze/native_sites.h"

#include "analyze/frame_kind.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FRAMES = 512, WRAPPERS = 4, NONE = -1 };

const uint32_t tm_age_steps_s[TM_AGE_STEPS] = {0, 1, 10, 60, 600, 3600, 21600, 86400};

typedef struct reading {
  tm_ctx *ctx;
  const tm_profile *p;
  bool is_whole;
  tm_native_sites *out;
  int live_count, live_bytes, made_count, made_bytes; // value columns
  tm_native_frame frames[MAX_FRAMES];
  uint32_t count;      // frames of the stack at hand
  uint32_t site_count; // of them the site's
  uint32_t owner, caller;
} reading;

// ---- frames ----

static void read_stack(reading *r, uint32_t sample) {
  const tm_profile *p = r->p;
  r->count = 0;
  for (uint32_t i = tm_profile_stack_begin(p, sample); i < p->stack_end.items[sample]; i++) {
    const tm_location *l = &p->locations.items[p->stack.items[i]];
    tm_native_frame frame = {.mapping = l->mapping, .address = l->address};
    if (l->line_begin == l->line_end && r->count < MAX_FRAMES) r->frames[r->count++] = frame;
    for (uint32_t k = l->line_begin; k < l->line_end && r->count < MAX_FRAMES; k++) {
      const tm_line *line = &p->lines.items[k];
      const tm_function *f = &p->functions.items[line->function];
      frame.name = f->name;
      frame.file = f->file;
      frame.line = line->line;
      r->frames[r->count++] = frame;
    }
  }
}

static const char *name_of(const reading *r, uint32_t frame) {
  return tm_profile_text(r->p, r->frames[frame].name);
}

static bool is_own(const reading *r, uint32_t frame) {
  const tm_native_frame *f = &r->frames[frame];
  return tm_frame_kind_of(tm_profile_text(r->p, f->name), tm_profile_text(r->p, f->file))
         == TM_FRAME_OWN;
}

// Source: cmd/cgo/out.go.
static bool is_wrapper(const reading *r, uint32_t frame) {
  const char *name = name_of(r, frame);
  return strstr(name, "._Cfunc_") || strstr(name, "._cgo_");
}

// Behind runtime.asmcgocall stand the wrapper that cgo made and the function that called it.
static uint32_t find_go_caller(const reading *r) {
  uint32_t i = 0;
  while (i < r->count && strcmp(name_of(r, i), "runtime.asmcgocall") != 0
         && strcmp(name_of(r, i), "runtime.asmcgocall.abi0") != 0)
    i++;
  for (; i < r->count; i++)
    if (is_own(r, i) && r->frames[i].name && !is_wrapper(r, i)) return i;
  return UINT32_MAX;
}

// xmalloc, g_strdup, PyObject_Calloc, operator new of a class: who calls them is meant.
static bool is_allocator(const reading *r, uint32_t frame) {
  const char *name = name_of(r, frame);
  return strcasestr(name, "alloc") || strcasestr(name, "strdup") || strstr(name, "operator new");
}

static void find_site(reading *r) {
  r->owner = 0;
  while (r->owner < r->count && !is_own(r, r->owner)) r->owner++;
  if (r->owner == r->count) r->owner = 0;
  for (int i = 0; i < WRAPPERS && r->owner + 1 < r->count && is_allocator(r, r->owner); i++) {
    if (!is_own(r, r->owner + 1) || !r->frames[r->owner + 1].name) break;
    r->owner++;
  }
  r->caller = find_go_caller(r);
  r->site_count = r->owner + 1;
  if (r->caller != UINT32_MAX && r->caller >= r->site_count) r->site_count = r->caller + 1;
  if (r->is_whole || r->site_count > r->count) r->site_count = r->count;
}

static uint64_t key_of(const reading *r) {
  uint64_t key = r->is_whole;
  for (uint32_t i = 0; i < r->site_count; i++) {
    const tm_native_frame *f = &r->frames[i];
    const char *name = tm_profile_text(r->p, f->name);
    key = tm_hash_add(key, tm_hash_bytes(name, strlen(name)));
    key = tm_hash_add(key, f->name ? (uint64_t)f->line : f->address);
  }
  return key == UINT64_MAX ? 0 : key;
}

static tm_status keep_frames(reading *r, tm_native_site *site) {
  site->frame_begin = (uint32_t)r->out->frames.count;
  for (uint32_t i = 0; i < r->count; i++)
    TM_TRY(tm_vec_push(r->ctx, &r->out->frames, r->frames[i]));
  site->frame_count = r->site_count;
  site->frame_end = (uint32_t)r->out->frames.count;
  return TM_OK;
}

static tm_status site_of(reading *r, uint32_t sample, uint32_t *out) {
  read_stack(r, sample);
  find_site(r);
  uint64_t key = key_of(r);
  *out = tm_idmap_get(&r->out->by_key, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  tm_native_site site = {.key = key, .owner = r->owner, .caller = r->caller};
  TM_TRY(keep_frames(r, &site));
  *out = (uint32_t)r->out->sites.count;
  TM_TRY(tm_vec_push(r->ctx, &r->out->sites, site));
  return tm_idmap_put(r->ctx, &r->out->by_key, key, *out);
}

// ---- samples ----

static int column(const tm_profile *p, const char *name) {
  for (size_t i = 0; i < p->types.count; i++)
    if (strcmp(tm_profile_text(p, p->types.items[i].type), name) == 0) return (int)i;
  return NONE;
}

static uint32_t step_of(int64_t age_s) {
  uint32_t step = TM_AGE_STEPS - 1;
  while (step && age_s < (int64_t)tm_age_steps_s[step]) step--;
  return step;
}

static const tm_label *label(const reading *r, uint32_t sample, const char *key) {
  for (uint32_t i = tm_profile_label_begin(r->p, sample); i < tm_profile_label_end(r->p, sample);
       i++)
    if (strcmp(tm_profile_text(r->p, r->p->labels.items[i].key), key) == 0)
      return &r->p->labels.items[i];
  return NULL;
}

static int64_t number_or(const tm_label *l, int64_t otherwise) {
  return l && l->numeric ? l->number : otherwise;
}

// Wraps: an agent may say anything.
static void add(int64_t *sum, int64_t value) {
  *sum = (int64_t)((uint64_t)*sum + (uint64_t)value);
}

static tm_status add_live(reading *r, uint32_t sample, const int64_t *values, uint32_t number) {
  tm_native_site *site = &r->out->sites.items[number];
  int64_t count = values[r->live_count], bytes = values[r->live_bytes];
  uint32_t age = step_of(number_or(label(r, sample, "age"), 0));
  const tm_label *address = label(r, sample, "address");
  add(&site->live_count, count);
  add(&site->live_bytes, bytes);
  add(&site->age_count[age], count);
  add(&site->age_bytes[age], bytes);
  site->sample_count++;
  if (!address) return TM_OK;
  const tm_native_block block = {.start = (uint64_t)address->number,
                                 .bytes = (uint64_t)number_or(label(r, sample, "bytes"), 0),
                                 .count = count,
                                 .weight_bytes = bytes,
                                 .site = number,
                                 .age = age};
  return tm_vec_push(r->ctx, &r->out->blocks, block);
}

static bool has_text(const reading *r, uint32_t sample, const char *key, const char *text) {
  const tm_label *l = label(r, sample, key);
  return l && !l->numeric && strcmp(tm_profile_text(r->p, l->text), text) == 0;
}

static tm_status add_sample(reading *r, uint32_t sample) {
  const int64_t *values = &r->p->values.items[(size_t)sample * r->p->types.count];
  uint32_t number;
  if (has_text(r, sample, "kind", "fd")) return TM_OK; // no memory
  TM_TRY(site_of(r, sample, &number));
  if (has_text(r, sample, "state", "live")) return add_live(r, sample, values, number);
  add(&r->out->sites.items[number].made_count, values[r->made_count]);
  add(&r->out->sites.items[number].made_bytes, values[r->made_bytes]);
  return TM_OK;
}

static int by_start(const void *left, const void *right) {
  const tm_native_block *a = left, *b = right;
  return a->start < b->start ? -1 : a->start > b->start;
}

// A block whose free was missed may lie over one that came later: the later one in the list goes.
static void order_blocks(tm_native_sites *s) {
  size_t kept = 0;
  uint64_t end = 0;
  if (s->blocks.count) qsort(s->blocks.items, s->blocks.count, sizeof *s->blocks.items, by_start);
  for (size_t i = 0; i < s->blocks.count; i++) {
    const tm_native_block *b = &s->blocks.items[i];
    if (b->start < end) continue;
    end = b->start + (b->bytes ? b->bytes : 1);
    s->blocks.items[kept++] = *b;
  }
  s->blocks.count = kept;
}

tm_status tm_native_sites_read(tm_ctx *ctx, const tm_profile *p, bool is_whole,
                               tm_native_sites *out) {
  reading *r = tm_alloc(ctx, sizeof *r);
  if (!r) return TM_E_NOMEM;
  *r = (reading){.ctx = ctx, .p = p, .is_whole = is_whole, .out = out};
  r->live_count = column(p, "inuse_objects");
  r->live_bytes = column(p, "inuse_space");
  r->made_count = column(p, "alloc_objects");
  r->made_bytes = column(p, "alloc_space");
  tm_status status = TM_OK;
  if (r->live_count < 0 || r->live_bytes < 0 || r->made_count < 0 || r->made_bytes < 0)
    status = tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                     "this is no profile of a heap with live and made blocks");
  for (uint32_t i = 0; i < p->sample_count && status == TM_OK; i++) {
    if (i % 65536 == 0) status = tm_ctx_tick(ctx, i);
    if (status == TM_OK) status = add_sample(r, i);
  }
  order_blocks(out);
  tm_free(ctx, r, sizeof *r);
  return status;
}

void tm_native_sites_fini(tm_ctx *ctx, tm_native_sites *s) {
  tm_vec_free(ctx, &s->sites);
  tm_vec_free(ctx, &s->frames);
  tm_vec_free(ctx, &s->blocks);
  tm_idmap_free(ctx, &s->by_key);
}
