// What the program holds at this moment: /proc/self/fd as it is, each number with what was recorded
// about it. Bytes are counted once for each file, with its lowest number.
#include "agent_handles.h"
#include "agent_tables.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LISTING_BYTES = 32768, LINK_BYTES = 256, BLOCK_BYTES = 512 };

const char *tm_handle_kind_text(uint32_t kind) {
  static const char *const names[] = {
#define TM_HANDLE(id, name, doc) name,
#include "../platform/handles.def"
#undef TM_HANDLE
      "pixmap"};
  return kind < TM_AGENT_HANDLE_KINDS ? names[kind] : "other";
}

// ---- kinds ----

typedef struct known_link {
  const char *begins;
  uint8_t kind;
} known_link;

// The first that fits counts.
static uint8_t kind_of_link(const char *link) {
  static const known_link rows[] = {{"socket:[", TM_AGENT_HANDLE_SOCKET},
                                    {"pipe:[", TM_AGENT_HANDLE_PIPE},
                                    {"pidfd:", TM_AGENT_HANDLE_PIDFD},
                                    {"anon_inode:[eventfd]", TM_AGENT_HANDLE_EVENTFD},
                                    {"anon_inode:[eventpoll]", TM_AGENT_HANDLE_EPOLL},
                                    {"anon_inode:[timerfd]", TM_AGENT_HANDLE_TIMERFD},
                                    {"anon_inode:[signalfd]", TM_AGENT_HANDLE_SIGNALFD},
                                    {"anon_inode:inotify", TM_AGENT_HANDLE_INOTIFY},
                                    {"anon_inode:[fanotify]", TM_AGENT_HANDLE_INOTIFY},
                                    {"anon_inode:[io_uring", TM_AGENT_HANDLE_IO_URING},
                                    {"anon_inode:bpf", TM_AGENT_HANDLE_BPF},
                                    {"anon_inode:[pidfd]", TM_AGENT_HANDLE_PIDFD},
                                    {"anon_inode:dmabuf", TM_AGENT_HANDLE_DMABUF},
                                    {"anon_inode:[dmabuf]", TM_AGENT_HANDLE_DMABUF},
                                    {"anon_inode:", TM_AGENT_HANDLE_OTHER},
                                    {"/memfd:", TM_AGENT_HANDLE_MEMFD},
                                    {"/dmabuf:", TM_AGENT_HANDLE_DMABUF},
                                    {"/dev/shm/", TM_AGENT_HANDLE_SHM},
                                    {"/dev/dri/", TM_AGENT_HANDLE_DRM},
                                    {"/dev/pts/", TM_AGENT_HANDLE_TTY},
                                    {"/dev/tty", TM_AGENT_HANDLE_TTY},
                                    {"/dev/ptmx", TM_AGENT_HANDLE_TTY},
                                    {"/dev/console", TM_AGENT_HANDLE_TTY},
                                    {"/dev/", TM_AGENT_HANDLE_DEVICE},
                                    {"/", TM_AGENT_HANDLE_FILE}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (strncmp(link, rows[i].begins, strlen(rows[i].begins)) == 0) return rows[i].kind;
  return TM_AGENT_HANDLE_OTHER;
}

static uint8_t kind_of_file(uint8_t by_link, const struct stat *s) {
  if (by_link != TM_AGENT_HANDLE_FILE && by_link != TM_AGENT_HANDLE_SHM) return by_link;
  if (S_ISDIR(s->st_mode)) return TM_AGENT_HANDLE_DIRECTORY;
  if (S_ISFIFO(s->st_mode)) return TM_AGENT_HANDLE_PIPE;
  if (!S_ISREG(s->st_mode)) return TM_AGENT_HANDLE_DEVICE;
  return s->st_nlink ? by_link : TM_AGENT_HANDLE_DELETED;
}

// ---- bytes ----

// What a driver says of its buffer: "size:\t4096".
static uint64_t buffer_bytes(int fd) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  int info = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (info < 0) return 0;
  long got = syscall(SYS_read, info, text, sizeof text - 1);
  syscall(SYS_close, info);
  text[got > 0 ? got : 0] = 0;
  const char *size = strstr(text, "\nsize:");
  return size ? strtoull(size + sizeof "\nsize:" - 1, NULL, 10) : 0;
}

static uint64_t bytes_of(int fd, uint8_t kind, const struct stat *s) {
  switch (kind) {
  case TM_AGENT_HANDLE_MEMFD:
  case TM_AGENT_HANDLE_DELETED:
  case TM_AGENT_HANDLE_SHM:
    return (uint64_t)s->st_blocks * BLOCK_BYTES;
  case TM_AGENT_HANDLE_DMABUF:
    return buffer_bytes(fd);
  default:
    return 0;
  }
}

typedef struct file_id {
  uint64_t inode, device;
  bool is_taken;
} file_id;

typedef struct listing {
  tm_handle_each *each;
  void *ud;
  int folder;
  file_id *files; // whose bytes were counted
  uint32_t room, count;
  uint8_t entries[LISTING_BYTES];
} listing;

static file_id *place_of(const listing *l, const file_id *id) {
  uint64_t hash = (id->inode ^ id->device << 40) * UINT64_C(0x9e3779b97f4a7c15);
  uint32_t at = (uint32_t)(hash >> 32) & (l->room - 1);
  for (; l->files[at].is_taken; at = (at + 1) & (l->room - 1))
    if (l->files[at].inode == id->inode && l->files[at].device == id->device) break;
  return &l->files[at];
}

static bool grow(listing *l) {
  listing grown = {.room = l->room ? l->room * 2 : 1024};
  grown.files = tm_pages_get(grown.room * sizeof *grown.files);
  if (!grown.files) return false;
  for (uint32_t i = 0; i < l->room; i++)
    if (l->files[i].is_taken) *place_of(&grown, &l->files[i]) = l->files[i];
  tm_pages_drop(l->files, l->room * sizeof *l->files);
  l->files = grown.files;
  l->room = grown.room;
  return true;
}

static bool is_first(listing *l, const struct stat *s) {
  const file_id id = {s->st_ino, s->st_dev, true};
  if (l->count * 2 >= l->room && !grow(l)) return true;
  file_id *place = place_of(l, &id);
  if (place->is_taken) return false;
  *place = id;
  l->count++;
  return true;
}

// ---- the list ----

static void look(listing *l, int fd) {
  char name[16], link[LINK_BYTES];
  struct stat s;
  tm_handle_row row = {.number = (uint64_t)fd};
  if (fd == l->folder || tm_control_holds(fd)) return;
  snprintf(name, sizeof name, "%d", fd);
  long size = syscall(SYS_readlinkat, l->folder, name, link, sizeof link - 1);
  if (size < 0 || syscall(SYS_newfstatat, fd, "", &s, AT_EMPTY_PATH) != 0) return; // closed
  link[size] = 0;
  row.kind = kind_of_file(kind_of_link(link), &s);
  row.bytes = bytes_of(fd, row.kind, &s);
  if (row.bytes && !is_first(l, &s)) row.bytes = 0;
  row.is_seen = tm_handle_record_of(fd, tm_handle_ident(fd), &row);
  l->each(l->ud, &row);
}

// Source: getdents64(2).
typedef struct entry {
  uint64_t inode;
  int64_t offset;
  uint16_t bytes;
  uint8_t type;
  char name[];
} entry;

static void look_at_all(listing *l) {
  long got;
  while ((got = syscall(SYS_getdents64, l->folder, l->entries, sizeof l->entries)) > 0)
    for (long at = 0; at < got;) {
      uint16_t bytes;
      const uint8_t *e = l->entries + at;
      const char *name = (const char *)e + offsetof(entry, name);
      memcpy(&bytes, e + offsetof(entry, bytes), sizeof bytes);
      if (name[0] >= '0' && name[0] <= '9') look(l, atoi(name)); // NOLINT(cert-err34-c): digits
      at += bytes;
    }
}

void tm_handles_list(tm_handle_each *each, void *ud) {
  listing *l = tm_pages_get(sizeof *l);
  if (!l) return;
  l->each = each;
  l->ud = ud;
  l->folder =
      (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (l->folder >= 0) {
    look_at_all(l);
    syscall(SYS_close, l->folder);
  }
  tm_pages_drop(l->files, l->room * sizeof *l->files);
  tm_pages_drop(l, sizeof *l);
  tm_pixmaps_list(each, ud);
}
