// Lines over a unix socket that only its owner may use: the way an app or a shell says something to
// tidemark ({"cmd":"snap","kind":"heap"}). A few clients, bounded lines, never blocks.
// All calls from the loop's thread.
#ifndef TM_NET_LINE_SERVER_H
#define TM_NET_LINE_SERVER_H

#include "base/ctx.h"

#include <uv.h>

enum {
  TM_LINE_CLIENTS = 16,            // at once; one more is told and closed
  TM_LINE_MAX_BYTES = 65536,       // of a line; a longer one closes the client
  TM_LINE_PENDING_BYTES = 1 << 20, // unread answers of a client; more closes it
};

typedef struct tm_line_server tm_line_server;

// One line, without its end. client names the sender until it hangs up, and is never used again.
// Each line gets one answer, now or later: a client that has ended its side is kept until then.
typedef void (*tm_line_fn)(void *ud, uint64_t client, const char *line, size_t size);

// Listens at path (mode 0600; a socket that nobody serves any more is replaced). Peers of another
// user are refused, root is not. TM_E_ARG for a path that is too long, TM_E_BUSY when somebody
// listens there or the path is something else, TM_E_IO, TM_E_PERM. The ctx must outlive it.
TM_NODISCARD tm_status tm_line_server_open(tm_ctx *ctx, uv_loop_t *loop, const char *path,
                                           tm_line_fn on_line, void *ud, tm_line_server **out);

// Sends a line (the end is added). TM_E_GONE when the client has hung up, TM_E_LIMIT when it does
// not read (it is closed), TM_E_NOMEM.
TM_NODISCARD tm_status tm_line_server_send(tm_line_server *server, uint64_t client,
                                           const char *line, size_t size);

// Hangs up and removes the socket; memory is given back when the loop has closed its handles. Not
// from within on_line. NULL is fine.
void tm_line_server_close(tm_line_server *server);

#endif
