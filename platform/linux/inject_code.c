// What a thread is made to run, and the words beside it: tries whether it can allocate, loads the
// library, calls its entry, waits for us, and goes back by sigreturn when we do not come: with the
// registers of all kinds, the signal mask and the policy of scheduling that it had.
// Source: sigreturn(2); arch/x86/kernel/{signal,fpu/signal}.c for the frame.
#include "inject.h"

#if defined(__x86_64__)

#include <stdio.h>
#include <string.h>

_Static_assert(offsetof(tm_inject_words, frame) == 80 && offsetof(tm_inject_words, step) == 88
                   && offsetof(tm_inject_words, go) == 120
                   && offsetof(tm_inject_words, pause_us) == 136
                   && offsetof(tm_inject_words, has_hurry) == 144
                   && offsetof(tm_inject_words, data_bytes) == 160,
               "the code knows the places");

extern const uint8_t tm_inject_code[], tm_inject_code_end[];
__asm__(
    ".pushsection .rodata\n"
    ".globl tm_inject_code, tm_inject_code_end\n"
    ".hidden tm_inject_code, tm_inject_code_end\n"
    "tm_inject_code:\n"
    "  mov $10, %eax\n" // mprotect: what is not code is for writing, never both
    "  mov 152(%rbx), %rdi\n"
    "  mov 160(%rbx), %rsi\n"
    "  mov $3, %edx\n"
    "  syscall\n"
    "  test %rax, %rax\n"
    "  jnz 7f\n"
    "  cld\n"
    "  xor %r12d, %r12d\n"
    "  call *0(%rbx)\n" // errno is kept
    "  mov %rax, %r12\n"
    "  mov (%rax), %r13d\n"
    "  movq $1, 88(%rbx)\n"
    "  mov $200000, %edi\n" // more than any cache of the thread's own: takes the lock
    "  call *8(%rbx)\n"
    "  mov %rax, %rdi\n"
    "  call *16(%rbx)\n"
    "  movq $2, 88(%rbx)\n"
    "  cmpq $0, 48(%rbx)\n" // it is there already
    "  jne 1f\n"
    "  mov 56(%rbx), %rdi\n"
    "  mov $2, %esi\n" // RTLD_NOW
    "  call *24(%rbx)\n"
    "  mov %rax, 96(%rbx)\n"
    "  test %rax, %rax\n"
    "  jz 2f\n"
    "  mov %rax, %rdi\n"
    "  mov 64(%rbx), %rsi\n"
    "  call *32(%rbx)\n"
    "  mov %rax, 48(%rbx)\n"
    "  test %rax, %rax\n"
    "  jz 2f\n"
    "1:\n"
    "  movq $3, 88(%rbx)\n"
    "  mov 72(%rbx), %rdi\n"
    "  call *48(%rbx)\n"
    "  movslq %eax, %rax\n"
    "  mov %rax, 104(%rbx)\n"
    "  jmp 3f\n"
    "2:\n"
    "  call *40(%rbx)\n"
    "  mov %rax, 112(%rbx)\n"
    "3:\n"
    "  mov %r13d, (%r12)\n"
    "  movq $4, 88(%rbx)\n"
    "  mov $1000, %r14d\n"
    "4:\n" // select leaves the kernel's note of an interrupted wait alone, as nanosleep does not
    "  cmpq $0, 120(%rbx)\n"
    "  jne 5f\n"
    "  movq $0, 128(%rbx)\n"
    "  movq $1000, 136(%rbx)\n"
    "  xor %edi, %edi\n"
    "  xor %esi, %esi\n"
    "  xor %edx, %edx\n"
    "  xor %r10d, %r10d\n"
    "  lea 128(%rbx), %r8\n"
    "  mov $23, %eax\n"
    "  syscall\n"
    "  dec %r14d\n"
    "  jnz 4b\n"
    "5:\n"
    "  cmpq $0, 144(%rbx)\n" // it was made to go first
    "  je 6f\n"
    "  movq $0, 128(%rbx)\n"
    "  lea 128(%rbx), %rdx\n"
    "  xor %edi, %edi\n"
    "  mov $0x40000000, %esi\n" // SCHED_OTHER | SCHED_RESET_ON_FORK
    "  mov $144, %eax\n"        // sched_setscheduler
    "  syscall\n"
    "6:\n"
    "  mov 80(%rbx), %rsp\n"
    "  mov $15, %eax\n" // rt_sigreturn
    "  syscall\n"
    "7:\n"
    "  ud2\n"
    "tm_inject_code_end:\n"
    ".popsection\n");

// What the kernel reads at sigreturn, behind the return address.
typedef struct frame {
  uint64_t flags, link;
  uint64_t stack[3]; // the alternate one; a size of 0 leaves it as it is
  uint64_t regs[16]; // r8 .. r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp
  uint64_t rip, eflags;
  uint16_t cs, gs, fs, ss;
  uint64_t err, trap, old_mask, cr2, state, reserved[8];
  uint64_t mask;
} frame;

// ---- the image ----

// Where things are in it.
enum {
  AT_WORDS = 0,
  AT_TEXTS = 256,
  AT_FRAME = AT_TEXTS + 3 * TM_INJECT_TEXT_BYTES,
  AT_STATE = 5120
};
_Static_assert(AT_FRAME + sizeof(frame) <= AT_STATE && AT_STATE % 64 == 0
                   && AT_STATE + TM_INJECT_STATE_BYTES + 4 <= TM_INJECT_IMAGE_BYTES,
               "they do not overlap");

// What the kernel wants to find in the vector registers of a frame, at FX_NOTE.
typedef struct fx_note {
  uint32_t magic, extended_bytes;
  uint64_t features;
  uint32_t bytes, padding[7];
} fx_note;
enum { FX_NOTE = 464, FX_BYTES = 512, NO_TILES_BYTES = 2696 };

// The debugger's view of the vector registers as that of a frame. Tiles are left out: a frame may
// be larger than the kernel allows to who never asked for them.
static bool fill_state(const tm_inject_thread *t, uint8_t *image) {
  static const uint64_t tiles = UINT64_C(3) << 17;
  static const uint32_t end_magic = 0x46505845;
  fx_note note = {.magic = 0x46505853, .bytes = (uint32_t)t->state_bytes};
  if (t->state_bytes <= FX_BYTES) return false;
  memcpy(&note.features, t->state + FX_NOTE, sizeof note.features);
  if (note.features & tiles && note.bytes > NO_TILES_BYTES) note.bytes = NO_TILES_BYTES;
  note.features &= ~tiles;
  note.extended_bytes = note.bytes + (uint32_t)sizeof end_magic;
  uint8_t *at = image + AT_STATE;
  memcpy(at, t->state, note.bytes);
  memcpy(at + FX_NOTE, &note, sizeof note);
  memcpy(at + note.bytes, &end_magic, sizeof end_magic);
  return true;
}

static void fill_frame(const tm_inject_thread *t, uint64_t state_at, frame *f) {
  const struct user_regs_struct *r = &t->regs;
  bool is_again = tm_inject_waited(r);
  *f =
      (frame){.flags = 2 | 4, // the stack segment stands in the frame
              .regs = {r->r8, r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15, r->rdi, r->rsi,
                       r->rbp, r->rbx, r->rdx, is_again ? r->orig_rax : r->rax, r->rcx, r->rsp},
              .rip = is_again ? r->rip - 2 : r->rip,
              .eflags = r->eflags,
              .cs = (uint16_t)r->cs,
              .ss = (uint16_t)r->ss,
              .mask = t->mask,
              .state = state_at};
  if (state_at) f->flags |= 1;
}

void tm_inject_fill(const tm_inject_thread *t, const tm_inject_place *place, const char *library,
                    const tm_inject *options, uint8_t image[TM_INJECT_IMAGE_BYTES]) {
  const tm_inject_calls *c = &t->plan->calls;
  const char *const texts[] = {library, options->entry, options->argument};
  uint64_t texts_at = place->image + AT_TEXTS;
  tm_inject_words w = {.errno_location = c->errno_location,
                       .malloc = c->malloc,
                       .free = c->free,
                       .dlopen = c->dlopen,
                       .dlsym = c->dlsym,
                       .dlerror = c->dlerror,
                       .entry = c->entry,
                       .path = texts_at,
                       .symbol = texts_at + TM_INJECT_TEXT_BYTES,
                       .argument = texts_at + 2 * (uint64_t)TM_INJECT_TEXT_BYTES,
                       .frame = place->image + AT_FRAME,
                       .has_hurry = t->turns.size != 0,
                       .data_at = place->data,
                       .data_bytes = place->image + TM_INJECT_IMAGE_BYTES - place->data};
  frame f;
  memset(image, 0, TM_INJECT_IMAGE_BYTES);
  fill_frame(t, fill_state(t, image) ? place->image + AT_STATE : 0, &f);
  memcpy(image + AT_WORDS, &w, sizeof w);
  for (size_t i = 0; i < TM_COUNT(texts); i++)
    snprintf((char *)image + AT_TEXTS + i * TM_INJECT_TEXT_BYTES, TM_INJECT_TEXT_BYTES, "%s",
             texts[i]);
  memcpy(image + AT_FRAME, &f, sizeof f);
}

const void *tm_inject_code_of(size_t *out_bytes) {
  *out_bytes = (size_t)(tm_inject_code_end - tm_inject_code);
  return tm_inject_code;
}

#endif
