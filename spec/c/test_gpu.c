// floors: base platform
// GPU memory from fixture trees as three drivers of the kernel write them (i915, amdgpu, xe), and
// an X server that is hostile, silent, or gone in the middle.
#include "platform/linux/linux.h"
#include "unit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static tm_ctx ctx;
static char folder[64];

static void put_file(const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s/7/%s", folder, name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static void put_fd(int number, const char *target, const char *info) {
  char path[256], name[32];
  snprintf(path, sizeof path, "%s/7/fd/%d", folder, number);
  unlink(path);
  assert_int_equal(symlink(target, path), 0);
  snprintf(name, sizeof name, "fdinfo/%d", number);
  put_file(name, info);
}

static int make_tree(void **state) {
  (void)state;
  char command[128];
  tm_ctx_init(&ctx, NULL);
  snprintf(folder, sizeof folder, "/tmp/tm_gpu_XXXXXX");
  if (!mkdtemp(folder)) return -1;
  snprintf(command, sizeof command, "mkdir -p %s/7/fd %s/7/fdinfo", folder, folder);
  if (system(command)) return -1;
  put_file("stat", "7 (game) S 1 7 7 0 -1 0 0 0 0 0 10 5 0 0 20 0 1 0 100 1000000 200 0 0\n");
  put_file("statm", "1000 200 100 1 0 300 0\n");
  return 0;
}

static int remove_tree(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  tm_ctx_fini(&ctx);
  return system(command);
}

typedef struct listed {
  tm_gpu_row rows[32];
  size_t count;
} listed;

static void list_row(void *ud, const tm_gpu_row *row) {
  listed *l = ud;
  assert_true(l->count < 32);
  l->rows[l->count++] = *row;
}

static const tm_gpu_row *find(const listed *l, const char *driver, const char *region) {
  for (size_t i = 0; i < l->count; i++)
    if (strcmp(l->rows[i].driver, driver) == 0 && strcmp(l->rows[i].region, region) == 0)
      return &l->rows[i];
  fail_msg("no row of %s/%s", driver, region);
  return NULL;
}

static void read_tree(listed *l, tm_reading *reading) {
  tm_plat *plat;
  tm_proc *proc;
  l->count = 0;
  tm_reading_clear(reading);
  assert_int_equal(tm_plat_open(&ctx, folder, folder, &plat), TM_OK);
  assert_int_equal(tm_proc_open(&ctx, plat, 7, &proc), TM_OK);
  assert_int_equal(tm_proc_each_gpu_region(&ctx, proc, list_row, l), TM_OK);
  assert_int_equal(tm_proc_read(&ctx, proc, TM_GROUP_BIT(TM_GROUP_GPU), reading), TM_OK);
  tm_proc_close(proc);
  tm_plat_close(plat);
}

static const char amdgpu[] = "pos:\t0\nflags:\t02100002\nmnt_id:\t30\nino:\t555\n"
                             "drm-driver:\tamdgpu\ndrm-client-id:\t42\ndrm-pdev:\t0000:03:00.0\n"
                             "drm-memory-vram:\t2048 KiB\ndrm-memory-gtt: \t512 KiB\n"
                             "drm-memory-cpu: \t0 KiB\ndrm-engine-gfx:\t123 ns\n";
static const char i915[] =
    "pos:\t0\ndrm-driver:\ti915\ndrm-client-id:\t7\ndrm-pdev:\t0000:00:02.0\n"
    "drm-total-system0:\t28000 KiB\ndrm-shared-system0:\t100 KiB\n"
    "drm-active-system0:\t1 MiB\ndrm-resident-system0:\t14000 KiB\n"
    "drm-purgeable-system0:\t4 KiB\n"
    "drm-total-stolen-system0:\t0\ndrm-resident-stolen-system0:\t4096\n";
static const char xe[] = "drm-driver:\txe\ndrm-client-id:\t7\ndrm-pdev:\t0000:04:00.0\n"
                         "drm-resident-vram0:\t64 MiB\ndrm-total-vram0:\t128 MiB\n";

static void no_gpu_is_no_row(void **state) {
  (void)state;
  listed l;
  tm_reading reading;
  put_fd(0, "/dev/null", "pos:\t0\n");
  read_tree(&l, &reading);
  assert_int_equal(l.count, 0);
  assert_true(isnan(reading.value[TM_SIGNAL_GPU_RESIDENT]));
  assert_string_equal(reading.gpu[0].name, "");
}

static void reads_what_three_drivers_say(void **state) {
  (void)state;
  listed l;
  tm_reading reading;
  put_fd(3, "/dev/dri/renderD128", amdgpu);
  put_fd(4, "/dev/dri/renderD128", amdgpu); // the same client again
  put_fd(5, "/dev/dri/card1", i915);
  put_fd(6, "/dev/dri/renderD130", xe); // the client's number is i915's, the device is not
  put_fd(8, "/dev/nvidia0", "drm-driver:\tfake\ndrm-memory-x:\t1 MiB\n"); // no DRM descriptor
  read_tree(&l, &reading);
  assert_int_equal(find(&l, "amdgpu", "vram")->resident_bytes, 2048 << 10);
  assert_int_equal(find(&l, "amdgpu", "vram")->total_bytes, 2048 << 10);
  assert_int_equal(find(&l, "amdgpu", "vram")->client_count, 1);
  assert_int_equal(find(&l, "amdgpu", "gtt")->resident_bytes, 512 << 10);
  const tm_gpu_row *row = find(&l, "i915", "system0");
  assert_int_equal(row->total_bytes, 28000 << 10);
  assert_int_equal(row->resident_bytes, 14000 << 10);
  assert_int_equal(row->shared_bytes, 100 << 10);
  assert_int_equal(row->active_bytes, 1 << 20);
  assert_int_equal(row->purgeable_bytes, 4 << 10);
  assert_string_equal(row->device, "0000:00:02.0");
  assert_int_equal(find(&l, "i915", "stolen-system0")->resident_bytes, 4096);
  assert_int_equal(find(&l, "xe", "vram0")->total_bytes, 128 << 20);
  double resident = (2048 + 512 + 14000 + 4) * 1024.0 + (64 << 20);
  assert_true(reading.value[TM_SIGNAL_GPU_RESIDENT] == resident);
  double sum = 0;
  for (size_t i = 0; i < TM_GPU_REGIONS; i++)
    if (reading.gpu[i].name[0]) sum += reading.gpu[i].value;
  assert_true(sum == resident);
}

static void survives_what_no_kernel_writes(void **state) {
  (void)state;
  static const char *const texts[] = {
      "",
      "drm-",
      "drm-driver:",
      "drm-driver:\n\ndrm-memory-:\t\n",
      "drm-memory-vram:\t-1 KiB\n",
      "drm-driver:\tx\ndrm-memory-vram:\t99999999999999999999 MiB\n",
      "drm-driver:\tx\ndrm-total-a-very-long-region-name-that-is-cut-somewhere:\t1\n"};
  listed l;
  tm_reading reading;
  for (size_t i = 0; i < TM_COUNT(texts); i++) {
    put_fd(3, "/dev/dri/renderD128", texts[i]);
    put_fd(4, "/dev/dri/renderD129", texts[i]);
    read_tree(&l, &reading);
  }
  char many[3000] = "drm-driver:\tx\n";
  for (size_t i = 0; i < 100; i++) snprintf(many + strlen(many), 28, "drm-total-r%zu:\t1\n", i);
  put_fd(3, "/dev/dri/renderD128", many);
  read_tree(&l, &reading);
  size_t kept = 0;
  for (size_t i = 0; i < l.count; i++) kept += l.rows[i].region[0] == 'r';
  assert_int_equal(kept, 12); // a client has a few regions
}

// ---- X

static int listen_as_x(int number) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int n = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "/tmp/.X11-unix/X%d", number);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
  assert_int_equal(listen(fd, 4), 0);
  return fd;
}

typedef struct script {
  int listen_fd;
  const uint8_t *bytes; // sent at once, whatever is asked
  size_t size;
  bool hang_up;
} script;

static void *serve(void *ud) {
  const script *s = ud;
  int fd = accept(s->listen_fd, NULL, NULL);
  if (fd < 0) return NULL;
  if (s->size && send(fd, s->bytes, s->size, MSG_NOSIGNAL) < 0) return NULL;
  char sink[256];
  while (!s->hang_up && recv(fd, sink, sizeof sink, 0) > 0) {
  }
  close(fd);
  return NULL;
}

static void ignore_row(void *ud, const tm_x_row *row) {
  (void)ud;
  assert_non_null(memchr(row->type, 0, sizeof row->type));
}

static tm_status ask_with(const script *given) {
  script s = *given;
  pthread_t thread;
  tm_plat *plat;
  tm_proc *proc;
  tm_reading reading;
  int number = 6000 + (int)(getpid() % 20000);
  char display[32];
  snprintf(display, sizeof display, "DISPLAY=:%d", number);
  s.listen_fd = listen_as_x(number);
  pid_t pid = fork();
  if (pid == 0) {
    char *const argv[] = {"sleep", "20", NULL}, *const envp[] = {display, NULL};
    execve("/bin/sleep", argv, envp);
    _exit(1);
  }
  usleep(50000); // until it is sleep, with its own environment
  assert_int_equal(pthread_create(&thread, NULL, serve, &s), 0);
  assert_int_equal(tm_plat_open(&ctx, NULL, NULL, &plat), TM_OK);
  assert_int_equal(tm_proc_open(&ctx, plat, pid, &proc), TM_OK);
  tm_ctx_clear(&ctx);
  tm_status status = tm_proc_each_x_resource(&ctx, proc, ignore_row, NULL);
  tm_ctx_clear(&ctx);
  tm_reading_clear(&reading);
  assert_int_equal(tm_proc_read(&ctx, proc, TM_GROUP_BIT(TM_GROUP_X), &reading), TM_OK);
  assert_true(isnan(reading.value[TM_SIGNAL_X_BYTES]));
  tm_proc_close(proc);
  tm_plat_close(plat);
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  shutdown(s.listen_fd, SHUT_RDWR);
  close(s.listen_fd);
  pthread_join(thread, NULL);
  return status;
}

static void waits_no_longer_than_it_says(void **state) {
  (void)state;
  assert_int_equal(ask_with(&(script){.size = 0}), TM_E_TIMEOUT);
}

static void survives_servers_that_are_none(void **state) {
  (void)state;
  uint8_t bytes[4096];
  assert_int_not_equal(ask_with(&(script){.hang_up = true}), TM_OK);
  memset(bytes, 0, sizeof bytes); // a refusal
  assert_int_equal(ask_with(&(script){.bytes = bytes, .size = 64}), TM_E_PERM);
  memset(bytes, 0xff, sizeof bytes);
  bytes[0] = 1; // welcome, and a description of 256 KiB that never comes
  assert_int_equal(ask_with(&(script){.bytes = bytes, .size = sizeof bytes}), TM_E_TIMEOUT);
  memset(bytes, 0, sizeof bytes);
  bytes[0] = 1;
  bytes[8] = 1; // a reply that claims 16 GiB
  memset(bytes + 12, 0xff, 4);
  assert_int_not_equal(ask_with(&(script){.bytes = bytes, .size = 64, .hang_up = true}), TM_OK);
  uint32_t seed = 1;
  for (int round = 0; round < 30; round++) { // replies of the right form with random numbers
    for (size_t i = 0; i < sizeof bytes; i++) {
      seed = seed * 1664525 + 1013904223;
      bytes[i] = (uint8_t)(seed >> 24);
    }
    memset(bytes, 0, 8);
    bytes[0] = 1;
    for (size_t at = 8; at + 96 < sizeof bytes; at += 96) {
      bytes[at] = 1;
      memset(bytes + at + 4, 0, 4);
      bytes[at + 4] = 16; // 64 bytes more
      if (at == 8) memset(bytes + at + 4, 0, 1);
    }
    tm_status status = ask_with(&(script){.bytes = bytes, .size = sizeof bytes, .hang_up = true});
    assert_true(status == TM_OK || status != TM_E_NOMEM);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(no_gpu_is_no_row),
                                     cmocka_unit_test(reads_what_three_drivers_say),
                                     cmocka_unit_test(survives_what_no_kernel_writes),
                                     cmocka_unit_test(waits_no_longer_than_it_says),
                                     cmocka_unit_test(survives_servers_that_are_none)};
  return cmocka_run_group_tests(tests, make_tree, remove_tree);
}
