// floors: engine
// The history: what is recorded comes back, also after kills, full disks and damage; readers never
// disturb the writer.
#include "base/clock.h"
#include "engine/history.h"
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND   INT64_C(1000000000)
#define PATIENT  (UINT64_C(20) * 1000000000)
#define OK(call) assert_int_equal(call, TM_OK)

static tm_ctx ctx;
static char folder[64], path[96];
static int64_t now_ns;

// Lines of the log; also written by the history's thread.
static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static char log_text[8192];

static void keep_log(void *ud, int level, const char *area, const char *text) {
  (void)ud;
  (void)level;
  (void)area;
  pthread_mutex_lock(&log_mutex);
  size_t n = strlen(log_text);
  snprintf(log_text + n, sizeof log_text - n, "%s\n", text);
  pthread_mutex_unlock(&log_mutex);
}

static int count_log(const char *words) {
  int n = 0;
  pthread_mutex_lock(&log_mutex);
  for (const char *at = log_text; (at = strstr(at, words)); at++) n++;
  pthread_mutex_unlock(&log_mutex);
  return n;
}

static void empty_folder(void) {
  DIR *dir = opendir(folder);
  for (struct dirent *e; dir && (e = readdir(dir));) {
    char file[512];
    snprintf(file, sizeof file, "%s/%s", folder, e->d_name);
    unlink(file);
  }
  if (dir) closedir(dir);
}

static int set_up(void **state) {
  (void)state;
  tm_ctx_init(&ctx, NULL);
  snprintf(folder, sizeof folder, "/tmp/tm_history_%d", (int)getpid());
  snprintf(path, sizeof path, "%s/history.db", folder);
  mkdir(folder, 0700);
  empty_folder();
  log_text[0] = '\0';
  now_ns = tm_clock_wall_ns() / SECOND * SECOND;
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  empty_folder();
  rmdir(folder);
  tm_ctx_fini(&ctx);
  return 0;
}

static tm_history *open_with(tm_history_options options) {
  tm_history *h;
  options.log = (tm_log){keep_log, NULL};
  if (!options.commit_ns) options.commit_ns = 20000000;
  OK(tm_history_open(&ctx, path, &options, &h));
  return h;
}

static uint32_t add_series(tm_history *h, const char *id, const char *metric) {
  const tm_history_target facts = {
      .id = id, .pid = 47, .start_time_ns = 5, .name = "leaky", .command = "leaky --fast"};
  uint32_t target = tm_history_add_target(h, &facts);
  return tm_history_add_series(h, target, metric, "", TM_UNIT_BYTES);
}

// What a query of series gives, one after the other.
typedef struct got {
  size_t series, count;
  int64_t first_ns, last_ns;
  double sum;
  bool ascending;
  char names[256];
} got;

static bool take(void *ud, const tm_history_samples *s) {
  got *g = ud;
  size_t n = strlen(g->names);
  snprintf(g->names + n, sizeof g->names - n, "%s %s%s %s\n", s->target, s->metric, s->key,
           tm_unit_name(s->unit));
  g->series++;
  g->count += s->count;
  g->first_ns = s->times_ns[0];
  g->last_ns = s->times_ns[s->count - 1];
  for (size_t i = 0; i < s->count; i++) {
    g->sum += s->values[i];
    if (i && s->times_ns[i] < s->times_ns[i - 1]) g->ascending = false;
  }
  return true;
}

static got ask(const char *target, const char *metric, int64_t from_ns, int64_t to_ns) {
  got g = {.ascending = true};
  OK(tm_history_series(&ctx, path, &(tm_history_query){target, metric, from_ns, to_ns}, take, &g));
  assert_true(g.ascending);
  return g;
}

static bool count_entry(void *ud, const tm_history_entry *entry) {
  size_t *n = ud;
  char text[32];
  snprintf(text, sizeof text, "finding %zu", *n);
  assert_string_equal(entry->text, text); // all there, in order
  (*n)++;
  return true;
}

static size_t count_entries(void) {
  size_t n = 0;
  OK(tm_history_entries(&ctx, path, TM_ENTRY_ALERT, &(tm_history_query){0}, count_entry, &n));
  return n;
}

static void note_alert(tm_history *h, size_t number) {
  char text[32];
  snprintf(text, sizeof text, "finding %zu", number);
  tm_history_note(h, &(tm_history_entry){.kind = TM_ENTRY_ALERT,
                                         .time_ns = now_ns,
                                         .state = "firing",
                                         .level = TM_LEVEL_HIGH,
                                         .rule = "proc.rss_slope",
                                         .target = "47:8",
                                         .value = 5e6,
                                         .unit = TM_UNIT_BYTES,
                                         .text = text});
}

static bool check_alert(void *ud, const tm_history_entry *e) {
  assert_string_equal(e->state, "firing");
  assert_int_equal(e->level, TM_LEVEL_HIGH);
  assert_string_equal(e->rule, "proc.rss_slope");
  assert_string_equal(e->key, "");
  assert_string_equal(e->json, "");
  assert_true(e->value == 5e6 && e->unit == TM_UNIT_BYTES && e->time_ns == now_ns);
  (*(int *)ud)++;
  return true;
}

static bool check_target(void *ud, const tm_history_target *t) {
  assert_string_equal(t->command, "leaky --fast");
  assert_true(t->pid == 47 && t->start_time_ns == 5 && t->last_ns >= t->first_ns);
  (*(int *)ud)++;
  return true;
}

static void gives_back_what_was_recorded(void **state) {
  (void)state;
  tm_history *h = open_with((tm_history_options){0});
  uint32_t rss = add_series(h, "47:8", "proc.rss"), swap = add_series(h, "48:9", "proc.swap");
  double sum = 0;
  for (int i = 0; i < 3000; i++) {
    tm_history_sample(h, rss, now_ns + i * SECOND, i);
    if (i % 3 == 0) tm_history_sample(h, swap, now_ns + i * SECOND, 1);
    if (i % 500 == 0) assert_true(tm_history_sync(h, PATIENT));
    sum += i;
  }
  note_alert(h, 0);
  tm_history_evidence(h, "47:8", now_ns, "fds", "0 /dev/null\0x", 13);
  tm_history_put(h, "trust", "abc", 3);
  tm_history_put(h, "gone", "x", 1);
  tm_history_put(h, "gone", NULL, 0);
  assert_true(tm_history_sync(h, PATIENT));
  for (int round = 0; round < 2; round++) { // from the tail, then folded
    got all = ask(NULL, "proc.rss", 0, INT64_MAX);
    assert_int_equal(all.count, 3000);
    assert_true(all.sum == sum && all.first_ns == now_ns);
    got part = ask("47:8", NULL, now_ns + 10 * SECOND, now_ns + 19 * SECOND);
    assert_int_equal(part.count, 10);
    assert_string_equal(part.names, "47:8 proc.rss bytes\n");
    assert_int_equal(ask("leak*", NULL, 0, INT64_MAX).count, 4000);
    assert_int_equal(ask("nobody", NULL, 0, INT64_MAX).series, 0);
    int n = 0;
    OK(tm_history_entries(&ctx, path, TM_ENTRY_ALERT, &(tm_history_query){.target = "47:*"},
                          check_alert, &n));
    assert_int_equal(n, 1);
    OK(tm_history_entries(&ctx, path, TM_ENTRY_ACTION, &(tm_history_query){0}, check_alert, &n));
    OK(tm_history_targets(&ctx, path, check_target, &n));
    assert_int_equal(n, 3);
    const void *data;
    size_t size;
    OK(tm_history_get(&ctx, path, "trust", &data, &size));
    assert_int_equal(size, 3);
    assert_memory_equal(data, "abc", 3);
    OK(tm_history_get(&ctx, path, "gone", &data, &size));
    assert_null(data);
    OK(tm_history_get_evidence(&ctx, path, "47:8", "fds", &data, &size));
    assert_int_equal(size, 13);
    if (round == 0) tm_history_close(h);
  }
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_string_equal(log_text, "");
}

static int64_t number_of(const char *statement) {
  sqlite3 *sql;
  sqlite3_stmt *s;
  assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
  assert_int_equal(sqlite3_prepare_v2(sql, statement, -1, &s, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_step(s), SQLITE_ROW);
  int64_t n = sqlite3_column_int64(s, 0);
  sqlite3_finalize(s);
  sqlite3_close(sql);
  return n;
}

static void continues_after_reopening(void **state) {
  (void)state;
  int64_t slot_ns = now_ns - now_ns % (7200 * SECOND);
  for (int run = 0; run < 5; run++) {
    tm_history *h = open_with((tm_history_options){0});
    uint32_t rss = add_series(h, "47:8", "proc.rss");
    for (int i = 0; i < 100; i++)
      tm_history_sample(h, rss, slot_ns + (run * 100 + i) * 5 * SECOND, i);
    tm_history_close(h);
  }
  assert_int_equal(ask(NULL, NULL, 0, INT64_MAX).count, 500);
  assert_int_equal(number_of("SELECT count(*) FROM series"), 1);
  assert_int_equal(number_of("SELECT count(*) FROM chunk"), 1); // one slot, one chunk
  assert_int_equal(number_of("SELECT count(*) FROM tail"), 0);
}

static void write_until_killed(int pipe_fd, uint64_t commit_ns) {
  tm_history *h;
  const tm_history_options options = {.commit_ns = commit_ns};
  if (tm_history_open(&ctx, path, &options, &h) != TM_OK) _exit(1);
  uint32_t rss = add_series(h, "47:8", "proc.rss");
  for (int64_t i = 1;; i++) {
    int64_t time_ns = tm_clock_wall_ns();
    tm_history_sample(h, rss, time_ns, (double)i);
    usleep(commit_ns ? 200 : 20000);
    if (commit_ns && i % 50 == 0 && tm_history_sync(h, PATIENT)
        && write(pipe_fd, &time_ns, sizeof time_ns) != sizeof time_ns)
      _exit(1);
  }
}

static void a_kill_loses_nothing_that_was_synced(void **state) {
  (void)state;
  srand(17);
  size_t before = 0;
  for (int round = 0; round < 8; round++) {
    int ends[2];
    int64_t synced = 0, read_ns;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) write_until_killed(ends[1], 10000000);
    close(ends[1]);
    assert_int_equal(read(ends[0], &read_ns, sizeof read_ns), sizeof read_ns);
    usleep((useconds_t)(rand() % 200000));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    synced = read_ns;
    while (read(ends[0], &read_ns, sizeof read_ns) == sizeof read_ns) synced = read_ns;
    close(ends[0]);
    got g = ask(NULL, NULL, 0, INT64_MAX); // before any writer cleans up
    assert_true(g.last_ns >= synced / 1000000 * 1000000);
    assert_true(g.count > before);
    before = g.count;
    tm_history *h = open_with((tm_history_options){0});
    tm_history_close(h);
    assert_int_equal(ask(NULL, NULL, 0, INT64_MAX).count, before);
  }
  assert_string_equal(log_text, "");
}

static void a_kill_loses_at_most_five_seconds(void **state) {
  (void)state;
  pid_t pid = fork();
  if (pid == 0) write_until_killed(-1, 0); // commits as it does by default
  usleep(5300000);
  int64_t killed_ns = tm_clock_wall_ns();
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  assert_true(ask(NULL, NULL, 0, INT64_MAX).last_ns >= killed_ns - 5 * SECOND);
}

static void a_full_disk_keeps_findings(void **state) {
  (void)state;
  struct rlimit old, tight;
  tm_history *h = open_with((tm_history_options){.queue_bytes = 24 * 1000});
  uint32_t rss = add_series(h, "47:8", "proc.rss");
  size_t alerts = 0, samples = 0;
  assert_true(tm_history_sync(h, PATIENT));
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  tight = (struct rlimit){64 * 1024, old.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < 1000; i++)
      tm_history_sample(h, rss, now_ns + (int64_t)samples++ * 10000000, rand() * 0.37);
    for (int i = 0; i < 10; i++) note_alert(h, alerts++);
    tm_history_sync(h, PATIENT);
  }
  tm_history_stats stats = tm_history_get_stats(h);
  assert_true(stats.failing);
  assert_true(stats.queued_bytes < 24 * 1500 + alerts * 200);
  assert_int_equal(count_log("free disk space"), 1); // said once
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  note_alert(h, alerts++);
  assert_true(tm_history_sync(h, PATIENT));
  stats = tm_history_get_stats(h);
  assert_false(stats.failing);
  assert_int_equal(stats.dropped_notes, 0);
  assert_true(stats.dropped_samples > 0);
  assert_int_equal(stats.samples + stats.dropped_samples, samples);
  assert_int_equal(count_log("is written again"), 1);
  tm_history_close(h);
  assert_int_equal(count_entries(), alerts);
  assert_int_equal(ask(NULL, NULL, 0, INT64_MAX).count, samples - stats.dropped_samples);
}

static int count_files(const char *part) {
  int n = 0;
  DIR *dir = opendir(folder);
  for (struct dirent *e; (e = readdir(dir));) n += strstr(e->d_name, part) != NULL;
  closedir(dir);
  return n;
}

static void scribble(int64_t from, int64_t to) {
  FILE *f = fopen(path, "r+b");
  assert_non_null(f);
  fseek(f, (long)from, SEEK_SET);
  for (int64_t i = from; i < to; i++) fputc((int)(i * 7 % 251), f);
  fclose(f);
}

static int64_t file_size(void) {
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  return st.st_size;
}

static void fill(size_t samples) {
  tm_history *h = open_with((tm_history_options){0});
  uint32_t rss = add_series(h, "47:8", "proc.rss");
  for (size_t i = 0; i < samples; i++)
    tm_history_sample(h, rss, now_ns + (int64_t)i * SECOND, rand() * 0.37);
  tm_history_close(h);
}

static void moves_damage_aside(void **state) {
  (void)state;
  for (int round = 0; round < 4; round++) {
    empty_folder();
    log_text[0] = '\0';
    fill(20000);
    int64_t size = file_size();
    assert_true(size > 8 * 4096);
    if (round == 0) scribble(0, size);    // no SQLite file at all
    if (round == 1) scribble(4096, size); // only the header is right
    if (round == 2) scribble(100, 4096);  // the schema is gone
    if (round == 3) assert_int_equal(truncate(path, 2 * 4096 + 100), 0);
    tm_history *h = open_with((tm_history_options){0});
    uint32_t rss = add_series(h, "47:8", "proc.rss");
    tm_history_sample(h, rss, now_ns, 1);
    note_alert(h, 0);
    assert_true(tm_history_sync(h, PATIENT));
    assert_int_equal(count_log("was moved to"), 1);
    tm_history_close(h);
    assert_true(count_files("history.db.corrupt-20") >= 1);
    assert_int_equal(ask(NULL, NULL, 0, INT64_MAX).count, 1);
    assert_int_equal(count_entries(), 1);
  }
}

static void survives_damage_while_it_runs(void **state) {
  (void)state;
  fill(20000);
  tm_history *h = open_with((tm_history_options){.queue_bytes = 64 << 20});
  uint32_t rss = add_series(h, "47:8", "proc.rss");
  assert_true(tm_history_sync(h, PATIENT));
  int64_t size = file_size();
  pid_t pid = fork(); // closing the file here would drop SQLite's locks
  if (pid == 0) {
    scribble(4096, size);
    _exit(0);
  }
  waitpid(pid, NULL, 0);
  for (int i = 0; i < 200000; i++) tm_history_sample(h, rss, now_ns + i * SECOND, rand() * 0.37);
  for (size_t i = 0; i < 5; i++) note_alert(h, i);
  assert_true(tm_history_sync(h, PATIENT)); // large enough to be folded at once
  tm_history_sample(h, rss, now_ns + 300000 * SECOND, 7);
  assert_true(tm_history_sync(h, PATIENT));
  tm_history_close(h);
  assert_int_equal(count_log("was moved to"), 1);
  got g = ask(NULL, NULL, now_ns + 300000 * SECOND, INT64_MAX);
  assert_true(g.count == 1 && g.sum == 7);
}

static void leaves_other_files_alone(void **state) {
  (void)state;
  sqlite3 *sql;
  tm_history *h;
  assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
  assert_int_equal(sqlite3_exec(sql, "CREATE TABLE bookmarks(url)", NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(sql);
  assert_int_equal(tm_history_open(&ctx, path, NULL, &h), TM_E_FORMAT);
  assert_non_null(strstr(ctx.error.message, "no history of tidemark"));
  tm_ctx_clear(&ctx);
  assert_int_equal(number_of("SELECT count(*) FROM bookmarks"), 0);
  assert_int_equal(count_files("corrupt"), 0);
  assert_int_equal(tm_history_open(&ctx, "/nowhere/history.db", NULL, &h), TM_E_IO);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_history_targets(&ctx, "/nowhere/history.db", check_target, NULL), TM_E_IO);
  tm_ctx_clear(&ctx);
}

static atomic_bool reading_ends;

static void *read_all_the_time(void *ud) {
  size_t *reads = ud;
  tm_ctx own;
  size_t before = 0;
  tm_ctx_init(&own, NULL);
  while (!atomic_load(&reading_ends)) {
    got g = {.ascending = true};
    tm_status status = tm_history_series(&own, path, &(tm_history_query){0}, take, &g);
    if (status != TM_OK || !g.ascending || g.count < before) break;
    if (g.count != (size_t)g.sum) break; // every value is 1
    before = g.count;
    (*reads)++;
  }
  bool ended = atomic_load(&reading_ends);
  if (!ended) *reads = 0;
  tm_ctx_fini(&own);
  return NULL;
}

static void two_readers_see_whole_states(void **state) {
  (void)state;
  enum { N = 120000 };
  size_t reads[2] = {0};
  pthread_t threads[2];
  tm_history *h = open_with((tm_history_options){.commit_ns = 1000000});
  uint32_t rss = add_series(h, "47:8", "proc.rss");
  tm_history_sample(h, rss, now_ns - SECOND, 1);
  assert_true(tm_history_sync(h, PATIENT));
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, read_all_the_time, &reads[i]);
  for (int i = 0; i < N; i++) {
    tm_history_sample(h, rss, now_ns + i * INT64_C(70000000), 1);
    if (i % 400 == 0) usleep(3000);
  }
  assert_true(tm_history_sync(h, PATIENT));
  atomic_store(&reading_ends, true);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  assert_true(reads[0] > 3 && reads[1] > 3);
  assert_int_equal(tm_history_get_stats(h).dropped_samples, 0);
  tm_history_close(h);
  assert_int_equal(ask(NULL, NULL, 0, INT64_MAX).count, N + 1);
}

static void deletes_what_is_too_old_or_too_much(void **state) {
  (void)state;
  const int64_t day = 86400 * SECOND;
  tm_history *h = open_with((tm_history_options){0});
  uint32_t old = add_series(h, "1:1", "proc.rss"), fresh = add_series(h, "2:2", "proc.rss");
  for (int i = 0; i < 100; i++) {
    tm_history_sample(h, old, now_ns - 31 * day + i * SECOND, i);
    tm_history_sample(h, fresh, now_ns - 29 * day + i * SECOND, i);
  }
  tm_history_close(h);
  tm_history_close(open_with((tm_history_options){0}));
  got g = ask(NULL, NULL, 0, INT64_MAX);
  assert_string_equal(g.names, "2:2 proc.rss bytes\n");
  assert_int_equal(number_of("SELECT count(*) FROM target"), 1);

  h = open_with((tm_history_options){.max_bytes = 1 << 20, .queue_bytes = 64 << 20});
  uint32_t noisy = add_series(h, "3:3", "proc.rss");
  const int64_t many = 400000;
  for (int64_t i = 0; i < many; i++) {
    tm_history_sample(h, noisy, now_ns - day + i * SECOND / 5, rand() * 0.37);
    if (i % 20000 == 0) assert_true(tm_history_sync(h, PATIENT));
  }
  tm_history_close(h);
  tm_history_close(open_with((tm_history_options){.max_bytes = 1 << 20}));
  g = ask("3:3", NULL, 0, INT64_MAX);
  assert_in_range(g.count, 20000, many - 100000);
  assert_true(g.last_ns >= now_ns - day + (many - 1) * SECOND / 5 - SECOND);
  assert_in_range(file_size(), 1, 3 << 19);
}

static void forgets_targets(void **state) {
  (void)state;
  tm_history *h = open_with((tm_history_options){0});
  for (int i = 0; i < 50; i++) {
    char id[32];
    snprintf(id, sizeof id, "%d:1", i);
    const tm_history_target facts = {.id = id, .name = "short"};
    uint32_t target = tm_history_add_target(h, &facts);
    uint32_t rss = tm_history_add_series(h, target, "proc.rss", "", TM_UNIT_BYTES);
    tm_history_sample(h, rss, now_ns, 1);
    tm_history_forget(h, target); // the waiting sample still arrives
    if (i % 7 == 0) assert_true(tm_history_sync(h, PATIENT));
    if (i % 7 == 0) tm_history_sample(h, rss, now_ns + SECOND, 1); // this one does not
  }
  assert_int_equal(tm_history_add_series(h, 999, "proc.rss", "", TM_UNIT_BYTES), UINT32_MAX);
  tm_history_sample(h, 999, now_ns, 1);
  tm_history_close(h);
  assert_int_equal(ask(NULL, NULL, 0, INT64_MAX).count, 50);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(gives_back_what_was_recorded),
      TEST(continues_after_reopening),
      TEST(a_kill_loses_nothing_that_was_synced),
      TEST(a_kill_loses_at_most_five_seconds),
      TEST(a_full_disk_keeps_findings),
      TEST(moves_damage_aside),
      TEST(survives_damage_while_it_runs),
      TEST(leaves_other_files_alone),
      TEST(two_readers_see_whole_states),
      TEST(deletes_what_is_too_old_or_too_much),
      TEST(forgets_targets),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
