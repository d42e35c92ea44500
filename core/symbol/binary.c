// One pass over the section and program headers takes what is needed: load segments, the build id
// and the function symbols, which are sorted once and searched by halves. libelf reads (it does not
// map) sections as they are asked for, so a file that shrinks gives an error, not a signal.
#include "symbol/binary.h"

#include "symbol/debug_lines.h"
#include "symbol/go_program.h"

#ifdef TM_HAVE_DW
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SYMBOLS    8000000
#define MAX_SEGMENTS   256
#define BUILD_ID_BYTES 64
#define GUESSED        (UINT64_C(1) << 63) // in a size, until the symbols are sorted

typedef struct segment {
  uint64_t address, offset, file_bytes, bytes;
  bool executable;
} segment;

struct tm_binary {
  tm_allocator alloc;
  tm_arena arena;
  int fd;
  Elf *elf;
  bool fixed; // linked to fixed addresses
  const char *path, *debug_link;
  char build_id[2 * BUILD_ID_BYTES + 1];
  TM_VEC(segment) segments;
  TM_VEC(tm_code_symbol) symbols;
  tm_debug_lines *lines;
  bool lines_asked, has_symtab, is_go;
  tm_go_pclntab go; // if is_go
  tm_binary *debug;
};

static tm_status damaged(tm_ctx *ctx, const char *what) {
  return tm_fail(ctx, TM_E_FORMAT, TM_NO_OFFSET, "%s of the binary cannot be read: %s", what,
                 elf_errmsg(-1));
}

// --- headers ---

static tm_status read_segments(tm_ctx *ctx, tm_binary *b) {
  size_t count;
  if (elf_getphdrnum(b->elf, &count) != 0) return damaged(ctx, "the program header");
  for (size_t i = 0; i < count && i < MAX_SEGMENTS; i++) {
    GElf_Phdr p;
    if (!gelf_getphdr(b->elf, (int)i, &p)) return damaged(ctx, "the program header");
    if (p.p_type != PT_LOAD) continue;
    segment s = {p.p_vaddr, p.p_offset, p.p_filesz, p.p_memsz, (p.p_flags & PF_X) != 0};
    TM_TRY(tm_vec_push(ctx, &b->segments, s));
  }
  return TM_OK;
}

static void read_build_id(tm_binary *b, Elf_Scn *section) {
  Elf_Data *data = elf_getdata(section, NULL);
  size_t at = 0, next, name, body;
  GElf_Nhdr note;
  if (!data || !data->d_buf) return;
  while ((next = gelf_getnote(data, at, &note, &name, &body)) > 0) {
    const uint8_t *id = (const uint8_t *)data->d_buf + body;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && note.n_descsz <= BUILD_ID_BYTES
        && memcmp((const char *)data->d_buf + name, "GNU", 4) == 0) {
      for (size_t i = 0; i < note.n_descsz; i++) snprintf(b->build_id + 2 * i, 3, "%02x", id[i]);
      return;
    }
    at = next;
  }
}

static void read_debug_link(tm_binary *b, Elf_Scn *section) {
  Elf_Data *data = elf_getdata(section, NULL);
  if (!data || !data->d_buf || !memchr(data->d_buf, 0, data->d_size)) return;
  const char *copy = tm_arena_strndup(&b->arena, data->d_buf, strlen(data->d_buf));
  if (copy && !strchr(copy, '/')) b->debug_link = copy;
}

static bool is_code(const GElf_Sym *s) {
  int type = GELF_ST_TYPE(s->st_info);
  return (type == STT_FUNC || type == STT_GNU_IFUNC) && s->st_shndx != SHN_UNDEF && s->st_value;
}

// Assembly may leave a function's size out: it ends with the next one, at most with its section.
static uint64_t rest_of_section(const tm_binary *b, const GElf_Sym *s) {
  GElf_Shdr h;
  Elf_Scn *section = s->st_shndx < SHN_LORESERVE ? elf_getscn(b->elf, s->st_shndx) : NULL;
  if (!section || !gelf_getshdr(section, &h) || s->st_value < h.sh_addr) return 0;
  return s->st_value - h.sh_addr < h.sh_size ? h.sh_addr + h.sh_size - s->st_value : 0;
}

static tm_status read_symbols(tm_ctx *ctx, tm_binary *b, Elf_Scn *section, const GElf_Shdr *h) {
  Elf_Data *data = elf_getdata(section, NULL);
  size_t count = data && h->sh_entsize ? data->d_size / h->sh_entsize : 0;
  for (size_t i = 0; i < count && b->symbols.count < MAX_SYMBOLS; i++) {
    GElf_Sym s;
    if (!gelf_getsym(data, (int)i, &s)) break;
    if (!is_code(&s)) continue;
    const char *name = elf_strptr(b->elf, h->sh_link, s.st_name);
    if (!name || !*name) continue;
    uint64_t size = s.st_size ? s.st_size & ~GUESSED : rest_of_section(b, &s) | GUESSED;
    TM_TRY(tm_vec_push(ctx, &b->symbols, (tm_code_symbol){name, s.st_value, size}));
  }
  return TM_OK;
}

static tm_status read_sections(tm_ctx *ctx, tm_binary *b) {
  size_t names;
  if (elf_getshdrstrndx(b->elf, &names) != 0) return damaged(ctx, "the section header");
  for (Elf_Scn *s = elf_nextscn(b->elf, NULL); s; s = elf_nextscn(b->elf, s)) {
    GElf_Shdr h;
    if (!gelf_getshdr(s, &h)) return damaged(ctx, "a section header");
    const char *name = elf_strptr(b->elf, names, h.sh_name);
    b->has_symtab = b->has_symtab || h.sh_type == SHT_SYMTAB;
    if (h.sh_type == SHT_NOTE && !b->build_id[0]) read_build_id(b, s);
    if (h.sh_type == SHT_SYMTAB || h.sh_type == SHT_DYNSYM) TM_TRY(read_symbols(ctx, b, s, &h));
    if (name && strcmp(name, ".gnu_debuglink") == 0 && h.sh_type == SHT_PROGBITS)
      read_debug_link(b, s);
  }
  return TM_OK;
}

// A stripped Go program still has the names of its functions.
static tm_status read_go_functions(tm_ctx *ctx, tm_binary *b) {
  b->is_go = tm_go_program_table(b->elf, &b->go);
  for (uint32_t i = 0; b->is_go && !b->has_symtab && i < b->go.count; i++) {
    tm_code_symbol symbol;
    uint64_t end;
    if (!tm_go_pclntab_function(&b->go, i, &symbol.name, &symbol.address, &end)) continue;
    symbol.size = end - symbol.address;
    if (!*symbol.name || symbol.size & GUESSED || b->symbols.count >= MAX_SYMBOLS) continue;
    TM_TRY(tm_vec_push(ctx, &b->symbols, symbol));
  }
  return TM_OK;
}

// By address; of those at one address the one that covers most, then the shortest name first.
static int compare_symbols(const void *left, const void *right) {
  const tm_code_symbol *a = left, *b = right;
  if (a->address != b->address) return a->address < b->address ? -1 : 1;
  uint64_t m = a->size & GUESSED ? 0 : a->size, n = b->size & GUESSED ? 0 : b->size;
  if (m != n) return m > n ? -1 : 1;
  size_t x = strlen(a->name), y = strlen(b->name);
  return x != y ? (x < y ? -1 : 1) : strcmp(a->name, b->name);
}

static void sort_symbols(tm_binary *b) {
  tm_code_symbol *s = b->symbols.items;
  size_t kept = 0;
  if (!b->symbols.count) return;
  qsort(s, b->symbols.count, sizeof *s, compare_symbols);
  for (size_t i = 0; i < b->symbols.count; i++) // .symtab and .dynsym say the same twice
    if (!kept || s[kept - 1].address != s[i].address || strcmp(s[kept - 1].name, s[i].name) != 0)
      s[kept++] = s[i];
  b->symbols.count = kept;
  uint64_t next = UINT64_MAX; // the next higher address
  for (size_t i = kept; i-- > 0;) {
    if (i + 1 < kept && s[i + 1].address != s[i].address) next = s[i + 1].address;
    if (!(s[i].size & GUESSED)) continue;
    s[i].size &= ~GUESSED;
    if (s[i].size > next - s[i].address) s[i].size = next - s[i].address;
  }
}

// --- opening ---

static tm_status read_headers(tm_ctx *ctx, tm_binary *b) {
  GElf_Ehdr header;
  if (!b->elf || elf_kind(b->elf) != ELF_K_ELF || !gelf_getehdr(b->elf, &header))
    return tm_fail(ctx, TM_E_FORMAT, 0, "this is no ELF binary");
  b->fixed = header.e_type == ET_EXEC;
  TM_TRY(read_segments(ctx, b));
  TM_TRY(read_sections(ctx, b));
  TM_TRY(read_go_functions(ctx, b));
  sort_symbols(b);
  return TM_OK;
}

static tm_binary *new_binary(tm_ctx *ctx, const char *path) {
  tm_binary *b = tm_calloc(ctx, 1, sizeof *b);
  if (!b) return NULL;
  b->alloc = ctx->alloc;
  b->fd = -1;
  b->debug_link = "";
  tm_arena_init(&b->arena, &ctx->alloc, 0);
  b->path = tm_arena_strndup(&b->arena, path, strlen(path));
  if (!b->path) b->path = "";
  elf_version(EV_CURRENT);
  return b;
}

tm_status tm_binary_open(tm_ctx *ctx, const char *path, tm_binary **out) {
  struct stat st;
  tm_binary *b = new_binary(ctx, path);
  if (!b) return TM_E_NOMEM;
  tm_status status;
  b->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (b->fd < 0) {
    status = tm_fail_errno(ctx, errno, "opening %s", path);
  } else if (fstat(b->fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    status = tm_fail(ctx, TM_E_FORMAT, TM_NO_OFFSET, "%s is no file", path);
  } else {
    b->elf = elf_begin(b->fd, ELF_C_READ, NULL);
    status = read_headers(ctx, b);
    if (status != TM_OK) status = tm_fail_in(ctx, "reading %s", path);
  }
  if (status == TM_OK) *out = b;
  if (status != TM_OK) tm_binary_free(b);
  return status;
}

tm_status tm_binary_from_buffer(tm_ctx *ctx, void *data, size_t size, tm_binary **out) {
  tm_binary *b = new_binary(ctx, "");
  if (!b) return TM_E_NOMEM;
  b->elf = elf_memory(data, size);
  tm_status status = read_headers(ctx, b);
  if (status == TM_OK) *out = b;
  if (status != TM_OK) tm_binary_free(b);
  return status;
}

static void free_one(tm_binary *b) {
  tm_ctx ctx = {.alloc = b->alloc};
  tm_debug_lines_free(b->lines);
  if (b->elf) elf_end(b->elf);
  if (b->fd >= 0) close(b->fd);
  tm_vec_free(&ctx, &b->segments);
  tm_vec_free(&ctx, &b->symbols);
  tm_arena_fini(&b->arena);
  tm_free(&ctx, b, sizeof *b);
}

void tm_binary_free(tm_binary *b) {
  if (b && b->debug) free_one(b->debug);
  if (b) free_one(b);
}

// --- questions ---

void tm_binary_set_debug(tm_binary *b, tm_binary *debug) {
  if (b->debug) free_one(b->debug);
  b->debug = debug;
}

const char *tm_binary_path(const tm_binary *b) {
  return b->path;
}

const char *tm_binary_build_id(const tm_binary *b) {
  return b->build_id;
}

const char *tm_binary_debug_link(const tm_binary *b) {
  return b->debug_link;
}

bool tm_binary_same_places(const tm_binary *a, const tm_binary *b) {
  bool same = a->segments.count == b->segments.count;
  for (size_t i = 0; same && i < a->segments.count; i++)
    same = a->segments.items[i].address == b->segments.items[i].address
           && a->segments.items[i].bytes == b->segments.items[i].bytes;
  return same;
}

static bool is_linked(const tm_binary *b, uint64_t address) {
  for (size_t i = 0; i < b->segments.count; i++) {
    const segment *s = &b->segments.items[i];
    if (address >= s->address && address - s->address < s->bytes) return true;
  }
  return false;
}

bool tm_binary_address(const tm_binary *b, const tm_mapping *m, uint64_t address, uint64_t *out) {
  *out = address;
  if (b->fixed || !m->start) return is_linked(b, address);
  uint64_t offset = address - m->start + m->file_offset;
  const segment *found = NULL;
  for (size_t i = 0; i < b->segments.count; i++) {
    const segment *s = &b->segments.items[i];
    bool holds = offset >= s->offset && offset - s->offset < s->file_bytes;
    if (holds && (!found || s->executable)) found = s;
  }
  if (found) return *out = offset - found->offset + found->address, true;
  for (size_t i = 0; i < b->segments.count; i++) { // a debug file: its segments have no bytes
    const segment *s = &b->segments.items[i];
    if (!s->executable) continue;
    *out = address - m->start + (s->address & ~UINT64_C(0xfff));
    if (*out >= s->address && *out - s->address < s->bytes) return true;
  }
  return false;
}

const tm_code_symbol *tm_binary_symbols(const tm_binary *b, size_t *out_count) {
  if (b->debug && b->debug->symbols.count > b->symbols.count) b = b->debug;
  *out_count = b->symbols.count;
  return b->symbols.items;
}

// Sorted by address: the first of the last ones at or below it.
static const tm_code_symbol *search(const tm_binary *b, uint64_t address) {
  const tm_code_symbol *s = b->symbols.items;
  size_t low = 0, high = b->symbols.count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (s[middle].address <= address)
      low = middle + 1;
    else
      high = middle;
  }
  if (!low) return NULL;
  size_t at = low - 1;
  while (at && s[at - 1].address == s[at].address) at--;
  return address - s[at].address < s[at].size ? &s[at] : NULL;
}

const tm_code_symbol *tm_binary_symbol_at(const tm_binary *b, uint64_t address) {
  const tm_code_symbol *found = b->debug ? search(b->debug, address) : NULL;
  return found ? found : search(b, address);
}

static tm_status line_frames(tm_ctx *ctx, tm_binary *b, uint64_t address, tm_code_frame *frames,
                             uint32_t room, uint32_t *out_count) {
  if (!b->lines_asked) {
    b->lines_asked = true;
    tm_status status = tm_debug_lines_new(ctx, b->elf, &b->lines);
    if (status == TM_E_FORMAT)
      tm_ctx_clear(ctx); // damaged: the symbols still answer
    else if (status != TM_OK)
      return status;
  }
  return b->lines ? tm_debug_lines_frames(ctx, b->lines, address, frames, room, out_count) : TM_OK;
}

tm_status tm_binary_frames(tm_ctx *ctx, tm_binary *b, uint64_t address, tm_code_frame *frames,
                           uint32_t room, uint32_t *out_count) {
  *out_count = 0;
  if (!room) return TM_OK;
  if (b->debug) TM_TRY(line_frames(ctx, b->debug, address, frames, room, out_count));
  if (!*out_count) TM_TRY(line_frames(ctx, b, address, frames, room, out_count));
  if (!*out_count && b->is_go) *out_count = tm_go_pclntab_frames(&b->go, address, frames, room);
  const tm_code_symbol *symbol = tm_binary_symbol_at(b, address);
  if (!symbol) return TM_OK;
  if (!*out_count) {
    frames[0] = (tm_code_frame){.function = "", .file = ""};
    *out_count = 1;
  }
  tm_code_frame *outermost = &frames[*out_count - 1];
  if (!*outermost->function) outermost->function = symbol->name;
  return TM_OK;
}
#endif
