// The text reports and tables that pprof users know: one call per verb, the same options, the same
// figures. Each verb fills a text (byte for byte what `go tool pprof -verb` prints) and a table.
#ifndef TM_ANALYZE_REPORT_H
#define TM_ANALYZE_REPORT_H

#include "analyze/focus.h"
#include "base/bytes.h"
#include "model/table.h"

// verb: top, tree, peek, list, disasm, weblist, traces, tags, raw, comments. text or table may be
// NULL. The table's notes: total, shown, unit, type, dropped_nodes, original_nodes, and one
// "warning" per filter that matched nothing. Columns: top: name, flat, cum, inline. tree and peek:
// node, relation (self, caller, callee), name, flat, cum, weight, inline. traces: trace, depth,
// name, inline, value. tags: key, value, amount. list (symbol = a regexp or an address; reads
// source files): function, file, line, flat, cum, source, and a note "missing" per file that is not
// there. disasm (symbol likewise, options.code gives the binaries): function, address, flat, cum,
// instruction, place. weblist (likewise; without code only lines): list's columns, its text is a
// HTML page. TM_E_ARG for a wrong option, and when peek, list or disasm finds nothing.
//
// dot, callgrind, svg: the call graph, or the call tree with call_tree; svg is a picture of its own
// (no Graphviz, no script; TM_E_LIMIT above 1500 nodes). One table for all: rows with kind "node"
// (node = its number, name, flat, cum) and then "edge" (from, to = numbers of nodes, weight,
// residual, inline); notes also dropped_edges.
TM_NODISCARD tm_status tm_report(tm_ctx *ctx, const tm_profile *profile, const char *verb,
                                 const tm_report_options *options, tm_bytes *text, tm_table *table);

// The rows of top as a profile of types cum and flat. Free with tm_profile_free.
TM_NODISCARD tm_status tm_report_topproto(tm_ctx *ctx, const tm_profile *profile,
                                          const tm_report_options *options, tm_profile **out);

#endif
