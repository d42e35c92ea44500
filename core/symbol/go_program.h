// Finds the table of functions in a Go program's file.
#ifndef TM_SYMBOL_GO_PROGRAM_H
#define TM_SYMBOL_GO_PROGRAM_H

#include "symbol/go_pclntab.h"

// elf is a libelf descriptor, whose data the table then points to. False: it is no Go program, or
// of a version that is not known.
bool tm_go_program_table(void *elf, tm_go_pclntab *out);

#endif
