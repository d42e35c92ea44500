// leaky: an app that leaks on demand, so that a watcher has something true to find. One table of
// modes, each with a rate; the main loop pays what is due every 50 ms; a cap keeps the machine
// safe.
#ifndef LEAKY_H
#define LEAKY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum leaky_mode_id {
  LEAKY_HEAP,
  LEAKY_FDS,
  LEAKY_THREADS,
  LEAKY_MAPS,
  LEAKY_MEMFD,
  LEAKY_DELETED,
  LEAKY_SHM,
  LEAKY_CACHE,
  LEAKY_WARMUP,
  LEAKY_SAWTOOTH,
  LEAKY_SAWTOOTH_LEAK,
  LEAKY_CHURN,
  LEAKY_PIXMAPS,
  LEAKY_MODE_COUNT
} leaky_mode_id;

enum { LEAKY_BURSTS_MAX = 16, LEAKY_CLIENTS_MAX = 8, LEAKY_LINE_BYTES = 64 };

typedef struct leaky_rate {
  double amount;   // bytes or things; 0 = the mode is off
  double period_s; // ... in this many seconds
} leaky_rate;

typedef struct leaky_burst {
  leaky_mode_id mode;
  double amount; // bytes or things, at once
  double at_s;   // seconds after the start
} leaky_burst;

typedef struct leaky_options {
  leaky_rate rates[LEAKY_MODE_COUNT];
  leaky_burst bursts[LEAKY_BURSTS_MAX];
  uint32_t burst_count;
  uint32_t fd_kind;      // a row of the kinds that leaky_fd_kind_by_name knows
  const char *hook_path; // NULL = no control hook
  double for_s;          // 0 = until a signal ends it
  uint64_t max_bytes;    // cap on the sum of all memory that the modes hold
  bool quiet;
} leaky_options;

// A singly linked list through the first word of each block: leaked, yet not lost to the program.
typedef struct leaky_block {
  struct leaky_block *next;
} leaky_block;

typedef struct leaky_client {
  int fd; // -1 = free place
  size_t used_bytes;
  char line[LEAKY_LINE_BYTES];
} leaky_client;

typedef struct leaky {
  leaky_options options;
  uint64_t held[LEAKY_MODE_COUNT]; // bytes or things that each mode holds now
  double paid[LEAKY_MODE_COUNT];   // of what was due since the start
  bool noted[LEAKY_MODE_COUNT];    // its "stopped growing" line was printed

  leaky_block *blocks; // heap, warm-up and survivors of the sawtooth
  leaky_block *cache;  // mapped blocks, given back by the hook
  leaky_block *churn[256];
  uint64_t churn_turn;
  char *arena; // the sawtooth's, arena_bytes long, reserved once
  size_t arena_bytes;
  int *shm_ids;
  size_t shm_count, shm_room;
  int memfd, deleted_fd; // -1 = not yet
  uint64_t fd_limit, maps_max, threads_max, fd_turn;

  struct xcb_connection_t *display; // NULL = not connected

  int listen_fd; // -1 = no hook
  leaky_client clients[LEAKY_CLIENTS_MAX];
} leaky;

// options.c

typedef enum leaky_parsed { LEAKY_GO, LEAKY_HELPED, LEAKY_WRONG } leaky_parsed;

// Fills out from the command line. LEAKY_HELPED: help was printed; LEAKY_WRONG: the reason was.
leaky_parsed leaky_options_parse(int argc, char **argv, leaky_options *out);

// modes.c

typedef struct leaky_mode {
  const char *name;                               // the option without its dashes
  bool is_bytes;                                  // else a count of things
  uint32_t piece;                                 // what one call of grow adds, about
  const char *rate;                               // the rate when the option has none
  const char *help;                               // one line
  uint64_t (*grow)(leaky *app, leaky_mode_id id); // adds a piece; how much, 0 = cannot (errno)
} leaky_mode;

extern const leaky_mode leaky_modes[LEAKY_MODE_COUNT];

// The kind's number, or UINT32_MAX.
uint32_t leaky_fd_kind_by_name(const char *name);

void leaky_init(leaky *app, const leaky_options *options);

// Removes what would outlive the process: SysV segments.
void leaky_fini(leaky *app);

// Pays what every mode owes at now_s seconds after the start; a mode that takes longer than 10 ms
// goes on in the next turn, so that signals and the hook are always answered soon.
void leaky_pay(leaky *app, double now_s);

// Free the cache, or the garbage of the sawtooth; answer how many bytes went.
uint64_t leaky_clear_caches(leaky *app);
uint64_t leaky_collect(leaky *app);

// Monotonic seconds.
double leaky_now_s(void);

// pixmaps.c: one of 64 x 64 points more in the X server; 0 without a display or xcb (errno).
uint64_t leaky_grow_pixmaps(leaky *app, leaky_mode_id id);

// hook.c: the control socket. One command a line: `clear-caches`, `collect`; answers
// `ok freed N` (bytes) or `error ...`.

// Listens at options.hook_path; a socket that a dead leaky left there is replaced. False: said why.
bool leaky_hook_open(leaky *app);
void leaky_hook_close(leaky *app);
void leaky_hook_accept(leaky *app);
void leaky_hook_read(leaky *app, leaky_client *client);

#endif
