// The modes: each row of the table adds one piece of its leak when asked. The driver turns rates
// into pieces: what is due is rate x time plus the bursts that are over; a mode that hits the cap
// or an error forgives its debt, so that it goes on softly when something is given back.
#include "leaky.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { KB = 1024, FD_RESERVE = 32, THREAD_STACK_BYTES = 64 * KB, THREADS_MAX = 4000 };

// ---- memory

// From the C heap; the pieces are below every mmap threshold, so they sit in brk.
static uint64_t grow_heap(leaky *app, leaky_mode_id id) {
  size_t bytes = leaky_modes[id].piece;
  leaky_block *block = malloc(bytes);
  if (block == NULL) return 0;
  memset(block, 0x5a, bytes);
  block->next = app->blocks;
  app->blocks = block;
  return bytes;
}

// Grows to its amount, then stays: what every app does after its start.
static uint64_t grow_warmup(leaky *app, leaky_mode_id id) {
  if ((double)app->held[id] >= app->options.rates[id].amount) return 0;
  return grow_heap(app, id);
}

static void *map_pages(size_t bytes, int protection) {
  void *at = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? NULL : at;
}

static uint64_t grow_cache(leaky *app, leaky_mode_id id) {
  size_t bytes = leaky_modes[id].piece;
  leaky_block *block = map_pages(bytes, PROT_READ | PROT_WRITE);
  if (block == NULL) return 0;
  memset(block, 0x5a, bytes);
  block->next = app->cache;
  app->cache = block;
  return bytes;
}

uint64_t leaky_clear_caches(leaky *app) {
  uint64_t freed_bytes = app->held[LEAKY_CACHE];
  while (app->cache != NULL) {
    leaky_block *next = app->cache->next;
    munmap(app->cache, leaky_modes[LEAKY_CACHE].piece);
    app->cache = next;
  }
  app->held[LEAKY_CACHE] = 0;
  return freed_bytes;
}

// A collected heap: garbage fills a reserved arena up to the amount, then all of it goes at once.
static uint64_t grow_sawtooth(leaky *app, leaky_mode_id id) {
  size_t piece = leaky_modes[id].piece;
  if (app->arena == NULL) {
    size_t bytes = (size_t)app->options.rates[id].amount / piece * piece;
    app->arena = map_pages(bytes, PROT_READ | PROT_WRITE);
    if (app->arena == NULL) return 0;
    app->arena_bytes = bytes;
  }
  if (app->held[id] + piece > app->arena_bytes) leaky_collect(app);
  memset(app->arena + app->held[id], 0x5a, piece);
  return piece;
}

uint64_t leaky_collect(leaky *app) {
  uint64_t freed_bytes = app->held[LEAKY_SAWTOOTH];
  if (freed_bytes > 0) madvise(app->arena, app->arena_bytes, MADV_DONTNEED);
  app->held[LEAKY_SAWTOOTH] = 0;
  return freed_bytes;
}

// Busy but not leaking: a block of changing size takes the place of an old one, and a descriptor
// and a mapping come and go.
static uint64_t grow_churn(leaky *app, leaky_mode_id id) {
  uint64_t turn = app->churn_turn++;
  size_t bytes = leaky_modes[id].piece / 2 * (1 + turn % 3);
  leaky_block **place = &app->churn[(turn * 7) % (sizeof app->churn / sizeof app->churn[0])];
  free(*place);
  *place = malloc(bytes);
  if (*place == NULL) return 0;
  memset(*place, 0x5a, bytes);

  int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) close(fd);
  void *page = map_pages(4 * KB, PROT_READ);
  if (page != NULL) munmap(page, 4 * KB);
  return bytes;
}

// ---- memory that no mapping shows

static uint64_t write_piece(int fd, size_t bytes) {
  static const char piece[32 * KB] = {1};
  size_t done = 0;
  while (done < bytes) {
    size_t part = bytes - done < sizeof piece ? bytes - done : sizeof piece;
    ssize_t wrote = write(fd, piece, part);
    if (wrote <= 0) break;
    done += (size_t)wrote;
  }
  return done;
}

static uint64_t grow_memfd(leaky *app, leaky_mode_id id) {
  if (app->memfd < 0) app->memfd = memfd_create("leaky-hidden", MFD_CLOEXEC);
  return app->memfd < 0 ? 0 : write_piece(app->memfd, leaky_modes[id].piece);
}

static uint64_t grow_deleted(leaky *app, leaky_mode_id id) {
  if (app->deleted_fd < 0) {
    const char *folder = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/leaky-XXXXXX", folder != NULL ? folder : "/tmp");
    app->deleted_fd = mkostemp(path, O_CLOEXEC);
    if (app->deleted_fd < 0) return 0;
    unlink(path);
  }
  return write_piece(app->deleted_fd, leaky_modes[id].piece);
}

// SysV segments, written and detached: they hold memory that no process maps.
static uint64_t grow_shm(leaky *app, leaky_mode_id id) {
  size_t bytes = leaky_modes[id].piece;
  if (app->shm_count == app->shm_room) {
    size_t room = app->shm_room * 2 + 64;
    int *ids = realloc(app->shm_ids, room * sizeof *ids);
    if (ids == NULL) return 0;
    app->shm_ids = ids;
    app->shm_room = room;
  }
  int segment = shmget(IPC_PRIVATE, bytes, IPC_CREAT | 0600);
  if (segment < 0) return 0;
  app->shm_ids[app->shm_count++] = segment;
  void *at = shmat(segment, NULL, 0);
  if ((intptr_t)at == -1) return 0;
  memset(at, 0x5a, bytes);
  shmdt(at);
  return bytes;
}

// ---- handles

static int open_file(void) {
  return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}

static int open_socket(void) {
  return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int open_pipe(void) {
  int ends[2];
  return pipe2(ends, O_CLOEXEC);
}

static int open_eventfd(void) {
  return eventfd(0, EFD_CLOEXEC);
}

static int open_memfd(void) {
  return memfd_create("leaky-empty", MFD_CLOEXEC);
}

static int open_inotify(void) {
  return inotify_init1(IN_CLOEXEC);
}

static const struct {
  const char *name;
  int (*open)(void); // below 0 = failed
  uint32_t count;    // descriptors that one call makes
} fd_kinds[] = {{"file", open_file, 1},   {"socket", open_socket, 1},
                {"pipe", open_pipe, 2},   {"eventfd", open_eventfd, 1},
                {"memfd", open_memfd, 1}, {"inotify", open_inotify, 1},
                {"mixed", NULL, 0}};

enum { FD_KINDS = sizeof fd_kinds / sizeof fd_kinds[0] };

uint32_t leaky_fd_kind_by_name(const char *name) {
  for (uint32_t i = 0; i < FD_KINDS; i++)
    if (strcmp(name, fd_kinds[i].name) == 0) return i;
  return UINT32_MAX;
}

static uint64_t grow_fds(leaky *app, leaky_mode_id id) {
  (void)id;
  uint32_t kind = app->options.fd_kind;
  if (fd_kinds[kind].open == NULL) kind = (uint32_t)(app->fd_turn++ % (FD_KINDS - 1));
  // The reserve lets the hook and a watcher's tools go on; the lowest free number tells how full.
  int probe = open_file();
  if (probe < 0) return 0;
  close(probe);
  if ((uint64_t)probe + FD_RESERVE >= app->fd_limit) {
    errno = EMFILE;
    return 0;
  }
  return fd_kinds[kind].open() < 0 ? 0 : fd_kinds[kind].count;
}

static void *park(void *unused) {
  for (;;) pause();
  return unused;
}

static uint64_t grow_threads(leaky *app, leaky_mode_id id) {
  if (app->held[id] >= app->threads_max) {
    errno = EAGAIN;
    return 0;
  }
  pthread_attr_t attributes;
  pthread_t thread;
  if (pthread_attr_init(&attributes) != 0) return 0;
  pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  errno = pthread_create(&thread, &attributes, park, NULL);
  pthread_attr_destroy(&attributes);
  return errno == 0;
}

// Neighbours differ in protection, otherwise the kernel would merge them into one mapping.
static uint64_t grow_maps(leaky *app, leaky_mode_id id) {
  if (app->held[id] >= app->maps_max) {
    errno = ENOMEM;
    return 0;
  }
  return map_pages(4 * KB, app->held[id] % 2 ? PROT_READ : PROT_READ | PROT_WRITE) != NULL;
}

const leaky_mode leaky_modes[LEAKY_MODE_COUNT] = {
    [LEAKY_HEAP] = {"heap", true, 16 * KB, "1MB/s", "malloc, touched, never freed", grow_heap},
    [LEAKY_FDS] = {"fds", false, 1, "20/s", "descriptors, see --fd-kind", grow_fds},
    [LEAKY_THREADS] = {"threads", false, 1, "2/s", "threads parked for ever", grow_threads},
    [LEAKY_MAPS] = {"maps", false, 1, "20/s", "one-page mappings that do not merge", grow_maps},
    [LEAKY_MEMFD] = {"memfd", true, 32 * KB, "1MB/s", "a memfd written, never mapped", grow_memfd},
    [LEAKY_DELETED] = {"deleted", true, 32 * KB, "1MB/s", "a deleted file that stays open",
                       grow_deleted},
    [LEAKY_SHM] = {"shm", true, 256 * KB, "1MB/s", "SysV segments that nobody attaches", grow_shm},
    [LEAKY_CACHE] = {"cache", true, 64 * KB, "1MB/s", "memory that the hook can free", grow_cache},
    [LEAKY_WARMUP] = {"warmup", true, 16 * KB, "100MB/30s",
                      "grows to that much, then flat: no leak", grow_warmup},
    [LEAKY_SAWTOOTH] = {"sawtooth", true, 64 * KB, "200MB/20s", "fills and collects: no leak",
                        grow_sawtooth},
    [LEAKY_SAWTOOTH_LEAK] = {"sawtooth-leak", true, 16 * KB, "1MB/s",
                             "survivors: the sawtooth's floor grows", grow_heap},
    [LEAKY_CHURN] = {"churn", true, 8 * KB, "20MB/s", "allocates and frees: busy, no leak",
                     grow_churn},
    [LEAKY_PIXMAPS] = {"pixmaps", false, 1, "20/s", "pixmaps in the X server: 16 kB each, not here",
                       leaky_grow_pixmaps},
};

// ---- the driver

double leaky_now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t read_number(const char *path, const char *format, uint64_t otherwise) {
  uint64_t value = otherwise;
  char line[128];
  FILE *f = fopen(path, "re");
  if (f == NULL) return otherwise;
  while (fgets(line, sizeof line, f) != NULL)
    if (sscanf(line, format, &value) == 1) break;
  fclose(f);
  return value;
}

static uint64_t limit_of(__rlimit_resource_t resource) {
  struct rlimit limit;
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
  return (uint64_t)limit.rlim_cur;
}

static uint64_t least(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

void leaky_init(leaky *app, const leaky_options *options) {
  *app = (leaky){.options = *options, .memfd = -1, .deleted_fd = -1, .listen_fd = -1};
  for (uint32_t i = 0; i < LEAKY_CLIENTS_MAX; i++) app->clients[i].fd = -1;

  // Never more than half of what is free now, or than three quarters of a limit set from outside.
  uint64_t free_kb = read_number("/proc/meminfo", "MemAvailable: %" SCNu64, 4 * KB * KB);
  uint64_t outside = least(limit_of(RLIMIT_AS), limit_of(RLIMIT_DATA));
  app->options.max_bytes = least(options->max_bytes, least(free_kb * KB / 2, outside / 4 * 3));
  leaky_rate *sawtooth = &app->options.rates[LEAKY_SAWTOOTH];
  if (sawtooth->amount > (double)app->options.max_bytes / 2) {
    sawtooth->period_s *= (double)app->options.max_bytes / 2 / sawtooth->amount;
    sawtooth->amount = (double)app->options.max_bytes / 2;
  }
  app->fd_limit = limit_of(RLIMIT_NOFILE);
  app->threads_max = least(THREADS_MAX, limit_of(RLIMIT_NPROC) / 4);
  app->maps_max = read_number("/proc/sys/vm/max_map_count", "%" SCNu64, 65530) / 2;
}

void leaky_fini(leaky *app) {
  for (size_t i = 0; i < app->shm_count; i++) shmctl(app->shm_ids[i], IPC_RMID, NULL);
  free(app->shm_ids);
  app->shm_ids = NULL;
  app->shm_count = app->shm_room = 0;
}

static uint64_t held_bytes(const leaky *app) {
  uint64_t sum = app->held[LEAKY_THREADS] * THREAD_STACK_BYTES;
  for (uint32_t i = 0; i < LEAKY_MODE_COUNT; i++)
    if (leaky_modes[i].is_bytes) sum += app->held[i];
  return sum;
}

static double due(const leaky *app, leaky_mode_id id, double now_s) {
  const leaky_rate *rate = &app->options.rates[id];
  double sum = rate->amount > 0 ? rate->amount / rate->period_s * now_s : 0;
  for (uint32_t i = 0; i < app->options.burst_count; i++) {
    const leaky_burst *burst = &app->options.bursts[i];
    if (burst->mode == id && burst->at_s <= now_s) sum += burst->amount;
  }
  return sum;
}

// Says once per mode why it grows no more.
static void note(leaky *app, leaky_mode_id id, const char *why) {
  if (!app->noted[id] && !app->options.quiet)
    printf("leaky: %s holds: %s\n", leaky_modes[id].name, why);
  app->noted[id] = true;
}

// One piece, or false when the mode can grow no more now.
static bool grow(leaky *app, leaky_mode_id id) {
  const leaky_mode *mode = &leaky_modes[id];
  uint64_t room_bytes = mode->is_bytes ? mode->piece : THREAD_STACK_BYTES;
  if (held_bytes(app) + room_bytes > app->options.max_bytes) {
    if (id == LEAKY_SAWTOOTH && leaky_collect(app) > 0) return true; // as a collector would
    note(app, id, "the cap of --max is reached");
    return false;
  }
  errno = 0;
  uint64_t got = mode->grow(app, id);
  if (got == 0) {
    note(app, id, errno != 0 ? strerror(errno) : "warm");
    return false;
  }
  app->paid[id] += (double)got;
  if (id != LEAKY_CHURN) app->held[id] += got;
  return true;
}

void leaky_pay(leaky *app, double now_s) {
  enum { PATIENCE_MS = 10 };
  for (uint32_t i = 0; i < LEAKY_MODE_COUNT; i++) {
    double give_up_s = leaky_now_s() + PATIENCE_MS / 1000.0;
    double owed = due(app, (leaky_mode_id)i, now_s);
    while (owed - app->paid[i] >= leaky_modes[i].piece && leaky_now_s() < give_up_s)
      if (!grow(app, (leaky_mode_id)i)) app->paid[i] = owed;
  }
}
