// One pass from left to right: scheme, authority, target. Every part is checked against the
// characters that may stand there before it is copied, so that nothing can smuggle a line break
// into a request. Linear in the text; the result is written only when all of it is good.
#include "net/url.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static tm_status bad(tm_ctx *ctx, size_t offset, const char *what) {
  return tm_fail(ctx, TM_E_ARG, offset,
                 "address: %s (byte %zu); write http://host:port/path or unix:/run/x.sock[:/path]",
                 what, offset);
}

static bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_printable(char c) {
  return c > ' ' && c < 0x7f;
}

static tm_status check_printable(tm_ctx *ctx, const char *text) {
  for (size_t i = 0; text[i]; i++)
    if (!is_printable(text[i]))
      return bad(ctx, i, "spaces, control and non-ASCII characters must be percent-encoded");
  return TM_OK;
}

// Path and query up to a fragment; "" gives "/", "?q" gives "/?q".
static tm_status take_target(tm_ctx *ctx, const char *text, size_t offset, tm_url *url) {
  size_t size = strcspn(text, "#");
  size_t slash = text[0] == '/' ? 0 : 1;
  if (size + slash >= sizeof url->target) return bad(ctx, offset, "the path is longer than 2047");
  if (slash) url->target[0] = '/';
  memcpy(url->target + slash, text, size);
  url->target[size + slash] = '\0';
  return TM_OK;
}

static tm_status take_port(tm_ctx *ctx, const char *digits, size_t size, size_t offset,
                           uint16_t *out) {
  uint32_t port = 0;
  for (size_t i = 0; i < size; i++) {
    if (digits[i] < '0' || digits[i] > '9') return bad(ctx, offset + i, "the port is not a number");
    port = port * 10 + (uint32_t)(digits[i] - '0');
    if (port > 65535) return bad(ctx, offset, "the port is over 65535");
  }
  if (port == 0) return bad(ctx, offset, "the port is missing or 0");
  *out = (uint16_t)port;
  return TM_OK;
}

// [address] or [address%25zone]; zone is kept as address%zone, which is what resolvers read.
static tm_status take_ipv6(tm_ctx *ctx, const char *text, size_t size, size_t offset, tm_url *url) {
  char address[INET6_ADDRSTRLEN + 64];
  struct in6_addr parsed;
  if (size >= sizeof address) return bad(ctx, offset, "the IPv6 address is too long");
  memcpy(address, text, size);
  address[size] = '\0';
  char *zone = strchr(address, '%');
  if (zone) {
    *zone++ = '\0';
    if (strncmp(zone, "25", 2) == 0) zone += 2;
    for (const char *p = zone; *p; p++)
      if (!is_alnum(*p) && !strchr("-._", *p))
        return bad(ctx, offset, "the IPv6 zone is not a name");
  }
  if (zone && strlen(zone) > 32) return bad(ctx, offset, "the IPv6 zone is longer than 32");
  if (inet_pton(AF_INET6, address, &parsed) != 1 || (zone && !*zone))
    return bad(ctx, offset, "what stands in [] is not an IPv6 address");
  snprintf(url->host, sizeof url->host, "%s%s%s", address, zone ? "%" : "", zone ? zone : "");
  url->is_ipv6 = true;
  return TM_OK;
}

static tm_status take_name(tm_ctx *ctx, const char *text, size_t size, size_t offset, tm_url *url) {
  if (size == 0) return bad(ctx, offset, "the host is missing");
  if (size >= sizeof url->host) return bad(ctx, offset, "the host is longer than 255");
  for (size_t i = 0; i < size; i++)
    if (!is_alnum(text[i]) && !strchr("-._", text[i]))
      return bad(ctx, offset + i, "the host has a character that names do not have");
  memcpy(url->host, text, size);
  url->host[size] = '\0';
  return TM_OK;
}

// host, host:port, [v6], [v6]:port. need_port: without a scheme only host:port is an address.
static tm_status take_authority(tm_ctx *ctx, const char *text, size_t size, size_t offset,
                                bool need_port, tm_url *url) {
  const char *colon;
  if (memchr(text, '@', size))
    return tm_fail(
        ctx, TM_E_ARG, offset,
        "address: user and password do not belong into a URL (they end in logs); send an "
        "Authorization header");
  if (size && text[0] == '[') {
    const char *end = memchr(text, ']', size);
    if (!end) return bad(ctx, offset, "the IPv6 address has no ]");
    TM_TRY(take_ipv6(ctx, text + 1, (size_t)(end - text) - 1, offset + 1, url));
    colon = (size_t)(end + 1 - text) < size ? end + 1 : NULL;
    if (colon && *colon != ':') return bad(ctx, offset, "a port with : is expected after ]");
  } else {
    colon = memchr(text, ':', size);
    TM_TRY(take_name(ctx, text, colon ? (size_t)(colon - text) : size, offset, url));
  }
  if (!colon) return need_port ? bad(ctx, offset, "the port or the scheme is missing") : TM_OK;
  size_t at = (size_t)(colon + 1 - text);
  return take_port(ctx, colon + 1, size - at, offset + at, &url->port);
}

// unix:/run/x.sock[:/path]; unix:///run/x.sock is read too.
static tm_status parse_unix(tm_ctx *ctx, const char *text, tm_url *url) {
  size_t start = strlen("unix:");
  while (strncmp(text + start, "//", 2) == 0) start++;
  const char *socket = text + start, *target = strstr(socket, ":/");
  size_t size = target ? (size_t)(target - socket) : strlen(socket);
  if (socket[0] != '/') return bad(ctx, start, "a socket's path starts with /");
  if (size < 2) return bad(ctx, start, "the socket's path is missing");
  if (size >= TM_URL_SOCKET_MAX) return bad(ctx, start, "a socket's path has at most 107 bytes");
  memcpy(url->host, socket, size);
  url->host[size] = '\0';
  url->scheme = TM_URL_UNIX;
  target = target ? target + 1 : socket + size;
  return take_target(ctx, target, (size_t)(target - text), url);
}

// http://, https:// or nothing: how many bytes it takes, and what it sets.
static size_t take_scheme(const char *text, tm_url *url) {
  static const struct {
    const char *prefix;
    tm_url_scheme scheme;
    uint16_t port;
  } schemes[] = {{"http://", TM_URL_HTTP, 80}, {"https://", TM_URL_HTTPS, 443}};
  for (size_t i = 0; i < 2; i++) {
    size_t size = strlen(schemes[i].prefix);
    if (strncasecmp(text, schemes[i].prefix, size) != 0) continue;
    url->scheme = schemes[i].scheme;
    url->port = schemes[i].port;
    return size;
  }
  return 0;
}

static tm_status parse_http(tm_ctx *ctx, const char *text, tm_url *url) {
  size_t start = take_scheme(text, url);
  size_t size = strcspn(text + start, "/?#");
  if (!start && size && strstr(text, "://") == text + size - 1)
    return bad(ctx, 0, "only http, https and unix are spoken");
  TM_TRY(take_authority(ctx, text + start, size, start, !start, url));
  return take_target(ctx, text + start + size, start + size, url);
}

tm_status tm_url_parse(tm_ctx *ctx, const char *text, tm_url *out) {
  tm_url url = {.scheme = TM_URL_HTTP};
  bool is_unix = strncasecmp(text, "unix:", 5) == 0;
  TM_TRY(check_printable(ctx, text));
  TM_TRY(is_unix ? parse_unix(ctx, text, &url) : parse_http(ctx, text, &url));
  *out = url;
  return TM_OK;
}

tm_status tm_url_join(tm_ctx *ctx, const tm_url *base, const char *name, const char *query,
                      tm_url *out) {
  tm_url url = *base;
  char target[TM_URL_PATH_MAX];
  size_t path = strcspn(base->target, "?");
  const char *token = base->target[path] ? base->target + path + 1 : "";
  if (!query) query = "";
  TM_TRY(check_printable(ctx, name));
  TM_TRY(check_printable(ctx, query));
  while (path && base->target[path - 1] == '/') path--;
  while (*name == '/') name++;
  int n = snprintf(target, sizeof target, "%.*s/%s%s%s%s%s", (int)path, base->target, name,
                   *token || *query ? "?" : "", token, *token && *query ? "&" : "", query);
  if (n < 0 || (size_t)n >= sizeof target)
    return bad(ctx, 0, "the joined path is longer than 2047 bytes");
  TM_TRY(take_target(ctx, target, 0, &url));
  *out = url;
  return TM_OK;
}

// Removes "." and ".." segments in place; the query is left alone.
static void remove_dots(char *target) {
  char out[TM_URL_PATH_MAX];
  size_t path = strcspn(target, "?"), size = 0;
  for (size_t at = 0; at < path;) {
    size_t end = at + 1;
    while (end < path && target[end] != '/') end++;
    const char *segment = target + at + 1;
    size_t length = end - at - 1;
    bool up = length == 2 && segment[0] == '.' && segment[1] == '.';
    bool same = length == 1 && segment[0] == '.';
    if (up)
      while (size && out[--size] != '/') {
      }
    if (!up && !same) {
      memcpy(out + size, target + at, end - at);
      size += end - at;
    } else if (end == path) {
      out[size++] = '/';
    }
    at = end;
  }
  if (size == 0) out[size++] = '/';
  size_t query = strlen(target + path) + 1;
  memmove(target + size, target + path, query);
  memcpy(target, out, size);
}

tm_status tm_url_resolve(tm_ctx *ctx, const tm_url *base, const char *location, tm_url *out) {
  char text[TM_URL_PATH_MAX];
  tm_url url = *base;
  size_t scheme = strcspn(location, ":/?#");
  if (location[scheme] == ':') return tm_url_parse(ctx, location, out);
  TM_TRY(check_printable(ctx, location));
  if (strncmp(location, "//", 2) == 0) {
    if (base->scheme == TM_URL_UNIX) return bad(ctx, 0, "a socket has no other hosts");
    const char *name = base->scheme == TM_URL_HTTPS ? "https:" : "http:";
    int n = snprintf(text, sizeof text, "%s%s", name, location);
    if (n < 0 || (size_t)n >= sizeof text) return bad(ctx, 0, "it is longer than 2047 bytes");
    return tm_url_parse(ctx, text, out);
  }
  size_t keep = strcspn(base->target, "?");
  if (location[0] == '/') keep = 0;
  if (location[0] == '#' || !location[0]) keep = strlen(base->target);
  if (location[0] != '?' && location[0] != '#' && location[0])
    while (keep && base->target[keep - 1] != '/') keep--;
  int n = snprintf(text, sizeof text, "%.*s%s", (int)keep, base->target, location);
  if (n < 0 || (size_t)n >= sizeof text) return bad(ctx, 0, "the path is longer than 2047 bytes");
  TM_TRY(take_target(ctx, text, 0, &url));
  remove_dots(url.target);
  *out = url;
  return TM_OK;
}

bool tm_url_same_origin(const tm_url *a, const tm_url *b) {
  if (a->scheme != b->scheme || a->port != b->port) return false;
  if (a->scheme == TM_URL_UNIX) return strcmp(a->host, b->host) == 0;
  return strcasecmp(a->host, b->host) == 0;
}

// An IPv6 zone is written as %25zone, as in every URL.
const char *tm_url_origin(const tm_url *url, char buf[TM_URL_ORIGIN_MAX]) {
  const char *scheme = url->scheme == TM_URL_HTTPS ? "https" : "http";
  size_t address = strcspn(url->host, "%");
  const char *zone = url->host[address] ? url->host + address + 1 : "";
  if (url->scheme == TM_URL_UNIX)
    snprintf(buf, TM_URL_ORIGIN_MAX, "unix:%s", url->host);
  else if (url->is_ipv6)
    snprintf(buf, TM_URL_ORIGIN_MAX, "%s://[%.*s%s%s]:%u", scheme, (int)address, url->host,
             *zone ? "%25" : "", zone, url->port);
  else
    snprintf(buf, TM_URL_ORIGIN_MAX, "%s://%s:%u", scheme, url->host, url->port);
  return buf;
}

const char *tm_url_format(const tm_url *url, char buf[TM_URL_FORMAT_MAX]) {
  char origin[TM_URL_ORIGIN_MAX];
  snprintf(buf, TM_URL_FORMAT_MAX, "%s%s%s", tm_url_origin(url, origin),
           url->scheme == TM_URL_UNIX ? ":" : "", url->target);
  return buf;
}

const char *tm_url_host_header(const tm_url *url, char buf[TM_URL_ORIGIN_MAX]) {
  char port[8] = "";
  if (url->scheme == TM_URL_UNIX) {
    snprintf(buf, TM_URL_ORIGIN_MAX, "localhost");
    return buf;
  }
  if (url->port != (url->scheme == TM_URL_HTTPS ? 443 : 80))
    snprintf(port, sizeof port, ":%u", url->port);
  if (url->is_ipv6)
    snprintf(buf, TM_URL_ORIGIN_MAX, "[%.*s]%s", (int)strcspn(url->host, "%"), url->host, port);
  else
    snprintf(buf, TM_URL_ORIGIN_MAX, "%s%s", url->host, port);
  return buf;
}
