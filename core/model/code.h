// What a report may ask of native code, without knowing who reads binaries and who disassembles.
// The floor `symbol` answers from files; a host may give its own.
#ifndef TM_MODEL_CODE_H
#define TM_MODEL_CODE_H

#include "base/vec.h"
#include "model/profile.h"

// A function of a binary. Addresses here and below are the binary's own, not those of a process.
typedef struct tm_code_function {
  const char *name, *linkage_name; // readable, and as in the symbol table
  uint64_t begin, end;
} tm_code_function;

// One frame at an address; an address in inlined code has several, innermost first.
typedef struct tm_code_frame {
  const char *function; // linkage name where there is one, else the plain name; "" = unknown
  const char *file;     // "" = unknown
  int64_t line, column, start_line; // 0 = unknown
} tm_code_frame;

typedef struct tm_instruction {
  uint64_t address;
  const char *text;
  const char *function, *file; // of the innermost frame; "" = unknown
  int64_t line;                // 0 = unknown
} tm_instruction;

typedef TM_VEC(tm_instruction) tm_instructions;

typedef tm_status (*tm_code_visit)(tm_ctx *ctx, void *ud, const tm_code_function *function);

// Texts live as long as what ud points to. A mapping whose binary is not here: TM_E_IO from
// functions, false from address.
typedef struct tm_code_source {
  void *ud;
  // Every function of the mapping's binary, in the order of addresses.
  tm_status (*functions)(tm_ctx *ctx, void *ud, uint32_t mapping, tm_code_visit visit,
                         void *visit_ud);
  // The binary's address of a profile's address in the mapping.
  bool (*address)(tm_ctx *ctx, void *ud, uint32_t mapping, uint64_t address, uint64_t *out);
  tm_status (*frames)(tm_ctx *ctx, void *ud, uint32_t mapping, uint64_t address,
                      tm_code_frame *frames, uint32_t room, uint32_t *out_count);
  // Appends the instructions of begin .. end. TM_E_UNSUPPORTED where nothing can disassemble.
  tm_status (*disassemble)(tm_ctx *ctx, void *ud, uint32_t mapping, uint64_t begin, uint64_t end,
                           bool intel_syntax, tm_instructions *out);
} tm_code_source;

#endif
