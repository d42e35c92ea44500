// What each allocator of a memory dump holds when memory that several share counts once: by process
// a tree of names ("v8/main/heap"), and between nodes edges "owns", some of greater importance.
#ifndef TM_READ_PERFETTO_GRAPH_H
#define TM_READ_PERFETTO_GRAPH_H

#include "read/perfetto_impl.h"

typedef struct pf_node {
  uint32_t parent, first_child, next_sibling; // PF_NONE = none
  uint32_t owns;                              // the node of which it holds a share
  uint32_t first_owner, next_owner;           // who hold shares of it
  uint32_t process;                           // index; 0 = what processes share
  uint32_t depth;
  int64_t priority; // of owns
  pf_span name;     // its part of the path
  uint64_t size, objects, effective;
  uint64_t not_owning, not_owned; // sizes of what lies below and owns nothing, is owned by nobody
  double owning_part, owned_part; // of them, what is attributed here
  double all_owning, all_owned;   // the same, multiplied from the root
  bool sized, counted, explicit_node, weak, seen;
} pf_node;

typedef struct pf_graph {
  tm_ctx *ctx;
  TM_VEC(pf_node) nodes;
  TM_VEC(int64_t) pids;   // of processes; 0 stands for what they share
  tm_idmap by_name;       // hash of parent and part of a name -> node
  tm_idmap by_id;         // the writer's id -> node
  TM_VEC(uint32_t) order; // children and owners before what they are of
} pf_graph;

void pf_graph_fini(pf_graph *g);

// Adds what one process tells (a MemoryTrackerSnapshot.ProcessSnapshot); edges are added by a
// second call for each, after all processes: they may lead to nodes of others.
TM_NODISCARD tm_status pf_graph_add(pf_graph *g, pf_span snapshot);
void pf_graph_link(pf_graph *g, pf_span snapshot);

// Fills in size and effective of all nodes; those that are weak do not count.
TM_NODISCARD tm_status pf_graph_solve(pf_graph *g);

#endif
