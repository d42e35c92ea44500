// A terminal's screen in memory: what a program writes goes in, rows of text can be asked for. It
// knows what tidemark's line editor and printers write, wraps late as real terminals do (a full row
// keeps the cursor until the next character), and keeps what scrolled out.
#ifndef TM_SPEC_SCREEN_H
#define TM_SPEC_SCREEN_H

#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef SCREEN_MAX_COLUMNS
#define SCREEN_MAX_COLUMNS 200
#define SCREEN_MAX_ROWS    100
#endif
enum { SCREEN_CELL = 32, SCREEN_PAST = 1 << 16 };

typedef struct screen {
  size_t columns, rows, row, column;
  bool late_wrap; // the cursor stands behind a full row
  char cells[SCREEN_MAX_ROWS][SCREEN_MAX_COLUMNS][SCREEN_CELL]; // "" = right half of a wide one
  char sequence[64];
  size_t sequence_size; // > 0: within an escape sequence
  bool in_string;       // of OSC: until BEL or ST
  char partial[4];
  size_t partial_size;
  size_t bells, unknown;
  char *past; // lines that scrolled out, each with its break
  size_t past_size, scrolled;
} screen;

static inline void screen_blank(screen *s, size_t row, size_t from, size_t to) {
  for (size_t c = from; c < to; c++) strcpy(s->cells[row][c], " ");
}

static inline screen *screen_new(size_t columns, size_t rows) {
  screen *s = calloc(1, sizeof *s);
  s->columns = columns;
  s->rows = rows;
  s->past = calloc(1, SCREEN_PAST);
  for (size_t r = 0; r < SCREEN_MAX_ROWS; r++) screen_blank(s, r, 0, SCREEN_MAX_COLUMNS);
  return s;
}

static inline void screen_free(screen *s) {
  free(s->past);
  free(s);
}

// The text of a row, blanks at its end cut; valid until the next two calls.
static inline const char *screen_row_text(const screen *s, size_t row) {
  static char texts[2][SCREEN_MAX_COLUMNS * SCREEN_CELL + 1];
  static int turn;
  char *text = texts[turn = !turn];
  size_t n = 0;
  for (size_t c = 0; c < s->columns; c++) {
    size_t size = strlen(s->cells[row][c]);
    memcpy(text + n, s->cells[row][c], size);
    n += size;
  }
  while (n > 0 && text[n - 1] == ' ') n--;
  text[n] = '\0';
  return text;
}

static inline void screen_scroll(screen *s) {
  const char *first = screen_row_text(s, 0);
  s->scrolled++;
  size_t size = strlen(first);
  if (s->past_size + size + 2 < SCREEN_PAST) {
    memcpy(s->past + s->past_size, first, size);
    s->past_size += size;
    s->past[s->past_size++] = '\n';
    s->past[s->past_size] = '\0';
  }
  memmove(s->cells[0], s->cells[1], (s->rows - 1) * sizeof s->cells[0]);
  screen_blank(s, s->rows - 1, 0, SCREEN_MAX_COLUMNS);
}

static inline void screen_line_feed(screen *s) {
  s->late_wrap = false;
  if (s->row + 1 < s->rows)
    s->row++;
  else
    screen_scroll(s);
}

static inline void screen_put(screen *s, const char *bytes, size_t size, uint32_t code) {
  size_t width = tm_char_width(code);
  if (width == 0) { // stays with the cell before
    size_t column = s->late_wrap ? s->column : s->column ? s->column - 1 : 0;
    while (column > 0 && !s->cells[s->row][column][0]) column--;
    char *cell = s->cells[s->row][column];
    if (strlen(cell) + size < SCREEN_CELL) strncat(cell, bytes, size);
    return;
  }
  if (s->late_wrap || s->column + width > s->columns) {
    screen_line_feed(s);
    s->column = 0;
  }
  memcpy(s->cells[s->row][s->column], bytes, size);
  s->cells[s->row][s->column][size] = '\0';
  if (width == 2) s->cells[s->row][s->column + 1][0] = '\0';
  s->column += width;
  s->late_wrap = s->column >= s->columns;
  if (s->late_wrap) s->column = s->columns - 1;
}

static inline void screen_erase(screen *s, char what, size_t mode) {
  size_t from = mode == 0 ? s->column : 0, to = mode == 1 ? s->column + 1 : s->columns;
  screen_blank(s, s->row, from, to); // a late wrap loses its last cell, as in xterm
  if (what != 'J') return;
  for (size_t r = 0; r < s->rows; r++)
    if (mode == 2 || (mode == 0 && r > s->row) || (mode == 1 && r < s->row))
      screen_blank(s, r, 0, SCREEN_MAX_COLUMNS);
}

static inline void screen_csi(screen *s, const char *args, char final) {
  size_t n = strtoul(args, NULL, 10), step = n ? n : 1;
  if (strchr("ABCDHJK", final) && args[0] != '?') {
    if (final != 'J' && final != 'K') s->late_wrap = false;
    if (final == 'A') s->row -= step < s->row ? step : s->row;
    if (final == 'B') s->row = s->row + step < s->rows ? s->row + step : s->rows - 1;
    if (final == 'C') s->column = s->column + step < s->columns ? s->column + step : s->columns - 1;
    if (final == 'D') s->column -= step < s->column ? step : s->column;
    if (final == 'H') s->row = s->column = 0;
    if (final == 'J' || final == 'K') screen_erase(s, final, n);
  } else if (!strchr("mhl", final)) {
    s->unknown++;
  }
}

static inline void screen_in_sequence(screen *s, char c) {
  if (s->in_string) {
    if (c == '\a' || (c == '\\' && s->sequence[0] == '\033')) s->in_string = false;
    s->sequence[0] = c;
    if (!s->in_string) s->sequence_size = 0;
    return;
  }
  if (s->sequence_size < sizeof s->sequence - 1) s->sequence[s->sequence_size++] = c;
  s->sequence[s->sequence_size] = '\0';
  if (s->sequence_size == 2 && c == ']') s->in_string = true;
  if (s->sequence_size == 2 && c != '[' && c != ']') {
    s->unknown++;
    s->sequence_size = 0;
  }
  if (s->sequence_size > 2 && c >= 0x40 && c <= 0x7e) {
    screen_csi(s, s->sequence + 2, c);
    s->sequence_size = 0;
  }
}

static inline void screen_control(screen *s, char c) {
  if (c == '\r') {
    s->column = 0;
    s->late_wrap = false;
  } else if (c == '\n') {
    screen_line_feed(s);
  } else if (c == '\b' && s->column > 0) {
    s->column--;
    s->late_wrap = false;
  } else if (c == '\a') {
    s->bells++;
  } else if (c == '\033') {
    s->sequence[0] = c;
    s->sequence_size = 1;
  } else {
    s->unknown++;
  }
}

static inline void screen_write(screen *s, const char *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) {
    uint8_t c = (uint8_t)bytes[i];
    if (s->sequence_size) {
      screen_in_sequence(s, (char)c);
    } else if (s->partial_size || c >= 0x80) {
      s->partial[s->partial_size++] = (char)c;
      size_t need = (uint8_t)s->partial[0] >= 0xf0 ? 4 : (uint8_t)s->partial[0] >= 0xe0 ? 3 : 2;
      if (s->partial_size < need) continue;
      uint32_t code;
      if (tm_utf8_decode(s->partial, need, &code) != need) s->unknown++;
      screen_put(s, s->partial, need, code);
      s->partial_size = 0;
    } else if (c < 0x20 || c == 0x7f) {
      screen_control(s, (char)c);
    } else {
      screen_put(s, (const char *)&c, 1, c);
    }
  }
}

// Another size. reflow: rows that are too long are broken in two, as most terminals do; else cut.
static inline void screen_resize(screen *s, size_t columns, size_t rows, bool reflow) {
  screen *to = screen_new(columns, rows);
  size_t row_to = 0, last = s->rows;
  while (last > s->row + 1 && !screen_row_text(s, last - 1)[0]) last--;
  for (size_t r = 0; r < last; r++) {
    if (r > 0) screen_write(to, "\r\n", 2);
    size_t width = strlen(screen_row_text(s, r)) ? s->columns : 0;
    while (width > 0 && strcmp(s->cells[r][width - 1], " ") == 0) width--;
    if (r == s->row && width < s->column) width = s->column;
    for (size_t c = 0; c < width && (reflow || c < columns); c++)
      screen_write(to, s->cells[r][c], strlen(s->cells[r][c]));
    if (r == s->row) row_to = to->row + to->scrolled;
  }
  size_t column = s->column % columns;
  size_t past = s->past_size + to->past_size;
  if (past < SCREEN_PAST) {
    memmove(to->past + s->past_size, to->past, to->past_size + 1);
    memcpy(to->past, s->past, s->past_size);
    to->past_size = past;
  }
  to->row = row_to > to->scrolled ? row_to - to->scrolled : 0;
  to->column = column;
  to->late_wrap = false;
  to->bells = s->bells;
  to->unknown = s->unknown;
  free(s->past);
  *s = *to;
  free(to);
}

#endif
