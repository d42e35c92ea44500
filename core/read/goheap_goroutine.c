// Goroutines of a Go heap dump: the object of its runtime.g is a root, and what its frames hold
// hangs on it, so that it dominates that.
//
// The dump names the pointer slots of a frame, but not what lies in locals whose address was taken
// ("stack objects"): the collector finds those by pointers into the stack. So does this: a frame
// that a pointer leads into is looked at word by word, as are those of a goroutine that was stopped
// anywhere, whose leaf frames have no exact map. Source: runtime/heapdump.go, runtime/mgcstack.go.
#include "read/goheap_impl.h"

#include <inttypes.h>
#include <stdio.h>

enum { WAITING = 4, SCAN_BIT = 0x1000 };

// What the goroutine at hand holds; without its object what it holds is a root by itself.
static tm_status add_held(goheap *h, uint64_t pointer, uint32_t label) {
  uint32_t node = goheap_find(h, pointer);
  if (node == TM_NODE_NONE) return TM_OK;
  tm_root root = {.node = node, .thread = h->goroutine, .label = label, .kind = TM_ROOT_STACK};
  root.held = h->goroutine != TM_NODE_NONE;
  uint32_t index = (uint32_t)h->graph->roots.count;
  if (root.held) TM_TRY(tm_vec_push(h->ctx, &h->held, (goheap_mark){h->goroutine, index}));
  return tm_vec_push(h->ctx, &h->graph->roots, root);
}

static tm_status intern(goheap *h, const char *text, uint32_t *out) {
  return tm_strtab_intern(h->ctx, &h->graph->strings, text, strlen(text), out);
}

// ---- frames ----

static tm_graph_goroutine *at_hand(goheap *h) {
  return &h->graph->goroutines.items[h->graph->goroutines.count - 1];
}

// The frame that holds a stack address; they follow each other without a gap.
static goheap_stack_frame *frame_at(goheap *h, uint64_t address) {
  size_t low = 0, high = h->frames.count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (h->frames.items[middle].sp <= address)
      low = middle + 1;
    else
      high = middle;
  }
  goheap_stack_frame *f = low ? &h->frames.items[low - 1] : NULL;
  return f && address - f->sp < f->contents.size ? f : NULL;
}

static void look_into(goheap *h, uint64_t pointer) {
  goheap_stack_frame *f = frame_at(h, pointer);
  if (f) f->all_of_it = true;
}

static tm_status hold_slots(goheap *h, const goheap_stack_frame *f) {
  uint64_t offset;
  goheap_slots slots = goheap_slots_of(h, f->fields, f->contents.size);
  while (goheap_next_slot(&slots, &offset)) {
    uint64_t pointer = goheap_pointer(h, f->contents.data + offset);
    if (!pointer) continue;
    look_into(h, pointer);
    TM_TRY(add_held(h, pointer, f->label));
  }
  return TM_OK;
}

static tm_status hold_all_of(goheap *h, goheap_stack_frame *f) {
  f->looked_into = true;
  for (size_t at = 0; at + h->pointer_bytes <= f->contents.size; at += h->pointer_bytes) {
    uint64_t word = goheap_pointer(h, f->contents.data + at);
    if (!word) continue;
    look_into(h, word);
    TM_TRY(add_held(h, word, f->label));
  }
  return TM_OK;
}

// Each frame is looked into once at most, so the walk ends.
static tm_status hold_stack_objects(goheap *h) {
  for (bool again = true; again;) {
    again = false;
    for (size_t i = 0; i < h->frames.count; i++) {
      goheap_stack_frame *f = &h->frames.items[i];
      if (!f->all_of_it || f->looked_into) continue;
      TM_TRY(hold_all_of(h, f));
      again = true;
    }
  }
  return TM_OK;
}

static bool is_runtime(const char *function) {
  return strncmp(function, "runtime.", 8) == 0;
}

// The outermost function of the program; of the runtime's own goroutines, of the runtime.
static const char *entry_of(const goheap *h) {
  const char *outermost = "without frames";
  for (size_t n = h->frames.count; n > 0; n--) {
    const char *function = tm_graph_text(h->graph, h->frames.items[n - 1].function);
    if (!is_runtime(function)) return function;
    if (strcmp(function, "runtime.goexit") == 0 || strcmp(function, "runtime.main") == 0) continue;
    if (strncmp(outermost, "without", 7) == 0) outermost = function;
  }
  return outermost;
}

// The object of a goroutine is named after its entry.
static tm_status name_goroutine(goheap *h) {
  if (h->goroutine == TM_NODE_NONE) return TM_OK;
  char name[512];
  uint32_t id;
  snprintf(name, sizeof name, "goroutine %.440s", entry_of(h));
  TM_TRY(intern(h, name, &id));
  return tm_vec_push(h->ctx, &h->names, (goheap_mark){h->goroutine, id});
}

// A goroutine that was stopped between two instructions: up to its first own frame, and the one
// behind it, where its arguments lie when they are not in registers (386, Go before 1.17).
static void doubt_leaf_frames(goheap *h) {
  bool own = false;
  for (size_t i = 0; i < h->frames.count; i++) {
    h->frames.items[i].all_of_it = true;
    if (own) return;
    own = !is_runtime(tm_graph_text(h->graph, h->frames.items[i].function));
  }
}

tm_status goheap_close_goroutine(goheap *h) {
  if (!h->in_goroutine) return TM_OK;
  h->in_goroutine = false;
  tm_graph_goroutine *g = at_hand(h);
  g->frame_end = (uint32_t)h->graph->frames.count;
  for (size_t i = 0; i < h->frames.count; i++)
    g->stack_bytes += (uint32_t)h->frames.items[i].contents.size;
  TM_TRY(name_goroutine(h));
  for (size_t i = 0; i < h->frames.count; i++) TM_TRY(hold_slots(h, &h->frames.items[i]));
  if (!g->waits) doubt_leaf_frames(h);
  look_into(h, h->next_closure);
  TM_TRY(hold_stack_objects(h));
  h->frames.count = 0;
  return TM_OK;
}

static const char *status_word(uint64_t status) {
  static const char *const words[] = {"idle", "runnable", "running", "syscall", "waiting"};
  return status < TM_COUNT(words) ? words[status] : "unknown";
}

tm_status goheap_open_goroutine(goheap *h, const goheap_record *r) {
  uint64_t status = r->number[4] & ~(uint64_t)SCAN_BIT;
  const goheap_bytes *reason = &r->text[0];
  char state[96];
  uint32_t label;
  TM_TRY(goheap_close_goroutine(h));
  tm_graph_goroutine g = {.id = r->number[2],
                          .address = r->number[0],
                          .wait_ns = r->number[7],
                          .created_pc = r->number[3],
                          .node = goheap_find(h, r->number[0]),
                          .frame_begin = (uint32_t)h->graph->frames.count,
                          .waits = status == WAITING,
                          .system = r->number[5] != 0};
  if (g.waits && reason->size)
    snprintf(state, sizeof state, "%.*s", reason->size > 80 ? 80 : (int)reason->size,
             (const char *)reason->data);
  else
    snprintf(state, sizeof state, "%s", status_word(status));
  TM_TRY(intern(h, state, &g.state));
  snprintf(h->goroutine_text, sizeof h->goroutine_text, "goroutine %" PRIu64 " [%s]", g.id, state);
  TM_TRY(intern(h, h->goroutine_text, &label));
  h->in_goroutine = true;
  h->goroutine = g.node;
  TM_TRY(tm_vec_push(h->ctx, &h->graph->goroutines, g));
  if (g.node != TM_NODE_NONE) {
    tm_root root = {.node = g.node, .thread = g.node, .label = label, .kind = TM_ROOT_THREAD};
    TM_TRY(tm_vec_push(h->ctx, &h->graph->roots, root));
  }
  h->next_closure = r->number[8];
  return add_held(h, h->next_closure, label);
}

tm_status goheap_add_frame(goheap *h, const goheap_record *r) {
  char label[640];
  if (!h->in_goroutine) return TM_OK;
  const goheap_bytes *name = &r->text[1];
  int length = name->size > 400 ? 400 : (int)name->size;
  goheap_stack_frame f = {.sp = r->number[0], .contents = r->text[0], .fields = r->fields};
  TM_TRY(tm_strtab_intern(h->ctx, &h->graph->strings, name->data, (size_t)length, &f.function));
  snprintf(label, sizeof label, "%.*s, %s", length, (const char *)name->data, h->goroutine_text);
  TM_TRY(intern(h, label, &f.label));
  tm_graph_frame shown = {.pc = r->number[4], .entry = r->number[3], .function = f.function};
  TM_TRY(tm_vec_push(h->ctx, &h->graph->frames, shown));
  return tm_vec_push(h->ctx, &h->frames, f);
}

tm_status goheap_add_call(goheap *h, const goheap_record *r) {
  char label[200];
  uint32_t id;
  bool is_defer = r->tag == GOHEAP_DEFER;
  snprintf(label, sizeof label, "%s, %s", is_defer ? "defer" : "panic", h->goroutine_text);
  // Both may lie on the stack, too, as a closure that is deferred once usually does.
  uint64_t pointers[] = {r->number[0], r->number[is_defer ? 4 : 3]};
  TM_TRY(intern(h, label, &id));
  for (size_t i = 0; i < TM_COUNT(pointers); i++) {
    look_into(h, pointers[i]);
    TM_TRY(add_held(h, pointers[i], id));
  }
  return TM_OK;
}

// The dump does not say when it was made. A collection notes the time in goroutines that it finds
// waiting, so the latest such time stands in for the end: waits are at least that long.
void goheap_count_waits(goheap *h) {
  uint64_t latest = 0;
  tm_graph *graph = h->graph;
  for (size_t i = 0; i < graph->goroutines.count; i++)
    if (graph->goroutines.items[i].wait_ns > latest) latest = graph->goroutines.items[i].wait_ns;
  for (size_t i = 0; i < graph->goroutines.count; i++) {
    tm_graph_goroutine *g = &graph->goroutines.items[i];
    g->wait_ns = g->waits && g->wait_ns ? latest - g->wait_ns : 0;
  }
}
