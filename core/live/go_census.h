// Goroutines of a live Go process, read from its memory while it runs on: no stop, no endpoint, no
// ptrace. Wants a program with debug information.
#ifndef TM_LIVE_GO_CENSUS_H
#define TM_LIVE_GO_CENSUS_H

#include "model/profile.h"
#include "platform/platform.h"

typedef struct tm_go_census tm_go_census;

// Opens a process for looks. exe is its program with debug information, or NULL: the one that it
// runs. TM_E_FORMAT: no Go program, or stripped. TM_E_PERM, TM_E_GONE. Free with tm_go_census_free.
TM_NODISCARD tm_status tm_go_census_open(tm_ctx *ctx, int64_t pid, const char *exe,
                                         tm_go_census **out);
void tm_go_census_free(tm_go_census *census);

// What one look saw beside the goroutines.
typedef struct tm_go_look {
  uint32_t seen;   // entries of the runtime's list, dead ones included
  uint32_t alive;  // in the profile
  uint32_t system; // the runtime's own, left out of the profile unless wanted
  uint32_t torn;   // changed while they were read: left out
  int64_t took_ns;
} tm_go_look;

// One look: a sample per goroutine, in the shape of tm_goroutine_profile (labels goroutine, state,
// created_by; values goroutine/count and wait/nanoseconds). A wait is as long as the runtime says,
// which notes it at collections only, or as long as looks have seen the goroutine wait at one
// place. The caller frees the profile. 5,000 goroutines take about 10 ms.
TM_NODISCARD tm_status tm_go_census_look(tm_ctx *ctx, tm_go_census *census, bool with_system,
                                         tm_profile **out, tm_go_look *out_look);

#endif
