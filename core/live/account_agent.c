// What the malloc agent says of the allocator, where a program has one: bytes that are in use. A
// program without it is told by its socket that is not there, which costs one system call.
#include "live/account_impl.h"
#include "live/agent_link.h"

#include <string.h>

static const uint64_t *value_of(const tm_agent_reply *reply, const char *name) {
  for (uint32_t i = 0; i < reply->count; i++)
    if (strcmp(reply->values[i].name, name) == 0) return &reply->values[i].value;
  return NULL;
}

bool tm_account_ask_agent(tm_ctx *ctx, int64_t pid, uint64_t timeout_ns, tm_account_answer *out) {
  tm_agent_request request = {.fields = {[TM_AGENT_ASK_VERB] = TM_AGENT_STATS}};
  tm_agent_reply reply;
  tm_ctx_clear(ctx);
  if (tm_agent_ask(ctx, pid, timeout_ns, &request, &reply, NULL) != TM_OK) return false;
  const uint64_t *libc = value_of(&reply, "allocator_is_libc"),
                 *used = value_of(&reply, "used_bytes");
  if (!libc || !*libc || !used) return false;
  out->told[TM_OWNER_C_HEAP_INUSE] = (double)*used;
  return true;
}
