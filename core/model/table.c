// Columns are separate arrays that grow by half; texts are interned in the table, so that a column
// of repeated names costs four bytes a row and a table outlives the model it was made from.
#include "model/table.h"

#include "base/vec.h"

#include <assert.h>
#include <string.h>

struct tm_table {
  tm_allocator alloc;
  tm_strtab strings;
  size_t row_count;
  TM_VEC(tm_column) columns;
  TM_VEC(tm_note) notes;
};

static size_t cell_size(tm_cell cell) {
  return cell == TM_CELL_TEXT ? sizeof(uint32_t) : sizeof(int64_t);
}

tm_status tm_table_new(tm_ctx *ctx, tm_table **out) {
  tm_table *table = tm_calloc(ctx, 1, sizeof *table);
  if (!table) return TM_E_NOMEM;
  table->alloc = ctx->alloc;
  tm_strtab_init(&table->strings, &ctx->alloc, 0);
  *out = table;
  return TM_OK;
}

static void give_back(tm_table *table, void *p, size_t size) {
  if (p) table->alloc.realloc_fn(table->alloc.ud, p, size, 0);
}

void tm_table_free(tm_table *table) {
  if (!table) return;
  for (size_t i = 0; i < table->columns.count; i++) {
    tm_column *c = &table->columns.items[i];
    give_back(table, c->data, c->room * cell_size(c->cell));
  }
  give_back(table, table->columns.items, table->columns.room * sizeof *table->columns.items);
  give_back(table, table->notes.items, table->notes.room * sizeof *table->notes.items);
  tm_strtab_fini(&table->strings);
  give_back(table, table, sizeof *table);
}

tm_status tm_table_add_column(tm_ctx *ctx, tm_table *table, const char *name, tm_cell cell,
                              tm_unit unit) {
  assert(table->row_count == 0);
  tm_column column = {.cell = cell, .unit = unit};
  TM_TRY(tm_strtab_intern(ctx, &table->strings, name, strlen(name), &column.name));
  return tm_vec_push(ctx, &table->columns, column);
}

tm_status tm_table_add_row(tm_ctx *ctx, tm_table *table, size_t *out_row) {
  for (size_t i = 0; i < table->columns.count; i++) {
    tm_column *c = &table->columns.items[i];
    size_t size = cell_size(c->cell);
    TM_TRY(tm_vec_grow(ctx, &c->data, &c->room, table->row_count + 1, size));
    memset((char *)c->data + table->row_count * size, 0, size);
  }
  *out_row = table->row_count++;
  return TM_OK;
}

void tm_table_set_int(tm_table *table, size_t row, size_t column, int64_t value) {
  assert(row < table->row_count && column < table->columns.count);
  table->columns.items[column].ints[row] = value;
}

void tm_table_set_real(tm_table *table, size_t row, size_t column, double value) {
  assert(row < table->row_count && column < table->columns.count);
  table->columns.items[column].reals[row] = value;
}

tm_status tm_table_set_text(tm_ctx *ctx, tm_table *table, size_t row, size_t column,
                            const char *text, size_t length) {
  assert(row < table->row_count && column < table->columns.count);
  return tm_strtab_intern(ctx, &table->strings, text, length,
                          &table->columns.items[column].texts[row]);
}

int64_t tm_table_int(const tm_table *table, size_t row, size_t column) {
  return table->columns.items[column].ints[row];
}

double tm_table_real(const tm_table *table, size_t row, size_t column) {
  const tm_column *c = &table->columns.items[column];
  return c->cell == TM_CELL_INT ? (double)c->ints[row] : c->reals[row];
}

const char *tm_table_text(const tm_table *table, size_t row, size_t column) {
  return tm_strtab_text(&table->strings, table->columns.items[column].texts[row]);
}

size_t tm_table_row_count(const tm_table *table) {
  return table->row_count;
}

size_t tm_table_column_count(const tm_table *table) {
  return table->columns.count;
}

const tm_column *tm_table_column(const tm_table *table, size_t column) {
  return &table->columns.items[column];
}

const char *tm_table_column_name(const tm_table *table, size_t column) {
  return tm_strtab_text(&table->strings, table->columns.items[column].name);
}

size_t tm_table_find_column(const tm_table *table, const char *name) {
  for (size_t i = 0; i < table->columns.count; i++)
    if (strcmp(tm_table_column_name(table, i), name) == 0) return i;
  return SIZE_MAX;
}

static tm_status add_note(tm_ctx *ctx, tm_table *table, const char *key, tm_note note) {
  TM_TRY(tm_strtab_intern(ctx, &table->strings, key, strlen(key), &note.key));
  return tm_vec_push(ctx, &table->notes, note);
}

tm_status tm_table_note_int(tm_ctx *ctx, tm_table *table, const char *key, int64_t value) {
  return add_note(ctx, table, key, (tm_note){.cell = TM_CELL_INT, .integer = value});
}

tm_status tm_table_note_real(tm_ctx *ctx, tm_table *table, const char *key, double value) {
  return add_note(ctx, table, key, (tm_note){.cell = TM_CELL_REAL, .real = value});
}

tm_status tm_table_note_text(tm_ctx *ctx, tm_table *table, const char *key, const char *text) {
  tm_note note = {.cell = TM_CELL_TEXT};
  TM_TRY(tm_strtab_intern(ctx, &table->strings, text, strlen(text), &note.text));
  return add_note(ctx, table, key, note);
}

size_t tm_table_note_count(const tm_table *table) {
  return table->notes.count;
}

const tm_note *tm_table_note(const tm_table *table, size_t index) {
  return &table->notes.items[index];
}

const char *tm_table_string(const tm_table *table, uint32_t id) {
  return tm_strtab_text(&table->strings, id);
}
