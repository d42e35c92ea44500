// The lines "0xADDRESS function (file:line)" behind Java's legacy profiles. For readers only.
#ifndef TM_READ_JAVA_NAMES_H
#define TM_READ_JAVA_NAMES_H

#include "read/legacy.h"

// Names the locations by the lines that follow and takes all addresses away: those of a JIT say
// nothing outside of its process.
TM_NODISCARD tm_status tm_java_read_names(tm_legacy *lg);

#endif
