// V8's sampling profiles, as Chrome DevTools and Node write them: .cpuprofile (a flat list of nodes
// that name their children, samples and time deltas) and .heapprofile (a tree of nodes under
// "head"). Both become nodes with a parent; every node with a value of its own becomes one sample.
// One pass over the JSON, then one walk to the root per node. Source: Chrome DevTools Protocol,
// domains Profiler and HeapProfiler.
#include "base/json_read.h"
#include "model/profile.h"
#include "read/frames.h"
#include "read/reader.h"

#include <string.h>

#define MAX_FRAMES (UINT32_C(1) << 26) // of all stacks: hostile chains grow by their square

typedef enum place {
  IN_OTHER,
  IN_ROOT,
  IN_NODE,
  IN_CALL_FRAME,
  IN_NODES,
  IN_CHILDREN,
  IN_SAMPLES,
  IN_DELTAS
} place;

typedef enum field {
  F_OTHER,
  F_HEAD,
  F_NODES,
  F_CHILDREN,
  F_CALL_FRAME,
  F_SAMPLES,
  F_DELTAS,
  F_ID,
  F_SELF,
  F_HITS,
  F_NAME,
  F_URL,
  F_LINE,
  F_START,
  F_END
} field;

static const struct {
  const char *key;
  field field;
} fields[] = {{"head", F_HEAD},
              {"nodes", F_NODES},
              {"children", F_CHILDREN},
              {"callFrame", F_CALL_FRAME},
              {"samples", F_SAMPLES},
              {"timeDeltas", F_DELTAS},
              {"id", F_ID},
              {"selfSize", F_SELF},
              {"hitCount", F_HITS},
              {"functionName", F_NAME},
              {"url", F_URL},
              {"lineNumber", F_LINE},
              {"startTime", F_START},
              {"endTime", F_END}};

typedef struct node {
  uint32_t parent; // index, UINT32_MAX = none
  uint32_t name, url;
  int64_t id, line, self, hits, ns;
} node;

typedef struct link {
  uint32_t parent;
  int64_t child; // id
} link;

typedef struct v8_reader {
  tm_ctx *ctx;
  tm_profile *p;
  tm_json_reader *json;
  tm_frames frames;
  tm_idmap by_id;
  TM_VEC(node) nodes;
  TM_VEC(uint32_t) open; // nodes being read, outermost first
  TM_VEC(uint8_t) places;
  TM_VEC(link) links;
  TM_VEC(int64_t) samples, deltas;
  int64_t start_us, end_us;
  bool is_cpu;
} v8_reader;

static place here(const v8_reader *r) {
  return r->places.count ? (place)r->places.items[r->places.count - 1] : IN_OTHER;
}

static field field_of(const tm_json_reader *json) {
  for (size_t i = 0; i < TM_COUNT(fields); i++)
    if (tm_json_reader_is(json, fields[i].key)) return fields[i].field;
  return F_OTHER;
}

static tm_status open_node(v8_reader *r) {
  node n = {.parent = UINT32_MAX};
  if (r->open.count) n.parent = r->open.items[r->open.count - 1];
  TM_TRY(tm_vec_push(r->ctx, &r->open, (uint32_t)r->nodes.count));
  return tm_vec_push(r->ctx, &r->nodes, n);
}

static tm_status enter(v8_reader *r, bool object, field f) {
  place from = here(r), to = IN_OTHER;
  if (!r->places.count && object) to = IN_ROOT;
  if (object && (from == IN_NODES || from == IN_CHILDREN || (from == IN_ROOT && f == F_HEAD)))
    to = IN_NODE;
  if (object && from == IN_NODE && f == F_CALL_FRAME) to = IN_CALL_FRAME;
  if (!object && from == IN_ROOT && f == F_NODES) to = IN_NODES;
  if (!object && from == IN_ROOT && f == F_SAMPLES) to = IN_SAMPLES;
  if (!object && from == IN_ROOT && f == F_DELTAS) to = IN_DELTAS;
  if (!object && from == IN_NODE && f == F_CHILDREN) to = IN_CHILDREN;
  if (to == IN_NODES) r->is_cpu = true;
  if (to == IN_NODE) TM_TRY(open_node(r));
  return tm_vec_push(r->ctx, &r->places, (uint8_t)to);
}

static void leave(v8_reader *r) {
  if (here(r) == IN_NODE) r->open.count--;
  r->places.count--;
}

static tm_status on_string(v8_reader *r, field f) {
  if (here(r) != IN_CALL_FRAME || !r->open.count) return TM_OK;
  node *n = &r->nodes.items[r->open.items[r->open.count - 1]];
  if (f != F_NAME && f != F_URL) return TM_OK;
  return tm_profile_intern(r->ctx, r->p, r->json->text, r->json->text_size,
                           f == F_NAME ? &n->name : &n->url);
}

static tm_status on_number(v8_reader *r, field f) {
  int64_t value = r->json->integer;
  place at = here(r);
  if (at == IN_SAMPLES) return tm_vec_push(r->ctx, &r->samples, value);
  if (at == IN_DELTAS) return tm_vec_push(r->ctx, &r->deltas, value);
  if (at == IN_ROOT && f == F_START) r->start_us = value;
  if (at == IN_ROOT && f == F_END) r->end_us = value;
  if (!r->open.count) return TM_OK;
  uint32_t index = r->open.items[r->open.count - 1];
  node *n = &r->nodes.items[index];
  if (at == IN_CHILDREN) return tm_vec_push(r->ctx, &r->links, (link){index, value});
  if (at == IN_CALL_FRAME && f == F_LINE && value < INT32_MAX) n->line = value + 1;
  if (at == IN_NODE && f == F_ID) n->id = value;
  if (at == IN_NODE && f == F_SELF) n->self = value;
  if (at == IN_NODE && f == F_HITS) n->hits = value;
  return TM_OK;
}

static tm_status parse(v8_reader *r) {
  field f = F_OTHER;
  for (;;) {
    tm_json_event event = tm_json_reader_next(r->json);
    switch (event) {
    case TM_JSON_END:
      return TM_OK;
    case TM_JSON_ERROR:
      return r->ctx->error.status;
    case TM_JSON_OBJECT:
    case TM_JSON_ARRAY:
      TM_TRY(enter(r, event == TM_JSON_OBJECT, f));
      break;
    case TM_JSON_OBJECT_END:
    case TM_JSON_ARRAY_END:
      leave(r);
      break;
    case TM_JSON_KEY:
      f = field_of(r->json);
      continue;
    case TM_JSON_STRING:
      TM_TRY(on_string(r, f));
      break;
    case TM_JSON_NUMBER:
      TM_TRY(on_number(r, f));
      break;
    default:
      break;
    }
    if (here(r) != IN_SAMPLES && here(r) != IN_DELTAS) f = F_OTHER;
  }
}

// --- nodes to samples ---

static tm_status link_nodes(v8_reader *r) {
  for (uint32_t i = 0; i < r->nodes.count; i++)
    TM_TRY(tm_idmap_put(r->ctx, &r->by_id, (uint64_t)r->nodes.items[i].id, i));
  for (size_t i = 0; i < r->links.count; i++) {
    uint32_t child = tm_idmap_get(&r->by_id, (uint64_t)r->links.items[i].child);
    if (child == TM_IDMAP_NONE)
      return tm_fail(r->ctx, TM_E_FORMAT, TM_NO_OFFSET, "node %lld names a child that is not there",
                     (long long)r->nodes.items[r->links.items[i].parent].id);
    r->nodes.items[child].parent = r->links.items[i].parent;
  }
  return TM_OK;
}

// The time from each sample to the next belongs to its node.
static tm_status add_times(v8_reader *r) {
  bool timed = r->samples.count && r->samples.count == r->deltas.count;
  int64_t hits = 0;
  for (size_t i = 0; i < r->nodes.count; i++) {
    if (timed) r->nodes.items[i].hits = 0;
    hits = (int64_t)((uint64_t)hits + (uint64_t)r->nodes.items[i].hits);
  }
  uint64_t span_us = (uint64_t)r->end_us - (uint64_t)r->start_us;
  if (!timed && hits > 0)
    for (size_t i = 0; i < r->nodes.count; i++)
      r->nodes.items[i].ns =
          (int64_t)((uint64_t)r->nodes.items[i].hits * (span_us * 1000 / (uint64_t)hits));
  for (size_t i = 0; timed && i < r->samples.count; i++) {
    uint32_t index = tm_idmap_get(&r->by_id, (uint64_t)r->samples.items[i]);
    if (index == TM_IDMAP_NONE)
      return tm_fail(r->ctx, TM_E_FORMAT, TM_NO_OFFSET, "sample %zu names node %lld, not there", i,
                     (long long)r->samples.items[i]);
    int64_t delta = i + 1 < r->deltas.count ? r->deltas.items[i + 1] : 0;
    node *n = &r->nodes.items[index];
    n->hits++;
    n->ns = (int64_t)((uint64_t)n->ns + (uint64_t)delta * 1000);
  }
  return TM_OK;
}

static tm_status push_stack(v8_reader *r, uint32_t index) {
  for (size_t steps = 0; index != UINT32_MAX; steps++) {
    const node *n = &r->nodes.items[index];
    if (steps > r->nodes.count || r->p->stack.count >= MAX_FRAMES)
      return tm_fail(r->ctx, TM_E_LIMIT, TM_NO_OFFSET, "the stacks go in circles or are too deep");
    tm_text name = {tm_profile_text(r->p, n->name), tm_strtab_length(&r->p->strings, n->name)};
    tm_text url = {tm_profile_text(r->p, n->url), tm_strtab_length(&r->p->strings, n->url)};
    bool root = n->parent == UINT32_MAX && strcmp(name.at, "(root)") == 0;
    if (!name.size) name = (tm_text){"(anonymous)", 11};
    uint32_t location;
    if (!root) {
      TM_TRY(tm_frames_location(r->ctx, &r->frames, r->p, name, url, n->line, &location));
      TM_TRY(tm_vec_push(r->ctx, &r->p->stack, location));
    }
    index = n->parent;
  }
  return TM_OK;
}

static tm_status make_samples(v8_reader *r) {
  if (r->is_cpu) {
    TM_TRY(tm_profile_add_type(r->ctx, r->p, "samples", "count"));
    TM_TRY(tm_profile_add_type(r->ctx, r->p, "cpu", "nanoseconds"));
    r->p->duration_ns = (int64_t)(((uint64_t)r->end_us - (uint64_t)r->start_us) * 1000);
  } else {
    TM_TRY(tm_profile_add_type(r->ctx, r->p, "space", "bytes"));
  }
  r->p->period_type = r->p->types.items[r->p->types.count - 1];
  for (uint32_t i = 0; i < r->nodes.count; i++) {
    const node *n = &r->nodes.items[i];
    int64_t values[2] = {r->is_cpu ? n->hits : n->self, n->ns};
    if (!values[0] && !values[1]) continue;
    TM_TRY(push_stack(r, i));
    TM_TRY(tm_profile_end_sample(r->ctx, r->p, values));
  }
  return TM_OK;
}

static tm_status read_all(v8_reader *r) {
  TM_TRY(parse(r));
  if (!r->nodes.count)
    return tm_fail(r->ctx, TM_E_FORMAT, 0, "this JSON holds no V8 profile (no nodes, no head)");
  TM_TRY(link_nodes(r));
  if (r->is_cpu) TM_TRY(add_times(r));
  return make_samples(r);
}

static void free_profile(void *model) {
  tm_profile_free(model);
}

static tm_status v8_read(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  v8_reader r = {.ctx = ctx};
  tm_json_reader json;
  TM_TRY(tm_profile_new(ctx, &r.p));
  out->model = r.p;
  out->free_model = free_profile;
  tm_json_reader_init(&json, ctx, src->data, src->size);
  r.json = &json;
  tm_status status = read_all(&r);
  if (status != TM_OK) {
    out->partial = true;
    out->problem = ctx->error;
  }
  tm_json_reader_fini(&json);
  tm_frames_fini(ctx, &r.frames);
  tm_idmap_free(ctx, &r.by_id);
  tm_vec_free(ctx, &r.nodes);
  tm_vec_free(ctx, &r.open);
  tm_vec_free(ctx, &r.places);
  tm_vec_free(ctx, &r.links);
  tm_vec_free(ctx, &r.samples);
  tm_vec_free(ctx, &r.deltas);
  return status;
}

static bool holds(const uint8_t *head, size_t size, const char *word) {
  return memmem(head, size, word, strlen(word)) != NULL;
}

// An object whose start names "callFrame" with either a head or nodes.
static unsigned v8_probe(const uint8_t *head, size_t head_bytes) {
  size_t i = 0;
  while (i < head_bytes && (head[i] == ' ' || head[i] == '\n')) i++;
  if (i == head_bytes || head[i] != '{' || !holds(head, head_bytes, "\"callFrame\"")) return 0;
  bool known = holds(head, head_bytes, "\"head\"") || holds(head, head_bytes, "\"nodes\"");
  return known ? 60 : 0;
}

const tm_reader tm_reader_v8_profile = {.name = "v8-profile",
                                        .title = "V8 .cpuprofile or .heapprofile",
                                        .kind = TM_KIND_PROFILE,
                                        .probe = v8_probe,
                                        .read = v8_read};
