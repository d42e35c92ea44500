// Units and, within a unit, functions and inlined calls are ranges of addresses, sorted by their
// begin; each range also knows how far any range before it reaches, so a search walks back only as
// far as something may still cover the address. A unit's functions are gathered when it is first
// asked. libdw's own walks need .debug_aranges or recurse over what the file says; these do not.
#include "symbol/debug_lines.h"

#include "base/idmap.h"

#ifdef TM_HAVE_DW
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH   96       // of nested entries in a unit
#define MAX_CHAIN   8        // of origins and specifications
#define MAX_ENTRIES 20000000 // visited in one unit
#define MAX_RANGES  1000000  // of one entry
#define NONE        UINT32_MAX

typedef struct range {
  uint64_t low, high, reach;
  uint32_t index, depth;
} range;

typedef TM_VEC(range) ranges;

typedef struct scope {
  Dwarf_Off entry;
  uint32_t parent;
  bool inlined;
} scope;

typedef struct unit {
  Dwarf_Die die;
  bool asked;
  ranges ranges;
  TM_VEC(scope) scopes;
} unit;

struct tm_debug_lines {
  tm_allocator alloc;
  Dwarf *dwarf;
  TM_VEC(unit) units;
  ranges ranges;
  tm_arena arena; // names put together from folder and file
  tm_idmap joined;
  TM_VEC(const char *) names;
};

// --- ranges ---

static int compare_ranges(const void *left, const void *right) {
  const range *a = left, *b = right;
  if (a->low != b->low) return a->low < b->low ? -1 : 1;
  return a->depth < b->depth ? -1 : a->depth > b->depth;
}

static void sort_ranges(ranges *r) {
  uint64_t reach = 0;
  if (r->count) qsort(r->items, r->count, sizeof *r->items, compare_ranges);
  for (size_t i = 0; i < r->count; i++) {
    if (r->items[i].high > reach) reach = r->items[i].high;
    r->items[i].reach = reach;
  }
}

// The deepest, then the narrowest, that covers the address.
static const range *find(const ranges *r, uint64_t address) {
  size_t low = 0, high = r->count;
  const range *best = NULL;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (r->items[middle].low <= address)
      low = middle + 1;
    else
      high = middle;
  }
  for (size_t i = low; i > 0 && r->items[i - 1].reach > address; i--) {
    const range *one = &r->items[i - 1];
    if (one->high <= address) continue;
    if (!best || one->depth > best->depth
        || (one->depth == best->depth && one->high - one->low < best->high - best->low))
      best = one;
  }
  return best;
}

// Linkers leave 0 as the begin of code that they dropped.
static tm_status add_ranges(tm_ctx *ctx, ranges *r, Dwarf_Die *die, uint32_t index,
                            uint32_t depth) {
  Dwarf_Addr base, begin, end;
  ptrdiff_t at = 0;
  for (int i = 0; i < MAX_RANGES && (at = dwarf_ranges(die, at, &base, &begin, &end)) > 0; i++)
    if (begin && begin < end) TM_TRY(tm_vec_push(ctx, r, (range){begin, end, 0, index, depth}));
  return TM_OK;
}

// --- entries ---

// The attribute of the entry, or of what it is an instance of.
static Dwarf_Attribute *attribute(Dwarf_Die *die, uint32_t name, Dwarf_Attribute *out) {
  Dwarf_Die one = *die, origin;
  for (int i = 0; i < MAX_CHAIN; i++) {
    if (dwarf_attr(&one, name, out)) return out;
    if (!dwarf_attr(&one, DW_AT_abstract_origin, out)
        && !dwarf_attr(&one, DW_AT_specification, out))
      return NULL;
    if (!dwarf_formref_die(out, &origin)) return NULL;
    one = origin;
  }
  return NULL;
}

static const char *text_of(Dwarf_Die *die, uint32_t name) {
  Dwarf_Attribute a;
  const char *text = attribute(die, name, &a) ? dwarf_formstring(&a) : NULL;
  return text ? text : "";
}

static int64_t number_of(Dwarf_Die *die, uint32_t name) {
  Dwarf_Attribute a;
  Dwarf_Word value;
  if (!attribute(die, name, &a) || dwarf_formudata(&a, &value) != 0) return 0;
  return value > INT32_MAX ? 0 : (int64_t)value;
}

static const char *name_of(Dwarf_Die *die) {
  const char *name = text_of(die, DW_AT_linkage_name);
  if (!*name) name = text_of(die, DW_AT_MIPS_linkage_name);
  return *name ? name : text_of(die, DW_AT_name);
}

// --- the functions of a unit ---

static bool may_hold_code(int tag) {
  return tag != DW_TAG_formal_parameter && tag != DW_TAG_variable && tag != DW_TAG_subroutine_type
         && tag != DW_TAG_array_type && tag != DW_TAG_enumeration_type && tag != DW_TAG_call_site
         && tag != DW_TAG_GNU_call_site;
}

// The scope that the entry opens, or the one that it stands in.
static tm_status enter(tm_ctx *ctx, unit *u, Dwarf_Die *die, uint32_t parent, uint32_t depth,
                       uint32_t *out) {
  int tag = dwarf_tag(die);
  *out = parent;
  if (tag != DW_TAG_subprogram && tag != DW_TAG_inlined_subroutine) return TM_OK;
  uint32_t index = (uint32_t)u->scopes.count;
  size_t before = u->ranges.count;
  TM_TRY(add_ranges(ctx, &u->ranges, die, index, depth));
  if (u->ranges.count == before) return TM_OK; // a declaration, or code that is gone
  scope s = {dwarf_dieoffset(die), parent, tag == DW_TAG_inlined_subroutine};
  *out = index;
  return tm_vec_push(ctx, &u->scopes, s);
}

static tm_status gather(tm_ctx *ctx, unit *u) {
  Dwarf_Die path[MAX_DEPTH];
  uint32_t owner[MAX_DEPTH], depth = 0;
  if (dwarf_child(&u->die, &path[0]) != 0) return TM_OK;
  owner[0] = NONE;
  for (uint32_t visited = 0; visited < MAX_ENTRIES; visited++) {
    uint32_t inside;
    if (visited % 65536 == 65535) TM_TRY(tm_ctx_tick(ctx, visited));
    TM_TRY(enter(ctx, u, &path[depth], owner[depth], depth, &inside));
    if (depth + 1 < MAX_DEPTH && may_hold_code(dwarf_tag(&path[depth]))
        && dwarf_child(&path[depth], &path[depth + 1]) == 0) {
      owner[++depth] = inside;
      continue;
    }
    while (dwarf_siblingof(&path[depth], &path[depth]) != 0)
      if (depth-- == 0) return TM_OK;
  }
  return TM_OK;
}

// --- the whole file ---

static tm_status read_units(tm_ctx *ctx, tm_debug_lines *d) {
  Dwarf_CU *cu = NULL;
  Dwarf_Die die;
  while (dwarf_get_units(d->dwarf, cu, &cu, NULL, NULL, &die, NULL) == 0) {
    if (dwarf_tag(&die) != DW_TAG_compile_unit) continue;
    uint32_t index = (uint32_t)d->units.count;
    if (index % 4096 == 4095) TM_TRY(tm_ctx_tick(ctx, index));
    TM_TRY(add_ranges(ctx, &d->ranges, &die, index, 0));
    TM_TRY(tm_vec_push(ctx, &d->units, (unit){.die = die}));
  }
  sort_ranges(&d->ranges);
  return TM_OK;
}

tm_status tm_debug_lines_new(tm_ctx *ctx, void *elf, tm_debug_lines **out) {
  Dwarf *dwarf = dwarf_begin_elf(elf, DWARF_C_READ, NULL);
  *out = NULL;
  if (!dwarf) return TM_OK;
  tm_debug_lines *d = tm_calloc(ctx, 1, sizeof *d);
  if (!d) {
    dwarf_end(dwarf);
    return TM_E_NOMEM;
  }
  d->alloc = ctx->alloc;
  d->dwarf = dwarf;
  tm_arena_init(&d->arena, &ctx->alloc, UINT64_C(256) << 20);
  tm_status status = read_units(ctx, d);
  if (status == TM_OK && d->ranges.count) *out = d;
  if (!*out) tm_debug_lines_free(d);
  return status;
}

void tm_debug_lines_free(tm_debug_lines *d) {
  if (!d) return;
  tm_ctx ctx = {.alloc = d->alloc};
  for (size_t i = 0; i < d->units.count; i++) {
    tm_vec_free(&ctx, &d->units.items[i].ranges);
    tm_vec_free(&ctx, &d->units.items[i].scopes);
  }
  tm_vec_free(&ctx, &d->units);
  tm_vec_free(&ctx, &d->ranges);
  tm_vec_free(&ctx, &d->names);
  tm_idmap_free(&ctx, &d->joined);
  tm_arena_fini(&d->arena);
  dwarf_end(d->dwarf);
  tm_free(&ctx, d, sizeof *d);
}

// --- an address ---

typedef struct place {
  const char *file;
  int64_t line, column;
} place;

// A relative name stands in the folder where the unit was compiled. libdw's texts stay where they
// are, so that a name is joined once.
static tm_status full_name(tm_ctx *ctx, tm_debug_lines *d, unit *u, const char *file,
                           const char **out) {
  Dwarf_Attribute a;
  const char *dir = dwarf_formstring(dwarf_attr(&u->die, DW_AT_comp_dir, &a));
  *out = file ? file : "";
  if (!file || *file == '/') return TM_OK;
  if (file[0] == '.' && file[1] == '/') *out = file + 2;
  if (!dir || *dir != '/') return TM_OK;
  uint64_t key = (uint64_t)(uintptr_t)file;
  uint32_t known = tm_idmap_get(&d->joined, key);
  if (known != TM_IDMAP_NONE) return *out = d->names.items[known], TM_OK;
  size_t size = strlen(dir) + strlen(*out) + 2;
  char *name = tm_arena_alloc(&d->arena, size);
  if (!name) return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "too many file names in a binary");
  snprintf(name, size, "%s/%s", dir, *out);
  *out = name;
  TM_TRY(tm_idmap_put(ctx, &d->joined, key, (uint32_t)d->names.count));
  return tm_vec_push(ctx, &d->names, name);
}

static tm_status line_at(tm_ctx *ctx, tm_debug_lines *d, unit *u, uint64_t address, place *out) {
  int line = 0, column = 0;
  Dwarf_Line *found = dwarf_getsrc_die(&u->die, address);
  *out = (place){.file = ""};
  if (!found) return TM_OK;
  if (dwarf_lineno(found, &line) == 0) out->line = line;
  if (dwarf_linecol(found, &column) == 0) out->column = column;
  return full_name(ctx, d, u, dwarf_linesrc(found, NULL, NULL), &out->file);
}

// Where an inlined function was called from.
static tm_status call_of(tm_ctx *ctx, tm_debug_lines *d, unit *u, Dwarf_Die *die, place *out) {
  Dwarf_Files *files;
  size_t count;
  int64_t index = number_of(die, DW_AT_call_file);
  *out = (place){.file = ""};
  out->line = number_of(die, DW_AT_call_line);
  out->column = number_of(die, DW_AT_call_column);
  if (dwarf_getsrcfiles(&u->die, &files, &count) != 0 || (size_t)index >= count) return TM_OK;
  return full_name(ctx, d, u, dwarf_filesrc(files, (size_t)index, NULL, NULL), &out->file);
}

static tm_status unwind(tm_ctx *ctx, tm_debug_lines *d, unit *u, uint32_t index, place at,
                        tm_code_frame *frames, uint32_t room, uint32_t *out_count) {
  while (index != NONE && *out_count < room) {
    const scope *s = &u->scopes.items[index];
    Dwarf_Die die;
    if (!dwarf_offdie(d->dwarf, s->entry, &die)) break;
    frames[(*out_count)++] = (tm_code_frame){name_of(&die), at.file, at.line, at.column,
                                             number_of(&die, DW_AT_decl_line)};
    if (!s->inlined) break;
    TM_TRY(call_of(ctx, d, u, &die, &at));
    index = s->parent;
  }
  return TM_OK;
}

tm_status tm_debug_lines_frames(tm_ctx *ctx, tm_debug_lines *d, uint64_t address,
                                tm_code_frame *frames, uint32_t room, uint32_t *out_count) {
  *out_count = 0;
  const range *of_unit = find(&d->ranges, address);
  if (!of_unit) return TM_OK;
  unit *u = &d->units.items[of_unit->index];
  if (!u->asked) {
    u->asked = true;
    TM_TRY(gather(ctx, u));
    sort_ranges(&u->ranges);
  }
  place at;
  TM_TRY(line_at(ctx, d, u, address, &at));
  const range *of_scope = find(&u->ranges, address);
  TM_TRY(unwind(ctx, d, u, of_scope ? of_scope->index : NONE, at, frames, room, out_count));
  if (*out_count || !*at.file || !room) return TM_OK;
  frames[0] = (tm_code_frame){"", at.file, at.line, at.column, 0};
  *out_count = 1;
  return TM_OK;
}
#endif
