// What the goroutines of a Go heap dump wait for, out of the runtime's own structs in the dump.
#ifndef TM_READ_GOHEAP_WAITS_H
#define TM_READ_GOHEAP_WAITS_H

#include "model/go_layout.h"
#include "model/graph.h"
#include "model/waits.h"

// Whether the graph is one of a Go heap dump; then the version and pointer size that it names.
bool tm_goheap_version(const tm_graph *graph, const char **out_version, uint32_t *out_pointer);

// Goroutines whose wait cannot be understood are left out: they count as alive. TM_E_ARG when the
// layout has no offsets for what a proof needs or is of another pointer size; TM_E_NOMEM,
// TM_E_CANCELLED. Free with tm_waits_fini, also on failure. O(goroutines), and O(objects) when some
// wait for locks in Go before 1.26.
TM_NODISCARD tm_status tm_goheap_waits(tm_ctx *ctx, const tm_graph *graph,
                                       const tm_go_layout *layout, tm_waits *out);

#endif
