// What the files of the injector share: reading a program from outside, and what is known of it
// before one of its threads is stopped.
#ifndef TM_PLATFORM_LINUX_INJECT_H
#define TM_PLATFORM_LINUX_INJECT_H

#include "linux.h"

enum { TM_INJECT_RANGES = 64 };

// Where the functions that a thread is made to call stand in the program.
typedef struct tm_inject_calls {
  uint64_t malloc, free, dlopen, dlsym, dlerror, errno_location;
  uint64_t syscall_at; // a syscall instruction
  uint64_t entry;      // of the library, when it is there already; else 0
} tm_inject_calls;

typedef struct tm_inject_plan {
  int64_t pid;
  tm_inject_calls calls;
  // Code in which a thread may hold a lock that loading takes: the loader's, the allocators'.
  struct {
    uint64_t begin, end;
    bool is_loader;
  } unsafe[TM_INJECT_RANGES];
  size_t unsafe_count;
} tm_inject_plan;

// Reads memory; true: all of it.
bool tm_inject_read(int64_t pid, uint64_t from, void *to, size_t bytes);
bool tm_inject_write(int64_t pid, uint64_t to, const void *from, size_t bytes);

// The address of a function that a module of the process defines; 0: it does not.
// base: where its ELF header is mapped. Source: the ELF specification, DT_GNU_HASH of GNU binutils.
uint64_t tm_inject_symbol(int64_t pid, uint64_t base, const char *name);

// Finds what is needed and what speaks against it. TM_E_UNSUPPORTED, TM_E_GONE, TM_E_PERM.
TM_NODISCARD tm_status tm_inject_prepare(tm_ctx *ctx, tm_proc *proc, const tm_inject *options,
                                         tm_inject_plan *out);

#endif
