// Two walks. The first marks what the roots reach. The second goes breadth first through one class
// of roots after the other, and gives every object a path: that of the object it was met from,
// one step longer or folded. Threads are set apart before the second walk begins, so that a list of
// all threads does not own what each of them holds. Classes of a JVM stand for their statics, and
// what its threads have in thread locals belongs to the ThreadLocal, named by the static it is in.
//
// Steps are named by (type, place): places are fields of a type, asked from the reader once per
// object that leads somewhere new; the text of a place is asked once.
#include "analyze/type_paths.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/idmap.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TICK = 1 << 18, PATHS_MAX = 1 << 22, NAME_BYTES = 640, MARKED = 1, LOCAL_STEPS_MAX = 6 };

enum { STEP_BYTES = 2 * NAME_BYTES }; // a label and a type

#define NO_PATH UINT32_MAX

typedef struct path {
  uint32_t parent; // NO_PATH: a root
  uint32_t family; // string in texts: the type of the objects here
  uint32_t label;  // string in texts: the step's field, or the root
  uint64_t count, bytes;
} path;

typedef struct folder {
  tm_ctx *ctx;
  const tm_graph *graph;
  tm_strength weakest;
  const tm_node_set *only; // NULL = all count
  uint32_t *family;        // by type: string in texts
  uint8_t *array;          // by type: places are all alike
  uint8_t *marks;          // by node
  uint32_t *path_of;       // by node, NO_PATH = not met yet
  uint32_t *queue;         // of nodes; each stands in it once
  uint32_t *places;        // of the edges of one object
  size_t place_room;
  size_t head, tail;
  TM_VEC(path) paths;
  tm_idmap by_step;  // hash of (parent, label, type) -> path
  tm_idmap by_place; // (type, place) -> label
  tm_strtab texts;
} folder;

static void folder_fini(folder *f) {
  size_t n = f->graph->node_count, types = f->graph->types.count;
  tm_free(f->ctx, f->family, (types + !types) * sizeof *f->family);
  tm_free(f->ctx, f->array, types + !types);
  tm_free(f->ctx, f->marks, n);
  tm_free(f->ctx, f->path_of, n * sizeof *f->path_of);
  tm_free(f->ctx, f->queue, n * sizeof *f->queue);
  tm_free(f->ctx, f->places, f->place_room * sizeof *f->places);
  tm_vec_free(f->ctx, &f->paths);
  tm_idmap_free(f->ctx, &f->by_step);
  tm_idmap_free(f->ctx, &f->by_place);
  tm_strtab_fini(&f->texts);
}

// ---- names ----

// Where the place of a frame begins, "Class.method (File.java:12)", or NULL.
static const char *place_in_source(const char *from) {
  const char *place = strrchr(from, '('), *number = place ? strrchr(place, ':') : NULL;
  if (!number || place < from + 2 || place[-1] != ' ') return NULL;
  return strcmp(number + 1 + strspn(number + 1, "0123456789"), ")") == 0 ? place - 1 : NULL;
}

// Copies a name without what differs between dumps: "[12]" is "[x]", goroutine numbers, addresses
// and lines of frames go.
static void make_stable(const char *from, char *out, size_t size) {
  size_t used = 0;
  // V8 names the entries of tables by numbers, and those of weak maps by what they join.
  if (strstr(from, " / part of key")) from = "weak entry";
  if (*from && !from[strspn(from, "0123456789")]) from = "[x]";
  const char *number = strstr(from, ", goroutine ");
  const char *address = strstr(from, " (0x");
  const char *place = place_in_source(from);
  const char *end = number ? number : address ? address : place ? place : from + strlen(from);
  while (from < end && used + 4 < size) {
    out[used++] = *from++;
    if (out[used - 1] != '[' || !isdigit((unsigned char)*from)) continue;
    while (from < end && isdigit((unsigned char)*from)) from++;
    out[used++] = 'x';
  }
  out[used] = '\0';
}

static tm_status intern(folder *f, const char *text, uint32_t *out) {
  return tm_strtab_intern(f->ctx, &f->texts, text, strlen(text), out);
}

static tm_status name_edge(folder *f, uint32_t node, uint32_t index, uint32_t *out) {
  char name[NAME_BYTES], stable[NAME_BYTES];
  TM_TRY(f->graph->detail->edge_name(f->ctx, f->graph, node, index, name, sizeof name));
  make_stable(name, stable, sizeof stable);
  return intern(f, stable, out);
}

// The label of an edge: places share theirs within a type.
static tm_status label_of(folder *f, uint32_t node, uint32_t index, uint32_t place, uint32_t *out) {
  if (place == TM_PLACE_OWN) return name_edge(f, node, index, out);
  if (place == TM_PLACE_ELEMENT) return intern(f, "[x]", out);
  if (place == TM_PLACE_KEY) return intern(f, "{x}", out);
  uint64_t key = (uint64_t)f->graph->type[node] << 32 | place;
  *out = tm_idmap_get(&f->by_place, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  TM_TRY(name_edge(f, node, index, out));
  return tm_idmap_put(f->ctx, &f->by_place, key, *out);
}

// What the types are called here: two of one name are one.
static tm_status name_families(folder *f) {
  const tm_graph *g = f->graph;
  size_t types = g->types.count;
  f->family = tm_alloc(f->ctx, (types + !types) * sizeof *f->family);
  f->array = tm_calloc(f->ctx, types + !types, 1);
  if (!f->family || !f->array) return TM_E_NOMEM;
  for (uint32_t i = 0; i < types; i++) {
    char name[NAME_BYTES];
    if (g->detail->family) {
      f->array[i] = g->detail->family(g, i, name, sizeof name);
      TM_TRY(intern(f, name, &f->family[i]));
    } else {
      TM_TRY(intern(f, tm_graph_text(g, g->types.items[i].name), &f->family[i]));
    }
  }
  return TM_OK;
}

// ---- paths ----

static tm_status step(folder *f, uint32_t parent, uint32_t label, uint32_t family, uint32_t *out) {
  uint64_t key = tm_hash_add(tm_hash_add(tm_hash_mix((uint64_t)parent << 32 | label), family), 1);
  for (;; key++) { // equal hashes go side by side
    *out = tm_idmap_get(&f->by_step, key);
    if (*out == TM_IDMAP_NONE) break;
    const path *p = &f->paths.items[*out];
    if (p->parent == parent && p->label == label && p->family == family) return TM_OK;
  }
  if (f->paths.count >= PATHS_MAX) {
    *out = parent; // the rest counts where it hangs
    return parent == NO_PATH ? tm_fail(f->ctx, TM_E_LIMIT, TM_NO_OFFSET, "more than 2^22 paths")
                             : TM_OK;
  }
  *out = (uint32_t)f->paths.count;
  TM_TRY(tm_vec_push(f->ctx, &f->paths, (path){parent, family, label, 0, 0}));
  return tm_idmap_put(f->ctx, &f->by_step, key, *out);
}

// The path of a child: folded when its type is that of the path, or of the one before.
static tm_status descend(folder *f, uint32_t node, uint32_t index, uint32_t place, uint32_t child) {
  uint32_t at = f->path_of[node], label, to;
  uint32_t family = f->family[f->graph->type[child]];
  const path *here = &f->paths.items[at];
  if (here->family == family) {
    to = at;
  } else if (here->parent != NO_PATH && f->paths.items[here->parent].family == family) {
    to = here->parent;
  } else {
    TM_TRY(label_of(f, node, index, place, &label));
    TM_TRY(step(f, at, label, family, &to));
  }
  f->path_of[child] = to;
  return TM_OK;
}

static void count_node(folder *f, uint32_t node) {
  if (f->only && !tm_node_set_has(f->only, node)) return;
  path *p = &f->paths.items[f->path_of[node]];
  p->count++;
  p->bytes += tm_graph_size(f->graph, node);
}

// ---- walks ----

static bool follows(const folder *f, uint32_t node, uint32_t edge) {
  return tm_graph_strength(f->graph, node, edge) <= f->weakest;
}

static tm_status mark(folder *f) {
  const tm_graph *g = f->graph;
  size_t n = 0, done = 0;
  for (size_t i = 0; i < g->roots.count; i++) {
    uint32_t root = g->roots.items[i].node;
    if (f->marks[root]) continue;
    f->marks[root] = MARKED;
    f->queue[n++] = root;
  }
  while (n) {
    uint32_t node = f->queue[--n];
    for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++) {
      uint32_t to = g->edge_to[e];
      if (f->marks[to] || !follows(f, node, e)) continue;
      f->marks[to] = MARKED;
      f->queue[n++] = to;
    }
    if (++done % TICK == 0) TM_TRY(tm_ctx_tick(f->ctx, done));
  }
  return TM_OK;
}

// Whether an edge leads to an object that has no path yet.
static bool leads_on(const folder *f, uint32_t node, uint32_t e) {
  uint32_t to = f->graph->edge_to[e];
  return f->path_of[to] == NO_PATH && f->marks[to] && follows(f, node, e);
}

// Asks for the places of an object's edges: of all, since a name is found by walking to it.
static tm_status ask_places(folder *f, uint32_t node, uint32_t edges, uint32_t *known) {
  *known = 0;
  if (!f->graph->detail->places) return TM_OK;
  if (edges > f->place_room) {
    size_t room = edges > 2 * f->place_room ? edges : 2 * f->place_room;
    uint32_t *places =
        tm_realloc(f->ctx, f->places, f->place_room * sizeof *places, room * sizeof *places);
    if (!places) return TM_E_NOMEM;
    f->places = places;
    f->place_room = room;
  }
  *known = f->graph->detail->places(f->graph, node, f->places, edges);
  return TM_OK;
}

static tm_status expand(folder *f, uint32_t node) {
  const tm_graph *g = f->graph;
  uint32_t begin = g->edge_begin[node], end = g->edge_begin[node + 1], known = UINT32_MAX;
  count_node(f, node);
  for (uint32_t e = begin; e < end; e++) {
    if (!leads_on(f, node, e)) continue;
    if (known == UINT32_MAX) // asked once, and only of who leads on
      TM_TRY(ask_places(f, node, end - begin, &known));
    uint32_t index = e - begin, place = TM_PLACE_OWN;
    if (index < known) place = f->places[index];
    if (f->array[g->type[node]] && place != TM_PLACE_OWN) place = TM_PLACE_ELEMENT;
    TM_TRY(descend(f, node, index, place, g->edge_to[e]));
    f->queue[f->tail++] = g->edge_to[e];
  }
  return TM_OK;
}

static tm_status drain(folder *f) {
  while (f->head < f->tail) {
    TM_TRY(expand(f, f->queue[f->head++]));
    if (f->head % TICK == 0) TM_TRY(tm_ctx_tick(f->ctx, f->graph->node_count + f->head));
  }
  return TM_OK;
}

// ---- where paths begin ----

// Roots in the order in which they own: lower first.
enum { OF_STATICS, OF_THREAD_LOCALS, OF_HANDLES, OF_THREADS, OF_REST, ROOT_CLASSES };

static int class_of_root(const tm_root *r) {
  switch (r->kind) {
  case TM_ROOT_STATIC:
    return OF_STATICS;
  case TM_ROOT_THREAD:
    return OF_THREADS;
  case TM_ROOT_JNI_GLOBAL:
  case TM_ROOT_INTERNED:
    return OF_HANDLES;
  default:
    return OF_REST;
  }
}

static tm_status begin_at(folder *f, uint32_t node, const char *text) {
  uint32_t label;
  if (f->path_of[node] != NO_PATH || !f->marks[node]) return TM_OK;
  TM_TRY(intern(f, text, &label));
  TM_TRY(step(f, NO_PATH, label, f->family[f->graph->type[node]], &f->path_of[node]));
  f->queue[f->tail++] = node;
  return TM_OK;
}

// "static main.cache", "thread", "jni global": threads and handles are told apart by their types.
static tm_status begin_at_root(folder *f, const tm_root *r) {
  char text[NAME_BYTES], stable[NAME_BYTES] = "";
  const char *kind = tm_root_kind_name((tm_root_kind)r->kind);
  if (r->kind != TM_ROOT_THREAD)
    make_stable(tm_graph_text(f->graph, r->label), stable, sizeof stable);
  snprintf(text, sizeof text, "%s%s%.600s", kind, *stable ? " " : "", stable);
  return begin_at(f, r->node, text);
}

static tm_status begin_at_classes(folder *f) {
  char text[NAME_BYTES];
  for (size_t i = 0; i < f->graph->types.count; i++) {
    const tm_type *t = &f->graph->types.items[i];
    if (t->node == TM_NODE_NONE) continue;
    snprintf(text, sizeof text, "static %.600s", tm_graph_text(f->graph, t->name));
    TM_TRY(begin_at(f, t->node, text));
  }
  return TM_OK;
}

// "thread local app.Requests.current": the fields from the static to the ThreadLocal `key`.
static void name_thread_local(const folder *f, uint32_t key, char *out, size_t size) {
  const char *labels[LOCAL_STEPS_MAX];
  size_t n = 0;
  snprintf(out, size, "thread local");
  if (key == TM_NODE_NONE) return; // it is garbage by now, its values are not
  for (uint32_t at = f->path_of[key]; at != NO_PATH; at = f->paths.items[at].parent) {
    if (n == LOCAL_STEPS_MAX) return;
    labels[n++] = tm_strtab_text(&f->texts, f->paths.items[at].label);
  }
  if (!n || strncmp(labels[n - 1], "static ", 7) != 0) return;
  labels[n - 1] += 7;
  for (size_t i = n, used = strlen(out); i-- > 0 && used < size; used = strlen(out))
    snprintf(out + used, size - used, "%s%.100s", i + 1 == n ? " " : ".", labels[i]);
}

static tm_status begin_at_thread_local(folder *f, uint32_t entry) {
  const tm_graph *g = f->graph;
  char text[NAME_BYTES];
  tm_field key, value;
  if (!g->detail->field(g, entry, "value", &value) || value.node == TM_NODE_NONE) return TM_OK;
  if (!g->detail->field(g, entry, "referent", &key)) key.node = TM_NODE_NONE;
  name_thread_local(f, key.node, text, sizeof text);
  return begin_at(f, value.node, text);
}

// Threads of a JVM keep the values of thread locals in tables of such entries.
static tm_status begin_at_thread_locals(folder *f) {
  const tm_graph *g = f->graph;
  for (uint32_t t = 0; g->detail->field && t < g->types.count; t++) {
    const char *name = tm_graph_text(g, g->types.items[t].name);
    if (strcmp(name, "java.lang.ThreadLocal$ThreadLocalMap$Entry") != 0) continue;
    for (uint32_t n = 0; n < g->node_count; n++)
      if (g->type[n] == t && f->marks[n]) TM_TRY(begin_at_thread_local(f, n));
  }
  return TM_OK;
}

// Threads take their place at once, but are walked from in their turn.
static tm_status set_threads_apart(folder *f) {
  const tm_graph *g = f->graph;
  size_t kept = f->tail;
  for (size_t i = 0; i < g->roots.count; i++)
    if (class_of_root(&g->roots.items[i]) == OF_THREADS)
      TM_TRY(begin_at_root(f, &g->roots.items[i]));
  f->tail = kept;
  return TM_OK;
}

static tm_status walk_roots(folder *f, int class) {
  const tm_graph *g = f->graph;
  if (class == OF_STATICS) TM_TRY(begin_at_classes(f));
  if (class == OF_THREAD_LOCALS) TM_TRY(begin_at_thread_locals(f));
  for (size_t i = 0; i < g->roots.count; i++) {
    const tm_root *r = &g->roots.items[i];
    if (class_of_root(r) != class || r->held) continue;
    if (class == OF_THREADS && f->marks[r->node] == MARKED) { // each once
      f->marks[r->node]++;
      f->queue[f->tail++] = r->node;
    }
    TM_TRY(begin_at_root(f, r));
  }
  return drain(f);
}

static tm_status fold(folder *f) {
  tm_status status = mark(f);
  if (status == TM_OK) status = set_threads_apart(f);
  for (int class = 0; status == TM_OK && class < ROOT_CLASSES; class ++)
    status = walk_roots(f, class);
  return status;
}

// ---- the profile ----

// The last step of a path as people read it.
static void name_step(const folder *f, uint32_t at, char *out, size_t size) {
  const path *p = &f->paths.items[at];
  const char *type = tm_strtab_text(&f->texts, p->family),
             *label = tm_strtab_text(&f->texts, p->label);
  // A class stands for its statics: that it is an object too says nothing.
  bool bare = p->parent == NO_PATH && strcmp(type, "java.lang.Class") == 0;
  snprintf(out, size, "%s%s%s", label, bare || !*label ? "" : " ", bare ? "" : type);
}

typedef struct writer {
  folder *f;
  tm_profile *p;
  uint32_t *location; // by path
  tm_idmap by_name;   // string of the profile -> location
  uint32_t root_key;
} writer;

static tm_status write_location(writer *w, uint32_t at) {
  char name[STEP_BYTES];
  folder *f = w->f;
  name_step(f, at, name, sizeof name);
  tm_function fn = {.id = w->p->functions.count + 1};
  TM_TRY(tm_profile_intern(f->ctx, w->p, name, strlen(name), &fn.name));
  w->location[at] = tm_idmap_get(&w->by_name, fn.name);
  if (w->location[at] != TM_IDMAP_NONE) return TM_OK;
  fn.system_name = fn.name;
  uint32_t line = (uint32_t)w->p->lines.count;
  tm_location l = {.id = w->p->locations.count + 1,
                   .mapping = TM_PROFILE_NONE,
                   .line_begin = line,
                   .line_end = line + 1};
  TM_TRY(tm_vec_push(f->ctx, &w->p->lines, (tm_line){.function = (uint32_t)w->p->functions.count}));
  TM_TRY(tm_vec_push(f->ctx, &w->p->functions, fn));
  w->location[at] = (uint32_t)w->p->locations.count;
  TM_TRY(tm_vec_push(f->ctx, &w->p->locations, l));
  return tm_idmap_put(f->ctx, &w->by_name, fn.name, w->location[at]);
}

static tm_status write_sample(writer *w, uint32_t at) {
  folder *f = w->f;
  const path *p = &f->paths.items[at];
  int64_t values[2] = {(int64_t)p->count, (int64_t)p->bytes};
  tm_label root = {.key = w->root_key};
  uint32_t top = at;
  for (uint32_t up = at; up != NO_PATH; up = f->paths.items[up].parent) {
    TM_TRY(tm_vec_push(f->ctx, &w->p->stack, w->location[up]));
    top = up;
  }
  const char *text = tm_strtab_text(&f->texts, f->paths.items[top].label);
  TM_TRY(tm_profile_intern(f->ctx, w->p, text, strlen(text), &root.text));
  TM_TRY(tm_vec_push(f->ctx, &w->p->labels, root));
  return tm_profile_end_sample(f->ctx, w->p, values);
}

static tm_status write_profile(writer *w) {
  tm_ctx *ctx = w->f->ctx;
  size_t n = w->f->paths.count;
  TM_TRY(tm_profile_add_type(ctx, w->p, "objects", "count"));
  TM_TRY(tm_profile_add_type(ctx, w->p, "space", "bytes"));
  TM_TRY(tm_profile_intern(ctx, w->p, "space", 5, &w->p->default_type));
  TM_TRY(tm_profile_intern(ctx, w->p, "root", 4, &w->root_key));
  w->p->period_type = w->p->types.items[1];
  w->p->period = 1;
  w->location = tm_alloc(ctx, (n + !n) * sizeof *w->location);
  if (!w->location) return TM_E_NOMEM;
  for (uint32_t i = 0; i < n; i++) TM_TRY(write_location(w, i));
  for (uint32_t i = 0; i < n; i++)
    if (w->f->paths.items[i].count) TM_TRY(write_sample(w, i));
  return TM_OK;
}

static tm_status make_profile(folder *f, tm_profile **out) {
  writer w = {.f = f};
  TM_TRY(tm_profile_new(f->ctx, &w.p));
  tm_status status = write_profile(&w);
  if (w.location)
    tm_free(f->ctx, w.location, (f->paths.count + !f->paths.count) * sizeof *w.location);
  tm_idmap_free(f->ctx, &w.by_name);
  if (status != TM_OK)
    tm_profile_free(w.p);
  else
    *out = w.p;
  return status;
}

// ---- the objects at a path ----

// How much of each wanted path a path has matched: parents come before what hangs below them.
typedef struct matcher {
  const folder *f;
  const char *const *wanted;
  size_t count;
  uint32_t *matched; // [path * count + i]: bytes of wanted[i], or NO_MATCH
  uint32_t *is;      // by path: bit i: it is wanted[i]
} matcher;

#define NO_MATCH UINT32_MAX

// Where wanted goes on behind the step `name`, or NO_MATCH.
static uint32_t match_step(const char *wanted, uint32_t from, bool root, const char *name) {
  uint32_t n = (uint32_t)strlen(name);
  if (!root && wanted[from++] != ';') return NO_MATCH;
  if (strncmp(wanted + from, name, n) != 0) return NO_MATCH;
  return wanted[from + n] == ';' || !wanted[from + n] ? from + n : NO_MATCH;
}

static void match_path(const matcher *m, uint32_t at) {
  char name[STEP_BYTES];
  uint32_t parent = m->f->paths.items[at].parent;
  name_step(m->f, at, name, sizeof name);
  m->is[at] = 0;
  for (size_t i = 0; i < m->count; i++) {
    uint32_t from = parent == NO_PATH ? 0 : m->matched[parent * m->count + i];
    if (from != NO_MATCH) from = match_step(m->wanted[i], from, parent == NO_PATH, name);
    if (from != NO_MATCH && !m->wanted[i][from]) m->is[at] |= 1u << i;
    m->matched[at * m->count + i] = from;
  }
}

static void collect(const matcher *m, tm_node_set *sets) {
  uint32_t n = m->f->graph->node_count;
  for (uint32_t node = 0; node < n; node++) {
    uint32_t at = m->f->path_of[node];
    for (uint32_t bits = at == NO_PATH ? 0 : m->is[at]; bits; bits &= bits - 1)
      tm_node_set_add(&sets[__builtin_ctz(bits)], node);
  }
}

static tm_status select_nodes(folder *f, const char *const *wanted, size_t count,
                              tm_node_set *sets) {
  size_t n = f->paths.count, cells = n * (count + 1) + 1;
  uint32_t *room = tm_alloc(f->ctx, cells * sizeof *room);
  if (!room) return TM_E_NOMEM;
  matcher m = {f, wanted, count, room, room + n * count};
  for (uint32_t at = 0; at < n; at++) match_path(&m, at);
  collect(&m, sets);
  tm_free(f->ctx, room, cells * sizeof *room);
  return TM_OK;
}

// ---- entry points ----

// Makes f's columns and folds; folder_fini in any case.
static tm_status fold_graph(folder *f) {
  size_t n = f->graph->node_count;
  tm_strtab_init(&f->texts, &f->ctx->alloc, 0);
  f->marks = tm_calloc(f->ctx, n, 1);
  f->path_of = tm_alloc(f->ctx, n * sizeof *f->path_of);
  f->queue = tm_alloc(f->ctx, n * sizeof *f->queue);
  if (!f->marks || !f->path_of || !f->queue) return TM_E_NOMEM;
  memset(f->path_of, 0xff, n * sizeof *f->path_of);
  TM_TRY(name_families(f));
  return fold(f);
}

tm_status tm_type_paths(tm_ctx *ctx, const tm_graph *graph, tm_strength weakest,
                        const tm_node_set *only, tm_profile **out) {
  folder f = {.ctx = ctx, .graph = graph, .weakest = weakest, .only = only};
  tm_status status = fold_graph(&f);
  if (status == TM_OK) status = make_profile(&f, out);
  folder_fini(&f);
  return status;
}

tm_status tm_type_paths_select(tm_ctx *ctx, const tm_graph *graph, tm_strength weakest,
                               const char *const *paths, size_t count, tm_node_set *sets) {
  if (count > TM_TYPE_PATHS_MAX)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "%zu paths, at most %d are searched for at once",
                   count, TM_TYPE_PATHS_MAX);
  folder f = {.ctx = ctx, .graph = graph, .weakest = weakest};
  tm_status status = TM_OK;
  for (size_t i = 0; status == TM_OK && i < count; i++)
    status = tm_node_set_init(ctx, graph, &sets[i]);
  if (status != TM_OK) return status;
  status = fold_graph(&f);
  if (status == TM_OK) status = select_nodes(&f, paths, count, sets);
  folder_fini(&f);
  return status;
}
