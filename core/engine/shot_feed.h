// Between what rules demand of a live target and the profiles fetched from its endpoint or its
// agent.
#ifndef TM_ENGINE_SHOT_FEED_H
#define TM_ENGINE_SHOT_FEED_H

#include "engine/runner.h"

typedef struct tm_shot_feed tm_shot_feed;

// Makes *feed when the target's demands name profiles and it has an endpoint, or handle stacks and
// it is a process, and gives it the plan. running: see tm_app_profiles_options. Loop thread.
TM_NODISCARD tm_status tm_shot_feed_plan(tm_ctx *ctx, tm_runner *runner, tm_target *target,
                                         uint32_t *running, tm_shot_feed **feed);
void tm_shot_feed_free(tm_ctx *ctx, tm_shot_feed *feed); // NULL is fine

// Adds what the feed's fetching cost to stats. NULL is fine.
void tm_shot_feed_add_stats(const tm_shot_feed *feed, tm_runner_stats *stats);

#endif
