// Who opened the descriptors and who made the pixmaps that a program holds. Off until somebody asks
// (TM_AGENT_HANDLES_START): until then each hook costs the load of one word.
#ifndef TM_AGENT_HANDLES_H
#define TM_AGENT_HANDLES_H

#include "agent_hooks.h"
#include "agent_impl.h"

// ---- recording (agent_handles.c) ----

enum { TM_FDS = 1 << 20 }; // numbers from there on are not recorded

enum {
  TM_HANDLES_OFF,
  TM_HANDLES_KEPT,   // new ones are not recorded, closed ones are still seen
  TM_HANDLES_ASLEEP, // as off; nobody listens yet, and who opens many should have somebody who does
  TM_HANDLES_ON
};
extern _Atomic uint32_t tm_handles_state;
static inline bool tm_handles_are_asked(void) { // what is opened or made is told the recorder
  return TM_UNLIKELY(atomic_load_explicit(&tm_handles_state, memory_order_relaxed)
                     >= TM_HANDLES_ASLEEP);
}
static inline bool tm_handles_are_known(void) { // and what is closed
  return TM_UNLIKELY(atomic_load_explicit(&tm_handles_state, memory_order_relaxed)
                     != TM_HANDLES_OFF);
}

// The verbs. False: no memory for the tables.
bool tm_handles_start(void);
void tm_handles_stop(void);   // records no new ones; closed ones are still seen
void tm_handles_reset(void);  // forgets all
void tm_handles_detach(void); // sees nothing any more
void tm_handles_forked(void); // in the child
bool tm_handles_are_on(void);
uint64_t tm_handles_seen(void);

// A call that the program made answered a descriptor, or is about to give one back. frame: of the
// hook, see tm_unwind_stack. Both keep errno, and do nothing in a child that shares this memory.
void tm_handle_opened(int fd, const void *frame);
void tm_handle_closing(int fd);
void tm_handle_closing_range(uint32_t first, uint32_t last);

// The same for pixmaps, by the id that the server knows. connection: which goes at once with all of
// them.
void tm_pixmap_made(uint64_t id, const void *connection, uint64_t bytes, const void *frame);
void tm_pixmap_freeing(uint64_t id);
void tm_pixmaps_closing(const void *connection);

void tm_handles_lock(void); // around a fork
void tm_handles_unlock(void);

// ---- listing (agent_handle_list.c) ----

// As the kinds of descriptors of the platform's floor are called, and pixmaps.
enum {
#define TM_HANDLE(id, name, doc) TM_AGENT_HANDLE_##id,
#include "../platform/handles.def"
#undef TM_HANDLE
  TM_AGENT_HANDLE_PIXMAP,
  TM_AGENT_HANDLE_KINDS
};
const char *tm_handle_kind_text(uint32_t kind);

typedef struct tm_handle_row {
  uint64_t number; // of the descriptor, or the id of a pixmap
  uint64_t bytes;  // that only the handle holds; 0: none, or not known
  uint32_t born_ms;
  uint16_t stack, epoch, slot;
  uint8_t kind;
  bool is_seen; // else nobody saw who opened it: stack, epoch, slot and born_ms say nothing
} tm_handle_row;

// All that the program holds now, the agent's own descriptors left out. From the agent's thread.
typedef void tm_handle_each(void *ud, const tm_handle_row *row);
void tm_handles_list(tm_handle_each *each, void *ud);

// What was recorded; false: nothing, or it is of another file than the one that has the number now.
bool tm_handle_record_of(int fd, uint32_t ident, tm_handle_row *out);
uint32_t tm_handle_ident(int fd); // of the open file; 0: there is none
void tm_pixmaps_list(tm_handle_each *each, void *ud);

// ---- hooks (agent_handle_hooks.c, agent_pixmap_hooks.c) ----

// Finds the functions that signal handlers and children call first; the others are looked up when
// they are called for the first time, or by tm_handles_resolve: until then `next` holds NULL.
void tm_handles_begin(void);
// The last row has no name.
extern const tm_agent_hook tm_descriptor_hooks[], tm_pixmap_hooks[];
void tm_handles_resolve(const tm_agent_hook *hooks);
// Of a program that runs already, once handles are recorded: libraries may have come.
void tm_handles_look(void);
// The function that stands behind a hook, into *slot; false: there is none (errno ENOSYS).
bool tm_handle_find(const char *name, void *slot);

#endif
