/* The engine in a libuv loop that the program has anyway. Nothing is called but the loop.
 *
 *   cc embed_uv.c $(pkg-config --cflags --libs tidemark libuv) && ./a.out [FOLDER OF RULES] */
#include <stdio.h>
#include <tidemark.h>
#include <uv.h>

typedef struct app {
  tm_embed *engine;
  uv_timer_t work;
  int turns, targets;
} app;

static void on_event(void *ud, const tm_notice *n) {
  app *a = ud;
  if (n->type == TM_ON_TARGET) a->targets++;
  if (n->type == TM_ON_FINDING && n->tell) printf("%s %s: %s\n", n->word, n->rule, n->text);
}

static void on_closed(void *ud) {
  (void)ud;
  printf("the engine is gone\n");
}

/* The program's own work goes on beside it. */
static void on_work(uv_timer_t *timer) {
  app *a = timer->data;
  if (++a->turns < 20) return;
  tm_usage usage = {.size = sizeof usage};
  if (tm_get_usage(a->engine, &usage) == TM_OK)
    printf("%u rules, %llu samples\n", usage.rules, (unsigned long long)usage.samples);
  uv_close((uv_handle_t *)timer, NULL);
  tm_close(a->engine, on_closed, NULL);
}

int main(int argc, char **argv) {
  uv_loop_t *loop = uv_default_loop();
  app a = {0};
  tm_config config;
  tm_config_init(&config, sizeof config);
  config.uv_loop = loop;
  config.every_ns = 100000000; /* RSS ten times a second */
  if (tm_open(&config, &a.engine) != TM_OK) return 1;
  tm_on_event(a.engine, on_event, &a);
  tm_rules_builtin(a.engine);
  if (argc > 1 && tm_rules_folder(a.engine, argv[1]) != TM_OK)
    fprintf(stderr, "%s\n", tm_message(a.engine));
  tm_attach_pid(a.engine, 0, NULL, NULL);
  uv_timer_init(loop, &a.work);
  a.work.data = &a;
  uv_timer_start(&a.work, on_work, 50, 50);
  uv_run(loop, UV_RUN_DEFAULT);
  return uv_loop_close(loop) == 0 && a.targets > 0 ? 0 : 1;
}
