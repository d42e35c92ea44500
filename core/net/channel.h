// A connection to an app for callers that wait: TCP and unix sockets, with one deadline for all
// that is done over it. Looks at the ctx's cancel, and reports progress, ten times a second.
#ifndef TM_NET_CHANNEL_H
#define TM_NET_CHANNEL_H

#include "net/url.h"

typedef struct tm_channel {
  int fd;                  // -1 = not open
  uint64_t deadline_ns;    // monotone clock; may be moved between calls
  uint64_t received_bytes; // so far: what progress is told
  int64_t peer_pid;        // of a unix socket: who made it; else 0
  int64_t peer_uid;        // of a unix socket; else -1
} tm_channel;

// Connects to a host (each of its addresses in turn) or a unix socket within timeout_ns, which is
// the deadline of what follows, too. A name is looked up without a time limit of ours. TM_E_GONE
// nobody listens, TM_E_TIMEOUT, TM_E_PERM, TM_E_CANCELLED, TM_E_IO. Blocking; any thread.
TM_NODISCARD tm_status tm_channel_open(tm_ctx *ctx, const tm_url *url, uint64_t timeout_ns,
                                       tm_channel *out);

// The same for the path of a unix socket.
TM_NODISCARD tm_status tm_channel_open_unix(tm_ctx *ctx, const char *path, uint64_t timeout_ns,
                                            tm_channel *out);

// Sends all of it. TM_E_GONE when the peer hung up, TM_E_TIMEOUT, TM_E_CANCELLED, TM_E_IO.
TM_NODISCARD tm_status tm_channel_send(tm_ctx *ctx, tm_channel *channel, const void *data,
                                       size_t size);

// Waits for bytes and takes what is there, at most room; *out_size 0 = the peer closed its side.
TM_NODISCARD tm_status tm_channel_receive(tm_ctx *ctx, tm_channel *channel, void *data, size_t room,
                                          size_t *out_size);

// Closing twice, and closing what never opened (fd -1), is fine.
void tm_channel_close(tm_channel *channel);

#endif
