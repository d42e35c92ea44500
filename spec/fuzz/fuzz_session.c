// floors: base
// Both ends of a session's wire. The bytes come as what tidemark says to a program that includes
// agent/tidemark_session.h, and as the names that the program registers: what it says then must be
// lines of JSON.
#include "agent/tidemark_session.h"
#include "base/json_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char *line, size_t size) {
  tm_ctx ctx;
  tm_json_reader *json = malloc(sizeof *json);
  tm_json_event event;
  if (!json) abort();
  tm_ctx_init(&ctx, NULL);
  tm_json_reader_init(json, &ctx, line, size);
  do event = tm_json_reader_next(json);
  while (event != TM_JSON_END && event != TM_JSON_ERROR);
  if (event == TM_JSON_ERROR) abort();
  tm_json_reader_fini(json);
  tm_ctx_fini(&ctx);
  free(json);
}

// What the program said so far.
static void check_said(int fd) {
  static char text[1 << 17];
  ssize_t got = recv(fd, text, sizeof text, MSG_DONTWAIT);
  if (got <= 0) return;
  for (char *line = text, *end; line < text + got; line = end + 1) {
    end = memchr(line, '\n', (size_t)(text + got - line));
    if (!end) abort();
    check_line(line, (size_t)(end - line));
  }
}

static void release(void *ud, const char *session, const char *kind, const char *id) {
  (*(int *)ud)++;
  if (strlen(session) > 200 || strlen(kind) > 200 || strlen(id) > 200) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int fds[2], released = 0;
  tidemark_session link;
  if (size > 4096 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0) return 0;
  memset(&link, 0, sizeof link);
  link.fd = fds[0];
  link.release_fn = release;
  link.ud = &released;
  for (size_t at = 0; at < size;) { // in two pieces: lines that come in parts
    size_t part = at ? size - at : size / 2 + 1;
    if (send(fds[1], data + at, part, 0) != (ssize_t)part) abort();
    int before = released;
    if (tidemark_session_poll(&link) != released - before) abort();
    at += part;
    check_said(fds[1]);
  }
  char *name = malloc(size + 1);
  if (!name) abort();
  if (size) memcpy(name, data, size);
  name[size] = '\0';
  tidemark_session_register(&link, name, name + size / 2, name, size);
  tidemark_session_done(&link, name + size / 2, name);
  tidemark_session_end(&link, name);
  check_said(fds[1]);
  free(name);
  tidemark_session_close(&link);
  close(fds[1]);
  return 0;
}
