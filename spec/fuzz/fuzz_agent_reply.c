// floors: live
// Any bytes as what a malloc agent says to a snapshot: refused, or a reply within its bounds and a
// profile no longer than what came.
#include "live/agent_link_impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t room) {
  if (!memchr(text, 0, room)) abort();
  for (; *text; text++)
    if (*text < ' ' || *text > '~') abort();
}

static void check_reply(const tm_agent_reply *reply) {
  if (reply->count > TM_AGENT_VALUES) abort();
  check_text(reply->text, sizeof reply->text);
  for (uint32_t i = 0; i < reply->count; i++)
    check_text(reply->values[i].name, sizeof reply->values[i].name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int fds[2];
  tm_ctx ctx;
  if (size > 32768 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0) return 0;
  if (send(fds[1], data, size, 0) != (ssize_t)size) abort(); // the socket's buffer is larger
  close(fds[1]);
  tm_ctx_init(&ctx, NULL);
  tm_channel channel = {.fd = fds[0], .deadline_ns = UINT64_MAX};
  for (tm_status status = TM_OK; status == TM_OK;) {
    tm_agent_reply reply;
    tm_bytes profile = {0};
    uint64_t before = channel.received_bytes;
    status = tm_agent_read_reply(&ctx, &channel, true, &reply, &profile);
    if (status == TM_OK) check_reply(&reply);
    if (status != TM_OK && (!ctx.error.message[0] || profile.size)) abort();
    if (profile.size > channel.received_bytes - before) abort();
    tm_bytes_free(&ctx, &profile);
  }
  if (channel.received_bytes > size) abort();
  tm_channel_close(&channel);
  tm_ctx_fini(&ctx);
  return 0;
}
