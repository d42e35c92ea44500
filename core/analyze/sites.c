// Stacks live in one tree that is rooted at the leaves: the node of a row is the prefix that ends
// at its owner, whole stacks are the nodes below it. Functions get one id over all profiles. Cost:
// one table lookup per frame of a sample; memory per distinct path, not per sample or profile.
#include "analyze/sites.h"

#include "analyze/flatcum.h"

#include <stdio.h>
#include <string.h>

#define NONE UINT32_MAX

typedef struct code {
  uint32_t name, file; // in strings
  int64_t line;
  tm_frame_kind kind;
} code;

typedef struct node {
  uint32_t parent, frame, row; // row: NONE = no row ends here
  uint32_t depth;              // frames up to here
  uint32_t run;                // profile + 1 that line is of
  int64_t line, line_value;    // of the greatest value in it
  double weight;               // of the stacks that end here
  uint32_t end_row;            // of the stacks that end here, NONE = none does
} node;

typedef struct row {
  uint32_t node, site; // site: index of its frame, NONE = all is the runtime's
  uint32_t best;       // node at the end of the stack that weighs most
} row;

struct tm_sites {
  tm_allocator alloc;
  tm_report_options options;
  bool by_line;
  size_t column_count, added;
  tm_strtab strings;
  tm_idmap functions; // name, file -> number; then number, line -> frame
  uint32_t function_count;
  tm_idmap by_line_frames;
  TM_VEC(code) frames;
  tm_idmap children; // parent node, frame -> node
  TM_VEC(node) nodes;
  TM_VEC(row) rows;
  TM_VEC(double) values; // rows x column_count
};

tm_status tm_sites_new(tm_ctx *ctx, const tm_report_options *options, bool by_line,
                       size_t column_count, tm_sites **out) {
  tm_sites *s = tm_calloc(ctx, 1, sizeof *s);
  if (!s) return TM_E_NOMEM;
  s->alloc = ctx->alloc;
  s->options = *options;
  s->options.granularity = "lines";
  s->by_line = by_line;
  s->column_count = column_count;
  tm_strtab_init(&s->strings, &ctx->alloc, 0);
  *out = s;
  return TM_OK;
}

void tm_sites_free(tm_sites *s) {
  if (!s) return;
  tm_ctx ctx = {.alloc = s->alloc};
  tm_strtab_fini(&s->strings);
  tm_idmap_free(&ctx, &s->functions);
  tm_idmap_free(&ctx, &s->by_line_frames);
  tm_idmap_free(&ctx, &s->children);
  tm_vec_free(&ctx, &s->frames);
  tm_vec_free(&ctx, &s->nodes);
  tm_vec_free(&ctx, &s->rows);
  tm_vec_free(&ctx, &s->values);
  tm_free(&ctx, s, sizeof *s);
}

// ---- frames ----

static uint64_t pair(uint32_t high, uint32_t low) {
  return (uint64_t)high << 32 | low;
}

// The id of a function: of its name and file, or of its name alone when lines do not count (builds
// in other folders are the same code then).
static tm_status function_id(tm_ctx *ctx, tm_sites *s, const code *f, uint32_t *out) {
  uint64_t key = pair(f->name, s->by_line ? f->file : 0);
  *out = tm_idmap_get(&s->functions, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  *out = s->function_count++;
  return tm_idmap_put(ctx, &s->functions, key, *out);
}

static tm_status frame_id(tm_ctx *ctx, tm_sites *s, const tm_view *v, const tm_node *n,
                          uint32_t *out) {
  const char *name = tm_view_text(v, n->name), *file = tm_view_text(v, n->file);
  char address[32];
  if (!*name) {
    snprintf(address, sizeof address, "%016llx", (unsigned long long)n->address);
    name = n->object ? tm_view_text(v, n->object) : address;
  }
  code f = {.line = n->line, .kind = tm_frame_kind_of(name, file)};
  TM_TRY(tm_strtab_intern(ctx, &s->strings, name, strlen(name), &f.name));
  TM_TRY(tm_strtab_intern(ctx, &s->strings, file, strlen(file), &f.file));
  uint32_t function;
  TM_TRY(function_id(ctx, s, &f, &function));
  uint64_t key = pair(function, s->by_line ? (uint32_t)n->line : 0);
  *out = tm_idmap_get(&s->by_line_frames, key);
  if (*out != TM_IDMAP_NONE) {
    s->frames.items[*out].file = f.file;
    return TM_OK;
  }
  *out = (uint32_t)s->frames.count;
  TM_TRY(tm_vec_push(ctx, &s->frames, f));
  return tm_idmap_put(ctx, &s->by_line_frames, key, *out);
}

// ---- the tree ----

static tm_status child_of(tm_ctx *ctx, tm_sites *s, uint32_t parent, uint32_t depth, uint32_t frame,
                          uint32_t *out) {
  uint64_t key = pair(parent, frame);
  *out = tm_idmap_get(&s->children, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  *out = (uint32_t)s->nodes.count;
  node n = {.parent = parent, .frame = frame, .row = NONE, .end_row = NONE, .depth = depth};
  TM_TRY(tm_vec_push(ctx, &s->nodes, n));
  return tm_idmap_put(ctx, &s->children, key, *out);
}

static void see_line(tm_sites *s, uint32_t at, int64_t line, int64_t value) {
  node *n = &s->nodes.items[at];
  uint32_t run = (uint32_t)s->added + 1;
  if (n->run == run && value <= n->line_value) return;
  n->run = run;
  n->line = line;
  n->line_value = value;
}

static tm_status row_of(tm_ctx *ctx, tm_sites *s, uint32_t at, uint32_t site, uint32_t *out) {
  node *n = &s->nodes.items[at];
  if (n->row == NONE) {
    TM_TRY(tm_vec_reserve(ctx, &s->values, s->column_count));
    n->row = (uint32_t)s->rows.count;
    TM_TRY(tm_vec_push(ctx, &s->rows, (row){at, site, at}));
    memset(s->values.items + s->values.count, 0, s->column_count * sizeof(double));
    s->values.count += s->column_count;
  }
  *out = n->row;
  return TM_OK;
}

// One stack: walks it up from the leaf, notes where site and owner are, and adds its value.
typedef struct walk {
  uint32_t at, depth;       // node reached; frames behind it
  uint32_t site, site_node; // NONE = not met yet
  uint32_t owner_node;      // NONE = not met yet
} walk;

static tm_status walk_frame(tm_ctx *ctx, tm_sites *s, walk *w, uint32_t frame, int64_t line,
                            int64_t value) {
  tm_frame_kind kind = s->frames.items[frame].kind;
  TM_TRY(child_of(ctx, s, w->at, w->depth + 1, frame, &w->at));
  if (!s->by_line) see_line(s, w->at, line, value);
  if (w->site == NONE && kind != TM_FRAME_RUNTIME) {
    w->site = w->depth;
    w->site_node = w->at;
  }
  if (w->site != NONE && w->owner_node == NONE && kind == TM_FRAME_OWN) w->owner_node = w->at;
  w->depth++;
  return TM_OK;
}

static tm_status add_value(tm_ctx *ctx, tm_sites *s, const walk *w, int64_t value, double weight) {
  if (w->at == NONE) return TM_OK; // no frame at all
  uint32_t at = w->owner_node != NONE ? w->owner_node : w->site != NONE ? w->site_node : w->at;
  uint32_t r;
  TM_TRY(row_of(ctx, s, at, w->site, &r));
  s->values.items[(size_t)r * s->column_count + s->added] += (double)value;
  s->nodes.items[w->at].weight += weight * (double)value;
  s->nodes.items[w->at].end_row = r;
  return TM_OK;
}

static tm_status add_samples(tm_ctx *ctx, tm_sites *s, const tm_flatcum *f, const uint32_t *ids,
                             double weight) {
  const tm_view *v = f->v;
  for (uint32_t i = 0; i < v->sample_count; i++) {
    int64_t value = tm_view_value(v, v->samples[i]);
    if (!value) continue;
    walk w = {.at = NONE, .site = NONE, .owner_node = NONE};
    for (uint32_t k = v->begin[i]; k < v->end[i]; k++) {
      uint32_t loc = v->stack[k];
      for (uint32_t n = f->frame_begin[loc]; n < f->frame_begin[loc + 1]; n++) {
        uint32_t at = f->frames.items[n];
        TM_TRY(walk_frame(ctx, s, &w, ids[at], f->nodes.items[at].line, value));
      }
    }
    TM_TRY(add_value(ctx, s, &w, value, weight));
  }
  return TM_OK;
}

static tm_status add_view(tm_ctx *ctx, tm_sites *s, tm_flatcum *f, double weight) {
  size_t count = f->nodes.count;
  uint32_t *ids = tm_alloc(ctx, (count + 1) * sizeof *ids);
  if (!ids) return TM_E_NOMEM;
  tm_status status = TM_OK;
  for (size_t i = 0; i < count && status == TM_OK; i++)
    status = frame_id(ctx, s, f->v, &f->nodes.items[i], &ids[i]);
  if (status == TM_OK) status = add_samples(ctx, s, f, ids, weight);
  tm_free(ctx, ids, (count + 1) * sizeof *ids);
  return status;
}

static void choose_paths(tm_sites *s) {
  for (size_t i = 0; i < s->rows.count; i++) s->rows.items[i].best = NONE;
  for (uint32_t i = 0; i < s->nodes.count; i++) {
    const node *n = &s->nodes.items[i];
    if (n->end_row == NONE) continue;
    uint32_t *best = &s->rows.items[n->end_row].best;
    if (*best == NONE || n->weight > s->nodes.items[*best].weight) *best = i;
  }
}

tm_status tm_sites_add(tm_ctx *ctx, tm_sites *s, const tm_profile *p, double weight) {
  if (s->added >= s->column_count)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "room for %zu profiles, and this is one more",
                   s->column_count);
  tm_flatcum_options o = {.granularity = "lines", .no_inlines = s->options.no_inlines};
  tm_view v = {0};
  tm_flatcum f = {0};
  tm_status status = tm_view_init(ctx, p, &s->options, &v);
  if (status == TM_OK) status = tm_view_filter(ctx, &v, &s->options);
  if (status == TM_OK) status = tm_flatcum_names(ctx, &v, &o, &f);
  if (status == TM_OK) status = add_view(ctx, s, &f, weight);
  tm_flatcum_fini(&f);
  tm_view_fini(&v);
  TM_TRY(status);
  choose_paths(s);
  s->added++;
  return TM_OK;
}

// ---- answers ----

size_t tm_sites_row_count(const tm_sites *s) {
  return s->rows.count;
}

const double *tm_sites_values(const tm_sites *s, size_t r) {
  return s->values.items + r * s->column_count;
}

// The frames from the leaf to a node; answers their number.
static size_t frames_to(const tm_sites *s, uint32_t at, tm_site_frame *out, size_t max) {
  size_t depth = s->nodes.items[at].depth;
  for (size_t i = depth; i > 0; i--) {
    const node *n = &s->nodes.items[at];
    const code *f = &s->frames.items[n->frame];
    if (i <= max)
      out[i - 1] = (tm_site_frame){tm_strtab_text(&s->strings, f->name),
                                   tm_strtab_text(&s->strings, f->file),
                                   s->by_line ? f->line : n->line, f->kind};
    at = n->parent;
  }
  return depth;
}

size_t tm_sites_frames(const tm_sites *s, size_t r, tm_site_frame *frames, size_t max,
                       size_t *out_site) {
  const row *found = &s->rows.items[r];
  size_t count = frames_to(s, found->node, frames, max);
  *out_site = found->site == NONE ? count : found->site;
  return count;
}

size_t tm_sites_path(const tm_sites *s, size_t r, tm_site_frame *frames, size_t max) {
  return frames_to(s, s->rows.items[r].best, frames, max);
}
