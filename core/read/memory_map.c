// The memory map behind legacy profiles: /proc/PID/maps lines or "start-end: file (@offset) build
// id", with log prefixes and $variables. Adjacent pieces of a file become one mapping, the
// program's own comes first, and every location gets the first mapping around its address.
// Cost: a binary search per location; one by one where mappings overlap or lack, within a limit.
// Source: behaviour of google/pprof's map parser.
#include "base/bytes.h"
#include "read/legacy.h"

#include <stdlib.h>

typedef struct variable {
  tm_text name, value; // in the input
} variable;

typedef struct map_reader {
  tm_legacy *lg;
  tm_bytes expanded; // the line with its variables replaced
  TM_VEC(variable) variables;
  uint64_t expanded_bytes; // in all
} map_reader;

// Maps of processes stay far below; hostile ones would multiply.
#define MAX_VARIABLES      64
#define MAX_EXPANDED_BYTES (UINT64_C(1) << 22)
#define MAX_STEPS          (UINT64_C(1) << 30) // of searches one by one

static bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\f' || c == '\r';
}

static bool take_blanks(tm_text *t) {
  size_t before = t->size;
  while (t->size && is_blank(t->at[0])) *t = text_skip(*t, 1);
  return t->size < before;
}

static size_t count_of(tm_text t, const char *set) {
  size_t n = 0;
  while (n < t.size && t.at[n] && strchr(set, t.at[n])) n++;
  return n;
}

static const char hex_digits[] = "0123456789abcdefABCDEF";

// Takes hexadecimal digits behind an optional 0x as text.
static tm_text take_hex(tm_text *t) {
  if (t->size > 2 && t->at[0] == '0' && t->at[1] == 'x' && count_of(text_skip(*t, 2), hex_digits))
    *t = text_skip(*t, 2);
  tm_text digits = {t->at, count_of(*t, hex_digits)};
  *t = text_skip(*t, digits.size);
  return digits;
}

// " WORD" with a word of these characters; t stays when there is none.
static tm_text take_word(tm_text *t, const char *set) {
  tm_text rest = *t, none = {t->at, 0};
  if (!take_blanks(&rest)) return none;
  tm_text word = {rest.at, count_of(rest, set)};
  if (!set[0]) // any characters but blanks
    while (word.size < rest.size && !is_blank(word.at[word.size])) word.size++;
  if (word.size) *t = text_skip(rest, word.size);
  return word;
}

// "start-end:". Without a separator ("joined") the last digit in front of the end is the end.
static bool take_range(tm_text *t, bool joined, tm_text *start, tm_text *end) {
  take_blanks(t);
  *start = take_hex(t);
  tm_text rest = *t;
  if (joined && start->size > 1) {
    start->size--;
    rest = (tm_text){start->at + start->size, t->size + 1};
  } else if (!joined) {
    if (rest.size && (is_blank(rest.at[0]) || rest.at[0] == '-')) rest = text_skip(rest, 1);
    take_blanks(&rest);
  }
  *end = take_hex(&rest); // when joined perhaps not that digit, but the number behind its 0x
  *t = rest;
  text_take(t, ':');
  return start->size && end->size;
}

// " MAJOR:MINOR INODE [FILE]"
static bool take_device(tm_text t, tm_text *file) {
  if (!take_word(&t, hex_digits).size || !text_take(&t, ':') || !count_of(t, hex_digits))
    return false;
  t = text_skip(t, count_of(t, hex_digits));
  if (!take_word(&t, "0123456789").size) return false;
  *file = take_word(&t, "");
  return true;
}

static bool to_number(tm_text digits, uint64_t *out) {
  while (digits.size > 1 && digits.at[0] == '0') digits = text_skip(digits, 1);
  return text_hex(&digits, out);
}

typedef struct entry {
  tm_text start, end, perms, file, offset, build_id;
} entry;

// " [PERMS] [OFFSET] MAJOR:MINOR INODE [FILE]", as in /proc/PID/maps.
static bool take_proc_tail(tm_text t, entry *e) {
  e->perms = take_word(&t, "-rwxp");
  tm_text rest = t;
  e->offset = take_word(&rest, hex_digits);
  if (e->offset.size && take_device(rest, &e->file)) return true;
  e->offset.size = 0;
  return take_device(t, &e->file);
}

// " [PERMS] [FILE] [(@OFFSET)] [BUILD ID]"
static void take_brief_tail(tm_text t, entry *e) {
  e->perms = take_word(&t, "-rwxp");
  e->file = take_word(&t, "");
  tm_text rest = t;
  if (take_blanks(&rest) && text_take(&rest, '(') && text_take(&rest, '@')) {
    tm_text offset = {rest.at, count_of(rest, hex_digits)};
    rest = text_skip(rest, offset.size);
    if (offset.size && text_take(&rest, ')')) {
      e->offset = offset;
      t = rest;
    }
  }
  e->build_id = take_word(&t, hex_digits);
}

// /proc's form goes before the brief one, and ranges with a separator before those without.
static bool split_entry(tm_text line, entry *e) {
  *e = (entry){.file = {line.at, 0}, .build_id = {line.at, 0}};
  for (int form = 0; form < 4; form++) {
    tm_text t = line;
    if (!take_range(&t, form & 1, &e->start, &e->end)) continue;
    if (form < 2 && take_proc_tail(t, e)) return true;
    if (form < 2) continue;
    take_brief_tail(t, e);
    return true;
  }
  return false;
}

// Adds the mapping of a line; *taken is false when the line is none.
static tm_status add_entry(map_reader *r, tm_text line, bool *taken) {
  entry e;
  tm_profile *p = r->lg->p;
  tm_mapping m = {.id = p->mappings.count + 1};
  *taken = split_entry(line, &e);
  if (!*taken || (e.perms.size && !memchr(e.perms.at, 'x', e.perms.size))) return TM_OK;
  *taken = to_number(e.start, &m.start) && to_number(e.end, &m.limit)
           && (!e.offset.size || to_number(e.offset, &m.file_offset));
  if (!*taken) return TM_OK;
  TM_TRY(tm_profile_intern(r->lg->ctx, p, e.file.at, e.file.size, &m.file));
  TM_TRY(tm_profile_intern(r->lg->ctx, p, e.build_id.at, e.build_id.size, &m.build_id));
  return tm_vec_push(r->lg->ctx, &p->mappings, m);
}

// "…file:123] " in front of a line that a logger wrote.
static tm_text without_log_prefix(tm_text t) {
  size_t n = 0;
  while (n < t.size && t.at[n] != '[' && t.at[n] != ']') n++;
  size_t digits = n;
  while (digits && t.at[digits - 1] >= '0' && t.at[digits - 1] <= '9') digits--;
  bool log = n + 1 < t.size && t.at[n] == ']' && is_blank(t.at[n + 1]) && digits < n && digits > 1
             && t.at[digits - 1] == ':';
  return log ? text_skip(t, n + 2) : t;
}

static const variable *variable_at(const map_reader *r, tm_text t) {
  for (size_t i = 0; i < r->variables.count; i++) {
    tm_text name = r->variables.items[i].name;
    if (name.size <= t.size && memcmp(name.at, t.at, name.size) == 0) return &r->variables.items[i];
  }
  return NULL;
}

static tm_status expand(map_reader *r, tm_text *line) {
  if (!r->variables.count || !memchr(line->at, '$', line->size)) return TM_OK;
  tm_bytes *out = &r->expanded;
  out->size = 0;
  for (size_t i = 0; i < line->size; i++) {
    const variable *v = NULL;
    if (line->at[i] == '$') v = variable_at(r, text_skip(*line, i + 1));
    TM_TRY(tm_bytes_append(r->lg->ctx, out, v ? v->value.at : line->at + i, v ? v->value.size : 1));
    if (v) i += v->name.size;
    if (r->expanded_bytes + out->size > MAX_EXPANDED_BYTES)
      return tm_legacy_bad_line(r->lg, "a memory map that grows without bound");
  }
  r->expanded_bytes += out->size;
  *line = (tm_text){(const char *)out->data, out->size};
  return TM_OK;
}

static tm_status read_line(map_reader *r, tm_text raw) {
  bool taken;
  if (memchr(raw.at, '\0', raw.size))
    return tm_legacy_bad_line(r->lg, "a memory map with a byte of 0");
  tm_text line = without_log_prefix(raw);
  TM_TRY(expand(r, &line));
  TM_TRY(add_entry(r, line, &taken));
  const char *equals = memchr(raw.at, '=', raw.size);
  if (taken || !equals) return TM_OK;
  raw = without_log_prefix(raw);
  equals = memchr(raw.at, '=', raw.size);
  if (!equals) return TM_OK;
  if (line.at != raw.at) return tm_legacy_bad_line(r->lg, "a variable that is made of others");
  variable v = {.name = text_trim((tm_text){raw.at, (size_t)(equals - raw.at)}),
                .value = text_trim(text_skip(raw, (size_t)(equals - raw.at) + 1))};
  if (r->variables.count == MAX_VARIABLES)
    return tm_legacy_bad_line(r->lg, "a memory map with too many variables");
  return tm_vec_push(r->lg->ctx, &r->variables, v);
}

// --- from lines to mappings ---

static bool adjacent(const tm_mapping *a, const tm_mapping *b) {
  if (a->file && b->file && a->file != b->file) return false;
  if (a->build_id && b->build_id && a->build_id != b->build_id) return false;
  if (a->limit != b->start) return false;
  return !a->file_offset || !b->file_offset
         || a->file_offset + (a->limit - a->start) == b->file_offset;
}

static void join_adjacent(tm_profile *p) {
  size_t count = 0;
  for (size_t i = 0; i < p->mappings.count; i++) {
    tm_mapping m = p->mappings.items[i], *last = count ? &p->mappings.items[count - 1] : NULL;
    if (last && adjacent(last, &m)) {
      last->limit = m.limit;
      if (m.file) last->file = m.file;
      if (m.build_id) last->build_id = m.build_id;
    } else {
      p->mappings.items[count++] = m;
    }
  }
  p->mappings.count = count;
}

// "name.so" at the end, or ".so." or ".so_" with a digit behind it anywhere.
static bool is_library(const char *file) {
  size_t size = strlen(file);
  if (size >= 3 && strcmp(file + size - 3, ".so") == 0) return true;
  for (const char *at = file; (at = strstr(at, ".so")) != NULL; at++)
    if ((at[3] == '.' || at[3] == '_') && at[4] >= '0' && at[4] <= '9') return true;
  return false;
}

static void put_program_first(tm_profile *p) {
  for (size_t i = 0; i < p->mappings.count; i++) {
    const char *file = tm_profile_text(p, p->mappings.items[i].file);
    if (!*file || *file == '[' || strcmp(file, "(deleted)") == 0 || is_library(file)) continue;
    tm_mapping first = p->mappings.items[0];
    p->mappings.items[0] = p->mappings.items[i];
    p->mappings.items[i] = first;
    return;
  }
}

// What loaders do to the program's own mapping: huge pages in front of it, a shifted start.
static void mend_first(tm_profile *p) {
  tm_mapping *m = p->mappings.items;
  if (p->mappings.count > 1 && m[0].limit == m[1].start
      && strncmp(tm_profile_text(p, m[0].file), "/anon_hugepage", 14) == 0)
    memmove(m, m + 1, --p->mappings.count * sizeof *m);
  if (p->mappings.count && m->start - m->file_offset == 0x400000) {
    m->start = 0x400000;
    m->file_offset = 0;
  }
}

// --- from addresses to mappings ---

typedef struct region {
  uint64_t start, limit;
  uint32_t mapping;
} region;

typedef struct placer {
  tm_profile *p;
  region *regions; // sorted by start
  size_t count;
  bool disjoint;  // then the region around an address is the first mapping around it, too
  size_t shifted; // mappings with a file offset
  uint64_t steps;
} placer;

static int compare_regions(const void *a, const void *b) {
  uint64_t x = ((const region *)a)->start, y = ((const region *)b)->start;
  return x < y ? -1 : x > y;
}

static void sort_regions(placer *pl) {
  pl->disjoint = true;
  pl->shifted = 0;
  for (uint32_t i = 0; i < pl->count; i++) {
    const tm_mapping *m = &pl->p->mappings.items[i];
    pl->regions[i] = (region){m->start, m->limit, i};
    pl->shifted += m->file_offset != 0;
  }
  qsort(pl->regions, pl->count, sizeof *pl->regions, compare_regions);
  for (size_t i = 0; i + 1 < pl->count; i++)
    if (pl->regions[i].limit > pl->regions[i + 1].start) pl->disjoint = false;
}

static uint32_t region_around(placer *pl, uint64_t address) {
  const tm_mapping *m = pl->p->mappings.items;
  if (!pl->disjoint) {
    pl->steps += pl->count;
    for (uint32_t i = 0; i < pl->count; i++)
      if (m[i].start <= address && address < m[i].limit) return i;
    return TM_PROFILE_NONE;
  }
  size_t low = 0, high = pl->count;
  while (low < high) { // the first region that starts behind the address
    size_t middle = low + (high - low) / 2;
    if (pl->regions[middle].start <= address)
      low = middle + 1;
    else
      high = middle;
  }
  bool inside = low && address < pl->regions[low - 1].limit;
  return inside ? pl->regions[low - 1].mapping : TM_PROFILE_NONE;
}

static uint32_t mapping_of(placer *pl, uint64_t address) {
  uint32_t found = region_around(pl, address);
  if (found != TM_PROFILE_NONE || !pl->shifted) return found;
  pl->steps += pl->count;
  for (uint32_t i = 0; i < pl->count; i++) { // the first piece of a split mapping may lack
    tm_mapping *m = &pl->p->mappings.items[i];
    if (!m->file_offset || m->start - m->file_offset > address || address >= m->start) continue;
    m->start -= m->file_offset;
    m->file_offset = 0;
    pl->steps += pl->count * 16;
    sort_regions(pl);
    return i;
  }
  return TM_PROFILE_NONE;
}

// Addresses outside of all mappings get one that holds everything.
static tm_status place_each(tm_legacy *lg, placer *pl) {
  tm_profile *p = lg->p;
  uint32_t fake = TM_PROFILE_NONE;
  sort_regions(pl);
  for (size_t i = 0; i < p->locations.count; i++) {
    tm_location *loc = &p->locations.items[i];
    if (!loc->address) continue;
    if ((i & 0xfff) == 0xfff) TM_TRY(tm_ctx_tick(lg->ctx, i));
    if (pl->steps > MAX_STEPS)
      return tm_fail(lg->ctx, TM_E_LIMIT, TM_NO_OFFSET,
                     "%zu addresses over %zu mappings that overlap or lack", p->locations.count,
                     pl->count);
    // once there is one that holds everything, pieces are not looked for any more
    loc->mapping =
        fake == TM_PROFILE_NONE ? mapping_of(pl, loc->address) : region_around(pl, loc->address);
    if (loc->mapping != TM_PROFILE_NONE) continue;
    if (fake == TM_PROFILE_NONE) {
      fake = (uint32_t)p->mappings.count;
      TM_TRY(tm_vec_push(lg->ctx, &p->mappings, (tm_mapping){.limit = UINT64_MAX}));
    }
    loc->mapping = fake;
  }
  for (size_t i = 0; i < p->mappings.count; i++) p->mappings.items[i].id = i + 1;
  return TM_OK;
}

static tm_status place_locations(tm_legacy *lg) {
  placer pl = {.p = lg->p, .count = lg->p->mappings.count};
  pl.regions = tm_alloc(lg->ctx, (pl.count + 1) * sizeof *pl.regions);
  if (!pl.regions) return TM_E_NOMEM;
  tm_status status = place_each(lg, &pl);
  tm_free(lg->ctx, pl.regions, (pl.count + 1) * sizeof *pl.regions);
  return status;
}

tm_status tm_legacy_read_map(tm_legacy *lg, bool at_map) {
  map_reader r = {.lg = lg};
  tm_status status = TM_OK;
  while (status == TM_OK && lines_next(&lg->l)) {
    if (at_map)
      status = read_line(&r, lg->l.line);
    else
      at_map = tm_legacy_is_map_start(lg->l.line);
  }
  tm_bytes_free(lg->ctx, &r.expanded);
  tm_vec_free(lg->ctx, &r.variables);
  TM_TRY(status);
  TM_TRY(tm_legacy_renumber(lg));
  join_adjacent(lg->p);
  put_program_first(lg->p);
  mend_first(lg->p);
  return place_locations(lg);
}
