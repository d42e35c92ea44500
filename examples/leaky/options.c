// The command line: mode options from the table in modes.c, with rates as people write them.
// Sizes count in powers of 1024 and need a unit; a rate is AMOUNT/TIME ("1MB/s", "200MB/20s").
#include "leaky.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct unit {
  const char *name;
  double factor;
} unit;

static const unit byte_units[] = {
    {"B", 1},          {"KB", 1024.0},      {"KiB", 1024.0},  {"K", 1024.0},
    {"MB", 1048576.0}, {"MiB", 1048576.0},  {"M", 1048576.0}, {"GB", 1073741824.0},
    {"G", 1073741824}, {"GiB", 1073741824}, {NULL, 0},
};
static const unit time_units[] = {{"ms", 0.001}, {"s", 1},    {"m", 60},
                                  {"min", 60},   {"h", 3600}, {NULL, 0}};
static const unit count_units[] = {{"", 1}, {NULL, 0}};

// "12.5MB" up to the end of text; the number may be missing (it is 1 then) when bare_unit.
static bool parse_amount(const char *text, const unit *units, bool bare_unit, double *out) {
  const char *rest = text;
  double number = 1;
  if (isdigit((unsigned char)*text)) {
    char *end;
    number = strtod(text, &end);
    rest = end;
  } else if (!bare_unit) {
    return false;
  }
  for (; units->name != NULL; units++) {
    if (strcasecmp(rest, units->name) != 0) continue;
    *out = number * units->factor;
    return isfinite(*out) && *out > 0 && *out < 1e15;
  }
  return false;
}

// Cuts text at the first mark into two; false when there is none or the first part is too long.
static bool split(const char *text, char mark, char *first, size_t size, const char **rest) {
  const char *at = strchr(text, mark);
  if (at == NULL || (size_t)(at - text) >= size) return false;
  memcpy(first, text, (size_t)(at - text));
  first[at - text] = '\0';
  *rest = at + 1;
  return true;
}

static const unit *units_of(uint32_t mode) {
  return leaky_modes[mode].is_bytes ? byte_units : count_units;
}

static bool parse_rate(const char *text, uint32_t mode, leaky_rate *out) {
  char amount[32];
  const char *period;
  return split(text, '/', amount, sizeof amount, &period)
         && parse_amount(amount, units_of(mode), false, &out->amount)
         && parse_amount(period, time_units, true, &out->period_s);
}

static uint32_t mode_by_name(const char *name) {
  for (uint32_t i = 0; i < LEAKY_MODE_COUNT; i++)
    if (strcmp(name, leaky_modes[i].name) == 0) return i;
  return LEAKY_MODE_COUNT;
}

// "fds=500@10s", several by commas.
static bool parse_bursts(const char *text, leaky_options *out) {
  while (text != NULL) {
    char one[96], name[32], amount[32];
    const char *comma = strchr(text, ','), *rest = NULL, *at = NULL;
    size_t length = comma != NULL ? (size_t)(comma - text) : strlen(text);
    if (length >= sizeof one || out->burst_count == LEAKY_BURSTS_MAX) return false;
    memcpy(one, text, length);
    one[length] = '\0';
    if (!split(one, '=', name, sizeof name, &rest)) return false;
    if (!split(rest, '@', amount, sizeof amount, &at)) return false;
    uint32_t mode = mode_by_name(name);
    if (mode == LEAKY_MODE_COUNT || mode == LEAKY_WARMUP || mode == LEAKY_SAWTOOTH) return false;
    leaky_burst *burst = &out->bursts[out->burst_count++];
    burst->mode = (leaky_mode_id)mode;
    if (!parse_amount(amount, units_of(mode), false, &burst->amount)) return false;
    if (!parse_amount(at, time_units, false, &burst->at_s)) return false;
    text = comma != NULL ? comma + 1 : NULL;
  }
  return true;
}

static void print_help(void) {
  puts("leaky: an app that leaks on demand, for a watcher to find.\n"
       "\nusage: leaky [MODE [RATE]]... [OPTION]...\n"
       "\nmodes, all combinable; without a RATE they take the one shown:");
  for (uint32_t i = 0; i < LEAKY_MODE_COUNT; i++) {
    char left[48];
    snprintf(left, sizeof left, "--%s %s", leaky_modes[i].name, leaky_modes[i].rate);
    printf("  %-24s %s\n", left, leaky_modes[i].help);
  }
  puts("\noptions:\n"
       "  --fd-kind KIND           file (default), socket, pipe, eventfd, memfd, inotify, mixed\n"
       "  --burst MODE=N@TIME      N of a mode at once, e.g. fds=500@10s; several by commas\n"
       "  --hook PATH              control socket; lines `clear-caches` (frees --cache) and\n"
       "                           `collect` (empties --sawtooth) answer `ok freed BYTES`\n"
       "  --for TIME               end after that time; else SIGTERM or Ctrl-C ends it\n"
       "  --max SIZE               hold at most that much (1GB), and never more than half of the\n"
       "                           memory that is free at the start\n"
       "  --quiet                  no status line every second\n"
       "\nexamples:\n"
       "  leaky --heap 1MB/s --for 90s               a plain heap leak\n"
       "  leaky --fds 20/s --fd-kind mixed           descriptors of every kind\n"
       "  leaky --sawtooth 200MB/20s                 a healthy collected heap\n"
       "  leaky --sawtooth --sawtooth-leak 1MB/s     the same, with a floor that grows\n"
       "  leaky --cache 20MB/s --hook hook.sock      memory that it gives back when asked\n"
       "  leaky --churn --burst fds=500@10s          quiet for 10 s, then a jump\n"
       "\nA kill -9 leaves the segments of --shm behind: see ipcs -m, remove them with ipcrm.\n"
       "exit codes: 0 ended by time or signal, 2 wrong usage or it could not start");
}

static leaky_parsed wrong(const char *option, const char *value, const char *wanted) {
  fprintf(stderr, "leaky: %s%s%s: %s; see leaky --help\n", option, value != NULL ? " " : "",
          value != NULL ? value : "", wanted);
  return LEAKY_WRONG;
}

static leaky_parsed set_mode(uint32_t mode, const char *option, const char *value,
                             leaky_options *out) {
  if (!parse_rate(value != NULL ? value : leaky_modes[mode].rate, mode, &out->rates[mode]))
    return wrong(option, value,
                 leaky_modes[mode].is_bytes ? "wants a rate like 1MB/s" : "wants a rate like 20/s");
  return LEAKY_GO;
}

static leaky_parsed set_option(const char *name, const char *option, const char *value,
                               leaky_options *out) {
  double number = 0;
  if (strcmp(name, "fd-kind") == 0) {
    out->fd_kind = value != NULL ? leaky_fd_kind_by_name(value) : UINT32_MAX;
    if (out->fd_kind == UINT32_MAX) return wrong(option, value, "wants a kind, e.g. socket");
  } else if (strcmp(name, "burst") == 0) {
    if (value == NULL || !parse_bursts(value, out))
      return wrong(option, value, "wants MODE=N@TIME, e.g. fds=500@10s or heap=50MB@5s");
  } else if (strcmp(name, "hook") == 0) {
    if (value == NULL) return wrong(option, value, "wants the path of a socket to create");
    out->hook_path = value;
  } else if (strcmp(name, "for") == 0) {
    if (value == NULL || !parse_amount(value, time_units, false, &out->for_s))
      return wrong(option, value, "wants a time like 90s");
  } else if (strcmp(name, "max") == 0) {
    if (value == NULL || !parse_amount(value, byte_units, false, &number))
      return wrong(option, value, "wants a size like 1GB");
    out->max_bytes = (uint64_t)number;
  } else {
    return wrong(option, NULL, "no such option");
  }
  return LEAKY_GO;
}

// `--name value`, `--name=value` or `--name`; *index ends on the last word used.
static leaky_parsed take(int argc, char **argv, int *index, leaky_options *out) {
  const char *option = argv[*index], *value = NULL;
  char name[32];
  if (strncmp(option, "--", 2) != 0) return wrong(option, NULL, "no such word");
  if (!split(option + 2, '=', name, sizeof name, &value)) {
    if (strlen(option + 2) >= sizeof name) return wrong(option, NULL, "no such option");
    snprintf(name, sizeof name, "%s", option + 2);
  }
  if (strcmp(name, "quiet") == 0) {
    out->quiet = true;
    return LEAKY_GO;
  }
  if (value == NULL && *index + 1 < argc && strncmp(argv[*index + 1], "--", 2) != 0)
    value = argv[++*index];
  uint32_t mode = mode_by_name(name);
  if (mode < LEAKY_MODE_COUNT) return set_mode(mode, option, value, out);
  return set_option(name, option, value, out);
}

leaky_parsed leaky_options_parse(int argc, char **argv, leaky_options *out) {
  *out = (leaky_options){.max_bytes = 1024ULL * 1024 * 1024};
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
      print_help();
      return LEAKY_HELPED;
    }
    leaky_parsed parsed = take(argc, argv, &i, out);
    if (parsed != LEAKY_GO) return parsed;
  }
  if (argc == 1) return wrong("nothing to leak", NULL, "name a mode, e.g. --heap 1MB/s");
  leaky_rate *sawtooth = &out->rates[LEAKY_SAWTOOTH];
  if (out->rates[LEAKY_SAWTOOTH_LEAK].amount > 0 && sawtooth->amount <= 0)
    parse_rate(leaky_modes[LEAKY_SAWTOOTH].rate, LEAKY_SAWTOOTH, sawtooth);
  return LEAKY_GO;
}
