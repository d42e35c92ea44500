// Shared parts of the legacy forms: a hash from address to location, strict stacks, unsampling.
// Stricter than the reference on purpose: what its patterns would skip in silence is refused here
// with its byte. Source: behaviour of google/pprof's legacy parsers.
#include "read/legacy.h"

#include <math.h>

tm_status tm_legacy_renumber(tm_legacy *lg) {
  tm_profile *p = lg->p;
  size_t count = p->locations.count, used = 0;
  tm_location *ordered = tm_alloc(lg->ctx, (count + 1) * sizeof *ordered);
  uint32_t *to = tm_alloc(lg->ctx, (count + 1) * sizeof *to);
  if (ordered && to) {
    memset(to, 0xff, (count + 1) * sizeof *to);
    for (size_t i = 0; i < p->stack.count; i++) {
      uint32_t from = p->stack.items[i];
      if (to[from] == UINT32_MAX) {
        ordered[used] = p->locations.items[from];
        to[from] = (uint32_t)used++;
        ordered[to[from]].id = used;
      }
      p->stack.items[i] = to[from];
    }
    if (used) memcpy(p->locations.items, ordered, used * sizeof *ordered);
    p->locations.count = used;
  }
  tm_free(lg->ctx, ordered, (count + 1) * sizeof *ordered);
  tm_free(lg->ctx, to, (count + 1) * sizeof *to);
  return ordered && to ? TM_OK : TM_E_NOMEM;
}

static void free_profile(void *model) {
  tm_profile_free(model);
}

tm_status tm_legacy_run(tm_ctx *ctx, const tm_source *src, tm_snapshot *out,
                        tm_status (*form)(tm_legacy *)) {
  tm_legacy lg = {.ctx = ctx, .l = lines_of(src->data, src->size)};
  TM_TRY(tm_profile_new(ctx, &lg.p));
  out->model = lg.p;
  out->free_model = free_profile;
  tm_status status = form(&lg);
  if (status != TM_OK) {
    out->partial = true;
    out->problem = ctx->error;
  }
  tm_frames_fini(ctx, &lg.frames);
  tm_idmap_free(ctx, &lg.addresses);
  return status;
}

tm_status tm_legacy_bad_line(tm_legacy *lg, const char *what) {
  int shown = lg->l.line.size < 60 ? (int)lg->l.line.size : 60;
  return tm_fail(lg->ctx, TM_E_FORMAT, lines_offset(&lg->l), "%s at byte %llu: \"%.*s\"", what,
                 (unsigned long long)lines_offset(&lg->l), shown, lg->l.line.at);
}

tm_status tm_legacy_location(tm_legacy *lg, uint64_t address, uint32_t *out) {
  *out = tm_idmap_get(&lg->addresses, address);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  *out = (uint32_t)lg->p->locations.count;
  uint32_t at = (uint32_t)lg->p->lines.count;
  tm_location loc = {.id = *out + 1,
                     .address = address,
                     .mapping = TM_PROFILE_NONE,
                     .line_begin = at,
                     .line_end = at};
  TM_TRY(tm_vec_push(lg->ctx, &lg->p->locations, loc));
  return tm_idmap_put(lg->ctx, &lg->addresses, address, *out);
}

// "0x" and at most 16 lower-case digits up to a blank or the end.
static bool take_address(tm_text *t, uint64_t *out) {
  const char *at = t->at + 2, *end = t->at + t->size;
  uint64_t value = 0;
  if (t->size < 3 || t->at[0] != '0' || t->at[1] != 'x' || *at == ' ') return false;
  for (; at < end && *at != ' '; at++) {
    unsigned digit = (unsigned char)*at - (unsigned)'0',
             letter = (unsigned char)*at - (unsigned)'a';
    if (digit > 9 && letter > 5) return false;
    if (at - t->at >= 18) return false;
    value = value << 4 | (digit > 9 ? letter + 10 : digit);
  }
  *t = (tm_text){at, (size_t)(end - at)};
  *out = value;
  return true;
}

tm_status tm_legacy_stack(tm_legacy *lg, tm_text t, size_t exact) {
  for (size_t i = 0;; i++) {
    while (text_take(&t, ' ')) continue;
    if (!t.size) return TM_OK;
    uint64_t address;
    uint32_t location;
    if (!take_address(&t, &address))
      return tm_legacy_bad_line(lg, "a stack is no list of addresses");
    TM_TRY(tm_legacy_location(lg, i < exact ? address : address - 1, &location));
    TM_TRY(tm_vec_push(lg->ctx, &lg->p->stack, location));
  }
}

tm_status tm_legacy_types(tm_legacy *lg, const char *const *names, size_t count) {
  for (size_t i = 0; i < count; i += 2)
    TM_TRY(tm_profile_add_type(lg->ctx, lg->p, names[i], names[i + 1]));
  return TM_OK;
}

tm_status tm_legacy_period(tm_legacy *lg, const char *type, const char *unit, int64_t period) {
  lg->p->period = period;
  TM_TRY(tm_profile_intern(lg->ctx, lg->p, type, strlen(type), &lg->p->period_type.type));
  return tm_profile_intern(lg->ctx, lg->p, unit, strlen(unit), &lg->p->period_type.unit);
}

#define DROP_HEAP                                                                                  \
  "c?free|[cm]alloc|p?valloc|realloc|(do_)?memalign|(__)?posix_memalign|tcmalloc::.*|"             \
  "tc_(c?free|[cm]alloc|p?valloc|realloc|(posix_)?memalign|(new|delete)(array)?|"                  \
  "new(array)?_nothrow)|malloc_zone_(free|[cmv]alloc|realloc|memalign)|runtime\\..*|"              \
  "BaseArena::.*|(::)?do_malloc(_no_errno|_pages)?|DoSampledAllocation|"                           \
  "MallocedMemBlock::MallocedMemBlock|_M_allocate|__builtin_(vec_)?(delete|new)|"                  \
  "(__gnu_cxx::new_allocator::|__malloc_alloc_template::|simple_alloc::)?allocate|"                \
  "__libc_malloc|cpp_alloc|operator new(\\[\\])?"
static const char drop_heap[] = DROP_HEAP;
static const char drop_jemalloc[] =
    DROP_HEAP "|(je_|_rjem_|prof_|imalloc|do_rallocx|fallback_impl).*";
static const char keep_heap[] = "runtime\\.(panic|reflectcall|call[0-9]*)";
static const char drop_locks[] =
    "RecordLockProfileData|(base::)?(RecordLock|SubmitMutex|SubmitSpinLock)ProfileData.*|"
    "((base::)?Mutex::)?(AwaitCommon|Unlock|UnlockSlow).*|(base::Mutex::)?ReaderUnlock.*|"
    "((base::)?MutexLock::)?~MutexLock.*|(SpinLock::)?(Slow)?Unlock.*|"
    "(SpinLockHolder::)?~SpinLockHolder.*";
static const char drop_other[] =
    "ProfileData::(Add|prof_handler)|CpuProfiler::prof_handler|__pthread_sighandler|__restore";

tm_status tm_legacy_leave_out(tm_legacy *lg, tm_legacy_kind kind) {
  static const char *const drops[] = {[TM_LEGACY_HEAP] = drop_heap,
                                      [TM_LEGACY_JEMALLOC] = drop_jemalloc,
                                      [TM_LEGACY_LOCKS] = drop_locks,
                                      [TM_LEGACY_OTHER] = drop_other};
  const char *drop = drops[kind];
  const char *keep = kind <= TM_LEGACY_JEMALLOC ? keep_heap : "";
  TM_TRY(tm_profile_intern(lg->ctx, lg->p, drop, strlen(drop), &lg->p->drop_frames));
  return tm_profile_intern(lg->ctx, lg->p, keep, strlen(keep), &lg->p->keep_frames);
}

tm_status tm_legacy_unsample(tm_legacy *lg, int64_t *count, int64_t *size, int64_t rate) {
  if (!*count || !*size) {
    *count = *size = 0;
    return TM_OK;
  }
  if (rate <= 1) return TM_OK;
  double mean = (double)*size / (double)*count;
  double scale = 1 / (1 - exp(-mean / (double)rate));
  double c = (double)*count * scale, s = (double)*size * scale;
  if (!(fabs(c) < 9.2e18) || !(fabs(s) < 9.2e18))
    return tm_legacy_bad_line(lg, "a sample that stands for more than 64 bits hold");
  *count = (int64_t)c;
  *size = (int64_t)s;
  return TM_OK;
}

void tm_legacy_drop_double_leaves(tm_profile *p) {
  uint32_t to = 0, begin = 0;
  for (uint32_t s = 0; s < p->sample_count; s++) {
    uint32_t end = p->stack_end.items[s];
    for (uint32_t i = begin; i < end; i++) {
      const tm_location *at = p->locations.items;
      bool twice =
          i == begin + 1 && at[p->stack.items[begin]].address == at[p->stack.items[i]].address + 1;
      if (!twice) p->stack.items[to++] = p->stack.items[i];
    }
    begin = end;
    p->stack_end.items[s] = to;
  }
  p->stack.count = to;
}

bool tm_legacy_is_map_start(tm_text line) {
  return text_starts(line, "--- Memory map: ---") || text_starts(line, "MAPPED_LIBRARIES:");
}
