// leaky: the main loop. It sleeps in poll() until the next 50 ms turn, a signal (signalfd, so there
// is no handler and no global) or a line on the hook; each turn pays what the modes owe.
#include "leaky.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static uint64_t rss_bytes(void) {
  uint64_t pages = 0;
  FILE *f = fopen("/proc/self/statm", "re");
  if (f != NULL) {
    if (fscanf(f, "%*s %" SCNu64, &pages) != 1) pages = 0;
    fclose(f);
  }
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

// False when nobody reads the lines any more.
static bool print_status(const leaky *app, double now_s) {
  printf("%6.1fs  rss %.1f MB", now_s, (double)rss_bytes() / 1048576.0);
  for (uint32_t i = 0; i < LEAKY_MODE_COUNT; i++) {
    if (app->paid[i] == 0 && app->options.rates[i].amount == 0) continue;
    if (i == LEAKY_CHURN) continue; // holds nothing
    if (leaky_modes[i].is_bytes)
      printf("  %s %.1f MB", leaky_modes[i].name, (double)app->held[i] / 1048576.0);
    else
      printf("  %s %" PRIu64, leaky_modes[i].name, app->held[i]);
  }
  putchar('\n');
  return fflush(stdout) == 0;
}

static int open_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  signal(SIGPIPE, SIG_IGN);
  sigprocmask(SIG_BLOCK, &set, NULL);
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

// If memory runs out all the same, the kernel shall take this process and no other.
static void offer_to_oom_killer(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t written = write(fd, "1000", 4);
  (void)written; // an older kernel or a sandbox may refuse: the cap still holds
  close(fd);
}

// Waits at most wait_ms; false when a signal says to end.
static bool wait_turn(leaky *app, int signal_fd, int wait_ms) {
  struct pollfd polls[2 + LEAKY_CLIENTS_MAX] = {
      {.fd = signal_fd, .events = POLLIN},
      {.fd = app->listen_fd, .events = POLLIN},
  };
  for (uint32_t i = 0; i < LEAKY_CLIENTS_MAX; i++)
    polls[2 + i] = (struct pollfd){.fd = app->clients[i].fd, .events = POLLIN};
  if (poll(polls, 2 + LEAKY_CLIENTS_MAX, wait_ms) <= 0) return true;

  if (polls[0].revents != 0) return false;
  for (uint32_t i = 0; i < LEAKY_CLIENTS_MAX; i++)
    if (polls[2 + i].revents != 0) leaky_hook_read(app, &app->clients[i]);
  if (polls[1].revents != 0) leaky_hook_accept(app);
  return true;
}

static void run(leaky *app, int signal_fd) {
  enum { TURN_MS = 50 };
  double start_s = leaky_now_s(), next_status_s = 1;
  double next_turn_s = 0;
  for (;;) {
    double now_s = leaky_now_s() - start_s;
    if (app->options.for_s > 0 && now_s >= app->options.for_s) return;
    if (now_s >= next_turn_s) {
      leaky_pay(app, now_s);
      next_turn_s = now_s + TURN_MS / 1000.0;
    }
    if (now_s >= next_status_s) {
      if (!app->options.quiet && !print_status(app, now_s)) return;
      next_status_s += 1;
    }
    double wait_ms = (next_turn_s - (leaky_now_s() - start_s)) * 1000 + 1;
    if (!wait_turn(app, signal_fd, wait_ms < 0 ? 0 : (int)wait_ms)) return;
  }
}

int main(int argc, char **argv) {
  leaky_options options;
  leaky_parsed parsed = leaky_options_parse(argc, argv, &options);
  if (parsed != LEAKY_GO) return parsed == LEAKY_HELPED ? 0 : 2;

  leaky app;
  offer_to_oom_killer();
  int signal_fd = open_signals();
  leaky_init(&app, &options);
  if (signal_fd < 0) {
    perror("leaky: signalfd");
    return 2;
  }
  if (!leaky_hook_open(&app)) return 2;
  if (!options.quiet) {
    printf("leaky: pid %d, holds at most %.0f MB\n", (int)getpid(),
           (double)app.options.max_bytes / 1048576.0);
    fflush(stdout);
  }
  run(&app, signal_fd);
  leaky_hook_close(&app);
  leaky_fini(&app);
  return 0;
}
