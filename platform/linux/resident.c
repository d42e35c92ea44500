// The memory of a process in big pieces: the page map says which pages exist, runs of them are
// gathered across spans and copied by one system call into a buffer that stays in the cache while
// it is looked at. And its threads, each with the stack pointer that the kernel tells of who waits.
#include "linux.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE = 4096, BUFFER_BYTES = 256 << 10, RUNS = 64, ENTRIES = 4096 };

// Source: the kernel's Documentation/admin-guide/mm/pagemap.rst.
#define IS_PRESENT (UINT64_C(1) << 63)
#define IS_SWAPPED (UINT64_C(1) << 62)

typedef struct gathering {
  tm_ctx *ctx;
  tm_proc *proc;
  bool (*fn)(void *ud, const tm_words *words);
  void *ud;
  bool is_over;
  int pagemap; // -1: all pages are taken
  uint8_t *buffer;
  size_t used, run_count;
  tm_memory_range runs[RUNS];
  size_t spans[RUNS];
  uint64_t entries[ENTRIES];
} gathering;

static void give(gathering *g, size_t run, uint64_t at, const void *data, size_t bytes) {
  const tm_words words = {g->spans[run], at, data, bytes / sizeof(uint64_t)};
  if (!g->is_over) g->is_over = !g->fn(g->ud, &words);
}

// A page of the run is gone, or never was to be read: the others one by one.
static tm_status give_pages(gathering *g, size_t run) {
  const tm_memory_range *r = &g->runs[run];
  for (size_t at = 0; at < r->bytes; at += PAGE) {
    tm_memory_range page = {r->address + at, (uint8_t *)r->to + at, PAGE, false};
    TM_TRY(tm_proc_copy(g->ctx, g->proc, &page, 1));
    if (page.read) give(g, run, page.address, page.to, PAGE);
  }
  return TM_OK;
}

static tm_status flush(gathering *g) {
  if (!g->run_count) return TM_OK;
  TM_TRY(tm_ctx_tick(g->ctx, 0));
  TM_TRY(tm_proc_copy(g->ctx, g->proc, g->runs, g->run_count));
  for (size_t i = 0; i < g->run_count && !g->is_over; i++) {
    const tm_memory_range *r = &g->runs[i];
    if (r->read)
      give(g, i, r->address, r->to, r->bytes);
    else if (r->bytes > PAGE)
      TM_TRY(give_pages(g, i));
  }
  g->used = g->run_count = 0;
  return TM_OK;
}

static tm_status gather(gathering *g, size_t span, uint64_t at, uint64_t bytes) {
  while (bytes && !g->is_over) {
    if (g->used == BUFFER_BYTES || g->run_count == RUNS) TM_TRY(flush(g));
    size_t room = BUFFER_BYTES - g->used, part = bytes < room ? (size_t)bytes : room;
    g->spans[g->run_count] = span;
    g->runs[g->run_count++] = (tm_memory_range){at, g->buffer + g->used, part, false};
    g->used += part;
    at += part;
    bytes -= part;
  }
  return TM_OK;
}

// How many entries from the address on; 0: the kernel tells nothing.
static size_t read_entries(gathering *g, uint64_t at, uint64_t pages) {
  size_t wanted = pages < ENTRIES ? (size_t)pages : ENTRIES;
  if (g->pagemap < 0) return 0;
  ssize_t got = pread(g->pagemap, g->entries, wanted * sizeof *g->entries,
                      (off_t)(at / PAGE * sizeof *g->entries));
  return got > 0 ? (size_t)got / sizeof *g->entries : 0;
}

static tm_status gather_span(gathering *g, size_t number, const tm_span *span) {
  uint64_t at = span->start;
  while (at < span->end && !g->is_over) {
    size_t known = read_entries(g, at, (span->end - at) / PAGE), run = 0;
    if (!known) return gather(g, number, at, span->end - at);
    for (size_t i = 0; i <= known; i++) {
      bool is_here = i < known && g->entries[i] & (IS_PRESENT | IS_SWAPPED);
      if (!is_here && run) TM_TRY(gather(g, number, at + (i - run) * PAGE, run * PAGE));
      run = is_here ? run + 1 : 0;
    }
    at += known * PAGE;
  }
  return TM_OK;
}

tm_status tm_proc_each_resident(tm_ctx *ctx, tm_proc *proc, const tm_span *spans, size_t count,
                                bool (*fn)(void *ud, const tm_words *words), void *ud) {
  int err, dir_fd = tm_proc_dir(proc, &err);
  if (dir_fd < 0) return tm_fail_errno(ctx, err, "process %lld", (long long)proc->id.pid);
  gathering *g = tm_alloc(ctx, sizeof *g);
  uint8_t *buffer = g ? tm_alloc(ctx, BUFFER_BYTES) : NULL;
  tm_status status = buffer ? TM_OK : TM_E_NOMEM;
  if (buffer) {
    *g = (gathering){.ctx = ctx, .proc = proc, .fn = fn, .ud = ud, .buffer = buffer};
    g->pagemap = openat(dir_fd, "pagemap", O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < count && status == TM_OK && !g->is_over; i++)
      status = gather_span(g, i, &spans[i]);
    if (status == TM_OK) status = flush(g);
    if (g->pagemap >= 0) close(g->pagemap);
  }
  tm_free(ctx, buffer, BUFFER_BYTES);
  tm_free(ctx, g, sizeof *g);
  return status;
}

// ---- threads ----

// The next to last number of a waiting thread's line: "NUMBER ARGUMENTS... SP PC", or "-1 SP PC".
static uint64_t stack_pointer(int task_fd, const char *tid) {
  char path[64], buf[256];
  tm_text line, words[9];
  size_t count = 0;
  uint64_t value = 0;
  snprintf(path, sizeof path, "%.32s/syscall", tid);
  if (tm_plat_head(task_fd, path, buf, sizeof buf, &line) != 0) return 0;
  while (count < TM_COUNT(words)) {
    tm_text word = tm_text_word(&line);
    if (!tm_text_size(word)) break;
    words[count++] = word;
  }
  if (count < 3) return 0; // "running"
  tm_text word = words[count - 2];
  if (tm_text_starts(word, "0x")) word.at += 2;
  return tm_text_hex(&word, &value) ? value : 0;
}

static void read_thread(int task_fd, const char *tid, tm_thread_row *row) {
  char path[64], buf[64];
  tm_text text, name;
  *row = (tm_thread_row){.tid = strtoll(tid, NULL, 10)};
  snprintf(path, sizeof path, "%.32s/comm", tid);
  if (tm_plat_head(task_fd, path, buf, sizeof buf, &text) == 0 && tm_text_line(&text, &name))
    tm_text_copy(name, row->name, sizeof row->name);
  row->stack_pointer = stack_pointer(task_fd, tid);
}

tm_status tm_proc_each_thread(tm_ctx *ctx, tm_proc *proc,
                              bool (*fn)(void *ud, const tm_thread_row *row), void *ud) {
  int err, dir_fd = tm_proc_dir(proc, &err);
  int task_fd = dir_fd < 0 ? -1 : openat(dir_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir_fd >= 0 && task_fd < 0) err = errno;
  DIR *dir = task_fd < 0 ? NULL : fdopendir(task_fd);
  if (!dir) {
    if (task_fd >= 0) close(task_fd);
    return tm_fail_errno(ctx, err ? err : ENOMEM, "cannot list the threads of process %lld",
                         (long long)proc->id.pid);
  }
  bool goes_on = true;
  for (const struct dirent *e; goes_on && (e = readdir(dir));) {
    tm_thread_row row;
    if (e->d_name[0] < '0' || e->d_name[0] > '9') continue;
    read_thread(task_fd, e->d_name, &row);
    goes_on = fn(ud, &row);
  }
  closedir(dir);
  return TM_OK;
}
