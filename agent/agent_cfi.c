// Compiles one row of a function's unwind table into a rule of eight bytes. Only what compilers
// give to ordinary functions can be said: the caller's stack pointer is a register plus a number,
// or was stored, and the frame pointer and the return address lie at fixed distances from it. Found
// by binary search in .eh_frame_hdr; then the common and the function's own program are
// interpreted. Some 300 ns, once per return address.
#include "agent_cfi.h"

#include "agent_impl.h"

#include <string.h>

#if defined(__x86_64__)
enum { REGISTER_SP = 7, REGISTER_FP = 6, REGISTER_RA = 16, OP_FP_PLUS = 0x76 };
#elif defined(__aarch64__)
enum { REGISTER_SP = 31, REGISTER_FP = 29, REGISTER_RA = 30, OP_FP_PLUS = 0x8d };
#else
#error "the malloc agent knows x86-64 and arm64"
#endif
enum { OP_DEREF = 0x06 };

// ---- reading ----

typedef struct reader {
  const uint8_t *at, *end;
  bool ok;
} reader;

static uint64_t get(reader *r, size_t bytes) {
  uint64_t value = 0;
  if ((size_t)(r->end - r->at) < bytes || !r->ok) {
    r->ok = false;
    return 0;
  }
  memcpy(&value, r->at, bytes); // little-endian machines only
  r->at += bytes;
  return value;
}

static uint64_t get_uleb(reader *r) {
  uint64_t value = 0, byte = 0x80;
  for (unsigned shift = 0; byte & 0x80 && shift < 64; shift += 7) {
    byte = get(r, 1);
    value |= (byte & 0x7f) << shift;
  }
  return value;
}

static int64_t get_sleb(reader *r) {
  uint64_t value = 0, byte = 0x80;
  unsigned shift = 0;
  for (; byte & 0x80 && shift < 64; shift += 7) {
    byte = get(r, 1);
    value |= (byte & 0x7f) << shift;
  }
  if (shift < 64 && byte & 0x40) value |= ~UINT64_C(0) << shift;
  return (int64_t)value;
}

static void skip(reader *r, uint64_t bytes) {
  if ((uint64_t)(r->end - r->at) < bytes) r->ok = false;
  if (r->ok) r->at += bytes;
}

// A pointer as exception tables encode it: width in the low four bits, base in the next three.
static uintptr_t get_pointer(reader *r, uint8_t encoding) {
  uintptr_t here = (uintptr_t)r->at;
  uint64_t value;
  switch (encoding & 0x0f) {
  case 0x00:
  case 0x04:
  case 0x0c:
    value = get(r, 8);
    break;
  case 0x03:
    value = get(r, 4);
    break;
  case 0x0b:
    value = (uint64_t)(int64_t)(int32_t)get(r, 4);
    break;
  case 0x02:
    value = get(r, 2);
    break;
  case 0x0a:
    value = (uint64_t)(int64_t)(int16_t)get(r, 2);
    break;
  case 0x01:
    value = get_uleb(r);
    break;
  default:
    r->ok = false;
    return 0;
  }
  return (encoding & 0x70) == 0x10 ? value + here : value;
}

// ---- the tables ----

typedef struct function {
  uintptr_t begin, size;
  uint64_t code_step;
  int64_t data_step;
  uint8_t encoding;
  bool is_signal;
  reader common, own; // the two programs
} function;

// An entry, which says its length first.
static bool open_entry(const tm_cfi_module *m, const uint8_t *at, reader *out) {
  reader r = {at, m->end, true};
  uint64_t length = get(&r, 4);
  if (!r.ok || length == UINT32_MAX || length > (uint64_t)(r.end - r.at)) return false;
  *out = (reader){r.at, r.at + length, true};
  return true;
}

static bool read_common(const tm_cfi_module *m, const uint8_t *at, function *out) {
  reader r;
  if (!open_entry(m, at, &r)) return false;
  skip(&r, 4);
  uint64_t version = get(&r, 1);
  char letters[8] = {0};
  for (size_t i = 0; i < sizeof letters; i++)
    if (!(letters[i] = (char)get(&r, 1))) break;
  out->code_step = get_uleb(&r);
  out->data_step = get_sleb(&r);
  uint64_t ra = version == 1 ? get(&r, 1) : get_uleb(&r);
  if (ra != REGISTER_RA || letters[7]) return false;
  if (letters[0] && letters[0] != 'z') return false;
  if (letters[0]) get_uleb(&r);
  out->encoding = 0;
  for (const char *letter = letters[0] ? letters + 1 : letters; *letter; letter++) {
    if (*letter == 'R') out->encoding = (uint8_t)get(&r, 1);
    if (*letter == 'L') get(&r, 1);
    if (*letter == 'P') {
      uint8_t encoding = (uint8_t)get(&r, 1);
      get_pointer(&r, encoding);
    }
    if (*letter == 'S') out->is_signal = true;
  }
  out->common = r;
  return r.ok;
}

static bool read_function(const tm_cfi_module *m, const uint8_t *at, function *out) {
  reader r;
  if (!open_entry(m, at, &r)) return false;
  const uint8_t *here = r.at;
  uint64_t back = get(&r, 4);
  if (!back || back > (uint64_t)(here - m->begin) || !read_common(m, here - back, out))
    return false;
  out->begin = get_pointer(&r, out->encoding);
  out->size = get_pointer(&r, out->encoding & 0x0f);
  uint64_t extra = get_uleb(&r); // every 'z' table; the others have none of use
  skip(&r, extra);
  out->own = r;
  return r.ok;
}

// The function's entry, by the sorted table of pairs (begin, entry), both from the table's start.
static const uint8_t *search(const tm_cfi_module *m, uintptr_t pc) {
  const uint8_t *table = m->table;
  reader r = {table, m->end, true};
  if (get(&r, 1) != 1) return NULL;
  uint8_t frame_encoding = (uint8_t)get(&r, 1), count_encoding = (uint8_t)get(&r, 1);
  if (get(&r, 1) != 0x3b) return NULL;
  get_pointer(&r, frame_encoding);
  uint64_t count = get_pointer(&r, count_encoding);
  if (!r.ok || count == 0 || count > (uint64_t)(m->end - r.at) / 8) return NULL;
  const uint8_t *rows = r.at;
  uint64_t low = 0, high = count;
  int32_t pair[2];
  while (high - low > 1) {
    uint64_t middle = low + (high - low) / 2;
    memcpy(pair, rows + middle * sizeof pair, sizeof pair);
    if ((uintptr_t)table + (uintptr_t)(intptr_t)pair[0] <= pc)
      low = middle;
    else
      high = middle;
  }
  memcpy(pair, rows + low * sizeof pair, sizeof pair);
  return pair[1] >= m->begin - table && pair[1] < m->end - table ? table + pair[1] : NULL;
}

// ---- the programs ----

typedef struct place { // of a saved register
  enum { SAME, AT_CFA, AT_FP, UNDEFINED, ELSEWHERE } kind;
  int64_t bytes;
} place;

typedef struct row {
  enum { BY_SP, BY_FP, BY_SAVED, BY_OTHER } cfa;
  int64_t cfa_bytes;
  place fp, ra;
} row;

enum { REMEMBERED = 8 };
typedef struct machine {
  const function *f;
  row now, first, kept[REMEMBERED];
  uint32_t depth;
  uintptr_t at, target;
  bool ok;
} machine;

// Wraps: a damaged table may say anything.
static int64_t product(int64_t a, int64_t b) {
  return (int64_t)((uint64_t)a * (uint64_t)b);
}

static void set_place(machine *m, uint64_t reg, place to) {
  if (reg == REGISTER_FP) m->now.fp = to;
  if (reg == REGISTER_RA) m->now.ra = to;
}

static void set_base(machine *m, uint64_t reg) {
  m->now.cfa = reg == REGISTER_SP ? BY_SP : reg == REGISTER_FP ? BY_FP : BY_OTHER;
}

static void restore(machine *m, uint64_t reg) {
  if (reg == REGISTER_FP) m->now.fp = m->first.fp;
  if (reg == REGISTER_RA) m->now.ra = m->first.ra;
}

// Two forms of expressions are known: what is stored at fp + n, and fp + n itself.
static void on_expression(machine *m, reader *r, bool is_cfa, uint64_t reg) {
  uint64_t length = get_uleb(r);
  reader e = *r;
  skip(r, length);
  if (!r->ok) return;
  e.end = r->at;
  bool is_fp = get(&e, 1) == OP_FP_PLUS;
  int64_t bytes = get_sleb(&e);
  if (is_cfa) {
    m->now.cfa = is_fp && get(&e, 1) == OP_DEREF && e.at == e.end && e.ok ? BY_SAVED : BY_OTHER;
    m->now.cfa_bytes = bytes;
  } else {
    bool is_plain = is_fp && e.at == e.end && e.ok;
    set_place(m, reg, (place){is_plain ? AT_FP : ELSEWHERE, bytes});
  }
}

static void on_state(machine *m, bool is_kept) {
  if (is_kept && m->depth < REMEMBERED)
    m->kept[m->depth++] = m->now;
  else if (!is_kept && m->depth > 0)
    m->now = m->kept[--m->depth];
  else
    m->ok = false;
}

static void on_offset(machine *m, reader *r, uint8_t op) {
  uint64_t reg = get_uleb(r);
  bool is_signed = op == 0x11;
  int64_t steps = is_signed ? get_sleb(r) : (int64_t)get_uleb(r);
  if (op == 0x2f) steps = product(steps, -1);
  set_place(m, reg, (place){AT_CFA, product(steps, m->f->data_step)});
}

static void on_cfa(machine *m, reader *r, uint8_t op) {
  if (op == 0x0c || op == 0x0d || op == 0x12) set_base(m, get_uleb(r));
  if (op == 0x0c || op == 0x0e) m->now.cfa_bytes = (int64_t)get_uleb(r);
  if (op == 0x12 || op == 0x13) m->now.cfa_bytes = product(get_sleb(r), m->f->data_step);
  if (m->now.cfa == BY_SAVED) m->now.cfa = BY_OTHER; // a number for an expression: not ours
}

static void on_other(machine *m, reader *r, uint8_t op) {
  uint64_t reg;
  switch (op) {
  case 0x00:
    break;
  case 0x01:
    m->at = get_pointer(r, m->f->encoding);
    break;
  case 0x02:
    m->at += get(r, 1) * m->f->code_step;
    break;
  case 0x03:
    m->at += get(r, 2) * m->f->code_step;
    break;
  case 0x04:
    m->at += get(r, 4) * m->f->code_step;
    break;
  case 0x05:
  case 0x11:
  case 0x2f:
    on_offset(m, r, op);
    break;
  case 0x06:
    restore(m, get_uleb(r));
    break;
  case 0x07:
    set_place(m, get_uleb(r), (place){UNDEFINED, 0});
    break;
  case 0x08:
    set_place(m, get_uleb(r), (place){SAME, 0});
    break;
  case 0x09:
    set_place(m, get_uleb(r), (place){ELSEWHERE, 0});
    get_uleb(r);
    break;
  case 0x0a:
    on_state(m, true);
    break;
  case 0x0b:
    on_state(m, false);
    break;
  case 0x0c:
  case 0x0d:
  case 0x0e:
  case 0x12:
  case 0x13:
    on_cfa(m, r, op);
    break;
  case 0x0f:
    on_expression(m, r, true, 0);
    break;
  case 0x10:
    reg = get_uleb(r);
    on_expression(m, r, false, reg);
    break;
  case 0x14:
  case 0x15:
    set_place(m, get_uleb(r), (place){ELSEWHERE, 0});
    get_sleb(r);
    break;
  case 0x16:
    set_place(m, get_uleb(r), (place){ELSEWHERE, 0});
    skip(r, get_uleb(r));
    break;
  case 0x2d:
    break; // signed return addresses of arm64: they are stripped when read
  case 0x2e:
    get_uleb(r);
    break;
  default:
    m->ok = false;
  }
}

// Up to the last row that begins at or before the target.
static void run(machine *m, reader r) {
  while (m->ok && r.ok && r.at < r.end && m->at <= m->target) {
    uint8_t op = (uint8_t)get(&r, 1), low = op & 0x3f;
    switch (op & 0xc0) {
    case 0x40:
      m->at += low * m->f->code_step;
      break;
    case 0x80:
      set_place(m, low, (place){AT_CFA, product((int64_t)get_uleb(&r), m->f->data_step)});
      break;
    case 0xc0:
      restore(m, low);
      break;
    default:
      on_other(m, &r, op);
    }
  }
  m->ok = m->ok && r.ok;
}

// ---- the rule ----

static tm_rule rule_of(const row *now) {
  tm_rule out = {.kind = TM_RULE_STOP, .fp_words = TM_FP_SAME, .ra_words = -1};
  int64_t ra = now->ra.bytes, fp = now->fp.bytes;
  if (now->cfa == BY_OTHER || now->cfa_bytes != (int32_t)now->cfa_bytes) return out;
  if (now->ra.kind != AT_CFA || ra % 8 || ra / 8 != (int8_t)(ra / 8)) return out;
  if (now->fp.kind == AT_CFA || now->fp.kind == AT_FP) {
    if ((now->fp.kind == AT_FP) != (now->cfa == BY_SAVED)) return out;
    if (fp % 8 || fp / 8 != (int16_t)(fp / 8)) return out;
    out.fp_words = (int16_t)(fp / 8);
  } else if (now->fp.kind != SAME) {
    return out;
  }
  out.cfa_bytes = (int32_t)now->cfa_bytes;
  out.ra_words = (int8_t)(ra / 8);
  out.kind = now->cfa == BY_SP ? TM_RULE_SP : now->cfa == BY_FP ? TM_RULE_FP : TM_RULE_SAVED;
  return out;
}

tm_rule tm_cfi_compile(const tm_cfi_module *module, uintptr_t pc) {
  const tm_rule none = {.kind = TM_RULE_NONE}, stop = {.kind = TM_RULE_STOP};
  function f = {0};
  uintptr_t target = pc - 1; // inside of the call
  const uint8_t *entry = search(module, target);
  if (!entry || !read_function(module, entry, &f)) return none;
  if (target < f.begin || target - f.begin >= f.size) return none;
  if (f.is_signal) return stop;
  machine m = {.f = &f, .now = {.cfa = BY_OTHER}, .target = UINTPTR_MAX, .ok = true};
  run(&m, f.common);
  m.first = m.now;
  m.at = f.begin;
  m.target = target;
  run(&m, f.own);
  return m.ok ? rule_of(&m.now) : stop;
}
