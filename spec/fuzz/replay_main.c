// Runs a fuzz target over every file of the folders (or files) named as arguments, and over nothing
// at all: what builds without libFuzzer do with the seed corpus.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path) {
  FILE *f = fopen(path, "rb");
  uint8_t *bytes = NULL;
  size_t size = 0, n;
  if (!f) return 1;
  do { // grown to the exact size, so that ASan sees one byte too far
    uint8_t *more = realloc(bytes, size + 65536);
    if (!more) break;
    bytes = more;
    n = fread(bytes + size, 1, 65536, f);
    size += n;
  } while (n == 65536);
  fclose(f);
  uint8_t *exact = malloc(size ? size : 1);
  if (!bytes || !exact) return 1;
  memcpy(exact, bytes, size);
  LLVMFuzzerTestOneInput(exact, size);
  free(exact);
  free(bytes);
  return 0;
}

static int run_folder(const char *path, int *count) {
  DIR *folder = opendir(path);
  if (!folder) {
    (*count)++;
    return run_file(path);
  }
  int failed = 0;
  for (struct dirent *entry; (entry = readdir(folder));) {
    char file[4096];
    if (entry->d_name[0] == '.') continue;
    snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
    failed |= run_file(file);
    (*count)++;
  }
  closedir(folder);
  return failed;
}

int main(int argc, char **argv) {
  int count = 0, failed = 0;
  LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
  for (int i = 1; i < argc; i++) failed |= run_folder(argv[i], &count);
  printf("%d seeds\n", count);
  return failed || count == 0;
}
