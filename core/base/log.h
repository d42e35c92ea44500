// Lines for the host: the library never prints. A level, an area ("sampler"), a sentence.
#ifndef TM_BASE_LOG_H
#define TM_BASE_LOG_H

#include "base/attr.h"

typedef enum tm_log_level { TM_LOG_DEBUG, TM_LOG_INFO, TM_LOG_WARN, TM_LOG_ERROR } tm_log_level;

typedef struct tm_log {
  void (*fn)(void *ud, int level, const char *area, const char *text); // NULL = silent; any thread
  void *ud;
} tm_log;

void tm_log_line(const tm_log *log, tm_log_level level, const char *area, const char *fmt, ...)
    TM_PRINTF(4, 5);

#endif
