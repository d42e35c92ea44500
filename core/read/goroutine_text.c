// Goroutine dumps (debug=2, panics, SIGQUIT) as a profile: one sample per goroutine with its stack,
// its state, wait and creation site as labels, so that every filter and report works on them.
// Blocks are separated by blank lines; the header is parsed by key, because its parts moved over
// the years, and arguments are never read as values. Cost: one pass. Source: runtime/traceback.go's
// format.
#include "model/profile.h"
#include "read/lines.h"
#include "read/reader.h"

typedef struct dump_reader {
  tm_ctx *ctx;
  tm_profile *p;
  lines l;
  tm_frames frames;
  uint32_t id_key, state_key, creation_key, parent_key, locked_key, yes, leaked_key;
  bool in_goroutine;
  int64_t values[2]; // 1, nanoseconds waited
} dump_reader;

static tm_status add_text_label(dump_reader *d, uint32_t key, tm_text value) {
  tm_label l = {.key = key};
  TM_TRY(tm_profile_intern(d->ctx, d->p, value.at, value.size, &l.text));
  return tm_vec_push(d->ctx, &d->p->labels, l);
}

static tm_status add_number_label(dump_reader *d, uint32_t key, int64_t value) {
  tm_label l = {.key = key, .numeric = true, .number = value};
  return tm_vec_push(d->ctx, &d->p->labels, l);
}

static tm_status end_goroutine(dump_reader *d) {
  if (!d->in_goroutine) return TM_OK;
  d->in_goroutine = false;
  return tm_profile_end_sample(d->ctx, d->p, d->values);
}

// The position of text in t, or SIZE_MAX.
static size_t find(tm_text t, const char *text) {
  const char *at = t.size ? memmem(t.at, t.size, text, strlen(text)) : NULL;
  return at ? (size_t)(at - t.at) : SIZE_MAX;
}

// {"k": "v", …} as labels; escapes are kept as they stand.
static tm_status read_go_labels(dump_reader *d, tm_text t) {
  tm_text parts[2];
  for (int k = 0; t.size && t.at[0] != '}';) {
    if (!text_take(&t, '"')) {
      t = text_skip(t, 1);
      continue;
    }
    size_t n = 0;
    while (n < t.size && t.at[n] != '"') n += t.at[n] == '\\' ? 2 : 1;
    if (n > t.size) n = t.size;
    parts[k++] = (tm_text){t.at, n};
    t = text_skip(t, n + 1);
    if (k < 2) continue;
    uint32_t key;
    TM_TRY(tm_profile_intern(d->ctx, d->p, parts[0].at, parts[0].size, &key));
    TM_TRY(add_text_label(d, key, parts[1]));
    k = 0;
  }
  return TM_OK;
}

// One part of "[state, 5 minutes, locked to thread]" behind the state.
static tm_status read_part(dump_reader *d, tm_text part) {
  int64_t minutes;
  tm_text t = part;
  if (text_int(&t, &minutes) && find(t, "minute") != SIZE_MAX) {
    bool fits = minutes >= 0 && minutes < INT64_MAX / INT64_C(60000000000);
    d->values[1] = fits ? minutes * INT64_C(60000000000) : INT64_MAX;
    return TM_OK;
  }
  if (find(part, "locked to thread") != SIZE_MAX) {
    tm_label l = {.key = d->locked_key, .text = d->yes};
    return tm_vec_push(d->ctx, &d->p->labels, l);
  }
  return TM_OK;
}

static tm_status read_state(dump_reader *d, tm_text inside) {
  size_t labels = find(inside, "labels:{");
  if (labels != SIZE_MAX) {
    TM_TRY(read_go_labels(d, text_skip(inside, labels + 8)));
    inside.size = labels;
  }
  const char *comma = memchr(inside.at, ',', inside.size);
  tm_text state = {inside.at, comma ? (size_t)(comma - inside.at) : inside.size};
  tm_text rest = text_skip(inside, state.size + 1);
  static const char *const marks[] = {" (scan)", " (leaked)", " (durable)"};
  for (size_t i = 0; i < TM_COUNT(marks); i++) {
    size_t at = find(state, marks[i]);
    if (at == SIZE_MAX) continue;
    if (i == 1)
      TM_TRY(tm_vec_push(d->ctx, &d->p->labels, (tm_label){.key = d->leaked_key, .text = d->yes}));
    state.size = at;
  }
  TM_TRY(add_text_label(d, d->state_key, text_trim(state)));
  while (rest.size) {
    comma = memchr(rest.at, ',', rest.size);
    size_t n = comma ? (size_t)(comma - rest.at) : rest.size;
    TM_TRY(read_part(d, text_trim((tm_text){rest.at, n})));
    rest = text_skip(rest, n + 1);
  }
  return TM_OK;
}

// "goroutine 7 gp=… [select, 3 minutes]:"; false when the line is none.
static tm_status read_header(dump_reader *d, bool *is_header) {
  tm_text t = text_skip(d->l.line, 10);
  int64_t id;
  *is_header = false;
  if (!text_starts(d->l.line, "goroutine ") || !text_int(&t, &id)) return TM_OK;
  size_t open = find(t, "[");
  size_t close = t.size;
  while (close && t.at[close - 1] != ']') close--;
  if (open == SIZE_MAX || close <= open + 1) return TM_OK;
  *is_header = true;
  TM_TRY(end_goroutine(d));
  d->in_goroutine = true;
  d->values[0] = 1;
  d->values[1] = 0;
  TM_TRY(add_number_label(d, d->id_key, id));
  return read_state(d, (tm_text){t.at + open + 1, close - open - 2});
}

// A function line without its arguments: up to the parenthesis that opens the last list.
static tm_text function_name(tm_text t) {
  size_t depth = 0;
  if (!t.size || t.at[t.size - 1] != ')') return t;
  for (size_t i = t.size; i-- > 0;) {
    if (t.at[i] == ')') depth++;
    if (t.at[i] == '(' && --depth == 0) return (tm_text){t.at, i};
  }
  return t;
}

// "\tfile.go:12 +0x1f" → file and line.
static bool read_place(tm_text t, tm_text *file, int64_t *line) {
  if (!text_take(&t, '\t')) return false;
  for (size_t i = 0; i + 1 < t.size; i++) {
    tm_text number = text_skip(t, i + 1);
    if (t.at[i] != ':' || !text_int(&number, line)) continue;
    if (number.size && number.at[0] != ' ') continue;
    *file = (tm_text){t.at, i};
    return true;
  }
  return false;
}

// "created by pkg.F in goroutine 3": name and parent become labels, the place stays unread.
static tm_status read_creation(dump_reader *d, tm_text t) {
  size_t in = find(t, " in goroutine ");
  if (in != SIZE_MAX) {
    tm_text number = text_skip(t, in + 14);
    int64_t parent;
    if (text_int(&number, &parent)) TM_TRY(add_number_label(d, d->parent_key, parent));
    t.size = in;
  }
  return add_text_label(d, d->creation_key, t);
}

static tm_status read_frame(dump_reader *d) {
  tm_text t = d->l.line;
  if (text_starts(t, "created by ")) return read_creation(d, text_skip(t, 11));
  if (t.at[0] == '\t' || text_starts(t, "...") || text_starts(t, "[originating from")) return TM_OK;
  tm_text name = function_name(t), file = {"", 0};
  int64_t line = 0;
  lines ahead = d->l;
  if (lines_next(&ahead) && read_place(ahead.line, &file, &line)) d->l = ahead;
  uint32_t location;
  TM_TRY(tm_frames_location(d->ctx, &d->frames, d->p, name, file, line, &location));
  return tm_vec_push(d->ctx, &d->p->stack, location);
}

static tm_status read_dump(dump_reader *d) {
  static const char *const keys[] = {"goroutine",        "state", "created_by", "parent", "yes",
                                     "locked_to_thread", "leaked"};
  uint32_t *ids[] = {&d->id_key, &d->state_key,  &d->creation_key, &d->parent_key,
                     &d->yes,    &d->locked_key, &d->leaked_key};
  for (size_t i = 0; i < TM_COUNT(keys); i++)
    TM_TRY(tm_profile_intern(d->ctx, d->p, keys[i], strlen(keys[i]), ids[i]));
  TM_TRY(tm_profile_add_type(d->ctx, d->p, "goroutine", "count"));
  TM_TRY(tm_profile_add_type(d->ctx, d->p, "wait", "nanoseconds"));
  d->p->default_type = d->id_key; // the word "goroutine"
  d->p->period = 1;
  d->p->period_type = d->p->types.items[0];
  while (lines_next(&d->l)) {
    bool is_header;
    if (!d->l.line.size) {
      TM_TRY(end_goroutine(d));
      continue;
    }
    TM_TRY(read_header(d, &is_header));
    if (!is_header && d->in_goroutine) TM_TRY(read_frame(d));
  }
  TM_TRY(end_goroutine(d));
  if (!d->p->sample_count) return tm_fail(d->ctx, TM_E_FORMAT, 0, "no goroutine in this dump");
  return TM_OK;
}

static void free_profile(void *model) {
  tm_profile_free(model);
}

static tm_status dump_read(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  dump_reader d = {.ctx = ctx, .l = lines_of(src->data, src->size)};
  TM_TRY(tm_profile_new(ctx, &d.p));
  out->model = d.p;
  out->free_model = free_profile;
  tm_status status = read_dump(&d);
  if (status != TM_OK) {
    out->partial = true;
    out->problem = ctx->error;
  }
  tm_frames_fini(ctx, &d.frames);
  return status;
}

// A line "goroutine N [state]:", or one with more between them, somewhere near the start.
static unsigned dump_probe(const uint8_t *head, size_t head_bytes) {
  lines l = lines_of(head, head_bytes);
  while (lines_next(&l)) {
    tm_text t = text_skip(l.line, 10);
    int64_t id;
    if (text_starts(l.line, "goroutine ") && text_int(&t, &id) && t.size > 3
        && t.at[t.size - 1] == ':' && find(t, "[") != SIZE_MAX)
      return 70;
  }
  return 0;
}

const tm_reader tm_reader_goroutines = {.name = "goroutines",
                                        .title = "goroutine dump (debug=2, panic, SIGQUIT)",
                                        .kind = TM_KIND_GOROUTINES,
                                        .takes_part = true,
                                        .probe = dump_probe,
                                        .read = dump_read};
