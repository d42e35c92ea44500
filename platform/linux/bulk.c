// All processes in one read, by a BPF task iterator where the build and the privileges allow.
#include "platform/linux/linux.h"

void tm_bulk_free(tm_plat *plat, tm_bulk *bulk) {
  (void)plat, (void)bulk;
}

tm_status tm_plat_bulk(tm_ctx *ctx, tm_plat *plat, const tm_bulk_row **out_rows,
                       size_t *out_count) {
  (void)plat, (void)out_rows, (void)out_count;
  return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "this build has no BPF iterator");
}
