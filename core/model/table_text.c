// Cell by cell into a growing buffer.
#include "model/table_text.h"

#include "base/json_write.h"

#include <string.h>

static void json_cell(tm_json *w, const tm_table *t, size_t row, size_t column) {
  tm_json_key(w, tm_table_column_name(t, column));
  switch (tm_table_column(t, column)->cell) {
  case TM_CELL_INT:
    tm_json_int(w, tm_table_int(t, row, column));
    break;
  case TM_CELL_REAL:
    tm_json_double(w, tm_table_real(t, row, column));
    break;
  case TM_CELL_TEXT:
    tm_json_string(w, tm_table_text(t, row, column));
    break;
  }
}

tm_status tm_table_json(tm_ctx *ctx, const tm_table *t, tm_bytes *out) {
  tm_json w = tm_json_begin(ctx, out);
  tm_json_array(&w);
  for (size_t row = 0; row < tm_table_row_count(t) && w.status == TM_OK; row++) {
    tm_json_object(&w);
    for (size_t c = 0; c < tm_table_column_count(t); c++) json_cell(&w, t, row, c);
    tm_json_close(&w);
  }
  tm_json_close(&w);
  return tm_json_end(&w);
}

static tm_status csv_text(tm_ctx *ctx, tm_bytes *out, const char *text) {
  if (!text[strcspn(text, ",\"\r\n")]) return tm_bytes_append(ctx, out, text, strlen(text));
  TM_TRY(tm_bytes_append(ctx, out, "\"", 1));
  for (const char *quote; (quote = strchr(text, '"')); text = quote + 1) {
    TM_TRY(tm_bytes_append(ctx, out, text, (size_t)(quote - text)));
    TM_TRY(tm_bytes_append(ctx, out, "\"\"", 2));
  }
  TM_TRY(tm_bytes_append(ctx, out, text, strlen(text)));
  return tm_bytes_append(ctx, out, "\"", 1);
}

static tm_status csv_cell(tm_ctx *ctx, const tm_table *t, size_t row, size_t c, tm_bytes *out) {
  if (c) TM_TRY(tm_bytes_append(ctx, out, ",", 1));
  switch (tm_table_column(t, c)->cell) {
  case TM_CELL_INT:
    return tm_bytes_printf(ctx, out, "%lld", (long long)tm_table_int(t, row, c));
  case TM_CELL_REAL:
    return tm_bytes_printf(ctx, out, "%.15g", tm_table_real(t, row, c));
  case TM_CELL_TEXT:
    return csv_text(ctx, out, tm_table_text(t, row, c));
  }
  return TM_OK;
}

tm_status tm_table_csv(tm_ctx *ctx, const tm_table *t, tm_bytes *out) {
  for (size_t c = 0; c < tm_table_column_count(t); c++) {
    if (c) TM_TRY(tm_bytes_append(ctx, out, ",", 1));
    TM_TRY(csv_text(ctx, out, tm_table_column_name(t, c)));
  }
  TM_TRY(tm_bytes_append(ctx, out, "\n", 1));
  for (size_t row = 0; row < tm_table_row_count(t); row++) {
    for (size_t c = 0; c < tm_table_column_count(t); c++) TM_TRY(csv_cell(ctx, t, row, c, out));
    TM_TRY(tm_bytes_append(ctx, out, "\n", 1));
  }
  return TM_OK;
}
