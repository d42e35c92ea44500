// tm_graph: the objects of a heap dump and what refers to what. One shape for JVM, V8 and Go dumps.
// Filled by a reader, then sealed: immutable, readable from any thread, freed once.
//
// Nodes are dense numbers in the order of the dump. Columns are arrays by node; the outgoing edges
// of node n are edge_to[edge_begin[n] .. edge_begin[n + 1]]. What an analysis rarely needs (an
// object's address, the name of an edge, the value of a field) is decoded again from the kept dump
// by the reader's `detail`.
#ifndef TM_MODEL_GRAPH_H
#define TM_MODEL_GRAPH_H

#include "base/strtab.h"
#include "base/vec.h"
#include "model/table.h"

#define TM_NODE_NONE UINT32_MAX

// Places of edges within their type: see tm_graph_detail.places.
#define TM_PLACE_OWN     UINT32_MAX       // its name is no other's
#define TM_PLACE_KEY     (UINT32_MAX - 1) // one of many keys
#define TM_PLACE_ELEMENT 0                // of an array

// How strongly an edge holds its end. The order is that of the JVM: a collector frees what only
// weaker edges reach. Source: java.lang.ref; for V8 every non-retaining edge is WEAK.
typedef enum tm_strength {
  TM_STRENGTH_STRONG,
  TM_STRENGTH_SOFT,
  TM_STRENGTH_WEAK,
  TM_STRENGTH_FINAL,
  TM_STRENGTH_PHANTOM,
} tm_strength;

// Why a root is one; tm_root_kind_name gives the word.
typedef enum tm_root_kind {
  TM_ROOT_UNKNOWN,
  TM_ROOT_STATIC, // a class of the system, a global
  TM_ROOT_THREAD, // a thread itself
  TM_ROOT_STACK,  // a local of a frame
  TM_ROOT_JNI_LOCAL,
  TM_ROOT_JNI_GLOBAL,
  TM_ROOT_MONITOR, // locked or waited on
  TM_ROOT_NATIVE_STACK,
  TM_ROOT_FINALIZER,
  TM_ROOT_INTERNED,
  TM_ROOT_VM,      // debugger, reference cleanup, VM internals
  TM_ROOT_ASSUMED, // the dump has no roots: taken for one by the reader
  TM_ROOT_OTHER,
  TM_ROOT_KINDS
} tm_root_kind;

typedef struct tm_root {
  uint32_t node;
  uint32_t thread; // node of the thread it belongs to, or TM_NODE_NONE
  uint32_t label;  // string id: frame, global's name; 0 = none
  uint8_t kind;    // tm_root_kind
  bool held;       // an edge of its thread holds it: shown as a root, but no start of a walk
} tm_root;

typedef struct tm_type {
  uint32_t name;    // string id
  uint32_t super;   // index of the type above, or TM_NODE_NONE
  uint32_t loader;  // node of the class loader or module that holds it, or TM_NODE_NONE
  uint32_t node;    // node of the class object itself, or TM_NODE_NONE
  uint8_t strength; // of the first edge of its nodes: TM_STRENGTH_STRONG unless a reference object
} tm_type;

typedef struct tm_big_size {
  uint32_t node;
  uint64_t bytes;
} tm_big_size;

// A goroutine of a Go heap dump, and the functions on its stack.
typedef struct tm_graph_goroutine {
  uint64_t id, address;            // address: of its runtime.g
  uint64_t wait_ns;                // for how long it has waited; 0 = not known
  uint64_t created_pc;             // behind the go statement
  uint32_t node;                   // of its runtime.g, or TM_NODE_NONE
  uint32_t state;                  // string id: why it waits, else what it does
  uint32_t frame_begin, frame_end; // in graph->frames, leaf first
  uint32_t stack_bytes;            // of those frames
  bool waits;
  bool system; // the runtime's own
} tm_graph_goroutine;

typedef struct tm_graph_frame {
  uint64_t pc, entry; // entry: where the function begins
  uint32_t function;  // string id
} tm_graph_frame;

// What flags say of a DOM node: whether a document holds it.
enum { TM_NODE_LINK = 3, TM_NODE_ATTACHED = 1, TM_NODE_DETACHED = 2 };

typedef struct tm_graph tm_graph;
struct tm_profile;
struct tm_columns;

// The bytes of a string or an array without references, as the dump has them (not NUL-terminated).
typedef struct tm_contents {
  const uint8_t *data; // inside the kept dump
  uint64_t size_bytes;
  uint32_t owner; // the node whose bytes these are: of Strings that share an array, the array
  uint32_t kind;  // contents of different kinds are different though their bytes are alike
} tm_contents;

// A field: what it refers to, or its number. Real numbers are given by their bits.
typedef struct tm_field {
  int64_t number;
  uint32_t node; // TM_NODE_NONE: a number, or null
} tm_field;

// What the reader can still tell of a dump that is kept open.
typedef struct tm_graph_detail {
  // The id that the dump gives the node: an address, or V8's object id.
  uint64_t (*id)(const tm_graph *graph, uint32_t node);
  // The node of that id, or TM_NODE_NONE.
  uint32_t (*find)(const tm_graph *graph, uint64_t id);
  // Appends the name of the index-th outgoing edge of a node ("next", "[3]") to out.
  tm_status (*edge_name)(tm_ctx *ctx, const tm_graph *graph, uint32_t node, uint32_t index,
                         char *out, size_t size);
  // Which of a node's outgoing edges are at the same place: edges of one type's nodes with one
  // place have one name. Fills the places of the first `room` edges and answers for how many it
  // speaks; when that is more, the last one holds for the rest. Edges beyond have names of their
  // own (TM_PLACE_OWN). NULL: all of them.
  uint32_t (*places)(const tm_graph *graph, uint32_t node, uint32_t *out, uint32_t room);
  // One row per field or element: name, type, value (text), node (or -1).
  tm_status (*fields)(tm_ctx *ctx, const tm_graph *graph, uint32_t node, tm_table *out);
  // A short text of one object for people: a string's letters, a boxed number. Empty when it has
  // none.
  tm_status (*preview)(tm_ctx *ctx, const tm_graph *graph, uint32_t node, char *out, size_t size);
  // What only some formats tell; NULL = this one does not.
  // Where in the source the object comes from ("app.js:10:4"): the code of a closure, the class of
  // an instance. Empty when the dump does not say.
  void (*source)(const tm_graph *graph, uint32_t node, char *out, size_t size);
  // Who allocated it, leaf first: rows of function, file, line, column. No rows: not recorded.
  tm_status (*stack)(tm_ctx *ctx, const tm_graph *graph, uint32_t node, tm_table *out);
  // What the dump tells of allocations by stack, as a profile, which the caller frees; NULL: none
  // were recorded.
  tm_status (*allocations)(tm_ctx *ctx, const tm_graph *graph, struct tm_profile **out);
  // Its size as the dump has it, before bytes of parts went to their owner.
  uint64_t (*raw_bytes)(const tm_graph *graph, uint32_t node);
  // Distances by the format's own rules, see tm_distance: out[node_count] comes filled with
  // TM_DISTANCE_NONE, queue has room for every node.
  tm_status (*distances)(tm_ctx *ctx, const tm_graph *graph, int32_t *out, uint32_t *queue);
  // false: it is neither a string nor an array without references, or not told.
  bool (*contents)(const tm_graph *graph, uint32_t node, tm_contents *out);
  // The field of that name; "[]" asks for the count of elements. false: it has none such.
  bool (*field)(const tm_graph *graph, uint32_t node, const char *name, tm_field *out);
  // What could not be read or resolved: rows of problem, count, offset (of the first, or -1), loses
  // (1: objects or references that the program had).
  tm_status (*problems)(tm_ctx *ctx, const tm_graph *graph, tm_table *out);
  // The part of the heap that the node lies in ("app", "zygote"): a string id, 0 = not told.
  uint32_t (*heap)(const tm_graph *graph, uint32_t node);
  // What a type's objects are whatever their size, when the type's name tells sizes: for those who
  // compare dumps. Answers true for arrays, whose places are all alike.
  bool (*family)(const tm_graph *graph, uint32_t type, char *out, size_t size);
  // What the reader keeps beside the graph, to an index or from one: see model/columns.h.
  tm_status (*columns)(struct tm_columns *columns, tm_graph *graph);
  void (*free)(tm_graph *graph); // what the reader kept in `kept`
} tm_graph_detail;

struct tm_graph {
  tm_allocator alloc;
  tm_strtab strings;
  TM_VEC(tm_type) types;
  TM_VEC(tm_root) roots; // a node may be root in several ways
  uint32_t node_count;
  uint32_t edge_count;
  uint32_t *type;       // by node
  uint32_t *size;       // by node: shallow bytes; UINT32_MAX = look into big
  uint32_t *edge_begin; // node_count + 1
  uint32_t *edge_to;
  uint8_t *edge_kind;      // tm_strength by edge, or NULL: only tm_type.strength speaks
  uint8_t *flags;          // by node: flags & TM_NODE_LINK, other bits are the reader's; or NULL
  TM_VEC(tm_big_size) big; // by node, ascending
  TM_VEC(tm_graph_goroutine) goroutines; // of a Go dump, in its order
  TM_VEC(tm_graph_frame) frames;
  uint64_t shallow_bytes; // sum over all nodes
  const char *id_word;    // what an id is: "address", "id"
  const tm_graph_detail *detail;
  void *kept; // the reader's
};

TM_NODISCARD tm_status tm_graph_new(tm_ctx *ctx, tm_graph **out);
void tm_graph_free(tm_graph *graph);

// Makes the node columns (type and size, zeroed) of a graph whose node_count is known, and
// edge_begin. TM_E_NOMEM.
TM_NODISCARD tm_status tm_graph_alloc_nodes(tm_ctx *ctx, tm_graph *graph, uint32_t node_count);

// Sets a shallow size. Nodes with sizes past 4 GiB must come in ascending order.
TM_NODISCARD tm_status tm_graph_set_size(tm_ctx *ctx, tm_graph *graph, uint32_t node,
                                         uint64_t bytes);

// The graph's own arrays to an index or from one (model/columns.h); without what `kept` holds.
TM_NODISCARD tm_status tm_graph_columns(struct tm_columns *columns, tm_graph *graph);

uint64_t tm_graph_big_size(const tm_graph *graph, uint32_t node);

static inline uint64_t tm_graph_size(const tm_graph *graph, uint32_t node) {
  uint32_t bytes = graph->size[node];
  return bytes == UINT32_MAX ? tm_graph_big_size(graph, node) : bytes;
}

// The strength of edge e (an index into edge_to) of node n.
static inline tm_strength tm_graph_strength(const tm_graph *graph, uint32_t n, uint32_t e) {
  if (graph->edge_kind) return (tm_strength)graph->edge_kind[e];
  return e == graph->edge_begin[n] ? (tm_strength)graph->types.items[graph->type[n]].strength
                                   : TM_STRENGTH_STRONG;
}

static inline const char *tm_graph_text(const tm_graph *graph, uint32_t id) {
  return tm_strtab_text(&graph->strings, id);
}

static inline const char *tm_graph_type_name(const tm_graph *graph, uint32_t node) {
  return tm_graph_text(graph, graph->types.items[graph->type[node]].name);
}

const char *tm_root_kind_name(tm_root_kind kind); // "java frame local" is "stack"

// The incoming edges: sources of node n are from[begin[n] .. begin[n + 1]]. Free with
// tm_reverse_fini.
typedef struct tm_reverse {
  tm_allocator alloc;
  uint32_t node_count, edge_count;
  uint32_t *begin, *from;
} tm_reverse;

// Only edges at most as weak as `weakest` are turned. Linear; TM_E_NOMEM, TM_E_CANCELLED.
TM_NODISCARD tm_status tm_graph_reverse(tm_ctx *ctx, const tm_graph *graph, tm_strength weakest,
                                        tm_reverse *out);
void tm_reverse_fini(tm_reverse *reverse);

#endif
