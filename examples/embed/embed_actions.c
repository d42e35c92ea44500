/* An editor with undo histories: each document is a virtual target that it feeds, and a rule asks
 * it to trim them. Time is the program's own, so an hour takes a moment.
 *
 *   cc embed_actions.c $(pkg-config --cflags --libs tidemark) && ./a.out */
#include <stdio.h>
#include <string.h>
#include <tidemark.h>

#define SECOND INT64_C(1000000000)

static const char rule[] =
    "tm.rule { id = 'editor.undo', doc = 'undo history without end', every = '10s', hold = '1m',\n"
    "  inputs = { undo = tm.ring('app.undo_bytes', { every = '10s', keep = 360 }) },\n"
    "  caps = { 'act:editor.trim' },\n"
    "  check = function(c)\n"
    "    if c.undo.last and c.undo.last > tm.bytes '64MB' then\n"
    "      return c:finding { level = 'warn', value = c.undo.last, unit = 'bytes',\n"
    "        text = c.target.name .. ' keeps much undo' }\n"
    "    end\n"
    "  end,\n"
    "  on = { warn = function(c) c:await(c:act('editor.trim', { steps = 100 })) end } }\n";

typedef struct document {
  const char *name;
  double undo_bytes, growth;
  tm_target *target;
  int trims;
} document;

typedef struct editor {
  tm_embed *engine;
  document documents[2];
} editor;

static void trim(void *ud, const tm_call *call) {
  editor *e = ud;
  for (int i = 0; i < 2; i++) {
    document *d = &e->documents[i];
    if (strcmp(d->name, call->target) != 0) continue;
    printf("trim %s to %s\n", d->name, call->args_json);
    d->undo_bytes = 1e6;
    d->trims++;
    tm_action_done(e->engine, call->id, TM_OK, "old steps were dropped");
    return;
  }
  tm_action_done(e->engine, call->id, TM_E_GONE, "the document is closed");
}

static void on_event(void *ud, const tm_notice *n) {
  (void)ud;
  if (n->type == TM_ON_FINDING && n->tell) printf("%s: %s (%s)\n", n->word, n->text, n->target);
  if (n->type == TM_ON_ACTION) printf("%s\n", n->text);
  if (strcmp(n->word, "rule_load_failed") == 0) printf("%s\n", n->text);
}

int main(void) {
  editor e = {
      .documents = {{.name = "novel.odt", .growth = 1e6}, {.name = "memo.txt", .growth = 1}}};
  tm_config config;
  tm_config_init(&config, sizeof config);
  config.flags = TM_VIRTUAL_TIME;
  config.start_ns = 1700000000 * SECOND;
  if (tm_open(&config, &e.engine) != TM_OK) return 1;
  tm_on_event(e.engine, on_event, &e);
  tm_action_register(e.engine, "editor.trim", trim, &e);
  tm_grant(e.engine, "*", "act:editor.*");
  tm_rules_load(e.engine, "undo.lua", rule, sizeof rule - 1);
  for (int i = 0; i < 2; i++)
    tm_target_virtual(e.engine, e.documents[i].name, &e.documents[i].target);
  for (int t = 10; t <= 3600; t += 10) {
    int64_t now = config.start_ns + t * SECOND;
    for (int i = 0; i < 2; i++) {
      document *d = &e.documents[i];
      d->undo_bytes += d->growth;
      tm_feed(e.engine, d->target, "app.undo_bytes", now, d->undo_bytes);
    }
    tm_clock_set(e.engine, now);
  }
  tm_close(e.engine, NULL, NULL);
  return e.documents[0].trims > 0 && e.documents[1].trims == 0 ? 0 : 1;
}
