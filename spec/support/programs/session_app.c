// A program with sessions, for specs: registers resources of two, ends one of them with something
// left, and releases what it is asked to. Prints what it releases. session_app SECONDS
#include "../../../agent/tidemark_session.h"

#include <time.h>

static void on_release(void *ud, const char *session, const char *kind, const char *id) {
  (void)ud;
  printf("released %s %s %s\n", session, kind, id);
  fflush(stdout);
}

int main(int argc, char **argv) {
  tidemark_session link;
  const struct timespec pause = {0, 50000000};
  int rounds = (argc > 1 ? atoi(argv[1]) : 10) * 20;
  int error = tidemark_session_open(&link, NULL, on_release, NULL);
  if (error) {
    printf("nobody listens: %s\n", strerror(error));
    return 1;
  }
  for (int i = 0; i < 100; i++) {
    char id[32];
    snprintf(id, sizeof id, "buffer %d", i);
    tidemark_session_register(&link, "visit \"1\"", "buffer", id, 1000);
    tidemark_session_poll(&link);
  }
  tidemark_session_register(&link, "open", "image", "cover", 5000);
  for (int i = 0; i < 97; i++) {
    char id[32];
    snprintf(id, sizeof id, "buffer %d", i);
    tidemark_session_done(&link, "visit \"1\"", id);
    tidemark_session_poll(&link);
  }
  tidemark_session_end(&link, "visit \"1\"");
  for (int i = 0; i < rounds; i++) {
    tidemark_session_poll(&link);
    nanosleep(&pause, NULL);
  }
  printf("dropped %llu\n", (unsigned long long)link.dropped_count);
  tidemark_session_close(&link);
  return 0;
}
