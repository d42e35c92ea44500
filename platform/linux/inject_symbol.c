// Functions of a running program by their names, out of its own memory: the files may lie in
// another mount namespace, or be gone.
#include "inject.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

enum { HEADERS_MAX = 32, DYNAMIC_MAX = 128, CHAIN_MAX = 4096, NAME_MAX_BYTES = 64 };

bool tm_inject_read(int64_t pid, uint64_t from, void *to, size_t bytes) {
  struct iovec here = {to, bytes}, there = {(void *)(uintptr_t)from, bytes};
  return process_vm_readv((pid_t)pid, &here, 1, &there, 1, 0) == (ssize_t)bytes;
}

bool tm_inject_write(int64_t pid, uint64_t to, const void *from, size_t bytes) {
  struct iovec here = {(void *)(uintptr_t)from, bytes}, there = {(void *)(uintptr_t)to, bytes};
  return process_vm_writev((pid_t)pid, &here, 1, &there, 1, 0) == (ssize_t)bytes;
}

typedef struct module {
  int64_t pid;
  uint64_t base, symbols, names, hash;
} module;

// The loader made addresses of the offsets in most modules.
static uint64_t address_of(uint64_t base, uint64_t value) {
  return value < base ? base + value : value;
}

static bool find_dynamic(int64_t pid, uint64_t base, Elf64_Phdr *out, uint64_t *out_bias) {
  Elf64_Ehdr head;
  Elf64_Phdr headers[HEADERS_MAX];
  bool has_dynamic = false, has_load = false;
  if (!tm_inject_read(pid, base, &head, sizeof head) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0
      || head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_phentsize != sizeof *headers)
    return false;
  size_t count = head.e_phnum < HEADERS_MAX ? head.e_phnum : HEADERS_MAX;
  if (!tm_inject_read(pid, base + head.e_phoff, headers, count * sizeof *headers)) return false;
  for (size_t i = 0; i < count; i++) {
    if (headers[i].p_type == PT_LOAD && !has_load) {
      *out_bias = base - (headers[i].p_vaddr - headers[i].p_offset);
      has_load = true;
    }
    if (headers[i].p_type != PT_DYNAMIC) continue;
    *out = headers[i];
    has_dynamic = true;
  }
  return has_dynamic && has_load;
}

static bool open_module(int64_t pid, uint64_t base, module *out) {
  Elf64_Dyn entries[DYNAMIC_MAX];
  Elf64_Phdr dynamic = {0};
  uint64_t bias = 0;
  *out = (module){.pid = pid};
  if (!find_dynamic(pid, base, &dynamic, &bias)) return false;
  size_t count = dynamic.p_memsz / sizeof *entries;
  if (count > DYNAMIC_MAX) count = DYNAMIC_MAX;
  if (!tm_inject_read(pid, bias + dynamic.p_vaddr, entries, count * sizeof *entries)) return false;
  out->base = bias;
  for (size_t i = 0; i < count && entries[i].d_tag != DT_NULL; i++) {
    uint64_t at = address_of(bias, entries[i].d_un.d_ptr);
    if (entries[i].d_tag == DT_SYMTAB) out->symbols = at;
    if (entries[i].d_tag == DT_STRTAB) out->names = at;
    if (entries[i].d_tag == DT_GNU_HASH) out->hash = at;
  }
  return out->symbols && out->names && out->hash;
}

static uint32_t hash_of(const char *name) {
  uint32_t hash = 5381;
  for (; *name; name++) hash = hash * 33 + (uint8_t)*name;
  return hash;
}

// A function of that name which the module defines.
static uint64_t match(const module *m, uint32_t number, const char *name) {
  Elf64_Sym symbol;
  char found[NAME_MAX_BYTES] = "";
  size_t bytes = strlen(name) + 1;
  if (!tm_inject_read(m->pid, m->symbols + number * sizeof symbol, &symbol, sizeof symbol)
      || symbol.st_shndx == SHN_UNDEF || ELF64_ST_TYPE(symbol.st_info) != STT_FUNC)
    return 0;
  if (bytes > sizeof found || !tm_inject_read(m->pid, m->names + symbol.st_name, found, bytes)
      || memcmp(found, name, bytes) != 0)
    return 0;
  return m->base + symbol.st_value;
}

uint64_t tm_inject_symbol(int64_t pid, uint64_t base, const char *name) {
  module m;
  struct {
    uint32_t bucket_count, first, bloom_words, shift;
  } head;
  uint32_t hash = hash_of(name), number, chained;
  if (!base || !open_module(pid, base, &m) || !tm_inject_read(pid, m.hash, &head, sizeof head)
      || !head.bucket_count)
    return 0;
  uint64_t buckets = m.hash + sizeof head + head.bloom_words * UINT64_C(8);
  uint64_t chains = buckets + head.bucket_count * UINT64_C(4);
  if (!tm_inject_read(pid, buckets + hash % head.bucket_count * UINT64_C(4), &number,
                      sizeof number))
    return 0;
  for (uint32_t i = 0; number >= head.first && i < CHAIN_MAX; i++, number++) {
    if (!tm_inject_read(pid, chains + (number - head.first) * UINT64_C(4), &chained,
                        sizeof chained))
      return 0;
    uint64_t found = (chained | 1) == (hash | 1) ? match(&m, number, name) : 0;
    if (found || chained & 1) return found;
  }
  return 0;
}
