// What tm_account_divide needs, from a running process: its mappings (smaps, read once), what its
// runtime tells of itself (Go over its endpoint, a JVM over its attach socket; V8's numbers are
// told by who has an inspector), and which mappings malloc made (by the heads of its chunks).
#ifndef TM_LIVE_ACCOUNT_GATHER_H
#define TM_LIVE_ACCOUNT_GATHER_H

#include "analyze/accounting.h"
#include "net/endpoint.h"

typedef struct tm_account_gather tm_account_gather;

typedef struct tm_account_gather_options {
  int64_t pid;
  const tm_endpoint *endpoint; // of a Go program; copied; NULL = none
  bool outside_only;           // never ask the program
  bool gentle;         // ask a JVM only when its attach socket is open: it opens by a signal
  uint64_t timeout_ns; // of each question; 0 = 2 s
} tm_account_gather_options;

// How the last reading went; texts are valid until the next one.
typedef struct tm_account_facts {
  tm_account_runtime runtime;
  const char *source;    // whom the runtime's numbers come from: "expvar", "metrics", "pprof",
                         // "jcmd", "told"; "" = nobody told
  const char *problem;   // why nobody told; "" = somebody did, or there is nobody to ask
  bool agent;            // the malloc agent in the program divided the C heap
  double rss_bytes;      // by statm, for comparison with the sum
  size_t mapping_count;  // lines of smaps
  size_t chunk_count;    // mappings that malloc made for single blocks
  uint64_t smaps_cpu_ns; // CPU time of reading smaps
  uint64_t cpu_ns;       // of the whole reading, here
  uint64_t ask_ns;       // waited for the program's answers
} tm_account_facts;

// Opens the process. TM_E_GONE, TM_E_PERM, TM_E_IO, TM_E_NOMEM. One thread at a time.
TM_NODISCARD tm_status tm_account_gather_open(tm_ctx *ctx, const tm_account_gather_options *options,
                                              tm_account_gather **out);
void tm_account_gather_free(tm_account_gather *gather);

// What somebody else knows of an owner, in bytes: stays until told anew; NAN = forget it. Numbers
// that the program itself answers at a reading go before it.
void tm_account_gather_tell(tm_account_gather *gather, tm_owner owner, double bytes);

// Reads and divides. Names in *out are the gather's until the next reading. What the program does
// not answer is no error: facts->problem says it. Blocks while the program answers. TM_E_GONE,
// TM_E_PERM smaps takes its user or root.
TM_NODISCARD tm_status tm_account_gather_read(tm_ctx *ctx, tm_account_gather *gather,
                                              tm_account *out);

const tm_account_facts *tm_account_gather_facts(const tm_account_gather *gather);

#endif
