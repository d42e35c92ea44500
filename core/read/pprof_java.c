// Java's legacy heap and contention profiles: attributes, "BYTES COUNT @ 0x…" lines, then the lines
// that name the addresses (also behind binary CPU profiles of Java). Functions are told apart by
// name alone, as in the reference. One pass. Source: behaviour of google/pprof's parser.
#include "read/java_names.h"
#include "read/reader.h"

#define HEAP_RATE_BYTES 524288 // fixed in the agent

// --- names ---

static bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\f' || c == '\r';
}

// Where the last blank followed by '(' stands with at least `inside` bytes behind up to the end;
// SIZE_MAX = nowhere.
static size_t last_bracket(tm_text t, size_t inside) {
  for (size_t i = t.size; i-- > 0;)
    if (is_blank(t.at[i]) && i + 1 < t.size && t.at[i + 1] == '(' && t.size - (i + 2) >= inside)
      return i;
  return SIZE_MAX;
}

// "function (file:line)"; false when it is of another shape.
static bool split_file_line(tm_text t, tm_text *name, tm_text *file, int64_t *line) {
  if (!t.size || t.at[t.size - 1] != ')') return false;
  tm_text body = {t.at, t.size - 1};
  size_t digits = body.size;
  while (digits && body.at[digits - 1] >= '0' && body.at[digits - 1] <= '9') digits--;
  tm_text number = text_skip(body, digits);
  if (!number.size) return false;
  bool minus = digits && body.at[digits - 1] == '-';
  size_t colon = digits - minus;
  if (!colon || body.at[colon - 1] != ':') return false;
  body.size = colon - 1;
  size_t at = last_bracket(body, 1);
  if (at == SIZE_MAX) return false;
  *name = (tm_text){t.at, at};
  *file = text_skip(body, at + 2);
  if (minus || !text_int(&number, line)) *line = 0;
  return true;
}

static tm_text base_name(tm_text path) {
  while (path.size > 1 && path.at[path.size - 1] == '/') path.size--;
  for (size_t i = path.size; i-- > 0 && path.size > 1;)
    if (path.at[i] == '/') return text_skip(path, i + 1);
  return path.size ? path : (tm_text){".", 1};
}

static void split_name(tm_text t, tm_text *name, tm_text *file, int64_t *line) {
  *file = (tm_text){"", 0};
  *line = 0;
  if (split_file_line(t, name, file, line)) return;
  *name = t;
  if (t.size && t.at[t.size - 1] == ')') {
    tm_text body = {t.at, t.size - 1};
    size_t at = last_bracket(body, 0);
    if (at != SIZE_MAX) {
      *name = (tm_text){t.at, at};
      *file = base_name(text_skip(body, at + 2));
      return;
    }
  }
  if (memmem(t.at, t.size, "generated stub/JIT", 18)) *name = (tm_text){"STUB", 4};
}

// The function of that name; the file of its first line stays.
static tm_status function_of(tm_legacy *lg, tm_idmap *by_name, tm_text name, tm_text file,
                             uint32_t *out) {
  uint32_t id;
  TM_TRY(tm_profile_intern(lg->ctx, lg->p, name.at, name.size, &id));
  *out = tm_idmap_get(by_name, id);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  TM_TRY(tm_frames_function(lg->ctx, &lg->frames, lg->p, name, file, out));
  return tm_idmap_put(lg->ctx, by_name, id, *out);
}

static tm_status read_name(tm_legacy *lg, tm_idmap *by_name) {
  tm_profile *p = lg->p;
  tm_text t = text_trim(lg->l.line), name, file;
  uint64_t address;
  if (!text_starts(t, "0x")) return TM_OK;
  if (!text_hex(&t, &address)) return TM_OK;
  if (!t.size || !is_blank(t.at[0])) return TM_OK;
  while (t.size && is_blank(t.at[0])) t = text_skip(t, 1);
  uint32_t location = tm_idmap_get(&lg->addresses, address), function;
  if (location == TM_IDMAP_NONE) return TM_OK;
  if (memchr(t.at, '\0', t.size)) return tm_legacy_bad_line(lg, "a name with a byte of 0");
  int64_t line;
  split_name(t, &name, &file, &line);
  TM_TRY(function_of(lg, by_name, name, file, &function));
  tm_location *loc = &p->locations.items[location];
  loc->line_begin = (uint32_t)p->lines.count;
  loc->line_end = loc->line_begin + 1;
  return tm_vec_push(lg->ctx, &p->lines, (tm_line){function, line, 0});
}

tm_status tm_java_read_names(tm_legacy *lg) {
  tm_idmap by_name = {0};
  tm_status status = TM_OK;
  bool unnamed = false;
  while (status == TM_OK && lines_next(&lg->l)) status = read_name(lg, &by_name);
  tm_idmap_free(lg->ctx, &by_name);
  TM_TRY(status);
  TM_TRY(tm_legacy_renumber(lg));
  for (size_t i = 0; i < lg->p->locations.count; i++) {
    tm_location *loc = &lg->p->locations.items[i];
    if (loc->line_begin == loc->line_end && loc->address) {
      loc->mapping = 0;
      unnamed = true;
    }
    loc->address = 0;
  }
  if (!unnamed) return TM_OK; // the mapping of what has no name holds everything
  return tm_vec_push(lg->ctx, &lg->p->mappings, (tm_mapping){.id = 1, .limit = UINT64_MAX});
}

// --- heap and contention ---

typedef struct java_reader {
  tm_legacy *lg;
  bool heap;
} java_reader;

// The next line that a line break ends, as the reference has it: what is cut is no sample.
static bool next_whole_line(lines *l) {
  if (l->next == l->end || !memchr(l->next, '\n', (size_t)(l->end - l->next))) return false;
  return lines_next(l);
}

static bool is_word(tm_text t) {
  for (size_t i = 0; i < t.size; i++) {
    char c = t.at[i], low = (char)(c | 32);
    if (!(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != ' ')
      return false;
  }
  return t.size > 0;
}

static bool is(tm_text t, const char *word) {
  return t.size == strlen(word) && memcmp(t.at, word, t.size) == 0;
}

// Decimal, and no leading zero, which the reference takes for octal.
static bool take_plain(tm_text *t, int64_t *out) {
  bool zero = t->size > 1 && t->at[0] == '0' && t->at[1] >= '0' && t->at[1] <= '9';
  return t->size && t->at[0] != '-' && !zero && text_int(t, out);
}

static tm_status set_types(java_reader *r, tm_text unit) {
  char copy[64];
  if (unit.size >= sizeof copy || r->lg->p->types.count)
    return tm_legacy_bad_line(r->lg, "a resolution that is too long or given twice");
  memcpy(copy, unit.at, unit.size);
  copy[unit.size] = '\0';
  const char *const names[] = {r->heap ? "inuse_objects" : "contentions", "count",
                               r->heap ? "inuse_space" : "delay", copy};
  return tm_legacy_types(r->lg, names, 4);
}

static tm_status read_attribute(java_reader *r, tm_text t, const char *equals) {
  tm_text key = text_trim((tm_text){t.at, (size_t)(equals - t.at)});
  tm_text value = text_trim(text_skip(t, (size_t)(equals - t.at) + 1)), number = value;
  int64_t n = 0;
  if (!is_word(key) || !is_word(value))
    return tm_legacy_bad_line(r->lg, "an attribute of another shape");
  if (is(key, "format") && is(value, "java")) return TM_OK;
  if (is(key, "resolution")) return set_types(r, value);
  bool plain = take_plain(&number, &n) && !number.size && !r->heap;
  if (plain && is(key, "sampling period"))
    return tm_legacy_period(r->lg, "contentions", "count", n);
  if (!plain || !is(key, "ms since reset"))
    return tm_legacy_bad_line(r->lg, "an attribute that Java's profiles lack");
  r->lg->p->duration_ns = (int64_t)((uint64_t)n * 1000000);
  return TM_OK;
}

// Whether a number and " @ " stand anywhere: then it is a sample of some shape.
static bool looks_like_sample(tm_text t) {
  const char *at = memmem(t.at, t.size, " @ ", 3);
  while (at && at > t.at && *at == ' ') at--;
  return at && *at >= '0' && *at <= '9';
}

// "BYTES COUNT @ 0x…"; *taken is false when the line is no sample.
static tm_status read_sample(java_reader *r, tm_text t, bool *taken) {
  tm_profile *p = r->lg->p;
  tm_text counts = t;
  int64_t values[2]; // count, bytes or delay
  *taken = take_plain(&t, &values[1]) && text_take(&t, ' ');
  while (*taken && text_take(&t, ' ')) continue;
  *taken = *taken && take_plain(&t, &values[0]) && text_take(&t, ' ');
  while (*taken && text_take(&t, ' ')) continue;
  *taken = *taken && text_take(&t, '@') && text_take(&t, ' ');
  if (!*taken && !looks_like_sample(counts)) return TM_OK;
  if (!*taken) return tm_legacy_bad_line(r->lg, "a sample of another shape");
  if (!p->types.count) return tm_legacy_bad_line(r->lg, "a sample without a resolution above it");
  if (r->heap && !values[0]) return tm_legacy_bad_line(r->lg, "bytes without objects");
  TM_TRY(tm_legacy_stack(r->lg, t, SIZE_MAX)); // as they are: the lines below name them
  if (r->heap) {
    tm_label l = {.numeric = true, .number = values[1] / values[0]};
    TM_TRY(tm_profile_intern(r->lg->ctx, p, "bytes", 5, &l.key));
    TM_TRY(tm_vec_push(r->lg->ctx, &p->labels, l));
    TM_TRY(tm_legacy_unsample(r->lg, &values[0], &values[1], HEAP_RATE_BYTES));
  } else if (p->period) {
    values[0] = (int64_t)((uint64_t)values[0] * (uint64_t)p->period);
    values[1] = (int64_t)((uint64_t)values[1] * (uint64_t)p->period);
  }
  return tm_profile_end_sample(r->lg->ctx, p, values);
}

static tm_status read_body(java_reader *r) {
  lines *l = &r->lg->l;
  lines before = *l;
  bool in_header = true;
  for (; next_whole_line(l); before = *l) {
    tm_text t = text_trim(l->line);
    if (!t.size) continue;
    const char *equals = memchr(t.at, '=', t.size);
    if (in_header && equals) {
      TM_TRY(read_attribute(r, t, equals));
      continue;
    }
    bool taken;
    in_header = false;
    TM_TRY(read_sample(r, t, &taken));
    if (!taken) break;
  }
  *l = before; // the line that was no sample is the first name
  return tm_java_read_names(r->lg);
}

static bool is_heap_start(tm_text t) {
  return is(text_trim(t), "--- heapz 1 ---");
}

// C++ writes the same first line for contention; Java's says its format below.
static bool is_java(lines l) {
  if (!next_whole_line(&l)) return false;
  if (is_heap_start(l.line)) return true;
  if (!is(text_trim(l.line), "--- contentionz 1 ---")) return false;
  while (next_whole_line(&l)) {
    tm_text t = text_trim(l.line);
    if (text_starts(t, "format") || text_starts(t, "resolution")) return true;
    if (t.size && !memchr(t.at, '=', t.size)) break;
  }
  return false;
}

static tm_status read_profile(tm_legacy *lg) {
  java_reader r = {.lg = lg};
  if (!is_java(lg->l))
    return tm_fail(lg->ctx, TM_E_FORMAT, 0, "no legacy profile of Java begins like this");
  (void)next_whole_line(&lg->l);
  r.heap = is_heap_start(lg->l.line);
  TM_TRY(tm_legacy_leave_out(lg, r.heap ? TM_LEGACY_HEAP : TM_LEGACY_LOCKS));
  return read_body(&r);
}

static tm_status java_read(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  return tm_legacy_run(ctx, src, out, read_profile);
}

static unsigned java_probe(const uint8_t *head, size_t head_bytes) {
  return is_java(lines_of(head, head_bytes)) ? 90 : 0;
}

const tm_reader tm_reader_pprof_java = {.name = "pprof-java",
                                        .title = "legacy heap or contention profile of Java",
                                        .kind = TM_KIND_PROFILE,
                                        .probe = java_probe,
                                        .read = java_read};
