// Reports of heap dumps, for a host: the tables that the commands over dumps show. The dominator
// tree is made by the first report that needs it and kept with the file.
#include "analyze/consumers.h"
#include "analyze/detached.h"
#include "analyze/objects.h"
#include "analyze/suspects.h"
#include "tidemark_report.h"

#include <stdlib.h>
#include <string.h>

// ---- options ----

// Which of the words an option names; `otherwise` when it is absent.
static tm_status word_option(const tm_embed_request *r, const char *name, const char *const *words,
                             uint32_t otherwise, uint32_t *out) {
  const char *text = tm_embed_option(r, name);
  *out = otherwise;
  if (!text) return TM_OK;
  for (*out = 0; words[*out]; ++*out)
    if (strcmp(words[*out], text) == 0) return TM_OK;
  return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "%s: %s is not '%s'", r->verb, name, text);
}

static tm_status number_option(const tm_embed_request *r, const char *name, double most,
                               double *out) {
  const char *text = tm_embed_option(r, name);
  *out = 0;
  if (!text) return TM_OK;
  char *end;
  *out = strtod(text, &end);
  if (end != text && !*end && *out >= 0 && *out <= most) return TM_OK;
  return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "%s: %s is a number up to %g, not '%s'", r->verb,
                 name, most, text);
}

// The object that node=N or id=0x7f00 names; TM_NODE_NONE when neither is there.
static tm_status node_option(const tm_embed_request *r, const tm_graph *g, uint32_t *out) {
  const char *by_id = tm_embed_option(r, "id"), *text = by_id ? by_id : tm_embed_option(r, "node");
  *out = TM_NODE_NONE;
  if (!text) return TM_OK;
  char *end;
  unsigned long long value = strtoull(text, &end, 0);
  bool whole = end != text && !*end && *text != '-';
  if (whole && by_id) *out = g->detail->find(g, value);
  if (whole && !by_id && value < g->node_count) *out = (uint32_t)value;
  if (*out != TM_NODE_NONE) return TM_OK;
  return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "%s: no object has the %s '%s'", r->verb,
                 by_id ? g->id_word : "node", text);
}

// ---- the tree ----

void tm_embed_drop_tree(tm_embed_tree *t) {
  tm_domchildren_fini(&t->children);
  tm_domtree_free(t->tree);
  *t = (tm_embed_tree){.tree = NULL};
}

static tm_status make_tree(tm_ctx *ctx, const tm_graph *g, tm_strength weakest, tm_embed_tree *t) {
  if (t->tree && t->weakest == weakest) return TM_OK;
  tm_embed_drop_tree(t);
  tm_status status = tm_domtree_new(ctx, g, weakest, &t->tree);
  if (status == TM_OK) status = tm_domtree_children(ctx, t->tree, &t->children);
  t->weakest = weakest;
  if (status != TM_OK) tm_embed_drop_tree(t);
  return status;
}

// ---- verbs ----

static tm_status objects(tm_embed_request *r, const tm_graph *g, const tm_embed_tree *t) {
  static const char *const orders[] = {"retained", "shallow", "count", NULL};
  uint32_t order;
  TM_TRY(word_option(r, "order", orders, TM_OBJECTS_BY_RETAINED, &order));
  return tm_objects_table(r->ctx, g, t->tree, &t->children, (tm_objects_order)order,
                          tm_embed_row_count(r), r->table);
}

static tm_status holders(tm_embed_request *r, const tm_graph *g, const tm_embed_tree *t) {
  uint32_t node;
  TM_TRY(node_option(r, g, &node));
  return tm_objects_dominated(r->ctx, g, t->tree, &t->children, node, tm_embed_row_count(r),
                              r->table);
}

static tm_status path(tm_embed_request *r, const tm_graph *g, const tm_embed_tree *t) {
  uint32_t node;
  TM_TRY(node_option(r, g, &node));
  if (node == TM_NODE_NONE)
    return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "path needs node=N or id=ID");
  return tm_objects_path(r->ctx, g, t->tree, node, t->weakest, r->table);
}

static tm_status suspects(tm_embed_request *r, const tm_graph *g, const tm_embed_tree *t) {
  double share, references, fans;
  TM_TRY(number_option(r, "share", 1, &share));
  TM_TRY(number_option(r, "references", UINT32_MAX, &references));
  TM_TRY(number_option(r, "fans", 1e6, &fans));
  const tm_suspects_options options = {share, (uint32_t)references, (size_t)fans};
  return tm_suspects_table(r->ctx, g, t->tree, &t->children, &options, r->table);
}

static tm_status consumers(tm_embed_request *r, const tm_graph *g, const tm_embed_tree *t) {
  static const char *const keys[] = {"type",   "package", "loader", "module", "context",
                                     "global", "root",    "thread", "heap",   NULL};
  uint32_t by;
  TM_TRY(word_option(r, "by", keys, TM_CONSUMER_TYPE, &by));
  return tm_consumers_table(r->ctx, g, t->tree, &t->children, t->weakest, (tm_consumer)by,
                            tm_embed_row_count(r), r->table);
}

static tm_status detached(tm_embed_request *r, const tm_graph *g, const tm_embed_tree *t) {
  return tm_detached_table(r->ctx, g, t->tree, t->weakest, tm_embed_row_count(r), r->table);
}

static tm_status info(tm_embed_request *r, const tm_graph *g, const tm_embed_tree *t) {
  const struct {
    const char *name;
    tm_unit unit;
    uint64_t value;
  } facts[] = {{"objects", TM_UNIT_COUNT, g->node_count},
               {"edges", TM_UNIT_COUNT, g->edge_begin ? g->edge_begin[g->node_count] : 0},
               {"types", TM_UNIT_COUNT, g->types.count},
               {"roots", TM_UNIT_COUNT, g->roots.count},
               {"shallow_bytes", TM_UNIT_BYTES, g->shallow_bytes},
               {"reachable", TM_UNIT_COUNT, t->tree->reached},
               {"reachable_bytes", TM_UNIT_BYTES, t->tree->retained[0]}};
  size_t row;
  for (size_t i = 0; i < TM_COUNT(facts); i++)
    TM_TRY(tm_table_add_column(r->ctx, r->table, facts[i].name, TM_CELL_INT, facts[i].unit));
  TM_TRY(tm_table_add_row(r->ctx, r->table, &row));
  for (size_t i = 0; i < TM_COUNT(facts); i++)
    tm_table_set_int(r->table, row, i, (int64_t)facts[i].value);
  return TM_OK;
}

tm_status tm_embed_follow(const tm_embed_request *r, uint32_t *out) {
  static const char *const strengths[] = {"strong", "soft", "weak", "final", "phantom", NULL};
  return word_option(r, "follow", strengths, TM_STRENGTH_SOFT, out);
}

tm_status tm_embed_report_graph(tm_embed_request *r) {
  static const struct {
    const char *verb;
    tm_status (*run)(tm_embed_request *r, const tm_graph *g, const tm_embed_tree *t);
    const char *options[6];
  } verbs[] = {{"objects", objects, {"order", "nodecount", "follow", NULL}},
               {"holders", holders, {"node", "id", "nodecount", "follow", NULL}},
               {"path", path, {"node", "id", "follow", NULL}},
               {"suspects", suspects, {"share", "references", "fans", "follow", NULL}},
               {"consumers", consumers, {"by", "nodecount", "follow", NULL}},
               {"detached", detached, {"nodecount", "follow", NULL}},
               {"info", info, {"follow", NULL}}};
  const tm_graph *g = r->file->snapshot.model;
  size_t i = 0;
  while (i < TM_COUNT(verbs) - 1 && strcmp(verbs[i].verb, r->verb) != 0) i++;
  uint32_t weakest;
  TM_TRY(tm_embed_check_options(r, verbs[i].options));
  TM_TRY(tm_embed_follow(r, &weakest));
  TM_TRY(make_tree(r->ctx, g, (tm_strength)weakest, r->file->dominators));
  return verbs[i].run(r, g, r->file->dominators);
}
