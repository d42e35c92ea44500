// A request on a loop of its own, for callers that wait. A 50 ms timer looks at ctx->cancel.
#include "net/http_client.h"

typedef struct fetch {
  tm_ctx *ctx;
  tm_http_call *call; // NULL once done
  tm_http_result *result;
  uv_timer_t watch;
} fetch;

static void on_done(void *ud, tm_http_result *result) {
  fetch *f = ud;
  *f->result = *result;
  *result = (tm_http_result){0};
  f->call = NULL;
  uv_close((uv_handle_t *)&f->watch, NULL);
}

static void on_watch(uv_timer_t *timer) {
  fetch *f = timer->data;
  if (!atomic_load_explicit(f->ctx->cancel, memory_order_relaxed)) return;
  tm_http_cancel(f->call);
  f->call = NULL;
  f->result->status = tm_fail(f->ctx, TM_E_CANCELLED, TM_NO_OFFSET, "cancelled");
  uv_close((uv_handle_t *)&f->watch, NULL);
}

tm_status tm_http_fetch(tm_ctx *ctx, const tm_http_request *request, tm_http_result *result) {
  uv_loop_t loop;
  fetch f = {.ctx = ctx, .result = result};
  *result = (tm_http_result){0};
  int error = uv_loop_init(&loop);
  if (error) return tm_fail_errno(ctx, -error, "cannot make a loop for a request");
  uv_timer_init(&loop, &f.watch);
  f.watch.data = &f;
  if (ctx->cancel) uv_timer_start(&f.watch, on_watch, 0, 50);
  tm_status status = tm_http_start(ctx, &loop, request, on_done, &f, &f.call);
  if (status != TM_OK) uv_close((uv_handle_t *)&f.watch, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  if (status != TM_OK) return result->status = status;
  if (result->status != TM_OK) tm_fail(ctx, result->status, TM_NO_OFFSET, "%s", result->message);
  return result->status;
}
