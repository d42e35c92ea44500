// A JVM tells its parts as text for people, the same since JDK 8 but for words. Lines are looked
// at one by one: addresses in brackets are ranges, figures in K are what it has committed. What is
// not understood is passed over: its memory stays unexplained, which the report shows.
// Source: print_on of G1CollectedHeap, DefNewGeneration, PSYoungGen; codeCache.cpp; metaspace.cpp;
// memReporter.cpp; VMError::print_vm_info of OpenJDK 8 to 25.
#include "live/account_impl.h"
#include "live/jvm_attach.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_ROOM = 512, ADDRESSES = 3 };

typedef struct reading {
  tm_ctx *ctx;
  tm_account_answer *out;
  tm_account_ranges *places;
  char category[64]; // of native memory: what the lines below belong to
} reading;

static void add(double *sum, double bytes) {
  *sum = isnan(*sum) ? bytes : *sum + bytes;
}

// The addresses behind a bracket or a colon: "[0x1, 0x2, 0x3)", "0x1-0x2". How many there are.
static size_t addresses(const char *at, uint64_t out[ADDRESSES]) {
  size_t n = 0;
  while (n < ADDRESSES && (at = strstr(at, "0x"))) {
    char *end;
    out[n++] = strtoull(at, &end, 16);
    at = end;
    if (*at != ',' && *at != '-') break;
  }
  return n;
}

static bool kib_after(const char *line, const char *word, double *out) {
  const char *at = strstr(line, word);
  if (!at) return false;
  char *end;
  double n = strtod(at + strlen(word), &end);
  if (end == at + strlen(word) || *end != 'K') return false;
  *out = n * 1024;
  return true;
}

static tm_status add_range(reading *r, tm_account_ranges *to, const char *at, tm_owner owner) {
  uint64_t a[ADDRESSES];
  size_t n = addresses(at, a);
  if (n < 2 || a[n - 1] <= a[0]) return TM_OK;
  return tm_vec_push(r->ctx, to, (tm_account_range){a[0], a[n - 1], owner});
}

// "garbage-first heap   total 389120K, used 62721K [0x.., 0x..)"; since 25 "committed 389120K"; of
// other collectors a line per generation, with the spaces of each below it.
static tm_status read_heap(reading *r, const char *line) {
  static const char *const spaces[] = {"garbage-first heap",
                                       "def new generation",
                                       "tenured generation",
                                       "PSYoungGen",
                                       "ParOldGen",
                                       "par new generation",
                                       "concurrent mark-sweep generation",
                                       "DefNew",
                                       "Tenured"};
  double bytes;
  for (size_t i = 0; i < TM_COUNT(spaces); i++) {
    if (!strstr(line, spaces[i])) continue;
    if (!kib_after(line, "committed ", &bytes) && !kib_after(line, "total ", &bytes)) return TM_OK;
    add(&r->out->told[TM_OWNER_JVM_HEAP], bytes);
    const char *bracket = strchr(line, '[');
    return bracket ? add_range(r, &r->out->ranges, bracket, TM_OWNER_JVM_HEAP) : TM_OK;
  }
  if (strncmp(line, " - [0x", 6) == 0) // Shenandoah's reserved region
    return add_range(r, &r->out->ranges, line, TM_OWNER_JVM_HEAP);
  return TM_OK;
}

// "- Java Heap (reserved=524288KB, committed=389120KB)" and, below, what of it is mapped:
// "(mmap: reserved=52296KB, committed=47280KB)".
static void read_native(reading *r, const char *line) {
  static const char *const elsewhere[] = {"Java Heap", "Class",     "Thread",
                                          "Code",      "Metaspace", "Shared class space"};
  const char *paren = strstr(line, " (reserved=");
  double bytes;
  if (*line == '-' && paren) {
    const char *from = line + 1 + strspn(line + 1, " ");
    int size = from < paren ? (int)(paren - from) : 0;
    snprintf(r->category, sizeof r->category, "%.*s", size, from);
    return;
  }
  if (!*r->category || !strstr(line, "(mmap: ")) return;
  for (size_t i = 0; i < TM_COUNT(elsewhere); i++)
    if (strcmp(r->category, elsewhere[i]) == 0) return;
  if (kib_after(line, "committed=", &bytes)) add(&r->out->told[TM_OWNER_JVM_OTHER], bytes);
}

static tm_status read_place(reading *r, const char *line) {
  const char *bits = strstr(line, "Bits: [0x");
  if (strncmp(line, "Compressed class space mapped at: ", 34) == 0)
    return add_range(r, r->places, line, TM_OWNER_JVM_METASPACE);
  if (strncmp(line, "Card table byte_map: [", 22) == 0)
    return add_range(r, r->places, line, TM_OWNER_JVM_OTHER);
  return bits ? add_range(r, r->places, bits, TM_OWNER_JVM_OTHER) : TM_OK;
}

static tm_status read_line(reading *r, const char *line) {
  if (r->places) return read_place(r, line);
  const char *bounds = strstr(line, " bounds [0x");
  double bytes;
  if (bounds) {
    uint64_t a[ADDRESSES];
    if (addresses(bounds, a) == ADDRESSES && a[1] >= a[0])
      add(&r->out->told[TM_OWNER_JVM_CODE], (double)(a[1] - a[0]));
    return add_range(r, &r->out->ranges, bounds, TM_OWNER_JVM_CODE);
  }
  const char *metaspace = line + strspn(line, " ");
  if (strncmp(metaspace, "Metaspace", 9) == 0 && kib_after(line, "committed ", &bytes))
    r->out->told[TM_OWNER_JVM_METASPACE] = bytes;
  read_native(r, line);
  return read_heap(r, line);
}

tm_status tm_account_read_jvm(tm_ctx *ctx, const char *text, tm_account_answer *out,
                              tm_account_ranges *places) {
  reading r = {.ctx = ctx, .out = out, .places = places};
  char line[LINE_ROOM];
  while (*text) {
    size_t size = strcspn(text, "\n");
    snprintf(line, sizeof line, "%.*s", (int)(size < LINE_ROOM ? size : LINE_ROOM - 1), text);
    TM_TRY(read_line(&r, line));
    text += size + (text[size] == '\n');
  }
  return TM_OK;
}

static tm_status ask_one(tm_ctx *ctx, const tm_jvm *jvm, uint64_t timeout_ns, const char *question,
                         tm_account_answer *out, tm_account_ranges *places) {
  const char *args[TM_JVM_ARGS] = {question};
  tm_bytes text = {0};
  tm_status status = tm_jvm_command(ctx, jvm, timeout_ns, "jcmd", args, &text);
  if (status == TM_OK) status = tm_bytes_append(ctx, &text, "", 1);
  if (status == TM_OK) status = tm_account_read_jvm(ctx, (const char *)text.data, out, places);
  tm_bytes_free(ctx, &text);
  return status;
}

// The socket appears with the first command of a JVM's life and stays.
static bool listens(const tm_jvm *jvm) {
  char path[96];
  snprintf(path, sizeof path, "/proc/%" PRId64 "/root/tmp/.java_pid%" PRId64, jvm->pid,
           jvm->own_pid);
  return access(path, F_OK) == 0;
}

void tm_account_ask_jvm(tm_ctx *ctx, int64_t pid, uint64_t timeout_ns, bool gentle,
                        tm_account_places *places, tm_account_answer *out) {
  tm_jvm jvm;
  tm_ctx_clear(ctx);
  tm_status status = tm_jvm_find(ctx, pid, &jvm);
  if (status == TM_OK && gentle && !listens(&jvm))
    status =
        tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                "its attach socket is closed; `tidemark account jvm:%" PRId64 "` opens it", pid);
  if (status == TM_OK) status = ask_one(ctx, &jvm, timeout_ns, "GC.heap_info", out, NULL);
  if (status != TM_OK) {
    snprintf(out->problem, sizeof out->problem, "jcmd: %s", ctx->error.message);
    return;
  }
  out->source = "jcmd";
  // What an older JVM does not know of these it refuses; the others are asked all the same.
  static const char *const more[] = {"Compiler.codecache", "VM.native_memory summary scale=KB",
                                     "VM.metaspace basic"}; // heap_info tells that before 25
  for (size_t i = 0; i < TM_COUNT(more); i++) {
    if (i == 2 && !isnan(out->told[TM_OWNER_JVM_METASPACE])) break;
    tm_ctx_clear(ctx);
    if (ask_one(ctx, &jvm, timeout_ns, more[i], out, NULL) == TM_E_TIMEOUT) return;
  }
  if (places->known) return;
  tm_ctx_clear(ctx);
  places->known = ask_one(ctx, &jvm, timeout_ns, "VM.info", out, &places->ranges) != TM_E_TIMEOUT;
}
