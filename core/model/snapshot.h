// The envelope around what a reader made: one model, where it came from, and whether it is whole.
#ifndef TM_MODEL_SNAPSHOT_H
#define TM_MODEL_SNAPSHOT_H

#include "base/ctx.h"

typedef enum tm_kind {
  TM_KIND_NONE,
  TM_KIND_PROFILE,    // model is a tm_profile
  TM_KIND_GRAPH,      // model is a tm_graph
  TM_KIND_TRACE,      // model is a tm_trace
  TM_KIND_GOROUTINES, // model is a tm_profile whose labels carry state, site and creation
  TM_KIND_TIMELINE,   // model is a tm_timeline
} tm_kind;

typedef struct tm_snapshot {
  tm_kind kind;
  const char *format; // the reader's stable name
  void *model;        // owned; NULL until the reader made one
  void (*free_model)(void *model);
  bool partial;     // the input ended or broke early; model holds what came before
  tm_error problem; // why, when partial
  void *kept;       // the source, when the model looks into it; owned
  void (*free_kept)(void *kept);
  struct tm_columns *more; // of a graph out of a saved index: what is behind it there; or NULL
} tm_snapshot;             // zero-initialise

static inline void tm_snapshot_fini(tm_snapshot *snapshot) {
  if (snapshot->model && snapshot->free_model) snapshot->free_model(snapshot->model);
  if (snapshot->kept) snapshot->free_kept(snapshot->kept);
  *snapshot = (tm_snapshot){0};
}

#endif
