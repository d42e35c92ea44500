// cmocka, with the headers that it wants to see before itself.
#ifndef TM_SPEC_UNIT_H
#define TM_SPEC_UNIT_H

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#endif
