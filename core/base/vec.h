// Growing arrays on the ctx's allocator: TM_VEC(type) is a struct with items, count, room.
//   TM_VEC(uint32_t) ids = {0};  TM_TRY(tm_vec_push(ctx, &ids, 7));  tm_vec_free(ctx, &ids);
#ifndef TM_BASE_VEC_H
#define TM_BASE_VEC_H

#include "base/ctx.h"

#define TM_VEC(type)                                                                               \
  struct {                                                                                         \
    type *items;                                                                                   \
    size_t count, room;                                                                            \
  }

static inline tm_status tm_vec_grow(tm_ctx *ctx, void **items, size_t *room, size_t need,
                                    size_t item_size) {
  if (need <= *room) return TM_OK;
  size_t bigger = *room < 8 ? 8 : *room + *room / 2;
  if (bigger < need) bigger = need;
  if (bigger > SIZE_MAX / item_size)
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "an array of %zu items is too large", bigger);
  void *p = tm_realloc(ctx, *items, *room * item_size, bigger * item_size);
  if (!p) return TM_E_NOMEM;
  *items = p;
  *room = bigger;
  return TM_OK;
}

// Makes room for n more items.
#define tm_vec_reserve(ctx, v, n)                                                                  \
  tm_vec_grow((ctx), (void **)&(v)->items, &(v)->room, (v)->count + (n), sizeof *(v)->items)

#define tm_vec_push(ctx, v, ...)                                                                   \
  (tm_vec_reserve((ctx), (v), 1) == TM_OK ? ((v)->items[(v)->count++] = (__VA_ARGS__), TM_OK)      \
                                          : TM_E_NOMEM)

#define tm_vec_free(ctx, v)                                                                        \
  (tm_free((ctx), (v)->items, (v)->room * sizeof *(v)->items), (v)->items = NULL,                  \
   (v)->count = (v)->room = 0)

#endif
