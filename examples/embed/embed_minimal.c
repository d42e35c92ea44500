/* Watches this very process for a few seconds and prints what the rules find.
 *
 *   cc embed_minimal.c $(pkg-config --cflags --libs tidemark) && ./a.out */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidemark.h>

static const char rule[] =
    "tm.rule { id = 'growth', doc = 'memory grew by 30 MB', every = '200ms', hold = '0s',\n"
    "  inputs = { rss = tm.ring('proc.rss', { every = '200ms', keep = 100 }) },\n"
    "  check = function(c)\n"
    "    local grown = c.rss:delta { span = '10s' }\n"
    "    if grown > tm.bytes '30MB' then\n"
    "      return c:finding { level = 'warn', value = grown, unit = 'bytes', text = 'it grows' }\n"
    "    end\n"
    "  end }\n";

static void on_event(void *ud, const tm_notice *n) {
  if (n->type == TM_ON_FINDING && n->tell) {
    printf("%s %s: %s (%.0f MB)\n", n->word, n->rule, n->text, n->value / 1048576);
    ++*(int *)ud;
  }
}

int main(void) {
  int told = 0;
  tm_embed *engine;
  if (tm_open(NULL, &engine) != TM_OK) return 1;
  tm_on_event(engine, on_event, &told);
  tm_rules_load(engine, "growth.lua", rule, sizeof rule - 1);
  if (tm_attach_pid(engine, 0, NULL, NULL) != TM_OK) fprintf(stderr, "%s\n", tm_message(engine));
  char *leak = NULL;
  for (size_t mb = 0; mb < 400 && !told; mb += 2) {
    leak = realloc(leak, (mb + 2) << 20);
    memset(leak + (mb << 20), 1, 2 << 20);
    for (int64_t until = tm_now_ns(engine) + 50000000; tm_now_ns(engine) < until;)
      tm_poll(engine, 20);
  }
  free(leak);
  tm_close(engine, NULL, NULL);
  return told ? 0 : 1;
}
