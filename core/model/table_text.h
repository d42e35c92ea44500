// Tables as text for programs.
#ifndef TM_MODEL_TABLE_TEXT_H
#define TM_MODEL_TABLE_TEXT_H

#include "base/bytes.h"
#include "model/table.h"

// The rows as a JSON array of objects, a member per column. Appends to out.
TM_NODISCARD tm_status tm_table_json(tm_ctx *ctx, const tm_table *table, tm_bytes *out);

// A line of column names, then one per row. Source: RFC 4180, but with \n alone behind a line, as
// every tool here writes it. Appends to out.
TM_NODISCARD tm_status tm_table_csv(tm_ctx *ctx, const tm_table *table, tm_bytes *out);

#endif
