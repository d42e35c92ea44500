// Locations are sorted by mapping, so that one binary at a time is open; every address is asked
// once. Functions are made once per name, file and first line. Demangling comes last and over all
// functions: profiles of other tools carry mangled names too.
#include "symbol/symbolize.h"

#include "base/hash.h"
#include "base/idmap.h"
#include "symbol/demangle.h"
#include "symbol/locate.h"

#include <stdlib.h>
#include <string.h>

#define MAX_INLINE_FRAMES 64

typedef struct symbolizer {
  tm_ctx *ctx;
  tm_profile *p;
  const tm_symbolize_options *o;
  tm_bytes *problems;
  bool local, fast, force, missing;
  tm_demangle_mode demangle;
  uint64_t next_id;
  tm_idmap functions; // hash of name, file and line -> function
} symbolizer;

// --- the mode ---

static bool is_word(const char *word, size_t length, const char *known) {
  return strlen(known) == length && strncmp(word, known, length) == 0;
}

static tm_status read_demangle(symbolizer *s, const char *word, size_t length) {
  static const char *const words[] = {"none", "default", "templates", "full"};
  for (size_t i = 0; i < TM_COUNT(words); i++) {
    if (!is_word(word, length, words[i])) continue;
    s->demangle = (tm_demangle_mode)i;
    s->force = s->force || i != TM_DEMANGLE_NAMES;
    return TM_OK;
  }
  return tm_fail(s->ctx, TM_E_ARG, TM_NO_OFFSET,
                 "\"%.*s\" is no demangling: none, templates, full or default", (int)length, word);
}

static tm_status read_word(symbolizer *s, const char *word, size_t length) {
  static const char prefix[] = "demangle=";
  if (!length) return TM_OK;
  if (strncmp(word, prefix, sizeof prefix - 1) == 0)
    return read_demangle(s, word + sizeof prefix - 1, length - (sizeof prefix - 1));
  if (is_word(word, length, "none") || is_word(word, length, "no")) {
    s->local = false;
    s->demangle = TM_DEMANGLE_NONE;
  } else if (is_word(word, length, "local") || is_word(word, length, "fastlocal")) {
    s->local = true;
    s->fast = *word == 'f';
  } else if (is_word(word, length, "remote")) {
    s->local = false;
  } else if (is_word(word, length, "force")) {
    s->force = true;
  } else {
    return tm_fail(s->ctx, TM_E_ARG, TM_NO_OFFSET,
                   "\"%.*s\" is no way to symbolize: none, local, fastlocal, remote, force or "
                   "demangle=none|templates|full|default",
                   (int)length, word);
  }
  return TM_OK;
}

static tm_status read_mode(symbolizer *s) {
  size_t length;
  for (const char *w = s->o->mode ? s->o->mode : ""; *w; w += length + (w[length] == ':')) {
    length = strcspn(w, ":");
    TM_TRY(read_word(s, w, length));
  }
  return TM_OK;
}

// --- functions ---

static bool is_function(const tm_function *f, const tm_function *g) {
  return f->system_name == g->system_name && f->file == g->file && f->start_line == g->start_line;
}

static tm_status add_function(symbolizer *s, const tm_code_frame *frame, uint32_t *out) {
  tm_profile *p = s->p;
  tm_function f = {.id = s->next_id, .start_line = frame->start_line};
  TM_TRY(tm_profile_intern(s->ctx, p, frame->function, strlen(frame->function), &f.name));
  TM_TRY(tm_profile_intern(s->ctx, p, frame->file, strlen(frame->file), &f.file));
  f.system_name = f.name;
  uint64_t key = tm_hash_add(tm_hash_add(f.name, f.file), (uint64_t)f.start_line);
  for (; (*out = tm_idmap_get(&s->functions, key)) != TM_IDMAP_NONE; key++)
    if (is_function(&p->functions.items[*out], &f)) return TM_OK;
  *out = (uint32_t)p->functions.count;
  s->next_id++;
  TM_TRY(tm_vec_push(s->ctx, &p->functions, f));
  return tm_idmap_put(s->ctx, &s->functions, key, *out);
}

static tm_status add_lines(symbolizer *s, tm_location *l, const tm_code_frame *frames,
                           uint32_t count) {
  tm_profile *p = s->p;
  tm_mapping *m = &p->mappings.items[l->mapping];
  uint32_t begin = (uint32_t)p->lines.count;
  for (uint32_t i = 0; i < count; i++) {
    tm_line line = {.line = frames[i].line, .column = frames[i].column};
    TM_TRY(add_function(s, &frames[i], &line.function));
    TM_TRY(tm_vec_push(s->ctx, &p->lines, line));
    m->has_functions = m->has_functions || *frames[i].function;
    m->has_filenames = m->has_filenames || *frames[i].file;
    m->has_line_numbers = m->has_line_numbers || frames[i].line;
  }
  m->has_inline_frames = true;
  l->line_begin = begin;
  l->line_end = begin + count;
  l->folded = false;
  return TM_OK;
}

// --- one mapping ---

static tm_status note(symbolizer *s, const tm_mapping *m, const char *file, const char *why) {
  const char *slash = strrchr(file, '/'), *id = tm_profile_text(s->p, m->build_id);
  s->missing = true;
  if (!s->problems) return TM_OK;
  return tm_bytes_printf(s->ctx, s->problems, "%s%s%s%s: %s\n", slash ? slash + 1 : file,
                         *id ? " (build id " : "", id, *id ? ")" : "", why);
}

// Readers of text forms take names from the text; those stay.
static bool needs_lines(const symbolizer *s, const tm_location *l) {
  return s->force || l->line_end == l->line_begin;
}

static bool lacks_lines(const symbolizer *s, const uint64_t *keys, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (needs_lines(s, &s->p->locations.items[(uint32_t)keys[i]])) return true;
  return false;
}

static tm_status look_up(symbolizer *s, tm_binary *b, tm_location *l) {
  tm_code_frame frames[MAX_INLINE_FRAMES];
  uint32_t count = 0;
  uint64_t address;
  if (!needs_lines(s, l)) return TM_OK;
  if (!tm_binary_address(b, &s->p->mappings.items[l->mapping], l->address, &address)) return TM_OK;
  if (s->fast) {
    const tm_code_symbol *symbol = tm_binary_symbol_at(b, address);
    if (symbol) frames[count++] = (tm_code_frame){.function = symbol->name, .file = ""};
  } else {
    TM_TRY(tm_binary_frames(s->ctx, b, address, frames, MAX_INLINE_FRAMES, &count));
  }
  return count ? add_lines(s, l, frames, count) : TM_OK;
}

// Not code of a file: vdso, the kernel, drivers, generated code.
static bool has_no_file(const char *file) {
  const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
  return *base == '[' || strncmp(base, "linux-vdso", 10) == 0 || strncmp(file, "/dev/dri/", 9) == 0
         || strcmp(file, "//anon") == 0;
}

static tm_status symbolize_mapping(symbolizer *s, uint32_t index, const uint64_t *keys,
                                   size_t count) {
  const tm_mapping *m = &s->p->mappings.items[index];
  const char *file = tm_profile_text(s->p, m->file);
  tm_binary *b = NULL;
  if (!s->force && (m->has_functions || m->has_filenames || m->has_line_numbers)) return TM_OK;
  if (index == 0 && s->o->main_binary) file = s->o->main_binary;
  if (!lacks_lines(s, keys, count)) return TM_OK;
  if (!*file) return index == 0 ? note(s, m, "the main binary", "its name is not known") : TM_OK;
  if (has_no_file(file)) return TM_OK;
  tm_status status = tm_binary_locate(s->ctx, file, tm_profile_text(s->p, m->build_id),
                                      s->o->binary_path, s->problems, &b);
  if (status == TM_E_IO || status == TM_E_FORMAT || status == TM_E_UNSUPPORTED) {
    char why[sizeof s->ctx->error.message];
    memcpy(why, s->ctx->error.message, sizeof why);
    tm_ctx_clear(s->ctx);
    return note(s, m, file, why);
  }
  for (size_t i = 0; i < count && status == TM_OK; i++) {
    if (i % 4096 == 4095) status = tm_ctx_tick(s->ctx, i);
    if (status == TM_OK) status = look_up(s, b, &s->p->locations.items[(uint32_t)keys[i]]);
  }
  tm_binary_free(b);
  return status;
}

// --- all mappings ---

static int compare_keys(const void *left, const void *right) {
  const uint64_t *a = left, *b = right;
  return *a < *b ? -1 : *a > *b;
}

// keys: mapping in the high half, location in the low one.
static tm_status symbolize_runs(symbolizer *s, const uint64_t *keys, size_t count) {
  for (size_t i = 0, end; i < count; i = end) {
    for (end = i + 1; end < count && keys[end] >> 32 == keys[i] >> 32; end++) continue;
    TM_TRY(symbolize_mapping(s, (uint32_t)(keys[i] >> 32), keys + i, end - i));
  }
  return TM_OK;
}

static tm_status symbolize_mappings(symbolizer *s) {
  const tm_profile *p = s->p;
  size_t room = p->locations.count + 1, count = 0;
  uint64_t *keys = tm_alloc(s->ctx, room * sizeof *keys);
  if (!keys) return TM_E_NOMEM;
  for (size_t i = 0; i < p->locations.count; i++)
    if (p->locations.items[i].mapping < p->mappings.count)
      keys[count++] = (uint64_t)p->locations.items[i].mapping << 32 | i;
  if (count) qsort(keys, count, sizeof *keys, compare_keys);
  tm_status status = symbolize_runs(s, keys, count);
  tm_free(s->ctx, keys, room * sizeof *keys);
  return status;
}

// --- names ---

static tm_status demangle_function(symbolizer *s, tm_function *f, tm_bytes *text) {
  tm_profile *p = s->p;
  bool changed = false;
  if (s->force && f->name && f->system_name) f->name = f->system_name;
  if (f->name && f->system_name != f->name) return TM_OK; // done by whoever wrote the profile
  text->size = 0;
  TM_TRY(tm_demangle(s->ctx, tm_profile_text(p, f->system_name), s->demangle, text, &changed));
  if (!changed) return f->name = f->system_name, TM_OK;
  return tm_profile_intern(s->ctx, p, (const char *)text->data, text->size, &f->name);
}

static tm_status demangle_functions(symbolizer *s) {
  tm_bytes text = {0};
  tm_status status = TM_OK;
  if (s->demangle == TM_DEMANGLE_NONE && !s->force) return TM_OK;
  for (size_t i = 0; i < s->p->functions.count && status == TM_OK; i++)
    status = demangle_function(s, &s->p->functions.items[i], &text);
  tm_bytes_free(s->ctx, &text);
  return status;
}

tm_status tm_symbolize(tm_ctx *ctx, tm_profile *p, const tm_symbolize_options *o,
                       tm_bytes *problems) {
  symbolizer s = {ctx, p, o, problems, true, false, false, false, TM_DEMANGLE_NAMES, 1, {0}};
  TM_TRY(read_mode(&s));
  for (size_t i = 0; i < p->functions.count; i++)
    if (p->functions.items[i].id >= s.next_id) s.next_id = p->functions.items[i].id + 1;
  tm_status status = s.local ? symbolize_mappings(&s) : TM_OK;
  tm_idmap_free(ctx, &s.functions);
  if (status == TM_OK && s.missing && problems)
    status = tm_bytes_printf(ctx, problems,
                             "PPROF_BINARY_PATH may name the folders that hold binaries\n");
  return status == TM_OK ? demangle_functions(&s) : status;
}
