// A native program or library on disk: which code is at an address. Answers from DWARF when the
// file, or its separate debug file, has it, else from the symbol table. Read through libelf and
// libdw; without them (TM_HAVE_DW unset) every open says TM_E_UNSUPPORTED.
#ifndef TM_SYMBOL_BINARY_H
#define TM_SYMBOL_BINARY_H

#include "model/code.h"

typedef struct tm_binary tm_binary;

typedef struct tm_code_symbol {
  const char *name; // as in the file; lives as long as the binary
  uint64_t address, size;
} tm_code_symbol;

// Opens an ELF file. TM_E_IO, TM_E_FORMAT for what is no ELF file or is damaged. Free with
// tm_binary_free. One thread at a time.
TM_NODISCARD tm_status tm_binary_open(tm_ctx *ctx, const char *path, tm_binary **out);
// The same over bytes that the caller keeps, and must allow to be changed, until tm_binary_free.
TM_NODISCARD tm_status tm_binary_from_buffer(tm_ctx *ctx, void *data, size_t size, tm_binary **out);
void tm_binary_free(tm_binary *binary);

// Takes line information and symbols from debug (itself without one), owned from now on.
void tm_binary_set_debug(tm_binary *binary, tm_binary *debug);
const char *tm_binary_path(const tm_binary *binary);
const char *tm_binary_build_id(const tm_binary *binary);   // hexadecimal, "" = none
const char *tm_binary_debug_link(const tm_binary *binary); // .gnu_debuglink, "" = none

// Whether code and data of both lie at the same places: of a program and a stripped copy they do,
// of two builds hardly ever.
bool tm_binary_same_places(const tm_binary *a, const tm_binary *b);

// The file's own address of a profile's address within a mapping; false outside of its code.
// Source: ELF program headers; a mapping maps file bytes, a segment says where those were linked.
bool tm_binary_address(const tm_binary *binary, const tm_mapping *mapping, uint64_t address,
                       uint64_t *out);

// The functions of the symbol tables, sorted by address.
const tm_code_symbol *tm_binary_symbols(const tm_binary *binary, size_t *out_count);
// The function that holds the (file's own) address, or NULL.
const tm_code_symbol *tm_binary_symbol_at(const tm_binary *binary, uint64_t address);

// The frames at a file's own address: at most room; count 0 = nothing known. Texts live as long as
// the binary.
TM_NODISCARD tm_status tm_binary_frames(tm_ctx *ctx, tm_binary *binary, uint64_t address,
                                        tm_code_frame *frames, uint32_t room, uint32_t *out_count);

#endif
