// The text, its cursor and the keys. Every change goes through line_replace, which keeps the text
// valid UTF-8 with a NUL behind it, within its cap. Undo keeps whole texts: they are short, and a
// run of typing is one step.
#include "base/utf8.h"
#include "host/lineedit_impl.h"

#include <string.h>

#define CTRL(letter) ((letter)&0x1f)

// ---- strings ----

bool tm_line_text_add(tm_ctx *ctx, line_text *t, const char *data, size_t size) {
  if (tm_vec_grow(ctx, (void **)&t->data, &t->room, t->size + size + 1, 1) != TM_OK) {
    tm_ctx_clear(ctx);
    return false;
  }
  if (size) memcpy(t->data + t->size, data, size);
  t->size += size;
  t->data[t->size] = '\0';
  return true;
}

bool tm_line_text_set(tm_ctx *ctx, line_text *t, const char *data, size_t size) {
  line_text made = {0};
  if (!tm_line_text_add(ctx, &made, data, size)) return false;
  tm_line_text_free(ctx, t);
  *t = made;
  return true;
}

void tm_line_text_free(tm_ctx *ctx, line_text *t) {
  tm_free(ctx, t->data, t->room);
  *t = (line_text){0};
}

void tm_line_emit(tm_lineedit *e, const char *data, size_t size) {
  (void)tm_line_text_add(e->ctx, &e->out, data, size); // without memory the screen lags behind
}

void tm_line_bell(tm_lineedit *e) {
  tm_line_emit(e, "\a", 1);
}

// ---- the text ----

bool tm_line_replace(tm_lineedit *e, size_t from, size_t to, const char *data, size_t size) {
  line_text made = {0};
  bool ok = e->text.size - (to - from) + size <= LINE_MAX_BYTES
            && tm_line_text_add(e->ctx, &made, e->text.data, from)
            && tm_line_text_add(e->ctx, &made, data, size)
            && tm_line_text_add(e->ctx, &made, e->text.data + to, e->text.size - to);
  if (!ok) {
    tm_line_text_free(e->ctx, &made);
    tm_line_bell(e);
    return false;
  }
  tm_line_text_free(e->ctx, &e->text);
  e->text = made;
  e->cursor = from + size;
  e->dirty = true;
  return true;
}

void tm_line_set(tm_lineedit *e, const char *data, size_t size, size_t cursor) {
  if (tm_line_replace(e, 0, e->text.size, data, size)) e->cursor = cursor;
}

static void drop_undo(tm_lineedit *e, size_t keep) {
  while (e->undo.count > keep) tm_line_text_free(e->ctx, &e->undo.items[--e->undo.count].text);
}

// Remembers the text as it is, before a change.
static void keep_for_undo(tm_lineedit *e) {
  undo_step step = {{0}, e->cursor};
  if (e->undo.count == UNDO_MAX) {
    tm_line_text_free(e->ctx, &e->undo.items[0].text);
    memmove(e->undo.items, e->undo.items + 1, (UNDO_MAX - 1) * sizeof *e->undo.items);
    e->undo.count--;
  }
  if (!tm_line_text_add(e->ctx, &step.text, e->text.data, e->text.size)) return;
  if (tm_vec_push(e->ctx, &e->undo, step) == TM_OK) return;
  tm_line_text_free(e->ctx, &step.text);
  tm_ctx_clear(e->ctx);
}

static void undo(tm_lineedit *e) {
  if (e->undo.count == 0) {
    tm_line_bell(e);
    return;
  }
  undo_step *step = &e->undo.items[--e->undo.count];
  tm_line_set(e, step->text.data, step->text.size, step->cursor);
  tm_line_text_free(e->ctx, &step->text);
}

static void insert(tm_lineedit *e, const char *data, size_t size) {
  tm_line_replace(e, e->cursor, e->cursor, data, size);
}

// ---- where the cursor goes ----

static size_t line_start(const tm_lineedit *e, size_t at) {
  while (at > 0 && e->text.data[at - 1] != '\n') at--;
  return at;
}

static size_t line_end(const tm_lineedit *e, size_t at) {
  while (at < e->text.size && e->text.data[at] != '\n') at++;
  return at;
}

static size_t left_of(const tm_lineedit *e, size_t at) {
  return tm_cluster_prev(e->text.data, at);
}

static size_t right_of(const tm_lineedit *e, size_t at) {
  return tm_cluster_next(e->text.data, e->text.size, at);
}

static bool in_word(uint8_t c) {
  return c >= 0x80 || c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z')
         || (c >= 'A' && c <= 'Z');
}

static size_t word_left(const tm_lineedit *e, size_t at) {
  while (at > 0 && !in_word((uint8_t)e->text.data[at - 1])) at--;
  while (at > 0 && in_word((uint8_t)e->text.data[at - 1])) at--;
  return at;
}

static size_t word_right(const tm_lineedit *e, size_t at) {
  while (at < e->text.size && !in_word((uint8_t)e->text.data[at])) at++;
  while (at < e->text.size && in_word((uint8_t)e->text.data[at])) at++;
  return at;
}

// The start of the blank-separated word on the left (Ctrl-W).
static size_t blank_left(const tm_lineedit *e, size_t at) {
  while (at > 0 && strchr(" \t\n", e->text.data[at - 1])) at--;
  while (at > 0 && !strchr(" \t\n", e->text.data[at - 1])) at--;
  return at;
}

static void move(tm_lineedit *e, size_t to) {
  e->cursor = to;
  e->dirty = true;
}

// Up or down within the text, towards the same column; false at its first or last line.
static bool move_line(tm_lineedit *e, int direction) {
  size_t start = line_start(e, e->cursor), end = line_end(e, e->cursor);
  size_t columns = tm_text_width(e->text.data + start, e->cursor - start);
  if (direction < 0 ? start == 0 : end == e->text.size) return false;
  size_t at = direction < 0 ? line_start(e, start - 1) : end + 1, stop = line_end(e, at), from = at;
  while (at < stop) {
    size_t next = right_of(e, at);
    if (tm_text_width(e->text.data + from, next - from) > columns) break;
    at = next;
  }
  move(e, at);
  return true;
}

static void up_or_down(tm_lineedit *e, int direction) {
  if (e->last == ACT_HISTORY || !move_line(e, direction)) {
    tm_line_history_step(e, direction);
    e->now = ACT_HISTORY;
  }
}

// ---- killing and yanking ----

static void delete_range(tm_lineedit *e, size_t from, size_t to) {
  if (from == to) {
    tm_line_bell(e);
    return;
  }
  keep_for_undo(e);
  tm_line_replace(e, from, to, "", 0);
}

// Kills in a row are one text: to the left is put before, to the right behind.
static void kill_range(tm_lineedit *e, size_t from, size_t to) {
  line_text joined = {0};
  bool chain = e->last == ACT_KILL, left = to <= e->cursor;
  bool ok = true;
  if (from == to) {
    tm_line_bell(e);
    return;
  }
  if (chain && !left) ok = tm_line_text_add(e->ctx, &joined, e->killed.data, e->killed.size);
  ok = ok && tm_line_text_add(e->ctx, &joined, e->text.data + from, to - from);
  if (chain && left) ok = ok && tm_line_text_add(e->ctx, &joined, e->killed.data, e->killed.size);
  if (!ok) {
    tm_line_text_free(e->ctx, &joined);
    tm_line_bell(e);
    return;
  }
  tm_line_text_free(e->ctx, &e->killed);
  e->killed = joined;
  delete_range(e, from, to);
  e->now = ACT_KILL;
}

static void kill_to_end(tm_lineedit *e) {
  size_t end = line_end(e, e->cursor);
  if (end == e->cursor && end < e->text.size) end++; // at the end of a line: the break
  kill_range(e, e->cursor, end);
}

static void transpose(tm_lineedit *e) {
  size_t right = e->cursor;
  if (right == e->text.size || e->text.data[right] == '\n') right = left_of(e, right);
  size_t left = left_of(e, right), end = right_of(e, right);
  char swapped[256];
  if (e->cursor == 0 || left == right || end - left > sizeof swapped) {
    tm_line_bell(e);
    return;
  }
  memcpy(swapped, e->text.data + right, end - right);
  memcpy(swapped + (end - right), e->text.data + left, right - left);
  keep_for_undo(e);
  tm_line_replace(e, left, end, swapped, end - left);
}

// ---- typing and pasting ----

static void type(tm_lineedit *e, uint32_t code) {
  char bytes[4];
  if (e->last != ACT_TYPE || code == ' ') keep_for_undo(e);
  insert(e, bytes, tm_utf8_encode(code, bytes));
  e->now = ACT_TYPE;
}

// What was pasted as valid text: \r\n and \r are breaks, other controls are left out.
static void end_paste(tm_lineedit *e) {
  line_text clean = {0};
  uint32_t code;
  bool ok = true;
  e->pasting = false;
  for (size_t at = 0; at < e->paste.size && ok;) {
    const char *p = e->paste.data + at;
    at += tm_utf8_decode(p, e->paste.size - at, &code);
    if (code == '\r' && e->paste.data[at] == '\n') continue;
    if (code == '\r') code = '\n';
    if ((code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7f && code < 0xa0)) continue;
    char bytes[4];
    ok = tm_line_text_add(e->ctx, &clean, bytes, tm_utf8_encode(code, bytes));
  }
  tm_line_text_free(e->ctx, &e->paste);
  if (clean.size) {
    keep_for_undo(e);
    insert(e, clean.data, clean.size);
  }
  tm_line_text_free(e->ctx, &clean);
}

static void paste_byte(tm_lineedit *e, char byte) {
  static const char end[] = "\033[201~";
  size_t tail = sizeof end - 1;
  if (e->paste.size < 2 * LINE_MAX_BYTES) (void)tm_line_text_add(e->ctx, &e->paste, &byte, 1);
  if (byte != '~' || e->paste.size < tail) return;
  if (memcmp(e->paste.data + e->paste.size - tail, end, tail) != 0) return;
  e->paste.size -= tail;
  e->paste.data[e->paste.size] = '\0';
  end_paste(e);
}

// ---- keys ----

static void clear_screen(tm_lineedit *e) {
  tm_line_draw_erase(e);
  tm_line_emit(e, "\033[H\033[2J", 7);
  e->dirty = true;
}

static void alt_key(tm_lineedit *e, uint32_t code) {
  switch (code) {
  case 'b':
  case KEY_LEFT:
    move(e, word_left(e, e->cursor));
    break;
  case 'f':
  case KEY_RIGHT:
    move(e, word_right(e, e->cursor));
    break;
  case 'd':
  case KEY_DELETE:
    kill_range(e, e->cursor, word_right(e, e->cursor));
    break;
  case 0x7f:
  case CTRL('h'):
    kill_range(e, word_left(e, e->cursor), e->cursor);
    break;
  case '<':
    tm_line_history_step(e, -HISTORY_MAX);
    break;
  case '>':
    tm_line_history_step(e, HISTORY_MAX);
    break;
  case '\r':
  case '\n':
    keep_for_undo(e);
    insert(e, "\n", 1);
    break;
  default:
    tm_line_bell(e);
  }
}

static void yank(tm_lineedit *e) {
  keep_for_undo(e);
  insert(e, e->killed.data, e->killed.size);
}

static void move_key(tm_lineedit *e, uint32_t code) {
  switch (code) {
  case CTRL('a'):
  case KEY_HOME:
    move(e, line_start(e, e->cursor));
    break;
  case CTRL('e'):
  case KEY_END:
    move(e, line_end(e, e->cursor));
    break;
  case CTRL('b'):
  case KEY_LEFT:
    move(e, left_of(e, e->cursor));
    break;
  case CTRL('f'):
  case KEY_RIGHT:
    move(e, right_of(e, e->cursor));
    break;
  case CTRL('p'):
  case KEY_UP:
    up_or_down(e, -1);
    break;
  case CTRL('n'):
  case KEY_DOWN:
    up_or_down(e, 1);
    break;
  case KEY_PAGE_UP:
    tm_line_history_step(e, -HISTORY_MAX);
    break;
  case KEY_PAGE_DOWN:
    tm_line_history_step(e, HISTORY_MAX);
    break;
  default:
    tm_line_bell(e);
  }
}

static tm_line_event plain_key(tm_lineedit *e, uint32_t code) {
  switch (code) {
  case '\r':
  case '\n':
    return TM_LINE_ENTER;
  case '\t':
    e->now = ACT_COMPLETE;
    return TM_LINE_COMPLETE;
  case CTRL('c'):
    return TM_LINE_INTERRUPT;
  case CTRL('z'):
    return TM_LINE_SUSPEND;
  case CTRL('d'):
    if (e->text.size == 0) return TM_LINE_EOF;
    delete_range(e, e->cursor, right_of(e, e->cursor));
    break;
  case KEY_DELETE:
    delete_range(e, e->cursor, right_of(e, e->cursor));
    break;
  case 0x7f:
  case CTRL('h'):
    delete_range(e, left_of(e, e->cursor), e->cursor);
    break;
  case CTRL('k'):
    kill_to_end(e);
    break;
  case CTRL('u'):
    kill_range(e, line_start(e, e->cursor), e->cursor);
    break;
  case CTRL('w'):
    kill_range(e, blank_left(e, e->cursor), e->cursor);
    break;
  case CTRL('y'):
    yank(e);
    break;
  case CTRL('t'):
    transpose(e);
    break;
  case CTRL('l'):
    clear_screen(e);
    break;
  case CTRL('r'):
    tm_line_search_begin(e);
    break;
  case CTRL('_'):
    undo(e);
    break;
  case CTRL('x'):
    e->ctrl_x = true;
    break;
  case KEY_PASTE_BEGIN:
    e->pasting = true;
    break;
  case KEY_ESCAPE:
  case KEY_INSERT:
  case CTRL('g'):
    break;
  default:
    if (code >= 0x20 && code < KEY_UP)
      type(e, code);
    else
      move_key(e, code);
  }
  return TM_LINE_NONE;
}

static tm_line_event on_key(tm_lineedit *e, line_key key) {
  e->last = e->now;
  e->now = ACT_OTHER;
  if (key.code == KEY_PASTE_BEGIN) {
    tm_line_search_end(e);
    tm_line_menu_close(e);
  }
  if (e->ctrl_x) { // Ctrl-X Ctrl-U, as in Emacs
    e->ctrl_x = false;
    if (key.code == CTRL('u')) undo(e);
    return TM_LINE_NONE;
  }
  if (e->searching && tm_line_search_key(e, key)) return TM_LINE_NONE;
  if (e->menu.count && tm_line_menu_key(e, key)) return TM_LINE_NONE;
  if (key.mods & (MOD_ALT | MOD_CTRL)) {
    alt_key(e, key.code);
    return TM_LINE_NONE;
  }
  return plain_key(e, key.code);
}

// ---- the machine ----

static tm_line_event on_byte(tm_lineedit *e, uint8_t byte, bool alone) {
  line_key keys[2];
  if (e->pasting) {
    if (byte == CTRL('c') && alone)
      end_paste(e); // the terminal never ended it
    else
      paste_byte(e, (char)byte);
    return TM_LINE_NONE;
  }
  tm_line_event event = TM_LINE_NONE;
  size_t n = tm_line_key_feed(&e->keys, byte, keys);
  for (size_t i = 0; i < n && event == TM_LINE_NONE; i++) event = on_key(e, keys[i]);
  return event;
}

tm_line_event tm_lineedit_feed(tm_lineedit *e, const char *bytes, size_t size, size_t *used_out) {
  tm_line_event event = TM_LINE_NONE;
  size_t used = 0;
  while (used < size && event == TM_LINE_NONE)
    event = on_byte(e, (uint8_t)bytes[used++], size == 1);
  *used_out = used;
  if (e->dirty) tm_line_draw(e);
  return event;
}

bool tm_lineedit_pending(const tm_lineedit *e) {
  return e->keys.state != GROUND || e->keys.utf8_have > 0;
}

void tm_lineedit_idle(tm_lineedit *e) {
  line_key keys[2];
  if (tm_line_key_idle(&e->keys, keys)) on_key(e, keys[0]);
  if (e->dirty) tm_line_draw(e);
}

void tm_lineedit_begin(tm_lineedit *e, const char *prompt, const char *more_prompt) {
  (void)tm_line_text_set(e->ctx, &e->prompt, prompt, strlen(prompt));
  (void)tm_line_text_set(e->ctx, &e->more_prompt, more_prompt, strlen(more_prompt));
  tm_line_search_end(e);
  tm_line_menu_close(e);
  drop_undo(e, 0);
  tm_line_set(e, "", 0, 0);
  e->at = e->history.count;
  e->top = 0;
  e->now = ACT_OTHER;
  e->shown = true;
  tm_line_draw(e);
}

void tm_lineedit_accept(tm_lineedit *e) {
  tm_line_search_end(e);
  tm_line_menu_close(e);
  tm_line_draw_finish(e);
}

void tm_lineedit_newline(tm_lineedit *e, size_t indent) {
  static const char blanks[] = "\n                                ";
  if (indent > sizeof blanks - 2) indent = sizeof blanks - 2;
  tm_line_menu_close(e);
  keep_for_undo(e);
  insert(e, blanks, indent + 1);
  tm_line_draw(e);
}

void tm_lineedit_abandon(tm_lineedit *e) {
  tm_line_search_end(e);
  tm_line_menu_close(e);
  e->cursor = e->text.size;
  tm_line_draw(e);
  tm_line_emit(e, "^C", 2);
  tm_line_draw_finish(e);
}

const char *tm_lineedit_text(const tm_lineedit *e, size_t *size_out) {
  *size_out = e->text.size;
  return e->text.data ? e->text.data : "";
}

size_t tm_lineedit_cursor(const tm_lineedit *e) {
  return e->cursor;
}

void tm_lineedit_set_text(tm_lineedit *e, const char *text, size_t size) {
  keep_for_undo(e);
  tm_line_set(e, text, size, size);
  if (e->dirty) tm_line_draw(e);
}

void tm_lineedit_hide(tm_lineedit *e) {
  tm_line_draw_erase(e);
  e->shown = false;
}

void tm_lineedit_show(tm_lineedit *e) {
  e->shown = true;
  tm_line_draw(e);
}

void tm_lineedit_print_above(tm_lineedit *e, const char *text, size_t size) {
  bool shown = e->shown;
  if (shown) tm_line_draw_erase(e);
  for (size_t at = 0; at < size;) {
    const char *end = memchr(text + at, '\n', size - at);
    size_t n = end ? (size_t)(end - text) - at : size - at;
    tm_line_emit(e, text + at, n);
    tm_line_emit(e, "\r\n", 2);
    at += n + 1;
  }
  if (shown) tm_line_draw(e);
}

void tm_lineedit_resize(tm_lineedit *e, size_t columns, size_t rows) {
  tm_line_draw_resize(e, columns, rows);
}

const char *tm_lineedit_output(tm_lineedit *e, size_t *size_out) {
  *size_out = e->out.size;
  e->out.size = 0;
  return e->out.data ? e->out.data : "";
}

// ---- life ----

tm_lineedit *tm_lineedit_new(tm_ctx *ctx) {
  tm_lineedit *e = tm_calloc(ctx, 1, sizeof *e);
  if (!e) return NULL;
  e->ctx = ctx;
  e->columns = 80;
  e->rows = 24;
  if (tm_line_text_add(ctx, &e->text, "", 0)) return e;
  tm_lineedit_free(e);
  tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "no memory for a line editor");
  return NULL;
}

void tm_lineedit_free(tm_lineedit *e) {
  if (!e) return;
  tm_line_menu_close(e);
  drop_undo(e, 0);
  for (size_t i = 0; i < e->history.count; i++) tm_line_text_free(e->ctx, &e->history.items[i]);
  line_text *texts[] = {&e->prompt, &e->more_prompt, &e->text,      &e->killed, &e->paste,
                        &e->draft,  &e->query,       &e->menu_word, &e->out};
  for (size_t i = 0; i < TM_COUNT(texts); i++) tm_line_text_free(e->ctx, texts[i]);
  tm_vec_free(e->ctx, &e->undo);
  tm_vec_free(e->ctx, &e->history);
  tm_vec_free(e->ctx, &e->menu);
  tm_line_frame_free(e->ctx, &e->drawn);
  tm_line_frame_free(e->ctx, &e->next);
  tm_free(e->ctx, e, sizeof *e);
}
