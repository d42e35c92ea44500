// Unit families with their aliases and factors, and the rules by which pprof prints a value: lower
// case, one trailing s dropped, %.2f without .00. Source: behaviour of google/pprof's reports.
#include "analyze/pprof_units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct unit {
  const char *name;
  const char *aliases[3];
  double factor;
} unit;

typedef struct family {
  const unit *units;
  size_t count;
  const char *default_name;
  double default_factor;
} family;

static const unit bytes[] = {{"B", {"b", "byte"}, 1},
                             {"kB", {"kb", "kbyte", "kilobyte"}, 1024.0},
                             {"MB", {"mb", "mbyte", "megabyte"}, 1048576.0},
                             {"GB", {"gb", "gbyte", "gigabyte"}, 1073741824.0},
                             {"TB", {"tb", "tbyte", "terabyte"}, 1099511627776.0},
                             {"PB", {"pb", "pbyte", "petabyte"}, 1125899906842624.0}};
static const unit times[] = {{"ns", {"ns", "nanosecond"}, 1},
                             {"us", {"\xce\xbcs", "us", "microsecond"}, 1e3},
                             {"ms", {"ms", "millisecond"}, 1e6},
                             {"s", {"s", "sec", "second"}, 1e9},
                             {"hrs", {"hour", "hr"}, 3600e9}};
static const unit gcus[] = {
    {"n*GCU", {"nanogcu"}, 1e-9}, {"u*GCU", {"microgcu"}, 1e-6}, {"m*GCU", {"milligcu"}, 1e-3},
    {"GCU", {"gcu"}, 1},          {"k*GCU", {"kilogcu"}, 1e3},   {"M*GCU", {"megagcu"}, 1e6},
    {"G*GCU", {"gigagcu"}, 1e9},  {"T*GCU", {"teragcu"}, 1e12},  {"P*GCU", {"petagcu"}, 1e15}};

#define FAMILY(units, name, factor)                                                                \
  { units, sizeof(units) / sizeof(units)[0], name, factor }
static const family families[] = {FAMILY(bytes, "B", 1), FAMILY(times, "s", 1e9),
                                  FAMILY(gcus, "GCU", 1)};

static const unit *find_unit(const family *f, const char *name) {
  char lower[24];
  size_t n = strlen(name);
  if (n >= sizeof lower) return NULL;
  for (size_t i = 0; i <= n; i++)
    lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
  if (n > 2 && lower[n - 1] == 's') lower[n - 1] = '\0';
  for (size_t i = 0; i < f->count; i++)
    for (size_t k = 0; k < 3 && f->units[i].aliases[k]; k++)
      if (strcmp(f->units[i].aliases[k], lower) == 0) return &f->units[i];
  return NULL;
}

static tm_scaled auto_scale(const family *f, double value) {
  const unit *best = NULL;
  for (size_t i = 0; i < f->count; i++)
    if (value / f->units[i].factor >= 1.0 && (!best || f->units[i].factor >= best->factor))
      best = &f->units[i];
  if (best) return (tm_scaled){value / best->factor, best->name};
  return (tm_scaled){value / f->default_factor, f->default_name};
}

static int is_one_of(const char *s, const char *const *names) {
  for (; *names; names++)
    if (strcmp(s, *names) == 0) return 1;
  return 0;
}

// NOLINTNEXTLINE(misc-no-recursion): one level, for the sign
tm_scaled tm_pprof_scale(int64_t value, const char *from, const char *to) {
  if (value < 0 && value != INT64_MIN) {
    tm_scaled s = tm_pprof_scale(-value, from, to);
    s.value = -s.value;
    return s;
  }
  for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
    const family *f = &families[i];
    const unit *u = find_unit(f, from);
    if (!u) continue;
    double v = (double)value * u->factor;
    static const char *const scaling[] = {"minimum", "auto", NULL};
    if (is_one_of(to, scaling)) return auto_scale(f, v);
    const unit *target = find_unit(f, to);
    if (!target) return (tm_scaled){v / f->default_factor, f->default_name};
    return (tm_scaled){v / target->factor, target->name};
  }
  static const char *const dull[] = {"count", "sample", "unit", "minimum", "auto", NULL};
  return (tm_scaled){(double)value, is_one_of(to, dull) ? "" : to};
}

void tm_pprof_label(char *buf, size_t size, int64_t value, const char *from, const char *to) {
  tm_scaled s = tm_pprof_scale(value, from, to);
  char number[340];
  int n = snprintf(number, sizeof number, "%.2f", s.value);
  if (n > 3 && strcmp(number + n - 3, ".00") == 0) number[n - 3] = '\0';
  if (strcmp(number, "0") == 0 || strcmp(number, "-0") == 0)
    snprintf(buf, size, "0");
  else
    snprintf(buf, size, "%s%s", number, s.unit);
}

void tm_pprof_percent(char *buf, size_t size, int64_t value, int64_t total) {
  double ratio = total ? fabs((double)value / (double)total) * 100 : 0;
  if (ratio >= 99.95 && ratio <= 100.05)
    snprintf(buf, size, "  100%%");
  else if (ratio >= 1.0)
    snprintf(buf, size, "%5.2f%%", ratio);
  else
    snprintf(buf, size, "%5.2g%%", ratio);
}

int64_t tm_pprof_whole(double value) {
  return value >= -0x1p63 && value < 0x1p63 ? (int64_t)value : INT64_MIN;
}
