// The completion menu: what the candidates share is inserted at once, then Tab and the arrows put
// one after the other into the text. Escape brings back what was there.
#include "base/utf8.h"
#include "host/lineedit_impl.h"

#include <string.h>

#define CTRL(letter) ((letter)&0x1f)

enum { MENU_MAX = 500 };

void tm_line_menu_close(tm_lineedit *e) {
  e->dirty |= e->menu.count > 0;
  for (size_t i = 0; i < e->menu.count; i++) {
    tm_line_text_free(e->ctx, &e->menu.items[i].text);
    tm_line_text_free(e->ctx, &e->menu.items[i].doc);
  }
  e->menu.count = 0;
}

// Bytes that all candidates begin with, not cutting a character.
static size_t shared_size(const tm_candidate *list, size_t count) {
  size_t n = strlen(list[0].text);
  for (size_t i = 1; i < count; i++) {
    size_t same = 0;
    while (same < n && list[i].text[same] == list[0].text[same]) same++;
    n = same;
  }
  while (n > 0 && ((uint8_t)list[0].text[n] & 0xc0) == 0x80) n--;
  return n;
}

static void open_menu(tm_lineedit *e, size_t from, const tm_candidate *list, size_t count) {
  for (size_t i = 0; i < count && i < MENU_MAX; i++) {
    menu_item item = {{0}, {0}};
    if (!tm_line_text_add(e->ctx, &item.text, list[i].text, strlen(list[i].text))
        || !tm_line_text_add(e->ctx, &item.doc, list[i].doc, strlen(list[i].doc))
        || tm_vec_push(e->ctx, &e->menu, item) != TM_OK) {
      tm_line_text_free(e->ctx, &item.text);
      tm_line_text_free(e->ctx, &item.doc);
      tm_ctx_clear(e->ctx);
      break;
    }
  }
  e->menu_at = e->menu.count;
  e->menu_from = from;
  e->menu_to = e->cursor;
  (void)tm_line_text_set(e->ctx, &e->menu_word, e->text.data + from, e->cursor - from);
  e->dirty = true;
}

void tm_lineedit_candidates(tm_lineedit *e, size_t from, const tm_candidate *list, size_t count) {
  tm_line_menu_close(e);
  if (count == 0 || from > e->cursor) {
    tm_line_bell(e);
  } else {
    size_t shared = count == 1 ? strlen(list[0].text) : shared_size(list, count);
    size_t word = e->cursor - from;
    bool same = shared == word && memcmp(list[0].text, e->text.data + from, word) == 0;
    if ((count == 1 || shared >= word) && !same)
      tm_line_replace(e, from, e->cursor, list[0].text, shared);
    if (count > 1) open_menu(e, from, list, count);
  }
  if (e->dirty) tm_line_draw(e);
}

static void choose(tm_lineedit *e, size_t at) {
  const line_text *t = at < e->menu.count ? &e->menu.items[at].text : &e->menu_word;
  if (!tm_line_replace(e, e->menu_from, e->menu_to, t->data, t->size)) return;
  e->menu_to = e->cursor;
  e->menu_at = at;
}

bool tm_line_menu_key(tm_lineedit *e, line_key key) {
  size_t count = e->menu.count, at = e->menu_at;
  if (key.code == '\t' || key.code == KEY_DOWN || key.code == CTRL('n')) {
    choose(e, at >= count ? 0 : at + 1);
  } else if (key.code == KEY_BACK_TAB || key.code == KEY_UP || key.code == CTRL('p')) {
    choose(e, at == 0 ? count : at - 1);
  } else if (key.code == KEY_ESCAPE || key.code == CTRL('g')) {
    choose(e, count);
    tm_line_menu_close(e);
  } else if (key.code == '\r' && at < count) {
    tm_line_menu_close(e);
  } else {
    tm_line_menu_close(e);
    return false;
  }
  return true;
}
