/* A shop that lets rules ask what only it knows: how many customers are inside, and what one of
 * them may cost. Rules call functions of the program, which needs nothing of Lua.
 *
 *   cc embed_functions.c $(pkg-config --cflags --libs tidemark) && ./a.out */
#include <stdio.h>
#include <string.h>
#include <tidemark.h>

#define SECOND INT64_C(1000000000)

static const char rule[] =
    "local shop = require 'shop'\n"
    "tm.rule { id = 'shop.dear', doc = 'customers cost too much', every = '10s', hold = '0s',\n"
    "  inputs = { cache = tm.ring('app.cache_bytes', { every = '10s', keep = 60 }) },\n"
    "  check = function(c)\n"
    "    local plan = shop.plan(c.target.name)\n"
    "    local each = shop.per_customer(c.cache.last or 0, plan.customers)\n"
    "    if each > plan.most_bytes then\n"
    "      return c:finding { level = 'warn', value = each, unit = 'bytes',\n"
    "        text = c.target.name .. ' is dear for a ' .. plan.name .. ' plan' }\n"
    "    end\n"
    "  end }\n";

/* JSON in, JSON out. */
static tm_status plan(void *ud, const char *args_json, size_t size, tm_write_fn write,
                      void *write_ud) {
  static const char small[] = "{\"name\":\"small\",\"customers\":10,\"most_bytes\":1000000}";
  static const char unknown[] = "no such shop";
  (void)ud, (void)size;
  if (strcmp(args_json, "[\"bookshop\"]") == 0)
    return write(write_ud, small, sizeof small - 1) == 0 ? TM_OK : TM_E_LIMIT;
  write(write_ud, unknown, sizeof unknown - 1);
  return TM_E_ARG; /* an error in the rule, with this text */
}

/* Numbers in, a number out. */
static double per_customer(const double *args, size_t count, void *ud) {
  (void)ud;
  return count == 2 && args[1] > 0 ? args[0] / args[1] : 0;
}

static void on_event(void *ud, const tm_notice *n) {
  int *warnings = ud;
  if (n->type == TM_ON_FINDING && n->tell) {
    printf("%s: %s (%.0f %s each)\n", n->word, n->text, n->value, n->unit);
    ++*warnings;
  } else if (n->level >= 2) {
    printf("%s: %s\n", n->word, n->text);
  }
}

int main(void) {
  tm_embed *engine;
  tm_target *shop, *other;
  tm_config config;
  int warnings = 0;
  tm_config_init(&config, sizeof config);
  config.flags = TM_VIRTUAL_TIME;
  config.start_ns = 1700000000 * SECOND;
  if (tm_open(&config, &engine) != TM_OK) return 1;
  tm_on_event(engine, on_event, &warnings);
  tm_function_register(engine, "shop.plan", plan, NULL);
  tm_function_register_number(engine, "shop.per_customer", per_customer, NULL);
  tm_rules_load(engine, "dear.lua", rule, sizeof rule - 1);
  tm_target_virtual(engine, "bookshop", &shop);
  tm_target_virtual(engine, "nobody", &other);
  for (int t = 10; t <= 600; t += 10) {
    int64_t now = config.start_ns + t * SECOND;
    tm_feed(engine, shop, "app.cache_bytes", now, t * 50000.0);
    tm_clock_set(engine, now);
  }
  tm_close(engine, NULL, NULL);
  return warnings == 1 ? 0 : 1;
}
