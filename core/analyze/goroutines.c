// Every source is brought to one view of a goroutine (state, frames leaf first, creation), then
// counted under its key: the interned texts of the key are interned once more as one byte string,
// whose id is the row. Cost: O(frames) per goroutine, O(rows log rows).
#include "analyze/goroutines.h"

#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct frame {
  const char *function, *file;
  int64_t line;
} frame;

typedef struct seen { // one goroutine, or several alike
  int64_t count;
  const char *state; // "" = to be seen from the stack
  bool waiting;      // what to say when the stack does not tell, either
  const char *entry; // "" = the root of the stack
  const char *creation;
  int64_t age_ns;
  int64_t created_count, ended_count;
} seen;

enum { STATE, ENTRY, SITE, CREATION, STACK, KEYS };

typedef struct row {
  uint32_t key[KEYS];
  int64_t count, age_ns, created_count, ended_count;
  uint32_t made; // its number before they were sorted
} row;

typedef struct census {
  tm_ctx *ctx;
  const tm_goroutines_options *options;
  tm_strtab texts, keys; // a key's id is its row + 1
  TM_VEC(row) rows;
  TM_VEC(frame) frames; // of the goroutine at hand
  tm_bytes text;
} census;

static void census_fini(census *c) {
  tm_strtab_fini(&c->texts);
  tm_strtab_fini(&c->keys);
  tm_vec_free(c->ctx, &c->rows);
  tm_vec_free(c->ctx, &c->frames);
  tm_bytes_free(c->ctx, &c->text);
}

static bool starts(const char *text, const char *head) {
  return strncmp(text, head, strlen(head)) == 0;
}

// ---- what a stack says ----

static const char *state_of_function(const char *name) {
  static const struct {
    const char *head, *state;
  } known[] = {{"runtime.chanrecv", "chan receive"},
               {"runtime.chansend", "chan send"},
               {"runtime.selectgo", "select"},
               {"runtime.block", "forever"},
               {"runtime.netpollblock", "network"},
               {"internal/poll.runtime_pollWait", "network"},
               {"runtime.semacquire", "sync"},
               {"sync.runtime_notifyListWait", "sync.(*Cond).Wait"},
               {"sync.runtime_Semacquire", "sync"},
               {"internal/sync.runtime_Semacquire", "sync"},
               {"time.Sleep", "sleep"},
               {"os/signal.signal_recv", "signal"}};
  for (size_t k = 0; k < TM_COUNT(known); k++)
    if (starts(name, known[k].head)) return known[k].state;
  return "";
}

enum { STATE_DEPTH = 8 }; // so many frames from the leaf may say the state

static const char *state_of_stack(const frame *frames, size_t count) {
  const char *state = "";
  for (size_t i = 0; i < count && i < STATE_DEPTH && !*state; i++)
    state = state_of_function(frames[i].function);
  return state;
}

// The words of a goroutine dump as a trace says them.
static const char *common_word(const char *state) {
  static const char *const words[][2] = {{"IO wait", "network"},
                                         {"semacquire", "sync"},
                                         {"sync.Mutex.Lock", "sync"},
                                         {"sync.RWMutex.Lock", "sync"},
                                         {"sync.RWMutex.RLock", "sync"},
                                         {"sync.WaitGroup.Wait", "sync"},
                                         {"sync.Cond.Wait", "sync.(*Cond).Wait"},
                                         {"select (no cases)", "forever"},
                                         {"chan receive (nil chan)", "forever"},
                                         {"chan send (nil chan)", "forever"}};
  for (size_t i = 0; i < TM_COUNT(words); i++)
    if (strcmp(state, words[i][0]) == 0) return words[i][1];
  return state;
}

static bool is_plumbing(const char *function) {
  static const char *const heads[] = {"runtime.", "internal/", "sync.", "syscall.", "time.Sleep"};
  for (size_t i = 0; i < TM_COUNT(heads); i++)
    if (starts(function, heads[i])) return true;
  return false;
}

// Where the program's own code stopped; the leaf when all of it is the runtime's.
static const frame *site_of(const frame *frames, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!is_plumbing(frames[i].function)) return &frames[i];
  return count ? &frames[0] : NULL;
}

// What stands around the first function of the program. Go's own texts leave out what the compiler
// makes of `go f(x)`, main.start.gowrap1 (since Go 1.22 it has that name), so all do.
static bool is_wrapper(const char *function) {
  const char *dot = strrchr(function, '.');
  return strcmp(function, "runtime.goexit") == 0 || strcmp(function, "runtime.main") == 0
         || (dot && starts(dot, ".gowrap"));
}

static const char *entry_of(const frame *frames, size_t count) {
  while (count > 1 && is_wrapper(frames[count - 1].function)) count--;
  return count ? frames[count - 1].function : "";
}

// ---- counting ----

// Without its folders: where a program was built says nothing.
static const char *short_file(const char *file) {
  const char *slash = strrchr(file, '/');
  return slash ? slash + 1 : file;
}

static tm_status frame_text(census *c, const frame *f, const char *end) {
  if (!f->line) return tm_bytes_printf(c->ctx, &c->text, "%s%s", f->function, end);
  return tm_bytes_printf(c->ctx, &c->text, "%s %s:%lld%s", f->function, short_file(f->file),
                         (long long)f->line, end);
}

static tm_status intern_text(census *c, uint32_t *out) {
  const void *text = c->text.size ? (const void *)c->text.data : "";
  return tm_strtab_intern(c->ctx, &c->texts, text, c->text.size, out);
}

static tm_status make_key(census *c, const seen *s, uint32_t *key) {
  const frame *frames = c->frames.items;
  size_t count = c->frames.count;
  const char *state = *s->state ? common_word(s->state) : state_of_stack(frames, count);
  if (!*state && s->waiting) state = "waiting";
  // Old traces say that main's goroutine begins in the runtime.
  bool told = *s->entry && (!count || strcmp(s->entry, "runtime.main") != 0);
  const char *entry = told ? s->entry : entry_of(frames, count);
  const frame *site = site_of(frames, count);
  TM_TRY(tm_strtab_intern(c->ctx, &c->texts, state, strlen(state), &key[STATE]));
  TM_TRY(tm_strtab_intern(c->ctx, &c->texts, entry, strlen(entry), &key[ENTRY]));
  // The first goroutine has no creator: the runtime's start calls newproc itself.
  const char *creation = strcmp(s->creation, "runtime.newproc") == 0 ? "" : s->creation;
  TM_TRY(tm_strtab_intern(c->ctx, &c->texts, creation, strlen(creation), &key[CREATION]));
  c->text.size = 0;
  if (site) TM_TRY(frame_text(c, site, ""));
  TM_TRY(intern_text(c, &key[SITE]));
  c->text.size = 0;
  for (size_t i = 0; c->options->stacks && i < count; i++)
    TM_TRY(frame_text(c, &frames[i], i + 1 < count ? "\n" : ""));
  return intern_text(c, &key[STACK]);
}

// made: the row's number before they are sorted; may be NULL.
static tm_status add(census *c, const seen *s, uint32_t *made) {
  row r = {.made = (uint32_t)c->rows.count};
  uint32_t id;
  TM_TRY(make_key(c, s, r.key));
  TM_TRY(tm_strtab_intern(c->ctx, &c->keys, r.key, sizeof r.key, &id));
  if (id > c->rows.count) TM_TRY(tm_vec_push(c->ctx, &c->rows, r));
  row *to = &c->rows.items[id - 1];
  if (made) *made = id - 1;
  to->count = (int64_t)((uint64_t)to->count + (uint64_t)s->count);
  if (s->age_ns > to->age_ns) to->age_ns = s->age_ns;
  if (s->created_count > to->created_count) to->created_count = s->created_count;
  if (s->ended_count > to->ended_count) to->ended_count = s->ended_count;
  return TM_OK;
}

static int by_count(const void *a, const void *b) {
  const row *x = a, *y = b;
  if (x->count != y->count) return x->count < y->count ? 1 : -1;
  if (x->age_ns != y->age_ns) return x->age_ns < y->age_ns ? 1 : -1;
  return memcmp(x->key, y->key, sizeof x->key); // ids stand in the order of the input
}

static tm_status write_row(census *c, const row *r, tm_table *out) {
  static const int texts[] = {STATE, ENTRY, SITE, CREATION};
  size_t at;
  TM_TRY(tm_table_add_row(c->ctx, out, &at));
  tm_table_set_int(out, at, 0, r->count);
  for (size_t i = 0; i < TM_COUNT(texts); i++) {
    const tm_str *s = &c->texts.items[r->key[texts[i]]];
    TM_TRY(tm_table_set_text(c->ctx, out, at, 1 + i, s->text, s->length));
  }
  tm_table_set_int(out, at, 5, r->age_ns);
  tm_table_set_int(out, at, 6, r->created_count);
  tm_table_set_int(out, at, 7, r->ended_count);
  if (!c->options->stacks) return TM_OK;
  const tm_str *s = &c->texts.items[r->key[STACK]];
  return tm_table_set_text(c->ctx, out, at, 8, s->text, s->length);
}

static tm_status write_rows(census *c, tm_table *out) {
  static const struct {
    const char *name;
    tm_cell cell;
    tm_unit unit;
  } columns[] = {
      {"count", TM_CELL_INT, TM_UNIT_COUNT},         {"state", TM_CELL_TEXT, TM_UNIT_NONE},
      {"entry", TM_CELL_TEXT, TM_UNIT_NONE},         {"site", TM_CELL_TEXT, TM_UNIT_NONE},
      {"creation", TM_CELL_TEXT, TM_UNIT_NONE},      {"age_ns", TM_CELL_INT, TM_UNIT_NS},
      {"created_count", TM_CELL_INT, TM_UNIT_COUNT}, {"ended_count", TM_CELL_INT, TM_UNIT_COUNT},
      {"stack", TM_CELL_TEXT, TM_UNIT_NONE}};
  size_t last = TM_COUNT(columns) - !c->options->stacks;
  for (size_t i = 0; i < last; i++)
    TM_TRY(tm_table_add_column(c->ctx, out, columns[i].name, columns[i].cell, columns[i].unit));
  if (c->rows.count) qsort(c->rows.items, c->rows.count, sizeof *c->rows.items, by_count);
  for (size_t i = 0; i < c->rows.count; i++) {
    if (c->options->row_count && i >= c->options->row_count) break;
    TM_TRY(write_row(c, &c->rows.items[i], out));
  }
  return TM_OK;
}

// ---- of a trace ----

static tm_status trace_frames(census *c, const tm_trace *t, uint32_t stack) {
  const tm_trace_stack *s = &t->stacks.items[stack];
  c->frames.count = 0;
  for (uint32_t i = s->begin; i < s->end; i++) {
    const tm_trace_frame *f = &t->frames.items[i];
    frame one = {tm_trace_text(t, f->function), tm_trace_text(t, f->file), f->line};
    TM_TRY(tm_vec_push(c->ctx, &c->frames, one));
  }
  return TM_OK;
}

const char *tm_goroutine_creator(const tm_trace *t, uint32_t creation) {
  const tm_trace_stack *s = &t->stacks.items[creation];
  for (uint32_t i = s->begin; i < s->end; i++) {
    const char *name = tm_trace_text(t, t->frames.items[i].function);
    if (!is_plumbing(name)) return name;
  }
  return s->begin < s->end ? tm_trace_text(t, t->frames.items[s->begin].function) : "";
}

const char *tm_goroutine_state(const tm_trace *t, const tm_goroutine *g) {
  static const char *const words[] = {"", "runnable", "running", "syscall", "waiting"};
  const char *reason = tm_trace_text(t, g->reason), *state = "";
  if (g->state != TM_GO_WAITING) return words[g->state];
  if (*reason) return common_word(reason);
  const tm_trace_stack *s = &t->stacks.items[g->site];
  for (uint32_t i = s->begin; i < s->end && i < s->begin + STATE_DEPTH && !*state; i++)
    state = state_of_function(tm_trace_text(t, t->frames.items[i].function));
  return *state ? state : words[TM_GO_WAITING];
}

static const tm_go_pile *find_pile(const tm_trace *t, const tm_idmap *piles,
                                   const tm_goroutine *g) {
  uint32_t i = tm_idmap_get(piles, ((uint64_t)g->entry << 32) | g->creation);
  return i == TM_IDMAP_NONE ? NULL : &t->piles.items[i];
}

bool tm_goroutine_is_system(const char *entry) {
  return (starts(entry, "runtime.") && strcmp(entry, "runtime.main") != 0)
         || starts(entry, "runtime/trace.");
}

static bool is_left_out(const census *c, const tm_trace *t, uint32_t entry) {
  return !c->options->system && tm_goroutine_is_system(tm_trace_text(t, entry));
}

static tm_status add_alive(census *c, const tm_trace *t, const tm_idmap *piles) {
  static const char *const words[] = {"", "runnable", "running", "syscall", ""};
  for (size_t i = 0; i < t->goroutines.count; i++) {
    const tm_goroutine *g = &t->goroutines.items[i];
    if (g->foreign || is_left_out(c, t, g->entry)) continue;
    seen s = {.count = 1, .state = words[g->state], .entry = tm_trace_text(t, g->entry)};
    s.waiting = g->state == TM_GO_WAITING;
    if (s.waiting) s.state = tm_trace_text(t, g->reason);
    s.age_ns = t->duration_ns - g->since_ns;
    bool known = g->entry || g->creation; // else its pile is everybody's whose stacks were cut
    const tm_go_pile *pile = known ? find_pile(t, piles, g) : NULL;
    s.created_count = pile ? (int64_t)pile->created_count : 0;
    s.ended_count = pile ? (int64_t)pile->ended_count : 0;
    s.creation = tm_goroutine_creator(t, g->creation);
    TM_TRY(trace_frames(c, t, g->site));
    TM_TRY(add(c, &s, NULL));
  }
  return TM_OK;
}

static tm_status add_gone(census *c, const tm_trace *t) {
  c->frames.count = 0;
  for (size_t i = 0; c->options->gone && i < t->piles.count; i++) {
    const tm_go_pile *p = &t->piles.items[i];
    if (p->foreign || p->ended_count < p->created_count || !p->ended_count) continue;
    if (is_left_out(c, t, p->entry)) continue;
    seen s = {.state = "ended", .entry = tm_trace_text(t, p->entry)};
    s.created_count = (int64_t)p->created_count;
    s.ended_count = (int64_t)p->ended_count;
    s.creation = tm_goroutine_creator(t, p->creation);
    c->frames.count = 0;
    TM_TRY(add(c, &s, NULL));
  }
  return TM_OK;
}

static tm_status trace_notes(tm_ctx *ctx, const tm_trace *t, tm_table *out) {
  uint64_t foreign = 0, system = 0;
  for (size_t i = 0; i < t->goroutines.count; i++)
    system += tm_goroutine_is_system(tm_trace_text(t, t->goroutines.items[i].entry));
  for (size_t i = 0; i < t->piles.count; i++)
    if (t->piles.items[i].foreign) foreign += t->piles.items[i].created_count;
  TM_TRY(tm_table_note_int(ctx, out, "alive", (int64_t)t->goroutines.count));
  TM_TRY(tm_table_note_int(ctx, out, "created", (int64_t)t->created_count));
  TM_TRY(tm_table_note_int(ctx, out, "ended", (int64_t)t->ended_count));
  TM_TRY(tm_table_note_int(ctx, out, "foreign", (int64_t)foreign));
  TM_TRY(tm_table_note_int(ctx, out, "system", (int64_t)system));
  TM_TRY(tm_table_note_int(ctx, out, "duration_ns", t->duration_ns));
  return tm_table_note_text(ctx, out, "unit", "count");
}

static census census_of(tm_ctx *ctx, const tm_goroutines_options *options) {
  census c = {.ctx = ctx, .options = options};
  tm_strtab_init(&c.texts, &ctx->alloc, 0);
  tm_strtab_init(&c.keys, &ctx->alloc, 0);
  return c;
}

// Piles by (entry, creation) without the calls from C.
static tm_status index_piles(tm_ctx *ctx, const tm_trace *t, tm_idmap *out) {
  for (size_t i = 0; i < t->piles.count; i++) {
    const tm_go_pile *p = &t->piles.items[i];
    if (p->foreign) continue;
    TM_TRY(tm_idmap_put(ctx, out, ((uint64_t)p->entry << 32) | p->creation, (uint32_t)i));
  }
  return TM_OK;
}

tm_status tm_goroutines_of_trace(tm_ctx *ctx, const tm_trace *t,
                                 const tm_goroutines_options *options, tm_table *out) {
  census c = census_of(ctx, options);
  tm_idmap piles = {0};
  tm_status status = index_piles(ctx, t, &piles);
  if (status == TM_OK) status = add_alive(&c, t, &piles);
  if (status == TM_OK) status = add_gone(&c, t);
  if (status == TM_OK) status = write_rows(&c, out);
  if (status == TM_OK) status = trace_notes(ctx, t, out);
  tm_idmap_free(ctx, &piles);
  census_fini(&c);
  return status;
}

// ---- of a profile or dump ----

static tm_status profile_frames(census *c, const tm_profile *p, uint32_t sample) {
  c->frames.count = 0;
  for (uint32_t i = tm_profile_stack_begin(p, sample); i < p->stack_end.items[sample]; i++) {
    const tm_location *l = &p->locations.items[p->stack.items[i]];
    for (uint32_t k = l->line_begin; k < l->line_end; k++) {
      const tm_line *line = &p->lines.items[k];
      const tm_function *f = &p->functions.items[line->function];
      frame one = {tm_profile_text(p, f->name), tm_profile_text(p, f->file), line->line};
      TM_TRY(tm_vec_push(c->ctx, &c->frames, one));
    }
  }
  return TM_OK;
}

static const char *label_text(const tm_profile *p, uint32_t sample, const char *key) {
  for (uint32_t i = tm_profile_label_begin(p, sample); i < tm_profile_label_end(p, sample); i++) {
    const tm_label *l = &p->labels.items[i];
    if (!l->numeric && strcmp(tm_profile_text(p, l->key), key) == 0)
      return tm_profile_text(p, l->text);
  }
  return "";
}

static tm_status add_sample(census *c, const tm_profile *p, uint32_t i, uint32_t *made,
                            int64_t *alive) {
  size_t types = p->types.count;
  bool waits = types > 1 && strcmp(tm_profile_text(p, p->types.items[1].type), "wait") == 0;
  const int64_t *values = &p->values.items[i * types];
  seen s = {.count = types ? values[0] : 0,
            .state = label_text(p, i, "state"),
            .entry = "",
            .creation = label_text(p, i, "created_by"),
            .age_ns = waits ? values[1] : 0};
  *alive = (int64_t)((uint64_t)*alive + (uint64_t)s.count);
  TM_TRY(profile_frames(c, p, i));
  return add(c, &s, made);
}

static tm_status add_samples(census *c, const tm_profile *p, int64_t *alive) {
  const tm_goroutines_options *o = c->options;
  size_t count = o->samples ? o->sample_count : p->sample_count;
  for (size_t i = 0; i < count; i++)
    TM_TRY(add_sample(c, p, o->samples ? o->samples[i] : (uint32_t)i,
                      o->row_of ? &o->row_of[i] : NULL, alive));
  return TM_OK;
}

// From the rows' numbers before they were sorted to those of the table.
static tm_status sort_row_of(census *c, const tm_profile *p) {
  const tm_goroutines_options *o = c->options;
  size_t count = o->samples ? o->sample_count : p->sample_count;
  if (!o->row_of || !c->rows.count) return TM_OK;
  uint32_t *place = tm_alloc(c->ctx, c->rows.count * sizeof *place);
  if (!place) return TM_E_NOMEM;
  for (size_t i = 0; i < c->rows.count; i++) place[c->rows.items[i].made] = (uint32_t)i;
  for (size_t i = 0; i < count; i++) o->row_of[i] = place[o->row_of[i]];
  tm_free(c->ctx, place, c->rows.count * sizeof *place);
  return TM_OK;
}

tm_status tm_goroutines_of_profile(tm_ctx *ctx, const tm_profile *p,
                                   const tm_goroutines_options *options, tm_table *out) {
  census c = census_of(ctx, options);
  int64_t alive = 0;
  tm_status status = add_samples(&c, p, &alive);
  if (status == TM_OK) status = write_rows(&c, out);
  if (status == TM_OK) status = sort_row_of(&c, p);
  if (status == TM_OK) status = tm_table_note_int(ctx, out, "alive", alive);
  if (status == TM_OK) status = tm_table_note_text(ctx, out, "unit", "count");
  census_fini(&c);
  return status;
}
