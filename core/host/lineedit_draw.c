// Drawing: prompt, text and menu are laid out as rows of at most the screen's width, and only rows
// that differ from what is on the screen are written. The editor breaks rows itself and never
// trusts the terminal's wrapping; a text taller than the screen is seen through a window at the
// cursor.
#include "base/utf8.h"
#include "host/lineedit_impl.h"

#include <stdio.h>
#include <string.h>

enum { MIN_COLUMNS = 4, MAX_LABEL = 40 };

void tm_line_frame_free(tm_ctx *ctx, frame *f) {
  tm_line_text_free(ctx, &f->bytes);
  tm_vec_free(ctx, &f->rows);
}

// ---- laying out ----

static void frame_clear(frame *f) {
  f->bytes.size = 0;
  f->rows.count = 0;
  f->cursor_row = f->cursor_column = 0;
}

static screen_row *begin_row(tm_lineedit *e) {
  frame *f = &e->next;
  screen_row row = {f->bytes.size, 0, 0};
  if (tm_vec_push(e->ctx, &f->rows, row) != TM_OK) tm_ctx_clear(e->ctx);
  return f->rows.count ? &f->rows.items[f->rows.count - 1] : NULL;
}

static void put(tm_lineedit *e, const char *bytes, size_t size, size_t width) {
  frame *f = &e->next;
  screen_row *row = f->rows.count ? &f->rows.items[f->rows.count - 1] : begin_row(e);
  if (row && row->width + width > e->columns) row = begin_row(e);
  if (!row || !tm_line_text_add(e->ctx, &f->bytes, bytes, size)) return;
  row->size += size;
  row->width += width;
}

// The bytes of a colour (CSI ... m) at text; 0 = none.
static size_t colour_size(const char *text, size_t size) {
  size_t n = 2;
  if (size < 3 || text[0] != '\033' || text[1] != '[') return 0;
  while (n < size && ((text[n] >= '0' && text[n] <= '9') || text[n] == ';')) n++;
  return n < size && text[n] == 'm' ? n + 1 : 0;
}

// One code point as it is shown: controls as ^X, tabs as two blanks, the rest as it is.
static void put_code(tm_lineedit *e, const char *bytes, size_t size, uint32_t code) {
  char shown[2] = {'^', (char)(code ^ 0x40)};
  if (code == '\t')
    put(e, "  ", 2, 2);
  else if (code < 0x20 || code == 0x7f)
    put(e, shown, 2, 2);
  else if (code == 0xfffd || (code >= 0x80 && code < 0xa0))
    put(e, "\xef\xbf\xbd", 3, 1);
  else
    put(e, bytes, size, tm_char_width(code));
}

static void put_text(tm_lineedit *e, const line_text *t) {
  uint32_t code;
  for (size_t at = 0; at < t->size;) {
    size_t n = colour_size(t->data + at, t->size - at);
    if (n) {
      put(e, t->data + at, n, 0);
    } else {
      n = tm_utf8_decode(t->data + at, t->size - at, &code);
      put_code(e, t->data + at, n, code);
    }
    at += n;
  }
}

static void put_prompt(tm_lineedit *e) {
  line_text search = {0};
  static const char *const words[] = {"search '", "no match '"};
  const char *word = words[e->search_failed];
  if (!e->searching) {
    put_text(e, &e->prompt);
    return;
  }
  if (tm_line_text_add(e->ctx, &search, word, strlen(word))
      && tm_line_text_add(e->ctx, &search, e->query.data, e->query.size)
      && tm_line_text_add(e->ctx, &search, "': ", 3))
    put_text(e, &search);
  tm_line_text_free(e->ctx, &search);
}

static void mark_cursor(tm_lineedit *e) {
  frame *f = &e->next;
  if (f->rows.count && f->rows.items[f->rows.count - 1].width >= e->columns) begin_row(e);
  f->cursor_row = f->rows.count ? f->rows.count - 1 : 0;
  f->cursor_column = f->rows.count ? f->rows.items[f->cursor_row].width : 0;
}

static void lay_out_text(tm_lineedit *e) {
  const char *text = e->text.data;
  uint32_t code;
  begin_row(e);
  put_prompt(e);
  for (size_t at = 0; at < e->text.size;) {
    if (at == e->cursor) mark_cursor(e);
    size_t n = tm_utf8_decode(text + at, e->text.size - at, &code);
    if (code == '\n') {
      begin_row(e);
      put_text(e, &e->more_prompt);
    } else {
      put_code(e, text + at, n, code);
    }
    at += n;
  }
  if (e->cursor == e->text.size) mark_cursor(e);
}

// Cuts the frame to the rows in view, moving the view as little as the cursor allows.
static void window(tm_lineedit *e, size_t room) {
  frame *f = &e->next;
  if (f->rows.count <= room) {
    e->top = 0;
    return;
  }
  if (e->top + room > f->rows.count) e->top = f->rows.count - room;
  if (f->cursor_row < e->top) e->top = f->cursor_row;
  if (f->cursor_row >= e->top + room) e->top = f->cursor_row - room + 1;
  memmove(f->rows.items, f->rows.items + e->top, room * sizeof *f->rows.items);
  f->rows.count = room;
  f->cursor_row -= e->top;
}

// A text for one row, cut at so many columns; padded when asked.
static void put_cell(tm_lineedit *e, const line_text *t, size_t columns, bool pad) {
  uint32_t code;
  size_t used = 0;
  for (size_t at = 0; at < t->size;) {
    size_t n = tm_utf8_decode(t->data + at, t->size - at, &code);
    size_t width = tm_char_width(code);
    if (used + width > columns) break;
    if (code >= 0x20 && code != 0x7f) put(e, t->data + at, n, width);
    used += code >= 0x20 && code != 0x7f ? width : 0;
    at += n;
  }
  for (; pad && used < columns; used++) put(e, " ", 1, 1);
}

static void menu_row(tm_lineedit *e, size_t at, size_t label) {
  const menu_item *item = &e->menu.items[at];
  size_t left = e->columns - 1;
  begin_row(e);
  if (at == e->menu_at) put(e, "\033[7m", 4, 0);
  put(e, " ", 1, 1);
  if (label > left - 1) label = left - 1;
  put_cell(e, &item->text, label, true);
  if (at == e->menu_at) put(e, "\033[0m", 4, 0);
  if (item->doc.size && left > label + 4) {
    put(e, "  ", 2, 2);
    put_cell(e, &item->doc, left - label - 3, false);
  }
}

static size_t menu_room(const tm_lineedit *e) {
  size_t most = e->rows > 2 ? e->rows - 1 : 0;
  size_t want = e->menu.count > MENU_ROWS ? MENU_ROWS + 1 : e->menu.count;
  return want < most ? want : most;
}

static void lay_out_menu(tm_lineedit *e, size_t room) {
  size_t count = e->menu.count, label = 0, first = 0;
  if (!room) return;
  size_t shown = count > room ? room - 1 : count;
  if (e->menu_at < count && e->menu_at >= shown) first = e->menu_at - shown + 1;
  for (size_t i = first; i < first + shown; i++) {
    size_t width = tm_text_width(e->menu.items[i].text.data, e->menu.items[i].text.size);
    if (width > label) label = width;
  }
  if (label > MAX_LABEL) label = MAX_LABEL;
  for (size_t i = first; i < first + shown; i++) menu_row(e, i, label);
  if (shown == count) return;
  char more[48];
  int n = snprintf(more, sizeof more, " %zu-%zu of %zu", first + 1, first + shown, count);
  begin_row(e);
  put_cell(e, &(line_text){more, (size_t)n, 0}, e->columns - 1, false);
}

// ---- writing ----

static void emit_count(tm_lineedit *e, size_t n, char final) {
  char text[32];
  if (n == 0) return;
  tm_line_emit(e, text, (size_t)snprintf(text, sizeof text, "\033[%zu%c", n, final));
}

// To the begin of a row; rows behind the last come into being by line breaks, which may scroll.
static void go_row(tm_lineedit *e, size_t row, size_t *existing) {
  size_t last = *existing - 1, to = row < last ? row : last;
  tm_line_emit(e, "\r", 1);
  if (to < e->screen_row) emit_count(e, e->screen_row - to, 'A');
  if (to > e->screen_row) emit_count(e, to - e->screen_row, 'B');
  for (; to < row; to++) tm_line_emit(e, "\r\n", 2);
  if (row + 1 > *existing) *existing = row + 1;
  e->screen_row = row;
}

static bool same_row(const frame *a, const frame *b, size_t row) {
  const screen_row *x = &a->rows.items[row], *y = &b->rows.items[row];
  return x->size == y->size
         && (x->size == 0
             || memcmp(a->bytes.data + x->offset, b->bytes.data + y->offset, x->size) == 0);
}

static void write_changes(tm_lineedit *e) {
  const frame *old = &e->drawn, *new = &e->next;
  size_t existing = old->rows.count ? old->rows.count : 1;
  for (size_t i = 0; i < new->rows.count; i++) {
    const screen_row *row = &new->rows.items[i];
    if (i < old->rows.count && same_row(old, new, i)) continue;
    go_row(e, i, &existing);
    if (row->size) tm_line_emit(e, new->bytes.data + row->offset, row->size);
    if (row->width < e->columns) tm_line_emit(e, "\033[K", 3);
  }
  if (old->rows.count > new->rows.count) {
    go_row(e, new->rows.count, &existing);
    tm_line_emit(e, "\033[J", 3);
  }
  go_row(e, new->cursor_row, &existing);
  emit_count(e, new->cursor_column, 'C');
}

void tm_line_draw(tm_lineedit *e) {
  e->dirty = false;
  if (!e->shown) return;
  size_t below = menu_room(e);
  frame_clear(&e->next);
  lay_out_text(e);
  window(e, e->rows > below ? e->rows - below : 1);
  lay_out_menu(e, below);
  write_changes(e);
  frame old = e->drawn;
  e->drawn = e->next;
  e->next = old;
}

void tm_line_draw_erase(tm_lineedit *e) {
  size_t existing = e->drawn.rows.count;
  if (!existing) return;
  go_row(e, 0, &existing);
  tm_line_emit(e, "\033[J", 3);
  frame_clear(&e->drawn);
}

void tm_line_draw_finish(tm_lineedit *e) {
  e->cursor = e->text.size;
  tm_line_draw(e);
  tm_line_emit(e, "\r\n", 2);
  frame_clear(&e->drawn);
  e->screen_row = 0;
  e->shown = false;
}

void tm_line_draw_resize(tm_lineedit *e, size_t columns, size_t rows) {
  if (columns < MIN_COLUMNS) columns = MIN_COLUMNS;
  if (rows < 1) rows = 1;
  size_t up = 0;
  for (size_t i = 0; i < e->drawn.rows.count && i <= e->screen_row; i++) {
    size_t width = i < e->screen_row ? e->drawn.rows.items[i].width : e->drawn.cursor_column + 1;
    up += width > columns ? (width - 1) / columns : 0;
  }
  if (e->drawn.rows.count) {
    tm_line_emit(e, "\r", 1);
    emit_count(e, up + e->screen_row, 'A');
    tm_line_emit(e, "\033[J", 3);
    frame_clear(&e->drawn);
    e->screen_row = 0;
  }
  e->columns = columns;
  e->rows = rows;
  tm_line_draw(e);
}
