// floors: platform
// Any bytes as what an X server answers to the questions about one process; the same bytes as a
// file of cookies and as an environment.
#include "platform/linux/x11.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_files(const uint8_t *data, size_t size) {
  cookie c = {.size = 0};
  tm_text environment = tm_text_of((const char *)data, size), display;
  if (find_cookie(data, data + size, 0, &c) && c.size > sizeof c.bytes) abort();
  display = variable(environment, "DISPLAY");
  if (display.at && display_number(display) > 65535) abort();
}

static void check_holdings(const talk *w, const holdings *h) {
  const char *name;
  if (h->type_count > ATOMS_MAX || h->client_count > CLIENTS_MAX) abort();
  for (size_t i = 0; i < h->type_count; i++)
    if (name_of(w, h->types[i].atom, &name) == 0 && strlen(name) >= sizeof(atom_name)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int fds[2];
  if (size > 32768) return 0;
  tm_x_servers *servers = calloc(1, sizeof *servers);
  uint8_t *copy = malloc(size ? size : 1); // so that ASan sees a read behind it
  if (!servers || !copy) abort();
  if (size) memcpy(copy, data, size);
  check_files(copy, size);
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0) abort();
  if (send(fds[1], data, size, 0) != (ssize_t)size) abort(); // the socket's buffer is larger
  shutdown(fds[1], SHUT_WR);
  servers->items[0].fd = fds[0];
  const cookie none = {.size = 0};
  const talk w = {servers, &servers->items[0], UINT64_MAX};
  holdings h;
  if (shake_hands(&w, &none) == 0 && find_extension(&w) == 0 && ask_server(&w, 7, &h) == 0)
    check_holdings(&w, &h);
  hang_up(&servers->items[0]);
  close(fds[1]);
  free(copy);
  free(servers);
  return 0;
}
