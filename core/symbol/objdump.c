// objdump is spawned without a shell and read through a pipe with a deadline; its lines
// "  4011a6:\tpush   %rbp" are instructions, all others headers.
#include "symbol/objdump.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_OUTPUT_BYTES (UINT64_C(64) << 20)
#define TIMEOUT_MS       60000

extern char **environ;

// --- running ---

static void find_tool(char *buf, size_t size) {
  size_t length;
  const char *tools = getenv("PPROF_TOOLS");
  for (const char *s = tools ? tools : ""; *s; s += length + (s[length] == ':')) {
    length = strcspn(s, ":");
    int n = snprintf(buf, size, "%.*s/objdump", (int)length, s);
    if (n > 0 && (size_t)n < size && access(buf, X_OK) == 0) return;
  }
  snprintf(buf, size, "objdump");
}

static int spawn(char *const argv[], int out, pid_t *pid) {
  posix_spawn_file_actions_t actions;
  int error = posix_spawn_file_actions_init(&actions);
  if (error) return error;
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  error = posix_spawn_file_actions_adddup2(&actions, out, 1);
  if (!error) error = posix_spawnp(pid, argv[0], &actions, NULL, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

static tm_status read_all(tm_ctx *ctx, int fd, tm_bytes *out) {
  char buf[8192];
  uint64_t deadline = tm_clock_mono_ns() + UINT64_C(1000000) * TIMEOUT_MS;
  size_t before = out->size;
  while (true) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint64_t now = tm_clock_mono_ns();
    if (now >= deadline || poll(&p, 1, (int)((deadline - now) / 1000000) + 1) == 0)
      return tm_fail(ctx, TM_E_TIMEOUT, TM_NO_OFFSET, "objdump took more than 60 s");
    ssize_t n = read(fd, buf, sizeof buf);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return tm_fail_errno(ctx, errno, "reading from objdump");
    if (n == 0) return TM_OK;
    if (out->size - before > MAX_OUTPUT_BYTES)
      return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "objdump printed more than 64 MiB");
    TM_TRY(tm_bytes_append(ctx, out, buf, (size_t)n));
  }
}

static tm_status run_tool(tm_ctx *ctx, char *const argv[], tm_bytes *out) {
  int ends[2], how = 0;
  pid_t pid = 0;
  if (pipe2(ends, O_CLOEXEC) != 0) return tm_fail_errno(ctx, errno, "making a pipe");
  int error = spawn(argv, ends[1], &pid);
  close(ends[1]);
  if (error) {
    close(ends[0]);
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "objdump cannot be run (%s); install binutils or set PPROF_TOOLS",
                   strerror(error));
  }
  tm_status status = read_all(ctx, ends[0], out);
  close(ends[0]);
  if (status != TM_OK) kill(pid, SIGKILL);
  while (waitpid(pid, &how, 0) < 0 && errno == EINTR) continue;
  if (status == TM_OK && (!WIFEXITED(how) || WEXITSTATUS(how) != 0))
    return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "objdump failed on %s", argv[7]);
  return status;
}

tm_status tm_objdump_run(tm_ctx *ctx, const char *file, uint64_t begin, uint64_t end,
                         bool intel_syntax, tm_bytes *out) {
  char tool[1024], start[48], stop[48];
  find_tool(tool, sizeof tool);
  snprintf(start, sizeof start, "--start-address=0x%llx", (unsigned long long)begin);
  snprintf(stop, sizeof stop, "--stop-address=0x%llx", (unsigned long long)end);
  char *const argv[] = {tool,
                        (char *)"--disassemble",
                        (char *)"--no-show-raw-insn",
                        start,
                        stop,
                        (char *)(intel_syntax ? "-Mintel" : "--wide"),
                        (char *)"--",
                        (char *)file,
                        NULL};
  return run_tool(ctx, argv, out);
}

// --- reading ---

// "  4011a6:\t" at the begin of the line; answers where the instruction begins, or NULL.
static const char *read_address(const char *s, const char *end, uint64_t *out) {
  uint64_t value = 0;
  int digits = 0;
  while (s < end && *s == ' ') s++;
  for (; s < end && digits <= 16; s++, digits++) {
    int digit = *s >= '0' && *s <= '9' ? *s - '0' : *s >= 'a' && *s <= 'f' ? *s - 'a' + 10 : -1;
    if (digit < 0) break;
    value = value << 4 | (uint64_t)digit;
  }
  if (!digits || digits > 16 || end - s < 2 || s[0] != ':' || s[1] != '\t') return NULL;
  *out = value;
  return s + 2;
}

tm_status tm_objdump_parse(tm_ctx *ctx, const char *text, size_t size, tm_arena *arena,
                           tm_instructions *out) {
  const char *stop = text + size;
  for (const char *line = text, *end; line < stop; line = end + 1) {
    uint64_t address;
    end = memchr(line, '\n', (size_t)(stop - line));
    if (!end) end = stop;
    const char *code = read_address(line, end, &address), *last = end;
    if (!code) continue;
    while (last > code && (last[-1] == ' ' || last[-1] == '\t')) last--;
    char *copy = tm_arena_strndup(arena, code, (size_t)(last - code));
    if (!copy) return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "too much disassembly");
    tm_instruction one = {.address = address, .text = copy, .function = "", .file = ""};
    TM_TRY(tm_vec_push(ctx, out, one));
  }
  return TM_OK;
}
