// tm_columns: a walk over the arrays that a model is made of, in one fixed order, that stores them
// or takes them back. One function per structure serves both ways, so that the two cannot differ.
//
//   tm_status f(tm_columns *c, thing *t) { TM_TRY(tm_columns_value(c, &t->n, sizeof t->n)); ... }
//
// What is taken back is not trusted: every function over it checks what later code relies on and
// says tm_columns_damaged. Small things are copied with the ctx's allocator; great arrays may stay
// where they are, and then only tm_columns.alloc can free them.
#ifndef TM_MODEL_COLUMNS_H
#define TM_MODEL_COLUMNS_H

#include "base/addr_rank.h"
#include "base/idmap.h"
#include "base/strtab.h"
#include "base/vec.h"

typedef struct tm_columns tm_columns;
struct tm_columns {
  tm_ctx *ctx;
  bool taking;        // else storing
  tm_allocator alloc; // when taking: of models whose arrays stay where they are
  // Storing: appends an array.
  tm_status (*store)(tm_columns *columns, const void *items, size_t bytes);
  // Taking: the next array, aligned to 64 bytes, to be written to by nobody else; NULL when empty.
  tm_status (*take)(tm_columns *columns, void **items, size_t *bytes);
};

// A value without pointers of exactly that many bytes.
TM_NODISCARD tm_status tm_columns_value(tm_columns *c, void *value, size_t bytes);

// An array whose count is known already; stays where it is when taken.
TM_NODISCARD tm_status tm_columns_array(tm_columns *c, void **items, size_t count,
                                        size_t item_bytes);

// A list, copied when taken; see tm_columns_vec.
TM_NODISCARD tm_status tm_columns_list(tm_columns *c, void **items, size_t *count, size_t *room,
                                       size_t item_bytes);
// The same, but it stays where it is and must not grow; see tm_columns_big_vec.
TM_NODISCARD tm_status tm_columns_big_list(tm_columns *c, void **items, size_t *count, size_t *room,
                                           size_t item_bytes);

TM_NODISCARD tm_status tm_columns_idmap(tm_columns *c, tm_idmap *map);
TM_NODISCARD tm_status tm_columns_strings(tm_columns *c, tm_strtab *strings);
// Numbers below rank->count, which is checked to be `count`.
TM_NODISCARD tm_status tm_columns_rank(tm_columns *c, tm_addr_rank *rank, uint32_t count);

// TM_E_FORMAT: what was taken cannot be right.
tm_status tm_columns_damaged(tm_columns *c, const char *what);

#define tm_columns_vec(c, v)                                                                       \
  tm_columns_list((c), (void **)&(v)->items, &(v)->count, &(v)->room, sizeof *(v)->items)
#define tm_columns_big_vec(c, v)                                                                   \
  tm_columns_big_list((c), (void **)&(v)->items, &(v)->count, &(v)->room, sizeof *(v)->items)

#endif
