// Looks a file up in the embedded table; some fifty rows, so a walk will do.
#include "host/embedded.h"

#include <string.h>

const tm_embedded_file *tm_embedded_find(const char *path) {
  for (const tm_embedded_file *file = tm_embedded_files; file->path; file++)
    if (strcmp(file->path, path) == 0) return file;
  return NULL;
}
