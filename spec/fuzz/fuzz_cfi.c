// floors: base
// Any bytes as a module with unwind tables, which the malloc agent compiles inside of other
// programs: it must look at nothing else. First four bytes: where .eh_frame_hdr is and where the
// return address is, from the module's begin.
#include "agent/agent_cfi.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 8) return 0;
  size_t table = (size_t)data[0] | (size_t)data[1] << 8,
         pc = (size_t)data[2] | (size_t)data[3] << 8;
  size -= 4;
  if (table >= size) return 0;
  uint8_t *module = malloc(size);
  if (!module) abort();
  memcpy(module, data + 4, size);
  const tm_cfi_module m = {module, module + size, module + table};
  tm_rule rule = tm_cfi_compile(&m, (uintptr_t)module + pc);
  if (rule.kind < TM_RULE_STOP || rule.kind > TM_RULE_SAVED) abort();
  free(module);
  return 0;
}
