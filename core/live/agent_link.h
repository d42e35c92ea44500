// Speaking to the malloc agent inside of a process (agent/agent_wire.h), and keeping what it says
// for as long as the process lives and a little longer.
#ifndef TM_LIVE_AGENT_LINK_H
#define TM_LIVE_AGENT_LINK_H

#include "agent/agent_wire.h"
#include "base/bytes.h"

enum { TM_AGENT_VALUES = 32, TM_AGENT_NAME_BYTES = 32, TM_AGENT_TEXT_BYTES = 256 };

// What to ask: field numbers of TM_AGENT_ASK_*; fields[TM_AGENT_ASK_VERB] must be set.
typedef struct tm_agent_request {
  uint64_t fields[TM_AGENT_ASK_FLAGS + 1];
  uint32_t given; // bits of the fields that are sent; the verb always is
} tm_agent_request;

typedef struct tm_agent_value {
  char name[TM_AGENT_NAME_BYTES];
  uint64_t value;
} tm_agent_value;

typedef struct tm_agent_reply {
  char text[TM_AGENT_TEXT_BYTES]; // "" = nothing said
  uint32_t count;
  tm_agent_value values[TM_AGENT_VALUES];
} tm_agent_reply;

// Asks the agent of a process once. The profile of a snapshot is appended to *profile (else it may
// be NULL). TM_E_GONE the process has no agent that listens, TM_E_PERM, TM_E_TIMEOUT,
// TM_E_CANCELLED, TM_E_UNSUPPORTED the agent refuses, in its words, TM_E_FORMAT. Blocking; any
// thread.
TM_NODISCARD tm_status tm_agent_ask(tm_ctx *ctx, int64_t pid, uint64_t timeout_ns,
                                    const tm_agent_request *request, tm_agent_reply *reply,
                                    tm_bytes *profile);

// Takes a snapshot of a process from time to time, and what it says when it leaves by exit(); keeps
// the newest complete one. A thread of its own does the work.
typedef struct tm_agent_keeper tm_agent_keeper;

// Listens in a folder that is the user's alone. TM_E_IO, TM_E_NOMEM. End with tm_agent_keeper_end.
TM_NODISCARD tm_status tm_agent_keeper_new(tm_ctx *ctx, const char *folder, tm_agent_keeper **out);
// The socket that the agent's option `exit=` takes.
const char *tm_agent_keeper_path(const tm_agent_keeper *keeper);
// The process that counts, and how often it is asked; once.
void tm_agent_keeper_watch(tm_agent_keeper *keeper, int64_t pid, uint64_t period_ns);
// Waits for what is on its way, at most some seconds, and frees the keeper. Appends the profile to
// *out, which stays empty if none came; *reason (TM_AGENT_TEXT_BYTES) says then why the agent
// refused, or "".
TM_NODISCARD tm_status tm_agent_keeper_end(tm_ctx *ctx, tm_agent_keeper *keeper, tm_bytes *out,
                                           char *reason);

#endif
