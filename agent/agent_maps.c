// Mappings of 128 KiB and more, all of them, and libraries that go. The allocator's own mappings do
// not come by here: it calls the kernel itself.
#include "agent_hooks.h"
#include "agent_images.h"
#include "agent_tables.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HERE __builtin_frame_address(0)

// Reserved address space and mapped files are not memory that somebody asked for.
static bool is_memory(size_t bytes, int protection, int flags) {
  return bytes >= TM_AGENT_BIG_BYTES && protection & PROT_WRITE && flags & MAP_ANONYMOUS;
}

// What lies in [at, at + bytes) is no more; a mapping that is only cut short is kept with the rest.
static void cut(void *at, size_t bytes, bool is_gone) {
  tm_agent_live row;
  if (!is_gone || !at || !tm_agent_forget(at, &row)) return;
  if (row.bytes <= bytes || row.kind != TM_AGENT_MMAP) return;
  row.block += bytes;
  row.bytes -= bytes;
  tm_agent_put_back(&row);
}

void *tm_hook_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
  void *made;
  if (tm_next.mmap)
    made = tm_next.mmap(at, bytes, protection, flags, fd, offset);
  else
    made = (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd,
                           offset); // NOLINT(performance-no-int-to-ptr): what the kernel answers
  if (made == MAP_FAILED || !is_memory(bytes, protection, flags)) return made;
  if (flags & MAP_FIXED) cut(made, bytes, true);
  tm_agent_record_whole(made, bytes, TM_AGENT_MMAP, HERE);
  return made;
}

int tm_hook_munmap(void *at, size_t bytes) {
  // Before it is done: somebody else may get the place at once.
  if (bytes >= 4096)
    cut(at, bytes, atomic_load_explicit(&tm_counters.has_maps, memory_order_relaxed));
  return tm_next.munmap ? tm_next.munmap(at, bytes) : (int)syscall(SYS_munmap, at, bytes);
}

void *tm_hook_mremap(void *old, size_t old_bytes, size_t new_bytes, int flags, ...) {
  void *to = NULL, *made;
  tm_agent_live row;
  if (flags & MREMAP_FIXED) {
    va_list rest;
    va_start(rest, flags);
    to = va_arg(rest, void *);
    va_end(rest);
  }
  bool may_be = atomic_load_explicit(&tm_counters.has_maps, memory_order_relaxed);
  bool is_known = old_bytes && may_be && tm_agent_forget(old, &row);
  if (tm_next.mremap)
    made = tm_next.mremap(old, old_bytes, new_bytes, flags, to);
  else
    made = (void *)syscall(SYS_mremap, old, old_bytes, new_bytes, flags,
                           to); // NOLINT(performance-no-int-to-ptr): what the kernel answers
  if (!is_known) return made;
  if (made == MAP_FAILED)
    tm_agent_put_back(&row);
  else if (new_bytes >= TM_AGENT_BIG_BYTES)
    tm_agent_record_whole(made, new_bytes, TM_AGENT_MMAP, HERE);
  return made;
}

int tm_hook_dlclose(void *library) {
  if (tm_stack_number_end() > 1 && !tm_self.guard) { // stacks may lead through what goes
    tm_self.guard = 1;
    tm_images_update();
    tm_self.guard = 0;
  }
  int problem = tm_next.dlclose(library);
  tm_unwind_forget();
  return problem;
}

#define ALIAS(name) TM_EXPORT __attribute__((alias("tm_hook_" #name)))
ALIAS(mmap) void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
ALIAS(mmap) void *mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
ALIAS(munmap) int munmap(void *at, size_t bytes);
ALIAS(mremap) void *mremap(void *old, size_t old_bytes, size_t new_bytes, int flags, ...);
ALIAS(dlclose) int dlclose(void *library);
