// Parsers of the files under /proc/PID: pure functions on bytes, which may be hostile (a fixture, a
// recording, a process that chose its own name).
// Source: proc(5); Documentation/filesystems/proc.rst of the kernel.
#include "platform/linux/linux.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

bool tm_procfs_parse_statm(tm_text text, tm_procfs_statm *out) {
  return tm_text_u64(&text, &out->size_pages) && tm_text_u64(&text, &out->rss_pages)
         && tm_text_u64(&text, &out->shared_pages);
}

// Takes words first..last of a line of blank-separated numbers, those of `wanted` into field.
static bool take_fields(tm_text text, int first, int last, uint32_t wanted, uint64_t *field) {
  for (int i = first; i <= last; i++) {
    if (text.at == text.end || *text.at++ != ' ' || text.at == text.end) return false;
    if (!(wanted >> i & 1)) {
      while (text.at < text.end && *text.at != ' ') text.at++;
    } else if (!tm_text_u64(&text, &field[i])) {
      return false;
    }
  }
  return true;
}

// "PID (NAME) S PPID ...": a name may hold ") R 1", so the last bracket ends it.
bool tm_procfs_parse_stat(tm_text text, tm_procfs_stat *out) {
  enum { PARENT = 4, MINFLT = 10, MAJFLT = 12, UTIME = 14, STIME = 15, THREADS = 20, START = 22 };
  enum { RSS = 24, FIELDS };
  const uint32_t wanted = 1u << PARENT | 1u << MINFLT | 1u << MAJFLT | 1u << UTIME | 1u << STIME
                          | 1u << THREADS | 1u << START | 1u << RSS;
  if (!tm_text_size(text)) return false;
  const char *open = memchr(text.at, '(', tm_text_size(text));
  const char *close = memrchr(text.at, ')', tm_text_size(text));
  if (!open || !close || close < open || text.end - close < 4 || close[1] != ' ') return false;
  out->name = (tm_text){open + 1, close};
  out->state = close[2];

  uint64_t field[FIELDS] = {0};
  if (!take_fields((tm_text){close + 3, text.end}, PARENT, RSS, wanted, field)) return false;
  out->parent_pid = (int64_t)(field[PARENT] & INT64_MAX);
  out->minflt_count = field[MINFLT];
  out->majflt_count = field[MAJFLT];
  out->cpu_ticks = field[UTIME] + field[STIME];
  out->thread_count = field[THREADS];
  out->start_ticks = field[START];
  out->rss_pages = field[RSS];
  return true;
}

static const tm_procfs_key *find_key(const tm_procfs_key *keys, size_t count, tm_text name,
                                     size_t hint) {
  for (size_t i = 0; i < count; i++) { // kernel files keep their order: the next key comes first
    const tm_procfs_key *key = &keys[(hint + i) % count];
    if (key->key[0] == *name.at && tm_text_is(name, key->key)) return key;
  }
  return NULL;
}

void tm_procfs_parse_keys(tm_text text, const tm_procfs_key *keys, size_t key_count, double *values,
                          size_t slot_count) {
  for (size_t i = 0; i < slot_count; i++) values[i] = NAN;
  size_t hint = 0;
  tm_text line;
  while (tm_text_line(&text, &line)) {
    const char *p = line.at;
    while (p < line.end && *p != ':' && *p != ' ' && *p != '\t') p++;
    if (p == line.at || p == line.end) continue;
    const tm_procfs_key *key = find_key(keys, key_count, (tm_text){line.at, p}, hint);
    if (!key) continue;
    hint = (size_t)(key - keys) + 1;
    tm_text rest = {p + 1, line.end};
    uint64_t value;
    if (!tm_text_u64(&rest, &value)) continue;
    double scaled = (double)value * (double)key->scale;
    double *slot = &values[key->slot];
    *slot = isnan(*slot) ? scaled : *slot + scaled;
  }
}

// "0.25" after "avg10=" as a ratio of 1: the kernel writes percents with two decimals.
static bool take_percent(tm_text word, const char *name, double *out) {
  if (!tm_text_starts(word, name)) return false;
  word.at += strlen(name);
  uint64_t whole, part;
  if (!tm_text_u64(&word, &whole)) return false;
  double value = (double)whole;
  if (tm_text_size(word) >= 3 && *word.at == '.') {
    word.at++;
    word.end = word.at + 2;
    if (tm_text_u64(&word, &part)) value += (double)part / 100;
  }
  *out = value / 100;
  return true;
}

void tm_procfs_parse_psi(tm_text text, tm_procfs_psi *out) {
  *out = (tm_procfs_psi){NAN, NAN, NAN, NAN};
  tm_text line;
  while (tm_text_line(&text, &line)) {
    tm_text word = tm_text_word(&line);
    bool some = tm_text_is(word, "some");
    if (!some && !tm_text_is(word, "full")) continue;
    while (tm_text_size(word = tm_text_word(&line))) {
      uint64_t total_us;
      double ratio;
      if (take_percent(word, "avg10=", &ratio))
        *(some ? &out->some_avg10 : &out->full_avg10) = ratio;
      else if (some && take_percent(word, "avg60=", &ratio))
        out->some_avg60 = ratio;
      else if (some && tm_text_starts(word, "total=")) {
        word.at += strlen("total=");
        if (tm_text_u64(&word, &total_us)) out->some_total_ns = (double)total_us * 1e3;
      }
    }
  }
}

double tm_procfs_parse_limit(tm_text text, const char *row) {
  tm_text line;
  while (tm_text_line(&text, &line)) {
    if (!tm_text_starts(line, row)) continue;
    line.at += strlen(row);
    uint64_t value;
    return tm_text_u64(&line, &value) ? (double)value : NAN; // "unlimited" is no number
  }
  return NAN;
}

// "start-end access offset major:minor inode   name"
bool tm_procfs_parse_map(tm_text line, tm_procfs_map *out) {
  if (!tm_text_hex(&line, &out->start) || tm_text_size(line) < 1 || *line.at++ != '-') return false;
  if (!tm_text_hex(&line, &out->end) || out->end < out->start) return false;
  tm_text access = tm_text_word(&line);
  if (tm_text_size(access) != 4) return false;
  memcpy(out->access, access.at, 4);
  out->access[4] = '\0';
  uint64_t offset, major, minor;
  if (!tm_text_hex(&line, &offset) || !tm_text_hex(&line, &major)) return false;
  if (tm_text_size(line) < 1 || *line.at++ != ':') return false;
  if (!tm_text_hex(&line, &minor) || !tm_text_u64(&line, &out->inode)) return false;
  out->dev_major = (uint32_t)major;
  out->dev_minor = (uint32_t)minor;
  while (line.at < line.end && *line.at == ' ') line.at++;
  out->name = line;
  return true;
}

// glibc and musl put a guard without access right below a thread's stack; a malloc arena has its
// untouched rest above. Guards are pages, rests are tens of MiB until the arena is full: then the
// next arena, which begins at a multiple of 64 MiB, stands above what looks like a guard.
static bool is_thread_stack(const tm_procfs_map *map, const tm_procfs_map *previous) {
  return previous && previous->end == map->start && previous->end - previous->start <= 1u << 20
         && memcmp(previous->access, "---p", 4) == 0 && memcmp(map->access, "rw-p", 4) == 0
         && map->end - map->start >= 1u << 14 && map->start % (64u << 20) != 0;
}

static tm_mapping_kind bracket_kind(tm_text name) {
  if (tm_text_is(name, "[heap]")) return TM_MAPPING_HEAP;
  if (tm_text_starts(name, "[stack")) return TM_MAPPING_STACK;
  if (tm_text_starts(name, "[anon: Go: heap")) return TM_MAPPING_GO_ARENA;
  if (tm_text_starts(name, "[anon_shmem:")) return TM_MAPPING_SHM;
  if (!tm_text_starts(name, "[anon:")) return TM_MAPPING_SPECIAL;
  return tm_text_has(name, "stack") ? TM_MAPPING_STACK : TM_MAPPING_NAMED;
}

static tm_mapping_kind path_kind(tm_text name) {
  if (tm_text_starts(name, "/memfd:")) return TM_MAPPING_MEMFD;
  if (tm_text_starts(name, "/dev/dri/") || tm_text_starts(name, "/dev/nvidia")
      || tm_text_starts(name, "/dev/kgsl") || tm_text_starts(name, "/dev/mali")
      || tm_text_starts(name, "/dmabuf:"))
    return TM_MAPPING_GPU;
  if (tm_text_starts(name, "/dev/shm/") || tm_text_starts(name, "/SYSV")
      || tm_text_starts(name, "/dev/zero"))
    return TM_MAPPING_SHM;
  return tm_text_ends(name, " (deleted)") ? TM_MAPPING_DELETED : TM_MAPPING_FILE;
}

// Where the Go runtime asks for its heap first on 64-bit machines (mallocinit in malloc.go).
static bool is_go_arena(const tm_procfs_map *map) {
  return map->start >= 0xc000000000 && map->end <= 0xe000000000 && map->start % (4u << 20) == 0
         && memcmp(map->access, "rw-p", 4) == 0;
}

tm_mapping_kind tm_procfs_map_kind(const tm_procfs_map *map, const tm_procfs_map *previous) {
  bool no_access = memcmp(map->access, "---", 3) == 0;
  if (!tm_text_size(map->name)) {
    if (no_access) return TM_MAPPING_GUARD;
    if (map->access[3] == 's') return TM_MAPPING_SHM;
    if (is_go_arena(map)) return TM_MAPPING_GO_ARENA;
    return is_thread_stack(map, previous) ? TM_MAPPING_STACK : TM_MAPPING_ANON;
  }
  char first = *map->name.at;
  if (first == '[') {
    tm_mapping_kind kind = bracket_kind(map->name);
    return no_access && kind != TM_MAPPING_SPECIAL ? TM_MAPPING_GUARD : kind;
  }
  if (first == '/') return path_kind(map->name);
  return tm_text_starts(map->name, "anon_inode:i915") ? TM_MAPPING_GPU : TM_MAPPING_SPECIAL;
}

static tm_handle_kind anon_inode_kind(tm_text name) {
  static const struct {
    const char *name;
    tm_handle_kind kind;
  } rows[] = {
      {"[eventfd]", TM_HANDLE_EVENTFD},     {"[eventpoll]", TM_HANDLE_EPOLL},
      {"[timerfd]", TM_HANDLE_TIMERFD},     {"[signalfd]", TM_HANDLE_SIGNALFD},
      {"inotify", TM_HANDLE_INOTIFY},       {"[fanotify]", TM_HANDLE_INOTIFY},
      {"[io_uring]", TM_HANDLE_IO_URING},   {"bpf", TM_HANDLE_BPF},
      {"[pidfd]", TM_HANDLE_PIDFD},         {"dmabuf", TM_HANDLE_DMABUF},
      {"[io_uringsq]", TM_HANDLE_IO_URING}, {"[dmabuf]", TM_HANDLE_DMABUF},
  };
  for (size_t i = 0; i < TM_COUNT(rows); i++)
    if (tm_text_starts(name, rows[i].name)) return rows[i].kind;
  return TM_HANDLE_OTHER;
}

static tm_handle_kind device_kind(tm_text path) {
  if (tm_text_starts(path, "/dev/dri/")) return TM_HANDLE_DRM;
  if (tm_text_starts(path, "/dev/shm/")) return TM_HANDLE_SHM;
  if (tm_text_starts(path, "/dev/pts/") || tm_text_starts(path, "/dev/tty")
      || tm_text_is(path, "/dev/ptmx") || tm_text_is(path, "/dev/console"))
    return TM_HANDLE_TTY;
  return TM_HANDLE_DEVICE;
}

tm_handle_kind tm_procfs_link_kind(tm_text target, uint64_t *out_inode) {
  static const char socket_word[] = "socket:[", anon_word[] = "anon_inode:";
  *out_inode = 0;
  if (tm_text_starts(target, socket_word)) {
    target.at += sizeof socket_word - 1;
    tm_text_u64(&target, out_inode);
    return TM_HANDLE_SOCKET;
  }
  if (tm_text_starts(target, "pipe:[")) return TM_HANDLE_PIPE;
  if (tm_text_starts(target, "pidfd:")) return TM_HANDLE_PIDFD;
  if (tm_text_starts(target, anon_word)) {
    target.at += sizeof anon_word - 1;
    return anon_inode_kind(target);
  }
  if (tm_text_starts(target, "/memfd:")) return TM_HANDLE_MEMFD;
  if (tm_text_starts(target, "/dmabuf:")) return TM_HANDLE_DMABUF;
  if (tm_text_ends(target, " (deleted)")) return TM_HANDLE_DELETED;
  if (tm_text_starts(target, "/dev/")) return device_kind(target);
  return tm_text_starts(target, "/") ? TM_HANDLE_FILE : TM_HANDLE_OTHER;
}

// slot LOCAL REMOTE state TX:RX timer retransmits uid timeout INODE
bool tm_procfs_parse_socket(tm_text line, tm_procfs_socket *out) {
  uint64_t sent, received;
  tm_text_word(&line);
  out->local = tm_text_word(&line);
  out->remote = tm_text_word(&line);
  tm_text_word(&line);
  if (!tm_text_hex(&line, &sent) || tm_text_size(line) < 1 || *line.at++ != ':') return false;
  if (!tm_text_hex(&line, &received)) return false;
  for (int i = 0; i < 4; i++)
    if (!tm_text_size(tm_text_word(&line))) return false;
  if (!tm_text_u64(&line, &out->inode)) return false;
  out->bytes = (uint32_t)sent + (uint64_t)(uint32_t)received;
  return true;
}

// The kernel prints each 32-bit word of an address as a number, so that its bytes come out in the
// machine's order; the port comes in reading order.
bool tm_procfs_format_address(tm_text address, char *out, size_t size) {
  uint32_t words[4] = {0};
  uint64_t value;
  size_t digits = tm_text_size(address) > 5 ? tm_text_size(address) - 5 : 0;
  if (digits != 8 && digits != 32) return false;
  for (size_t i = 0; i < digits / 8; i++) {
    tm_text word = {address.at + i * 8, address.at + i * 8 + 8};
    if (!tm_text_hex(&word, &value) || tm_text_size(word)) return false;
    words[i] = (uint32_t)value;
  }
  tm_text port = {address.end - 4, address.end};
  if (address.end[-5] != ':' || !tm_text_hex(&port, &value) || tm_text_size(port)) return false;
  char text[INET6_ADDRSTRLEN];
  if (!inet_ntop(digits == 8 ? AF_INET : AF_INET6, words, text, sizeof text)) return false;
  snprintf(out, size, digits == 8 ? "%s:%u" : "[%s]:%u", text, (uint32_t)value);
  return true;
}

// Num RefCount Protocol Flags Type St INODE PATH
bool tm_procfs_parse_unix(tm_text line, uint64_t *out_inode, tm_text *out_path) {
  for (int i = 0; i < 6; i++)
    if (!tm_text_size(tm_text_word(&line))) return false;
  if (!tm_text_u64(&line, out_inode)) return false;
  if (line.at < line.end) line.at++; // one blank; the path may hold more
  *out_path = line;
  return true;
}

// key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap
bool tm_procfs_parse_segment(tm_text line, tm_procfs_segment *out) {
  enum { CREATOR = 4, ATTACHED = 6, RESIDENT = 14, SWAPPED = 15, FIELDS };
  uint64_t field[FIELDS] = {0};
  for (int i = 0; i < FIELDS; i++) {
    tm_text word = tm_text_word(&line);
    if (!tm_text_size(word)) return false;
    if (*word.at == '-') continue; // keys may be negative
    if (!tm_text_u64(&word, &field[i])) return false;
  }
  out->creator_pid = (int64_t)(field[CREATOR] & INT64_MAX);
  out->attach_count = field[ATTACHED];
  out->resident_bytes = field[RESIDENT];
  out->swap_bytes = field[SWAPPED];
  return true;
}
