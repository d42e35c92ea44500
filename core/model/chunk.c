// Most memory signals are whole numbers that stand still or climb evenly, read by an even clock:
// then time and value are both as predicted and a run token counts them. Everything else is one
// control byte and the few bytes by which the prediction failed. Both ends step the same
// tm_chunk_state. All arithmetic on times is modulo 2^64, so that hostile steps cannot overflow.
#include "model/chunk.h"

enum {
  VERSION = 1,
  LITERAL = 0x80,
  RUN_MAX = 128,
  VALUE_BYTES = 7, // most bytes of a zigzag difference of integers within 2^53
  VALUE_SAME = 8,
  VALUE_XOR = 9,
  VALUE_HELD = 10,
  TOKEN_MAX = 1 + 8 + 9,
};

static const int64_t integer_max = INT64_C(1) << 53;

static uint64_t bits_of(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static double double_of(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// -0.0 and NaN are not whole: their bits would be lost.
static bool whole_of(double value, int64_t *out) {
  if (!(value >= (double)-integer_max && value <= (double)integer_max)) return false;
  *out = (int64_t)value;
  return bits_of((double)*out) == bits_of(value);
}

static bool in_range(int64_t integer) {
  return integer >= -integer_max && integer <= integer_max;
}

static uint64_t predicted_bits(const tm_chunk_state *s) {
  if (!s->whole || !in_range(s->integer + s->moved)) return s->bits;
  return bits_of((double)(s->integer + s->moved));
}

static void step_state(tm_chunk_state *s, uint64_t ticks, uint64_t bits) {
  int64_t integer;
  s->step = s->ticks ? ticks - s->ticks : 0; // the first one has no step
  s->ticks = ticks;
  s->bits = bits;
  s->whole = whole_of(double_of(bits), &integer);
  if (!s->whole) return;
  s->moved = integer - s->integer;
  s->integer = integer;
}

static uint32_t byte_count(uint64_t v) {
  uint32_t n = 0;
  for (; v; v >>= 8) n++;
  return n;
}

static uint32_t put_le(uint8_t *out, uint64_t v, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) out[i] = (uint8_t)(v >> (8 * i));
  return n;
}

static uint64_t get_le(tm_cursor *in, uint32_t n) {
  const uint8_t *p = tm_get_bytes(in, n);
  uint64_t v = 0;
  for (uint32_t i = 0; p && i < n; i++) v |= (uint64_t)p[i] << (8 * i);
  return v;
}

void tm_chunk_init(tm_chunk *chunk, uint64_t tick_ns) {
  if (tick_ns > INT64_MAX) tick_ns = INT64_MAX;
  *chunk = (tm_chunk){.tick_ns = tick_ns ? tick_ns : 1};
}

void tm_chunk_fini(tm_ctx *ctx, tm_chunk *chunk) {
  tm_bytes_free(ctx, &chunk->bytes);
}

static tm_status put_header(tm_ctx *ctx, tm_chunk *chunk) {
  uint8_t version = VERSION;
  TM_TRY(tm_bytes_append(ctx, &chunk->bytes, &version, 1));
  tm_status status = tm_bytes_varint(ctx, &chunk->bytes, chunk->tick_ns);
  if (status != TM_OK) chunk->bytes.size = 0;
  return status;
}

static uint32_t put_time(uint8_t *out, const tm_chunk_state *s, uint64_t ticks, uint8_t *control) {
  uint64_t surprise = tm_zigzag((int64_t)(ticks - s->ticks - s->step));
  uint32_t n = byte_count(surprise);
  if (n >= 7) n = 8;
  *control |= (uint8_t)((n == 8 ? 7 : n) << 4);
  return put_le(out, surprise, n);
}

static uint32_t put_xor(uint8_t *out, uint64_t diff) {
  uint32_t lead = 8 - byte_count(diff), tail = 0;
  while (tail < 8 && !((diff >> (8 * tail)) & 0xff)) tail++;
  uint32_t n = 8 - lead - tail;
  out[0] = (uint8_t)(lead << 4 | n);
  return 1 + put_le(out + 1, diff >> (8 * tail), n);
}

static uint32_t put_value(uint8_t *out, const tm_chunk_state *s, double value, uint8_t *control) {
  uint64_t bits = bits_of(value);
  int64_t integer;
  if (bits == predicted_bits(s)) return 0;
  if (bits == s->bits) {
    *control |= VALUE_SAME;
    return 0;
  }
  if (!whole_of(value, &integer)) {
    *control |= VALUE_XOR;
    return put_xor(out, bits ^ s->bits);
  }
  uint64_t moved = tm_zigzag(integer - s->integer);
  uint32_t n = byte_count(moved);
  *control |= (uint8_t)(n ? n : VALUE_HELD);
  return put_le(out, moved, n);
}

static tm_status put_sample(tm_ctx *ctx, tm_chunk *chunk, uint64_t ticks, double value) {
  const tm_chunk_state *s = &chunk->state;
  bool predicted = ticks - s->ticks == s->step && bits_of(value) == predicted_bits(s);
  if (predicted && chunk->run_at && chunk->bytes.data[chunk->run_at] < RUN_MAX - 1) {
    chunk->bytes.data[chunk->run_at]++;
    return TM_OK;
  }
  uint8_t token[TOKEN_MAX] = {0};
  uint32_t size = 1;
  if (!predicted) {
    token[0] = LITERAL;
    size += put_time(token + size, s, ticks, &token[0]);
    size += put_value(token + size, s, value, &token[0]);
  }
  TM_TRY(tm_bytes_append(ctx, &chunk->bytes, token, size));
  chunk->run_at = predicted ? chunk->bytes.size - 1 : 0;
  return TM_OK;
}

tm_status tm_chunk_append(tm_ctx *ctx, tm_chunk *chunk, int64_t time_ns, double value) {
  if (chunk->count == UINT32_MAX)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "a chunk holds at most 2^32 - 1 samples");
  if (!chunk->bytes.size) TM_TRY(put_header(ctx, chunk));
  uint64_t ticks = (uint64_t)(time_ns / (int64_t)chunk->tick_ns);
  TM_TRY(put_sample(ctx, chunk, ticks, value));
  step_state(&chunk->state, ticks, bits_of(value));
  chunk->last_ns = (int64_t)(ticks * chunk->tick_ns);
  if (!chunk->count++) chunk->first_ns = chunk->last_ns;
  return TM_OK;
}

void tm_chunk_reader_init(tm_chunk_reader *reader, const void *bytes, size_t size) {
  *reader = (tm_chunk_reader){.in = tm_cursor_of(size ? bytes : "", size, 0)};
  if (!size) return;
  if (tm_get_u8(&reader->in) != VERSION) reader->in.ok = false;
  reader->tick_ns = tm_get_varint(&reader->in);
  if (!reader->tick_ns) reader->in.ok = false;
}

static uint64_t get_xor(tm_cursor *in) {
  uint8_t head = tm_get_u8(in);
  uint32_t lead = head >> 4, n = head & 15;
  if (lead + n > 8) {
    in->ok = false;
    return 0;
  }
  return get_le(in, n) << (8 * (8 - lead - n) & 63);
}

static uint64_t get_value(tm_cursor *in, const tm_chunk_state *s, uint32_t kind) {
  if (kind == 0) return predicted_bits(s);
  if (kind == VALUE_SAME) return s->bits;
  if (kind == VALUE_XOR) return s->bits ^ get_xor(in);
  if (kind == VALUE_HELD) return bits_of((double)s->integer);
  if (kind <= VALUE_BYTES) {
    int64_t integer = s->integer + tm_unzigzag(get_le(in, kind)); // 2^53 + 2^55: no overflow
    if (in_range(integer)) return bits_of((double)integer);
  }
  in->ok = false;
  return 0;
}

static bool get_literal(tm_chunk_reader *reader, uint8_t control) {
  tm_cursor *in = &reader->in;
  uint32_t n = (control >> 4) & 7;
  uint64_t surprise = (uint64_t)tm_unzigzag(get_le(in, n == 7 ? 8 : n));
  uint64_t bits = get_value(in, &reader->state, control & 15);
  if (in->ok) step_state(&reader->state, reader->state.ticks + reader->state.step + surprise, bits);
  return in->ok;
}

bool tm_chunk_next(tm_chunk_reader *reader, int64_t *out_time_ns, double *out_value) {
  tm_chunk_state *s = &reader->state;
  if (!reader->in.ok) return false;
  uint8_t control = 0;
  if (!reader->run_left) {
    if (!tm_cursor_left(&reader->in)) return false;
    control = tm_get_u8(&reader->in);
    if (control < LITERAL) reader->run_left = (uint32_t)control + 1;
  }
  if (reader->run_left) {
    reader->run_left--;
    step_state(s, s->ticks + s->step, predicted_bits(s));
  } else if (!get_literal(reader, control)) {
    return false;
  }
  *out_time_ns = (int64_t)(s->ticks * reader->tick_ns);
  *out_value = double_of(s->bits);
  return true;
}
