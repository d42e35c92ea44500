// Filters as passes over small tables: a regexp runs once per function and once per mapping, a
// location's verdict follows from its lines, and one pass over the stacks applies it. Order and
// corner cases are pprof's: ignore beats focus, hide and show take lines away, a sample that loses
// every frame goes. Cost: one pass over the stacks per filter that is set.
#include "analyze/focus.h"

#include "analyze/pprof_units.h"
#include "analyze/tag_filter.h"
#include "base/bytes.h"
#include "base/regex.h"

#include <string.h>

void tm_report_options_init(tm_report_options *o) {
  *o = (tm_report_options){.granularity = "functions",
                           .unit = "minimum",
                           .node_fraction = 0.005,
                           .edge_fraction = 0.001,
                           .divide_by = 1,
                           .node_count = -1,
                           .trim = true};
}

tm_status tm_view_intern(tm_ctx *ctx, tm_view *v, const char *text, size_t length,
                         uint32_t *out_id) {
  uint32_t id = tm_strtab_find(&v->profile->strings, text, length);
  if (id == UINT32_MAX) {
    TM_TRY(tm_strtab_intern(ctx, &v->extra, text, length, &id));
    id += v->profile->strings.count - 1; // extra's id 0 is the empty string, which the profile has
  }
  *out_id = id;
  return TM_OK;
}

// --- regexps over frames ---

// One regexp with its verdicts: 0 not asked, 1 no, 2 yes.
typedef struct frame_match {
  tm_regex *regex;
  tm_view *v;
  uint8_t *functions, *mappings;
  size_t function_count, mapping_count;
  bool simplify; // match the name without its parameters, and no file (drop_frames, prune_from)
  tm_regex *keep;
} frame_match;

static void match_fini(tm_ctx *ctx, frame_match *m) {
  tm_regex_free(m->regex);
  tm_regex_free(m->keep);
  tm_free(ctx, m->functions, m->function_count);
  tm_free(ctx, m->mappings, m->mapping_count);
  *m = (frame_match){0};
}

// A pattern that is not set leaves m->regex NULL.
static tm_status match_init(tm_ctx *ctx, tm_view *v, const char *pattern, const char *option,
                            frame_match *m) {
  *m = (frame_match){.v = v};
  if (!pattern || !*pattern) return TM_OK;
  m->function_count = v->functions.count + 1;
  m->mapping_count = v->profile->mappings.count + 1;
  m->functions = tm_calloc(ctx, 1, m->function_count);
  m->mappings = tm_calloc(ctx, 1, m->mapping_count);
  tm_status status = m->functions && m->mappings
                         ? tm_regex_new(ctx, pattern, strlen(pattern), &m->regex)
                         : TM_E_NOMEM;
  if (status == TM_OK) return TM_OK;
  match_fini(ctx, m);
  return tm_fail_in(ctx, "parsing %s regexp", option);
}

static bool matches_text(tm_regex *regex, const tm_view *v, uint32_t id) {
  const char *text = tm_view_text(v, id);
  return tm_regex_match(regex, text, strlen(text));
}

// The length of a name without its parameter list; some parentheses belong to names.
static size_t simple_length(const char *name) {
  static const char *const reserved[] = {"(anonymous namespace)", "operator()"};
  for (size_t i = 0; name[i]; i++) {
    bool skipped = false;
    for (size_t k = 0; k < TM_COUNT(reserved); k++) {
      size_t n = strlen(reserved[k]);
      if (strncmp(name + i, reserved[k], n) != 0) continue;
      i += n - 1;
      skipped = true;
      break;
    }
    if (!skipped && name[i] == '(') return i;
  }
  return strlen(name);
}

static bool matches_simple(frame_match *m, uint32_t name_id) {
  const char *name = tm_view_text(m->v, name_id);
  if (!*name) return false;
  if (*name == '.') name++;
  size_t length = simple_length(name);
  return tm_regex_match(m->regex, name, length)
         && !(m->keep && tm_regex_match(m->keep, name, length));
}

static bool matches_function(frame_match *m, uint32_t function) {
  uint8_t *verdict = &m->functions[function];
  if (!*verdict) {
    const tm_view_function *f = &m->v->functions.items[function];
    bool yes = m->simplify
                   ? matches_simple(m, f->name)
                   : matches_text(m->regex, m->v, f->name) || matches_text(m->regex, m->v, f->file);
    *verdict = yes ? 2 : 1;
  }
  return *verdict == 2;
}

// A profile without mappings has one of no name for pprof, which all its locations lie in.
static bool matches_no_mapping(const frame_match *m, const tm_location *loc) {
  const tm_profile *p = m->v->profile;
  bool of_file = (size_t)(loc - m->v->locations.items) < p->locations.count; // no label's frame
  return !p->mappings.count && of_file && tm_regex_match(m->regex, "", 0);
}

static bool matches_mapping(frame_match *m, const tm_location *loc) {
  if (loc->mapping == TM_PROFILE_NONE) return matches_no_mapping(m, loc);
  uint8_t *verdict = &m->mappings[loc->mapping];
  if (!*verdict)
    *verdict =
        matches_text(m->regex, m->v, m->v->profile->mappings.items[loc->mapping].file) ? 2 : 1;
  return *verdict == 2;
}

static bool matches_location(frame_match *m, const tm_location *loc) {
  for (uint32_t i = loc->line_begin; i < loc->line_end; i++)
    if (matches_function(m, m->v->lines.items[i].function)) return true;
  return matches_mapping(m, loc);
}

// Keeps the lines that match (or the others), in place.
static void keep_lines(frame_match *m, tm_location *loc, bool matching) {
  tm_line *lines = m->v->lines.items;
  uint32_t kept = loc->line_begin;
  for (uint32_t i = loc->line_begin; i < loc->line_end; i++)
    if (matches_function(m, lines[i].function) == matching) lines[kept++] = lines[i];
  loc->line_end = kept;
}

// --- the view ---

static tm_status copy_tables(tm_ctx *ctx, tm_view *v) {
  const tm_profile *p = v->profile;
  TM_TRY(tm_vec_reserve(ctx, &v->functions, p->functions.count + 1));
  TM_TRY(tm_vec_reserve(ctx, &v->lines, p->lines.count + 1));
  TM_TRY(tm_vec_reserve(ctx, &v->locations, p->locations.count + 1));
  for (size_t i = 0; i < p->functions.count; i++) {
    const tm_function *f = &p->functions.items[i];
    v->functions.items[i] = (tm_view_function){f->name, f->system_name, f->file, f->start_line};
  }
  v->functions.count = p->functions.count;
  if (p->lines.count)
    memcpy(v->lines.items, p->lines.items, p->lines.count * sizeof *v->lines.items);
  v->lines.count = p->lines.count;
  if (p->locations.count)
    memcpy(v->locations.items, p->locations.items, p->locations.count * sizeof *v->locations.items);
  v->locations.count = p->locations.count;
  return TM_OK;
}

static tm_status all_samples(tm_ctx *ctx, tm_view *v) {
  const tm_profile *p = v->profile;
  v->sample_room = p->sample_count + 1;
  v->samples = tm_alloc(ctx, v->sample_room * sizeof *v->samples);
  v->begin = tm_alloc(ctx, v->sample_room * sizeof *v->begin);
  v->end = tm_alloc(ctx, v->sample_room * sizeof *v->end);
  if (!v->samples || !v->begin || !v->end) return TM_E_NOMEM;
  for (uint32_t i = 0; i < p->sample_count; i++) {
    v->samples[i] = i;
    v->begin[i] = tm_profile_stack_begin(p, i);
    v->end[i] = p->stack_end.items[i];
  }
  v->sample_count = p->sample_count;
  v->stack = p->stack.items;
  return TM_OK;
}

// The unit of each numeric label key: the first that any sample names, else what the key implies.
static tm_status find_number_units(tm_ctx *ctx, tm_view *v) {
  const tm_profile *p = v->profile;
  uint32_t bytes_id;
  TM_TRY(tm_view_intern(ctx, v, "bytes", 5, &bytes_id));
  v->key_room = p->strings.count;
  v->number_units = tm_calloc(ctx, v->key_room, sizeof *v->number_units);
  if (!v->number_units) return TM_E_NOMEM;
  for (size_t i = 0; i < p->labels.count; i++) {
    const tm_label *l = &p->labels.items[i];
    if (l->numeric && l->unit && !v->number_units[l->key]) v->number_units[l->key] = l->unit;
  }
  for (size_t i = 0; i < p->labels.count; i++) {
    const tm_label *l = &p->labels.items[i];
    if (!l->numeric || v->number_units[l->key]) continue;
    const char *key = tm_view_text(v, l->key);
    bool size = strcmp(key, "alignment") == 0 || strcmp(key, "request") == 0;
    v->number_units[l->key] = size ? bytes_id : l->key;
  }
  return TM_OK;
}

// Where a location's frames are cut by a prune: `whole` = all of it goes.
static tm_status prune_uninteresting(tm_ctx *ctx, tm_view *v, frame_match *m) {
  size_t count = v->locations.count;
  uint8_t *beneath = tm_calloc(ctx, 1, count + 1); // 0 stays, 1 cut beneath it, 2 goes whole
  if (!beneath) return TM_E_NOMEM;
  for (size_t k = 0; k < count; k++) {
    tm_location *loc = &v->locations.items[k];
    uint32_t i = loc->line_end;
    while (i > loc->line_begin && !matches_function(m, v->lines.items[i - 1].function)) i--;
    if (i == loc->line_begin) continue;
    beneath[k] = i == loc->line_end ? 2 : 1;
    if (i != loc->line_end) loc->line_begin = i;
  }
  for (uint32_t s = 0; s < v->sample_count; s++) {
    bool found_user = false;
    for (uint32_t i = v->end[s]; i > v->begin[s]; i--) {
      uint8_t cut = beneath[v->stack[i - 1]];
      if (!cut) {
        found_user = true;
      } else if (found_user) {
        v->begin[s] = cut == 2 ? i : i - 1;
        break;
      }
    }
  }
  tm_free(ctx, beneath, count + 1);
  return TM_OK;
}

// "^(" rx ")$" compiled; the pattern of drop_frames and keep_frames.
static tm_status whole_regex(tm_ctx *ctx, const char *rx, tm_regex **out) {
  tm_bytes text = {0};
  tm_status status = tm_bytes_printf(ctx, &text, "^(%s)$", rx);
  if (status == TM_OK) status = tm_regex_new(ctx, (const char *)text.data, text.size, out);
  tm_bytes_free(ctx, &text);
  return status;
}

static tm_status drop_frames(tm_ctx *ctx, tm_view *v) {
  const char *drop = tm_profile_text(v->profile, v->profile->drop_frames);
  const char *keep = tm_profile_text(v->profile, v->profile->keep_frames);
  if (!*drop) return TM_OK;
  frame_match m;
  TM_TRY(match_init(ctx, v, ".", "drop_frames", &m));
  tm_regex_free(m.regex);
  m.regex = NULL;
  m.simplify = true;
  // a profile's own wrong regexp is no reason to refuse it: pprof goes on without it, too
  tm_status status = whole_regex(ctx, drop, &m.regex);
  if (status == TM_OK && *keep) status = whole_regex(ctx, keep, &m.keep);
  if (status == TM_OK)
    status = prune_uninteresting(ctx, v, &m);
  else if (status == TM_E_ARG)
    tm_ctx_clear(ctx), status = TM_OK;
  match_fini(ctx, &m);
  return status;
}

tm_status tm_view_init(tm_ctx *ctx, const tm_profile *p, const tm_report_options *o, tm_view *out) {
  *out = (tm_view){.profile = p, .alloc = ctx->alloc, .type_count = (uint32_t)p->types.count};
  tm_view *v = out;
  tm_strtab_init(&v->extra, &ctx->alloc, 0);
  uint32_t empty;
  TM_TRY(tm_strtab_intern(ctx, &v->extra, "", 0, &empty));
  TM_TRY(tm_profile_sample_index(ctx, p, o->sample_index, &v->value_index));
  v->mean = o->mean;
  TM_TRY(copy_tables(ctx, v));
  TM_TRY(all_samples(ctx, v));
  TM_TRY(find_number_units(ctx, v));
  return o->all_frames ? TM_OK : drop_frames(ctx, v);
}

void tm_view_fini(tm_view *v) {
  tm_ctx ctx = {.alloc = v->alloc};
  if (!v->profile) return;
  tm_strtab_fini(&v->extra);
  tm_vec_free(&ctx, &v->functions);
  tm_vec_free(&ctx, &v->lines);
  tm_vec_free(&ctx, &v->locations);
  tm_vec_free(&ctx, &v->own_stack);
  tm_vec_free(&ctx, &v->warnings);
  tm_free(&ctx, v->hidden, v->hidden_room);
  tm_free(&ctx, v->samples, v->sample_room * sizeof *v->samples);
  tm_free(&ctx, v->begin, v->sample_room * sizeof *v->begin);
  tm_free(&ctx, v->end, v->sample_room * sizeof *v->end);
  tm_free(&ctx, v->hidden_keys, v->key_room);
  tm_free(&ctx, v->number_units, v->key_room * sizeof *v->number_units);
  *v = (tm_view){0};
}

int64_t tm_view_total(const tm_view *v) {
  const tm_profile *p = v->profile;
  uint32_t base = tm_strtab_find(&p->strings, "pprof::base", 11);
  if (base != UINT32_MAX && v->hidden_keys && v->hidden_keys[base]) base = UINT32_MAX;
  uint32_t yes = tm_strtab_find(&p->strings, "true", 4);
  uint64_t total = 0, base_total = 0;
  int64_t divisor = 0, base_divisor = 0;
  for (uint32_t s = 0; s < v->sample_count; s++) {
    uint32_t sample = v->samples[s];
    int64_t value = tm_view_value(v, sample), d = tm_view_divisor(v, sample);
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    total += size;
    divisor += d;
    uint32_t end = base == UINT32_MAX ? 0 : tm_profile_label_end(p, sample);
    for (uint32_t i = end ? tm_profile_label_begin(p, sample) : 0; i < end; i++) {
      const tm_label *l = &p->labels.items[i];
      if (l->key != base || l->numeric || l->text != yes) continue;
      base_total += size;
      base_divisor += d;
      break;
    }
  }
  if ((int64_t)base_total > 0) {
    total = base_total;
    divisor = base_divisor;
  }
  return divisor ? (int64_t)total / divisor : (int64_t)total;
}

// --- filters ---

static tm_status warn(tm_ctx *ctx, tm_view *v, bool matched, const char *option) {
  if (matched) return TM_OK;
  char text[64];
  uint32_t id;
  size_t n = strlen(option);
  memcpy(text, option, n);
  memcpy(text + n, " expression matched no samples", 31);
  TM_TRY(tm_view_intern(ctx, v, text, n + 30, &id));
  return tm_vec_push(ctx, &v->warnings, id);
}

static tm_status need_hidden(tm_ctx *ctx, tm_view *v) {
  if (v->hidden) return TM_OK;
  v->hidden_room = v->locations.count + 1;
  v->hidden = tm_calloc(ctx, 1, v->hidden_room);
  return v->hidden ? TM_OK : TM_E_NOMEM;
}

// Whether a sample stays: some frame in focus (2), none ignored (1).
static bool in_focus(const tm_view *v, uint32_t s, const uint8_t *verdict) {
  bool focused = false;
  for (uint32_t i = v->begin[s]; i < v->end[s]; i++) {
    uint8_t verdict_here = verdict[v->stack[i]];
    if (verdict_here == 1) return false;
    if (verdict_here == 2) focused = true;
  }
  return focused;
}

static bool any_visible(const tm_view *v, uint32_t s) {
  for (uint32_t i = v->begin[s]; i < v->end[s]; i++)
    if (!v->hidden[v->stack[i]]) return true;
  return false;
}

static void keep_sample(tm_view *v, uint32_t *kept, uint32_t s) {
  v->samples[*kept] = v->samples[s];
  v->begin[*kept] = v->begin[s];
  v->end[*kept] = v->end[s];
  (*kept)++;
}

typedef struct name_filters {
  frame_match focus, ignore, hide, show;
  bool focused, ignored, hid, showed; // whether each ever matched
} name_filters;

static void judge_location(name_filters *f, tm_view *v, uint32_t k, uint8_t *verdict) {
  tm_location *loc = &v->locations.items[k];
  if (f->ignore.regex && matches_location(&f->ignore, loc)) {
    f->ignored = true;
    verdict[k] = 1;
  } else if (!f->focus.regex || matches_location(&f->focus, loc)) {
    f->focused = true;
    verdict[k] = 2;
  }
  if (f->hide.regex && matches_location(&f->hide, loc)) {
    f->hid = true;
    if (matches_mapping(&f->hide, loc)) loc->line_end = loc->line_begin;
    keep_lines(&f->hide, loc, false);
    if (loc->line_begin == loc->line_end) v->hidden[k] = 1;
  }
  if (f->show.regex) {
    if (!matches_mapping(&f->show, loc)) keep_lines(&f->show, loc, true);
    if (loc->line_begin == loc->line_end)
      v->hidden[k] = 1;
    else
      f->showed = true;
  }
}

static tm_status apply_names(tm_ctx *ctx, tm_view *v, name_filters *f) {
  TM_TRY(need_hidden(ctx, v));
  size_t count = v->locations.count + 1;
  uint8_t *verdict = tm_calloc(ctx, 1, count);
  if (!verdict) return TM_E_NOMEM;
  bool any_hidden = false;
  for (uint32_t k = 0; k < v->locations.count; k++) {
    judge_location(f, v, k, verdict);
    any_hidden |= v->hidden[k];
  }
  uint32_t kept = 0;
  for (uint32_t s = 0; s < v->sample_count; s++)
    if (in_focus(v, s, verdict) && (!any_hidden || any_visible(v, s))) keep_sample(v, &kept, s);
  v->sample_count = kept;
  tm_free(ctx, verdict, count);
  TM_TRY(warn(ctx, v, !f->focus.regex || f->focused, "Focus"));
  TM_TRY(warn(ctx, v, !f->ignore.regex || f->ignored, "Ignore"));
  TM_TRY(warn(ctx, v, !f->hide.regex || f->hid, "Hide"));
  return warn(ctx, v, !f->show.regex || f->showed, "Show");
}

static tm_status filter_names(tm_ctx *ctx, tm_view *v, const tm_report_options *o) {
  name_filters f = {0};
  tm_status status = match_init(ctx, v, o->focus, "focus", &f.focus);
  if (status == TM_OK) status = match_init(ctx, v, o->ignore, "ignore", &f.ignore);
  if (status == TM_OK) status = match_init(ctx, v, o->hide, "hide", &f.hide);
  if (status == TM_OK) status = match_init(ctx, v, o->show, "show", &f.show);
  bool any = f.focus.regex || f.ignore.regex || f.hide.regex || f.show.regex;
  if (status == TM_OK && any) status = apply_names(ctx, v, &f);
  match_fini(ctx, &f.focus);
  match_fini(ctx, &f.ignore);
  match_fini(ctx, &f.hide);
  match_fini(ctx, &f.show);
  return status;
}

// Cuts what is rootwards of the outermost match; samples without one go.
static tm_status show_from(tm_ctx *ctx, tm_view *v, frame_match *m) {
  size_t count = v->locations.count + 1;
  uint8_t *matched = tm_calloc(ctx, 1, count);
  if (!matched) return TM_E_NOMEM;
  bool any = false;
  for (size_t k = 0; k < v->locations.count; k++) {
    tm_location *loc = &v->locations.items[k];
    if (matches_mapping(m, loc)) {
      matched[k] = 1;
    } else {
      uint32_t i = loc->line_end;
      while (i > loc->line_begin && !matches_function(m, v->lines.items[i - 1].function)) i--;
      if (i == loc->line_begin) continue;
      matched[k] = 1;
      loc->line_end = i;
    }
    any = true;
  }
  uint32_t kept = 0;
  for (uint32_t s = 0; s < v->sample_count; s++) {
    uint32_t i = v->end[s];
    while (i > v->begin[s] && (!matched[v->stack[i - 1]] || tm_view_is_hidden(v, v->stack[i - 1])))
      i--;
    if (i == v->begin[s]) continue;
    v->end[s] = i;
    keep_sample(v, &kept, s);
  }
  v->sample_count = kept;
  tm_free(ctx, matched, count);
  return warn(ctx, v, any, "ShowFrom");
}

// Cuts what is leafwards of the innermost match.
static tm_status prune_from(tm_ctx *ctx, tm_view *v, frame_match *m) {
  size_t count = v->locations.count + 1;
  uint8_t *matched = tm_calloc(ctx, 1, count);
  if (!matched) return TM_E_NOMEM;
  m->simplify = true;
  for (size_t k = 0; k < v->locations.count; k++) {
    tm_location *loc = &v->locations.items[k];
    for (uint32_t i = loc->line_begin; i < loc->line_end; i++) {
      if (!matches_function(m, v->lines.items[i].function)) continue;
      matched[k] = 1;
      loc->line_begin = i;
      break;
    }
  }
  for (uint32_t s = 0; s < v->sample_count; s++)
    for (uint32_t i = v->begin[s]; i < v->end[s]; i++) {
      if (!matched[v->stack[i]] || tm_view_is_hidden(v, v->stack[i])) continue;
      v->begin[s] = i;
      break;
    }
  tm_free(ctx, matched, count);
  return TM_OK;
}

static tm_status filter_frames(tm_ctx *ctx, tm_view *v, const char *pattern, const char *option,
                               tm_status (*apply)(tm_ctx *, tm_view *, frame_match *)) {
  frame_match m;
  TM_TRY(match_init(ctx, v, pattern, option, &m));
  tm_status status = m.regex ? apply(ctx, v, &m) : TM_OK;
  match_fini(ctx, &m);
  return status;
}

static tm_status filter_tags(tm_ctx *ctx, tm_view *v, const tm_report_options *o) {
  tm_tag_filter *focus = NULL, *ignore = NULL;
  bool focused = false, ignored = false;
  tm_status status = tm_tag_filter_new(ctx, v, o->tag_focus, "tagfocus", &focus);
  if (status == TM_OK) status = tm_tag_filter_new(ctx, v, o->tag_ignore, "tagignore", &ignore);
  uint32_t kept = 0;
  for (uint32_t s = 0; status == TM_OK && (focus || ignore) && s < v->sample_count; s++) {
    bool in = true, out = false;
    if (focus) status = tm_tag_filter_match(ctx, focus, v->samples[s], &in);
    if (ignore && status == TM_OK) status = tm_tag_filter_match(ctx, ignore, v->samples[s], &out);
    focused |= in;
    ignored |= out;
    if (in && !out) keep_sample(v, &kept, s);
  }
  if (status == TM_OK && (focus || ignore)) v->sample_count = kept;
  if (status == TM_OK) status = warn(ctx, v, !focus || focused, "TagFocus");
  if (status == TM_OK) status = warn(ctx, v, !ignore || ignored, "TagIgnore");
  tm_tag_filter_free(ctx, focus);
  tm_tag_filter_free(ctx, ignore);
  return status;
}

static tm_status hide_keys(tm_ctx *ctx, tm_view *v, const tm_report_options *o) {
  frame_match show, hide;
  TM_TRY(match_init(ctx, v, o->tag_show, "tagshow", &show));
  tm_status status = match_init(ctx, v, o->tag_hide, "taghide", &hide);
  if (status == TM_OK && (show.regex || hide.regex)) {
    v->hidden_keys = tm_calloc(ctx, 1, v->key_room);
    if (!v->hidden_keys) status = TM_E_NOMEM;
    for (size_t i = 0; v->hidden_keys && i < v->profile->labels.count; i++) {
      uint32_t key = v->profile->labels.items[i].key;
      if (v->hidden_keys[key]) continue;
      bool shown = (!show.regex || matches_text(show.regex, v, key))
                   && !(hide.regex && matches_text(hide.regex, v, key));
      v->hidden_keys[key] = !shown;
    }
  }
  match_fini(ctx, &show);
  match_fini(ctx, &hide);
  return status;
}

tm_status tm_view_filter(tm_ctx *ctx, tm_view *v, const tm_report_options *o) {
  TM_TRY(filter_names(ctx, v, o));
  TM_TRY(filter_frames(ctx, v, o->show_from, "show_from", show_from));
  TM_TRY(filter_tags(ctx, v, o));
  TM_TRY(hide_keys(ctx, v, o));
  return filter_frames(ctx, v, o->prune_from, "prune_from", prune_from);
}
