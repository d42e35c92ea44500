// What a JVM heap dump had that could not be read or resolved, counted.
#include "read/hprof_impl.h"

static const struct {
  const char *text;
  bool loses; // objects or references that the program had
} kinds[HPROF_PROBLEMS] = {
    [HPROF_CUT] = {"records that the end of the file cuts", true},
    [HPROF_SKIPPED_RECORD] = {"records of an unknown kind, skipped", true},
    [HPROF_BROKEN_SEGMENT] = {"heap segments left where no object follows", true},
    [HPROF_MISSING_CLASS] = {"classes that objects name and the dump lacks", true},
    [HPROF_OPAQUE] = {"objects whose fields do not fit their class", true},
    [HPROF_DUPLICATE] = {"objects and classes of an address that was taken", true},
    [HPROF_CUT_CHAIN] = {"classes with too many or circular classes above", true},
    [HPROF_LOST_ROOT] = {"roots that are no object of the dump", false},
    [HPROF_DANGLING] = {"references to no object of the dump", false},
    [HPROF_ASSUMED_ROOT] =
        {"roots assumed, as the dump lacks them: classes of the VM, threads, loaders", true},
    [HPROF_OTHER_DUMP] = {"further dumps in the file; FILE#2 reads the second", true},
};

void hprof_note(hprof *h, hprof_problem_kind kind, uint64_t offset) {
  hprof_problem *p = &h->problems[kind];
  if (!p->count++) p->offset = offset;
}

tm_status hprof_problems(tm_ctx *ctx, const tm_graph *g, tm_table *out) {
  const hprof *h = g->kept;
  size_t row;
  TM_TRY(tm_table_add_column(ctx, out, "problem", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "count", TM_CELL_INT, TM_UNIT_COUNT));
  TM_TRY(tm_table_add_column(ctx, out, "offset", TM_CELL_INT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "loses", TM_CELL_INT, TM_UNIT_NONE));
  for (size_t i = 0; i < HPROF_PROBLEMS; i++) {
    const hprof_problem *p = &h->problems[i];
    if (!p->count) continue;
    TM_TRY(tm_table_add_row(ctx, out, &row));
    TM_TRY(tm_table_set_text(ctx, out, row, 0, kinds[i].text, strlen(kinds[i].text)));
    tm_table_set_int(out, row, 1, (int64_t)p->count);
    tm_table_set_int(out, row, 2, p->offset == TM_NO_OFFSET ? -1 : (int64_t)p->offset);
    tm_table_set_int(out, row, 3, kinds[i].loses);
  }
  return TM_OK;
}
