// SHA-1, which the WebSocket handshake asks for; good for nothing else today. Source: RFC 3174.
#ifndef TM_NET_SHA1_H
#define TM_NET_SHA1_H

#include <stddef.h>
#include <stdint.h>

// Of up to 119 bytes (two blocks with their padding): what a handshake has.
void tm_sha1_short(const void *data, size_t size, uint8_t out[20]);

#endif
