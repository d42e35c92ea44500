// Words and colours of a drawn call graph, as pprof users know them; dot and SVG share them.
#ifndef TM_ANALYZE_CALLGRAPH_TEXT_H
#define TM_ANALYZE_CALLGRAPH_TEXT_H

#include "analyze/callgraph.h"
#include "analyze/report_impl.h"
#include "base/bytes.h"

// A function's name without package path, module version, Java package or C++ namespace; points
// into name, or into buf (strlen(name) + 1 bytes). out_length is its length.
const char *callgraph_short_name(const char *name, char *buf, size_t *out_length);

// "#rrggbb" of value/total: grey at 0, red towards 1, green towards -1; light for a background.
void callgraph_color(char out[8], double score, bool light);
double callgraph_score(int64_t value, int64_t total); // value / |total|

// 8 to 24 by the flat value's share of the largest.
int callgraph_font_size(int64_t flat, uint64_t max_flat);

// A percent without the blanks of a column.
const char *callgraph_percent(char *buf, size_t size, int64_t value, int64_t total);

// The graph as the report's options have it; sets the report's unit. Then the legend: lines of
// text, each with its newline.
tm_status callgraph_of_report(report *r, bool tree, bool visual, tm_callgraph *out);
tm_status callgraph_legend(report *r, const tm_callgraph *g, tm_bytes *out);

// The report's table: rows of kind "node" (name, flat, cum) and "edge" (from, to, weight, residual,
// inline).
tm_status callgraph_table(report *r, tm_callgraph *g, const uint32_t *edges, uint32_t edge_count);

#endif
