// tagfocus and tagignore: samples by their labels. "[key=]N", "N:", ":N", "N:M" with units match
// numbers; anything else is a comma list of regexps on texts.
#ifndef TM_ANALYZE_TAG_FILTER_H
#define TM_ANALYZE_TAG_FILTER_H

#include "analyze/focus.h"

typedef struct tm_tag_filter tm_tag_filter;

// *out stays NULL when text is NULL or empty. TM_E_ARG names the option and the fault.
TM_NODISCARD tm_status tm_tag_filter_new(tm_ctx *ctx, const tm_view *v, const char *text,
                                         const char *option, tm_tag_filter **out);
void tm_tag_filter_free(tm_ctx *ctx, tm_tag_filter *filter);
TM_NODISCARD tm_status tm_tag_filter_match(tm_ctx *ctx, tm_tag_filter *filter, uint32_t sample,
                                           bool *out);

// The labels of a key in one sample as pseudo frame text: values joined by commas. *found says
// whether there were any.
TM_NODISCARD tm_status tm_label_frame_text(tm_ctx *ctx, const tm_view *v, uint32_t sample,
                                           uint32_t key, const char *unit, char *buf, size_t size,
                                           bool *found);

#endif
