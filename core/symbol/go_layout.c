// Two walks over the top level of the units: the structs runtime.g and runtime.sudog, whose members
// are looked up by dotted paths, and three variables. Go writes the runtime's types into its own
// unit, so nothing else is entered. O(top-level entries).
//
// A variable's address is a block of DW_OP_addr; libdw's location reader refuses the form that Go
// uses for it, so the block is read here.
#include "symbol/go_layout.h"

#ifdef TM_HAVE_DW
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_DEPTH = 16, OP_ADDR = 0x03 };

typedef struct finder {
  tm_go_layout *out;
  Dwarf_Die g, sudog;
  bool has_g, has_sudog;
} finder;

static const char *name_of(Dwarf_Die *die) {
  const char *name = dwarf_diename(die);
  return name ? name : "";
}

// The type behind typedefs.
static bool type_of(Dwarf_Die *die, Dwarf_Die *out) {
  Dwarf_Attribute attr;
  if (!dwarf_formref_die(dwarf_attr_integrate(die, DW_AT_type, &attr), out)) return false;
  for (int i = 0; i < MAX_DEPTH && dwarf_tag(out) == DW_TAG_typedef; i++) {
    Dwarf_Die next;
    if (!dwarf_formref_die(dwarf_attr_integrate(out, DW_AT_type, &attr), &next)) return false;
    *out = next;
  }
  return true;
}

static bool find_member(Dwarf_Die *type, const char *name, size_t length, Dwarf_Die *out) {
  if (dwarf_child(type, out) != 0) return false;
  do {
    const char *member = name_of(out);
    if (dwarf_tag(out) == DW_TAG_member && strlen(member) == length
        && memcmp(member, name, length) == 0)
      return true;
  } while (dwarf_siblingof(out, out) == 0);
  return false;
}

// The offset of "a.b.c" in a struct; path ends at '|' or its end.
static uint32_t offset_of(Dwarf_Die type, const char *path) {
  uint64_t offset = 0;
  for (int depth = 0; depth < MAX_DEPTH; depth++) {
    size_t length = strcspn(path, ".|");
    Dwarf_Die member;
    Dwarf_Attribute attr;
    Dwarf_Word at;
    if (!find_member(&type, path, length, &member)) return TM_GO_ABSENT;
    if (dwarf_formudata(dwarf_attr(&member, DW_AT_data_member_location, &attr), &at) != 0)
      return TM_GO_ABSENT;
    offset += at;
    if (path[length] != '.') return offset < TM_GO_ABSENT ? (uint32_t)offset : TM_GO_ABSENT;
    path += length + 1;
    if (!type_of(&member, &type)) return TM_GO_ABSENT;
  }
  return TM_GO_ABSENT;
}

static uint32_t field_of(Dwarf_Die type, const char *paths) {
  if (!*paths) {
    int size = dwarf_bytesize(&type);
    return size > 0 ? (uint32_t)size : TM_GO_ABSENT;
  }
  for (;;) {
    uint32_t offset = offset_of(type, paths);
    const char *next = strchr(paths, '|');
    if (offset != TM_GO_ABSENT || !next) return offset;
    paths = next + 1;
  }
}

static uint64_t address_of(Dwarf_Die *die, uint32_t pointer_bytes) {
  Dwarf_Attribute attr;
  Dwarf_Block block;
  uint64_t address = 0;
  if (dwarf_formblock(dwarf_attr(die, DW_AT_location, &attr), &block) != 0) return 0;
  if (block.length != 1 + pointer_bytes || block.data[0] != OP_ADDR) return 0;
  memcpy(&address, block.data + 1, pointer_bytes);
  return address;
}

static uint32_t length_of_array(Dwarf_Die *variable) {
  Dwarf_Die type, range;
  Dwarf_Attribute attr;
  Dwarf_Word n;
  if (!type_of(variable, &type) || dwarf_tag(&type) != DW_TAG_array_type) return 0;
  if (dwarf_child(&type, &range) != 0) return 0;
  if (dwarf_formudata(dwarf_attr(&range, DW_AT_count, &attr), &n) == 0) return (uint32_t)n;
  if (dwarf_formudata(dwarf_attr(&range, DW_AT_upper_bound, &attr), &n) == 0)
    return (uint32_t)n + 1;
  return 0;
}

static void look_at(finder *f, Dwarf_Die *die) {
  const char *name = name_of(die);
  if (strncmp(name, "runtime.", 8) != 0) return;
  int tag = dwarf_tag(die);
  if (tag == DW_TAG_structure_type && strcmp(name, "runtime.g") == 0) {
    f->g = *die;
    f->has_g = true;
  } else if (tag == DW_TAG_structure_type && strcmp(name, "runtime.sudog") == 0) {
    f->sudog = *die;
    f->has_sudog = true;
  } else if (tag == DW_TAG_variable && strcmp(name, "runtime.allgs") == 0) {
    f->out->allgs = address_of(die, f->out->pointer_bytes);
  } else if (tag == DW_TAG_variable && strcmp(name, "runtime.waitReasonStrings") == 0) {
    f->out->wait_reasons = address_of(die, f->out->pointer_bytes);
    f->out->wait_reason_count = length_of_array(die);
  }
}

// "Go cmd/compile go1.26.8; regabi" of the unit's producer.
static void read_version(finder *f, Dwarf_Die *unit) {
  Dwarf_Attribute attr;
  const char *text = dwarf_formstring(dwarf_attr(unit, DW_AT_producer, &attr));
  const char *version = text ? strstr(text, "go1.") : NULL;
  if (!version || *f->out->version) return;
  size_t n = strcspn(version, "; ");
  if (n < sizeof f->out->version) memcpy(f->out->version, version, n);
}

static tm_status walk_units(tm_ctx *ctx, finder *f, Dwarf *dwarf) {
  Dwarf_CU *unit = NULL;
  Dwarf_Die top, die;
  uint8_t address_bytes = 8;
  while (dwarf_get_units(dwarf, unit, &unit, NULL, NULL, &top, NULL) == 0) {
    TM_TRY(tm_ctx_tick(ctx, 0));
    if (dwarf_cu_info(unit, NULL, NULL, NULL, NULL, NULL, &address_bytes, NULL) == 0)
      f->out->pointer_bytes = address_bytes == 4 ? 4 : 8;
    read_version(f, &top);
    if (dwarf_child(&top, &die) != 0) continue;
    do look_at(f, &die);
    while (dwarf_siblingof(&die, &die) == 0);
  }
  return TM_OK;
}

static tm_status read_layout(tm_ctx *ctx, const char *path, Dwarf *dwarf, tm_go_layout *out) {
  finder f = {.out = out};
  TM_TRY(walk_units(ctx, &f, dwarf));
  if (!f.has_g || !f.has_sudog)
    return tm_fail(ctx, TM_E_FORMAT, TM_NO_OFFSET,
                   "%s says nothing of runtime.g: it is no Go program, or was built with -s or -w",
                   path);
#define TM_GO_FIELD(name, type, paths)                                                             \
  out->name = field_of(strcmp(type, "runtime.g") == 0 ? f.g : f.sudog, paths);
#include "model/go_layout.def"
#undef TM_GO_FIELD
  return TM_OK;
}

tm_status tm_go_layout_of_binary(tm_ctx *ctx, const char *path, tm_go_layout *out) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "cannot open %s", path);
  tm_go_layout layout = {0};
  Dwarf *dwarf = dwarf_begin(fd, DWARF_C_READ);
  tm_status status = TM_OK;
  if (!dwarf)
    status = tm_fail(ctx, TM_E_FORMAT, TM_NO_OFFSET,
                     "%s has no debug information; name a build without -ldflags=-w", path);
  else
    status = read_layout(ctx, path, dwarf, &layout);
  dwarf_end(dwarf);
  close(fd);
  if (status == TM_OK) *out = layout;
  return status;
}

#else

tm_status tm_go_layout_of_binary(tm_ctx *ctx, const char *path, tm_go_layout *out) {
  (void)out;
  return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                 "%s: this build has no libdw; the tables of known Go versions still work", path);
}

#endif
