// What the arguments of an event are wanted for, and what the two halves of the builder share.
#ifndef TM_READ_TIMELINE_ARGS_H
#define TM_READ_TIMELINE_ARGS_H

#include "read/timeline_build.h"

enum {
  TM_TL_WANTS_NAME = 1, // of a thread or process
  TM_TL_WANTS_PLACE,    // function, url and line
  TM_TL_WANTS_HEAP,     // sizes before and after a collection
  TM_TL_WANTS_STATE,    // of a frame
  TM_TL_WANTS_MARK,
  TM_TL_WANTS_COUNTERS, // each number is a series
  TM_TL_WANTS_STATS,    // V8's heap statistics
  TM_TL_WANTS_PROFILE,  // the start of a CPU profile
  TM_TL_WANTS_CHUNK,    // nodes and samples of one
  TM_TL_WANTS_OWNER,    // of a timer, socket, request
  TM_TL_WANTS_MEMORY,   // a memory dump
};

// The profile that the event, a chunk, continues.
TM_NODISCARD tm_status tm_tl_open_chunk(tm_ctx *ctx, tm_tl_builder *b);

// Starts the profile of a Profile event, or gives a chunk's samples their times.
TM_NODISCARD tm_status tm_tl_close_chunk(tm_ctx *ctx, tm_tl_builder *b);

#endif
