// What the malloc agent stands in front of, and how it is put there. Two ways: the loader binds the
// names to this library because it was preloaded, or somebody (the injector and agent_got.c) writes
// the replacements into the slots of a program that runs already.
#ifndef TM_AGENT_HOOKS_H
#define TM_AGENT_HOOKS_H

#include <stdbool.h>
#include <stddef.h>

// One function in whose place another is called. `replacement` has the replaced function's
// signature. It is this library's own code, whatever the name resolves to elsewhere.
typedef struct tm_agent_hook {
  const char *name;          // as the dynamic linker knows it: "malloc"
  void (*replacement)(void); // cast it back; never called as such
  void *next;                // where the pointer to the replaced function is kept (void *[1])
} tm_agent_hook;

// All of them; the last row has no name.
extern const tm_agent_hook tm_agent_hooks[];

// Finds the functions that are replaced: next in the order of lookup if this library was preloaded,
// else what the program itself calls. Idempotent; may be called in any state of the program,
// needs no memory but a static one.
void tm_agent_resolve(void);

// The function that a name means behind this library: next in the order of lookup if it was
// preloaded, else what a library of the program defines. NULL: there is none.
void *tm_agent_find_next(const char *name);
// The first one that a loaded library defines itself, however it was loaded.
void *tm_agent_find_loaded(const char *name);

// True if the names of the table lead to this library already: it was preloaded.
bool tm_agent_is_preloaded(void);

// Makes the agent ready to record and applies options ("mode=sampled,rate=524288"; NULL = what the
// environment's TIDEMARK_AGENT_OPTIONS says). No slots are touched: tm_got_patch does. False:
// refused, tm_agent_refusal says why. Call it from an ordinary thread, not from inside an
// allocation. Idempotent.
bool tm_agent_attach(const char *options);
const char *tm_agent_refusal(void); // NULL: not refused
// What the agent's thread does first and now and then: attaches if somebody asked for it from
// outside, and writes the slots if nobody preloaded this library.
void tm_agent_stand_in_front(void);

// Restores the slots, stops recording and serving; frees nothing, for a thread may be in here.
void tm_agent_detach(void);

// ---- programs that run already (agent_got.c) ----

// Puts the replacements into the slots of all modules. False: nobody's malloc leads here, because
// the program has an allocator of its own. Not for malloc's path.
bool tm_got_patch(void);
// Puts the functions back. Who kept the address of a replacement goes on calling it.
void tm_got_restore(void);
// Does it for libraries that came meanwhile; cheap when there are none.
void tm_got_look(void);
bool tm_got_is_patched(void);

#endif
