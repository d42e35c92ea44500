// Go's linker puts a 32-byte header, aligned to 16, at the start of .go.buildinfo; a program whose
// section table was cut off keeps it in its first writable segment. Both are found through ELF's
// tables, by a few small reads. Numbers are of the file's own byte order and word size.
#include "live/exe_runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
  SEARCH_BYTES = 1 << 20, // of a segment
  MAX_ROWS = 4096,        // of ELF's tables
  HEADER_BYTES = 32,
  SEGMENT_LOAD = 1,
  SEGMENT_WRITABLE = 2,
};

static const char magic[] = "\xff Go buildinf:", section[] = ".go.buildinfo";

typedef struct elf {
  int fd;
  bool is_64, big_endian;
} elf;

typedef struct span {
  uint64_t offset_bytes, size_bytes;
} span;

static bool read_at(const elf *e, uint64_t offset, void *out, size_t size) {
  return offset <= INT64_MAX && pread(e->fd, out, size, (off_t)offset) == (ssize_t)size;
}

static uint64_t number(const elf *e, const uint8_t *at, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++) value = value << 8 | at[e->big_endian ? i : bytes - 1 - i];
  return value;
}

// A field whose place differs between the two word sizes.
static uint64_t field(const elf *e, const uint8_t *row, int at_32, int at_64, bool is_word) {
  return number(e, row + (e->is_64 ? at_64 : at_32), is_word && e->is_64 ? 8 : 4);
}

// The version stands behind the header when flag 2 says so: its length, then its letters.
static void read_version(const elf *e, uint64_t offset, const uint8_t *header,
                         tm_exe_runtime *out) {
  uint8_t text[1 + sizeof out->version];
  if (!(header[15] & 2) || !read_at(e, offset + HEADER_BYTES, text, sizeof text)) return;
  size_t size = text[0]; // a varint of one byte: versions are short
  if (size >= sizeof out->version) return;
  for (size_t i = 0; i < size; i++)
    if (text[1 + i] < ' ' || text[1 + i] > '~') return;
  memcpy(out->version, text + 1, size);
  out->version[size] = '\0';
}

static bool find_header(const elf *e, span where, tm_exe_runtime *out) {
  uint8_t page[4096];
  uint64_t left = where.size_bytes < SEARCH_BYTES ? where.size_bytes : SEARCH_BYTES;
  for (uint64_t at = where.offset_bytes; left >= HEADER_BYTES; at += sizeof page) {
    size_t size = left < sizeof page ? (size_t)left : sizeof page;
    if (!read_at(e, at, page, size)) return false;
    for (size_t i = 0; i + HEADER_BYTES <= size; i += 16) {
      if (memcmp(page + i, magic, sizeof magic - 1) != 0) continue;
      out->name = "go";
      read_version(e, at + i, page + i, out);
      return true;
    }
    left -= size;
  }
  return false;
}

static bool look_in_sections(const elf *e, const uint8_t *head, tm_exe_runtime *out) {
  uint64_t table = field(e, head, 32, 40, true);
  uint64_t row_bytes = number(e, head + (e->is_64 ? 58 : 46), 2);
  uint64_t count = number(e, head + (e->is_64 ? 60 : 48), 2);
  uint64_t names_row = number(e, head + (e->is_64 ? 62 : 50), 2);
  uint8_t row[64];
  size_t want = e->is_64 ? 64 : 40;
  if (row_bytes < want || count > MAX_ROWS || names_row >= count
      || !read_at(e, table + names_row * row_bytes, row, want))
    return false;
  uint64_t names = field(e, row, 16, 24, true);
  for (uint64_t i = 0; i < count; i++) {
    char name[sizeof section] = "";
    if (!read_at(e, table + i * row_bytes, row, want)) return false;
    if (!read_at(e, names + number(e, row, 4), name, sizeof name)) continue;
    span where = {field(e, row, 16, 24, true), field(e, row, 20, 32, true)};
    if (memcmp(name, section, sizeof section) == 0 && find_header(e, where, out)) return true;
  }
  return false;
}

static bool look_in_segments(const elf *e, const uint8_t *head, tm_exe_runtime *out) {
  uint64_t table = field(e, head, 28, 32, true);
  uint64_t row_bytes = number(e, head + (e->is_64 ? 54 : 42), 2);
  uint64_t count = number(e, head + (e->is_64 ? 56 : 44), 2);
  uint8_t row[56];
  size_t want = e->is_64 ? 56 : 32;
  if (row_bytes < want || count > MAX_ROWS) return false;
  for (uint64_t i = 0; i < count; i++) {
    if (!read_at(e, table + i * row_bytes, row, want)) return false;
    bool writable = field(e, row, 24, 4, false) & SEGMENT_WRITABLE;
    span where = {field(e, row, 4, 8, true), field(e, row, 16, 32, true)};
    if (number(e, row, 4) == SEGMENT_LOAD && writable) return find_header(e, where, out);
  }
  return false;
}

tm_status tm_exe_find_runtime(tm_ctx *ctx, const char *path, tm_exe_runtime *out) {
  uint8_t head[64];
  *out = (tm_exe_runtime){.name = "native"};
  elf e = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
  if (e.fd < 0) return tm_fail_errno(ctx, errno, "cannot read the program %s", path);
  if (read_at(&e, 0, head, sizeof head) && memcmp(head, "\177ELF", 4) == 0) {
    e.is_64 = head[4] == 2;
    e.big_endian = head[5] == 2;
    if (!look_in_sections(&e, head, out)) look_in_segments(&e, head, out);
  }
  close(e.fd);
  return TM_OK;
}
