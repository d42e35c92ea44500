// Executable mappings out of /proc/self/maps, with the build ids that their ELF headers name. Rows
// are never moved, so a number stays good; a library that was closed leaves its row, for the stacks
// that lead through it.
#include "agent_images.h"

#include "agent_tables.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINE_BYTES = 4096 + 512 };

static tm_image images[TM_IMAGES];
static _Atomic uint32_t image_count;
static char paths[TM_IMAGE_PATHS];
static uint32_t paths_used = 1;
static tm_spin images_lock;
static char main_path[1024];

typedef struct map_line {
  uintptr_t begin, end;
  uint64_t offset;
  bool is_code;
  const char *path; // "" = no file
} map_line;

static uint64_t number(const char **at, unsigned base) {
  uint64_t value = 0;
  for (;; (*at)++) {
    unsigned digit = (unsigned)(**at - '0');
    if (digit > 9) digit = (unsigned)(**at - 'a' + 10);
    if (digit >= base) return value;
    value = value * base + digit;
  }
}

// "7f00-7f10 r-xp 00001000 fe:01 1234   /usr/lib/x.so". Changes the text.
static bool read_line(char *text, map_line *out) {
  const char *at = text;
  out->begin = number(&at, 16);
  if (*at++ != '-') return false;
  out->end = number(&at, 16);
  if (*at++ != ' ' || strlen(at) < 5) return false;
  out->is_code = at[2] == 'x';
  at += 5;
  out->offset = number(&at, 16);
  for (int fields = 0; fields < 2; fields++) { // device, inode
    at += strspn(at, " ");
    at += strcspn(at, " ");
  }
  out->path = at + strspn(at, " ");
  char *deleted = strstr(text, " (deleted)");
  if (deleted) *deleted = 0;
  return true;
}

// Source: gABI, notes; the program headers lie in the first page of every file that is mapped.
static void read_id(uintptr_t base, tm_image *out) {
  ElfW(Ehdr) head;
  ElfW(Phdr) segment;
  uint8_t note[1024];
  uintptr_t first = 0;
  if (tm_peek(base, &head, sizeof head) < sizeof head || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0)
    return;
  for (uint32_t i = 0; i < head.e_phnum; i++) {
    if (tm_peek(base + head.e_phoff + i * sizeof segment, &segment, sizeof segment)
        < sizeof segment)
      return;
    if (segment.p_type == PT_LOAD && segment.p_offset == 0) first = segment.p_vaddr;
    if (segment.p_type != PT_NOTE) continue;
    size_t want = segment.p_memsz < sizeof note ? segment.p_memsz : sizeof note;
    size_t have = tm_peek(base - first + segment.p_vaddr, note, want);
    for (size_t at = 0; at + 12 <= have;) {
      uint32_t sizes[3]; // of name, of value, type
      memcpy(sizes, note + at, sizeof sizes);
      size_t value = at + 12 + ((sizes[0] + 3u) & ~3u), next = value + ((sizes[1] + 3u) & ~3u);
      if (next > have || next <= at) break;
      if (sizes[2] == NT_GNU_BUILD_ID && sizes[0] == 4 && sizes[1] <= TM_IMAGE_ID) {
        out->id_bytes = (uint8_t)sizes[1];
        memcpy(out->id, note + value, sizes[1]);
        return;
      }
      at = next;
    }
  }
}

static uint32_t keep_path(const char *path) {
  uint32_t count = atomic_load(&image_count);
  for (uint32_t i = 0; i < count; i++)
    if (strcmp(paths + images[i].path, path) == 0) return images[i].path;
  size_t bytes = strlen(path) + 1;
  if (paths_used + bytes > sizeof paths) return 0;
  memcpy(paths + paths_used, path, bytes);
  paths_used += (uint32_t)bytes;
  return paths_used - (uint32_t)bytes;
}

static void on_code(const map_line *line, uintptr_t elf_base) {
  uint32_t count = atomic_load(&image_count);
  for (uint32_t i = 0; i < count; i++) {
    if (images[i].begin != line->begin || images[i].end != line->end) continue;
    if (images[i].file_offset != line->offset || strcmp(tm_image_path(&images[i]), line->path) != 0)
      continue;
    images[i].is_here = true;
    return;
  }
  if (count == TM_IMAGES) return;
  tm_image *image = &images[count];
  *image = (tm_image){.begin = line->begin, .end = line->end, .file_offset = line->offset};
  image->path = keep_path(line->path);
  image->is_here = true;
  image->is_main = line->path[0] && strcmp(line->path, main_path) == 0;
  if (elf_base) read_id(elf_base, image);
  atomic_store(&image_count, count + 1);
}

typedef struct lines {
  uintptr_t elf_base; // where the file whose rows these are begins
  char elf_path[LINE_BYTES];
  char text[LINE_BYTES];
} lines;

static void on_line(lines *l, char *text) {
  map_line line;
  if (!read_line(text, &line)) return;
  bool is_file = line.path[0] == '/';
  if (is_file && line.offset == 0) {
    l->elf_base = line.begin;
    snprintf(l->elf_path, sizeof l->elf_path, "%s", line.path);
  }
  if (line.is_code && line.path[0] != '[')
    on_code(&line, is_file && strcmp(l->elf_path, line.path) == 0 ? l->elf_base : 0);
}

static bool read_all(lines *l) {
  size_t have = 0;
  int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  for (uint32_t i = 0; i < atomic_load(&image_count); i++) images[i].is_here = false;
  for (;;) {
    long got = syscall(SYS_read, fd, l->text + have, sizeof l->text - 1 - have);
    if (got <= 0) break;
    have += (size_t)got;
    l->text[have] = 0;
    char *line = l->text, *newline;
    while ((newline = strchr(line, '\n'))) {
      *newline = 0;
      on_line(l, line);
      line = newline + 1;
    }
    have -= (size_t)(line - l->text);
    if (have == sizeof l->text - 1) have = 0; // no such path
    memmove(l->text, line, have);
  }
  syscall(SYS_close, fd);
  return true;
}

bool tm_images_update(void) {
  if (atomic_exchange_explicit(&images_lock.is_held, 1, memory_order_acquire)) return false;
  lines *l = tm_pages_get(sizeof *l);
  if (!main_path[0]) {
    long bytes = syscall(SYS_readlink, "/proc/self/exe", main_path, sizeof main_path - 1);
    main_path[bytes > 0 ? bytes : 0] = 0;
  }
  bool ok = l && read_all(l);
  tm_pages_drop(l, sizeof *l);
  tm_spin_unlock(&images_lock);
  return ok;
}

uint32_t tm_images_count(void) {
  return atomic_load(&image_count);
}

const tm_image *tm_image_at(uint32_t number) {
  return &images[number];
}

const char *tm_image_path(const tm_image *image) {
  return paths + image->path;
}

uint32_t tm_image_of(uintptr_t address) {
  uint32_t found = UINT32_MAX, count = tm_images_count();
  for (uint32_t i = 0; i < count; i++) {
    if (address < images[i].begin || address >= images[i].end) continue;
    if (images[i].is_here) return i;
    found = i;
  }
  return found;
}
