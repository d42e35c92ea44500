// The names of a binary's variables: which global an address belongs to. Only when asked for, since
// code needs none of it.
#ifndef TM_SYMBOL_DATA_SYMBOLS_H
#define TM_SYMBOL_DATA_SYMBOLS_H

#include "base/ctx.h"

typedef struct tm_data_symbols tm_data_symbols;

// Reads the symbol tables of an ELF file. TM_E_IO, TM_E_FORMAT, TM_E_NOMEM; TM_E_UNSUPPORTED in a
// build without libelf. A stripped file has only what it exports. Free with tm_data_symbols_free.
TM_NODISCARD tm_status tm_data_symbols_open(tm_ctx *ctx, const char *path, tm_data_symbols **out);
void tm_data_symbols_free(tm_data_symbols *symbols);

// Where the file's first byte would be, by its segments: what its lowest mapping's address has to
// be lowered by to be the file's load bias.
uint64_t tm_data_symbols_base(const tm_data_symbols *symbols);
// Behind its last byte in memory, .bss included: the file's own address.
uint64_t tm_data_symbols_end(const tm_data_symbols *symbols);

// The variable at the file's own address, or NULL; *out_offset: how far into it. The name lives as
// long as the symbols.
const char *tm_data_symbols_at(const tm_data_symbols *symbols, uint64_t address,
                               uint64_t *out_offset);

#endif
