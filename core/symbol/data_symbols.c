// One pass over both symbol tables, sorted by address; the name that covers most stands first.
#include "symbol/data_symbols.h"

#include "base/vec.h"

#ifdef TM_HAVE_DW
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SYMBOLS = 4000000, PAGE_MASK = 0xfff };

typedef struct variable {
  const char *name;
  uint64_t address, bytes;
} variable;

struct tm_data_symbols {
  tm_allocator alloc;
  int fd;
  Elf *elf;
  uint64_t base, end;
  TM_VEC(variable) variables;
};

static tm_status read_table(tm_ctx *ctx, tm_data_symbols *s, Elf_Scn *section, const GElf_Shdr *h) {
  Elf_Data *data = elf_getdata(section, NULL);
  size_t count = data && h->sh_entsize ? data->d_size / h->sh_entsize : 0;
  for (size_t i = 0; i < count && i < MAX_SYMBOLS; i++) {
    GElf_Sym symbol;
    if (!gelf_getsym(data, (int)i, &symbol)) break;
    if (GELF_ST_TYPE(symbol.st_info) != STT_OBJECT || symbol.st_shndx == SHN_UNDEF) continue;
    const char *name = elf_strptr(s->elf, h->sh_link, symbol.st_name);
    if (!name || !*name || !symbol.st_size) continue;
    TM_TRY(tm_vec_push(ctx, &s->variables, (variable){name, symbol.st_value, symbol.st_size}));
  }
  return TM_OK;
}

static int compare(const void *left, const void *right) {
  const variable *a = left, *b = right;
  if (a->address != b->address) return a->address < b->address ? -1 : 1;
  if (a->bytes != b->bytes) return a->bytes > b->bytes ? -1 : 1;
  return strcmp(a->name, b->name);
}

static tm_status read_file(tm_ctx *ctx, tm_data_symbols *s) {
  size_t count = 0;
  if (!s->elf || elf_kind(s->elf) != ELF_K_ELF || elf_getphdrnum(s->elf, &count) != 0)
    return tm_fail(ctx, TM_E_FORMAT, 0, "this is no ELF binary");
  for (size_t i = 0; i < count; i++) {
    GElf_Phdr p;
    if (!gelf_getphdr(s->elf, (int)i, &p) || p.p_type != PT_LOAD) continue;
    if (!s->end) s->base = (p.p_vaddr - p.p_offset) & ~(uint64_t)PAGE_MASK; // the lowest is first
    if (p.p_vaddr + p.p_memsz > s->end) s->end = p.p_vaddr + p.p_memsz;
  }
  for (Elf_Scn *section = elf_nextscn(s->elf, NULL); section;
       section = elf_nextscn(s->elf, section)) {
    GElf_Shdr h;
    if (!gelf_getshdr(section, &h)) return tm_fail(ctx, TM_E_FORMAT, TM_NO_OFFSET, "bad section");
    if (h.sh_type == SHT_SYMTAB || h.sh_type == SHT_DYNSYM) TM_TRY(read_table(ctx, s, section, &h));
  }
  if (s->variables.count)
    qsort(s->variables.items, s->variables.count, sizeof *s->variables.items, compare);
  return TM_OK;
}

tm_status tm_data_symbols_open(tm_ctx *ctx, const char *path, tm_data_symbols **out) {
  tm_data_symbols *s = tm_calloc(ctx, 1, sizeof *s);
  if (!s) return TM_E_NOMEM;
  s->alloc = ctx->alloc;
  elf_version(EV_CURRENT);
  s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  tm_status status = TM_OK;
  if (s->fd < 0)
    status = tm_fail_errno(ctx, errno, "opening %s", path);
  else
    s->elf = elf_begin(s->fd, ELF_C_READ, NULL);
  if (status == TM_OK) status = read_file(ctx, s);
  if (status == TM_OK) *out = s;
  if (status != TM_OK) tm_data_symbols_free(s);
  return status;
}

void tm_data_symbols_free(tm_data_symbols *s) {
  if (!s) return;
  tm_ctx ctx = {.alloc = s->alloc};
  tm_vec_free(&ctx, &s->variables);
  if (s->elf) elf_end(s->elf);
  if (s->fd >= 0) close(s->fd);
  tm_free(&ctx, s, sizeof *s);
}

uint64_t tm_data_symbols_base(const tm_data_symbols *s) {
  return s->base;
}

uint64_t tm_data_symbols_end(const tm_data_symbols *s) {
  return s->end;
}

const char *tm_data_symbols_at(const tm_data_symbols *s, uint64_t address, uint64_t *out_offset) {
  const variable *all = s->variables.items;
  size_t low = 0, high = s->variables.count;
  while (low < high) { // the first one behind the address
    size_t middle = low + (high - low) / 2;
    if (all[middle].address <= address)
      low = middle + 1;
    else
      high = middle;
  }
  if (!low) return NULL;
  size_t at = low - 1;
  while (at && all[at - 1].address == all[at].address) at--;
  if (address - all[at].address >= all[at].bytes) return NULL;
  *out_offset = address - all[at].address;
  return all[at].name;
}

#else

tm_status tm_data_symbols_open(tm_ctx *ctx, const char *path, tm_data_symbols **out) {
  (void)out;
  return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "%s: built without libelf", path);
}

void tm_data_symbols_free(tm_data_symbols *s) {
  (void)s;
}

uint64_t tm_data_symbols_base(const tm_data_symbols *s) {
  (void)s;
  return 0;
}

uint64_t tm_data_symbols_end(const tm_data_symbols *s) {
  (void)s;
  return UINT64_MAX;
}

const char *tm_data_symbols_at(const tm_data_symbols *s, uint64_t address, uint64_t *out_offset) {
  (void)s, (void)address, (void)out_offset;
  return NULL;
}

#endif
