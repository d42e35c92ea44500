// What weblist shows, gathered: instructions with their figures, and which source line each belongs
// to. The inside of the verb; report_weblist.c prints it.
#ifndef TM_ANALYZE_WEBLIST_H
#define TM_ANALYZE_WEBLIST_H

#include "analyze/report_impl.h"
#include "analyze/sources.h"

typedef struct weblist_instruction {
  uint64_t address, end; // of the binary, or of the profile when there is no binary
  const char *text;      // "" without a binary
  uint32_t mapping;      // TM_PROFILE_NONE without a binary
  int64_t flat, cum;
} weblist_instruction;

// An instruction under a source line; an inlined one stands under each caller that matches.
typedef struct weblist_entry {
  const char *file, *function;
  int64_t line;
  uint32_t instruction;
  const char *calls; // what is inlined here: "b.go:7 c.go:9", "" = nothing
} weblist_entry;

// A wanted address of the profile with its figures.
typedef struct weblist_place {
  uint64_t address, local; // of the profile; of the binary
  uint32_t location;
  int64_t flat, cum;
  bool wanted, has_code;
} weblist_place;

typedef struct weblist {
  report *r;
  tm_arena arena;
  tm_idmap by_address; // -> places
  TM_VEC(weblist_place) places;
  uint8_t *interest; // per string id of the view
  size_t interest_room;
  TM_VEC(weblist_instruction) instructions;
  TM_VEC(weblist_entry) entries; // by file, line, address
  tm_sources sources;
} weblist;

// Fills all but sources. TM_E_ARG when nothing matches.
TM_NODISCARD tm_status weblist_gather(weblist *w);
// The instructions of the functions that hold wanted places, where binaries are at hand.
TM_NODISCARD tm_status weblist_disassemble(weblist *w);
TM_NODISCARD tm_status weblist_add_frames(weblist *w, uint32_t instruction,
                                          const tm_code_frame *frames, uint32_t count);

#endif
