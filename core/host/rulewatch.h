// Hot reload: watches folders of rule files and tells which file changed. On Linux libuv's
// recursive flag does nothing, and editors save by rename, so each folder itself is watched; every
// event ends in a look at the folder's files.
#ifndef TM_HOST_RULEWATCH_H
#define TM_HOST_RULEWATCH_H

#include "base/ctx.h"

typedef struct tm_rulewatch tm_rulewatch;

// A file is new or its text changed (source != NULL), or it is gone (source == NULL). name: without
// folder.
typedef void (*tm_rulewatch_fn)(void *ud, const char *name, const char *path, const char *source,
                                size_t size);

// Watches dir on uv_loop (uv_loop_t *). Files that are there already are told at once. Hidden
// files, backups (~, .swp, .bak) and files above 1 MiB are left out. A change is told 5 ms after
// the last event of its burst. TM_E_IO.
TM_NODISCARD tm_status tm_rulewatch_new(tm_ctx *ctx, void *uv_loop, const char *dir,
                                        tm_rulewatch_fn fn, void *ud, tm_rulewatch **out);

// Closes its handles; they are gone after the loop's next turn.
void tm_rulewatch_free(tm_rulewatch *watch);

#endif
