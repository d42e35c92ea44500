// The index page of net/http/pprof: a table with a row per profile, its count before its name. The
// count of goroutines is how many there are, without stopping the app as a profile of them would.
// Source: net/http/pprof (indexTmplExecute): <td>COUNT</td><td><a href='NAME?debug=1'>NAME</a>.
#include "read/counters.h"

#include <string.h>

enum { NAME_MAX_BYTES = 120, ROW_MAX_BYTES = 1024 };

// Behind the next `mark` that stands before `limit`; NULL when there is none.
static const char *behind(const char *at, const char *limit, const char *mark) {
  size_t size = strlen(mark);
  const char *p = memmem(at, (size_t)(limit - at), mark, size);
  return p ? p + size : NULL;
}

// A row that begins at "<td>"; false when it is another.
static bool read_row(const char *at, const char *end, tm_counter *out) {
  double value = 0;
  const char *digits = at;
  if (end - at > ROW_MAX_BYTES) end = at + ROW_MAX_BYTES;
  for (; at < end && *at >= '0' && *at <= '9' && at - digits < 15; at++)
    value = value * 10 + (*at - '0');
  if (at == digits || end - at < 5 || memcmp(at, "</td>", 5) != 0) return false;
  const char *link = behind(at, end, "<a href=");
  const char *name = link ? behind(link, end, ">") : NULL;
  const char *close = name ? memchr(name, '<', (size_t)(end - name)) : NULL;
  const char *next = memmem(at, (size_t)(end - at), "</tr>", 5);
  if (!close || close == name || close - name > NAME_MAX_BYTES || (next && next < close))
    return false;
  *out = (tm_counter){.name = name,
                      .name_size = (size_t)(close - name),
                      .labels = "",
                      .unit = TM_UNIT_COUNT,
                      .value = value};
  return true;
}

tm_status tm_read_pprof_index(tm_ctx *ctx, const void *data, size_t size, tm_counter_fn fn,
                              void *ud) {
  const char *at = data, *end = at + size;
  size_t found = 0;
  while (size && (at = behind(at, end, "<td>"))) {
    tm_counter counter;
    if (!read_row(at, end, &counter)) continue;
    fn(ud, &counter);
    found++;
  }
  if (found) return TM_OK;
  return tm_fail(ctx, TM_E_FORMAT, 0, "not the index page of net/http/pprof: no row of a profile");
}
