// A ring of JSON texts and one call at a time for its oldest. A try that fails waits for a random
// part of base * 2^tries (full jitter: many senders that lost the same receiver do not come back
// together), or for what Retry-After says. When the queue is full the oldest goes. Everything is
// one timer for the next try, one for the grace time, and the call.
#include "net/webhook.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MS_NS      1000000ull
#define SECOND_NS  1000000000ull
#define EVENT_MAX  (1u << 20)
#define ANSWER_MAX (1u << 20) // nobody reads it

typedef struct event {
  uint8_t *json;
  size_t json_bytes;
  uint32_t tries_count;
} event;

struct tm_webhook {
  tm_ctx ctx; // its own error and allocator
  uv_loop_t *loop;
  tm_arena texts; // url, ca_file, headers
  const char *url, *ca_file;
  tm_http_header *headers;
  size_t header_count;
  tm_webhook_options options; // with the defaults filled in
  event *queue;               // ring of options.max_queue_count
  uint32_t oldest, count;
  tm_http_call *call;
  uv_timer_t retry_timer, grace_timer;
  uint32_t open_timers_count;
  bool closing, told_to_wait; // by a Retry-After
  tm_webhook_done_fn done;    // of a flush or close
  void *done_ud;
  bool waited; // done is to be called
  uint64_t random;
  tm_webhook_stats stats;
};

static void send_oldest(tm_webhook *hook);

static void free_hook(tm_webhook *hook) {
  tm_ctx ctx = hook->ctx;
  if (hook->queue) tm_free(&ctx, hook->queue, hook->options.max_queue_count * sizeof(event));
  tm_arena_fini(&hook->texts);
  tm_free(&ctx, hook, sizeof *hook);
}

static void pop_oldest(tm_webhook *hook) {
  event *e = &hook->queue[hook->oldest];
  tm_free(&hook->ctx, e->json, e->json_bytes);
  *e = (event){0};
  hook->oldest = (hook->oldest + 1) % hook->options.max_queue_count;
  hook->count--;
}

static void on_timer_closed(uv_handle_t *handle) {
  tm_webhook *hook = handle->data;
  if (--hook->open_timers_count == 0) free_hook(hook);
}

static void end_hook(tm_webhook *hook) {
  tm_http_cancel(hook->call);
  hook->call = NULL;
  while (hook->count) pop_oldest(hook);
  uv_close((uv_handle_t *)&hook->retry_timer, on_timer_closed);
  uv_close((uv_handle_t *)&hook->grace_timer, on_timer_closed);
}

// The queue is empty or the grace time is over: answers who waits, and ends a hook that closes.
static void answer(tm_webhook *hook) {
  tm_webhook_done_fn done = hook->done;
  uint64_t left_count = hook->count;
  if (!hook->waited) return;
  hook->waited = false;
  uv_timer_stop(&hook->grace_timer);
  if (hook->closing) hook->stats.dropped_count += left_count;
  bool closing = hook->closing; // done of a flush may close the hook, which is then not ours to end
  if (done) done(hook->done_ud, left_count);
  if (closing) end_hook(hook);
}

static void on_grace(uv_timer_t *timer) {
  answer(timer->data);
}

// splitmix64. Source: S. Vigna, public domain.
static uint64_t next_random(tm_webhook *hook) {
  uint64_t z = hook->random += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static uint64_t backoff_ns(tm_webhook *hook, uint32_t tries_count) {
  uint64_t ceiling_ns = hook->options.backoff_base_ns;
  for (uint32_t i = 1; i < tries_count && ceiling_ns < hook->options.backoff_max_ns; i++)
    ceiling_ns *= 2;
  if (ceiling_ns > hook->options.backoff_max_ns) ceiling_ns = hook->options.backoff_max_ns;
  return next_random(hook) % (ceiling_ns + 1);
}

static void on_retry(uv_timer_t *timer) {
  send_oldest(timer->data);
}

static void wait_then_send(tm_webhook *hook, uint64_t wait_ns) {
  uv_timer_start(&hook->retry_timer, on_retry, (wait_ns + MS_NS - 1) / MS_NS, 0);
}

// What comes after a try: the next event, or who waits for the end.
static void go_on(tm_webhook *hook) {
  if (hook->count)
    wait_then_send(hook, 0);
  else
    answer(hook);
}

static void retry_later(tm_webhook *hook, const tm_http_result *result) {
  event *e = &hook->queue[hook->oldest];
  const char *asked = result ? tm_http_result_header(result, "Retry-After") : NULL;
  uint64_t wait_ns = backoff_ns(hook, e->tries_count), asked_ns;
  if (hook->options.max_tries && e->tries_count >= hook->options.max_tries) {
    hook->stats.dropped_count++;
    pop_oldest(hook);
    go_on(hook);
    return;
  }
  hook->told_to_wait = asked && tm_http_retry_after(asked, tm_clock_wall_ns(), &asked_ns);
  if (hook->told_to_wait) {
    wait_ns = asked_ns;
    if (wait_ns > hook->options.retry_after_max_ns) wait_ns = hook->options.retry_after_max_ns;
  }
  wait_then_send(hook, wait_ns);
}

// The status line decides, also when the rest of the answer got lost: the receiver has judged.
static void on_answer(void *ud, tm_http_result *result) {
  tm_webhook *hook = ud;
  tm_webhook_stats *stats = &hook->stats;
  uint32_t http_status = result->http_status;
  hook->call = NULL;
  stats->last_http_status = http_status;
  stats->last_error[0] = '\0';
  if (http_status >= 200 && http_status < 300) {
    stats->sent_count++;
    pop_oldest(hook);
    go_on(hook);
    return;
  }
  if (http_status)
    snprintf(stats->last_error, sizeof stats->last_error, "the receiver answered HTTP %u",
             http_status);
  else
    snprintf(stats->last_error, sizeof stats->last_error, "%s", result->message);
  bool refused =
      http_status >= 300 && http_status < 500 && http_status != 408 && http_status != 429;
  if (!refused) {
    retry_later(hook, result);
    return;
  }
  stats->refused_count++;
  pop_oldest(hook);
  go_on(hook);
}

static tm_status skip_body(void *ud, const uint8_t *data, size_t size) {
  (void)ud, (void)data, (void)size;
  return TM_OK;
}

static tm_status start_call(tm_ctx *ctx, tm_webhook *hook, const event *e) {
  const tm_http_request request = {
      .url = hook->url,
      .method = "POST",
      .headers = hook->headers,
      .header_count = hook->header_count,
      .body = e->json,
      .body_bytes = e->json_bytes,
      .ca_file = hook->ca_file,
      .connect_timeout_ns = hook->options.timeout_ns,
      .first_byte_timeout_ns = hook->options.timeout_ns,
      .idle_timeout_ns = hook->options.timeout_ns,
      .total_timeout_ns = hook->options.timeout_ns,
      .max_body_bytes = ANSWER_MAX,
      .on_body = skip_body,
  };
  return tm_http_start(ctx, hook->loop, &request, on_answer, hook, &hook->call);
}

static void send_oldest(tm_webhook *hook) {
  if (hook->call || !hook->count) return;
  event *e = &hook->queue[hook->oldest];
  hook->told_to_wait = false;
  uv_timer_stop(&hook->retry_timer);
  if (e->tries_count++) hook->stats.retried_count++;
  tm_ctx_clear(&hook->ctx);
  if (start_call(&hook->ctx, hook, e) == TM_OK) return;
  hook->call = NULL;
  snprintf(hook->stats.last_error, sizeof hook->stats.last_error, "%s", hook->ctx.error.message);
  retry_later(hook, NULL);
}

static void fill_options(tm_webhook_options *o) {
  if (!o->max_queue_count) o->max_queue_count = 256;
  if (!o->timeout_ns) o->timeout_ns = 10 * SECOND_NS;
  if (!o->backoff_base_ns) o->backoff_base_ns = SECOND_NS;
  if (!o->backoff_max_ns) o->backoff_max_ns = 300 * SECOND_NS;
  if (!o->retry_after_max_ns) o->retry_after_max_ns = 3600 * SECOND_NS;
  if (!o->seed) o->seed = (uint64_t)tm_clock_wall_ns() ^ (uint64_t)(uintptr_t)o;
}

static bool copy_text(tm_webhook *hook, const char *text, const char **out) {
  *out = text ? tm_arena_strndup(&hook->texts, text, strlen(text)) : NULL;
  return *out || !text;
}

static bool copy_header(tm_webhook *hook, const char *name, const char *value) {
  tm_http_header *h = &hook->headers[hook->header_count++];
  return copy_text(hook, name, &h->name) && copy_text(hook, value, &h->value);
}

static bool copy_texts(tm_webhook *hook, const char *url, const tm_webhook_options *o) {
  hook->headers = tm_arena_calloc(&hook->texts, o->header_count + 1, sizeof *hook->headers);
  bool ok = hook->headers && copy_text(hook, url, &hook->url)
            && copy_text(hook, o->ca_file, &hook->ca_file)
            && copy_header(hook, "Content-Type", "application/json");
  for (size_t i = 0; ok && i < o->header_count; i++)
    ok = copy_header(hook, o->headers[i].name, o->headers[i].value);
  return ok;
}

// A call that is started and cancelled checks everything that no later try can mend.
static tm_status fill_hook(tm_ctx *ctx, tm_webhook *hook, const char *url) {
  const event nothing = {0};
  hook->queue = tm_calloc(ctx, hook->options.max_queue_count, sizeof(event));
  if (!hook->queue || !copy_texts(hook, url, &hook->options))
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for a webhook");
  TM_TRY(start_call(ctx, hook, &nothing));
  tm_http_cancel(hook->call);
  hook->call = NULL;
  return TM_OK;
}

tm_status tm_webhook_new(tm_ctx *ctx, uv_loop_t *loop, const char *url,
                         const tm_webhook_options *options, tm_webhook **out) {
  tm_webhook *hook = tm_calloc(ctx, 1, sizeof *hook);
  if (!hook) return TM_E_NOMEM;
  tm_ctx_init(&hook->ctx, &ctx->alloc);
  tm_arena_init(&hook->texts, &ctx->alloc, 0);
  hook->loop = loop;
  if (options) hook->options = *options;
  fill_options(&hook->options);
  hook->random = hook->options.seed;
  tm_status status = fill_hook(ctx, hook, url);
  if (status != TM_OK) {
    free_hook(hook);
    return status;
  }
  hook->options.headers = NULL; // the caller's
  hook->options.ca_file = NULL;
  uv_timer_init(loop, &hook->retry_timer); // cannot fail
  uv_timer_init(loop, &hook->grace_timer);
  hook->retry_timer.data = hook->grace_timer.data = hook;
  hook->open_timers_count = 2;
  *out = hook;
  return TM_OK;
}

// The oldest goes, but not the one under way (else a flood would let nothing through): that one
// takes the place of the one behind it.
static void drop_one(tm_webhook *hook) {
  event *first = &hook->queue[hook->oldest];
  event *second = &hook->queue[(hook->oldest + 1) % hook->options.max_queue_count];
  hook->stats.dropped_count++;
  if (hook->call && hook->count > 1) {
    event under_way = *first;
    *first = *second;
    *second = under_way;
  } else {
    tm_http_cancel(hook->call);
    hook->call = NULL;
  }
  pop_oldest(hook);
}

tm_status tm_webhook_post(tm_ctx *ctx, tm_webhook *hook, const void *json, size_t json_bytes) {
  if (hook->closing)
    return tm_fail(ctx, TM_E_GONE, TM_NO_OFFSET,
                   "the webhook is closed: nothing is taken any more");
  if (json_bytes == 0 || json_bytes > EVENT_MAX)
    return tm_fail(ctx, json_bytes ? TM_E_LIMIT : TM_E_ARG, TM_NO_OFFSET,
                   "a webhook's event has 1 byte to 1 MiB, not %zu bytes", json_bytes);
  uint8_t *copy = tm_alloc(ctx, json_bytes);
  if (!copy) return TM_E_NOMEM;
  memcpy(copy, json, json_bytes);
  if (hook->count == hook->options.max_queue_count) drop_one(hook);
  uint32_t at = (hook->oldest + hook->count) % hook->options.max_queue_count;
  hook->queue[at] = (event){copy, json_bytes, 0};
  hook->count++;
  hook->stats.posted_count++;
  if (!hook->call && !uv_is_active((uv_handle_t *)&hook->retry_timer)) wait_then_send(hook, 0);
  return TM_OK;
}

static void wait_for_end(tm_webhook *hook, uint64_t grace_ns, tm_webhook_done_fn done, void *ud) {
  hook->done = done;
  hook->done_ud = ud;
  hook->waited = true;
  uv_update_time(hook->loop);
  uint64_t ms = hook->count ? grace_ns / MS_NS : 0;
  uv_timer_start(&hook->grace_timer, on_grace, ms, 0);
  if (hook->count && !hook->call && !hook->told_to_wait) wait_then_send(hook, 0);
}

tm_status tm_webhook_flush(tm_ctx *ctx, tm_webhook *hook, uint64_t grace_ns,
                           tm_webhook_done_fn done, void *ud) {
  if (hook->waited || hook->closing)
    return tm_fail(ctx, TM_E_BUSY, TM_NO_OFFSET, "the webhook is being flushed or closed already");
  wait_for_end(hook, grace_ns, done, ud);
  return TM_OK;
}

void tm_webhook_close(tm_webhook *hook, uint64_t grace_ns, tm_webhook_done_fn done, void *ud) {
  if (!hook || hook->closing) return;
  answer(hook);
  hook->closing = true;
  wait_for_end(hook, grace_ns, done, ud);
}

const tm_webhook_stats *tm_webhook_stats_of(tm_webhook *hook) {
  hook->stats.queued_count = hook->count;
  return &hook->stats;
}

// Days since 1970-01-01 of a date in the Gregorian calendar, years counted from March.
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
  year -= month <= 2;
  int64_t year_day = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return 365 * year + year / 4 - year / 100 + year / 400 + year_day - 719468;
}

static bool read_date(const char *text, int64_t *out_seconds) {
  static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  char week_day[4], month[4], zone[4];
  int day, year, hour, minute, second, size = 0;
  // NOLINTNEXTLINE(cert-err34-c): the widths keep every number small
  int n = sscanf(text, "%3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d %3[A-Z]%n", week_day, &day,
                 month, &year, &hour, &minute, &second, zone, &size);
  if (n != 8 || text[size] || strcmp(zone, "GMT") != 0 || strlen(month) != 3) return false;
  const char *found = strstr(months, month);
  if (!found || (found - months) % 3) return false;
  if (day < 1 || day > 31 || year < 1601 || hour < 0 || hour > 23 || minute < 0 || minute > 59
      || second < 0 || second > 60)
    return false;
  *out_seconds = days_of(year, (found - months) / 3 + 1, day) * 86400 + (int64_t)hour * 3600
                 + (int64_t)minute * 60 + second;
  return true;
}

bool tm_http_retry_after(const char *value, int64_t now_wall_ns, uint64_t *out_ns) {
  uint64_t seconds = 0;
  size_t digits = strspn(value, "0123456789");
  if (digits && !value[digits]) {
    for (size_t i = 0; i < digits && seconds < 1000000000; i++)
      seconds = seconds * 10 + (uint64_t)(value[i] - '0');
  } else {
    int64_t at_seconds, now_seconds = now_wall_ns / (int64_t)SECOND_NS;
    if (!read_date(value, &at_seconds)) return false;
    seconds = at_seconds > now_seconds ? (uint64_t)(at_seconds - now_seconds) : 0;
  }
  if (seconds > 1000000000) seconds = 1000000000;
  *out_ns = seconds * SECOND_NS;
  return true;
}
