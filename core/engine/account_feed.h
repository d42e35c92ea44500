// Between what rules and views demand of account.* and the readings of live/account_series.h.
#ifndef TM_ENGINE_ACCOUNT_FEED_H
#define TM_ENGINE_ACCOUNT_FEED_H

#include "engine/runner.h"
#include "live/account_series.h"

typedef struct tm_account_feed tm_account_feed;

// Makes *feed when the target's demands name account.*, and gives it the shortest period that they
// ask for. Feeds of one runner share its turns. What fails is logged. Loop thread, as all of this.
void tm_account_feed_plan(tm_ctx *ctx, tm_runner *runner, tm_target *target,
                          tm_account_turns *turns, tm_account_feed **feed);

// Frees the feed; what its readings cost is added to stats before. NULL is fine.
void tm_account_feed_end(tm_ctx *ctx, tm_account_feed *feed, tm_runner_stats *stats);

// What is known of an owner from elsewhere; NAN = not known any more. NULL is fine.
void tm_account_feed_tell(const tm_account_feed *feed, tm_owner owner, double bytes);

// Adds what the readings cost to stats. NULL is fine.
void tm_account_feed_add_stats(const tm_account_feed *feed, tm_runner_stats *stats);

#endif
