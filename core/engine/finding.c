// Words of the levels; rules may use the words of memory pressure too.
#include "engine/finding.h"

#include <string.h>

static const struct {
  const char *word;
  tm_level level;
} words[] = {{"none", TM_LEVEL_NONE},    {"info", TM_LEVEL_INFO},         {"warn", TM_LEVEL_WARN},
             {"high", TM_LEVEL_HIGH},    {"critical", TM_LEVEL_CRITICAL}, {"fail", TM_LEVEL_FAIL},
             {"warning", TM_LEVEL_WARN}, {"severe", TM_LEVEL_HIGH}};

const char *tm_level_name(tm_level level) {
  return (size_t)level <= TM_LEVEL_FAIL ? words[level].word : "none";
}

tm_level tm_level_by_name(const char *name) {
  for (size_t i = 0; i < TM_COUNT(words); i++)
    if (strcmp(name, words[i].word) == 0) return words[i].level;
  return TM_LEVEL_NONE;
}
