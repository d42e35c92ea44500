// Reads a profile, heap dump or trace and says what is in it: embed_report FILE [VERB [FORMAT
// [NAME=VALUE...]]]. The format "lines" is the host's own, made from the rows as JSON.
#include <stdio.h>
#include <string.h>
#include <tidemark.h>

static int to_stdout(void *ud, const char *bytes, size_t size) {
  (void)ud;
  return fwrite(bytes, 1, size, stdout) == size ? 0 : 1;
}

// One row a line: good enough for a log.
static tm_status as_lines(void *ud, const char *verb, const char *json, size_t size,
                          tm_write_fn write, void *write_ud) {
  (void)ud;
  if (write(write_ud, verb, strlen(verb)) != 0) return TM_E_CANCELLED;
  for (const char *at = json; at < json + size; at++) {
    const char *piece = *at == '{' ? "\n  " : *at == '[' || *at == ']' || *at == '}' ? "" : NULL;
    if (write(write_ud, piece ? piece : at, piece ? strlen(piece) : 1) != 0) return TM_E_CANCELLED;
  }
  return write(write_ud, "\n", 1) == 0 ? TM_OK : TM_E_CANCELLED;
}

int main(int argc, char **argv) {
  tm_config config;
  tm_embed *engine;
  tm_file *file = NULL;
  if (argc < 2) return 2;
  tm_config_init(&config, sizeof config);
  config.flags = TM_VIRTUAL_TIME; // nothing is watched
  if (tm_open(&config, &engine) != TM_OK) return 1;
  tm_status status = tm_format_register(engine, "lines", as_lines, NULL);
  if (status == TM_OK) status = tm_file_read(engine, argv[1], &file);
  if (status == TM_OK) {
    char **options = argc > 4 ? argv + 4 : argv + argc; // argv ends with NULL
    const char *verb = argc > 2                                      ? argv[2]
                       : strcmp(tm_file_kind(file), "graph") == 0    ? "objects"
                       : strcmp(tm_file_kind(file), "timeline") == 0 ? "tasks"
                       : strcmp(tm_file_kind(file), "profile") == 0  ? "top"
                                                                     : "goroutines";
    status = tm_report_file(engine, file, verb, (const char *const *)options,
                            argc > 3 ? argv[3] : "lines", to_stdout, NULL);
  }
  if (status != TM_OK) fprintf(stderr, "%s: %s\n", argv[1], tm_message(engine));
  tm_file_free(engine, file);
  tm_close(engine, NULL, NULL);
  return status == TM_OK ? 0 : 1;
}
