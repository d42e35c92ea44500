// Shared by agent_link.c and agent_keeper.c.
#ifndef TM_LIVE_AGENT_LINK_IMPL_H
#define TM_LIVE_AGENT_LINK_IMPL_H

#include "live/agent_link.h"
#include "net/channel.h"

// One answer, with the profile that follows it.
TM_NODISCARD tm_status tm_agent_read_reply(tm_ctx *ctx, tm_channel *channel, bool has_profile,
                                           tm_agent_reply *reply, tm_bytes *profile);

#endif
