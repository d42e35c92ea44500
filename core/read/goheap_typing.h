// Names for the objects of a Go heap dump from the types of the program that wrote it.
#ifndef TM_READ_GOHEAP_TYPING_H
#define TM_READ_GOHEAP_TYPING_H

#include "model/go_types.h"
#include "model/graph.h"

typedef struct tm_goheap_typed {
  uint32_t objects; // that have a type now
  uint64_t bytes;
} tm_goheap_typed;

// Follows types from globals, from what interfaces hold and from the descriptors in front of
// objects, names every object that they lead to, the globals among the roots, and the fields of
// edges. Takes the types over when it succeeds. bias: where the program was loaded, less where it
// was linked. Changes the graph: call it before anybody else sees it. TM_E_ARG for a dump of
// another maker; TM_E_NOMEM, TM_E_CANCELLED. About linear in objects and references.
TM_NODISCARD tm_status tm_goheap_use_types(tm_ctx *ctx, tm_graph *graph, tm_go_types *types,
                                           uint64_t bias, tm_goheap_typed *out);

#endif
