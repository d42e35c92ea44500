// Addresses of what tidemark talks to: http(s)://host:port/path, host:port[/path] and
// unix:/run/x.sock[:/path]. Fixed buffers, no allocation. Percent-encoding is kept as written.
// Source: RFC 3986.
#ifndef TM_NET_URL_H
#define TM_NET_URL_H

#include "base/ctx.h"

typedef enum tm_url_scheme { TM_URL_HTTP, TM_URL_HTTPS, TM_URL_UNIX } tm_url_scheme;

enum {
  TM_URL_HOST_MAX = 256,    // with its NUL
  TM_URL_PATH_MAX = 2048,   // with its NUL
  TM_URL_SOCKET_MAX = 108,  // with its NUL: what sockaddr_un holds
  TM_URL_ORIGIN_MAX = 300,  // enough for tm_url_origin
  TM_URL_FORMAT_MAX = 2400, // enough for tm_url_format
};

typedef struct tm_url {
  tm_url_scheme scheme;
  bool is_ipv6;                 // host is an IPv6 address (without brackets; may carry %zone)
  uint16_t port;                // 0 for unix sockets
  char host[TM_URL_HOST_MAX];   // name or address; the socket's path for unix:
  char target[TM_URL_PATH_MAX]; // path and query as sent: starts with '/', no #fragment
} tm_url;

// Reads text (NUL-terminated). A missing path becomes "/". Refused with TM_E_ARG, a sentence and
// the byte: other schemes, credentials in the URL (they end in logs: send a header instead), spaces
// and control characters, ports outside 1-65535. Never quotes what may be a password.
TM_NODISCARD tm_status tm_url_parse(tm_ctx *ctx, const char *text, tm_url *out);

// base + "/" + name + "?" + query: http://h:1/app/debug/pprof and "heap", "gc=1" give
// http://h:1/app/debug/pprof/heap?gc=1. A query of the base (a token) is kept in front; query may
// be NULL or "". TM_E_ARG when it grows too long. out may be base.
TM_NODISCARD tm_status tm_url_join(tm_ctx *ctx, const tm_url *base, const char *name,
                                   const char *query, tm_url *out);

// What a Location header means, seen from base: absolute, //host, /path, ?query or relative with
// dot segments. TM_E_ARG as tm_url_parse. out may be base.
TM_NODISCARD tm_status tm_url_resolve(tm_ctx *ctx, const tm_url *base, const char *location,
                                      tm_url *out);

// Same scheme, host (any case) and port.
bool tm_url_same_origin(const tm_url *a, const tm_url *b);

// Writes "http://[::1]:6060", "unix:/run/x.sock": what messages show, since paths and queries may
// hold secrets (webhooks). Returns buf.
const char *tm_url_origin(const tm_url *url, char buf[TM_URL_ORIGIN_MAX]);

// Writes the whole address, readable by tm_url_parse. Returns buf.
const char *tm_url_format(const tm_url *url, char buf[TM_URL_FORMAT_MAX]);

// Writes the Host header that belongs to the address: the port only when it is not the scheme's
// own, no zone, "localhost" for unix sockets. Returns buf.
const char *tm_url_host_header(const tm_url *url, char buf[TM_URL_ORIGIN_MAX]);

#endif
