// All processes in one read: a BPF task iterator writes a record per process (0.25 us each, instead
// of 1-5 us and a descriptor). The program is loaded once and stays; each reading opens a new
// iteration. RSS is the kernel's fast counter: off by at most 64 pages per CPU, since each CPU
// batches its own part. Without the build's BPF support, or below a fixture root: unsupported.
#include "platform/linux/linux.h"

#ifdef TM_HAVE_BPF
#include "platform/linux/bulk_row.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct tm_bulk {
  struct bpf_object *object;
  struct bpf_link *link;
  struct tm_bulk_record *records;
  size_t record_room; // in records
  tm_bulk_row *rows;
  size_t row_count, row_room;
};

extern const char tm_bulk_object[], tm_bulk_object_end[];
__asm__(".section .rodata\n"
        ".balign 16\n"
        ".global tm_bulk_object\n.global tm_bulk_object_end\n"
        "tm_bulk_object:\n.incbin \"" TM_BPF_OBJECT "\"\n"
        "tm_bulk_object_end:\n.byte 0\n.previous\n");

void tm_bulk_free(tm_plat *plat, tm_bulk *bulk) {
  if (!bulk) return;
  bpf_link__destroy(bulk->link);
  bpf_object__close(bulk->object);
  tm_plat_free(plat, bulk->records, bulk->record_room, sizeof *bulk->records);
  tm_plat_free(plat, bulk->rows, bulk->row_room, sizeof *bulk->rows);
  tm_plat_free(plat, bulk, 1, sizeof *bulk);
}

static int load(tm_bulk *bulk) {
  static const char name[] = "tm_each_task";
  bulk->object =
      bpf_object__open_mem(tm_bulk_object, (size_t)(tm_bulk_object_end - tm_bulk_object), NULL);
  if (!bulk->object) return errno;
  int err = bpf_object__load(bulk->object);
  if (err) return -err;
  const struct bpf_program *program = bpf_object__find_program_by_name(bulk->object, name);
  bulk->link = program ? bpf_program__attach_iter(program, NULL) : NULL;
  return bulk->link ? 0 : errno ? errno : EINVAL;
}

static int open_bulk(tm_plat *plat, tm_bulk **out) {
  tm_bulk *bulk = NULL;
  size_t room = 0;
  int err = tm_plat_grow(plat, (void **)&bulk, &room, sizeof *bulk, 1);
  if (err) return err;
  *bulk = (tm_bulk){0};
  libbpf_print_fn_t print = libbpf_set_print(NULL); // a library says nothing on stderr
  err = load(bulk);
  libbpf_set_print(print);
  if (err)
    tm_bulk_free(plat, bulk);
  else
    *out = bulk;
  return err;
}

static int by_pid(const void *a, const void *b) {
  const tm_bulk_row *x = a, *y = b;
  return (x->pid > y->pid) - (x->pid < y->pid);
}

static double bytes_of(const tm_plat *plat, long long pages) {
  return pages > 0 ? (double)pages * (double)plat->page_bytes : 0; // batches may make it negative
}

static void take_leader(const tm_plat *plat, tm_bulk *bulk, const struct tm_bulk_record *record) {
  tm_bulk_row row = {.pid = record->pid,
                     .file = bytes_of(plat, record->pages[0]),
                     .anon = bytes_of(plat, record->pages[1]),
                     .swap = bytes_of(plat, record->pages[2]),
                     .shmem = bytes_of(plat, record->pages[3]),
                     .threads = record->thread_count,
                     .maps = record->map_count,
                     .majflt = (double)record->majflt_count};
  row.rss = row.file + row.anon + row.shmem;
  bulk->rows[bulk->row_count++] = row;
}

static int read_records(tm_plat *plat, tm_bulk *bulk, size_t *out_count) {
  enum { LEAST = 4096 };
  int fd = bpf_iter_create(bpf_link__fd(bulk->link));
  if (fd < 0) return errno;
  size_t used = 0; // bytes
  int err = 0;
  for (;;) {
    size_t need = used / sizeof *bulk->records + LEAST;
    err = tm_plat_grow(plat, (void **)&bulk->records, &bulk->record_room, need,
                       sizeof *bulk->records);
    if (err) break;
    size_t room = bulk->record_room * sizeof *bulk->records;
    ssize_t n = read(fd, (char *)bulk->records + used, room - used);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) err = errno;
    if (n <= 0) break;
    used += (size_t)n;
  }
  close(fd);
  *out_count = used / sizeof *bulk->records;
  return err;
}

static int read_bulk(tm_plat *plat, tm_bulk *bulk) {
  size_t count = 0;
  int err = read_records(plat, bulk, &count);
  if (!err)
    err = tm_plat_grow(plat, (void **)&bulk->rows, &bulk->row_room, count, sizeof *bulk->rows);
  if (err) return err;
  bulk->row_count = 0;
  bool sorted = true;
  for (size_t i = 0; i < count; i++) {
    if (!bulk->records[i].is_leader) continue;
    take_leader(plat, bulk, &bulk->records[i]);
    size_t n = bulk->row_count;
    sorted = sorted && (n < 2 || bulk->rows[n - 2].pid < bulk->rows[n - 1].pid);
  }
  if (!sorted) qsort(bulk->rows, bulk->row_count, sizeof *bulk->rows, by_pid);
  for (size_t i = 0; i < count && bulk->row_count; i++) {
    if (bulk->records[i].is_leader) continue;
    tm_bulk_row key = {.pid = bulk->records[i].pid};
    tm_bulk_row *row = bsearch(&key, bulk->rows, bulk->row_count, sizeof key, by_pid);
    if (row) row->majflt += (double)bulk->records[i].majflt_count;
  }
  return 0;
}

tm_status tm_plat_bulk(tm_ctx *ctx, tm_plat *plat, const tm_bulk_row **out_rows,
                       size_t *out_count) {
  if (plat->proc_fixture)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "a recorded machine runs no BPF");
  int err = plat->bulk ? 0 : open_bulk(plat, &plat->bulk);
  if (!err) err = read_bulk(plat, plat->bulk);
  if (err == EPERM || err == EACCES)
    return tm_fail(ctx, TM_E_PERM, TM_NO_OFFSET,
                   "reading all processes by BPF takes root, or CAP_BPF and CAP_PERFMON");
  if (err == ENOMEM) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for BPF rows");
  if (err)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "this kernel takes no BPF task iterator (errno %d); it needs BTF and Linux 6.2",
                   err);
  *out_rows = plat->bulk->rows;
  *out_count = plat->bulk->row_count;
  return TM_OK;
}

#else

void tm_bulk_free(tm_plat *plat, tm_bulk *bulk) {
  (void)plat, (void)bulk;
}

tm_status tm_plat_bulk(tm_ctx *ctx, tm_plat *plat, const tm_bulk_row **out_rows,
                       size_t *out_count) {
  (void)plat, (void)out_rows, (void)out_count;
  return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "this build has no BPF iterator");
}

#endif
