// GPU memory of a process, from the fdinfo of its DRM descriptors: every driver of the kernel tells
// there what each of its clients holds, by region. A client may be behind several descriptors (and
// processes); it counts once per process, told apart by device and client id. Cost: one small read
// a DRM descriptor; which descriptors those are is known from the handle table.
// Source: Linux Documentation/gpu/drm-usage-stats.rst.
#include "platform/linux/linux.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { CLIENTS_MAX = 64, ROWS_MAX = 32, INFO_BYTES = 4096 };

typedef struct seen_client {
  char device[24];
  uint64_t id;
} seen_client;

typedef struct walk {
  seen_client clients[CLIENTS_MAX];
  size_t client_count;
  tm_gpu_row rows[ROWS_MAX];
  size_t row_count;
} walk;

// ---- one line

static uint64_t scaled(uint64_t number, tm_text unit) {
  uint64_t scale = 1;
  if (tm_text_is(unit, "KiB")) scale = 1024;
  if (tm_text_is(unit, "MiB")) scale = 1024 * 1024;
  return number > UINT64_MAX / 2 / scale ? UINT64_MAX / 2 : number * scale;
}

bool tm_procfs_parse_drm(tm_text line, tm_procfs_drm *out) {
  static const char *const amounts[] = {"total-",  "resident-",  "shared-",
                                        "active-", "purgeable-", "memory-"};
  if (!tm_text_starts(line, "drm-")) return false;
  line.at += 4;
  const char *colon = memchr(line.at, ':', tm_text_size(line));
  if (!colon) return false;
  *out = (tm_procfs_drm){.key = {line.at, colon}};
  for (size_t i = 0; i < TM_COUNT(amounts); i++) {
    size_t size = strlen(amounts[i]);
    if (!tm_text_starts(out->key, amounts[i])) continue;
    out->region = (tm_text){out->key.at + size, colon};
    out->key.end = out->key.at + size - 1;
  }
  tm_text value = {colon + 1, line.end};
  tm_text rest = value;
  out->word = tm_text_word(&value);
  uint64_t number;
  if (tm_text_u64(&rest, &number)) out->bytes = scaled(number, tm_text_word(&rest));
  return true;
}

// ---- one descriptor

typedef struct client {
  char driver[24], device[24];
  uint64_t id;
  bool has_id;
} client;

static void read_client(tm_text text, client *out) {
  tm_text line;
  tm_procfs_drm drm;
  *out = (client){.has_id = false};
  while (tm_text_line(&text, &line)) {
    if (!tm_procfs_parse_drm(line, &drm)) continue;
    if (tm_text_is(drm.key, "driver")) tm_text_copy(drm.word, out->driver, sizeof out->driver);
    if (tm_text_is(drm.key, "pdev")) tm_text_copy(drm.word, out->device, sizeof out->device);
    if (!tm_text_is(drm.key, "client-id")) continue;
    out->id = drm.bytes;
    out->has_id = true;
  }
}

static bool is_new(walk *w, const client *c) {
  if (!c->has_id) return true;
  for (size_t i = 0; i < w->client_count; i++)
    if (w->clients[i].id == c->id && strcmp(w->clients[i].device, c->device) == 0) return false;
  if (w->client_count == CLIENTS_MAX) return false; // rather too little than twice
  seen_client *seen = &w->clients[w->client_count++];
  seen->id = c->id;
  memcpy(seen->device, c->device, sizeof seen->device);
  return true;
}

static tm_gpu_row *row_of(walk *w, const client *c, tm_text region) {
  char name[24];
  tm_text_copy(region, name, sizeof name);
  for (size_t i = 0; i < w->row_count; i++) {
    tm_gpu_row *row = &w->rows[i];
    if (strcmp(row->region, name) == 0 && strcmp(row->device, c->device) == 0
        && strcmp(row->driver, c->driver) == 0)
      return row;
  }
  if (w->row_count == ROWS_MAX) return NULL;
  tm_gpu_row *row = &w->rows[w->row_count++];
  *row = (tm_gpu_row){.total_bytes = 0};
  memcpy(row->driver, c->driver, sizeof row->driver);
  memcpy(row->device, c->device, sizeof row->device);
  memcpy(row->region, name, sizeof row->region);
  return row;
}

// What one client says of one region, which its lines tell in any order.
typedef struct region_sum {
  tm_text region;
  uint64_t total, resident, shared, active, purgeable, memory;
  bool has_total, has_resident;
} region_sum;

enum { REGIONS_MAX = 12 };

static region_sum *sum_of(region_sum *sums, size_t *count, tm_text region) {
  size_t size = tm_text_size(region);
  for (size_t i = 0; i < *count; i++)
    if (tm_text_size(sums[i].region) == size && memcmp(sums[i].region.at, region.at, size) == 0)
      return &sums[i];
  if (*count == REGIONS_MAX) return NULL;
  sums[*count] = (region_sum){.region = region};
  return &sums[(*count)++];
}

static void add_amount(region_sum *sum, const tm_procfs_drm *drm) {
  if (tm_text_is(drm->key, "total")) {
    sum->total = drm->bytes;
    sum->has_total = true;
  } else if (tm_text_is(drm->key, "resident")) {
    sum->resident = drm->bytes;
    sum->has_resident = true;
  } else if (tm_text_is(drm->key, "shared")) {
    sum->shared = drm->bytes;
  } else if (tm_text_is(drm->key, "active")) {
    sum->active = drm->bytes;
  } else if (tm_text_is(drm->key, "purgeable")) {
    sum->purgeable = drm->bytes;
  } else {
    sum->memory = drm->bytes; // the older word for resident
  }
}

static void add_client(walk *w, tm_text text) {
  region_sum sums[REGIONS_MAX];
  size_t count = 0;
  client c;
  tm_text line;
  tm_procfs_drm drm;
  read_client(text, &c);
  if (!c.driver[0] || !is_new(w, &c)) return;
  while (tm_text_line(&text, &line)) {
    if (!tm_procfs_parse_drm(line, &drm) || !drm.region.at) continue;
    region_sum *sum = sum_of(sums, &count, drm.region);
    if (sum) add_amount(sum, &drm);
  }
  for (size_t i = 0; i < count; i++) {
    const region_sum *sum = &sums[i];
    uint64_t resident = sum->has_resident ? sum->resident : sum->memory;
    tm_gpu_row *row = row_of(w, &c, sum->region);
    if (!row) continue;
    row->resident_bytes += resident;
    row->total_bytes += sum->has_total ? sum->total : resident;
    row->shared_bytes += sum->shared;
    row->active_bytes += sum->active;
    row->purgeable_bytes += sum->purgeable;
    row->client_count += sum->has_total ? sum->total > 0 : resident > 0;
  }
}

// 0 or an errno. The caller's table of descriptors is up to date.
static int walk_clients(tm_proc *proc, walk *w) {
  char name[32], buf[INFO_BYTES];
  tm_text text;
  w->client_count = w->row_count = 0;
  int err = tm_proc_refresh_fds(proc, false);
  if (err) return err;
  if (!proc->kind_counts[TM_HANDLE_DRM]) return 0;
  for (size_t i = 0; i < proc->fds.count; i++) {
    if (proc->fds.items[i].kind != TM_HANDLE_DRM) continue;
    snprintf(name, sizeof name, "fdinfo/%d", proc->fds.items[i].number);
    if (!tm_plat_head(proc->dir_fd, name, buf, sizeof buf, &text)) add_client(w, text);
  }
  return 0;
}

// ---- the group

void tm_named_set(tm_named_value *values, size_t room, double value) {
  for (size_t i = 0; i < room; i++) values[i].value = value;
}

void tm_named_add(tm_named_value *values, size_t room, const char *name, double value) {
  size_t i = 0;
  for (; i < room && values[i].name[0]; i++)
    if (strcmp(values[i].name, name) == 0) {
      values[i].value += value;
      return;
    }
  if (i + 1 < room) {
    snprintf(values[i].name, sizeof values[i].name, "%s", name);
    values[i].value = value;
  } else if (i < room) { // the last place is everybody's
    snprintf(values[i].name, sizeof values[i].name, "other");
    values[i].value = value;
  } else {
    values[room - 1].value += value;
  }
}

int tm_proc_read_gpu(tm_proc *proc, tm_reading *out) {
  walk w;
  int err = walk_clients(proc, &w);
  if (err) return err;
  bool had_some = out->gpu[0].name[0];
  out->value[TM_SIGNAL_GPU_RESIDENT] = out->value[TM_SIGNAL_GPU_TOTAL] =
      out->value[TM_SIGNAL_GPU_ACTIVE] = NAN;
  if (!w.row_count && !had_some) return 0; // no GPU: no series of zeros
  tm_named_set(out->gpu, TM_GPU_REGIONS, 0);
  double resident = 0, total = 0, active = 0;
  for (size_t i = 0; i < w.row_count; i++) {
    const tm_gpu_row *row = &w.rows[i];
    char name[64];
    snprintf(name, sizeof name, "%.15s/%.11s", row->driver, row->region);
    tm_named_add(out->gpu, TM_GPU_REGIONS, name, (double)row->resident_bytes);
    resident += (double)row->resident_bytes;
    total += (double)row->total_bytes;
    active += (double)row->active_bytes;
  }
  out->value[TM_SIGNAL_GPU_RESIDENT] = resident;
  out->value[TM_SIGNAL_GPU_TOTAL] = total;
  out->value[TM_SIGNAL_GPU_ACTIVE] = active;
  return 0;
}

tm_status tm_proc_each_gpu_region(tm_ctx *ctx, tm_proc *proc,
                                  void (*fn)(void *ud, const tm_gpu_row *row), void *ud) {
  walk w;
  int err = walk_clients(proc, &w);
  if (err == ENOENT) err = ESRCH;
  if (err)
    return tm_fail_errno(ctx, err, "cannot look at the GPU descriptors of process %lld",
                         (long long)proc->id.pid);
  for (size_t i = 0; i < w.row_count; i++) fn(ud, &w.rows[i]);
  return TM_OK;
}
