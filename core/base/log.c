// Formats one line into a stack buffer and hands it to the host's callback.
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void tm_log_line(const tm_log *log, tm_log_level level, const char *area, const char *fmt, ...) {
  if (!log || !log->fn) return;
  char text[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  log->fn(log->ud, level, area, text);
}
