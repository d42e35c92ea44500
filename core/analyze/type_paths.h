// The objects of a heap dump folded into type paths from the roots: who holds how many of what, by
// way of which fields. A path summary is a profile, so that every report, difference and growth
// works on it, and a megabyte of it outlives the dump.
//
// Each object counts at one path: that of the root that owns it first by kind (statics and globals,
// then thread locals, JNI handles, threads with what they hold, the rest: so the stack that happens
// to look at an object does not hide its owner), over the fewest references. A
// step to the type that the path is at already is folded, and so is one back to the type before it
// (lists, trees, tables): paths stay few however long chains are.
// Source: LeakCanary's heap growth detector (shark), which folds by fields.
#ifndef TM_ANALYZE_TYPE_PATHS_H
#define TM_ANALYZE_TYPE_PATHS_H

#include "analyze/node_set.h"
#include "model/profile.h"

// One sample per path with objects, stacks from the object's type up to the root; values
// objects/count and space/bytes (shallow). Frames are "field type", the outermost says which root:
// "static main.cache map<...>", "thread worker", "static com.x.App", "thread local com.x.App.users
// java.util.ArrayList"; "[x]" is any element. Numbers and addresses are left out of names, so that
// paths of two dumps compare. Follows edges at most as weak as `weakest`; unreachable objects are
// left out. only: no other object counts, NULL = all do. Linear; 9 bytes an object. TM_E_NOMEM,
// TM_E_CANCELLED. The caller frees the profile.
TM_NODISCARD tm_status tm_type_paths(tm_ctx *ctx, const tm_graph *graph, tm_strength weakest,
                                     const tm_node_set *only, tm_profile **out);

enum { TM_TYPE_PATHS_MAX = 32 };

// The objects at each of `count` paths (TM_TYPE_PATHS_MAX at most): frames from the root on, joined
// by ';', as the profile names them. sets[count] comes zeroed and is the caller's to free, also
// after an error. The objects are those of tm_type_paths with the same `weakest`. TM_E_NOMEM,
// TM_E_CANCELLED, TM_E_ARG: too many paths.
TM_NODISCARD tm_status tm_type_paths_select(tm_ctx *ctx, const tm_graph *graph, tm_strength weakest,
                                            const char *const *paths, size_t count,
                                            tm_node_set *sets);

#endif
