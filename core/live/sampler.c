// One process, seventeen groups of signals, each with its own period. The groups that are due at a
// tick are read in one platform call. Dear groups (their cost grows with the target) run under a
// budget: the cost of a reading is kept as a moving average, and a reading is put off until the
// share of a core that it would take falls under the budget; ROLLUP is also skipped while RSS moved
// by less than 1 %.
#include "live/sampler.h"

#include "base/clock.h"
#include "live/account_series.h"
#include "live/app_counters.h"

#include <string.h>

enum {
  ROLLUP_MAX_SKIPS = 12
}; // an unchanged RSS can still hide a change of PSS: look now and then

struct tm_sampler {
  tm_ctx *ctx;
  tm_proc *proc;
  tm_reading reading;
  uint64_t period_ns[TM_GROUP_COUNT];
  uint64_t due_ns[TM_GROUP_COUNT];
  double cost_ns[TM_GROUP_COUNT]; // moving average of one reading
  double budget_ratio;
  double previous[TM_SIGNAL_COUNT]; // counters' last values
  uint64_t previous_ns[TM_GROUP_COUNT];
  double rollup_rss; // RSS at the last rollup
  uint32_t rollup_skips;
  bool interval_peaks;
  uint32_t
      seen_kinds[4]; // per family: kinds that were ever there; the others are not worth a series
  tm_sampler_stats stats;
};

static const uint32_t dear_groups = TM_GROUP_BIT(TM_GROUP_HANDLES) | TM_GROUP_BIT(TM_GROUP_MAPS)
                                    | TM_GROUP_BIT(TM_GROUP_ROLLUP) | TM_GROUP_BIT(TM_GROUP_TREE)
                                    | TM_GROUP_BIT(TM_GROUP_GPU) | TM_GROUP_BIT(TM_GROUP_X);

static const struct {
  const char *metric;
  tm_group group;
  tm_unit unit;
} families[] = {{"proc.handles", TM_GROUP_HANDLES, TM_UNIT_COUNT},
                {"proc.handle_bytes", TM_GROUP_HANDLES, TM_UNIT_BYTES},
                {"proc.mappings", TM_GROUP_MAPS, TM_UNIT_COUNT},
                {"proc.mapping_bytes", TM_GROUP_MAPS, TM_UNIT_BYTES},
                {"gpu.regions", TM_GROUP_GPU, TM_UNIT_BYTES},
                {"x.kinds", TM_GROUP_X, TM_UNIT_COUNT}};

tm_group tm_metric_group(const char *metric) {
  for (size_t i = 0; i < TM_COUNT(families); i++)
    if (strcmp(metric, families[i].metric) == 0) return families[i].group;
  const tm_signal_info *info = tm_signal_describe(tm_signal_by_name(metric));
  return info ? info->group : TM_GROUP_COUNT;
}

static tm_unit unit_of(const tm_signal_info *info) {
  if (info->kind != TM_SIGNAL_IS_COUNTER) return info->unit;
  if (info->unit == TM_UNIT_BYTES) return TM_UNIT_BYTES_PER_SECOND;
  return info->unit == TM_UNIT_NS ? TM_UNIT_RATIO : TM_UNIT_COUNT_PER_SECOND;
}

tm_unit tm_metric_unit(const char *metric) {
  for (size_t i = 0; i < TM_COUNT(families); i++)
    if (strcmp(metric, families[i].metric) == 0) return families[i].unit;
  const tm_signal_info *info = tm_signal_describe(tm_signal_by_name(metric));
  if (info) return unit_of(info);
  bool of_v8 = strncmp(metric, "v8.", 3) == 0 || strncmp(metric, "node.", 5) == 0;
  return of_v8 || tm_account_metric(metric) ? TM_UNIT_BYTES : tm_app_metric_unit(metric);
}

tm_status tm_sampler_new(tm_ctx *ctx, tm_plat *plat, int64_t pid, tm_sampler **out) {
  tm_sampler *sampler = tm_calloc(ctx, 1, sizeof *sampler);
  if (!sampler) return TM_E_NOMEM;
  sampler->ctx = ctx;
  sampler->budget_ratio = 0.005;
  tm_reading_clear(&sampler->reading);
  for (size_t i = 0; i < TM_SIGNAL_COUNT; i++) sampler->previous[i] = NAN;
  tm_status status = tm_proc_open(ctx, plat, pid, &sampler->proc);
  if (status != TM_OK) {
    tm_free(ctx, sampler, sizeof *sampler);
    return status;
  }
  *out = sampler;
  return TM_OK;
}

void tm_sampler_free(tm_sampler *sampler) {
  if (!sampler) return;
  tm_proc_close(sampler->proc);
  tm_free(sampler->ctx, sampler, sizeof *sampler);
}

void tm_sampler_plan(tm_sampler *sampler, const uint64_t period_ns[TM_GROUP_COUNT]) {
  uint64_t now = tm_clock_mono_ns();
  for (size_t g = 0; g < TM_GROUP_COUNT; g++) {
    uint64_t old = sampler->period_ns[g];
    sampler->period_ns[g] = period_ns[g];
    if (!period_ns[g]) continue;
    // Periods keep their phase when they get longer; a shorter or new one starts now.
    if (!old || sampler->due_ns[g] > now + period_ns[g]) sampler->due_ns[g] = now;
  }
}

void tm_sampler_budget(tm_sampler *sampler, double core_ratio) {
  sampler->budget_ratio = core_ratio;
}

void tm_sampler_interval_peaks(tm_sampler *sampler, bool on) {
  sampler->interval_peaks = on;
}

uint64_t tm_sampler_next_due_ns(const tm_sampler *sampler) {
  uint64_t due = UINT64_MAX;
  for (size_t g = 0; g < TM_GROUP_COUNT; g++)
    if (sampler->period_ns[g] && sampler->due_ns[g] < due) due = sampler->due_ns[g];
  return due;
}

// Moves a group's due time behind now; what was slept through is counted as missed, not caught up.
static void move_on(tm_sampler *sampler, size_t group, uint64_t now) {
  uint64_t period = sampler->period_ns[group];
  uint64_t late = now - sampler->due_ns[group];
  if (late >= period && sampler->due_ns[group]) {
    sampler->stats.missed += late / period;
    sampler->due_ns[group] = now + period;
  } else {
    sampler->due_ns[group] += period;
  }
}

// Whether the budget puts this reading off; a dear group waits until its share of time is small
// enough.
static bool put_off(tm_sampler *sampler, size_t group, uint64_t now) {
  if (!(dear_groups & TM_GROUP_BIT(group)) || sampler->cost_ns[group] <= 0) return false;
  double share = sampler->budget_ratio / 2; // of the budget for one group; two dear ones are common
  double rest_ns = sampler->cost_ns[group] / share;
  if ((double)(now - sampler->previous_ns[group]) < rest_ns) return true;
  if (group != TM_GROUP_ROLLUP || sampler->rollup_skips >= ROLLUP_MAX_SKIPS) return false;
  double rss = sampler->reading.value[TM_SIGNAL_RSS];
  if (isnan(rss) || sampler->rollup_rss <= 0) return false;
  if (fabs(rss - sampler->rollup_rss) > 0.01 * sampler->rollup_rss) return false;
  sampler->rollup_skips++;
  return true;
}

static uint32_t groups_due(tm_sampler *sampler, uint64_t now) {
  uint32_t groups = 0;
  for (size_t g = 0; g < TM_GROUP_COUNT; g++) {
    if (!sampler->period_ns[g] || sampler->due_ns[g] > now) continue;
    move_on(sampler, g, now);
    if (put_off(sampler, g, now))
      sampler->stats.skipped[g]++;
    else
      groups |= TM_GROUP_BIT(g);
  }
  return groups;
}

static void emit_signals(tm_sampler *sampler, uint32_t groups, uint64_t now, tm_sample *sample,
                         tm_sample_fn fn, void *ud) {
  sample->key = "";
  for (size_t s = 0; s < TM_SIGNAL_COUNT; s++) {
    const tm_signal_info *info = tm_signal_describe((tm_signal)s);
    if (!(groups & TM_GROUP_BIT(info->group))) continue;
    double value = sampler->reading.value[s];
    if (isnan(value)) continue;
    if (info->kind == TM_SIGNAL_IS_COUNTER) {
      double before = sampler->previous[s];
      double seconds = (double)(now - sampler->previous_ns[info->group]) / 1e9;
      sampler->previous[s] = value;
      if (isnan(before) || seconds <= 0 || value < before) continue;
      value = (value - before) / seconds;
      if (info->unit == TM_UNIT_NS) value /= 1e9;
    }
    sample->metric = info->name;
    sample->unit = unit_of(info);
    sample->value = value;
    fn(ud, sample);
  }
}

static void emit_family(tm_sampler *sampler, const double *values, size_t count,
                        const char *(*name)(size_t), size_t family, tm_sample *sample,
                        tm_sample_fn fn, void *ud) {
  sample->metric = families[family].metric;
  sample->unit = families[family].unit;
  for (size_t i = 0; i < count; i++) {
    if (isnan(values[i])) continue;
    if (values[i] != 0) sampler->seen_kinds[family] |= UINT32_C(1) << i;
    if (!(sampler->seen_kinds[family] >> i & 1)) continue;
    sample->key = name(i);
    sample->value = values[i];
    fn(ud, sample);
  }
}

static void emit_named(const tm_named_value *values, size_t count, size_t family, tm_sample *sample,
                       tm_sample_fn fn, void *ud) {
  sample->metric = families[family].metric;
  sample->unit = families[family].unit;
  for (size_t i = 0; i < count && values[i].name[0]; i++) {
    if (isnan(values[i].value)) continue;
    sample->key = values[i].name;
    sample->value = values[i].value;
    fn(ud, sample);
  }
}

static const char *handle_name(size_t i) {
  return tm_handle_kind_name((tm_handle_kind)i);
}

static const char *mapping_name(size_t i) {
  return tm_mapping_kind_name((tm_mapping_kind)i);
}

static void note_cost(tm_sampler *sampler, uint32_t groups, uint64_t cost_ns) {
  // One platform call reads several groups: charge the dear ones when they were in it, else share.
  uint32_t charged = groups & dear_groups ? groups & dear_groups : groups;
  uint32_t count = 0;
  for (size_t g = 0; g < TM_GROUP_COUNT; g++) count += (charged >> g) & 1;
  for (size_t g = 0; g < TM_GROUP_COUNT; g++) {
    if (groups & TM_GROUP_BIT(g)) sampler->stats.reads[g]++;
    if (!(charged & TM_GROUP_BIT(g))) continue;
    double cost = (double)cost_ns / count;
    sampler->stats.cost_ns[g] += cost_ns / count;
    sampler->cost_ns[g] = sampler->cost_ns[g] > 0 ? 0.7 * sampler->cost_ns[g] + 0.3 * cost : cost;
  }
}

// Reads one set of groups and times it. Dear groups are read alone, so that each has its own price.
static tm_status read_groups(tm_ctx *ctx, tm_sampler *sampler, uint32_t groups) {
  if (!groups) return TM_OK;
  uint64_t start = tm_clock_thread_cpu_ns();
  TM_TRY(tm_proc_read(ctx, sampler->proc, groups, &sampler->reading));
  note_cost(sampler, groups, tm_clock_thread_cpu_ns() - start);
  return TM_OK;
}

tm_status tm_sampler_tick(tm_ctx *ctx, tm_sampler *sampler, uint64_t mono_ns, int64_t time_ns,
                          tm_sample_fn fn, void *ud) {
  uint32_t groups = groups_due(sampler, mono_ns);
  if (!groups) return TM_OK;
  sampler->reading.withheld = 0;
  TM_TRY(read_groups(ctx, sampler, groups & ~dear_groups));
  for (size_t g = 0; g < TM_GROUP_COUNT; g++)
    if (groups & dear_groups & TM_GROUP_BIT(g)) TM_TRY(read_groups(ctx, sampler, TM_GROUP_BIT(g)));
  if (groups & TM_GROUP_BIT(TM_GROUP_ROLLUP)) {
    sampler->rollup_rss = sampler->reading.value[TM_SIGNAL_RSS];
    sampler->rollup_skips = 0;
  }
  sampler->stats.withheld =
      (sampler->stats.withheld & ~groups) | (sampler->reading.withheld & groups);
  if (sampler->interval_peaks && groups & TM_GROUP_BIT(TM_GROUP_STATUS)) {
    // Refused = the peak stays the one since start, which the signal's text says.
    if (tm_proc_reset_peak(ctx, sampler->proc) != TM_OK) {
      tm_ctx_clear(ctx);
      sampler->interval_peaks = false;
    }
  }
  tm_sample sample = {.time_ns = time_ns};
  emit_signals(sampler, groups, mono_ns, &sample, fn, ud);
  if (groups & TM_GROUP_BIT(TM_GROUP_HANDLES)) {
    emit_family(sampler, sampler->reading.handles, TM_HANDLE_COUNT, handle_name, 0, &sample, fn,
                ud);
    emit_family(sampler, sampler->reading.handle_bytes, TM_HANDLE_COUNT, handle_name, 1, &sample,
                fn, ud);
  }
  if (groups & TM_GROUP_BIT(TM_GROUP_MAPS)) {
    emit_family(sampler, sampler->reading.mappings, TM_MAPPING_COUNT, mapping_name, 2, &sample, fn,
                ud);
    emit_family(sampler, sampler->reading.mapping_bytes, TM_MAPPING_COUNT, mapping_name, 3, &sample,
                fn, ud);
  }
  if (groups & TM_GROUP_BIT(TM_GROUP_GPU))
    emit_named(sampler->reading.gpu, TM_GPU_REGIONS, 4, &sample, fn, ud);
  if (groups & TM_GROUP_BIT(TM_GROUP_X))
    emit_named(sampler->reading.x, TM_X_KINDS, 5, &sample, fn, ud);
  for (size_t g = 0; g < TM_GROUP_COUNT; g++)
    if (groups & TM_GROUP_BIT(g)) sampler->previous_ns[g] = mono_ns;
  return TM_OK;
}

const tm_sampler_stats *tm_sampler_get_stats(const tm_sampler *sampler) {
  return &sampler->stats;
}

tm_proc *tm_sampler_proc(const tm_sampler *sampler) {
  return sampler->proc;
}
