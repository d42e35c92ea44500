// Chrome's trace events as JSON: an array of events, or an object with such an array. One pass
// that looks at the known keys of each event and steps over all other values; the arguments are
// walked only where the builder wants them. A file that ends or breaks early yields the events
// before that place. Source: the Trace Event Format of the Chromium project.
#include "base/bytes.h"
#include "base/hash.h"
#include "read/reader.h"
#include "read/timeline_build.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 32, LONGEST_PATH = 4096, TICK_EVENTS = 1 << 16 };

#define MOST_NS (INT64_C(1) << 60)

typedef struct text_span {
  const uint8_t *at, *end; // of a string without its quotes
  bool quoted;
} text_span;

typedef struct scanner {
  tm_ctx *ctx;
  const uint8_t *start, *at, *end;
  tm_bytes plain; // a text without escapes
  tm_tl_builder builder;
  char path[LONGEST_PATH];
} scanner;

typedef struct raw_event {
  text_span phase, name, category, pid, tid, time, duration, id, local, global;
  const uint8_t *args, *offset;
} raw_event;

static bool is_space(uint8_t c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void skip_space(scanner *s) {
  while (s->at < s->end && is_space(*s->at)) s->at++;
}

// From behind the opening quote to behind the closing one; false at the end of input.
static bool skip_string(scanner *s) {
  while (s->at < s->end) {
    const uint8_t *quote = memchr(s->at, '"', (size_t)(s->end - s->at));
    if (!quote) break;
    const uint8_t *slash = quote;
    while (slash > s->at && slash[-1] == '\\') slash--;
    s->at = quote + 1;
    if ((quote - slash) % 2 == 0) return true;
  }
  s->at = s->end;
  return false;
}

// Over one value of any kind; false when the input ends in it.
static bool skip_value(scanner *s) {
  size_t depth = 0;
  while (s->at < s->end) {
    uint8_t c = *s->at;
    if (c == '"') {
      s->at++;
      if (!skip_string(s)) return false;
      if (!depth) return true;
      continue;
    }
    if (c == '{' || c == '[') {
      depth++;
    } else if (c == '}' || c == ']') {
      if (!depth) return true;
      if (!--depth) {
        s->at++;
        return true;
      }
    } else if (!depth && (c == ',' || is_space(c))) {
      return true;
    }
    s->at++;
  }
  return false;
}

static bool read_scalar(scanner *s, text_span *out) {
  skip_space(s);
  if (s->at == s->end) return false;
  out->quoted = *s->at == '"';
  if (out->quoted) {
    out->at = ++s->at;
    if (!skip_string(s)) return false;
    out->end = s->at - 1;
    return true;
  }
  out->at = s->at;
  if (!skip_value(s)) return false;
  out->end = s->at;
  return true;
}

static size_t span_size(text_span t) {
  return (size_t)(t.end - t.at);
}

static bool span_is(text_span t, const char *word) {
  size_t size = strlen(word);
  return span_size(t) == size && memcmp(t.at, word, size) == 0;
}

static int hex4(const uint8_t *p) {
  int value = 0;
  for (int i = 0; i < 4; i++) {
    int c = p[i] | 32;
    int digit = p[i] >= '0' && p[i] <= '9' ? p[i] - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

static size_t put_utf8(uint8_t *out, uint32_t c) {
  if (c < 0x80) {
    out[0] = (uint8_t)c;
    return 1;
  }
  if (c < 0x800) {
    out[0] = (uint8_t)(0xc0 | c >> 6);
    out[1] = (uint8_t)(0x80 | (c & 63));
    return 2;
  }
  if (c < 0x10000) {
    out[0] = (uint8_t)(0xe0 | c >> 12);
    out[1] = (uint8_t)(0x80 | (c >> 6 & 63));
    out[2] = (uint8_t)(0x80 | (c & 63));
    return 3;
  }
  out[0] = (uint8_t)(0xf0 | c >> 18);
  out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
  out[2] = (uint8_t)(0x80 | (c >> 6 & 63));
  out[3] = (uint8_t)(0x80 | (c & 63));
  return 4;
}

// What "\u…" at p stands for; *used is how much of it was read. Lone halves become U+FFFD.
static uint32_t unicode_at(const uint8_t *p, const uint8_t *end, size_t *used) {
  *used = 2;
  int high = end - p >= 6 ? hex4(p + 2) : -1;
  if (high < 0) return 0xfffd;
  *used = 6;
  if (high < 0xd800 || high > 0xdfff) return (uint32_t)high;
  int low = high < 0xdc00 && end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8) : -1;
  if (low < 0xdc00 || low > 0xdfff) return 0xfffd;
  *used = 12;
  return 0x10000 + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
}

// The text with its escapes resolved; without any it is the input itself.
static tm_status plain_text(scanner *s, text_span t, const char **out, size_t *size) {
  *out = (const char *)t.at;
  *size = span_size(t);
  if (!t.at || !t.quoted || !memchr(t.at, '\\', *size)) return TM_OK;
  s->plain.size = 0;
  for (const uint8_t *p = t.at; p < t.end;) {
    const uint8_t *slash = memchr(p, '\\', (size_t)(t.end - p));
    if (!slash) slash = t.end;
    TM_TRY(tm_bytes_append(s->ctx, &s->plain, p, (size_t)(slash - p)));
    if (slash + 1 >= t.end) break;
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *known = memchr(from, slash[1], 5);
    uint8_t made[4] = {known ? (uint8_t)to[known - from] : slash[1]};
    size_t used = 2, count = 1;
    if (slash[1] == 'u') count = put_utf8(made, unicode_at(slash, t.end, &used));
    TM_TRY(tm_bytes_append(s->ctx, &s->plain, made, count));
    p = slash + used;
  }
  *out = s->plain.size ? (const char *)s->plain.data : "";
  *size = s->plain.size;
  return TM_OK;
}

static tm_status intern(scanner *s, text_span t, uint32_t *out) {
  const char *text;
  size_t size;
  *out = 0;
  if (!t.at) return TM_OK;
  TM_TRY(plain_text(s, t, &text, &size));
  return tm_strtab_intern(s->ctx, &s->builder.timeline->strings, text, size, out);
}

static double number_of(text_span t) {
  if (span_is(t, "true")) return 1;
  char text[64];
  size_t size = span_size(t) < sizeof text - 1 ? span_size(t) : sizeof text - 1;
  if (!size) return 0;
  bool digits = size < 16;
  double value = 0;
  for (size_t i = 0; digits && i < size; i++) {
    digits = t.at[i] >= '0' && t.at[i] <= '9';
    value = value * 10 + (t.at[i] - '0');
  }
  if (digits) return value;
  memcpy(text, t.at, size);
  text[size] = '\0';
  value = strtod(text, NULL);
  return isfinite(value) ? value : 0;
}

// Microseconds, often with three decimals, as nanoseconds; exact where they are written plainly.
static int64_t ns_of(text_span t) {
  const uint8_t *p = t.at;
  int64_t value = 0;
  while (p < t.end && *p >= '0' && *p <= '9' && value < MOST_NS / 10000)
    value = value * 10 + (*p++ - '0');
  value *= 1000;
  if (p < t.end && *p == '.') {
    p++;
    for (int64_t unit = 100; p < t.end && *p >= '0' && *p <= '9'; unit /= 10)
      value += unit * (*p++ - '0');
  }
  if (p == t.end) return value;
  double ns = number_of(t) * 1000;
  return fabs(ns) < (double)MOST_NS ? (int64_t)ns : ns > 0 ? MOST_NS : -MOST_NS;
}

static int64_t process_of(text_span t) {
  double value = number_of(t);
  if (value == 0 && t.at && !span_is(t, "0"))
    return (int64_t)(tm_hash_bytes(t.at, span_size(t)) & 0x7fffffff);
  return fabs(value) < 9e15 ? (int64_t)value : 0;
}

static uint64_t id_of(const raw_event *e, int64_t pid) {
  text_span t = e->local.at ? e->local : e->global.at ? e->global : e->id;
  if (!t.at) return 0;
  uint64_t hash = tm_hash_bytes(t.at, span_size(t));
  return e->local.at ? tm_hash_add(hash, (uint64_t)pid) : hash;
}

static tm_status send_scalar(scanner *s, size_t path_size, text_span t) {
  tm_tl_field f = {.path = s->path, .path_size = path_size};
  if (span_is(t, "null") && !t.quoted) return TM_OK;
  f.type = t.quoted ? TM_TL_TEXT : TM_TL_NUMBER;
  f.number = number_of(t);
  if (t.quoted) TM_TRY(plain_text(s, t, &f.text, &f.size));
  return tm_tl_add_field(s->ctx, &s->builder, &f);
}

typedef struct open_container {
  size_t path_size; // of what it is called
  bool array;
} open_container;

static size_t extend_path(scanner *s, size_t size, const void *name, size_t name_size, bool dot) {
  if (size + name_size + 1 > sizeof s->path) return size;
  if (dot && size) s->path[size++] = '.';
  memcpy(s->path + size, name, name_size);
  return size + name_size;
}

// What a walk through arguments has open.
typedef struct args_walk {
  open_container open[DEEPEST];
  size_t depth, path_size; // path_size: of the value that comes next
} args_walk;

// The last open one is done; one inside an array says so, since the next has the same path.
static tm_status close_container(scanner *s, args_walk *w, uint8_t bracket) {
  const open_container *closed = &w->open[--w->depth];
  if (!w->depth || !w->open[w->depth - 1].array || bracket != '}') return TM_OK;
  tm_tl_field f = {.path = s->path, .path_size = closed->path_size, .type = TM_TL_END};
  return tm_tl_add_field(s->ctx, &s->builder, &f);
}

// What the next value is called: a key is read over, places in arrays have no name. False at the
// end of what can be read.
static bool name_value(scanner *s, args_walk *w) {
  if (!w->depth) return true;
  const open_container *in = &w->open[w->depth - 1];
  if (in->array) {
    w->path_size = extend_path(s, in->path_size, "[]", 2, false);
    return true;
  }
  text_span key;
  if (!read_scalar(s, &key)) return false;
  skip_space(s);
  if (s->at < s->end && *s->at == ':') s->at++;
  skip_space(s);
  w->path_size = extend_path(s, in->path_size, key.at, span_size(key), true);
  return s->at < s->end;
}

// A container is opened, a scalar is handed on. *done: nothing more can be read.
static tm_status take_value(scanner *s, args_walk *w, bool *done) {
  uint8_t c = *s->at;
  if ((c == '{' || c == '[') && w->depth < DEEPEST) {
    w->open[w->depth++] = (open_container){w->path_size, c == '['};
    s->at++;
    return TM_OK;
  }
  text_span value;
  if (c == '}' || c == ']') return TM_OK;
  *done = !read_scalar(s, &value);
  return *done ? TM_OK : send_scalar(s, w->path_size, value);
}

// Walks a whole object, which was stepped over before: it is complete, though maybe not JSON.
static tm_status send_args(scanner *s) {
  args_walk w = {.depth = 0};
  bool done = false;
  while (!done && s->at < s->end) {
    skip_space(s);
    if (s->at == s->end) break;
    uint8_t c = *s->at;
    if (c == ',' || c == ':') {
      s->at++;
    } else if (c == '}' || c == ']') {
      s->at++;
      if (!w.depth) return TM_OK;
      TM_TRY(close_container(s, &w, c));
      if (!w.depth) return TM_OK;
    } else {
      if (!name_value(s, &w)) return TM_OK;
      TM_TRY(take_value(s, &w, &done));
    }
  }
  return TM_OK;
}

static tm_status add_event(scanner *s, const raw_event *e) {
  if (!e->phase.at || !span_size(e->phase)) return TM_OK;
  tm_tl_event event = {.phase = (char)*e->phase.at,
                       .timed = e->time.at != NULL && span_size(e->time) != 0,
                       .offset = (uint64_t)(e->offset - s->start)};
  if (e->pid.at) event.pid = process_of(e->pid);
  if (e->tid.at) event.tid = process_of(e->tid);
  if (event.timed) event.time_ns = ns_of(e->time);
  if (e->duration.at) event.duration_ns = ns_of(e->duration);
  event.id = id_of(e, event.pid);
  event.has_id = event.id != 0;
  TM_TRY(intern(s, e->name, &event.name));
  TM_TRY(intern(s, e->category, &event.category));
  bool wants;
  TM_TRY(tm_tl_open(s->ctx, &s->builder, &event, &wants));
  if (wants && e->args) {
    const uint8_t *at = s->at, *end = s->end;
    s->at = e->args;
    s->end = at;
    tm_status status = send_args(s);
    s->at = at;
    s->end = end;
    TM_TRY(status);
  }
  return tm_tl_close(s->ctx, &s->builder);
}

// An id2 is an object with one of two keys.
static bool read_id2(scanner *s, raw_event *e) {
  const uint8_t *begin = s->at;
  if (!skip_value(s)) return false;
  scanner in = {.at = begin + 1, .end = s->at};
  if (begin < s->at && *begin != '{') return true;
  text_span key, value;
  while (in.at < in.end) {
    while (in.at < in.end && *in.at != '"') in.at++;
    if (in.at == in.end || !read_scalar(&in, &key)) break;
    skip_space(&in);
    if (in.at == in.end || *in.at++ != ':' || !read_scalar(&in, &value)) break;
    if (span_is(key, "local")) e->local = value;
    if (span_is(key, "global")) e->global = value;
  }
  return true;
}

static text_span *slot_of(raw_event *e, text_span key) {
  static const struct {
    const char *name;
    size_t at;
  } slots[] = {{"name", offsetof(raw_event, name)},    {"cat", offsetof(raw_event, category)},
               {"ph", offsetof(raw_event, phase)},     {"ts", offsetof(raw_event, time)},
               {"dur", offsetof(raw_event, duration)}, {"pid", offsetof(raw_event, pid)},
               {"tid", offsetof(raw_event, tid)},      {"id", offsetof(raw_event, id)}};
  size_t size = span_size(key);
  if (size < 2 || size > 4) return NULL;
  for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
    if (slots[i].name[0] == (char)key.at[0] && span_is(key, slots[i].name))
      return (text_span *)(void *)((char *)e + slots[i].at);
  return NULL;
}

typedef enum scan_end { SCAN_OK, SCAN_CUT, SCAN_BROKEN } scan_end;

// One event's object, at its brace.
static scan_end read_event(scanner *s, raw_event *e) {
  *e = (raw_event){.offset = s->at++};
  for (;;) {
    skip_space(s);
    if (s->at == s->end) return SCAN_CUT;
    if (*s->at == ',') {
      s->at++;
      continue;
    }
    if (*s->at == '}') {
      s->at++;
      return SCAN_OK;
    }
    if (*s->at != '"') return SCAN_BROKEN;
    text_span key;
    if (!read_scalar(s, &key)) return SCAN_CUT;
    skip_space(s);
    if (s->at == s->end) return SCAN_CUT;
    if (*s->at++ != ':') return SCAN_BROKEN;
    skip_space(s);
    if (s->at == s->end) return SCAN_CUT;
    text_span *slot = slot_of(e, key);
    if (slot) {
      if (!read_scalar(s, slot)) return SCAN_CUT;
      continue;
    }
    if (span_is(key, "id2")) {
      if (!read_id2(s, e)) return SCAN_CUT;
      continue;
    }
    if (span_is(key, "args") && *s->at == '{') e->args = s->at;
    if (!skip_value(s)) return SCAN_CUT;
  }
}

// The events of the array behind s->at. Its end may be missing when it is the whole file.
static tm_status read_events(scanner *s, scan_end *out) {
  uint64_t count = 0;
  for (;;) {
    skip_space(s);
    if (s->at == s->end) {
      *out = SCAN_CUT;
      return TM_OK;
    }
    if (*s->at == ']') {
      s->at++;
      *out = SCAN_OK;
      return TM_OK;
    }
    if (*s->at == ',') {
      s->at++;
      continue;
    }
    *out = SCAN_BROKEN;
    if (*s->at != '{') return TM_OK;
    const uint8_t *begin = s->at;
    raw_event e;
    *out = read_event(s, &e);
    if (*out != SCAN_OK) {
      if (*out == SCAN_CUT) s->at = begin;
      return TM_OK;
    }
    TM_TRY(add_event(s, &e));
    if (++count % TICK_EVENTS == 0) TM_TRY(tm_ctx_tick(s->ctx, (uint64_t)(s->at - s->start)));
  }
}

// To behind the bracket of the events; false when there is none.
static bool find_events(scanner *s, bool *bare) {
  if (s->end - s->at >= 3 && memcmp(s->at, "\xef\xbb\xbf", 3) == 0) s->at += 3;
  skip_space(s);
  if (s->at == s->end) return false;
  uint8_t first = *s->at++;
  *bare = first == '[';
  if (first == '[') return true;
  while (first == '{') {
    text_span key;
    skip_space(s);
    if (s->at < s->end && *s->at == ',') s->at++;
    skip_space(s);
    if (s->at == s->end || *s->at != '"' || !read_scalar(s, &key)) return false;
    skip_space(s);
    if (s->at == s->end || *s->at++ != ':') return false;
    skip_space(s);
    if (s->at == s->end) return false;
    if (span_is(key, "traceEvents") && *s->at == '[') {
      s->at++;
      return true;
    }
    if (!skip_value(s)) return false;
  }
  return false;
}

static void note_problem(scanner *s, tm_snapshot *out, scan_end end) {
  uint64_t offset = (uint64_t)(s->at - s->start);
  out->partial = true;
  (void)tm_fail(s->ctx, TM_E_FORMAT, offset,
                end == SCAN_CUT ? "the trace ends within its events: those before are read"
                                : "no trace event here: those before are read");
  out->problem = s->ctx->error;
  tm_ctx_clear(s->ctx);
}

static tm_status scan(scanner *s, tm_snapshot *out) {
  bool bare = false;
  scan_end end = SCAN_BROKEN;
  if (!find_events(s, &bare))
    return tm_fail(s->ctx, TM_E_FORMAT, (uint64_t)(s->at - s->start),
                   "neither an array of trace events nor an object with \"traceEvents\"");
  TM_TRY(read_events(s, &end));
  // Chrome lets the bracket of a bare array go missing
  bool whole = end == SCAN_OK || (end == SCAN_CUT && bare && s->at == s->end);
  if (!whole) note_problem(s, out, end);
  tm_tl_finish(&s->builder);
  return TM_OK;
}

static void free_timeline(void *model) {
  tm_timeline_free(model);
}

static tm_status read_chrome_json(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  tm_timeline *timeline = NULL;
  TM_TRY(tm_timeline_new(ctx, &timeline));
  scanner s = {.ctx = ctx, .start = src->data, .at = src->data, .end = src->data + src->size};
  ctx->total = src->size;
  tm_status status = tm_tl_builder_init(ctx, &s.builder, timeline);
  if (status == TM_OK) status = scan(&s, out);
  tm_tl_builder_fini(ctx, &s.builder);
  tm_bytes_free(ctx, &s.plain);
  if (status != TM_OK) {
    tm_timeline_free(timeline);
    return status;
  }
  out->model = timeline;
  out->free_model = free_timeline;
  if (!out->partial) return TM_OK;
  ctx->error = out->problem;
  return out->problem.status;
}

static bool head_has(const uint8_t *head, size_t size, const char *word) {
  return memmem(head, size, word, strlen(word)) != NULL;
}

// Events of a CPU profiler have all the words of a V8 profile.
static bool begins_with_events(const uint8_t *at, size_t size) {
  static const char key[] = "\"traceEvents\"";
  size_t i = 0;
  while (i < size && is_space(at[i])) i++;
  return size - i >= sizeof key - 1 && memcmp(at + i, key, sizeof key - 1) == 0;
}

static unsigned probe_chrome_json(const uint8_t *head, size_t size) {
  size_t at = size >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
  while (at < size && is_space(head[at])) at++;
  if (at == size || (head[at] != '[' && head[at] != '{')) return 0;
  if (head[at] == '{' && begins_with_events(head + at + 1, size - at - 1)) return 120;
  if (head[at] == '{' && head_has(head, size, "\"traceEvents\"")) return 60;
  // what may stand before the events, at any length
  static const char *const before[] = {"\"displayTimeUnit\"", "\"dataOrigin\"",
                                       "\"source\":\"DevTools\"", "\"source\": \"DevTools\""};
  for (size_t i = 0; i < sizeof before / sizeof *before && head[at] == '{'; i++)
    if (head_has(head, size, before[i])) return 30;
  if (!head_has(head, size, "\"ph\"") || !head_has(head, size, "\"pid\"")) return 0;
  return head_has(head, size, "\"ts\"") ? 40 : 20;
}

const tm_reader tm_reader_chrome_json = {.name = "chrome",
                                         .title = "Chrome trace events (JSON)",
                                         .kind = TM_KIND_TIMELINE,
                                         .takes_part = true,
                                         .probe = probe_chrome_json,
                                         .read = read_chrome_json};
