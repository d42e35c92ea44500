// Walks the stack of the thread that allocates. Where a module has unwind tables their rules are
// followed (agent_cfi.c); code without any is taken to keep frame pointers, as Go's does: a C
// function that Go called returns into runtime.asmcgocall, which left the goroutine's frame pointer
// in its register, and so the walk goes on over the goroutine's own stack. A goroutine in a C call
// is not moved. Words of the thread's own stack are read as they are; anything else through the
// kernel, which says so if there is nothing.
#include "agent_cfi.h"
#include "agent_tables.h"

#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WINDOW_WORDS = 128, PAGE_BYTES = 4096 };

typedef struct walk {
  uintptr_t pc, sp, fp;
  uintptr_t low, high;   // may be read as it is
  uintptr_t window_from; // what was read through the kernel last
  size_t window_bytes;
  uintptr_t window[WINDOW_WORDS];
  struct tm_memo *memo; // being filled, or NULL
} walk;

// A walk's answer depends on where it begins and on the words that it read. Programs allocate again
// and again from one place: if all those words still are what they were, so is the stack.
enum { MEMO_WORDS = 250 };
typedef struct tm_memo {
  uintptr_t pc, sp, fp;
  uint32_t stack, count; // count 0: nothing is remembered
  uint64_t era;
  struct tm_memo *next; // of the unused ones
  struct {
    const uintptr_t *at;
    uintptr_t is;
  } words[MEMO_WORDS];
} tm_memo;

size_t tm_peek(uintptr_t from, void *to, size_t bytes) {
  struct iovec here = {to, bytes};
  struct iovec there = {(void *)from, bytes}; // NOLINT(performance-no-int-to-ptr): an address
  long got = syscall(SYS_process_vm_readv, (long)tm_agent.pid, &here, 1L, &there, 1L, 0L);
  if (got > 0 || from % PAGE_BYTES + bytes <= PAGE_BYTES) return got > 0 ? (size_t)got : 0;
  here.iov_len = there.iov_len = PAGE_BYTES - from % PAGE_BYTES; // the next page may be missing
  got = syscall(SYS_process_vm_readv, (long)tm_agent.pid, &here, 1L, &there, 1L, 0L);
  return got > 0 ? (size_t)got : 0;
}

static tm_memo *note(tm_memo *m, const uintptr_t *word) {
  if (m->count == MEMO_WORDS) return NULL;
  m->words[m->count].at = word;
  m->words[m->count++].is = *word;
  return m;
}

static TM_ALWAYS_INLINE bool load(walk *w, uintptr_t at, uintptr_t *out) {
  if (at % sizeof *out) return false;
  if (TM_LIKELY(at >= w->low && at < w->high)) {
    const uintptr_t *word = (const uintptr_t *)at; // NOLINT(performance-no-int-to-ptr): an address
    *out = *word;
    if (w->memo) w->memo = note(w->memo, word);
    return true;
  }
  w->memo = NULL; // another stack may go away
  if (at - w->window_from >= w->window_bytes) {
    w->window_from = at;
    w->window_bytes = tm_peek(at, w->window, sizeof w->window) / sizeof *out * sizeof *out;
    if (w->window_bytes == 0) return false;
  }
  *out = w->window[(at - w->window_from) / sizeof *out];
  return true;
}

static void find_stack(uintptr_t sp) {
  tm_agent_map map = {0, 0, false};
  tm_map_find(sp, &map);
  tm_self.stack_low = map.begin;
  tm_self.stack_high = map.end;
}

// ---- the walk ----

static uintptr_t code_of(uintptr_t address) {
#if defined(__aarch64__)
  return address & UINT64_C(0xffffffffffff); // without the signature
#else
  return address;
#endif
}

static bool step_frame_pointer(walk *w) {
  uintptr_t fp, pc;
  if (w->fp < PAGE_BYTES || !load(w, w->fp, &fp) || !load(w, w->fp + sizeof pc, &pc)) return false;
  w->sp = w->fp + 2 * sizeof pc;
  w->pc = code_of(pc);
  w->fp = fp;
  return true;
}

static bool step_rule(walk *w, tm_rule rule) {
  uintptr_t cfa = (rule.kind == TM_RULE_SP ? w->sp : w->fp) + (uintptr_t)(intptr_t)rule.cfa_bytes;
  uintptr_t fp = w->fp, base = w->fp, pc;
  if (rule.kind == TM_RULE_SAVED && !load(w, cfa, &cfa)) return false;
  if (rule.kind != TM_RULE_SAVED) base = cfa;
  if (cfa <= w->sp && cfa >= w->low && cfa < w->high) return false; // stacks are left upwards
  if (!load(w, cfa + (uintptr_t)(intptr_t)rule.ra_words * sizeof pc, &pc)) return false;
  if (rule.fp_words != TM_FP_SAME
      && !load(w, base + (uintptr_t)(intptr_t)rule.fp_words * sizeof fp, &fp))
    return false;
  w->sp = cfa;
  w->pc = code_of(pc);
  w->fp = fp;
  return true;
}

static uint32_t go(walk *w, uintptr_t *out) {
  uint32_t count = 0;
  while (w->pc >= PAGE_BYTES) {
    out[count++] = w->pc;
    if (count == TM_AGENT_FRAMES) break;
    tm_rule rule = tm_cfi_rule(w->pc);
    if (rule.kind == TM_RULE_STOP) break;
    if (!(rule.kind == TM_RULE_NONE ? step_frame_pointer(w) : step_rule(w, rule))) break;
  }
  return count;
}

// ---- the memo ----

static _Atomic uint64_t era; // grows when modules go
static pthread_key_t memo_key;
static bool has_key;
static tm_spin memo_lock;
static tm_memo *unused;

static void give_back(void *memo) {
  tm_memo *m = memo;
  tm_self.guard++;
  tm_self.memo = NULL;
  m->count = 0;
  tm_spin_lock(&memo_lock);
  m->next = unused;
  unused = m;
  tm_spin_unlock(&memo_lock);
  tm_self.guard--;
}

static tm_memo *own_memo(void) {
  if (TM_LIKELY(tm_self.memo != NULL) || !has_key) return tm_self.memo;
  tm_spin_lock(&memo_lock);
  tm_memo *m = unused;
  if (m) unused = m->next;
  tm_spin_unlock(&memo_lock);
  if (!m) m = tm_pages_get(sizeof *m);
  if (m && pthread_setspecific(memo_key, m) == 0) tm_self.memo = m;
  return tm_self.memo;
}

static bool is_still(const tm_memo *m, const walk *w) {
  if (m->pc != w->pc || m->sp != w->sp || m->fp != w->fp || !m->count) return false;
  uint32_t i = 0;
  for (; i + 4 <= m->count; i += 4) { // mostly all are: one branch for four
    uintptr_t other = *m->words[i].at ^ m->words[i].is;
    other |= *m->words[i + 1].at ^ m->words[i + 1].is;
    other |= *m->words[i + 2].at ^ m->words[i + 2].is;
    other |= *m->words[i + 3].at ^ m->words[i + 3].is;
    if (other) return false;
  }
  for (; i < m->count; i++)
    if (*m->words[i].at != m->words[i].is) return false;
  return m->era == atomic_load_explicit(&era, memory_order_relaxed);
}

uint32_t tm_unwind_stack(const void *frame, uint32_t kind, bool is_often) {
  const uintptr_t *words = frame;
  uintptr_t frames[TM_AGENT_FRAMES];
  tm_memo *memo = is_often && kind == TM_AGENT_MALLOC ? own_memo() : NULL;
  walk w;
  w.pc = code_of(words[1]);
  w.sp = (uintptr_t)(words + 2);
  w.fp = words[0];
  if (memo && is_still(memo, &w)) return memo->stack;
  w.window_bytes = w.window_from = 0;
  if (TM_UNLIKELY(w.sp < tm_self.stack_low || w.sp >= tm_self.stack_high)) find_stack(w.sp);
  w.low = w.sp;
  w.high = tm_self.stack_high;
  w.memo = memo;
  if (memo) {
    memo->pc = w.pc;
    memo->sp = w.sp;
    memo->fp = w.fp;
    memo->count = 0;
    memo->era = atomic_load_explicit(&era, memory_order_relaxed);
  }
  uint32_t stack = tm_stack_intern(frames, go(&w, frames), kind);
  if (memo && !w.memo) memo->count = 0; // something else was read, or too much
  if (memo) memo->stack = stack;
  return stack;
}

void tm_unwind_forget(void) {
  atomic_fetch_add(&era, 1);
  tm_cfi_forget();
}

void tm_unwind_init(void) {
  has_key = pthread_key_create(&memo_key, give_back) == 0;
  tm_cfi_init();
}
