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
  const char *name;           // as the dynamic linker knows it: "malloc"
  void (*replacement)(void);  // cast it back; never called as such
  void *next;                 // where the pointer to the replaced function is kept (void *[1])
  bool is_only_when_attached; // preloaded programs do without it: "dlopen"
} tm_agent_hook;

// All of them; the last row has no name.
extern const tm_agent_hook tm_agent_hooks[];

// Finds the functions that are replaced: next in the order of lookup if this library was preloaded,
// else what the program itself calls. Idempotent; may be called in any state of the program,
// needs no memory but a static one.
void tm_agent_resolve(void);

// True if the names of the table lead to this library already: it was preloaded.
bool tm_agent_is_preloaded(void);

// Makes the agent ready to record and applies options ("mode=sampled,rate=524288"; NULL = what the
// environment's TIDEMARK_AGENT_OPTIONS says). The table's slots are not touched: whoever attaches
// writes them after this has returned true. False: refused, tm_agent_refusal says why.
// Call it from an ordinary thread, not from inside an allocation. Idempotent.
bool tm_agent_attach(const char *options);
const char *tm_agent_refusal(void); // NULL: not refused

// Stops recording and serving; frees nothing. The slots must have been restored before.
void tm_agent_detach(void);

// Called (if set) by the replacement of dlopen after a library came, and by the control verb
// `detach` before anything else. Set by agent_got.c while it is attached.
extern void (*tm_agent_on_dlopen)(void);
extern void (*tm_agent_on_detach)(void);

#endif
