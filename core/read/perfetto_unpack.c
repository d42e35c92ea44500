// Packets that hold packed packets: zlib's format or zstd. Output grows by what it really is, so a
// claim costs nothing; the sum over a trace stays below the ctx's cap.
#include "read/perfetto_impl.h"

#include <zlib.h>

static uint64_t room_left(const pf_reader *r) {
  uint64_t cap = r->ctx->max_output_bytes ? r->ctx->max_output_bytes : UINT64_C(16) << 30;
  return cap > r->unpacked_bytes ? cap - r->unpacked_bytes : 1;
}

static tm_status too_much(pf_reader *r) {
  return tm_fail(r->ctx, TM_E_LIMIT, TM_NO_OFFSET,
                 "the packets unpack to too many bytes; raise max_output_bytes to allow it");
}

static tm_status inflate_all(pf_reader *r, z_stream *z, tm_source *out) {
  int step = Z_OK;
  size_t room = 0;
  uint8_t *data = NULL;
  while (step == Z_OK) {
    if (out->size == room) {
      size_t bigger = room ? room * 2 : 65536;
      uint8_t *p = tm_realloc(r->ctx, data, room, bigger);
      if (!p) return TM_E_NOMEM;
      out->data = out->owned = data = p;
      out->owned_bytes = room = bigger;
    }
    size_t give = room - out->size < (1u << 30) ? room - out->size : (1u << 30);
    z->next_out = data + out->size;
    z->avail_out = (uInt)give;
    step = inflate(z, Z_NO_FLUSH);
    out->size += give - z->avail_out;
    if (out->size > room_left(r)) return too_much(r);
  }
  if (step == Z_STREAM_END) return TM_OK;
  return tm_fail(r->ctx, TM_E_FORMAT, TM_NO_OFFSET, "compressed packets are damaged");
}

tm_status pf_inflate(pf_reader *r, pf_span packed, tm_source *out) {
  z_stream z = {0};
  *out = (tm_source){.packing = "", .alloc = r->ctx->alloc};
  if (inflateInit(&z) != Z_OK)
    return tm_fail(r->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (inflate)");
  z.next_in = (Bytef *)(uintptr_t)packed.data;
  z.avail_in = (uInt)packed.size;
  tm_status status = inflate_all(r, &z, out);
  inflateEnd(&z);
  if (status != TM_OK) tm_source_close(out);
  return status;
}

tm_status pf_unzstd(pf_reader *r, pf_span packed, tm_source *out) {
  if (packed.size < 4 || memcmp(packed.data, "\x28\xb5\x2f\xfd", 4) != 0)
    return tm_fail(r->ctx, TM_E_FORMAT, TM_NO_OFFSET, "compressed packets are damaged");
  uint64_t cap = r->ctx->max_output_bytes;
  r->ctx->max_output_bytes = room_left(r);
  tm_status status = tm_source_from_buffer(r->ctx, packed.data, packed.size, out);
  r->ctx->max_output_bytes = cap;
  return status;
}
