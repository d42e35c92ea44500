// Requests over one connection.
#ifndef TM_AGENT_SERVE_H
#define TM_AGENT_SERVE_H

#include <stdbool.h>

// Reads one request and answers it. False: the connection is over.
bool tm_serve_request(int fd);
// Says what a snapshot says, or why there is none, without being asked.
void tm_serve_last(int fd);

#endif
