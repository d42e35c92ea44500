// One table drives setting and showing; a new option is one row here and one field in focus.h.
// Source: the option names and their senses are those of `go tool pprof` (pprof.md, 1.2).
#include "analyze/report_options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ROW(name, field, kind, doc)                                                                \
  { name, TM_OPTION_##kind, offsetof(tm_report_options, field), doc }

// clang-format off
const tm_report_option tm_report_option_list[] = {
    ROW("call_tree", call_tree, BOOL, "a context tree instead of a graph"),
    ROW("compact_labels", compact_labels, BOOL, "show few labels"),
    ROW("cum", cum, BOOL, "sort by cumulative value"),
    ROW("divide_by", divide_by, REAL, "divide all values by this"),
    ROW("drop_negative", drop_negative, BOOL, "leave out what shrank"),
    ROW("edgefraction", edge_fraction, REAL, "hide edges below this share of the total"),
    ROW("focus", focus, TEXT, "keep samples with a frame that matches"),
    ROW("granularity", granularity, TEXT, "functions, filefunctions, files, lines or addresses"),
    ROW("hide", hide, TEXT, "take matching frames out"),
    ROW("ignore", ignore, TEXT, "drop samples with a frame that matches"),
    ROW("intel_syntax", intel_syntax, BOOL, "show instructions as Intel writes them"),
    ROW("mean", mean, BOOL, "value of each sample divided by its first value"),
    ROW("nodecount", node_count, INT, "so many rows or nodes at most; 0 = all"),
    ROW("nodefraction", node_fraction, REAL, "hide nodes below this share of the total"),
    ROW("noinlines", no_inlines, BOOL, "charge inlined functions to their caller"),
    ROW("prune_from", prune_from, TEXT, "cut what lies under the lowest match"),
    ROW("relative_percentages", relative_percentages, BOOL, "percent of what the filters leave"),
    ROW("sample_index", sample_index, TEXT, "which value: a name or a number"),
    ROW("show", show, TEXT, "keep only matching frames"),
    ROW("show_from", show_from, TEXT, "cut what lies above the highest match"),
    ROW("showcolumns", show_columns, BOOL, "show column numbers"),
    ROW("source_path", source_path, TEXT, "folders to look for sources in, separated by :"),
    ROW("tagfocus", tag_focus, TEXT, "keep samples with a label: [key=]regexp or range such as 1kb:4mb"),
    ROW("taghide", tag_hide, TEXT, "label keys that are not shown"),
    ROW("tagignore", tag_ignore, TEXT, "drop samples with a label"),
    ROW("tagleaf", tag_leaf, TEXT, "label keys that become frames at the leaf"),
    ROW("tagroot", tag_root, TEXT, "label keys that become frames at the root"),
    ROW("tagshow", tag_show, TEXT, "only these label keys are shown"),
    ROW("trim", trim, BOOL, "hide what is small; false shows all"),
    ROW("trim_path", trim_path, TEXT, "prefixes to cut from source paths, separated by :"),
    ROW("unit", unit, TEXT, "unit of all values: MB, ms, auto, minimum"),
};
// clang-format on
const size_t tm_report_option_count = TM_COUNT(tm_report_option_list);

const tm_report_option *tm_report_option_named(const char *name) {
  for (size_t i = 0; i < tm_report_option_count; i++)
    if (strcmp(tm_report_option_list[i].name, name) == 0) return &tm_report_option_list[i];
  return NULL;
}

static bool parse_bool(const char *text, bool *out) {
  static const char *const yes[] = {"", "t", "true", "y", "yes", "1"};
  static const char *const no[] = {"f", "false", "n", "no", "0"};
  for (size_t i = 0; i < TM_COUNT(yes); i++)
    if (strcasecmp(text, yes[i]) == 0) return *out = true, true;
  for (size_t i = 0; i < TM_COUNT(no); i++)
    if (strcasecmp(text, no[i]) == 0) return *out = false, true;
  return false;
}

static bool parse_int(const char *text, int64_t *out) {
  char *end;
  errno = 0;
  long long value = strtoll(text, &end, 10);
  if (end == text || *end || errno) return false;
  *out = value;
  return true;
}

static bool parse_real(const char *text, double *out) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end || isspace((unsigned char)*text)) return false;
  *out = value;
  return true;
}

tm_status tm_report_options_set(tm_ctx *ctx, tm_report_options *options, const char *name,
                                const char *text) {
  const tm_report_option *o = tm_report_option_named(name);
  if (!o) return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no option is called \"%s\"", name);
  void *field = (char *)options + o->offset;
  bool ok = true;
  switch (o->kind) {
  case TM_OPTION_TEXT:
    *(const char **)field = text;
    break;
  case TM_OPTION_REAL:
    ok = parse_real(text, field);
    break;
  case TM_OPTION_INT:
    ok = parse_int(text, field);
    break;
  case TM_OPTION_BOOL:
    ok = parse_bool(text, field);
    break;
  }
  if (ok) return TM_OK;
  return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "option %s: \"%.100s\" is no %s", name, text,
                 o->kind == TM_OPTION_BOOL  ? "yes or no"
                 : o->kind == TM_OPTION_INT ? "whole number"
                                            : "number");
}

const char *tm_report_options_get(const tm_report_options *options, const tm_report_option *option,
                                  char *buf, size_t size) {
  const void *field = (const char *)options + option->offset;
  const char *text;
  switch (option->kind) {
  case TM_OPTION_TEXT:
    text = *(const char *const *)field;
    return text ? text : "";
  case TM_OPTION_REAL:
    snprintf(buf, size, "%g", *(const double *)field);
    break;
  case TM_OPTION_INT:
    snprintf(buf, size, "%lld", (long long)*(const int64_t *)field);
    break;
  case TM_OPTION_BOOL:
    snprintf(buf, size, "%s", *(const bool *)field ? "true" : "false");
    break;
  }
  return buf;
}
