// Beginning and end: finding the functions that are replaced, memory for who asks before they are
// found, options, and the programs in which the agent does not belong.
#include "agent_handles.h"
#include "agent_hooks.h"
#include "agent_tables.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// ---- early memory ----

_Alignas(64) uint8_t tm_early[TM_AGENT_STATIC_BYTES];
static _Atomic size_t early_used;

void *tm_early_alloc(size_t bytes, size_t alignment) {
  if (alignment < 16) alignment = 16;
  if (bytes > sizeof tm_early || alignment > 4096) return NULL;
  size_t need = sizeof(size_t) + bytes + alignment;
  size_t at = atomic_fetch_add(&early_used, need);
  if (at + need > sizeof tm_early) return NULL;
  uintptr_t block = (uintptr_t)tm_early + at + sizeof(size_t);
  block = (block + alignment - 1) & ~(uintptr_t)(alignment - 1);
  uint8_t *found = tm_early + (block - (uintptr_t)tm_early);
  memcpy(found - sizeof bytes, &bytes, sizeof bytes);
  return found;
}

size_t tm_early_size(const void *block) {
  size_t bytes;
  memcpy(&bytes, (const uint8_t *)block - sizeof bytes, sizeof bytes);
  return bytes;
}

// ---- the replaced functions ----

enum { UNRESOLVED, RESOLVING, RESOLVED };
static _Atomic int resolving;
static bool is_preloaded;

// Names are looked up behind this library if it comes before libc, as the preloaded do. Asking for
// what a name means to the program would not do: one that is linked to fixed addresses says its own
// jump slot, which leads back here.
typedef struct order {
  uint32_t seen, own, libc;
} order;

static bool holds(const struct dl_phdr_info *info, const void *address) {
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *p = &info->dlpi_phdr[i];
    if (p->p_type == PT_LOAD && (uintptr_t)address - info->dlpi_addr - p->p_vaddr < p->p_memsz)
      return true;
  }
  return false;
}

static int on_object(struct dl_phdr_info *info, size_t size, void *ud) {
  order *o = ud;
  (void)size;
  o->seen++;
  if (holds(info, &tm_next)) o->own = o->seen;
  if (holds(info, gnu_get_libc_version())) o->libc = o->seen;
  return 0;
}

// Of who came later: the first library, in the order of lookup, that has the function itself.
void *tm_agent_find_loaded(const char *name) {
  struct link_map *map = NULL;
  void *program = dlopen(NULL, RTLD_LAZY), *found = NULL;
  if (!program || dlinfo(program, RTLD_DI_LINKMAP, &map) != 0) return NULL;
  for (map = map->l_next; map && !found; map = map->l_next) {
    Dl_info info;
    void *library = map->l_name[0] ? dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD) : NULL;
    if (!library) continue;
    found = dlsym(library, name);
    if (found && (!dladdr(found, &info) || (uintptr_t)info.dli_fbase != map->l_addr)) found = NULL;
    dlclose(library);
  }
  dlclose(program);
  return found;
}

void *tm_agent_find_next(const char *name) {
  return is_preloaded ? dlsym(RTLD_NEXT, name) : tm_agent_find_loaded(name);
}

bool tm_agent_is_preloaded(void) {
  static _Atomic bool is_known;
  order o = {0, 0, 0};
  if (atomic_load(&is_known)) return is_preloaded;
  dl_iterate_phdr(on_object, &o);
  is_preloaded = o.own < o.libc;
  atomic_store(&is_known, true);
  return is_preloaded;
}

void tm_agent_resolve(void) {
  int state = UNRESOLVED;
  if (!atomic_compare_exchange_strong(&resolving, &state, RESOLVING)) return;
  tm_agent_is_preloaded();
  for (const tm_agent_hook *hook = tm_agent_hooks; hook->name; hook++) {
    void *found = tm_agent_find_next(hook->name);
    void (*own)(void) = hook->replacement;
    if (found && memcmp(&found, &own, sizeof found) != 0) memcpy(hook->next, &found, sizeof found);
  }
  atomic_store(&resolving, RESOLVED);
}

// Does the program's malloc lead here? Its own allocator may be linked into it.
static bool is_in_front(void) {
  void *(*ask)(size_t);
  void *found = dlsym(RTLD_DEFAULT, "malloc");
  int64_t before = tm_self.left_bytes;
  memcpy(&ask, &found, sizeof ask);
  void *block = ask ? ask(16) : NULL;
  bool is_here = tm_self.left_bytes != before;
  if (is_here) tm_next.free(block); // else it is not ours to free
  return is_here;
}

// ---- options ----

typedef struct options {
  uint32_t mode;
  uint64_t rate_bytes, min_size_bytes;
  bool is_for_this_only; // children do without
  bool has_handles;      // recorded from the beginning
  char exit_path[108];
} options;

static uint64_t number_of(const char *text) {
  uint64_t value = 0;
  for (; *text >= '0' && *text <= '9'; text++) value = value * 10 + (uint64_t)(*text - '0');
  return value;
}

static bool is_word(const char *text, const char *word) {
  return strncmp(text, word, strlen(word)) == 0;
}

static void parse(const char *text, options *out) {
  while (text && *text) {
    if (is_word(text, "mode=idle")) out->mode = TM_AGENT_IDLE;
    if (is_word(text, "mode=full")) out->mode = TM_AGENT_FULL;
    if (is_word(text, "mode=sampled")) out->mode = TM_AGENT_SAMPLED;
    if (is_word(text, "rate=")) out->rate_bytes = number_of(text + 5);
    if (is_word(text, "min=")) out->min_size_bytes = number_of(text + 4);
    if (is_word(text, "children=drop")) out->is_for_this_only = true;
    if (is_word(text, "handles=on")) out->has_handles = true;
    if (is_word(text, "exit=")) { // the last one: a path may hold commas
      snprintf(out->exit_path, sizeof out->exit_path, "%s", text + 5);
      return;
    }
    text = strchr(text, ',');
    if (text) text++;
  }
}

// Takes this library out of LD_PRELOAD, in place.
static void leave_the_environment(void) {
  char *list = getenv("LD_PRELOAD"), *at = list ? strstr(list, "libtidemark-malloc.so") : NULL;
  if (!at) return;
  char *end = at + strcspn(at, ": ");
  while (at > list && at[-1] != ':' && at[-1] != ' ') at--;
  if (*end) end++;
  memmove(at, end, strlen(end) + 1);
}

// ---- beginning ----

static const char *refusal;
static bool is_attached;

// Sanitizers and valgrind have their own allocator and know more about each block than we do.
static const char *who_is_here(void) {
  static const struct {
    const char *symbol, *why;
  } others[] = {
      {"__asan_init", "the program is built with AddressSanitizer, which has its own allocator"},
      {"__tsan_init", "the program is built with ThreadSanitizer, which has its own allocator"},
      {"__msan_init", "the program is built with MemorySanitizer, which has its own allocator"},
      {"__hwasan_init", "the program is built with HWASan, which has its own allocator"},
      {"__lsan_do_leak_check", "the program is built with LeakSanitizer"}};
  const char *preload = getenv("LD_PRELOAD");
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (dlsym(RTLD_DEFAULT, others[i].symbol)) return others[i].why;
  if (preload && strstr(preload, "vgpreload"))
    return "the program runs under valgrind, which has its own allocator";
  return NULL;
}

bool tm_agent_attach(const char *text) {
  options o = {.mode = TM_AGENT_SAMPLED, .rate_bytes = TM_AGENT_RATE_BYTES};
  uint32_t guard = tm_self.guard;
  tm_agent_resolve();
  tm_self.guard = 1;
  parse(text ? text : getenv("TIDEMARK_AGENT_OPTIONS"), &o);
  if (!is_attached) {
    tm_agent.pid = syscall(SYS_getpid);
    tm_unwind_init();
    refusal = who_is_here();
    if (!refusal && !tm_stacks_init()) refusal = "no memory for the tables";
    tm_live_init();
    if (!refusal) tm_fork_init();
    if (tm_agent_is_preloaded()) tm_agent_begin_to_know();
  }
  if (o.exit_path[0]) tm_control_set_exit(o.exit_path);
  is_attached = !refusal;
  if (!refusal) tm_agent_configure(o.mode, o.rate_bytes, o.min_size_bytes);
  if (!refusal && o.has_handles) tm_handles_start();
  if (o.is_for_this_only) leave_the_environment();
  tm_self.guard = guard;
  return !refusal;
}

const char *tm_agent_refusal(void) {
  return refusal;
}

static const char *const own_allocator =
    "the program has an allocator of its own linked into it, which cannot be stood before";

static char start_options[256];
static _Atomic bool is_to_start;

void tm_agent_stand_in_front(void) {
  if (!atomic_exchange(&is_to_start, false)) return;
  if (refusal == own_allocator) refusal = NULL; // libraries may have come
  if (!tm_agent_attach(start_options) || tm_agent_is_preloaded() || tm_got_patch()) return;
  refusal = own_allocator;
  tm_agent_pause();
}

void tm_agent_detach(void) {
  tm_got_restore();
  tm_handles_detach();
  tm_agent_pause();
  tm_control_stop();
}

__attribute__((constructor)) static void begin(void) {
  options o = {0};
  if (!tm_agent_is_preloaded()) return;
  tm_handles_begin();
  if (is_in_front()) {
    tm_agent_attach(NULL);
    return;
  }
  refusal = own_allocator;
  tm_agent.pid = syscall(SYS_getpid);
  parse(getenv("TIDEMARK_AGENT_OPTIONS"), &o);
  tm_control_set_exit(o.exit_path);
}

// Programs that leave by exit(); the others are asked in time.
__attribute__((destructor)) static void end(void) {
  if ((is_attached || refusal) && tm_agent.pid == syscall(SYS_getpid)) tm_control_say_last();
}

// For who brings this library into a running program; preloaded ones are started anew after a
// detach. Returns at once, because the program may be standing still for it: all is done by the
// agent's thread, and how it went is what that answers to `hello`.
TM_EXPORT int tidemark_agent_start(const char *text);
int tidemark_agent_start(const char *text) {
  if (atomic_load(&is_to_start)) return -1; // by another, a moment ago
  snprintf(start_options, sizeof start_options, "%s", text ? text : "");
  tm_agent.pid = syscall(SYS_getpid);
  atomic_store(&is_to_start, true);
  tm_control_begin_again();
  return 0;
}
