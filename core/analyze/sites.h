// Call paths by the code that they are charged to, over one profile or many. Going up from the leaf
// of a stack, the runtime's frames come first; the frame behind them is the site (who asked the
// runtime), the first one outside the standard library is the owner (who can change it). All stacks
// that agree from the leaf to the owner are one row; each profile is one column of its values.
#ifndef TM_ANALYZE_SITES_H
#define TM_ANALYZE_SITES_H

#include "analyze/focus.h"
#include "analyze/frame_kind.h"

typedef struct tm_sites tm_sites;

typedef struct tm_site_frame {
  const char *name, *file; // "" = not known; live as long as the tm_sites
  int64_t line;            // 0 = not known
  tm_frame_kind kind;
} tm_site_frame;

// column_count: profiles that can be added. by_line: frames of different lines are different; else
// a frame's line is that of its greatest value in the newest profile. options: sample index and
// filters as in the reports; their strings must outlive the sites. TM_E_NOMEM.
TM_NODISCARD tm_status tm_sites_new(tm_ctx *ctx, const tm_report_options *options, bool by_line,
                                    size_t column_count, tm_sites **out);
void tm_sites_free(tm_sites *sites);

// Adds a profile as the next column; it can be freed at once. weight: what its values count for in
// tm_sites_path. O(frames of the samples that are not 0). TM_E_ARG past column_count or for a wrong
// option.
TM_NODISCARD tm_status tm_sites_add(tm_ctx *ctx, tm_sites *sites, const tm_profile *p,
                                    double weight);

// Rows, in the order in which they were first seen.
size_t tm_sites_row_count(const tm_sites *sites);

// The column_count values of a row.
const double *tm_sites_values(const tm_sites *sites, size_t row);

// The frames of a row from the leaf to the owner. *out_site: index of the site; count when all of
// the stack is the runtime's (then the frames are the whole stack). frames: room for max; answers
// how many there are.
size_t tm_sites_frames(const tm_sites *sites, size_t row, tm_site_frame *frames, size_t max,
                       size_t *out_site);

// The whole stack, leaf first, that weighs most among a row's: sum of weight x value over all
// profiles. With negative weights for the first and positive ones for the last profiles, the one
// that grew most.
size_t tm_sites_path(const tm_sites *sites, size_t row, tm_site_frame *frames, size_t max);

#endif
