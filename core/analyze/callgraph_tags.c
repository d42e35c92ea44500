// Labels of samples as shares of nodes. Every sample's labels become a few tag keys (all strings
// joined; under them each value of the numeric label "bytes"); one pass over the stacks then adds
// values to (node, key). Cost: frames x labels of the nodes that will be drawn.
#include "analyze/callgraph_impl.h"
#include "analyze/pprof_units.h"
#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

typedef struct tag_key {
  uint32_t group, name;
} tag_key;

typedef struct sample_tag {
  uint32_t key;
  int64_t number;
} sample_tag;

typedef struct tagger {
  tm_ctx *ctx;
  tm_callgraph *g;
  const char *unit;
  const uint8_t *wanted;
  tm_idmap key_index, tag_index;
  TM_VEC(tag_key) keys;
  TM_VEC(sample_tag) current; // of the sample at hand
  TM_VEC(const char *) texts;
  tm_bytes joined;
  uint32_t bytes_key, base_key; // view string ids, or UINT32_MAX
} tagger;

static bool is_shown(const tagger *t, const tm_label *l) {
  const tm_view *v = t->g->v;
  return !v->hidden_keys || l->key >= v->key_room || !v->hidden_keys[l->key];
}

static int compare_texts(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// "key:value" of all string labels, sorted, with a two-letter \n between them.
static tm_status join_labels(tagger *t, uint32_t sample, uint32_t *group) {
  const tm_view *v = t->g->v;
  const tm_profile *p = v->profile;
  tm_arena_mark mark = tm_arena_save(&t->ctx->scratch);
  t->texts.count = t->joined.size = 0;
  uint32_t end = tm_profile_label_end(p, sample);
  for (uint32_t i = tm_profile_label_begin(p, sample); i < end; i++) {
    const tm_label *l = &p->labels.items[i];
    if (l->numeric || l->key == t->base_key || !is_shown(t, l)) continue;
    const char *key = tm_view_text(v, l->key), *value = tm_view_text(v, l->text);
    size_t key_size = strlen(key), size = key_size + strlen(value) + 2;
    char *text = tm_arena_alloc(&t->ctx->scratch, size);
    if (!text) return tm_fail(t->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (labels)");
    memcpy(text, key, key_size);
    text[key_size] = ':';
    memcpy(text + key_size + 1, value, size - key_size - 1);
    TM_TRY(tm_vec_push(t->ctx, &t->texts, text));
  }
  if (t->texts.count > 1)
    qsort((void *)t->texts.items, t->texts.count, sizeof *t->texts.items, compare_texts);
  for (size_t i = 0; i < t->texts.count; i++)
    TM_TRY(tm_bytes_printf(t->ctx, &t->joined, "%s%s", i ? "\\n" : "", t->texts.items[i]));
  tm_arena_rewind(&t->ctx->scratch, mark);
  *group = 0;
  if (!t->texts.count) return TM_OK;
  return tm_view_intern(t->ctx, t->g->v, (const char *)t->joined.data, t->joined.size, group);
}

static tm_status add_key(tagger *t, uint32_t group, uint32_t name, int64_t number) {
  uint64_t at = (uint64_t)group << 32 | name;
  sample_tag s = {.key = tm_idmap_get(&t->key_index, at), .number = number};
  if (s.key == TM_IDMAP_NONE) {
    tag_key k = {group, name};
    s.key = (uint32_t)t->keys.count;
    TM_TRY(tm_vec_push(t->ctx, &t->keys, k));
    TM_TRY(tm_idmap_put(t->ctx, &t->key_index, at, s.key));
  }
  return tm_vec_push(t->ctx, &t->current, s);
}

static tm_status read_sample(tagger *t, uint32_t sample) {
  const tm_view *v = t->g->v;
  const tm_profile *p = v->profile;
  uint32_t group, end = tm_profile_label_end(p, sample);
  t->current.count = 0;
  if (tm_profile_label_begin(p, sample) == end) return TM_OK;
  TM_TRY(join_labels(t, sample, &group));
  if (group) TM_TRY(add_key(t, group, 0, 0));
  for (uint32_t i = tm_profile_label_begin(p, sample); i < end; i++) {
    const tm_label *l = &p->labels.items[i];
    char text[400];
    uint32_t name;
    if (!l->numeric || l->key != t->bytes_key || !is_shown(t, l)) continue;
    tm_pprof_label(text, sizeof text, l->number, tm_view_text(v, v->number_units[l->key]), t->unit);
    TM_TRY(tm_view_intern(t->ctx, t->g->v, text, strlen(text), &name));
    TM_TRY(add_key(t, group, name, l->number));
  }
  return TM_OK;
}

static tm_status add_to_node(tagger *t, uint32_t node, int64_t w, int64_t d, bool flat) {
  for (size_t i = 0; i < t->current.count; i++) {
    const sample_tag *s = &t->current.items[i];
    uint64_t at = (uint64_t)node << 32 | s->key;
    uint32_t tag = tm_idmap_get(&t->tag_index, at);
    if (tag == TM_IDMAP_NONE) {
      tm_callgraph_tag fresh = {.node = node,
                                .group = t->keys.items[s->key].group,
                                .name = t->keys.items[s->key].name,
                                .number = s->number};
      tag = (uint32_t)t->g->tags.count;
      TM_TRY(tm_vec_push(t->ctx, &t->g->tags, fresh));
      TM_TRY(tm_idmap_put(t->ctx, &t->tag_index, at, tag));
    }
    tm_callgraph_tag *x = &t->g->tags.items[tag];
    callgraph_add(flat ? &x->flat : &x->cum, w);
    callgraph_add(flat ? &x->flat_divisor : &x->cum_divisor, d);
  }
  return TM_OK;
}

static tm_status add_stack(tagger *t, uint32_t s, int64_t w, int64_t d, uint32_t *marks) {
  const tm_view *v = t->g->v;
  const tm_flatcum *f = t->g->f;
  uint32_t node = UINT32_MAX;
  for (uint32_t i = v->end[s]; i > v->begin[s]; i--) {
    uint32_t loc = v->stack[i - 1];
    for (uint32_t k = f->frame_begin[loc + 1]; k > f->frame_begin[loc]; k--) {
      uint32_t info = f->frames.items[k - 1];
      node = t->g->is_tree ? callgraph_tree_child(t->g, node, info) : info;
      if (node == TM_IDMAP_NONE) return TM_OK;
      if (!t->wanted[node] || marks[node] == s + 1) continue;
      marks[node] = s + 1;
      TM_TRY(add_to_node(t, node, w, d, false));
    }
  }
  return node != UINT32_MAX && t->wanted[node] ? add_to_node(t, node, w, d, true) : TM_OK;
}

static tm_status add_all(tagger *t) {
  const tm_view *v = t->g->v;
  size_t count = t->g->nodes.count + 1;
  uint32_t *marks = tm_calloc(t->ctx, count, sizeof *marks);
  tm_status status = marks ? TM_OK : TM_E_NOMEM;
  for (uint32_t s = 0; s < v->sample_count && status == TM_OK; s++) {
    int64_t w = tm_view_value(v, v->samples[s]), d = tm_view_divisor(v, v->samples[s]);
    if (!w && !d) continue;
    status = read_sample(t, v->samples[s]);
    if (status == TM_OK && t->current.count) status = add_stack(t, s, w, d, marks);
  }
  tm_free(t->ctx, marks, count * sizeof *marks);
  return status;
}

static int compare_nodes(const void *left, const void *right) {
  const tm_callgraph_tag *a = left, *b = right;
  if (a->node != b->node) return a->node < b->node ? -1 : 1;
  if (a->group != b->group) return a->group < b->group ? -1 : 1;
  return a->name < b->name ? -1 : a->name > b->name;
}

static void group_tags(tm_callgraph *g, uint64_t cutoff) {
  size_t kept = 0;
  for (size_t i = 0; i < g->tags.count; i++) {
    const tm_callgraph_tag *x = &g->tags.items[i];
    if (callgraph_size(x->flat) >= cutoff || callgraph_size(x->cum) >= cutoff)
      g->tags.items[kept++] = *x;
  }
  g->tags.count = kept;
  if (kept) qsort(g->tags.items, kept, sizeof *g->tags.items, compare_nodes);
  for (uint32_t i = 0; i < kept; i++) {
    tm_callgraph_node *n = &g->nodes.items[g->tags.items[i].node];
    if (!n->tag_end) n->tag_begin = i;
    n->tag_end = i + 1;
  }
}

static uint32_t find_key(const tm_profile *p, const char *key) {
  return tm_strtab_find(&p->strings, key, strlen(key));
}

tm_status callgraph_tags(tm_ctx *ctx, tm_callgraph *g, const char *unit, const uint8_t *wanted,
                         uint64_t cutoff) {
  const tm_profile *p = g->v->profile;
  tagger t = {.ctx = ctx, .g = g, .unit = unit, .wanted = wanted};
  t.bytes_key = find_key(p, "bytes");
  t.base_key = find_key(p, "pprof::base");
  tm_status status = add_all(&t);
  if (status == TM_OK) group_tags(g, cutoff);
  tm_idmap_free(ctx, &t.key_index);
  tm_idmap_free(ctx, &t.tag_index);
  tm_vec_free(ctx, &t.keys);
  tm_vec_free(ctx, &t.current);
  tm_free(ctx, (void *)t.texts.items, t.texts.room * sizeof *t.texts.items);
  tm_bytes_free(ctx, &t.joined);
  return status;
}
