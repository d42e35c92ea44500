// Names are shortened by hand-written matchers of pprof's patterns: each looks for the longest
// prefix of path-like parts after which the rest still is a name. Cost: linear in the name, but for
// C++ and Go prefixes times their parts.
#include "analyze/callgraph_text.h"

#include "analyze/pprof_units.h"

#include <math.h>
#include <string.h>

static bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
static bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}
static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static const char *skip_words(const char *s) {
  while (is_word(*s)) s++;
  return s;
}

// "a.b/c-d/pkg.Name": what follows the folders, up to the end of the line.
static const char *go_name(const char *name, size_t *length) {
  const char *best = NULL, *s = name;
  for (;;) {
    const char *part = s;
    while (is_word(*s) || *s == '-' || *s == '.') s++;
    if (s == part || *s != '/') break;
    s++;
    const char *point = strchr(s, '.');
    if (point && point > s && point[1] && point[1] != '\n') {
      best = s;
      *length = (size_t)(point + 1 - s) + strcspn(point + 1, "\n");
    }
  }
  return best;
}

// "com.acme.Type.method(…)": Type.method.
static const char *java_name(const char *name, size_t *length) {
  const char *s = name;
  for (;;) {
    const char *end = is_lower(*s) ? skip_words(s) : s;
    if (end == s || *end != '.') break;
    s = end + 1;
  }
  const char *type = s;
  if (!is_upper(*s)) return NULL;
  while (is_word(*s) || *s == '$') s++;
  if (*s++ != '.') return NULL;
  if (strncmp(s, "<init>", 6) == 0) {
    s += 6;
  } else {
    if (!is_lower(*s)) return NULL;
    while (is_word(*s) || *s == '$') s++;
  }
  if (*s && *s != '(') return NULL;
  *length = (size_t)(s - type);
  return type;
}

// "Type::method<…>" at s.
static const char *cpp_member_end(const char *s) {
  while (*s == '_') s++;
  if (!is_upper(*s)) return NULL;
  s = skip_words(s);
  if (s[0] != ':' || s[1] != ':') return NULL;
  s += 2;
  if (*s == '~') s++;
  if (!is_word(*s) || is_digit(*s)) return NULL;
  s = skip_words(s);
  if (*s != '<') return s;
  size_t line = strcspn(s, "\n");
  while (line && s[line - 1] != '>') line--;
  return line ? s + line : s;
}

// "ns::ns::Type::method": Type::method.
static const char *cpp_name(const char *name, size_t *length) {
  const char *best = NULL, *s = name;
  for (;;) {
    const char *end = is_digit(*s) ? s : skip_words(s);
    if (end == s || end[0] != ':' || end[1] != ':') return best;
    s = end + 2;
    end = cpp_member_end(s);
    if (!end) continue;
    best = s;
    *length = (size_t)(end - s);
  }
}

// The first "/vN" with N >= 2 that is a whole path part: [begin, end), or NULL.
static const char *version_part(const char *name, const char **end) {
  if (strchr(name, '\n')) return NULL;
  for (const char *s = strstr(name, "/v"); s; s = strstr(s + 1, "/v")) {
    const char *digits = s + 2, *d = digits;
    while (is_digit(*d)) d++;
    bool two = d - digits >= 2 && *digits != '0', one = d - digits == 1 && *digits >= '2';
    if ((two || one) && (*d == '.' || *d == '/')) return *end = d, s;
  }
  return NULL;
}

const char *callgraph_short_name(const char *name, char *buf, size_t *out_length) {
  static const char anonymous[] = "(anonymous namespace)::";
  if (strncmp(name, anonymous, sizeof anonymous - 1) == 0) name += sizeof anonymous - 1;
  const char *end, *version = version_part(name, &end);
  if (version) {
    memcpy(buf, name, (size_t)(version - name));
    memcpy(buf + (version - name), end, strlen(end) + 1);
    name = buf;
  }
  *out_length = strlen(name);
  const char *shorter = go_name(name, out_length);
  if (!shorter) shorter = java_name(name, out_length);
  if (!shorter) shorter = cpp_name(name, out_length);
  return shorter ? shorter : name;
}

// --- colours and sizes ---

double callgraph_score(int64_t value, int64_t total) {
  return (double)value / fabs((double)total);
}

static unsigned channel(double x) {
  return x != x ? 0 : (unsigned)(x * 255) & 0xff;
}

void callgraph_color(char out[8], double score, bool light) {
  double saturation = light ? 0.1 : 1.0, value = light ? 0.93 : 0.7;
  if (score > 1) score = 1;
  if (score < -1) score = -1;
  if (fabs(score) < 0.2) saturation *= fabs(score) / 0.2;
  if (score > 0) score = pow(score, 1.0 - 0.7);
  if (score < 0) score = -pow(-score, 1.0 - 0.7);
  double red = value, green = value, blue = value * (1 - saturation);
  if (score < 0)
    red = value * (1 + saturation * score);
  else
    green = value * (1 - saturation * score);
  static const char hex[] = "0123456789abcdef";
  unsigned channels[] = {channel(red), channel(green), channel(blue)};
  out[0] = '#';
  for (int i = 0; i < 3; i++) {
    out[1 + 2 * i] = hex[channels[i] >> 4];
    out[2 + 2 * i] = hex[channels[i] & 15];
  }
  out[7] = '\0';
}

int callgraph_font_size(int64_t flat, uint64_t max_flat) {
  double size = fabs((double)flat);
  if (!max_flat || !flat || size > (double)max_flat) return 8;
  return 8 + (int)ceil(16 * sqrt(size / (double)max_flat));
}

const char *callgraph_percent(char *buf, size_t size, int64_t value, int64_t total) {
  tm_pprof_percent(buf, size, value, total);
  return buf + strspn(buf, " ");
}
