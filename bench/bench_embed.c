// floors: facade
// An engine inside of a program, over the public header alone:
//   hold [ROUNDS]  rules that loop for ever and that eat memory run; how long each call holds the
//                  host's thread (bar: 5 ms)
//   call           what calling a function of the host costs a rule
//   soak [LIVES]   opening and closing, then 24 simulated hours: resident memory
#include "tidemark.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * SECOND + t.tv_nsec;
}

static int64_t cpu_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * SECOND + t.tv_nsec;
}

static size_t rss_kib(void) {
  size_t total = 0, resident = 0;
  FILE *f = fopen("/proc/self/statm", "re");
  if (!f || fscanf(f, "%zu %zu", &total, &resident) != 2) resident = 0;
  if (f) fclose(f);
  return resident * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static tm_embed *open_engine(uint32_t flags, uint64_t every_ns) {
  tm_config config;
  tm_embed *engine = NULL;
  tm_config_init(&config, sizeof config);
  config.flags = flags | TM_NO_SELF_TEST;
  config.every_ns = every_ns;
  config.start_ns = 1000 * SECOND;
  if (tm_open(&config, &engine) != TM_OK) exit(1);
  return engine;
}

static void load(tm_embed *engine, const char *name, const char *text) {
  if (tm_rules_load(engine, name, text, strlen(text)) != TM_OK) {
    fprintf(stderr, "%s\n", tm_message(engine));
    exit(1);
  }
}

// ---- hold ----

static int by_size(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

// CPU time of the host's thread beside its wall-clock time: on a busy machine the latter shows who
// else ran.
static int hold(size_t rounds) {
  static const char form[] =
      "tm.rule { id = '%s', doc = 'd', every = '1s', hold = '0s', cooldown = '1s',\n"
      "  inputs = { r = tm.ring('proc.rss', { every = '1s', keep = 5 }) },\n"
      "  check = function(c) %s end }\n";
  static const char *const bad[][2] = {
      {"loops", "while true do end"},
      {"catches", "while true do pcall(function() while true do end end) end"},
      {"eats", "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end"},
      {"sorts", "local t = {} for i = 1, 1e6 do t[i] = i * 7919 % 100003 end table.sort(t)"}};
  tm_embed *engine = open_engine(0, 10000000);
  char text[600];
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    for (int copy = 0; copy < 4; copy++) { // three stops quarantine a rule
      char id[32], file[40];
      snprintf(id, sizeof id, "bad.%s%d", bad[i][0], copy);
      snprintf(file, sizeof file, "%s.lua", id);
      snprintf(text, sizeof text, form, id, bad[i][1]);
      load(engine, file, text);
    }
  if (tm_attach_pid(engine, 0, NULL, NULL) != TM_OK) return 1;
  int64_t *took = calloc(rounds, sizeof *took), *used = calloc(rounds, sizeof *used);
  if (!took || !used) return 1;
  for (size_t i = 0; i < rounds; i++) {
    int64_t start = now_ns(), start_cpu = cpu_ns();
    if (tm_poll(engine, 0) != TM_OK) return 1;
    took[i] = now_ns() - start;
    used[i] = cpu_ns() - start_cpu;
    usleep(10000);
  }
  tm_usage usage = {.size = sizeof usage};
  while (tm_get_usage(engine, &usage) == TM_E_BUSY) usleep(1000);
  const size_t middle = rounds / 2, last_percent = rounds * 99 / 100;
  qsort(took, rounds, sizeof *took, by_size);
  qsort(used, rounds, sizeof *used, by_size);
  printf("tm_poll with 16 bad rules, %zu rounds: median %.3f ms, p99 %.3f ms, max %.3f ms "
         "(its own CPU: max %.3f ms); %llu checks stopped\n",
         rounds, (double)took[middle] / 1e6, (double)took[last_percent] / 1e6,
         (double)took[rounds - 1] / 1e6, (double)used[rounds - 1] / 1e6,
         (unsigned long long)usage.rules_killed);
  int64_t start = now_ns();
  tm_close(engine, NULL, NULL);
  printf("tm_close: %.1f ms\n", (double)(now_ns() - start) / 1e6);
  bool ok = took[rounds - 1] <= 5000000 && usage.rules_killed > 0;
  free(took);
  free(used);
  return ok ? 0 : 1;
}

// ---- call ----

static double add(const double *args, size_t count, void *ud) {
  (void)ud;
  return count == 2 ? args[0] + args[1] : 0;
}

static tm_status echo(void *ud, const char *args, size_t size, tm_write_fn write, void *write_ud) {
  (void)ud;
  return write(write_ud, args, size) == 0 ? TM_OK : TM_E_LIMIT;
}

static double time_of(tm_embed *engine, const char *body) {
  char text[300];
  snprintf(text, sizeof text, "local m = require 'm'\nfor i = 1, 100000 do %s end", body);
  double best = 1e9;
  for (int i = 0; i < 5; i++) {
    int64_t start = now_ns();
    if (tm_rules_check(engine, "t.lua", text, strlen(text)) != TM_OK) {
      fprintf(stderr, "%s\n", tm_message(engine));
      exit(1);
    }
    double ns = (double)(now_ns() - start) / 1e5;
    if (ns < best) best = ns;
  }
  return best;
}

static int call(void) {
  tm_config config;
  tm_embed *engine = NULL;
  tm_config_init(&config, sizeof config);
  config.flags = TM_VIRTUAL_TIME;
  config.rule_load_ns = UINT64_C(5000000000);
  if (tm_open(&config, &engine) != TM_OK) return 1;
  tm_function_register_number(engine, "m.add", add, NULL);
  tm_function_register(engine, "m.echo", echo, NULL);
  double base = time_of(engine, "");
  printf(
      "a function of the host: numbers %.0f ns, JSON of two numbers %.0f ns, of a table %.0f ns\n",
      time_of(engine, "m.add(i, 1)") - base, time_of(engine, "m.echo(i, 1)") - base,
      time_of(engine, "m.echo{ a = i, b = 'text', c = { 1, 2, 3 } }") - base);
  tm_close(engine, NULL, NULL);
  return 0;
}

// ---- soak ----

static const char rule[] =
    "tm.rule { id = 'high', doc = 'd', every = '10s', hold = '0s',\n"
    "  inputs = { undo = tm.ring('app.undo_bytes', { every = '10s', keep = 60 }) },\n"
    "  caps = { 'act:app.trim' },\n"
    "  check = function(c)\n"
    "    if host.m.add(c.undo.last or 0, 0) > 100e6 then\n"
    "      return c:finding { level = 'warn', value = c.undo.last, unit = 'bytes' }\n"
    "    end\n"
    "  end,\n"
    "  on = { warn = function(c) c:await(c:act('app.trim', { keep = 10 })) end } }\n";

typedef struct day {
  tm_embed *engine;
  uint64_t trims, findings;
} day;

static void trim(void *ud, const tm_call *given) {
  day *d = ud;
  d->trims++;
  (void)tm_action_done(d->engine, given->id, TM_OK, "trimmed");
}

static void on_event(void *ud, const tm_notice *n) {
  day *d = ud;
  d->findings += n->type == TM_ON_FINDING && n->tell;
}

static size_t live(size_t lives) {
  size_t early = 0;
  for (size_t i = 0; i < lives; i++) {
    tm_embed *engine = open_engine(i % 2 ? TM_VIRTUAL_TIME : 0, 0);
    tm_function_register_number(engine, "m.add", add, NULL);
    tm_target_virtual(engine, "doc", NULL);
    load(engine, "high.lua", rule);
    if (i % 2 == 0) {
      tm_attach_pid(engine, 0, NULL, NULL);
      tm_poll(engine, 1);
    }
    tm_close(engine, NULL, NULL);
    if (i == lives / 10) early = rss_kib();
  }
  size_t late = rss_kib();
  printf("%zu lives: RSS %zu KiB after a tenth, %zu KiB at the end\n", lives, early, late);
  return late > early ? late - early : 0;
}

// With the built-in rules memory follows their windows, days long, and is only told.
static size_t pass_a_day(bool with_builtin) {
  day d = {.engine = open_engine(TM_VIRTUAL_TIME, 0)};
  tm_target *docs[4];
  char name[16];
  size_t early = 0;
  tm_on_event(d.engine, on_event, &d);
  tm_function_register_number(d.engine, "m.add", add, NULL);
  tm_action_register(d.engine, "app.trim", trim, &d);
  tm_grant(d.engine, "*", "act:*");
  if (with_builtin) tm_rules_builtin(d.engine);
  load(d.engine, "high.lua", rule);
  for (int i = 0; i < 4; i++) {
    snprintf(name, sizeof name, "doc%d", i);
    tm_target_virtual(d.engine, name, &docs[i]);
  }
  int64_t start = now_ns();
  for (int64_t t = 1020; t <= 1000 + 24 * 3600; t += 20) {
    for (int i = 0; i < 4; i++) {
      double high = (t / 20 + i * 7) % 180 < 6 ? 200e6 : 10e6;
      tm_feed(d.engine, docs[i], "app.undo_bytes", t * SECOND, high);
      tm_feed(d.engine, docs[i], "proc.rss", t * SECOND, 50e6 + high);
    }
    tm_clock_set(d.engine, t * SECOND);
    if (t == 1000 + 6 * 3600) early = rss_kib();
  }
  size_t late = rss_kib();
  printf("24 hours of 4 targets%s in %.1f s: %llu findings, %llu actions; RSS %zu KiB after 6 h, "
         "%zu KiB after 24 h\n",
         with_builtin ? ", built-in rules too," : "", (double)(now_ns() - start) / 1e9,
         (unsigned long long)d.findings, (unsigned long long)d.trims, early, late);
  tm_close(d.engine, NULL, NULL);
  return late > early ? late - early : 0;
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "call";
  size_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000;
  if (strcmp(what, "hold") == 0) return hold(count);
  if (strcmp(what, "soak") != 0) return call();
  size_t grown_lives = live(count), grown_day = pass_a_day(false);
  (void)pass_a_day(true);
  return grown_lives < 1024 && grown_day < 512 ? 0 : 1;
}
