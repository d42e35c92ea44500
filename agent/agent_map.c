// Which mapping an address is in, as the kernel says. Takes no lock and no memory.
// Source: PROCMAP_QUERY of linux/fs.h (6.11), one question; before that the text of proc(5), maps.
#include "agent_tables.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TEXT_BYTES = 4096, FLAG_WRITABLE = 2 };

typedef struct map_query {
  uint64_t size, flags, address, begin, end, vma_flags, page_bytes, offset, inode;
  uint32_t device_major, device_minor, name_bytes, build_id_bytes;
  uint64_t name_address, build_id_address;
} map_query;
#define QUERY_MAP _IOWR('f', 17, map_query)

static uintptr_t hexadecimal(const char **at, const char *end) {
  uintptr_t value = 0;
  for (; *at < end; (*at)++) {
    char c = **at;
    if (c >= '0' && c <= '9')
      value = value * 16 + (uintptr_t)(c - '0');
    else if (c >= 'a' && c <= 'f')
      value = value * 16 + (uintptr_t)(c - 'a' + 10);
    else
      break;
  }
  return value;
}

// "7f12a000-7f12b000 rw-p ..."
static bool read_line(const char *line, const char *end, uintptr_t address, tm_agent_map *out) {
  out->begin = hexadecimal(&line, end);
  if (line < end) line++;
  out->end = hexadecimal(&line, end);
  out->is_writable = end - line > 2 && line[2] == 'w';
  return address >= out->begin && address < out->end;
}

// Looks for the line of an address in the text; what a read cuts in two is put together.
static bool find_line(int fd, uintptr_t address, tm_agent_map *out) {
  char text[TEXT_BYTES];
  size_t have = 0;
  for (;;) {
    long got = syscall(SYS_read, fd, text + have, sizeof text - have);
    if (got <= 0) return false;
    have += (size_t)got;
    const char *line = text, *end = text + have, *newline;
    while ((newline = memchr(line, '\n', (size_t)(end - line)))) {
      if (read_line(line, newline, address, out)) return true;
      line = newline + 1;
    }
    have = (size_t)(end - line);
    if (have == sizeof text) have = 0; // a line of 4 KiB: its rest cannot be what we want
    memmove(text, end - have, have);
  }
}

bool tm_map_find(uintptr_t address, tm_agent_map *out) {
  static _Atomic bool is_old_kernel;
  map_query query = {.size = sizeof query, .address = address};
  bool is_found = false;
  // By number: libc's functions are points at which a thread may be cancelled, malloc is none.
  int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  if (!atomic_load_explicit(&is_old_kernel, memory_order_relaxed)) {
    is_found = syscall(SYS_ioctl, fd, QUERY_MAP, &query) == 0;
    if (is_found)
      *out = (tm_agent_map){query.begin, query.end, query.vma_flags & FLAG_WRITABLE};
    else if (errno == ENOTTY)
      atomic_store_explicit(&is_old_kernel, true, memory_order_relaxed);
  }
  if (!is_found) is_found = find_line(fd, address, out);
  if (!is_found) *out = (tm_agent_map){0, 0, false};
  syscall(SYS_close, fd);
  return is_found;
}
