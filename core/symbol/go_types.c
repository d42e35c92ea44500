// Go's compiler writes every type once, at the top level of some unit, with attributes of its own:
// the kind, what a map or channel is made of, and where the runtime's descriptor stands. The first
// walk numbers the types, the second fills them in, a last step looks through names for other names
// (typedefs). What closures hold is told since Go 1.23, by offsets of variables in functions.
// Source: cmd/internal/dwarf/dwarf.go, cmd/link/internal/ld/dwarf.go.
#include "symbol/go_types.h"

#ifdef TM_HAVE_DW
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
  AT_KIND = 0x2900,
  AT_ELEMENT = 0x2902,
  AT_RUNTIME_TYPE = 0x2904,
  AT_CLOSURE_OFFSET = 0x2907,
  OP_ADDR = 0x03,
  TYPES_MAX = 1 << 24,
  MAX_ALIASES = 16,
  CHILDREN_MAX = 1 << 16,
};

typedef struct reader {
  tm_ctx *ctx;
  tm_go_types *t;
  tm_idmap by_offset;     // of a type's entry -> its number
  TM_VEC(uint32_t) alias; // by type: what it is another name of, or none
  uint32_t pointer_bytes;
} reader;

static tm_status intern(reader *r, const char *text, uint32_t *out) {
  if (!text) text = "";
  return tm_strtab_intern(r->ctx, &r->t->strings, text, strlen(text), out);
}

static bool is_type(int tag) {
  return tag == DW_TAG_structure_type || tag == DW_TAG_pointer_type || tag == DW_TAG_typedef
         || tag == DW_TAG_array_type || tag == DW_TAG_base_type || tag == DW_TAG_subroutine_type
         || tag == DW_TAG_unspecified_type;
}

// A number, which Go may write as an address.
static bool number(Dwarf_Die *die, unsigned attribute, uint64_t *out) {
  Dwarf_Attribute attr;
  Dwarf_Word value;
  Dwarf_Addr address;
  if (!dwarf_attr(die, attribute, &attr)) return false;
  if (dwarf_formudata(&attr, &value) == 0)
    *out = value;
  else if (dwarf_formaddr(&attr, &address) == 0)
    *out = address;
  else
    return false;
  return true;
}

// The type that an attribute refers to.
static uint32_t type_at(const reader *r, Dwarf_Die *die, unsigned attribute) {
  Dwarf_Attribute attr;
  Dwarf_Die to;
  if (!dwarf_formref_die(dwarf_attr(die, attribute, &attr), &to)) return TM_GO_NO_TYPE;
  uint32_t type = tm_idmap_get(&r->by_offset, dwarf_dieoffset(&to));
  return type == TM_IDMAP_NONE ? TM_GO_NO_TYPE : type;
}

typedef tm_status (*on_entry)(reader *r, Dwarf_Die *die);

static void read_unit(reader *r, Dwarf_CU *unit, Dwarf_Die *top) {
  uint8_t address_bytes = 8;
  Dwarf_Attribute attr;
  if (dwarf_cu_info(unit, NULL, NULL, NULL, NULL, NULL, &address_bytes, NULL) == 0)
    r->pointer_bytes = address_bytes == 4 ? 4 : 8;
  const char *text = dwarf_formstring(dwarf_attr(top, DW_AT_producer, &attr));
  const char *version = text ? strstr(text, "go1.") : NULL;
  size_t n = version ? strcspn(version, "; ") : 0;
  if (version && !*r->t->version && n < sizeof r->t->version) memcpy(r->t->version, version, n);
}

static tm_status walk(reader *r, Dwarf *dwarf, on_entry fn) {
  Dwarf_CU *unit = NULL;
  Dwarf_Die top, die;
  while (dwarf_get_units(dwarf, unit, &unit, NULL, NULL, &top, NULL) == 0) {
    TM_TRY(tm_ctx_tick(r->ctx, 0));
    read_unit(r, unit, &top);
    if (dwarf_child(&top, &die) != 0) continue;
    do TM_TRY(fn(r, &die));
    while (dwarf_siblingof(&die, &die) == 0);
  }
  return TM_OK;
}

// ---- 1. numbers ----

static tm_status number_type(reader *r, Dwarf_Die *die) {
  if (!is_type(dwarf_tag(die))) return TM_OK;
  uint32_t at = (uint32_t)r->t->types.count;
  if (at >= TYPES_MAX)
    return tm_fail(r->ctx, TM_E_LIMIT, TM_NO_OFFSET, "more than 2^24 types in a program");
  tm_go_type none = {.leads_to = TM_GO_NO_TYPE, .element = TM_GO_NO_TYPE};
  TM_TRY(tm_vec_push(r->ctx, &r->t->types, none));
  TM_TRY(tm_vec_push(r->ctx, &r->alias, TM_GO_NO_TYPE));
  return tm_idmap_put(r->ctx, &r->by_offset, dwarf_dieoffset(die), at);
}

// ---- 2. contents ----

static int by_offset(const void *a, const void *b) {
  const tm_go_field *x = a, *y = b;
  return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static tm_status read_fields(reader *r, Dwarf_Die *die, tm_go_type *type) {
  Dwarf_Die member;
  size_t begin = r->t->fields.count;
  type->field_begin = type->field_end = (uint32_t)begin;
  if (dwarf_child(die, &member) != 0) return TM_OK;
  for (int n = 0; n < CHILDREN_MAX; n++) {
    tm_go_field f = {0};
    if (dwarf_tag(&member) == DW_TAG_member
        && number(&member, DW_AT_data_member_location, &f.offset)) {
      f.type = type_at(r, &member, DW_AT_type);
      TM_TRY(intern(r, dwarf_diename(&member), &f.name));
      if (f.type != TM_GO_NO_TYPE) TM_TRY(tm_vec_push(r->ctx, &r->t->fields, f));
    }
    if (dwarf_siblingof(&member, &member) != 0) break;
  }
  size_t count = r->t->fields.count - begin;
  if (count) qsort(r->t->fields.items + begin, count, sizeof *r->t->fields.items, by_offset);
  type->field_end = (uint32_t)r->t->fields.count;
  return TM_OK;
}

static tm_status fill_struct(reader *r, Dwarf_Die *die, tm_go_type *type) {
  TM_TRY(read_fields(r, die, type));
  if (type->kind == TM_GO_SLICE) type->leads_to = type_at(r, die, AT_ELEMENT);
  if (type->kind != TM_GO_SLICE && type->kind != TM_GO_STRING) type->kind = TM_GO_STRUCT;
  const char *name = dwarf_diename(die);
  if (name && strcmp(name, "runtime.iface") == 0) {
    type->kind = TM_GO_INTERFACE;
    type->has_methods = true;
  } else if (name && strcmp(name, "runtime.eface") == 0) {
    type->kind = TM_GO_INTERFACE;
  }
  return TM_OK;
}

// Names of maps and channels stand for pointers to their headers; others for what they name.
static void fill_name(reader *r, Dwarf_Die *die, uint32_t at, tm_go_type *type) {
  uint32_t to = type_at(r, die, DW_AT_type);
  r->alias.items[at] = to;
  if (type->kind == TM_GO_CHAN) type->element = type_at(r, die, AT_ELEMENT);
}

static tm_status fill_type(reader *r, Dwarf_Die *die) {
  uint32_t at = tm_idmap_get(&r->by_offset, dwarf_dieoffset(die));
  uint64_t kind = 0, runtime;
  if (at == TM_IDMAP_NONE) return TM_OK;
  tm_go_type type = r->t->types.items[at];
  TM_TRY(intern(r, dwarf_diename(die), &type.name));
  if (number(die, AT_KIND, &kind) && kind < 64) type.kind = (uint8_t)kind;
  if (number(die, AT_RUNTIME_TYPE, &runtime) && runtime)
    TM_TRY(tm_idmap_put(r->ctx, &r->t->by_runtime, runtime, at));
  number(die, DW_AT_byte_size, &type.size);
  switch (dwarf_tag(die)) {
  case DW_TAG_structure_type:
    TM_TRY(fill_struct(r, die, &type));
    break;
  case DW_TAG_pointer_type:
    type.kind = type.kind == TM_GO_FUNC ? TM_GO_FUNC : TM_GO_POINTER;
    type.size = r->pointer_bytes;
    type.leads_to = type_at(r, die, DW_AT_type);
    if (type.leads_to == TM_GO_NO_TYPE) type.kind = TM_GO_UNSAFE_POINTER;
    break;
  case DW_TAG_array_type:
    type.kind = TM_GO_ARRAY;
    type.leads_to = type_at(r, die, DW_AT_type);
    break;
  case DW_TAG_typedef:
    fill_name(r, die, at, &type);
    break;
  default:
    break;
  }
  r->t->types.items[at] = type;
  return TM_OK;
}

static uint64_t address_of(const reader *r, Dwarf_Die *die) {
  Dwarf_Attribute attr;
  Dwarf_Block block;
  uint64_t address = 0;
  if (dwarf_formblock(dwarf_attr(die, DW_AT_location, &attr), &block) != 0) return 0;
  if (block.length != 1 + r->pointer_bytes || block.data[0] != OP_ADDR) return 0;
  memcpy(&address, block.data + 1, r->pointer_bytes);
  return address;
}

static tm_status add_global(reader *r, Dwarf_Die *die) {
  tm_go_symbol s = {.address = address_of(r, die), .type = type_at(r, die, DW_AT_type)};
  if (!s.address || s.type == TM_GO_NO_TYPE) return TM_OK;
  TM_TRY(intern(r, dwarf_diename(die), &s.name));
  return tm_vec_push(r->ctx, &r->t->globals, s);
}

// What a function captures, as a struct of its own behind the code's address.
static tm_status add_captured(reader *r, Dwarf_Die *function, tm_go_symbol *s) {
  Dwarf_Die child;
  size_t begin = r->t->fields.count;
  if (dwarf_child(function, &child) != 0) return TM_OK;
  for (int n = 0; n < CHILDREN_MAX; n++) {
    tm_go_field f = {0};
    if (dwarf_tag(&child) == DW_TAG_variable && number(&child, AT_CLOSURE_OFFSET, &f.offset)) {
      f.type = type_at(r, &child, DW_AT_type);
      const char *name = dwarf_diename(&child);
      TM_TRY(intern(r, name && *name == '&' ? name + 1 : name, &f.name));
      if (f.type != TM_GO_NO_TYPE) TM_TRY(tm_vec_push(r->ctx, &r->t->fields, f));
    }
    if (dwarf_siblingof(&child, &child) != 0) break;
  }
  size_t count = r->t->fields.count - begin;
  if (!count) return TM_OK;
  qsort(r->t->fields.items + begin, count, sizeof *r->t->fields.items, by_offset);
  tm_go_type closure = {.name = s->name,
                        .kind = TM_GO_STRUCT,
                        .leads_to = TM_GO_NO_TYPE,
                        .element = TM_GO_NO_TYPE,
                        .field_begin = (uint32_t)begin,
                        .field_end = (uint32_t)(begin + count)};
  s->type = (uint32_t)r->t->types.count;
  TM_TRY(tm_vec_push(r->ctx, &r->alias, TM_GO_NO_TYPE));
  return tm_vec_push(r->ctx, &r->t->types, closure);
}

static tm_status add_function(reader *r, Dwarf_Die *die) {
  Dwarf_Addr low;
  tm_go_symbol s = {.type = TM_GO_NO_TYPE};
  if (dwarf_lowpc(die, &low) != 0 || !dwarf_diename(die)) return TM_OK;
  s.address = low;
  TM_TRY(intern(r, dwarf_diename(die), &s.name));
  TM_TRY(add_captured(r, die, &s));
  return tm_vec_push(r->ctx, &r->t->functions, s);
}

static tm_status fill_entry(reader *r, Dwarf_Die *die) {
  int tag = dwarf_tag(die);
  if (is_type(tag)) return fill_type(r, die);
  if (tag == DW_TAG_variable) return add_global(r, die);
  return tag == DW_TAG_subprogram ? add_function(r, die) : TM_OK;
}

// ---- 3. other names ----

// A name takes the shape of what it names, and keeps its own kind where that says more.
static void look_through(reader *r, uint32_t at) {
  tm_go_type *type = &r->t->types.items[at];
  uint32_t to = r->alias.items[at];
  for (int n = 0; to != TM_GO_NO_TYPE && r->alias.items[to] != TM_GO_NO_TYPE; n++) {
    if (n == MAX_ALIASES) return;
    to = r->alias.items[to];
  }
  if (to == TM_GO_NO_TYPE) return;
  const tm_go_type *from = &r->t->types.items[to];
  type->size = from->size;
  type->leads_to = from->leads_to;
  type->field_begin = from->field_begin;
  type->field_end = from->field_end;
  type->has_methods = from->has_methods;
  if (type->kind != TM_GO_MAP && type->kind != TM_GO_CHAN && type->kind != TM_GO_FUNC)
    type->kind = from->kind;
}

static void close_closures(reader *r) {
  for (size_t i = 0; i < r->t->functions.count; i++) {
    uint32_t at = r->t->functions.items[i].type;
    if (at == TM_GO_NO_TYPE) continue;
    tm_go_type *type = &r->t->types.items[at];
    const tm_go_field *last = &r->t->fields.items[type->field_end - 1];
    type->size = last->offset + r->t->types.items[last->type].size;
  }
}

static int by_address(const void *a, const void *b) {
  const tm_go_symbol *x = a, *y = b;
  if (x->address != y->address) return x->address < y->address ? -1 : 1;
  return x->name < y->name ? -1 : x->name > y->name;
}

static void find_runtime_types(tm_go_types *t, Elf *elf) {
  Elf_Scn *section = NULL;
  GElf_Shdr head;
  while ((section = elf_nextscn(elf, section))) {
    if (!gelf_getshdr(section, &head) || head.sh_type != SHT_SYMTAB || !head.sh_entsize) continue;
    Elf_Data *data = elf_getdata(section, NULL);
    for (uint64_t i = 0; data && i < head.sh_size / head.sh_entsize; i++) {
      GElf_Sym symbol;
      if (!gelf_getsym(data, (int)i, &symbol)) break;
      const char *name = elf_strptr(elf, head.sh_link, symbol.st_name);
      if (name && strcmp(name, "runtime.types") == 0) t->runtime_types = symbol.st_value;
    }
  }
}

static tm_status read_types(reader *r, Dwarf *dwarf) {
  tm_go_types *t = r->t;
  TM_TRY(walk(r, dwarf, number_type));
  TM_TRY(walk(r, dwarf, fill_entry));
  for (uint32_t i = 0; i < t->types.count; i++) look_through(r, i);
  close_closures(r);
  if (t->globals.count)
    qsort(t->globals.items, t->globals.count, sizeof *t->globals.items, by_address);
  if (t->functions.count)
    qsort(t->functions.items, t->functions.count, sizeof *t->functions.items, by_address);
  find_runtime_types(t, dwarf_getelf(dwarf));
  return TM_OK;
}

static tm_status read_file(tm_ctx *ctx, const char *path, Dwarf *dwarf, tm_go_types **out) {
  reader r = {.ctx = ctx, .t = tm_calloc(ctx, 1, sizeof *r.t), .pointer_bytes = 8};
  if (!r.t) return TM_E_NOMEM;
  r.t->alloc = ctx->alloc;
  tm_strtab_init(&r.t->strings, &ctx->alloc, 0);
  tm_status status = read_types(&r, dwarf);
  tm_idmap_free(ctx, &r.by_offset);
  tm_vec_free(ctx, &r.alias);
  if (status == TM_OK && (!r.t->types.count || !*r.t->version))
    status =
        tm_fail(ctx, TM_E_FORMAT, TM_NO_OFFSET,
                "%s has no types of Go: it is no Go program, or was built with -s or -w", path);
  if (status != TM_OK)
    tm_go_types_free(r.t);
  else
    *out = r.t;
  return status;
}

tm_status tm_go_types_of_binary(tm_ctx *ctx, const char *path, tm_go_types **out) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "cannot open %s", path);
  tm_status status = TM_OK;
  Dwarf *dwarf = dwarf_begin(fd, DWARF_C_READ);
  if (!dwarf)
    status = tm_fail(ctx, TM_E_FORMAT, TM_NO_OFFSET,
                     "%s has no debug information; name a build without -ldflags=-w", path);
  else
    status = read_file(ctx, path, dwarf, out);
  dwarf_end(dwarf);
  close(fd);
  return status;
}

#else

tm_status tm_go_types_of_binary(tm_ctx *ctx, const char *path, tm_go_types **out) {
  (void)out;
  return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "%s: this build has no libdw", path);
}

#endif
