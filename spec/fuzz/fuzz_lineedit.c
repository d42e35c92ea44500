// floors: host
// Any bytes as keys. The text stays UTF-8, the cursor in it and on the screen, and drawing again
// from nothing shows what is there already. First two bytes: the terminal's size; 0xfe and 0xff
// among the keys: another size, a line printed above.
#define SCREEN_MAX_COLUMNS 90
#define SCREEN_MAX_ROWS    22
#include "host/lineedit.h"
#include "spec/c/screen.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void flush(tm_lineedit *e, screen *s) {
  size_t size;
  const char *bytes = tm_lineedit_output(e, &size);
  screen_write(s, bytes, size);
  if (s->unknown || s->row >= s->rows || s->column >= s->columns) abort();
}

static void check_text(const tm_lineedit *e) {
  size_t size, at = 0;
  uint32_t code;
  const char *text = tm_lineedit_text(e, &size);
  if (text[size] != '\0' || tm_lineedit_cursor(e) > size) abort();
  for (size_t n; at < size; at += n) {
    n = tm_utf8_decode(text + at, size - at, &code);
    if (n == 1 && code >= 0x80) abort();
  }
}

static void check_drawing(tm_lineedit *e, screen *s) {
  static char before[SCREEN_MAX_ROWS][512];
  size_t row = s->row, column = s->column;
  for (size_t r = 0; r < s->rows; r++)
    snprintf(before[r], sizeof before[r], "%s", screen_row_text(s, r));
  tm_lineedit_hide(e);
  tm_lineedit_show(e);
  flush(e, s);
  if (s->row != row || s->column != column) abort();
  for (size_t r = 0; r < s->rows; r++)
    if (strncmp(before[r], screen_row_text(s, r), sizeof before[r] - 1) != 0) abort();
}

static void answer(tm_lineedit *e, screen *s, tm_line_event event, uint8_t choice) {
  static const tm_candidate list[] = {
      {"tm.read", "reads"}, {"tm.re\xe6\x97\xa5", ""}, {"", "\033[31m"}};
  size_t size;
  const char *text = tm_lineedit_text(e, &size);
  if (event == TM_LINE_COMPLETE) {
    tm_lineedit_candidates(e, choice % 2 ? tm_lineedit_cursor(e) : 0, list, choice % 4);
  } else if (event == TM_LINE_ENTER && choice % 3 == 0) {
    tm_lineedit_newline(e, choice % 8);
  } else if (event != TM_LINE_NONE) {
    tm_lineedit_add_history(e, text, size);
    if (event == TM_LINE_INTERRUPT)
      tm_lineedit_abandon(e);
    else
      tm_lineedit_accept(e);
    tm_lineedit_begin(e, "tm> ", "..> ");
  }
  flush(e, s);
}

static void special(tm_lineedit *e, screen *s, uint8_t byte, uint8_t choice) {
  if (byte == 0xfe) {
    screen_resize(s, 4 + choice % 60u, 1 + choice % 12u, choice & 128);
    tm_lineedit_resize(e, s->columns, s->rows);
  } else {
    tm_lineedit_print_above(e, "above\nthe line", choice % 14u);
  }
  flush(e, s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  size_t used;
  if (size < 2 || size > 2000) return 0;
  tm_ctx_init(&ctx, NULL);
  screen *s = screen_new(4 + data[0] % 80u, 1 + data[1] % 20u);
  tm_lineedit *e = tm_lineedit_new(&ctx);
  if (!e) abort();
  tm_lineedit_resize(e, s->columns, s->rows);
  tm_lineedit_begin(e, "tm> ", "..> ");
  flush(e, s);
  for (size_t i = 2; i < size; i++) {
    uint8_t choice = i + 1 < size ? data[i + 1] : 0;
    char key = (char)data[i];
    if (data[i] >= 0xfe) {
      special(e, s, data[i], choice);
      check_drawing(e, s); // after a new size the screen is drawn anew already
      continue;
    }
    answer(e, s, tm_lineedit_feed(e, &key, 1, &used), choice);
    check_text(e);
    if (i % 8 == 0) check_drawing(e, s);
  }
  if (tm_lineedit_pending(e)) tm_lineedit_idle(e);
  flush(e, s);
  check_drawing(e, s);
  tm_lineedit_free(e);
  screen_free(s);
  tm_ctx_fini(&ctx);
  return 0;
}
