// What the files of the reports share; nobody else includes it.
#ifndef TM_ANALYZE_REPORT_IMPL_H
#define TM_ANALYZE_REPORT_IMPL_H

#include "analyze/flatcum.h"
#include "analyze/report.h"
#include "base/regex.h"

typedef struct report {
  tm_ctx *ctx;
  const tm_profile *p;
  tm_report_options o; // with the verb's overrides
  const char *verb;
  bool object_names; // nodes of different binaries or start lines differ
  tm_view view;
  tm_flatcum nodes;
  int64_t total;
  double ratio;
  const char *sample_unit, *output_unit;
  tm_bytes *text;
  tm_table *table;
  tm_regex *symbol;
} report;

// value as the report prints it, in its output unit and divided by divide_by.
const char *report_value(const report *r, int64_t value, char *buf, size_t size);

tm_status report_profile_labels(report *r);              // "File: …", "Type: …", "Time: …"
tm_status report_labels(report *r, int64_t shown_total); // those, filters, and what is shown
tm_status report_graph(report *r);                       // nodes, chosen and sorted
tm_status report_filter_labels(report *r);               // "Active filters:" and those
void report_choose_unit(report *r);
// The same for other nodes: the least value of all, then the unit from it; hundredfold as above.
void report_least(int64_t *least, int64_t flat, int64_t cum);
void report_unit_from(report *r, int64_t least, bool hundredfold);

tm_status report_top(report *r);
tm_status report_tree(report *r);
tm_status report_traces(report *r);
tm_status report_tags(report *r);
tm_status report_raw(report *r);
tm_status report_comments(report *r);
tm_status report_list(report *r);
tm_status report_disasm(report *r);
tm_status report_weblist(report *r);
tm_status report_dot(report *r);
tm_status report_svg(report *r);
tm_status report_callgrind(report *r);
tm_status report_topproto(report *r, tm_profile **out);

// The table unit of the sample values.
tm_unit report_unit(const report *r);

#define REPORT_PRINT(r, ...)                                                                       \
  do {                                                                                             \
    if ((r)->text) TM_TRY(tm_bytes_printf((r)->ctx, (r)->text, __VA_ARGS__));                      \
  } while (0)

#endif
