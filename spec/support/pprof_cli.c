// floors: read analyze symbol
// A bare command over the profile reports with pprof's flags, so that a script can hold them
// against `go tool pprof` before any Lua is involved: pprof_cli -top -focus=x FILE...
#include "analyze/merge.h"
#include "analyze/report.h"
#include "read/reader.h"
#include "symbol/code.h"
#include "symbol/symbolize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct flag {
  const char *name;
  size_t offset;
  char kind; // s text, b boolean, d real, i integer
} flag;

#define OPT(name, field, kind)                                                                     \
  { name, offsetof(tm_report_options, field), kind }
static const flag flags[] = {OPT("sample_index", sample_index, 's'),
                             OPT("focus", focus, 's'),
                             OPT("ignore", ignore, 's'),
                             OPT("hide", hide, 's'),
                             OPT("show", show, 's'),
                             OPT("show_from", show_from, 's'),
                             OPT("prune_from", prune_from, 's'),
                             OPT("tagfocus", tag_focus, 's'),
                             OPT("tagignore", tag_ignore, 's'),
                             OPT("tagshow", tag_show, 's'),
                             OPT("taghide", tag_hide, 's'),
                             OPT("tagroot", tag_root, 's'),
                             OPT("tagleaf", tag_leaf, 's'),
                             OPT("unit", unit, 's'),
                             OPT("source_path", source_path, 's'),
                             OPT("trim_path", trim_path, 's'),
                             OPT("nodefraction", node_fraction, 'd'),
                             OPT("edgefraction", edge_fraction, 'd'),
                             OPT("divide_by", divide_by, 'd'),
                             OPT("nodecount", node_count, 'i'),
                             OPT("cum", cum, 'b'),
                             OPT("trim", trim, 'b'),
                             OPT("call_tree", call_tree, 'b'),
                             OPT("mean", mean, 'b'),
                             OPT("relative_percentages", relative_percentages, 'b'),
                             OPT("noinlines", no_inlines, 'b'),
                             OPT("showcolumns", show_columns, 'b'),
                             OPT("drop_negative", drop_negative, 'b'),
                             OPT("compact_labels", compact_labels, 'b')};
static const char *const granularities[] = {"functions", "filefunctions", "files", "lines",
                                            "addresses"};
static const char *const verbs[] = {"top",      "tree", "traces",    "tags", "raw",
                                    "comments", "dot",  "callgrind", "svg"};

typedef struct command {
  tm_report_options options;
  const char *verb, *files[64], *bases[64];
  size_t file_count, base_count;
  bool diff_base, normalize;
  const char *symbolize;
} command;

static bool is_one_of(const char *word, const char *const *words, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (strcmp(words[i], word) == 0) return true;
  return false;
}

static void set_flag(command *c, const flag *f, const char *value) {
  char *field = (char *)&c->options + f->offset;
  if (f->kind == 's') *(const char **)(void *)field = value;
  if (f->kind == 'd') *(double *)(void *)field = strtod(value, NULL);
  if (f->kind == 'i') *(int64_t *)(void *)field = strtoll(value, NULL, 10);
  if (f->kind == 'b') *(bool *)(void *)field = !*value || strcmp(value, "true") == 0;
}

static bool parse_flag(command *c, char *arg) {
  char *value = strchr(arg, '=');
  if (value) *value++ = '\0';
  if (!value) value = arg + strlen(arg);
  if (is_one_of(arg, verbs, TM_COUNT(verbs))) return c->verb = arg, true;
  if (is_one_of(arg, granularities, TM_COUNT(granularities)))
    return c->options.granularity = arg, true;
  if (strcmp(arg, "peek") == 0 || strcmp(arg, "list") == 0 || strcmp(arg, "disasm") == 0
      || strcmp(arg, "weblist") == 0)
    return c->verb = arg, c->options.symbol = value, true;
  if (strcmp(arg, "symbolize") == 0) return (c->symbolize = value);
  if (strcmp(arg, "normalize") == 0) return c->normalize = true;
  if (strcmp(arg, "base") == 0 || strcmp(arg, "diff_base") == 0) {
    c->diff_base = arg[0] == 'd';
    return c->base_count < 64 && (c->bases[c->base_count++] = value);
  }
  for (size_t i = 0; i < TM_COUNT(flags); i++)
    if (strcmp(flags[i].name, arg) == 0) return set_flag(c, &flags[i], value), true;
  return false;
}

static tm_status symbolize(tm_ctx *ctx, tm_profile *p, const char *mode) {
  tm_bytes problems = {0};
  tm_symbolize_options o = {.mode = mode};
  tm_status status = mode ? tm_symbolize(ctx, p, &o, &problems) : TM_OK;
  fwrite(problems.data ? (const char *)problems.data : "", 1, problems.size, stderr);
  tm_bytes_free(ctx, &problems);
  return status;
}

static tm_status read_all(tm_ctx *ctx, const char **paths, size_t count, tm_snapshot *snapshots,
                          const tm_profile **profiles, const char *mode) {
  for (size_t i = 0; i < count; i++) {
    TM_TRY(tm_read_file(ctx, paths[i], NULL, &snapshots[i]));
    TM_TRY(symbolize(ctx, snapshots[i].model, mode));
    profiles[i] = snapshots[i].model;
  }
  return TM_OK;
}

static int run(tm_ctx *ctx, command *c) {
  static tm_snapshot snapshots[128];
  const tm_profile *profiles[128] = {0};
  tm_profile *combined = NULL;
  tm_bytes text = {0};
  tm_combine_options how = {.diff_base = c->diff_base, .normalize = c->normalize};
  tm_status status = read_all(ctx, c->files, c->file_count, snapshots, profiles, c->symbolize);
  if (status == TM_OK)
    status = read_all(ctx, c->bases, c->base_count, snapshots + 64, profiles + 64, c->symbolize);
  if (status == TM_OK && (c->file_count > 1 || c->base_count))
    status = tm_profile_combine(ctx, profiles, c->file_count, profiles + 64, c->base_count, &how,
                                &combined);
  tm_code *code = NULL;
  if (status == TM_OK)
    status = tm_code_new(ctx, combined ? combined : profiles[0], NULL, NULL, &code);
  if (status == TM_OK) c->options.code = tm_code_as_source(code);
  if (status == TM_OK)
    status = tm_report(ctx, combined ? combined : profiles[0], c->verb, &c->options, &text, NULL);
  if (status == TM_OK) fwrite(text.data, 1, text.size, stdout);
  if (status != TM_OK) fprintf(stderr, "pprof_cli: %s\n", ctx->error.message);
  tm_bytes_free(ctx, &text);
  tm_code_free(code);
  tm_profile_free(combined);
  for (size_t i = 0; i < 128; i++) tm_snapshot_fini(&snapshots[i]);
  return status == TM_OK ? 0 : 1;
}

int main(int argc, char **argv) {
  command c = {.verb = "top"};
  tm_report_options_init(&c.options);
  for (int i = 1; i < argc; i++) {
    if (argv[i][0] != '-' || !argv[i][1]) {
      if (c.file_count < 64) c.files[c.file_count++] = argv[i];
    } else if (!parse_flag(&c, argv[i] + 1)) {
      fprintf(stderr, "pprof_cli: unknown flag %s\n", argv[i]);
      return 2;
    }
  }
  if (!c.file_count) return 2;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  int code = run(&ctx, &c);
  tm_ctx_fini(&ctx);
  return code;
}
