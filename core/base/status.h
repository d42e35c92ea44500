// Status codes: what every fallible call answers. The list stands in status.def.
#ifndef TM_BASE_STATUS_H
#define TM_BASE_STATUS_H

typedef enum tm_status {
#define TM_STATUS(constant, number, word, advice) constant = number,
#include "base/status.def"
#undef TM_STATUS
} tm_status;

// The stable word of a status ("permission"), for JSON and Lua; "unknown" for a foreign number.
const char *tm_status_name(tm_status status);

// One sentence that says what the user can do about it; "" when there is nothing to say.
const char *tm_status_advice(tm_status status);

#endif
