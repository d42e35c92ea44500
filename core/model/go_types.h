// Types, globals and functions of a Go program, from its debug information: what gives the objects
// of a heap dump their names. Filled by symbol/go_types.h, used by read/goheap_typing.h.
#ifndef TM_MODEL_GO_TYPES_H
#define TM_MODEL_GO_TYPES_H

#include "base/idmap.h"
#include "base/strtab.h"
#include "base/vec.h"

#define TM_GO_NO_TYPE UINT32_MAX

// Source: internal/abi/type.go (Kind), which DW_AT_go_kind repeats.
enum {
  TM_GO_ARRAY = 17,
  TM_GO_CHAN,
  TM_GO_FUNC,
  TM_GO_INTERFACE,
  TM_GO_MAP,
  TM_GO_POINTER,
  TM_GO_SLICE,
  TM_GO_STRING,
  TM_GO_STRUCT,
  TM_GO_UNSAFE_POINTER
};

typedef struct tm_go_field {
  uint64_t offset;
  uint32_t name, type; // string id, index
} tm_go_field;

typedef struct tm_go_type {
  uint64_t size;
  uint32_t name;     // string id
  uint32_t leads_to; // of pointers, slices, arrays, maps and channels (to their headers)
  uint32_t element;  // of channels: what lies in the buffer
  uint32_t field_begin, field_end; // in fields, by offset
  uint8_t kind;                    // 0 = plain
  bool has_methods;                // of an interface: its first word is an itab
} tm_go_type;

typedef struct tm_go_symbol {
  uint64_t address;
  uint32_t name, type; // of functions: a struct of what their closure holds, or none
} tm_go_symbol;

typedef struct tm_go_types {
  tm_allocator alloc;
  tm_strtab strings;
  TM_VEC(tm_go_type) types;
  TM_VEC(tm_go_field) fields;
  TM_VEC(tm_go_symbol) globals;   // by address
  TM_VEC(tm_go_symbol) functions; // by address
  tm_idmap by_runtime;            // offset behind runtime.types -> type
  uint64_t runtime_types;         // address of runtime.types, 0 = not known
  char version[32];               // "go1.26.8"
} tm_go_types;

static inline void tm_go_types_free(tm_go_types *t) {
  if (!t) return;
  tm_ctx ctx = {.alloc = t->alloc};
  tm_strtab_fini(&t->strings);
  tm_vec_free(&ctx, &t->types);
  tm_vec_free(&ctx, &t->fields);
  tm_vec_free(&ctx, &t->globals);
  tm_vec_free(&ctx, &t->functions);
  tm_idmap_free(&ctx, &t->by_runtime);
  tm_free(&ctx, t, sizeof *t);
}

static inline const char *tm_go_text(const tm_go_types *t, uint32_t id) {
  return tm_strtab_text(&t->strings, id);
}

// The last symbol at or below an address, or NULL.
static inline const tm_go_symbol *tm_go_symbol_below(const tm_go_symbol *items, size_t count,
                                                     uint64_t address) {
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (items[middle].address <= address)
      low = middle + 1;
    else
      high = middle;
  }
  return low ? &items[low - 1] : NULL;
}

#endif
