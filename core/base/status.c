// Words and advice of the status codes, from the one list.
#include "base/status.h"

const char *tm_status_name(tm_status status) {
  switch (status) {
#define TM_STATUS(constant, number, word, advice)                                                  \
  case constant:                                                                                   \
    return word;
#include "base/status.def"
#undef TM_STATUS
  }
  return "unknown";
}

const char *tm_status_advice(tm_status status) {
  switch (status) {
#define TM_STATUS(constant, number, word, advice)                                                  \
  case constant:                                                                                   \
    return advice;
#include "base/status.def"
#undef TM_STATUS
  }
  return "";
}
