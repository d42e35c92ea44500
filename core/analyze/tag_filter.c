// A filter is either a range of numbers or a list of regexps. Verdicts of regexps are kept per
// (key, value), so that a million samples with a hundred distinct labels cost a hundred matches.
#include "analyze/tag_filter.h"

#include "analyze/pprof_units.h"
#include "base/bytes.h"
#include "base/idmap.h"
#include "base/regex.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REGEXPS 64

struct tm_tag_filter {
  const tm_view *v;
  uint32_t key; // string id, UINT32_MAX = that key occurs nowhere
  bool has_key;
  bool is_range, has_low, has_high;
  double low, high;
  char unit[32];
  tm_regex *regexps[MAX_REGEXPS];
  tm_idmap verdicts[MAX_REGEXPS]; // key << 32 | value -> 1 or 0
  size_t regexp_count;
};

// "[+-]digits[letters]"; moves *s behind it.
static bool parse_number(const char **s, int64_t *out, char *unit, size_t size, bool *overflow) {
  const char *p = *s, *digits = p;
  if (*p == '+' || *p == '-') digits++;
  if (*digits < '0' || *digits > '9') return false;
  char *end;
  errno = 0;
  *out = strtoll(p, &end, 10);
  *overflow = errno == ERANGE;
  size_t n = 0;
  while (((end[n] | 32) >= 'a' && (end[n] | 32) <= 'z')) n++;
  if (n >= size) return false;
  memcpy(unit, end, n);
  unit[n] = '\0';
  *s = end + n;
  return true;
}

// Whether text is a range; then the filter holds it.
static tm_status parse_range(tm_ctx *ctx, tm_tag_filter *f, const char *text, const char *option,
                             bool *is_range) {
  const char *s = text;
  int64_t n = 0;
  char unit[32];
  bool overflow = false, up_to = *s == ':';
  if (up_to) s++;
  *is_range = false;
  if (!parse_number(&s, &n, unit, sizeof unit, &overflow)) return TM_OK;
  tm_scaled first = tm_pprof_scale(n, unit, unit);
  snprintf(f->unit, sizeof f->unit, "%s", first.unit);
  f->low = f->high = first.value;
  f->has_low = !up_to;
  f->has_high = up_to || *s == '\0';
  if (*s == ':' && !up_to) {
    s++;
    if (*s) {
      if (!parse_number(&s, &n, unit, sizeof unit, &overflow)) return TM_OK;
      tm_scaled second = tm_pprof_scale(n, unit, f->unit);
      if (strcmp(second.unit, f->unit) != 0) return TM_OK;
      f->high = second.value;
      f->has_high = true;
    }
  }
  if (*s) return TM_OK;
  if (overflow)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "%s: a number of \"%s\" is too large", option,
                   text);
  *is_range = f->is_range = true;
  return TM_OK;
}

static tm_status parse_regexps(tm_ctx *ctx, tm_tag_filter *f, const char *text) {
  for (;;) {
    size_t n = strcspn(text, ",");
    if (f->regexp_count == MAX_REGEXPS)
      return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "over %d regexps in one filter", MAX_REGEXPS);
    TM_TRY(tm_regex_new(ctx, text, n, &f->regexps[f->regexp_count]));
    f->regexp_count++;
    if (!text[n]) return TM_OK;
    text += n + 1;
  }
}

tm_status tm_tag_filter_new(tm_ctx *ctx, const tm_view *v, const char *text, const char *option,
                            tm_tag_filter **out) {
  if (!text || !*text) return TM_OK;
  tm_tag_filter *f = tm_calloc(ctx, 1, sizeof *f);
  if (!f) return TM_E_NOMEM;
  f->v = v;
  const char *equals = strchr(text, '=');
  if (equals) {
    f->has_key = equals != text;
    f->key = tm_strtab_find(&v->profile->strings, text, (size_t)(equals - text));
    text = equals + 1;
  }
  bool is_range = false;
  tm_status status = parse_range(ctx, f, text, option, &is_range);
  if (status == TM_OK && !is_range) status = parse_regexps(ctx, f, text);
  if (status != TM_OK) {
    tm_tag_filter_free(ctx, f);
    return tm_fail_in(ctx, "parsing %s regexp", option);
  }
  *out = f;
  return TM_OK;
}

void tm_tag_filter_free(tm_ctx *ctx, tm_tag_filter *f) {
  if (!f) return;
  for (size_t i = 0; i < f->regexp_count; i++) {
    tm_regex_free(f->regexps[i]);
    tm_idmap_free(ctx, &f->verdicts[i]);
  }
  tm_free(ctx, f, sizeof *f);
}

static bool in_range(const tm_tag_filter *f, const tm_label *l) {
  const char *unit = tm_view_text(f->v, f->v->number_units[l->key]);
  tm_scaled s = tm_pprof_scale(l->number, unit, f->unit);
  return strcmp(s.unit, f->unit) == 0 && (!f->has_low || s.value >= f->low)
         && (!f->has_high || s.value <= f->high);
}

static tm_status text_matches(tm_ctx *ctx, tm_tag_filter *f, size_t regexp, const tm_label *l,
                              bool *out) {
  uint64_t id = (uint64_t)l->key << 32 | l->text;
  uint32_t known = tm_idmap_get(&f->verdicts[regexp], id);
  if (known == TM_IDMAP_NONE) {
    tm_bytes text = {0};
    tm_status status =
        tm_bytes_printf(ctx, &text, "%s%s%s", f->has_key ? "" : tm_view_text(f->v, l->key),
                        f->has_key ? "" : ":", tm_view_text(f->v, l->text));
    if (status == TM_OK)
      known = tm_regex_match(f->regexps[regexp], (const char *)text.data, text.size);
    tm_bytes_free(ctx, &text);
    if (status != TM_OK) return status;
    TM_TRY(tm_idmap_put(ctx, &f->verdicts[regexp], id, known));
  }
  *out = known != 0;
  return TM_OK;
}

// Without a key every regexp must match some label; with one, any regexp one of its values.
tm_status tm_tag_filter_match(tm_ctx *ctx, tm_tag_filter *f, uint32_t sample, bool *out) {
  const tm_profile *p = f->v->profile;
  uint32_t begin = tm_profile_label_begin(p, sample), end = tm_profile_label_end(p, sample);
  size_t matched = 0;
  *out = false;
  if (f->is_range) {
    for (uint32_t i = begin; i < end && !*out; i++) {
      const tm_label *l = &p->labels.items[i];
      *out = l->numeric && (!f->has_key || l->key == f->key) && in_range(f, l);
    }
    return TM_OK;
  }
  for (size_t r = 0; r < f->regexp_count; r++) {
    bool found = false;
    for (uint32_t i = begin; i < end && !found; i++) {
      const tm_label *l = &p->labels.items[i];
      if (l->numeric || (f->has_key && l->key != f->key)) continue;
      TM_TRY(text_matches(ctx, f, r, l, &found));
    }
    matched += found;
  }
  *out = f->has_key ? matched > 0 : matched == f->regexp_count;
  return TM_OK;
}

tm_status tm_label_frame_text(tm_ctx *ctx, const tm_view *v, uint32_t sample, uint32_t key,
                              const char *unit, char *buf, size_t size, bool *found) {
  const tm_profile *p = v->profile;
  uint32_t begin = tm_profile_label_begin(p, sample), end = tm_profile_label_end(p, sample);
  size_t at = 0;
  bool has_units = false;
  buf[0] = '\0';
  *found = false;
  for (uint32_t i = begin; i < end; i++)
    has_units |=
        p->labels.items[i].key == key && p->labels.items[i].numeric && p->labels.items[i].unit;
  for (int numeric = 0; numeric < 2; numeric++)
    for (uint32_t i = begin; i < end; i++) {
      const tm_label *l = &p->labels.items[i];
      if (l->key != key || l->numeric != numeric) continue;
      char number[400];
      const char *text = number;
      if (numeric)
        tm_pprof_label(number, sizeof number, l->number, has_units ? tm_view_text(v, l->unit) : "",
                       has_units ? unit : "");
      else
        text = tm_view_text(v, l->text);
      int n = snprintf(buf + at, size - at, "%s%s", *found ? "," : "", text);
      *found = true;
      if (n < 0 || (size_t)n >= size - at)
        return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "labels of one key over %zu bytes", size);
      at += (size_t)n;
    }
  return TM_OK;
}
