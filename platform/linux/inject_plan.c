// What is known of a program before one of its threads is stopped: which modules it has, where the
// functions are that loading a library takes, and the programs in which nothing is to be loaded.
#include "inject.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct modules {
  tm_inject_plan *plan;
  uint64_t program, libc, libdl, ours; // bases
  const char *library;                 // base name of ours
  const char *refusal;
  char program_path[256];
  bool has_loader, is_full;
} modules;

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static bool starts(const char *text, const char *with) {
  return strncmp(text, with, strlen(with)) == 0;
}

// Code that may hold a lock which loading a library or allocating takes.
static bool is_unsafe(const char *name) {
  static const char *const names[] = {"libc.so",    "libc-2.",     "libpthread",   "libdl",
                                      "libgcc_s",   "libjemalloc", "libtcmalloc",  "libmimalloc",
                                      "libunwind.", "libtidemark", "libc_malloc_d"};
  for (size_t i = 0; i < TM_COUNT(names); i++)
    if (starts(name, names[i])) return true;
  return false;
}

static bool is_loader(const char *name) {
  return starts(name, "ld-linux") || starts(name, "ld-2.") || starts(name, "ld.so");
}

static const char *refusal_of(const char *name) {
  static const struct {
    const char *name, *why;
  } others[] = {
      {"libasan.so", "it is built with AddressSanitizer, which has its own allocator"},
      {"libclang_rt.asan", "it is built with AddressSanitizer, which has its own allocator"},
      {"libtsan.so", "it is built with ThreadSanitizer, which has its own allocator"},
      {"libclang_rt.tsan", "it is built with ThreadSanitizer, which has its own allocator"},
      {"liblsan.so", "it is built with LeakSanitizer, which has its own allocator"},
      {"libhwasan.so", "it is built with HWASan, which has its own allocator"},
      {"vgpreload", "it runs under valgrind, which has its own allocator"},
      {"ld-musl", "its libc is musl; the agent needs glibc"},
      {"libc.musl", "its libc is musl; the agent needs glibc"}};
  for (size_t i = 0; i < TM_COUNT(others); i++)
    if (starts(name, others[i].name)) return others[i].why;
  return NULL;
}

static void note_base(uint64_t *base, const tm_mapping_row *row) {
  if (!*base) *base = row->start;
}

static void note_loader(tm_inject_plan *plan, const tm_mapping_row *row) {
  if (!plan->loader_end) plan->loader_begin = row->start;
  plan->loader_end = row->end;
}

static bool add_mapping(void *ud, const tm_mapping_row *row) {
  modules *m = ud;
  const char *name = base_name(row->name);
  bool is_code = row->access[2] == 'x', loader = is_loader(name);
  if (!*row->name) return true;
  if (strcmp(row->name, m->program_path) == 0) note_base(&m->program, row);
  if (starts(name, "libc.so") || starts(name, "libc-2.")) note_base(&m->libc, row);
  if (starts(name, "libdl.so") || starts(name, "libdl-2.")) note_base(&m->libdl, row);
  // Brought by a descriptor it is called "memfd:tidemark-malloc (deleted)".
  if (starts(name, m->library) || starts(name, "memfd:tidemark-malloc")) note_base(&m->ours, row);
  if (refusal_of(name)) m->refusal = refusal_of(name);
  m->has_loader = m->has_loader || loader;
  if (loader) note_loader(m->plan, row);
  if (!is_code || !(loader || is_unsafe(name))) return true;
  if (m->plan->unsafe_count == TM_INJECT_RANGES) {
    m->is_full = true;
    return false;
  }
  m->plan->unsafe[m->plan->unsafe_count].begin = row->start;
  m->plan->unsafe[m->plan->unsafe_count].end = row->end;
  m->plan->unsafe[m->plan->unsafe_count++].is_loader = loader;
  return true;
}

// ---- the process ----

static bool read_file(const tm_proc *proc, const char *name, char *to, size_t size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%lld/%s", (long long)proc->id.pid, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = fd >= 0 ? read(fd, to, size - 1) : -1;
  if (fd >= 0) close(fd);
  to[got > 0 ? got : 0] = '\0';
  return got > 0;
}

// The number behind a key of /proc/PID/status; 0 if it is not there.
static long long number_of(const char *text, const char *key) {
  const char *at = strstr(text, key);
  long long value = 0;
  if (at) sscanf(at + strlen(key), "%lld", &value);
  return value;
}

static const char *wrong_machine(const tm_proc *proc) {
  Elf64_Ehdr head = {0};
  char bytes[sizeof head + 1];
  if (!read_file(proc, "exe", bytes, sizeof bytes)) return NULL; // a kernel thread, or not ours
  memcpy(&head, bytes, sizeof head);
  if (head.e_ident[EI_CLASS] != ELFCLASS64) return "it is a program of 32 bits";
#if defined(__x86_64__)
  return head.e_machine == EM_X86_64 ? NULL : "it is a program of another architecture";
#else
  return "bringing the agent into running programs is built for x86-64 only";
#endif
}

static tm_status refuse(tm_ctx *ctx, int64_t pid, const char *why) {
  return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                 "the malloc agent is not for process %lld: %s", (long long)pid, why);
}

// Root may go anywhere, or what it may not go into is said later.
static tm_status check_owner(tm_ctx *ctx, int64_t pid, const char *status) {
  long long owner = number_of(status, "\nUid:");
  if (geteuid() == 0 || owner == (long long)geteuid()) return TM_OK;
  return tm_fail(ctx, TM_E_PERM, TM_NO_OFFSET, "process %lld belongs to another user (%lld)",
                 (long long)pid, owner);
}

static tm_status check_state(tm_ctx *ctx, const tm_proc *proc) {
  char status[4096];
  long long pid = proc->id.pid;
  if (pid == getpid())
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "tidemark does not bring its agent into itself");
  if (!read_file(proc, "status", status, sizeof status))
    return tm_fail(ctx, TM_E_GONE, TM_NO_OFFSET, "process %lld has ended", pid);
  TM_TRY(check_owner(ctx, pid, status));
  long long tracer = number_of(status, "\nTracerPid:");
  const char *state = strstr(status, "\nState:");
  if (tracer)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "process %lld is being traced by process %lld (a debugger, strace?)", pid,
                   tracer);
  if (number_of(status, "\nPPid:") == getpid())
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "process %lld was begun by this tidemark; begin it with `run --malloc`", pid);
  state = state ? state + strlen("\nState:") : "";
  while (*state == '\t' || *state == ' ') state++;
  if (*state == 'Z' || *state == 'X')
    return tm_fail(ctx, TM_E_GONE, TM_NO_OFFSET, "process %lld has ended", pid);
  if (!strstr(status, "\nVmSize:")) return refuse(ctx, pid, "it is a thread of the kernel");
  if (*state == 'T' || *state == 't')
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "process %lld is stopped; let it go on (kill -CONT %lld)", pid, pid);
  return TM_OK;
}

// ---- its functions ----

static uint64_t in_either(const modules *m, const char *name) {
  uint64_t found = tm_inject_symbol(m->plan->pid, m->libc, name);
  return found ? found : tm_inject_symbol(m->plan->pid, m->libdl, name); // glibc before 2.34
}

// getpid is a syscall instruction with little around it.
static uint64_t find_syscall(const modules *m) {
  uint64_t getpid_at = tm_inject_symbol(m->plan->pid, m->libc, "getpid");
  uint8_t code[32];
  if (!getpid_at || !tm_inject_read(m->plan->pid, getpid_at, code, sizeof code)) return 0;
  for (size_t i = 0; i + 1 < sizeof code; i++)
    if (code[i] == 0x0f && code[i + 1] == 0x05) return getpid_at + i;
  return 0;
}

static bool find_calls(const modules *m, const tm_inject *options, tm_inject_calls *out) {
  int64_t pid = m->plan->pid;
  *out = (tm_inject_calls){.malloc = in_either(m, "malloc"),
                           .free = in_either(m, "free"),
                           .dlopen = in_either(m, "dlopen"),
                           .dlsym = in_either(m, "dlsym"),
                           .dlerror = in_either(m, "dlerror"),
                           .errno_location = in_either(m, "__errno_location"),
                           .syscall_at = find_syscall(m)};
  if (m->ours) out->entry = tm_inject_symbol(pid, m->ours, options->entry);
  return out->malloc && out->free && out->dlopen && out->dlsym && out->dlerror
         && out->errno_location && out->syscall_at;
}

tm_status tm_inject_prepare(tm_ctx *ctx, tm_proc *proc, const tm_inject *options,
                            tm_inject_plan *out) {
  modules m = {.plan = out, .library = base_name(options->library)};
  char exe[64];
  *out = (tm_inject_plan){.pid = proc->id.pid};
  TM_TRY(check_state(ctx, proc));
  const char *why = wrong_machine(proc);
  if (why) return refuse(ctx, out->pid, why);
  snprintf(exe, sizeof exe, "/proc/%lld/exe", (long long)out->pid);
  ssize_t got = readlink(exe, m.program_path, sizeof m.program_path - 1);
  m.program_path[got > 0 ? got : 0] = '\0';
  TM_TRY(tm_proc_each_mapping(ctx, proc, add_mapping, &m));
  if (m.refusal) return refuse(ctx, out->pid, m.refusal);
  if (m.is_full) return refuse(ctx, out->pid, "it has libc several times");
  if (!m.libc || !m.has_loader)
    return refuse(ctx, out->pid, "it is linked statically, or does not use glibc");
  uint8_t first;
  if (!tm_inject_read(out->pid, m.libc, &first, 1))
    return tm_fail_errno(ctx, errno,
                         "cannot look into process %lld; it wants CAP_SYS_PTRACE or the "
                         "same user with kernel.yama.ptrace_scope 0",
                         (long long)out->pid);
  if (m.program && tm_inject_symbol(out->pid, m.program, "malloc"))
    return refuse(ctx, out->pid,
                  "it has an allocator of its own linked into it, which cannot be stood before");
  if (!find_calls(&m, options, &out->calls))
    return refuse(ctx, out->pid, "its libc has no dlopen (glibc 2.17 and later have it)");
  return TM_OK;
}
