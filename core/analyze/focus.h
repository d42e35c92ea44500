// A view: one profile as the filters leave it. Samples drop out, stacks get shorter at either end,
// locations lose lines; the profile itself is never touched. Options keep pprof's names and sense.
#ifndef TM_ANALYZE_FOCUS_H
#define TM_ANALYZE_FOCUS_H

#include "model/code.h"
#include "model/profile.h"

// Zero-initialise, then tm_report_options_init: pprof's defaults. NULL or "" = not set.
typedef struct tm_report_options {
  const char *sample_index;
  const char *focus, *ignore, *hide, *show, *show_from, *prune_from; // regexps on frames
  const char *tag_focus, *tag_ignore; // [key=]regexps, or a range such as 1kb:4mb
  const char *tag_show, *tag_hide;    // regexps on label keys
  const char *tag_root, *tag_leaf;    // label keys that become frames
  const char *granularity;            // functions, filefunctions, files, lines, addresses
  const char *unit;                   // "minimum"
  const char *source_path, *trim_path;
  const char *symbol;         // argument of peek, list, disasm and weblist
  const tm_code_source *code; // binaries, for disasm and weblist; NULL = none
  double node_fraction, edge_fraction, divide_by;
  int64_t node_count; // -1 = the verb's default, 0 = all
  bool cum, trim, mean, relative_percentages, no_inlines, show_columns, drop_negative;
  bool call_tree, compact_labels, all_frames, intel_syntax;
} tm_report_options;

void tm_report_options_init(tm_report_options *options);

typedef struct tm_view_function {
  uint32_t name, system_name, file; // string ids of the view
  int64_t start_line;
} tm_view_function;

typedef struct tm_view {
  const tm_profile *profile;
  tm_allocator alloc;
  tm_strtab extra; // strings that the profile lacks; their ids follow the profile's
  TM_VEC(tm_view_function) functions;
  TM_VEC(tm_line) lines;
  TM_VEC(tm_location) locations; // line ranges point into lines; pseudo frames follow the real ones
  uint8_t *hidden;               // per location: taken out of every stack; NULL = none
  size_t hidden_room;
  const uint32_t *stack; // of the profile, or own_stack
  TM_VEC(uint32_t) own_stack;
  uint32_t *samples, *begin, *end; // kept samples and their stack ranges
  uint32_t sample_count, sample_room;
  uint8_t *hidden_keys;   // per string id: label keys that are not shown; NULL = all are
  uint32_t *number_units; // per string id: unit of a numeric label, as view string id
  size_t key_room;
  uint32_t value_index, type_count;
  bool mean;
  TM_VEC(uint32_t) warnings; // string ids: filters that matched nothing
} tm_view;

// The whole profile as a view, with drop_frames applied. Free with tm_view_fini, also on failure.
TM_NODISCARD tm_status tm_view_init(tm_ctx *ctx, const tm_profile *p, const tm_report_options *o,
                                    tm_view *out);
void tm_view_fini(tm_view *view);

// Label frames first, then the filters; see tm_report_options. TM_E_ARG for a wrong regexp.
TM_NODISCARD tm_status tm_view_add_label_frames(tm_ctx *ctx, tm_view *v,
                                                const tm_report_options *o);
TM_NODISCARD tm_status tm_view_filter(tm_ctx *ctx, tm_view *v, const tm_report_options *o);

// Sum of |value|, or of the base's samples in a difference; of means with options.mean.
int64_t tm_view_total(const tm_view *v);

static inline const char *tm_view_text(const tm_view *v, uint32_t id) {
  return id < v->profile->strings.count
             ? tm_strtab_text(&v->profile->strings, id)
             : tm_strtab_text(&v->extra, id - v->profile->strings.count + 1);
}
TM_NODISCARD tm_status tm_view_intern(tm_ctx *ctx, tm_view *v, const char *text, size_t length,
                                      uint32_t *out_id);

static inline int64_t tm_view_value(const tm_view *v, uint32_t sample) {
  return v->profile->values.items[(size_t)sample * v->type_count + v->value_index];
}
static inline int64_t tm_view_divisor(const tm_view *v, uint32_t sample) {
  return v->mean ? v->profile->values.items[(size_t)sample * v->type_count] : 0;
}
static inline bool tm_view_is_hidden(const tm_view *v, uint32_t location) {
  return v->hidden && v->hidden[location];
}

#endif
