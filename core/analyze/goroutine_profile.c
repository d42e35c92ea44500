// The goroutines of a dump in the shape of a goroutine profile, so that all reports and filters
// work on them. A location per program counter; with the program's code at hand it has the lines
// and the inlined calls too.
#include "analyze/goroutine_proof.h"
#include "base/idmap.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { INLINED_MAX = 32 };

typedef struct maker {
  tm_ctx *ctx;
  const tm_graph *graph;
  const tm_goroutine_code *code;
  tm_profile *p;
  uint32_t id_key, state_key, creation_key;
  tm_idmap functions; // profile's string ids of name and file -> function
  tm_idmap locations; // pc -> location
} maker;

static tm_status intern(maker *m, const char *text, uint32_t *out) {
  return tm_profile_intern(m->ctx, m->p, text, strlen(text), out);
}

static tm_status function_of(maker *m, const char *name, const char *file, uint32_t *out) {
  tm_function f = {.id = m->p->functions.count + 1};
  TM_TRY(intern(m, name, &f.name));
  TM_TRY(intern(m, file, &f.file));
  f.system_name = f.name;
  uint64_t key = (uint64_t)f.name << 32 | f.file;
  *out = tm_idmap_get(&m->functions, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  *out = (uint32_t)m->p->functions.count;
  TM_TRY(tm_vec_push(m->ctx, &m->p->functions, f));
  return tm_idmap_put(m->ctx, &m->functions, key, *out);
}

// What the code says of a return address; count 0 = nothing.
static tm_status ask_code(maker *m, uint64_t pc, tm_code_frame *frames, uint32_t *count) {
  *count = 0;
  return m->code && pc ? m->code->frames(m->ctx, m->code->ud, pc, frames, INLINED_MAX, count)
                       : TM_OK;
}

static tm_status add_lines(maker *m, const tm_graph_frame *frame) {
  tm_code_frame frames[INLINED_MAX];
  uint32_t count;
  TM_TRY(ask_code(m, frame->pc, frames, &count));
  if (!count)
    frames[count++] =
        (tm_code_frame){.function = tm_graph_text(m->graph, frame->function), .file = ""};
  for (uint32_t i = 0; i < count; i++) {
    tm_line line = {.line = frames[i].line};
    TM_TRY(function_of(m, frames[i].function, frames[i].file, &line.function));
    TM_TRY(tm_vec_push(m->ctx, &m->p->lines, line));
  }
  return TM_OK;
}

static tm_status location_of(maker *m, const tm_graph_frame *frame, uint32_t *out) {
  uint64_t key = frame->pc ^ (uint64_t)frame->function << 48; // damaged dumps repeat an address
  *out = tm_idmap_get(&m->locations, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  tm_location l = {.id = m->p->locations.count + 1,
                   .address = frame->pc,
                   .mapping = TM_PROFILE_NONE,
                   .line_begin = (uint32_t)m->p->lines.count};
  TM_TRY(add_lines(m, frame));
  l.line_end = (uint32_t)m->p->lines.count;
  *out = (uint32_t)m->p->locations.count;
  TM_TRY(tm_vec_push(m->ctx, &m->p->locations, l));
  return tm_idmap_put(m->ctx, &m->locations, key, *out);
}

static tm_status name_creation(maker *m, uint64_t pc, uint32_t *out) {
  tm_code_frame frames[INLINED_MAX];
  uint32_t count;
  char text[24] = "";
  TM_TRY(ask_code(m, pc, frames, &count));
  if (count) return intern(m, frames[0].function, out);
  if (pc) snprintf(text, sizeof text, "0x%" PRIx64, pc);
  return intern(m, text, out);
}

static tm_status add_goroutine(maker *m, const tm_graph_goroutine *g) {
  int64_t wait = g->wait_ns > INT64_MAX ? INT64_MAX : (int64_t)g->wait_ns;
  int64_t values[2] = {1, wait};
  for (uint32_t i = g->frame_begin; i < g->frame_end; i++) {
    uint32_t location;
    TM_TRY(location_of(m, &m->graph->frames.items[i], &location));
    TM_TRY(tm_vec_push(m->ctx, &m->p->stack, location));
  }
  tm_label id = {.key = m->id_key, .numeric = true, .number = (int64_t)g->id};
  tm_label state = {.key = m->state_key}, creation = {.key = m->creation_key};
  TM_TRY(intern(m, tm_graph_text(m->graph, g->state), &state.text));
  TM_TRY(name_creation(m, g->created_pc, &creation.text));
  TM_TRY(tm_vec_push(m->ctx, &m->p->labels, id));
  TM_TRY(tm_vec_push(m->ctx, &m->p->labels, state));
  TM_TRY(tm_vec_push(m->ctx, &m->p->labels, creation));
  return tm_profile_end_sample(m->ctx, m->p, values);
}

static tm_status fill(maker *m) {
  TM_TRY(tm_profile_add_type(m->ctx, m->p, "goroutine", "count"));
  TM_TRY(tm_profile_add_type(m->ctx, m->p, "wait", "nanoseconds"));
  TM_TRY(intern(m, "goroutine", &m->id_key));
  TM_TRY(intern(m, "state", &m->state_key));
  TM_TRY(intern(m, "created_by", &m->creation_key));
  m->p->default_type = m->id_key; // the word "goroutine"
  m->p->period = 1;
  m->p->period_type = m->p->types.items[0];
  for (size_t i = 0; i < m->graph->goroutines.count; i++)
    TM_TRY(add_goroutine(m, &m->graph->goroutines.items[i]));
  return TM_OK;
}

tm_status tm_goroutine_profile(tm_ctx *ctx, const tm_graph *graph, const tm_goroutine_code *code,
                               tm_profile **out) {
  maker m = {.ctx = ctx, .graph = graph, .code = code};
  TM_TRY(tm_profile_new(ctx, &m.p));
  tm_status status = fill(&m);
  tm_idmap_free(ctx, &m.functions);
  tm_idmap_free(ctx, &m.locations);
  if (status != TM_OK)
    tm_profile_free(m.p);
  else
    *out = m.p;
  return status;
}
