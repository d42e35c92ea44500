// A WebSocket client for callers that wait (RFC 6455): text messages to and from a debugger's port.
// One thread at a time.
#ifndef TM_NET_WEBSOCKET_H
#define TM_NET_WEBSOCKET_H

#include "base/bytes.h"

typedef struct tm_websocket tm_websocket;

// Connects and shakes hands. url: ws://host:port/path, or unix:/path.sock:/path. timeout_ns holds
// for this; tm_websocket_set_timeout gives later calls theirs. TM_E_ARG the address,
// TM_E_UNSUPPORTED wss, TM_E_FORMAT who answers is no WebSocket (with what it said), and all of
// tm_channel_open.
TM_NODISCARD tm_status tm_websocket_open(tm_ctx *ctx, const char *url, uint64_t timeout_ns,
                                         tm_websocket **out);

// From now on, for all that follows.
void tm_websocket_set_timeout(tm_websocket *ws, uint64_t timeout_ns);

TM_NODISCARD tm_status tm_websocket_send(tm_ctx *ctx, tm_websocket *ws, const void *text,
                                         size_t size);

// Waits for the next message, answering pings. The message is the socket's, until the next call.
// TM_E_GONE the peer said goodbye or hung up, TM_E_FORMAT, TM_E_LIMIT over 64 MiB, TM_E_TIMEOUT,
// TM_E_CANCELLED, TM_E_IO.
TM_NODISCARD tm_status tm_websocket_receive(tm_ctx *ctx, tm_websocket *ws,
                                            const tm_bytes **out_message);

// Bytes that have come so far, frames included.
uint64_t tm_websocket_received_bytes(const tm_websocket *ws);

// Says goodbye, without waiting for an answer. NULL is fine. ctx: of the same allocator.
void tm_websocket_close(tm_ctx *ctx, tm_websocket *ws);

// What Sec-WebSocket-Accept must be for a key (24 characters of base 64). Source: RFC 6455, 4.2.2.
void tm_websocket_accept(const char *key, char out[29]);

#endif
