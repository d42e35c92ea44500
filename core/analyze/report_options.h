// The options of the profile reports by name: what a command line, a shell and a Lua table set.
#ifndef TM_ANALYZE_REPORT_OPTIONS_H
#define TM_ANALYZE_REPORT_OPTIONS_H

#include "analyze/focus.h"

typedef enum tm_option_kind {
  TM_OPTION_TEXT,
  TM_OPTION_REAL,
  TM_OPTION_INT,
  TM_OPTION_BOOL
} tm_option_kind;

typedef struct tm_report_option {
  const char *name; // pprof's: "focus", "nodecount", "tagfocus"
  tm_option_kind kind;
  size_t offset;   // in tm_report_options
  const char *doc; // one line
} tm_report_option;

// All options, in the order of their names.
extern const tm_report_option tm_report_option_list[];
extern const size_t tm_report_option_count;

// The option of that name, or NULL.
const tm_report_option *tm_report_option_named(const char *name);

// Sets one option from text, as pprof reads it: numbers in full, booleans as true, t, yes, y, 1 or
// nothing, and their opposites. The text is borrowed, not copied. TM_E_ARG names what is wrong.
TM_NODISCARD tm_status tm_report_options_set(tm_ctx *ctx, tm_report_options *options,
                                             const char *name, const char *text);

// The option's value as text: what tm_report_options_set would take. Returns buf, or the text that
// the option borrows.
const char *tm_report_options_get(const tm_report_options *options, const tm_report_option *option,
                                  char *buf, size_t size);

#endif
