// on.<level> handlers: coroutines of the package's state. A handler runs until it awaits; what it
// awaits is a job (a take, an action, a sleep, or all/any of several). Jobs have ids; results come
// back as messages, timeouts and sleeps are found by walking the list at each tick (there are
// seldom more than a few).
#include "bind/lua_series.h"
#include "bind/plain.h"
#include "host/rulehost_impl.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_TIMEOUT_NS (30 * INT64_C(1000000000))
enum { MAX_JOBS_PER_WAIT = 16, MAX_HANDLERS = 256 };

struct job {
  job *next;
  uint64_t id;
  handler *handler; // who waits; NULL = nobody (yet)
  size_t index;     // its place in all/any
  int64_t wake_ns;  // a sleep's end, or the timeout
  bool sleeps, done;
  tm_status status;
  char *bytes;
  size_t size;
  const tm_package *package; // whose rule asked
};

struct handler {
  handler *next;
  tm_package *package;
  tm_rule *rule;
  tm_target *target; // retained
  char *key;
  lua_State *co;
  int co_ref;
  enum { WAIT_ONE, WAIT_ALL, WAIT_ANY } wait;
  size_t waiting; // jobs of this wait
  bool running;
};

// ---- copies that cross threads ----

static void free_transition(transition_copy *copy) {
  free(copy->rule);
  free(copy->target);
  free(copy->key);
  free(copy->text);
  free(copy);
}

transition_copy *tm_host_copy_transition(const tm_alert_transition *t) {
  bool fired = t->to_state == TM_ALERT_FIRING
               && (t->from_state != TM_ALERT_FIRING || t->to_level > t->from_level);
  bool resolved = t->from_state == TM_ALERT_FIRING && t->to_state == TM_ALERT_RESOLVED;
  if (!fired && !resolved) return NULL;
  transition_copy *copy = calloc(1, sizeof *copy);
  if (!copy) return NULL;
  *copy = (transition_copy){strdup(t->alert->rule),
                            strdup(t->alert->target),
                            strdup(t->alert->key),
                            strdup(t->alert->text),
                            t->from_level,
                            t->to_level,
                            fired,
                            resolved,
                            t->alert->value};
  if (copy->rule && copy->target && copy->key && copy->text) return copy;
  free_transition(copy);
  return NULL;
}

job_result *tm_host_job_result(uint64_t id, tm_status status, const void *bytes, size_t size) {
  job_result *result = malloc(sizeof *result + size + 1);
  if (!result) return NULL;
  result->id = id;
  result->status = status;
  result->size = size;
  if (size) memcpy(result->bytes, bytes, size);
  result->bytes[size] = '\0';
  return result;
}

// ---- jobs ----

static job *new_job(tm_rulehost *host, const tm_package *package, uint64_t id, int64_t wake_ns) {
  job *j = calloc(1, sizeof *j);
  if (!j) return NULL;
  *j = (job){.next = host->jobs, .id = id, .wake_ns = wake_ns, .package = package};
  host->jobs = j;
  return j;
}

static job *find_job(tm_rulehost *host, uint64_t id) {
  for (job *j = host->jobs; j; j = j->next)
    if (j->id == id) return j;
  return NULL;
}

static void free_job(tm_rulehost *host, job *gone) {
  for (job **at = &host->jobs; *at; at = &(*at)->next)
    if (*at == gone) {
      *at = gone->next;
      break;
    }
  free(gone->bytes);
  free(gone);
}

static void finish(job *j, tm_status status, const char *bytes, size_t size) {
  if (j->done) return;
  j->done = true;
  j->status = status;
  j->bytes = malloc(size + 1);
  j->size = j->bytes ? size : 0;
  if (j->bytes) {
    if (size) memcpy(j->bytes, bytes, size);
    j->bytes[size] = '\0';
  }
}

// ---- starting what a handler awaits ----

typedef struct take_request {
  tm_rulehost *host;
  tm_target *target; // retained
  char *name, *options;
  uint64_t timeout_ns, id;
} take_request;

static void free_take(take_request *t) {
  tm_target_release(t->target);
  free(t->name);
  free(t->options);
  free(t);
}

static void deliver_take(void *arg) {
  take_request *t = arg;
  if (!tm_target_is_live(t->target))
    tm_rulehost_job_done(t->host, t->id, TM_E_GONE, "the target ended", 16);
  else if (!t->host->options.take)
    tm_rulehost_job_done(t->host, t->id, TM_E_UNSUPPORTED, "not available here", 18);
  else
    t->host->options.take(t->host->options.take_ud, t->target, t->name, t->options, t->timeout_ns,
                          t->id);
  free_take(t);
}

static bool granted_to(const tm_rule *rule, const char *kind, const char *name) {
  char want[160];
  snprintf(want, sizeof want, "%s:%s", kind, name);
  for (size_t i = 0; i < rule->cap_count; i++)
    if (tm_glob(rule->caps[i], want)) return true;
  return false;
}

static double number_field(lua_State *L, int index, const char *name, double otherwise) {
  lua_getfield(L, index, name);
  double value = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : otherwise;
  lua_pop(L, 1);
  return value;
}

static const char *string_field(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  const char *text = lua_tostring(L, -1);
  lua_pop(L, 1); // still held by the table
  return text ? text : "";
}

static char *json_of(lua_State *L, int index) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_bytes json = {.cap_bytes = 16 * 1024};
  char *text = NULL;
  if (tm_lua_json(&ctx, L, index, &json) == TM_OK)
    text = strndup((const char *)json.data, json.size);
  tm_bytes_free(&ctx, &json);
  tm_ctx_fini(&ctx);
  return text ? text : strdup("{}");
}

static job *start_take(tm_rulehost *host, handler *h, int index) {
  lua_State *L = h->co;
  const char *name = string_field(L, index, "name");
  int64_t timeout = (int64_t)(number_field(L, index, "timeout", 30) * 1e9);
  uint64_t id = atomic_fetch_add(&host->next_job_id, 1);
  job *j = new_job(host, h->package, id, host->now_ns + timeout);
  if (!j) return NULL;
  if (!granted_to(h->rule, "take", name)) {
    char text[200];
    snprintf(text, sizeof text, "denied take:%s: the rule does not ask for it in caps", name);
    finish(j, TM_E_PERM, text, strlen(text));
    return j;
  }
  take_request *request = calloc(1, sizeof *request);
  if (!request) return j;
  *request = (take_request){
      host, tm_target_retain(h->target), strdup(name), json_of(L, index), (uint64_t)timeout, id};
  if (request->name && request->options)
    tm_host_post(host, deliver_take, request);
  else
    free_take(request); // its timeout tells the handler
  return j;
}

// Starts one leaf; the job table is at index. NULL = out of memory or no job.
static job *start_leaf(tm_rulehost *host, handler *h, int index) {
  lua_State *L = h->co;
  if (!lua_istable(L, index)) return NULL;
  const char *kind = string_field(L, index, "job");
  if (strcmp(kind, "take") == 0) return start_take(host, h, index);
  if (strcmp(kind, "act") == 0) return find_job(host, (uint64_t)number_field(L, index, "id", 0));
  if (strcmp(kind, "sleep") == 0) {
    double seconds = number_field(L, index, "seconds", 0);
    job *j = new_job(host, h->package, atomic_fetch_add(&host->next_job_id, 1),
                     host->now_ns + (int64_t)(seconds * 1e9));
    if (j) j->sleeps = true;
    return j;
  }
  return NULL;
}

static bool start_wait(tm_rulehost *host, handler *h) {
  lua_State *L = h->co;
  int index = lua_gettop(L);
  if (!lua_istable(L, index) || !lua_checkstack(L, 8)) return false;
  const char *kind = string_field(L, index, "job");
  h->wait = strcmp(kind, "all") == 0 ? WAIT_ALL : strcmp(kind, "any") == 0 ? WAIT_ANY : WAIT_ONE;
  h->waiting = 0;
  if (h->wait == WAIT_ONE) {
    job *j = start_leaf(host, h, index);
    if (!j) return false;
    j->handler = h;
    h->waiting = 1;
    return true;
  }
  lua_getfield(L, index, "jobs");
  size_t count = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
  if (count == 0 || count > MAX_JOBS_PER_WAIT) return false;
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    job *j = start_leaf(host, h, lua_gettop(L));
    lua_pop(L, 1);
    if (!j) return false;
    j->handler = h;
    j->index = i;
    h->waiting++;
  }
  return true;
}

// ---- running ----

static void drop_jobs(tm_rulehost *host, const handler *h) {
  for (job *j = host->jobs, *next; j; j = next) {
    next = j->next;
    if (j->handler == h) free_job(host, j);
  }
}

static void end_handler(tm_rulehost *host, handler *gone) {
  for (handler **at = &host->handlers; *at; at = &(*at)->next)
    if (*at == gone) {
      *at = gone->next;
      break;
    }
  drop_jobs(host, gone);
  luaL_unref(tm_sandbox_state(gone->package->sandbox), LUA_REGISTRYINDEX, gone->co_ref);
  tm_target_release(gone->target);
  free(gone->key);
  free(gone);
}

static void handler_failed(tm_rulehost *host, handler *h, const char *problem) {
  char text[500];
  snprintf(text, sizeof text, "%s: its handler failed: %s", h->rule->id, problem);
  snprintf(h->rule->last_error, sizeof h->rule->last_error, "%.250s", problem);
  h->rule->stats.errors++;
  tm_host_note(host, TM_EVENT_RULE_ERROR, TM_LEVEL_WARN, h->rule->id,
               tm_target_get_facts(h->target)->id, text);
}

// Resumes with nargs values on co's stack; goes on while what it awaits is there at once.
static void resume(tm_rulehost *host, handler *h, int nargs);

static bool satisfied(tm_rulehost *host, const handler *h) {
  size_t done = 0;
  for (job *j = host->jobs; j; j = j->next) done += j->handler == h && j->done;
  return h->wait == WAIT_ANY ? done > 0 : done == h->waiting;
}

static int push_text(lua_State *L) {
  const job *j = lua_touserdata(L, 1);
  lua_pushlstring(L, j->bytes ? j->bytes : "", j->size);
  return 1;
}

// Evidence may be long, and nothing may be raised on a coroutine that waits.
static void push_result(lua_State *co, const job *j) {
  lua_State *L = tm_sandbox_state(tm_sandbox_of(co));
  lua_pushcfunction(L, push_text);
  lua_pushlightuserdata(L, (void *)j);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    lua_pop(L, 1);
    lua_pushnil(L);
  }
  lua_xmove(L, co, 1);
}

// Pushes (ok, result) of the finished wait. all: a list, or the first failure; any: the first
// result.
static int push_results(tm_rulehost *host, handler *h) {
  lua_State *L = h->co;
  const job *chosen = NULL;
  for (job *j = host->jobs; j; j = j->next) {
    if (j->handler != h || !j->done) continue;
    if (!chosen
        || (h->wait == WAIT_ANY ? j->status == TM_OK && chosen->status != TM_OK
                                : j->status != TM_OK))
      chosen = j;
  }
  if (!chosen || chosen->status != TM_OK || h->wait != WAIT_ALL) {
    lua_pushboolean(L, chosen && chosen->status == TM_OK);
    if (chosen)
      push_result(L, chosen);
    else
      lua_pushliteral(L, "nothing to wait for");
    return 2;
  }
  lua_pushboolean(L, 1);
  lua_createtable(L, (int)h->waiting, 0);
  for (job *j = host->jobs; j; j = j->next)
    if (j->handler == h) {
      push_result(L, j);
      lua_rawseti(L, -2, (lua_Integer)j->index + 1);
    }
  return 2;
}

static void resume(tm_rulehost *host, handler *h, int nargs) {
  for (;;) {
    int nresults = 0;
    bool yielded = false;
    tm_sandbox_cost cost = {0};
    tm_ctx_clear(&host->ctx);
    h->running = true;
    atomic_store(&host->busy_sandbox, h->package->sandbox);
    tm_status status = tm_sandbox_resume(&host->ctx, h->package->sandbox, h->co, nargs, &nresults,
                                         &yielded, host->options.limits.hard_ns, &cost);
    atomic_store(&host->busy_sandbox, NULL);
    h->running = false;
    h->rule->stats.cpu_ns += cost.cpu_ns;
    if (status != TM_OK || !yielded) {
      if (status != TM_OK) handler_failed(host, h, host->ctx.error.message);
      end_handler(host, h);
      return;
    }
    bool started = start_wait(host, h);
    lua_settop(h->co, 0);
    if (!started) {
      lua_pushboolean(h->co, 0);
      lua_pushliteral(h->co, "this is no job that can be awaited");
      nargs = 2;
      drop_jobs(host, h);
      continue;
    }
    if (!satisfied(host, h)) return;
    nargs = push_results(host, h);
    drop_jobs(host, h);
  }
}

static void wake(tm_rulehost *host, handler *h) {
  if (!h || h->running || !satisfied(host, h)) return;
  if (tm_sandbox_ready(h->package->sandbox) != TM_OK) {
    handler_failed(host, h, "out of memory");
    end_handler(host, h);
    return;
  }
  int nargs = push_results(host, h);
  drop_jobs(host, h);
  resume(host, h, nargs);
}

void tm_host_action_done(tm_rulehost *host, void *arg) {
  job_result *result = arg;
  pthread_mutex_lock(&host->state_lock);
  job *j = find_job(host, result->id);
  if (j) {
    handler *h = j->handler;
    finish(j, result->status, result->bytes, result->size);
    wake(host, h);
  }
  tm_host_set_due(host);
  pthread_mutex_unlock(&host->state_lock);
  free(result);
}

void tm_rulehost_job_done(tm_rulehost *host, uint64_t job_id, tm_status status, const void *bytes,
                          size_t size) {
  job_result *result = tm_host_job_result(job_id, status, bytes, size);
  if (result) tm_host_tell(host, tm_host_action_done, result);
}

void tm_host_run_timers(tm_rulehost *host) {
  for (bool again = true; again;) {
    again = false;
    for (job *j = host->jobs; j; j = j->next) {
      if (j->done || j->wake_ns > host->now_ns) continue;
      handler *h = j->handler;
      if (j->sleeps)
        finish(j, TM_OK, "", 0);
      else
        finish(j, TM_E_TIMEOUT, "timed out", 9);
      if (!h) continue;
      wake(host, h); // the list may have changed: begin anew
      again = true;
      break;
    }
  }
}

int64_t tm_host_next_timer_ns(const tm_rulehost *host) {
  int64_t next = INT64_MAX;
  for (const job *j = host->jobs; j; j = j->next)
    if (!j->done && j->wake_ns < next) next = j->wake_ns;
  return next;
}

void tm_host_cancel_handlers(tm_rulehost *host, const tm_package *package,
                             const tm_target *target) {
  for (handler *h = host->handlers, *next; h; h = next) {
    next = h->next;
    if ((!package || h->package == package) && (!target || h->target == target))
      end_handler(host, h);
  }
  for (job *j = host->jobs, *next; j; j = next) {
    next = j->next;
    if (!j->handler && (!package || j->package == package)) free_job(host, j);
  }
}

bool tm_host_has_handlers(const tm_rulehost *host, const tm_package *package) {
  for (const handler *h = host->handlers; h; h = h->next)
    if (h->package == package) return true;
  return false;
}

// ---- a transition starts a handler ----

static void push_handler_args(lua_State *L, const pair *p, const transition_copy *t) {
  tm_package_push_api(p->package, "handler_context");
  lua_rawgeti(L, LUA_REGISTRYINDEX, p->context_ref);
  lua_createtable(L, 0, 4);
  lua_pushstring(L, t->key);
  lua_setfield(L, -2, "key");
  lua_pushstring(L, tm_level_name(t->to_level));
  lua_setfield(L, -2, "level");
  lua_pushstring(L, t->text);
  lua_setfield(L, -2, "text");
  lua_pushnumber(L, t->value);
  lua_setfield(L, -2, "value");
}

static bool already_running(const tm_rulehost *host, const pair *p, const char *key) {
  size_t count = 0;
  for (const handler *h = host->handlers; h; h = h->next) {
    if (h->rule == p->rule && h->target == p->target && strcmp(h->key, key) == 0) return true;
    count++;
  }
  return count >= MAX_HANDLERS;
}

static void start_handler(tm_rulehost *host, pair *p, const transition_copy *t, const char *name) {
  lua_State *L = tm_sandbox_state(p->package->sandbox);
  if (tm_sandbox_ready(p->package->sandbox) != TM_OK) return;
  lua_settop(L, 0);
  lua_rawgeti(L, LUA_REGISTRYINDEX, p->rule->lua_ref);
  lua_getfield(L, -1, "on");
  lua_getfield(L, -1, name);
  if (!lua_isfunction(L, -1) || already_running(host, p, t->key)) {
    lua_settop(L, 0);
    return;
  }
  push_handler_args(L, p, t);
  if (tm_host_call(host, p->package, p->rule, 2, 1) != TM_OK) {
    lua_settop(L, 0);
    return;
  }
  handler *h = calloc(1, sizeof *h);
  if (!h) {
    lua_settop(L, 0);
    return;
  }
  *h = (handler){.next = host->handlers,
                 .package = p->package,
                 .rule = p->rule,
                 .target = tm_target_retain(p->target)};
  h->key = strdup(t->key);
  if (!h->key) {
    tm_target_release(h->target);
    free(h);
    lua_settop(L, 0);
    return;
  }
  h->co = lua_newthread(L);
  h->co_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  host->handlers = h;
  lua_xmove(L, h->co, 2); // the function and its context
  lua_settop(L, 0);
  resume(host, h, 1);
}

void tm_host_transition(tm_rulehost *host, void *arg) {
  transition_copy *t = arg;
  pthread_mutex_lock(&host->state_lock);
  for (size_t i = 0; i < host->pairs.count; i++) {
    pair *p = host->pairs.items[i];
    if (strcmp(p->rule->id, t->rule) != 0
        || strcmp(tm_target_get_facts(p->target)->id, t->target) != 0)
      continue;
    start_handler(host, p, t, t->resolved ? "resolve" : tm_level_name(t->to_level));
    if (t->resolved)
      for (size_t k = 0; k < p->rule->input_count; k++)
        if (p->rule->inputs[k].arm) tm_host_arm(host, p, &p->rule->inputs[k], false);
    break;
  }
  tm_host_set_due(host);
  pthread_mutex_unlock(&host->state_lock);
  free_transition(t);
}

// ---- native functions that need the host ----

static tm_rulehost *host_of(lua_State *L) {
  return *(tm_rulehost **)lua_touserdata(L, lua_upvalueindex(1));
}

typedef struct act_request {
  tm_engine *engine;
  tm_target *target; // retained
  char *rule, *name, *package, *args;
  uint64_t cooldown_ns, timeout_ns, tag;
  bool dry, confirm;
} act_request;

static void free_act(act_request *a) {
  tm_target_release(a->target);
  free(a->rule);
  free(a->name);
  free(a->package);
  free(a->args);
  free(a);
}

static void deliver_act(void *arg) {
  act_request *a = arg;
  if (tm_target_is_live(a->target)) {
    tm_action_request request = {.rule = a->rule,
                                 .package = a->package,
                                 .target = tm_target_get_facts(a->target)->id,
                                 .name = a->name,
                                 .args_json = a->args,
                                 .cooldown_ns = a->cooldown_ns,
                                 .timeout_ns = a->timeout_ns,
                                 .dry_run = a->dry,
                                 .confirm = a->confirm,
                                 .tag = a->tag};
    tm_actions_request(tm_engine_actions(a->engine), tm_engine_now_ns(a->engine), &request);
  }
  free_act(a);
}

static int native_act(lua_State *L) { // pair, job table -> id
  tm_rulehost *host = host_of(L);
  const pair *p = lua_touserdata(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  const char *name = string_field(L, 2, "name");
  uint64_t id = atomic_fetch_add(&host->next_job_id, 1);
  if (!granted_to(p->rule, "act", name))
    return luaL_error(L, "act:%s is not in the rule's caps", name);
  double timeout = number_field(L, 2, "timeout", 30); // reading may raise: before anything is made
  double cooldown = number_field(L, 2, "cooldown", 0);
  lua_getfield(L, 2, "confirm");
  bool confirm = lua_toboolean(L, -1);
  job *j = new_job(host, p->package, id, host->now_ns + (int64_t)((timeout + 1) * 1e9));
  act_request *a = calloc(1, sizeof *a);
  if (!j || !a) {
    free(a);
    return luaL_error(L, "out of memory");
  }
  *a = (act_request){.confirm = confirm,
                     .engine = host->engine,
                     .target = tm_target_retain(p->target),
                     .rule = strdup(p->rule->id),
                     .name = strdup(name),
                     .package = strdup(p->package->name),
                     .args = json_of(L, 2),
                     .cooldown_ns = (uint64_t)(cooldown * 1e9),
                     .timeout_ns = (uint64_t)(timeout * 1e9),
                     .tag = id,
                     .dry = p->rule->dry};
  if (!a->rule || !a->name || !a->package || !a->args) {
    free_act(a);
    return luaL_error(L, "out of memory");
  }
  tm_host_post(host, deliver_act, a);
  lua_pushinteger(L, (lua_Integer)id);
  return 1;
}

typedef struct evidence {
  tm_engine *engine;
  char *rule, *target, *name;
  tm_bytes json;
} evidence;

static void free_evidence(evidence *e) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_bytes_free(&ctx, &e->json);
  tm_ctx_fini(&ctx);
  free(e->rule);
  free(e->target);
  free(e->name);
  free(e);
}

static void deliver_evidence(void *arg) {
  evidence *e = arg;
  tm_engine_note(e->engine, TM_EVENT_EVIDENCE, TM_LEVEL_INFO, e->rule, e->target, e->name,
                 e->json.data ? (const char *)e->json.data : "{}");
  free_evidence(e);
}

static int native_attach(lua_State *L) { // pair, name, data
  tm_rulehost *host = host_of(L);
  const pair *p = lua_touserdata(L, 1);
  const char *name = luaL_checkstring(L, 2);
  lua_settop(L, 3);
  lua_createtable(L, 0, 1); // what may raise comes before anything is made
  lua_pushvalue(L, 3);
  lua_setfield(L, -2, "data");
  evidence *e = calloc(1, sizeof *e);
  if (!e) return luaL_error(L, "out of memory");
  *e = (evidence){host->engine,
                  strdup(p->rule->id),
                  strdup(tm_target_get_facts(p->target)->id),
                  strdup(name),
                  {0}};
  if (!e->rule || !e->target || !e->name) {
    free_evidence(e);
    return luaL_error(L, "out of memory");
  }
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  e->json.cap_bytes = 4u << 20;
  if (tm_lua_json(&ctx, L, -1, &e->json) != TM_OK
      || tm_bytes_append(&ctx, &e->json, "", 1) != TM_OK)
    tm_bytes_free(&ctx, &e->json);
  tm_ctx_fini(&ctx);
  tm_host_post(host, deliver_evidence, e);
  return 0;
}

static int native_arm(lua_State *L) { // pair, input name, on
  tm_rulehost *host = host_of(L);
  pair *p = lua_touserdata(L, 1);
  const char *name = luaL_checkstring(L, 2);
  for (size_t i = 0; i < p->rule->input_count; i++)
    if (strcmp(p->rule->inputs[i].name, name) == 0) {
      if (!p->rule->inputs[i].arm)
        return luaL_error(L, "input '%s' is always sampled; declare it with arm = true", name);
      tm_host_arm(host, p, &p->rule->inputs[i], lua_toboolean(L, 3));
      return 0;
    }
  return luaL_error(L, "'%s' is no input of %s", name, p->rule->id);
}

static int native_log(lua_State *L) { // rule, text
  char text[600];
  snprintf(text, sizeof text, "%s: %.500s", luaL_checkstring(L, 1), luaL_checkstring(L, 2));
  tm_host_note(host_of(L), TM_EVENT_NOTE, TM_LEVEL_INFO, lua_tostring(L, 1), "", text);
  return 0;
}

static int native_now(lua_State *L) {
  lua_pushnumber(L, (double)host_of(L)->now_ns / 1e9);
  return 1;
}

void tm_host_install_natives(lua_State *L, void **owner) {
  static const luaL_Reg functions[] = {{"act", native_act}, {"attach", native_attach},
                                       {"arm", native_arm}, {"log", native_log},
                                       {"now", native_now}, {NULL, NULL}};
  lua_pushlightuserdata(L, owner);
  luaL_setfuncs(L, functions, 1);
}
