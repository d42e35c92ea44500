// Standing in front of the allocator of a program that runs already: the slots through which its
// modules call malloc and the others get the replacements, and get the functions back at the end.
// Nothing is remembered: a slot is changed only if it leads where the replacement goes on to (or
// is not bound yet), so what must be put back is known, and modules may come and go meanwhile.
// Slots that lead elsewhere, to an allocator of the program's own, are left alone.
// Source: the ELF specification; _dl_relocate_object and _dl_protect_relro of glibc.
#include "agent_handles.h"
#include "agent_hooks.h"
#include "agent_tables.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__aarch64__)
enum { RELOC_SLOT = R_AARCH64_JUMP_SLOT, RELOC_GLOBAL = R_AARCH64_GLOB_DAT };
enum { RELOC_WORD = R_AARCH64_ABS64 };
#else
enum { RELOC_SLOT = R_X86_64_JUMP_SLOT, RELOC_GLOBAL = R_X86_64_GLOB_DAT };
enum { RELOC_WORD = R_X86_64_64 };
#endif

typedef struct module {
  uintptr_t base, begin, end;         // of its segments
  uintptr_t sealed_begin, sealed_end; // made read-only after it was bound
  const ElfW(Sym) * symbols;
  const char *names;
  const ElfW(Rela) * tables[2]; // of slots, of other words
  size_t counts[2];
} module;

typedef struct change {
  bool is_restoring;
  uint32_t allocator_count; // slots of malloc that lead to us now
  uint32_t changed_count, skipped_count;
} change;

enum { SETTLED_AFTER = 2 }; // looks without a change: a module is listed before it is bound

static _Atomic bool is_patched;
static unsigned long long modules_seen; // dlpi_adds at the last look
static uint32_t looks_left;
static tm_spin change_lock;

// ---- a module ----

static bool holds(const module *m, uintptr_t address) {
  return address >= m->begin && address < m->end;
}

// The loader has made addresses out of the offsets in the table, but not in every module.
static uintptr_t address_of(const module *m, const ElfW(Dyn) * entry) {
  return entry->d_un.d_ptr < m->base ? m->base + entry->d_un.d_ptr : entry->d_un.d_ptr;
}

static void read_dynamic(module *m, const ElfW(Dyn) * entry) {
  size_t sizes[2] = {0, 0}, relative = 0;
  bool has_rela = true;
  for (; entry->d_tag != DT_NULL; entry++) {
    const void *at =
        (const void *)address_of(m, entry); // NOLINT(performance-no-int-to-ptr): as ELF says
    if (entry->d_tag == DT_SYMTAB) m->symbols = at;
    if (entry->d_tag == DT_STRTAB) m->names = at;
    if (entry->d_tag == DT_JMPREL) m->tables[0] = at;
    if (entry->d_tag == DT_RELA) m->tables[1] = at;
    if (entry->d_tag == DT_PLTRELSZ) sizes[0] = entry->d_un.d_val;
    if (entry->d_tag == DT_RELASZ) sizes[1] = entry->d_un.d_val;
    if (entry->d_tag == DT_RELACOUNT) relative = entry->d_un.d_val; // they come first
    if (entry->d_tag == DT_PLTREL) has_rela = entry->d_un.d_val == DT_RELA;
  }
  for (int i = 0; i < 2; i++)
    m->counts[i] = m->tables[i] && has_rela ? sizes[i] / sizeof(ElfW(Rela)) : 0;
  if (relative > m->counts[1]) relative = m->counts[1];
  if (relative) m->tables[1] += relative;
  m->counts[1] -= relative;
}

static bool read_module(const struct dl_phdr_info *info, module *m) {
  const ElfW(Dyn) *dynamic = NULL;
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  *m = (module){.base = info->dlpi_addr, .begin = UINTPTR_MAX};
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *p = &info->dlpi_phdr[i];
    uintptr_t at = m->base + p->p_vaddr;
    if (p->p_type == PT_DYNAMIC)
      dynamic = (const ElfW(Dyn) *)at; // NOLINT(performance-no-int-to-ptr): as ELF says
    if (p->p_type == PT_GNU_RELRO) {
      m->sealed_begin = at & ~(page - 1);
      m->sealed_end = (at + p->p_memsz) & ~(page - 1);
    }
    if (p->p_type != PT_LOAD) continue;
    if (at < m->begin) m->begin = at;
    if (at + p->p_memsz > m->end) m->end = at + p->p_memsz;
  }
  if (!dynamic) return false;
  read_dynamic(m, dynamic);
  return m->symbols && m->names;
}

// ---- its slots ----

static const tm_agent_hook *hook_of(const char *name) {
  const tm_agent_hook *const tables[] = {tm_agent_hooks, tm_descriptor_hooks, tm_pixmap_hooks};
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
    for (const tm_agent_hook *hook = tables[i]; hook->name; hook++)
      if (hook->name[0] == name[0] && strcmp(hook->name, name) == 0) return hook;
  return NULL;
}

static bool is_of_a_slot(const ElfW(Rela) * r) {
  uint32_t type = (uint32_t)ELF64_R_TYPE(r->r_info);
  return (type == RELOC_SLOT || type == RELOC_GLOBAL || type == RELOC_WORD) && r->r_addend == 0
         && ELF64_R_SYM(r->r_info) != 0;
}

// What the slot is to hold instead of what it holds; 0: it stays.
static uintptr_t wanted(const module *m, const ElfW(Rela) * r, uintptr_t is, change *c) {
  const tm_agent_hook *hook = hook_of(m->names + m->symbols[ELF64_R_SYM(r->r_info)].st_name);
  void *next = NULL;
  if (!hook) return 0;
  memcpy(&next, hook->next, sizeof next);
  uintptr_t ours = (uintptr_t)hook->replacement, theirs = (uintptr_t)next;
  bool is_unbound = ELF64_R_TYPE(r->r_info) == RELOC_SLOT && holds(m, is);
  if (!theirs) return 0;
  if (c->is_restoring) return is == ours ? theirs : 0;
  bool is_changed = is == theirs || is_unbound;
  c->allocator_count += (is_changed || is == ours) && strcmp(hook->name, "malloc") == 0;
  return is_changed ? ours : 0;
}

static void protect(const module *m, int protection) {
  syscall(SYS_mprotect, m->sealed_begin, m->sealed_end - m->sealed_begin, protection);
}

// The loader seals a module when it has bound it. One that is not sealed yet is being bound by
// another thread, which still writes there: it is left for the next look.
static bool is_being_bound(const module *m) {
  tm_agent_map map;
  return !tm_map_find(m->sealed_begin, &map) || map.is_writable;
}

// Writes the slots that are (or are not) in the sealed part.
static void change_slots(const module *m, change *c, bool sealed_ones) {
  bool is_open = false;
  for (int t = 0; t < 2; t++)
    for (size_t i = 0; i < m->counts[t]; i++) {
      const ElfW(Rela) *r = &m->tables[t][i];
      uintptr_t at = m->base + r->r_offset;
      _Atomic uintptr_t *slot =
          (_Atomic uintptr_t *)at; // NOLINT(performance-no-int-to-ptr): as ELF says
      if (!is_of_a_slot(r) || (at >= m->sealed_begin && at < m->sealed_end) != sealed_ones)
        continue;
      uintptr_t value = wanted(m, r, atomic_load_explicit(slot, memory_order_relaxed), c);
      if (!value) continue;
      if (sealed_ones && !is_open && is_being_bound(m)) {
        c->skipped_count++;
        return;
      }
      if (sealed_ones && !is_open) protect(m, PROT_READ | PROT_WRITE);
      is_open = sealed_ones;
      atomic_store_explicit(slot, value, memory_order_release);
      c->changed_count++;
    }
  if (is_open) protect(m, PROT_READ);
}

static int change_module(struct dl_phdr_info *info, size_t size, void *ud) {
  change *c = ud;
  module m;
  (void)size;
  modules_seen = info->dlpi_adds;
  if (!read_module(info, &m) || holds(&m, (uintptr_t)&tm_next)) return 0;
  change_slots(&m, c, false);
  if (m.sealed_end > m.sealed_begin) change_slots(&m, c, true);
  return 0;
}

// ---- asked by others ----

static change change_all(bool is_restoring) {
  change c = {.is_restoring = is_restoring};
  uint32_t guard = tm_self.guard;
  tm_self.guard = 1;
  tm_spin_lock(&change_lock);
  dl_iterate_phdr(change_module, &c);
  tm_spin_unlock(&change_lock);
  tm_self.guard = guard;
  return c;
}

bool tm_got_patch(void) {
  change c = change_all(false);
  looks_left = SETTLED_AFTER;
  atomic_store(&is_patched, c.allocator_count > 0);
  return c.allocator_count > 0;
}

void tm_got_restore(void) {
  if (atomic_exchange(&is_patched, false)) change_all(true);
}

static int count_modules(struct dl_phdr_info *info, size_t size, void *ud) {
  unsigned long long *count = ud;
  (void)size;
  *count = info->dlpi_adds;
  return 1;
}

void tm_got_look(void) {
  unsigned long long count = modules_seen;
  if (!atomic_load(&is_patched)) return;
  dl_iterate_phdr(count_modules, &count);
  if (count != modules_seen) {
    looks_left = SETTLED_AFTER;
    tm_handles_look();
  }
  if (!looks_left) return;
  change c = change_all(false);
  looks_left = c.changed_count || c.skipped_count ? SETTLED_AFTER : looks_left - 1;
}

bool tm_got_is_patched(void) {
  return atomic_load(&is_patched);
}
