// tm_table: what every analysis answers. Named, unit-typed columns of equal length, and notes
// (totals, unit, headers) beside them. Command line, REPL, HTTP and rules show the same table.
#ifndef TM_MODEL_TABLE_H
#define TM_MODEL_TABLE_H

#include "base/strtab.h"
#include "base/units.h"

typedef enum tm_cell { TM_CELL_INT, TM_CELL_REAL, TM_CELL_TEXT } tm_cell;

typedef struct tm_column {
  uint32_t name; // in the table's strings
  tm_cell cell;
  tm_unit unit;
  size_t room;
  union {
    int64_t *ints;
    double *reals;
    uint32_t *texts; // ids in the table's strings
    void *data;
  };
} tm_column;

typedef struct tm_note {
  uint32_t key; // in the table's strings
  tm_cell cell;
  int64_t integer;
  double real;
  uint32_t text;
} tm_note;

typedef struct tm_table tm_table;

// An empty table. The caller frees it; tm_table_free(NULL) is fine.
TM_NODISCARD tm_status tm_table_new(tm_ctx *ctx, tm_table **out);
void tm_table_free(tm_table *table);

// Adds a column before the first row; its index is the count of columns before it.
TM_NODISCARD tm_status tm_table_add_column(tm_ctx *ctx, tm_table *table, const char *name,
                                           tm_cell cell, tm_unit unit);

// Adds a row of zeros and empty texts; answers its index.
TM_NODISCARD tm_status tm_table_add_row(tm_ctx *ctx, tm_table *table, size_t *out_row);

// Cells. Row and column must exist, and the column must hold that kind of cell.
void tm_table_set_int(tm_table *table, size_t row, size_t column, int64_t value);
void tm_table_set_real(tm_table *table, size_t row, size_t column, double value);
TM_NODISCARD tm_status tm_table_set_text(tm_ctx *ctx, tm_table *table, size_t row, size_t column,
                                         const char *text, size_t length);
int64_t tm_table_int(const tm_table *table, size_t row, size_t column);
double tm_table_real(const tm_table *table, size_t row, size_t column); // of an int column too
const char *tm_table_text(const tm_table *table, size_t row, size_t column);

size_t tm_table_row_count(const tm_table *table);
size_t tm_table_column_count(const tm_table *table);
const tm_column *tm_table_column(const tm_table *table, size_t column);
const char *tm_table_column_name(const tm_table *table, size_t column);
// Index of the named column, or SIZE_MAX.
size_t tm_table_find_column(const tm_table *table, const char *name);

// Notes: facts about the whole table (total, unit, legend). A key may repeat.
TM_NODISCARD tm_status tm_table_note_int(tm_ctx *ctx, tm_table *table, const char *key,
                                         int64_t value);
TM_NODISCARD tm_status tm_table_note_real(tm_ctx *ctx, tm_table *table, const char *key,
                                          double value);
TM_NODISCARD tm_status tm_table_note_text(tm_ctx *ctx, tm_table *table, const char *key,
                                          const char *text);
size_t tm_table_note_count(const tm_table *table);
const tm_note *tm_table_note(const tm_table *table, size_t index);
// The text of an id found in a column, note or column name.
const char *tm_table_string(const tm_table *table, uint32_t id);

#endif
