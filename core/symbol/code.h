// The native code under a profile: its mappings' binaries, opened when a report first asks.
#ifndef TM_SYMBOL_CODE_H
#define TM_SYMBOL_CODE_H

#include "model/code.h"

typedef struct tm_code tm_code;

// Borrows the profile. binary_path and main_binary as in tm_symbolize_options (copied). Free with
// tm_code_free.
TM_NODISCARD tm_status tm_code_new(tm_ctx *ctx, const tm_profile *profile, const char *binary_path,
                                   const char *main_binary, tm_code **out);
void tm_code_free(tm_code *code);

// What reports take as options.code. Disassembles with objdump. Lives as long as code.
const tm_code_source *tm_code_as_source(const tm_code *code);

#endif
