// One row for each number that a descriptor may have, in reserved memory that is touched as far as
// numbers go: recording is two stores, no lock. A row also keeps what file it was (device and
// inode, hashed): when the number has gone by ways that nobody saw to another file, the record
// counts no more. Pixmaps are few and dear: a hash table behind a lock.
#include "agent_handles.h"

#include "agent_tables.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

_Atomic uint32_t tm_handles_state = TM_HANDLES_ASLEEP;

typedef struct fd_row {
  _Atomic uint64_t who; // 0: nothing is known; see pack
  _Atomic uint32_t born_ms, ident;
} fd_row;
static fd_row *fds;
static _Atomic uint32_t fd_end; // numbers from there on were never recorded
static _Atomic uint64_t seen;

static uint64_t pack(uint16_t stack, uint16_t slot, uint16_t epoch) {
  return (uint64_t)1 << 48 | (uint64_t)stack << 32 | (uint64_t)slot << 16 | epoch;
}

// The agent is at work here, or this is a child of vfork, which uses its parent's memory.
static bool is_not_ours(void) {
  return tm_self.guard || tm_agent.pid != syscall(SYS_getpid);
}

// ---- before anybody asks ----

// A program that allocates little has nobody who listens. Who opens so many, and lives so long, may
// leak them; shorter ones are left alone.
static void count_opened(void) {
  enum { OPENED = 32, AGE_MS = 1000 };
  static _Atomic uint32_t opened;
  uint32_t asleep = TM_HANDLES_ASLEEP;
  if (tm_agent_refusal()) atomic_store(&tm_handles_state, TM_HANDLES_OFF);
  if (!atomic_load_explicit(&tm_agent.generation, memory_order_relaxed)) return;
  bool is_young = tm_agent_now_ms() < AGE_MS;
  if (atomic_fetch_add_explicit(&opened, 1, memory_order_relaxed) < OPENED || is_young) return;
  atomic_store(&opened, 0);
  if (atomic_compare_exchange_strong(&tm_handles_state, &asleep, TM_HANDLES_OFF))
    tm_control_begin();
}

// Sets the guard; false: nothing is to be recorded.
static bool begin_to_record(void) {
  if (is_not_ours()) return false;
  tm_self.guard = 1;
  if (tm_handles_are_on()) return true;
  if (atomic_load_explicit(&tm_handles_state, memory_order_relaxed) == TM_HANDLES_ASLEEP)
    count_opened();
  tm_self.guard = 0;
  return false;
}

// ---- descriptors ----

uint32_t tm_handle_ident(int fd) {
  struct stat s;
  if (syscall(SYS_newfstatat, fd, "", &s, AT_EMPTY_PATH) != 0) return 0;
  uint64_t hash = ((uint64_t)s.st_ino ^ (uint64_t)s.st_dev << 40) * UINT64_C(0x9e3779b97f4a7c15);
  return (uint32_t)(hash >> 32) | 1;
}

TM_NOINLINE void tm_handle_opened(int fd, const void *frame) {
  int kept_errno = errno;
  if (fd < 0 || fd >= TM_FDS || !begin_to_record()) {
    errno = kept_errno;
    return;
  }
  fd_row *row = &fds[fd];
  uint32_t stack = tm_unwind_stack(frame, TM_AGENT_FD, false);
  uint32_t epoch = atomic_load_explicit(&tm_agent.epoch, memory_order_relaxed);
  atomic_store_explicit(&row->who, 0, memory_order_relaxed);
  atomic_store_explicit(&row->born_ms, tm_agent_now_ms(), memory_order_release);
  atomic_store_explicit(&row->ident, tm_handle_ident(fd), memory_order_relaxed);
  atomic_store_explicit(&row->who, pack((uint16_t)stack, tm_thread_slot(), (uint16_t)epoch),
                        memory_order_release);
  uint32_t end = atomic_load_explicit(&fd_end, memory_order_relaxed);
  while (end <= (uint32_t)fd
         && !atomic_compare_exchange_weak_explicit(&fd_end, &end, (uint32_t)fd + 1,
                                                   memory_order_release, memory_order_relaxed))
    ;
  atomic_fetch_add_explicit(&seen, 1, memory_order_relaxed);
  tm_control_wake_late();
  tm_self.guard = 0;
  errno = kept_errno;
}

// Before it is done: another thread may get the number at once.
TM_NOINLINE void tm_handle_closing(int fd) {
  if (fd < 0 || (uint32_t)fd >= atomic_load_explicit(&fd_end, memory_order_acquire)) return;
  int kept_errno = errno;
  if (atomic_load_explicit(&fds[fd].who, memory_order_relaxed) && !is_not_ours())
    atomic_store_explicit(&fds[fd].who, 0, memory_order_relaxed);
  errno = kept_errno;
}

void tm_handle_closing_range(uint32_t first, uint32_t last) {
  uint32_t end = atomic_load_explicit(&fd_end, memory_order_relaxed);
  for (uint32_t fd = first; fd < end && fd <= last; fd++) tm_handle_closing((int)fd);
}

bool tm_handle_record_of(int fd, uint32_t ident, tm_handle_row *out) {
  if (fd < 0 || (uint32_t)fd >= atomic_load_explicit(&fd_end, memory_order_acquire)) return false;
  uint64_t who = atomic_load_explicit(&fds[fd].who, memory_order_acquire);
  out->born_ms = atomic_load_explicit(&fds[fd].born_ms, memory_order_relaxed);
  uint32_t known = atomic_load_explicit(&fds[fd].ident, memory_order_acquire);
  if (!who || known != ident || who != atomic_load_explicit(&fds[fd].who, memory_order_relaxed))
    return false;
  out->stack = (uint16_t)(who >> 32);
  out->slot = (uint16_t)(who >> 16);
  out->epoch = (uint16_t)who;
  return true;
}

// ---- pixmaps ----

typedef struct pixmap {
  uint64_t id; // 0: a free place
  const void *connection;
  uint64_t bytes;
  uint32_t born_ms;
  uint16_t stack, slot, epoch;
} pixmap;
static pixmap *pixmaps;
static uint32_t pixmap_room, pixmap_count; // room: a power of two
static tm_spin pixmaps_lock;

static uint32_t home_of(uint64_t id) {
  return (uint32_t)((id * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (pixmap_room - 1);
}

static pixmap *place_of(uint64_t id) {
  uint32_t at = home_of(id);
  while (pixmaps[at].id && pixmaps[at].id != id) at = (at + 1) & (pixmap_room - 1);
  return &pixmaps[at];
}

static bool grow(void) {
  pixmap *old = pixmaps;
  uint32_t old_room = pixmap_room, room = old_room ? old_room * 2 : 1024;
  pixmap *grown = tm_pages_get(room * sizeof *grown);
  if (!grown) return false;
  pixmaps = grown;
  pixmap_room = room;
  for (uint32_t i = 0; i < old_room; i++)
    if (old[i].id) *place_of(old[i].id) = old[i];
  tm_pages_drop(old, old_room * sizeof *old);
  return true;
}

// Those behind it move up, as far as their home allows, so that no gap parts them from it.
static void take_out(pixmap *row) {
  uint32_t mask = pixmap_room - 1, gap = (uint32_t)(row - pixmaps);
  for (uint32_t at = (gap + 1) & mask; pixmaps[at].id; at = (at + 1) & mask) {
    uint32_t home = home_of(pixmaps[at].id);
    if (((at - home) & mask) < ((at - gap) & mask)) continue;
    pixmaps[gap] = pixmaps[at];
    gap = at;
  }
  pixmaps[gap].id = 0;
  pixmap_count--;
}

TM_NOINLINE void tm_pixmap_made(uint64_t id, const void *connection, uint64_t bytes,
                                const void *frame) {
  int kept_errno = errno;
  if (!id || !begin_to_record()) {
    errno = kept_errno;
    return;
  }
  pixmap made = {.id = id,
                 .connection = connection,
                 .bytes = bytes,
                 .born_ms = tm_agent_now_ms(),
                 .stack = (uint16_t)tm_unwind_stack(frame, TM_AGENT_FD, false),
                 .slot = tm_thread_slot(),
                 .epoch = (uint16_t)atomic_load_explicit(&tm_agent.epoch, memory_order_relaxed)};
  tm_spin_lock(&pixmaps_lock);
  if (pixmap_count * 2 < pixmap_room || grow()) {
    pixmap *place = place_of(id);
    pixmap_count += place->id == 0;
    *place = made;
  } else {
    atomic_fetch_add_explicit(&tm_counters.dropped, 1, memory_order_relaxed);
  }
  tm_spin_unlock(&pixmaps_lock);
  atomic_fetch_add_explicit(&seen, 1, memory_order_relaxed);
  tm_control_wake_late();
  tm_self.guard = 0;
  errno = kept_errno;
}

TM_NOINLINE void tm_pixmap_freeing(uint64_t id) {
  int kept_errno = errno;
  if (!pixmap_room || is_not_ours()) return;
  tm_self.guard = 1;
  tm_spin_lock(&pixmaps_lock);
  pixmap *place = place_of(id);
  if (id && place->id) take_out(place);
  tm_spin_unlock(&pixmaps_lock);
  tm_self.guard = 0;
  errno = kept_errno;
}

void tm_pixmaps_closing(const void *connection) {
  int kept_errno = errno;
  if (!pixmap_room || is_not_ours()) return;
  tm_self.guard = 1;
  tm_spin_lock(&pixmaps_lock);
  for (uint32_t i = 0; i < pixmap_room; i++) // another one may have moved to the place
    while (pixmaps[i].id && pixmaps[i].connection == connection) take_out(&pixmaps[i]);
  tm_spin_unlock(&pixmaps_lock);
  tm_self.guard = 0;
  errno = kept_errno;
}

void tm_pixmaps_list(tm_handle_each *each, void *ud) {
  tm_spin_lock(&pixmaps_lock);
  uint32_t room = pixmap_room, count = 0;
  pixmap *copy = room ? tm_pages_get(room * sizeof *copy) : NULL;
  for (uint32_t i = 0; copy && i < room; i++)
    if (pixmaps[i].id) copy[count++] = pixmaps[i];
  tm_spin_unlock(&pixmaps_lock);
  for (uint32_t i = 0; i < count; i++) {
    const tm_handle_row row = {.number = copy[i].id,
                               .bytes = copy[i].bytes,
                               .born_ms = copy[i].born_ms,
                               .stack = copy[i].stack,
                               .epoch = copy[i].epoch,
                               .slot = copy[i].slot,
                               .kind = TM_AGENT_HANDLE_PIXMAP,
                               .is_seen = true};
    each(ud, &row);
  }
  if (copy) tm_pages_drop(copy, room * sizeof *copy);
}

// ---- what is replaced ----

// Its library may have been loaded for somebody alone.
static void *find_anywhere(const char *name) {
  Dl_info theirs, ours;
  void *found = tm_agent_find_loaded(name);
  bool is_own =
      found && dladdr(found, &theirs) && dladdr(&fds, &ours) && theirs.dli_fbase == ours.dli_fbase;
  return is_own ? NULL : found;
}

bool tm_handle_find(const char *name, void *slot) {
  int kept_errno = errno;
  uint32_t guard = tm_self.guard;
  tm_self.guard = 1;
  tm_agent_resolve();
  void *found = tm_agent_is_preloaded() ? tm_agent_find_next(name) : NULL;
  if (!found) found = find_anywhere(name);
  tm_self.guard = guard;
  errno = found ? kept_errno : ENOSYS;
  if (found) memcpy(slot, &found, sizeof found);
  return found != NULL;
}

void tm_handles_resolve(const tm_agent_hook *hook) {
  void *known;
  for (; hook->name; hook++) {
    memcpy(&known, hook->next, sizeof known);
    if (!known) tm_handle_find(hook->name, hook->next);
  }
}

void tm_handles_look(void) {
  if (tm_agent_is_preloaded() || !tm_handles_are_known()) return;
  tm_handles_resolve(tm_descriptor_hooks);
  tm_handles_resolve(tm_pixmap_hooks);
}

// ---- the verbs ----

bool tm_handles_start(void) {
  if (!fds) fds = tm_pages_get(TM_FDS * sizeof *fds);
  if (!fds) return false;
  atomic_store(&tm_handles_state, TM_HANDLES_ON);
  tm_handles_look();
  if (!tm_agent_is_preloaded()) tm_got_patch();
  return true;
}

void tm_handles_stop(void) {
  uint32_t on = TM_HANDLES_ON;
  atomic_compare_exchange_strong(&tm_handles_state, &on, TM_HANDLES_KEPT);
}

void tm_handles_detach(void) {
  atomic_store(&tm_handles_state, TM_HANDLES_OFF);
  tm_handles_reset();
}

void tm_handles_reset(void) {
  uint32_t guard = tm_self.guard;
  tm_self.guard = 1;
  uint32_t end = atomic_load(&fd_end);
  for (uint32_t fd = 0; fd < end; fd++) atomic_store(&fds[fd].who, 0);
  tm_spin_lock(&pixmaps_lock);
  for (uint32_t i = 0; i < pixmap_room; i++) pixmaps[i].id = 0;
  pixmap_count = 0;
  tm_spin_unlock(&pixmaps_lock);
  atomic_store(&seen, 0);
  tm_self.guard = guard;
}

bool tm_handles_are_on(void) {
  return atomic_load_explicit(&tm_handles_state, memory_order_acquire) == TM_HANDLES_ON;
}

void tm_handles_forked(void) {
  uint32_t off = TM_HANDLES_OFF;
  atomic_compare_exchange_strong(&tm_handles_state, &off, TM_HANDLES_ASLEEP);
}

uint64_t tm_handles_seen(void) {
  return atomic_load(&seen);
}

void tm_handles_lock(void) {
  tm_spin_lock(&pixmaps_lock);
}

void tm_handles_unlock(void) {
  tm_spin_unlock(&pixmaps_lock);
}
