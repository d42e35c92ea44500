// Private to lineedit*.c: the editor's state and what its files call of each other.
#ifndef TM_HOST_LINEEDIT_IMPL_H
#define TM_HOST_LINEEDIT_IMPL_H

#include "base/bytes.h"
#include "base/vec.h"
#include "host/lineedit.h"
#include "host/lineedit_keys.h"

enum { LINE_MAX_BYTES = 1 << 20, HISTORY_MAX = 1000, UNDO_MAX = 200, MENU_ROWS = 8 };

typedef struct line_text { // an owned string
  char *data;              // ends with NUL; NULL = empty
  size_t size, room;
} line_text;

typedef struct undo_step {
  line_text text;
  size_t cursor;
} undo_step;

typedef struct menu_item {
  line_text text, doc;
} menu_item;

// One row of the screen as it is drawn.
typedef struct screen_row {
  size_t offset, size; // in the frame's bytes
  size_t width;
} screen_row;

typedef struct frame {
  line_text bytes;
  TM_VEC(screen_row) rows;
  size_t cursor_row, cursor_column;
} frame;

// What the last key did: typing and killing are joined with what went before.
typedef enum last_act { ACT_OTHER, ACT_TYPE, ACT_KILL, ACT_HISTORY, ACT_COMPLETE } last_act;

struct tm_lineedit {
  tm_ctx *ctx;
  line_text prompt, more_prompt;
  line_text text, killed;
  size_t cursor;
  last_act last, now;
  TM_VEC(undo_step) undo;

  key_parser keys;
  bool pasting;
  line_text paste;

  TM_VEC(line_text) history;
  size_t at;       // entry shown; history.count = the draft
  line_text draft; // what was typed before the history was walked
  size_t prefix;   // bytes of the draft that entries must begin with

  bool searching, search_failed;
  line_text query;

  TM_VEC(menu_item) menu;             // empty: not shown
  size_t menu_from, menu_to, menu_at; // menu_at = menu.count: none is chosen
  line_text menu_word;                // what was there before one was chosen

  size_t columns, rows;
  bool shown, dirty, ctrl_x;
  size_t top; // first row of the text in view
  frame drawn, next;
  size_t screen_row; // of the real cursor, within drawn
  line_text out;
};

// ---- lineedit.c: strings and the text ----

bool tm_line_text_set(tm_ctx *ctx, line_text *t, const char *data, size_t size);
bool tm_line_text_add(tm_ctx *ctx, line_text *t, const char *data, size_t size);
void tm_line_text_free(tm_ctx *ctx, line_text *t);

// Replaces the bytes [from, to) of the text and puts the cursor behind them. False: too long or no
// memory; the bell rings and nothing changed.
bool tm_line_replace(tm_lineedit *e, size_t from, size_t to, const char *data, size_t size);
void tm_line_set(tm_lineedit *e, const char *data, size_t size, size_t cursor);
void tm_line_bell(tm_lineedit *e);
void tm_line_emit(tm_lineedit *e, const char *data, size_t size);

// ---- lineedit_history.c ----

void tm_line_history_step(tm_lineedit *e, int direction);
void tm_line_search_begin(tm_lineedit *e);
// A key while searching; false: the search is over and the key means what it always means.
bool tm_line_search_key(tm_lineedit *e, line_key key);
void tm_line_search_end(tm_lineedit *e);

// ---- lineedit_menu.c ----

void tm_line_menu_close(tm_lineedit *e);
// A key while the menu is shown; false as above.
bool tm_line_menu_key(tm_lineedit *e, line_key key);

// ---- lineedit_draw.c ----

void tm_line_draw(tm_lineedit *e);
void tm_line_draw_erase(tm_lineedit *e); // takes all rows off, the cursor at the place of the first
void tm_line_draw_finish(tm_lineedit *e); // the text alone, the cursor on a new row below
void tm_line_draw_resize(tm_lineedit *e, size_t columns, size_t rows);
void tm_line_frame_free(tm_ctx *ctx, frame *f);

#endif
