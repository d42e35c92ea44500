// The tables that all ports share: names, units and words of signals, handles, mappings and groups,
// made from the .def lists. Looked up by number in constant time, by name in one pass.
#include "platform/platform.h"

#include <string.h>

static const tm_signal_info signals[TM_SIGNAL_COUNT] = {
#define TM_SIGNAL(id, name, unit, group, kind, doc)                                                \
  {name, TM_UNIT_##unit, TM_GROUP_##group, TM_SIGNAL_IS_##kind, doc},
#include "platform/signals.def"
#undef TM_SIGNAL
};

static const char *const handle_names[TM_HANDLE_COUNT] = {
#define TM_HANDLE(id, name, doc) name,
#include "platform/handles.def"
#undef TM_HANDLE
};

static const char *const mapping_names[TM_MAPPING_COUNT] = {
#define TM_MAPPING(id, name, doc) name,
#include "platform/mappings.def"
#undef TM_MAPPING
};

static const char *const group_names[TM_GROUP_COUNT] = {
    [TM_GROUP_STATM] = "statm",   [TM_GROUP_STAT] = "stat",     [TM_GROUP_FDS] = "fds",
    [TM_GROUP_OOM] = "oom",       [TM_GROUP_IO] = "io",         [TM_GROUP_STATUS] = "status",
    [TM_GROUP_LIMITS] = "limits", [TM_GROUP_CGROUP] = "cgroup", [TM_GROUP_SYSTEM] = "system",
    [TM_GROUP_PSI] = "psi",       [TM_GROUP_TREE] = "tree",     [TM_GROUP_HANDLES] = "handles",
    [TM_GROUP_MAPS] = "maps",     [TM_GROUP_ROLLUP] = "rollup", [TM_GROUP_GPU] = "gpu",
    [TM_GROUP_X] = "x",
};

const tm_signal_info *tm_signal_describe(tm_signal signal) {
  return (size_t)signal < TM_SIGNAL_COUNT ? &signals[signal] : NULL;
}

tm_signal tm_signal_by_name(const char *name) {
  size_t i = 0;
  while (i < TM_SIGNAL_COUNT && strcmp(signals[i].name, name) != 0) i++;
  return (tm_signal)i;
}

const char *tm_handle_kind_name(tm_handle_kind kind) {
  return (size_t)kind < TM_HANDLE_COUNT ? handle_names[kind] : "other";
}

const char *tm_mapping_kind_name(tm_mapping_kind kind) {
  return (size_t)kind < TM_MAPPING_COUNT ? mapping_names[kind] : "other";
}

const char *tm_group_name(tm_group group) {
  return (size_t)group < TM_GROUP_COUNT ? group_names[group] : "unknown";
}

static void blank(double *values, size_t count) {
  for (size_t i = 0; i < count; i++) values[i] = NAN;
}

static void blank_named(tm_named_value *values, size_t count) {
  for (size_t i = 0; i < count; i++) values[i] = (tm_named_value){.value = NAN};
}

void tm_reading_clear(tm_reading *reading) {
  blank(reading->value, TM_SIGNAL_COUNT);
  blank(reading->handles, TM_HANDLE_COUNT);
  blank(reading->handle_bytes, TM_HANDLE_COUNT);
  blank(reading->mappings, TM_MAPPING_COUNT);
  blank(reading->mapping_bytes, TM_MAPPING_COUNT);
  blank_named(reading->gpu, TM_GPU_REGIONS);
  blank_named(reading->x, TM_X_KINDS);
  reading->withheld = 0;
}

void tm_reading_clear_groups(tm_reading *reading, uint32_t groups) {
  for (size_t i = 0; i < TM_SIGNAL_COUNT; i++)
    if (groups & TM_GROUP_BIT(signals[i].group)) reading->value[i] = NAN;
  if (groups & TM_GROUP_BIT(TM_GROUP_HANDLES)) {
    blank(reading->handles, TM_HANDLE_COUNT);
    blank(reading->handle_bytes, TM_HANDLE_COUNT);
  }
  if (groups & TM_GROUP_BIT(TM_GROUP_GPU)) blank_named(reading->gpu, TM_GPU_REGIONS);
  if (groups & TM_GROUP_BIT(TM_GROUP_X)) blank_named(reading->x, TM_X_KINDS);
  if (groups & TM_GROUP_BIT(TM_GROUP_MAPS)) {
    blank(reading->mappings, TM_MAPPING_COUNT);
    blank(reading->mapping_bytes, TM_MAPPING_COUNT);
  }
}
