// How to get from one frame to its caller's, by return address.
#ifndef TM_AGENT_CFI_H
#define TM_AGENT_CFI_H

#include <stdbool.h>
#include <stdint.h>

enum {
  TM_RULE_STOP = 1, // the outermost frame, or one that a rule cannot say
  TM_RULE_NONE,     // no unwind table covers it (Go, JIT code): it keeps frame pointers, or nothing
  TM_RULE_SP,       // the caller's sp is sp + cfa_bytes
  TM_RULE_FP,       // it is fp + cfa_bytes
  TM_RULE_SAVED     // it is stored at fp + cfa_bytes (realigned stacks); fp at fp + fp_words
};
#define TM_FP_SAME INT16_MIN // the function does not touch the frame pointer

typedef struct tm_rule {
  int32_t cfa_bytes;
  int16_t fp_words; // where the caller's frame pointer is, from its sp, in words
  int8_t ra_words;  // and the return address
  uint8_t kind;
} tm_rule;
_Static_assert(sizeof(tm_rule) == sizeof(uint64_t), "kept as one word");

// The rule for code that a call at pc - 1 left. Lock-free once it was learnt.
tm_rule tm_cfi_rule(uintptr_t pc);
void tm_cfi_init(void);
// Modules came or went. From an ordinary context: it may walk the loader's list.
void tm_cfi_forget(void);

// A module in memory: all of its bytes, and its .eh_frame_hdr.
typedef struct tm_cfi_module {
  const uint8_t *begin, *end, *table;
} tm_cfi_module;

// One function's program run up to an address. Tables may be damaged: nothing outside of the module
// is looked at. Source: DWARF 4, section 6.4; the Linux Standard Base, .eh_frame.
tm_rule tm_cfi_compile(const tm_cfi_module *module, uintptr_t pc);

#endif
