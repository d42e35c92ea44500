// Return address to rule: a cache of what was compiled, and which module's table is compiled from.
// The cache has sets of four; a row is written by whoever holds the lock (who does not get it goes
// without), and is read without one: the key is looked at before and after the value.
#include "agent_cfi.h"
#include "agent_tables.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

// ---- modules ----

// Source: glibc's <dlfcn.h>, since 2.35; spelt out so that an older one can compile this.
typedef struct found_object {
  unsigned long long flags;
  void *begin, *end;
  void *map;
  void *table; // .eh_frame_hdr
  unsigned long long reserved[8];
} found_object;
static int (*find_object)(void *, found_object *);

// Where libc cannot tell without a lock: what the loader's list said last.
enum { MODULES = 512 };
static tm_cfi_module modules[MODULES];
static _Atomic uint32_t module_count;

static int on_module(struct dl_phdr_info *info, size_t size, void *ud) {
  uint32_t *count = ud;
  uintptr_t from = UINTPTR_MAX, to = 0;
  const uint8_t *table = NULL;
  (void)size;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
    uintptr_t begin = info->dlpi_addr + segment->p_vaddr;
    if (segment->p_type == PT_GNU_EH_FRAME)
      table = (const uint8_t *)begin; // NOLINT(performance-no-int-to-ptr): as ELF says
    if (segment->p_type != PT_LOAD) continue;
    if (begin < from) from = begin;
    if (begin + segment->p_memsz > to) to = begin + segment->p_memsz;
  }
  if (!table || (uintptr_t)table < from || (uintptr_t)table >= to || *count == MODULES) return 0;
  modules[(*count)++] =
      (tm_cfi_module){table - ((uintptr_t)table - from), table + (to - (uintptr_t)table), table};
  return 0;
}

static void list_modules(void) {
  uint32_t count = 0;
  atomic_store(&module_count, 0);
  dl_iterate_phdr(on_module, &count);
  atomic_store(&module_count, count);
}

static bool module_of(uintptr_t pc, tm_cfi_module *out) {
  if (find_object) {
    found_object found;
    if (find_object((void *)pc, &found) != 0) // NOLINT(performance-no-int-to-ptr): an address
      return false;
    *out = (tm_cfi_module){found.begin, found.end, found.table};
    return out->table != NULL;
  }
  uint32_t count = atomic_load_explicit(&module_count, memory_order_acquire);
  for (uint32_t i = 0; i < count; i++)
    if (pc >= (uintptr_t)modules[i].begin && pc < (uintptr_t)modules[i].end) {
      *out = modules[i];
      return true;
    }
  return false;
}

// ---- rules ----

enum { SETS = 4096, WAYS = 4 };
static struct {
  _Atomic uint64_t key, value; // key: the address and, above, how often modules went
} rules[SETS][WAYS];
static tm_spin rules_lock;
static _Atomic uint64_t era;

static void learn(uint32_t set, uint64_t key, tm_rule rule) {
  uint64_t value;
  uint32_t way = 0;
  memcpy(&value, &rule, sizeof value);
  if (atomic_exchange_explicit(&rules_lock.is_held, 1, memory_order_acquire)) return;
  while (way < WAYS && atomic_load_explicit(&rules[set][way].key, memory_order_relaxed)) way++;
  if (way == WAYS) way = (uint32_t)(key >> 3) % WAYS;
  atomic_store_explicit(&rules[set][way].key, 0, memory_order_relaxed);
  atomic_thread_fence(memory_order_release);
  atomic_store_explicit(&rules[set][way].value, value, memory_order_relaxed);
  atomic_store_explicit(&rules[set][way].key, key, memory_order_release);
  tm_spin_unlock(&rules_lock);
}

tm_rule tm_cfi_rule(uintptr_t pc) {
  uint64_t key = pc ^ atomic_load_explicit(&era, memory_order_relaxed) << 48;
  uint32_t set = (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 52) % SETS;
  tm_cfi_module module;
  tm_rule rule = {.kind = TM_RULE_NONE};
  for (uint32_t way = 0; way < WAYS; way++) {
    if (atomic_load_explicit(&rules[set][way].key, memory_order_acquire) != key) continue;
    uint64_t value = atomic_load_explicit(&rules[set][way].value, memory_order_acquire);
    if (atomic_load_explicit(&rules[set][way].key, memory_order_relaxed) != key) break;
    memcpy(&rule, &value, sizeof rule);
    return rule;
  }
  if (module_of(pc - 1, &module)) rule = tm_cfi_compile(&module, pc);
  learn(set, key, rule);
  return rule;
}

void tm_cfi_forget(void) {
  atomic_fetch_add(&era, 1);
  if (!find_object) list_modules();
}

void tm_cfi_init(void) {
  void *found = dlsym(RTLD_DEFAULT, "_dl_find_object");
  memcpy(&find_object, &found, sizeof found);
  if (!find_object) list_modules();
}
