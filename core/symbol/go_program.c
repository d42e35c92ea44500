// The table lies in a section of its own. Where the code begins, and where the data of inlined
// calls are, says the module's record, which begins with a pointer to the table: it is looked for
// among the data and, in position-independent programs, among the relocations that will write it.
#include "symbol/go_program.h"

#ifdef TM_HAVE_DW
#include <gelf.h>
#include <string.h>

enum { TEXT_AT = 176, INLINED_AT = 320 }; // in moduledata, of Go 1.18 (1.20) to 1.26

typedef struct file {
  Elf *elf;
  size_t names;
} file;

static const char *name_of(const file *f, const GElf_Shdr *h) {
  const char *name = elf_strptr(f->elf, f->names, h->sh_name);
  return name ? name : "";
}

// The section at an address, with its bytes.
static const uint8_t *bytes_at(const file *f, uint64_t address, size_t *size) {
  for (Elf_Scn *s = elf_nextscn(f->elf, NULL); s; s = elf_nextscn(f->elf, s)) {
    GElf_Shdr h;
    if (!gelf_getshdr(s, &h) || !(h.sh_flags & SHF_ALLOC) || h.sh_type == SHT_NOBITS) continue;
    if (address < h.sh_addr || address - h.sh_addr >= h.sh_size) continue;
    Elf_Data *data = elf_getdata(s, NULL);
    uint64_t skip = address - h.sh_addr;
    if (!data || !data->d_buf || data->d_size <= skip) return NULL;
    *size = data->d_size - skip;
    return (const uint8_t *)data->d_buf + skip;
  }
  return NULL;
}

// The relocation that writes to a place (by_place), or that writes a value; 0 = none.
static uint64_t relocated(const file *f, uint64_t wanted, bool by_place) {
  for (Elf_Scn *s = elf_nextscn(f->elf, NULL); s; s = elf_nextscn(f->elf, s)) {
    GElf_Shdr h;
    GElf_Rela r;
    if (!gelf_getshdr(s, &h) || h.sh_type != SHT_RELA || !(h.sh_flags & SHF_ALLOC)) continue;
    Elf_Data *data = elf_getdata(s, NULL);
    size_t count = data && h.sh_entsize ? data->d_size / h.sh_entsize : 0;
    for (size_t i = 0; i < count && gelf_getrela(data, (int)i, &r); i++) {
      if (by_place && r.r_offset == wanted) return (uint64_t)r.r_addend;
      if (!by_place && (uint64_t)r.r_addend == wanted) return r.r_offset;
    }
  }
  return 0;
}

static uint64_t word_at(const file *f, uint64_t address) {
  size_t size;
  uint64_t word = 0;
  const uint8_t *bytes = bytes_at(f, address, &size);
  if (bytes && size >= sizeof word) memcpy(&word, bytes, sizeof word);
  return word ? word : relocated(f, address, true);
}

static bool may_hold_module(const char *name) {
  static const char *const known[] = {".go.module", ".noptrdata", ".data", ".data.rel.ro",
                                      ".data.rel.ro.go.module"};
  for (size_t i = 0; i < TM_COUNT(known); i++)
    if (strcmp(name, known[i]) == 0) return true;
  return false;
}

static uint64_t find_module(const file *f, uint64_t table) {
  for (Elf_Scn *s = elf_nextscn(f->elf, NULL); s; s = elf_nextscn(f->elf, s)) {
    GElf_Shdr h;
    if (!gelf_getshdr(s, &h) || h.sh_type == SHT_NOBITS || !may_hold_module(name_of(f, &h)))
      continue;
    Elf_Data *data = elf_getdata(s, NULL);
    for (size_t at = 0; data && data->d_buf && at + 8 <= data->d_size; at += 8) {
      uint64_t word;
      memcpy(&word, (const uint8_t *)data->d_buf + at, sizeof word);
      if (word == table) return h.sh_addr + at;
    }
  }
  return relocated(f, table, false);
}

bool tm_go_program_table(void *elf, tm_go_pclntab *out) {
  file f = {.elf = elf};
  uint64_t text;
  if (elf_getshdrstrndx(f.elf, &f.names) != 0) return false;
  for (Elf_Scn *s = elf_nextscn(f.elf, NULL); s; s = elf_nextscn(f.elf, s)) {
    GElf_Shdr h;
    if (!gelf_getshdr(s, &h) || h.sh_type == SHT_NOBITS) continue;
    const char *name = name_of(&f, &h);
    if (strcmp(name, ".gopclntab") != 0 && strcmp(name, ".data.rel.ro.gopclntab") != 0) continue;
    Elf_Data *data = elf_getdata(s, NULL);
    if (!data || !data->d_buf || !tm_go_pclntab_open(data->d_buf, data->d_size, out, &text))
      return false;
    uint64_t module = find_module(&f, h.sh_addr);
    out->text = module ? word_at(&f, module + TEXT_AT) : 0;
    if (!out->text) out->text = text;
    if (module && out->has_inlined)
      out->inlined = bytes_at(&f, word_at(&f, module + INLINED_AT), &out->inlined_size);
    return out->text != 0;
  }
  return false;
}
#else
bool tm_go_program_table(void *elf, tm_go_pclntab *out) {
  (void)elf, (void)out;
  return false;
}
#endif
