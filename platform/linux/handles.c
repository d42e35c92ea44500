// Descriptors by kind, and the bytes that only descriptors hold. The kinds are cached by number:
// the folder is listed when the count moved, and only numbers not seen before are looked at. A
// number closed and opened again between two readings of equal count would keep its old kind, so
// every RECLASSIFY_EVERY-th reading looks at all of them. Files without a name are measured at
// every reading (one statx each), sockets at every SOCKETS_EVERY-th and after a change.
#include "platform/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECLASSIFY_EVERY = 16, SOCKETS_EVERY = 4 };

typedef struct held_stat {
  uint64_t inode, bytes;
  uint32_t dev_major, dev_minor, mode, links;
} held_stat;

// Through the link of a descriptor; never waits for a network file system.
static int stat_descriptor(int fds_fd, const char *name, held_stat *out) {
  struct statx st;
  if (statx(fds_fd, name, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_NLINK | STATX_INO | STATX_BLOCKS,
            &st))
    return errno;
  *out = (held_stat){st.stx_ino,       st.stx_blocks * 512, st.stx_dev_major,
                     st.stx_dev_minor, st.stx_mode,         st.stx_nlink};
  return 0;
}

static tm_handle_kind kind_of_mode(const held_stat *st, tm_handle_kind by_link) {
  switch (st->mode & S_IFMT) {
  case S_IFDIR:
    return TM_HANDLE_DIRECTORY;
  case S_IFIFO:
    return TM_HANDLE_PIPE;
  case S_IFREG:
    return by_link == TM_HANDLE_SHM && st->links ? TM_HANDLE_SHM
           : st->links                           ? TM_HANDLE_FILE
                                                 : TM_HANDLE_DELETED;
  default:
    return by_link == TM_HANDLE_DELETED || by_link == TM_HANDLE_FILE ? TM_HANDLE_DEVICE : by_link;
  }
}

static int classify(const tm_plat *plat, int fds_fd, int32_t number, char *target, size_t size,
                    size_t *out_length, tm_fd_entry *out) {
  char name[16];
  snprintf(name, sizeof name, "%d", number);
  ssize_t n = readlinkat(fds_fd, name, target, size);
  if (n < 0) return errno;
  *out_length = (size_t)n;
  *out = (tm_fd_entry){.number = number};
  out->kind = tm_procfs_link_kind(tm_text_of(target, (size_t)n), &out->inode);
  bool is_path =
      out->kind == TM_HANDLE_FILE || out->kind == TM_HANDLE_DELETED || out->kind == TM_HANDLE_SHM;
  held_stat st;
  // A fixture's links point at files of this machine: their words are all there is.
  if (is_path && !plat->proc_fixture && !stat_descriptor(fds_fd, name, &st))
    out->kind = kind_of_mode(&st, out->kind);
  return 0;
}

// ---- The table: plat->numbers listed, merged with what was known.

typedef struct number_list {
  tm_plat *plat;
  bool sorted;
  int err;
} number_list;

static bool add_number(void *ud, int64_t number) {
  number_list *list = ud;
  tm_plat *plat = list->plat;
  if (plat->number_count == plat->number_room)
    list->err = tm_plat_grow(plat, (void **)&plat->numbers, &plat->number_room,
                             plat->number_count + 1, sizeof *plat->numbers);
  if (list->err) return false;
  if (plat->number_count && plat->numbers[plat->number_count - 1] > number) list->sorted = false;
  plat->numbers[plat->number_count++] = (int32_t)number;
  return true;
}

static int by_number(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x > y) - (x < y);
}

static int list_numbers(tm_plat *plat, int fds_fd) {
  number_list list = {.plat = plat, .sorted = true};
  plat->number_count = 0;
  int err = tm_plat_each_number(plat, fds_fd, add_number, &list);
  if (!err) err = list.err;
  if (!err && !list.sorted)
    qsort(plat->numbers, plat->number_count, sizeof *plat->numbers, by_number);
  return err;
}

static int merge_numbers(tm_proc *proc, int fds_fd, bool all) {
  tm_plat *plat = proc->plat;
  tm_fd_list *fresh = &plat->fd_scratch, *known = &proc->fds;
  int err = tm_plat_grow(plat, (void **)&fresh->items, &fresh->room, plat->number_count,
                         sizeof *fresh->items);
  if (err) return err;
  fresh->count = 0;
  memset(proc->kind_counts, 0, sizeof proc->kind_counts);
  for (size_t i = 0, k = 0; i < plat->number_count; i++) {
    int32_t number = plat->numbers[i];
    while (k < known->count && known->items[k].number < number) k++;
    tm_fd_entry entry;
    if (!all && k < known->count && known->items[k].number == number) {
      entry = known->items[k];
    } else {
      char target[256];
      size_t length;
      err = classify(plat, fds_fd, number, target, sizeof target, &length, &entry);
      if (err == ENOENT) continue; // closed meanwhile
      if (err) return err;
    }
    fresh->items[fresh->count++] = entry;
    proc->kind_counts[entry.kind]++;
  }
  tm_fd_list swap = *known; // the old table is the next scratch
  *known = *fresh;
  *fresh = swap;
  return 0;
}

// ---- Bytes.

static int by_file(const void *a, const void *b) {
  const tm_held_file *x = a, *y = b;
  if (x->dev_major != y->dev_major) return x->dev_major < y->dev_major ? -1 : 1;
  if (x->dev_minor != y->dev_minor) return x->dev_minor < y->dev_minor ? -1 : 1;
  return (x->inode > y->inode) - (x->inode < y->inode);
}

static int add_held(tm_plat *plat, int fds_fd, const tm_fd_entry *entry) {
  char name[16];
  held_stat st;
  snprintf(name, sizeof name, "%d", entry->number);
  if (stat_descriptor(fds_fd, name, &st) || !st.bytes) return 0; // closed meanwhile, or empty
  int err = tm_plat_grow(plat, (void **)&plat->held, &plat->held_room, plat->held_count + 1,
                         sizeof *plat->held);
  if (err) return err;
  plat->held[plat->held_count++] = (tm_held_file){.inode = st.inode,
                                                  .bytes = st.bytes,
                                                  .dev_major = st.dev_major,
                                                  .dev_minor = st.dev_minor,
                                                  .kind = entry->kind};
  return 0;
}

static bool add_mapped(void *ud, tm_text line) {
  tm_plat *plat = ud;
  tm_procfs_map map;
  if (!tm_procfs_parse_map(line, &map) || !map.inode) return true;
  tm_held_file key = {.inode = map.inode, .dev_major = map.dev_major, .dev_minor = map.dev_minor};
  tm_held_file *file = bsearch(&key, plat->held, plat->held_count, sizeof key, by_file);
  if (file) file->mapped_bytes += map.end - map.start;
  return true;
}

// Bytes of files that have no name any more, each once, less what mappings of this process show in
// its RSS already (at most).
static int measure_files(tm_proc *proc, int fds_fd) {
  tm_plat *plat = proc->plat;
  plat->held_count = 0;
  int err = 0;
  if (!proc->kind_counts[TM_HANDLE_MEMFD] && !proc->kind_counts[TM_HANDLE_DELETED]) return 0;
  for (size_t i = 0; !err && i < proc->fds.count; i++) {
    const tm_fd_entry *entry = &proc->fds.items[i];
    if (entry->kind == TM_HANDLE_MEMFD || entry->kind == TM_HANDLE_DELETED)
      err = add_held(plat, fds_fd, entry);
  }
  if (err || !plat->held_count) return err;
  qsort(plat->held, plat->held_count, sizeof *plat->held, by_file);
  size_t kept = 1;
  for (size_t i = 1; i < plat->held_count; i++)
    if (by_file(&plat->held[i], &plat->held[kept - 1]) != 0) plat->held[kept++] = plat->held[i];
  plat->held_count = kept;
  err = tm_plat_each_line(plat, proc->dir_fd, "maps", add_mapped, plat);
  if (err) return err;
  for (size_t i = 0; i < plat->held_count; i++) {
    const tm_held_file *file = &plat->held[i];
    proc->kind_bytes[file->kind] += file->bytes;
    if (file->bytes > file->mapped_bytes) proc->unmapped_bytes += file->bytes - file->mapped_bytes;
  }
  return 0;
}

static void measure_dmabufs(tm_proc *proc) {
  static const tm_procfs_key key = {"size", 0, 1};
  proc->kind_bytes[TM_HANDLE_DMABUF] = 0;
  for (size_t i = 0; proc->kind_counts[TM_HANDLE_DMABUF] && i < proc->fds.count; i++) {
    if (proc->fds.items[i].kind != TM_HANDLE_DMABUF) continue;
    char name[32], buf[512];
    tm_text text;
    double bytes;
    snprintf(name, sizeof name, "fdinfo/%d", proc->fds.items[i].number);
    if (tm_plat_head(proc->dir_fd, name, buf, sizeof buf, &text)) continue;
    tm_procfs_parse_keys(text, &key, 1, &bytes, 1);
    if (bytes < 0x1p62) proc->kind_bytes[TM_HANDLE_DMABUF] += (uint64_t)bytes;
  }
}

static int by_inode(const void *a, const void *b) {
  const tm_socket *x = a, *y = b;
  return (x->inode > y->inode) - (x->inode < y->inode);
}

// The process's sockets into plat->sockets, each once, with the bytes in their queues.
static int measure_sockets(tm_proc *proc) {
  tm_plat *plat = proc->plat;
  plat->socket_count = 0;
  proc->kind_bytes[TM_HANDLE_SOCKET] = 0;
  if (!proc->kind_counts[TM_HANDLE_SOCKET]) return 0;
  int err = tm_plat_grow(plat, (void **)&plat->sockets, &plat->socket_room,
                         proc->kind_counts[TM_HANDLE_SOCKET], sizeof *plat->sockets);
  if (err) return err;
  for (size_t i = 0; i < proc->fds.count; i++)
    if (proc->fds.items[i].kind == TM_HANDLE_SOCKET && proc->fds.items[i].inode)
      plat->sockets[plat->socket_count++] = (tm_socket){.inode = proc->fds.items[i].inode};
  if (!plat->socket_count) return 0;
  qsort(plat->sockets, plat->socket_count, sizeof *plat->sockets, by_inode);
  size_t kept = 1;
  for (size_t i = 1; i < plat->socket_count; i++)
    if (plat->sockets[i].inode != plat->sockets[kept - 1].inode)
      plat->sockets[kept++] = plat->sockets[i];
  plat->socket_count = kept;
  tm_proc_fill_sockets(proc);
  for (size_t i = 0; i < kept; i++) proc->kind_bytes[TM_HANDLE_SOCKET] += plat->sockets[i].bytes;
  return 0;
}

typedef struct segment_sum {
  int64_t pid;
  uint64_t bytes;
} segment_sum;

static bool add_segment(void *ud, tm_text line) {
  segment_sum *sum = ud;
  tm_procfs_segment segment;
  if (tm_procfs_parse_segment(line, &segment) && segment.creator_pid == sum->pid
      && segment.attach_count == 0)
    sum->bytes += segment.resident_bytes + segment.swap_bytes;
  return true;
}

// SysV segments that this process made and nobody has attached.
static uint64_t segment_bytes(tm_proc *proc) {
  segment_sum sum = {.pid = proc->id.pid};
  tm_plat_each_line(proc->plat, proc->plat->proc_fd, "sysvipc/shm", add_segment, &sum);
  return sum.bytes;
}

// ---- The group.

static int refresh_table(tm_proc *proc, bool moved, bool all) {
  int err = 0, fds_fd = openat(proc->dir_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fds_fd < 0) return errno;
  if (moved) {
    proc->fds_known = false;
    err = list_numbers(proc->plat, fds_fd);
    if (!err) err = merge_numbers(proc, fds_fd, all);
    if (!err) proc->fds_known = true;
  }
  proc->kind_bytes[TM_HANDLE_MEMFD] = proc->kind_bytes[TM_HANDLE_DELETED] = 0;
  proc->unmapped_bytes = 0;
  if (!err && !proc->plat->proc_fixture) err = measure_files(proc, fds_fd);
  close(fds_fd);
  return err;
}

// Nothing but the count is read while nothing moved and nothing is held that can grow unseen.
static int refresh(tm_proc *proc, bool all) {
  uint64_t count = 0;
  int err = tm_proc_count_fds(proc, &count);
  if (err) return err;
  all = all || proc->fds_reads++ % RECLASSIFY_EVERY == 0;
  bool moved = all || !proc->fds_known || count != proc->fds.count;
  const uint64_t *counts = proc->kind_counts;
  bool has_files = counts[TM_HANDLE_MEMFD] || counts[TM_HANDLE_DELETED];
  if (moved || has_files) err = refresh_table(proc, moved, all);
  if (!err && moved) measure_dmabufs(proc);
  if (!err && (moved || (counts[TM_HANDLE_SOCKET] && proc->fds_reads % SOCKETS_EVERY == 0)))
    err = measure_sockets(proc);
  if (!err && all) proc->segment_bytes = segment_bytes(proc);
  return err;
}

int tm_proc_refresh_fds(tm_proc *proc, bool all) {
  int err, dir_fd = tm_proc_dir(proc, &err);
  return dir_fd < 0 ? err : refresh(proc, all);
}

int tm_proc_read_handles(tm_proc *proc, tm_reading *out) {
  int err, dir_fd = tm_proc_dir(proc, &err);
  if (dir_fd < 0) return err;
  err = refresh(proc, false);
  if (err) return err;
  for (size_t i = 0; i < TM_HANDLE_COUNT; i++) {
    out->handles[i] = (double)proc->kind_counts[i];
    out->handle_bytes[i] = (double)proc->kind_bytes[i];
  }
  out->value[TM_SIGNAL_HIDDEN] =
      (double)(proc->unmapped_bytes + proc->kind_bytes[TM_HANDLE_SOCKET] + proc->segment_bytes);
  return 0;
}

// ---- Rows, as evidence.

typedef struct socket_names {
  const tm_plat *plat;
  char (*names)[160]; // beside plat->sockets; "" = has none
} socket_names;

static tm_socket *find_socket(const tm_plat *plat, uint64_t inode) {
  tm_socket key = {.inode = inode};
  if (!plat->socket_count) return NULL;
  return bsearch(&key, plat->sockets, plat->socket_count, sizeof key, by_inode);
}

static void keep_name(void *ud, uint64_t inode, const char *text) {
  const socket_names *names = ud;
  const tm_socket *socket = find_socket(names->plat, inode);
  if (socket) snprintf(names->names[socket - names->plat->sockets], 160, "%s", text);
}

static void fill_socket_row(const socket_names *names, uint64_t inode, tm_handle_row *row) {
  const tm_socket *socket = find_socket(names->plat, inode);
  if (!socket) return;
  row->bytes = socket->bytes;
  const char *name = names->names[socket - names->plat->sockets];
  if (*name) snprintf(row->target, sizeof row->target, "%s", name);
}

static uint64_t file_bytes(const tm_proc *proc, int fds_fd, const tm_fd_entry *entry) {
  if (proc->plat->proc_fixture
      || (entry->kind != TM_HANDLE_MEMFD && entry->kind != TM_HANDLE_DELETED))
    return 0;
  char name[16];
  held_stat st;
  snprintf(name, sizeof name, "%d", entry->number);
  return stat_descriptor(fds_fd, name, &st) ? 0 : st.bytes;
}

static void give_rows(tm_proc *proc, int fds_fd, const socket_names *names,
                      bool (*fn)(void *ud, const tm_handle_row *row), void *ud) {
  for (size_t i = 0; i < proc->fds.count; i++) {
    char target[256];
    size_t length;
    tm_fd_entry entry;
    if (classify(proc->plat, fds_fd, proc->fds.items[i].number, target, sizeof target, &length,
                 &entry))
      continue; // closed meanwhile
    tm_handle_row row = {.number = entry.number, .kind = entry.kind};
    row.bytes = file_bytes(proc, fds_fd, &entry);
    tm_text_copy(tm_text_of(target, length), row.target, sizeof row.target);
    if (entry.kind == TM_HANDLE_SOCKET) fill_socket_row(names, entry.inode, &row);
    if (!fn(ud, &row)) break;
  }
}

tm_status tm_proc_each_handle(tm_ctx *ctx, tm_proc *proc,
                              bool (*fn)(void *ud, const tm_handle_row *row), void *ud) {
  int err, dir_fd = tm_proc_dir(proc, &err), fds_fd = -1;
  if (dir_fd >= 0) err = refresh(proc, true);
  if (!err) {
    fds_fd = openat(dir_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fds_fd < 0) err = errno;
  }
  if (err == ENOENT) err = ESRCH;
  if (err)
    return tm_fail_errno(ctx, err, "cannot list the descriptors of process %lld",
                         (long long)proc->id.pid);
  socket_names names = {.plat = proc->plat};
  size_t count = proc->plat->socket_count;
  if (count) {
    names.names = tm_calloc(ctx, count, sizeof *names.names);
    if (names.names) tm_proc_each_address(proc, keep_name, &names);
  }
  if (names.names || !count) give_rows(proc, fds_fd, &names, fn, ud);
  close(fds_fd);
  tm_free(ctx, names.names, count * sizeof *names.names);
  return names.names || !count ? TM_OK : TM_E_NOMEM;
}
