// Globs for names, labels and capabilities.
#ifndef TM_BASE_GLOB_H
#define TM_BASE_GLOB_H

#include <stdbool.h>

// Whether text matches pattern wholly: '*' stands for any run of bytes, '?' for any one byte. Case
// counts. Cost: |pattern| x |text| at the very worst.
bool tm_glob(const char *pattern, const char *text);

#endif
