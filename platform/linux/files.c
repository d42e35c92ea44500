// Reading files of /proc and /sys: openat, read, close into buffers that the platform value keeps,
// so that a steady state allocates nothing. Big tables are read in pieces, line by line.
#include "platform/linux/linux.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
  FIRST_ROOM = 16 << 10,
  MOST_BYTES = 64 << 20, // of one file read whole; none comes near
  STREAM_ROOM = 64 << 10,
};

int tm_plat_grow(tm_plat *plat, void **items, size_t *room, size_t need, size_t item_bytes) {
  if (need <= *room) return 0;
  size_t bigger = *room + *room / 2;
  if (bigger < need) bigger = need;
  if (bigger < 16) bigger = 16;
  if (bigger > SIZE_MAX / item_bytes) return ENOMEM;
  void *p = plat->alloc.realloc_fn(plat->alloc.ud, *items, *room * item_bytes, bigger * item_bytes);
  if (!p) return ENOMEM;
  *items = p;
  *room = bigger;
  return 0;
}

void tm_plat_free(tm_plat *plat, void *items, size_t room, size_t item_bytes) {
  if (items) plat->alloc.realloc_fn(plat->alloc.ud, items, room * item_bytes, 0);
}

static int buffer_grow(tm_plat *plat, tm_buffer *buffer, size_t need) {
  return tm_plat_grow(plat, (void **)&buffer->data, &buffer->room, need, 1);
}

// A fixture may hold a pipe or a device by mistake: it must not hang the reader.
static int open_file(int dir_fd, const char *name) {
  return openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static ssize_t read_again(int fd, char *buf, size_t size) {
  ssize_t n;
  do n = read(fd, buf, size);
  while (n < 0 && errno == EINTR);
  return n;
}

static int slurp_fd(tm_plat *plat, int fd, tm_text *out) {
  size_t used = 0;
  int err = buffer_grow(plat, &plat->text, FIRST_ROOM);
  while (!err) {
    ssize_t n = read_again(fd, plat->text.data + used, plat->text.room - used);
    if (n < 0) return errno;
    if (n == 0) break;
    used += (size_t)n;
    if (used == plat->text.room) {
      if (used >= MOST_BYTES) return EFBIG;
      err = buffer_grow(plat, &plat->text, used * 2);
    }
  }
  if (!err) *out = tm_text_of(plat->text.data, used);
  return err;
}

int tm_plat_slurp(tm_plat *plat, int dir_fd, const char *name, tm_text *out) {
  int fd = open_file(dir_fd, name);
  if (fd < 0) return errno;
  int err = slurp_fd(plat, fd, out);
  close(fd);
  return err;
}

int tm_plat_head(int dir_fd, const char *name, char *buf, size_t size, tm_text *out) {
  int fd = open_file(dir_fd, name);
  if (fd < 0) return errno;
  ssize_t n = read_again(fd, buf, size);
  int err = n < 0 ? errno : 0;
  close(fd);
  if (!err) *out = tm_text_of(buf, (size_t)n);
  return err;
}

int tm_plat_number(int dir_fd, const char *name, uint64_t *out) {
  char buf[64];
  tm_text text;
  int err = tm_plat_head(dir_fd, name, buf, sizeof buf, &text);
  if (err) return err;
  if (tm_text_starts(text, "max")) {
    *out = UINT64_MAX;
    return 0;
  }
  return tm_text_u64(&text, out) ? 0 : ENODATA;
}

double tm_plat_value(int dir_fd, const char *name) {
  uint64_t value;
  if (tm_plat_number(dir_fd, name, &value) || value == UINT64_MAX) return NAN;
  return (double)value;
}

int tm_plat_write(int dir_fd, const char *name, const char *bytes) {
  int fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_TRUNC);
  if (fd < 0) return errno;
  size_t size = strlen(bytes);
  ssize_t n = write(fd, bytes, size);
  int err = n < 0 ? errno : (size_t)n == size ? 0 : EIO;
  close(fd);
  return err;
}

// Hands over the whole lines of buf[0, used) and answers how many bytes are left over.
static size_t hand_over(char *buf, size_t used, bool at_end, bool (*fn)(void *, tm_text), void *ud,
                        bool *go_on) {
  tm_text text = tm_text_of(buf, used), line;
  while (*go_on && text.at < text.end) {
    if (!at_end && !memchr(text.at, '\n', tm_text_size(text))) break;
    tm_text_line(&text, &line);
    *go_on = fn(ud, line);
  }
  size_t left = tm_text_size(text);
  memmove(buf, text.at, left);
  return left;
}

int tm_plat_each_line(tm_plat *plat, int dir_fd, const char *name,
                      bool (*fn)(void *ud, tm_text line), void *ud) {
  int err = buffer_grow(plat, &plat->stream, STREAM_ROOM);
  if (err) return err;
  int fd = open_file(dir_fd, name);
  if (fd < 0) return errno;
  size_t left = 0;
  bool go_on = true;
  while (go_on) {
    if (left == plat->stream.room) left = 0; // no kernel line is that long: forget it
    ssize_t n = read_again(fd, plat->stream.data + left, plat->stream.room - left);
    if (n < 0) {
      err = errno;
      break;
    }
    left = hand_over(plat->stream.data, left + (size_t)n, n == 0, fn, ud, &go_on);
    if (n == 0) break;
  }
  close(fd);
  return err;
}

struct entry { // what getdents64 fills; Source: getdents(2)
  uint64_t inode;
  int64_t offset;
  uint16_t size;
  uint8_t type;
  char name[];
};

// A folder of 10,000 descriptors comes through here at every change: no strlen, no second pass.
static bool entry_number(const char *name, int64_t *out) {
  int64_t value = 0;
  const char *p = name;
  for (; (uint8_t)(*p - '0') <= 9; p++) {
    value = value * 10 + (*p - '0');
    if (value > INT32_MAX) return false;
  }
  *out = value;
  return p != name && *p == '\0';
}

int tm_plat_each_number(tm_plat *plat, int dir_fd, bool (*fn)(void *ud, int64_t number), void *ud) {
  int err = buffer_grow(plat, &plat->dirents, STREAM_ROOM);
  if (err) return err;
  if (lseek(dir_fd, 0, SEEK_SET) < 0) return errno;
  for (;;) {
    int64_t n = syscall(SYS_getdents64, dir_fd, plat->dirents.data, plat->dirents.room);
    if (n < 0) return errno;
    if (n == 0) return 0;
    for (int64_t at = 0; at < n;) {
      const struct entry *entry = (const void *)(plat->dirents.data + at);
      int64_t number;
      if (entry_number(entry->name, &number) && !fn(ud, number)) return 0;
      at += entry->size;
    }
  }
}
