// History: walking it by what the text begins with, and searching it while one types. Entries are
// few (a thousand) and short, so both look at them one by one.
#include "base/utf8.h"
#include "host/lineedit_impl.h"

#include <string.h>

#define CTRL(letter) ((letter)&0x1f)

void tm_lineedit_add_history(tm_lineedit *e, const char *text, size_t size) {
  const line_text *newest = e->history.count ? &e->history.items[e->history.count - 1] : NULL;
  if (size == 0 || size > LINE_MAX_BYTES) return;
  if (newest && newest->data && newest->size == size && memcmp(newest->data, text, size) == 0)
    return;
  line_text entry = {0};
  if (!tm_line_text_add(e->ctx, &entry, text, size)) return;
  if (newest && e->history.count == HISTORY_MAX) {
    tm_line_text_free(e->ctx, &e->history.items[0]);
    memmove(e->history.items, e->history.items + 1, (HISTORY_MAX - 1) * sizeof *e->history.items);
    e->history.count--;
  }
  if (tm_vec_push(e->ctx, &e->history, entry) != TM_OK) {
    tm_line_text_free(e->ctx, &entry);
    tm_ctx_clear(e->ctx);
  }
  e->at = e->history.count;
}

// ---- walking ----

static void show_entry(tm_lineedit *e, size_t at) {
  const line_text *t = at < e->history.count ? &e->history.items[at] : &e->draft;
  e->at = at;
  tm_line_set(e, t->data, t->size, t->size);
}

static bool fits(const tm_lineedit *e, size_t at) {
  const line_text *t = &e->history.items[at];
  bool begins = t->size >= e->prefix && memcmp(t->data, e->draft.data, e->prefix) == 0;
  bool same = t->size == e->text.size && memcmp(t->data, e->text.data, t->size) == 0;
  return begins && !same;
}

// direction: -1 older, 1 newer; a larger step goes to the oldest entry or back to the draft.
void tm_line_history_step(tm_lineedit *e, int direction) {
  if (e->last != ACT_HISTORY) {
    if (!tm_line_text_set(e->ctx, &e->draft, e->text.data, e->text.size)) return;
    e->prefix = e->cursor;
    e->at = e->history.count;
  }
  e->now = ACT_HISTORY;
  size_t at = e->at;
  if (direction == -1) {
    while (at > 0 && !fits(e, at - 1)) at--;
    if (at > 0)
      show_entry(e, at - 1);
    else
      tm_line_bell(e);
  } else if (direction == 1) {
    if (at == e->history.count) {
      tm_line_bell(e);
      return;
    }
    do at++;
    while (at < e->history.count && !fits(e, at));
    show_entry(e, at);
  } else {
    show_entry(e, direction < 0 || e->history.count == 0 ? 0 : e->history.count);
  }
}

// ---- searching ----

void tm_line_search_begin(tm_lineedit *e) {
  if (!tm_line_text_set(e->ctx, &e->draft, e->text.data, e->text.size)) return;
  if (!tm_line_text_set(e->ctx, &e->query, "", 0)) return;
  e->prefix = e->cursor;
  e->at = e->history.count;
  e->searching = true;
  e->search_failed = false;
  e->dirty = true;
}

void tm_line_search_end(tm_lineedit *e) {
  e->dirty |= e->searching;
  e->searching = false;
}

// The nearest entry from `at` on that holds the query; shows it.
static void search(tm_lineedit *e, size_t at, int direction) {
  const line_text *q = &e->query;
  e->dirty = true;
  e->search_failed = false;
  if (q->size == 0) return;
  for (; at < e->history.count; at += (size_t)direction) { // 0 - 1 wraps past the end
    const line_text *t = &e->history.items[at];
    const char *hit = memmem(t->data, t->size, q->data, q->size);
    if (!hit) continue;
    size_t place = (size_t)(hit - t->data);
    e->at = at;
    tm_line_set(e, t->data, t->size, place);
    return;
  }
  e->search_failed = true;
  tm_line_bell(e);
}

static void search_type(tm_lineedit *e, uint32_t code) {
  char bytes[4];
  if (tm_line_text_add(e->ctx, &e->query, bytes, tm_utf8_encode(code, bytes)))
    search(e, e->at < e->history.count ? e->at : e->history.count - 1, -1);
}

static void search_shorten(tm_lineedit *e) {
  e->query.size = tm_cluster_prev(e->query.data, e->query.size);
  e->query.data[e->query.size] = '\0';
  tm_line_set(e, e->draft.data, e->draft.size, e->prefix);
  e->at = e->history.count;
  search(e, e->history.count - 1, -1);
}

bool tm_line_search_key(tm_lineedit *e, line_key key) {
  if (key.code == CTRL('r')) {
    search(e, e->at - 1, -1);
  } else if (key.code == CTRL('s')) {
    search(e, e->at + 1, 1);
  } else if (key.code == 0x7f || key.code == CTRL('h')) {
    search_shorten(e);
  } else if (key.code == CTRL('g')) {
    tm_line_set(e, e->draft.data, e->draft.size, e->prefix);
    tm_line_search_end(e);
  } else if (key.code == KEY_ESCAPE || key.code == '\t') {
    tm_line_search_end(e);
  } else if (key.code >= 0x20 && key.code < KEY_UP && !key.mods) {
    search_type(e, key.code);
  } else {
    tm_line_search_end(e);
    return false;
  }
  return true;
}
