// floors: base
// What people write: the first line as a regular expression, a glob, a size, a duration and a
// ratio; the second is the text that is looked at.
#include "base/glob.h"
#include "base/regex.h"
#include "base/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 256 };

// A group of its own, and the quotation of the text, change nothing.
static void check_regex(tm_ctx *ctx, const char *pattern, const char *text) {
  tm_regex *regex = NULL, *other = NULL;
  char wrapped[TEXT_MAX + 8];
  tm_status status = tm_regex_new(ctx, pattern, strlen(pattern), &regex);
  if (status != TM_OK && !ctx->error.message[0]) abort();
  if (status == TM_OK) {
    bool found = tm_regex_match(regex, text, strlen(text));
    snprintf(wrapped, sizeof wrapped, "(?:%s)", pattern);
    if (!strstr(pattern, "\\Q") && tm_regex_new(ctx, wrapped, strlen(wrapped), &other) == TM_OK
        && tm_regex_match(other, text, strlen(text)) != found)
      abort();
    tm_regex_free(other);
    tm_regex_free(regex);
  }
  tm_ctx_clear(ctx);
  snprintf(wrapped, sizeof wrapped, "\\Q%s\\E", text);
  if (strstr(text, "\\E") || !*text || text[strlen(text) - 1] == '\\') return;
  if (tm_regex_new(ctx, wrapped, strlen(wrapped), &regex) == TM_OK) {
    if (!tm_regex_match(regex, text, strlen(text))) abort();
    tm_regex_free(regex);
  }
  tm_ctx_clear(ctx);
}

static void check_glob(const char *pattern, const char *text) {
  bool at[TEXT_MAX + 1] = {true}; // the pattern so far fits that much of the text
  size_t size = strlen(text);
  for (const char *p = pattern; *p; p++) {
    bool before = at[0];
    at[0] = at[0] && *p == '*';
    for (size_t i = 1; i <= size; i++) {
      bool now = *p == '*' ? at[i - 1] || at[i] : before && (*p == '?' || *p == text[i - 1]);
      before = at[i];
      at[i] = now;
    }
  }
  if (tm_glob(pattern, text) != at[size]) abort();
}

static void check_units(tm_ctx *ctx, const char *text) {
  uint64_t bytes = 0, ns = 0;
  double values[3] = {0};
  char out[48];
  if (tm_parse_bytes(ctx, text, &bytes) == TM_OK && bytes > INT64_MAX) abort();
  tm_ctx_clear(ctx);
  if (tm_parse_duration(ctx, text, &ns) == TM_OK && ns > INT64_MAX) abort();
  tm_ctx_clear(ctx);
  if (tm_parse_ratio(ctx, text, &values[0]) != TM_OK) values[0] = 0;
  tm_ctx_clear(ctx);
  values[1] = (double)bytes;
  memcpy(&values[2], text, strlen(text) < sizeof values[2] ? strlen(text) : sizeof values[2]);
  for (int unit = TM_UNIT_NONE; unit <= TM_UNIT_TIME; unit++)
    for (size_t i = 0; i < TM_COUNT(values); i++) {
      tm_format_value(out, sizeof out, (tm_unit)unit, values[i]);
      if (!memchr(out, 0, sizeof out)) abort();
      tm_format_value(out, 4, (tm_unit)unit, values[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char pattern[TEXT_MAX] = "", text[TEXT_MAX] = "";
  const uint8_t *line = size ? memchr(data, '\n', size) : NULL;
  size_t first = line ? (size_t)(line - data) : size, second = line ? size - first - 1 : 0;
  tm_ctx ctx;
  if (first >= sizeof pattern || second >= sizeof text) return 0;
  if (first) memcpy(pattern, data, first);
  if (second) memcpy(text, line + 1, second);
  tm_ctx_init(&ctx, NULL);
  check_regex(&ctx, pattern, text);
  check_glob(pattern, text);
  check_units(&ctx, pattern);
  tm_ctx_fini(&ctx);
  return 0;
}
