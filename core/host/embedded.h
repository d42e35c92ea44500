// The project's own Lua and rule files, as bytes in the binary (cmake/embed.cmake writes the
// table).
#ifndef TM_HOST_EMBEDDED_H
#define TM_HOST_EMBEDDED_H

#include <stddef.h>

typedef struct tm_embedded_file {
  const char *path;        // as in the tree: "lua/tidemark/cli/watch.lua", "rules/pressure.lua"
  const char *start, *end; // text; *end is a NUL
} tm_embedded_file;

extern const tm_embedded_file tm_embedded_files[]; // ends with a row of NULLs

// The row of a path, or NULL.
const tm_embedded_file *tm_embedded_find(const char *path);

#endif
