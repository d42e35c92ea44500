// floors: host
// The line editor against a terminal in memory: keys go in as bytes, and the screen is compared. A
// random run compares the drawing by differences with a drawing from nothing.
#include "failing_alloc.h"
#include "host/lineedit.h"
#include "screen.h"
#include "unit.h"

#define UP     "\033[A"
#define DOWN   "\033[B"
#define RIGHT  "\033[C"
#define LEFT   "\033[D"
#define PASTE  "\033[200~"
#define PASTED "\033[201~"

static tm_ctx ctx;
static tm_lineedit *edit;
static screen *term;

static void flush(void) {
  size_t size;
  const char *bytes = tm_lineedit_output(edit, &size);
  screen_write(term, bytes, size);
  assert_int_equal(term->unknown, 0);
}

static void start_sized(size_t columns, size_t rows) {
  term = screen_new(columns, rows);
  edit = tm_lineedit_new(&ctx);
  tm_lineedit_resize(edit, columns, rows);
  tm_lineedit_begin(edit, "tm> ", "..> ");
  flush();
}

static int set_up(void **state) {
  (void)state;
  tm_ctx_init(&ctx, NULL);
  start_sized(40, 10);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  tm_lineedit_free(edit);
  screen_free(term);
  tm_ctx_fini(&ctx);
  return 0;
}

static tm_line_event keys_sized(const char *bytes, size_t size) {
  tm_line_event event = TM_LINE_NONE;
  size_t used;
  while (size && event == TM_LINE_NONE) {
    event = tm_lineedit_feed(edit, bytes, size, &used);
    bytes += used;
    size -= used;
  }
  flush();
  return event;
}

static tm_line_event keys(const char *bytes) {
  return keys_sized(bytes, strlen(bytes));
}

static void text_is(const char *want) {
  size_t size;
  assert_string_equal(tm_lineedit_text(edit, &size), want);
  assert_int_equal(size, strlen(want));
}

static void row_is(size_t row, const char *want) {
  assert_string_equal(screen_row_text(term, row), want);
}

static void cursor_is(size_t row, size_t column) {
  assert_int_equal(term->row, row);
  assert_int_equal(term->column, column);
}

// Presses Enter and begins anew; the line goes to the history.
static void enter(const char *line) {
  keys(line);
  assert_int_equal(keys("\r"), TM_LINE_ENTER);
  size_t size;
  const char *text = tm_lineedit_text(edit, &size);
  tm_lineedit_add_history(edit, text, size);
  tm_lineedit_accept(edit);
  tm_lineedit_begin(edit, "tm> ", "..> ");
  flush();
}

// ---- editing ----

static void types_and_moves(void **state) {
  (void)state;
  keys("helo world");
  cursor_is(0, 14);
  keys("\001" RIGHT RIGHT RIGHT "l");
  text_is("hello world");
  row_is(0, "tm> hello world");
  cursor_is(0, 8);
  keys("\005!");
  text_is("hello world!");
  keys("\033b\033b");
  cursor_is(0, 4);
  keys("\033[1;5C");
  cursor_is(0, 9);
}

static void deletes_kills_and_yanks(void **state) {
  (void)state;
  keys("one two three");
  keys("\027\027"); // Ctrl-W twice: one kill
  text_is("one ");
  keys("\001\031");
  text_is("two threeone ");
  keys("\005\177\177");
  text_is("two threeon");
  keys("\001\033d\004");
  text_is("threeon");
  keys("\005\033\177\025");
  text_is("");
}

static void undoes(void **state) {
  (void)state;
  keys("abc def");
  keys("\027");
  text_is("abc ");
  keys("\037");
  text_is("abc def");
  keys("\037");
  text_is("abc");
  keys("\037\037");
  text_is("");
  size_t bells = term->bells;
  keys("\037");
  assert_int_equal(term->bells, bells + 1);
}

static void knows_wide_and_combining(void **state) {
  (void)state;
  keys("\xe6\x97\xa5\xe6\x9c\xac"
       "e\xcc\x81\xf0\x9f\x98\x80");
  cursor_is(0, 4 + 2 + 2 + 1 + 2);
  keys(LEFT LEFT);
  cursor_is(0, 8);
  keys("\177");
  text_is("\xe6\x97\xa5"
          "e\xcc\x81\xf0\x9f\x98\x80");
  row_is(0, "tm> \xe6\x97\xa5"
            "e\xcc\x81\xf0\x9f\x98\x80");
  keys("\004");
  text_is("\xe6\x97\xa5\xf0\x9f\x98\x80");
  keys("\024");
  text_is("\xf0\x9f\x98\x80\xe6\x97\xa5");
}

static void wraps_wide_at_the_edge(void **state) {
  (void)state;
  for (int i = 0; i < 35; i++) keys("x");
  keys("\xe6\x97\xa5"); // one column is left: it goes below
  cursor_is(1, 2);
  row_is(1, "\xe6\x97\xa5");
  keys(LEFT "y");
  cursor_is(1, 0); // the row is full, and the cursor stands before the wide one
  row_is(1, "\xe6\x97\xa5");
  keys("\177\177\005"); // 34 and the wide one: the row is full again
  cursor_is(1, 0);
  row_is(1, "");
}

static void full_row_keeps_its_last_cell(void **state) {
  (void)state;
  for (int i = 0; i < 36; i++) keys(i == 35 ? "z" : "x");
  cursor_is(1, 0);
  assert_int_equal(strlen(screen_row_text(term, 0)), 40);
  keys("a");
  row_is(1, "a");
  keys("\177\177");
  cursor_is(0, 39);
  row_is(1, "");
}

// ---- several lines ----

static void edits_several_lines(void **state) {
  (void)state;
  keys("if x then");
  assert_int_equal(keys("\r"), TM_LINE_ENTER);
  tm_lineedit_newline(edit, 2);
  flush();
  keys("y()");
  text_is("if x then\n  y()");
  row_is(1, "..>   y()");
  keys(UP);
  cursor_is(0, 9);
  keys(UP); // no history: stays
  text_is("if x then\n  y()");
  keys("\005\033\rz");
  text_is("if x then\nz\n  y()");
  row_is(2, "..>   y()");
  keys("\001\177");
  text_is("if x thenz\n  y()");
  row_is(2, "");
}

static void pastes_200_lines(void **state) {
  (void)state;
  char block[8192];
  size_t n = 0;
  for (int i = 1; i <= 200; i++)
    n += (size_t)snprintf(block + n, sizeof block - n, "x%d = %d%s", i, i, i < 200 ? "\r" : "");
  keys(PASTE);
  for (size_t i = 0; i < n; i += 100) keys_sized(block + i, n - i < 100 ? n - i : 100);
  assert_int_equal(keys(PASTED), TM_LINE_NONE);
  size_t size;
  const char *text = tm_lineedit_text(edit, &size);
  assert_int_equal(size, n);
  assert_memory_equal(text, "x1 = 1\nx2 = 2\n", 14);
  row_is(9, "..> x200 = 200");
  row_is(0, "..> x191 = 191");
  keys("\033[1;5D");
  for (int i = 0; i < 12; i++) keys(UP); // the view follows
  row_is(0, "..> x188 = 188");
  cursor_is(0, 11);
  keys("\037");
  text_is(""); // one step
  row_is(0, "tm>");
  row_is(1, "");
}

static void pastes_what_looks_like_keys(void **state) {
  (void)state;
  keys(PASTE "a\tb\003c\033[Ad\xff" PASTED);
  text_is("a\tbc[Ad\xef\xbf\xbd");
  keys_sized(PASTE, 6);
  keys("hangs");
  keys("\003"); // alone: the end never came
  text_is("a\tbc[Ad\xef\xbf\xbdhangs");
}

// ---- history ----

static void walks_history_by_prefix(void **state) {
  (void)state;
  enter("print(1)");
  enter("x = 2");
  enter("print(3)");
  enter("print(3)");
  keys("pr" UP);
  text_is("print(3)");
  keys(UP);
  text_is("print(1)");
  keys(UP);
  text_is("print(1)");
  keys(DOWN);
  text_is("print(3)");
  keys(DOWN);
  text_is("pr");
  keys("\025" UP UP);
  text_is("x = 2");
  keys("\033<");
  text_is("print(1)");
  keys("\033>");
  text_is("");
}

static void searches_history(void **state) {
  (void)state;
  enter("alpha one");
  enter("beta two");
  enter("alpha three");
  keys("dra\022al");
  text_is("alpha three");
  row_is(3, "search 'al': alpha three");
  keys("\022");
  text_is("alpha one");
  keys("\022");
  row_is(3, "no match 'al': alpha one");
  keys("\177"); // 'a' from the newest again
  text_is("alpha three");
  keys("\007");
  text_is("dra");
  row_is(3, "tm> dra");
  keys("\022two");
  keys(LEFT "!");
  text_is("beta! two");
  keys("\022bet");
  assert_int_equal(keys("\r"), TM_LINE_ENTER);
  text_is("beta two");
}

static void keeps_long_entries_readable(void **state) {
  (void)state;
  tm_lineedit_add_history(edit, "a\nb\nc", 5);
  keys(UP);
  text_is("a\nb\nc");
  row_is(0, "tm> a");
  row_is(2, "..> c");
  keys(UP UP DOWN);
  text_is("");
  row_is(2, "");
}

// ---- completion ----

static const tm_candidate three[] = {
    {"tm.read", "reads a file"}, {"tm.record", "writes a recording"}, {"tm.report", ""}};

static void completes(void **state) {
  (void)state;
  assert_int_equal(keys("x = tm.r\t"), TM_LINE_COMPLETE);
  tm_lineedit_candidates(edit, 4, three, 3);
  flush();
  text_is("x = tm.re");
  row_is(0, "tm> x = tm.re");
  row_is(1, " tm.read    reads a file");
  row_is(3, " tm.report");
  cursor_is(0, 13);
  keys("\t\t");
  text_is("x = tm.record");
  keys("\033[Z");
  text_is("x = tm.read");
  assert_int_equal(keys("\r"), TM_LINE_NONE); // takes the choice, does not run
  row_is(1, "");
  text_is("x = tm.read");
  keys("\025tm.r\t");
  tm_lineedit_candidates(edit, 0, three, 3);
  keys("\t\033");
  assert_true(tm_lineedit_pending(edit));
  tm_lineedit_idle(edit);
  flush();
  text_is("tm.re");
  row_is(1, "");
  keys("\t");
  tm_lineedit_candidates(edit, 0, three, 1);
  flush();
  text_is("tm.read");
  keys("\t");
  size_t bells = term->bells;
  tm_lineedit_candidates(edit, 0, NULL, 0);
  flush();
  assert_int_equal(term->bells, bells + 1);
}

static void scrolls_a_long_menu(void **state) {
  (void)state;
  static char names[30][16];
  tm_candidate list[30];
  for (int i = 0; i < 30; i++) {
    snprintf(names[i], sizeof names[i], "n%02d", i);
    list[i] = (tm_candidate){names[i], ""};
  }
  keys("n\t");
  tm_lineedit_candidates(edit, 0, list, 30);
  flush();
  row_is(1, " n00");
  row_is(9, " 1-8 of 30");
  for (int i = 0; i < 12; i++) keys(DOWN);
  text_is("n11");
  row_is(8, " n11");
  row_is(9, " 5-12 of 30");
  keys(" ");
  text_is("n11 ");
  row_is(1, "");
}

// ---- events, other output, sizes ----

static void gives_events(void **state) {
  (void)state;
  assert_int_equal(keys("\004"), TM_LINE_EOF);
  assert_int_equal(keys("a\032"), TM_LINE_SUSPEND);
  assert_int_equal(keys("b\003"), TM_LINE_INTERRUPT);
  tm_lineedit_abandon(edit);
  tm_lineedit_begin(edit, "tm> ", "..> ");
  flush();
  row_is(0, "tm> ab^C");
  row_is(1, "tm>");
  keys("\014");
  row_is(0, "tm>");
  row_is(1, "");
  cursor_is(0, 4);
}

static void stops_at_an_event(void **state) {
  (void)state;
  size_t used;
  assert_int_equal(tm_lineedit_feed(edit, "one\rtwo", 7, &used), TM_LINE_ENTER);
  assert_int_equal(used, 4);
  flush();
  text_is("one");
}

static void lets_others_write_above(void **state) {
  (void)state;
  keys("typing a line that is longer than forty columns");
  cursor_is(1, 11);
  tm_lineedit_print_above(edit, "WARN one\nWARN two", 17);
  flush();
  row_is(0, "WARN one");
  row_is(1, "WARN two");
  row_is(2, "tm> typing a line that is longer than fo");
  row_is(3, "rty columns");
  cursor_is(3, 11);
  for (int i = 0; i < 20; i++) tm_lineedit_print_above(edit, "more", 4);
  flush();
  row_is(7, "more");
  row_is(9, "rty columns");
  tm_lineedit_hide(edit);
  flush();
  row_is(8, "");
  tm_lineedit_show(edit);
  flush();
  row_is(9, "rty columns");
}

static void follows_the_terminals_size(void **state) {
  (void)state;
  const char *line = "0123456789012345678901234567890123456789012345678901234567";
  tm_lineedit_print_above(edit, "above", 5);
  keys(line);
  cursor_is(2, 22);
  for (size_t columns = 10; columns <= 80; columns += 7) {
    screen_resize(term, columns, 12, true);
    tm_lineedit_resize(edit, columns, 12);
    flush();
    row_is(0, "above");
    char all[128] = "";
    for (size_t row = 1; row < 12; row++) strcat(all, screen_row_text(term, row));
    assert_memory_equal(all, "tm> ", 4);
    assert_string_equal(all + 4, line);
    cursor_is(1 + 62 / columns, 62 % columns);
  }
}

static void survives_a_tiny_terminal(void **state) {
  (void)state;
  tear_down(NULL);
  tm_ctx_init(&ctx, NULL);
  start_sized(5, 2);
  keys("\xe6\x97\xa5 hello there" LEFT LEFT "\t");
  tm_lineedit_candidates(edit, 0, three, 3);
  keys("\t\t\r");
  text_is("tm.recordre");
}

// ---- garbage ----

static void takes_garbage(void **state) {
  (void)state;
  keys("a\033[99999999999999999999999999999999999999999;;;;~b");
  text_is("ab");
  keys("\033[M !!\033]0;title\007c\033P+q\033\\d\033[<0;1;2Me");
  text_is("ab !!cde");
  keys("\xe6\x97x\xffy");
  text_is("ab !!cde\xef\xbf\xbdx\xef\xbf\xbdy");
  keys("\025\033[1;99A\033[97u\033[99;5u");
  text_is("a");
}

// What a draw from nothing would show is what the differences made of the screen.
static void compare_with_fresh_draw(void) {
  screen *fresh = screen_new(term->columns, term->rows);
  size_t rows = 0, size;
  screen *before = term;
  char kept[SCREEN_MAX_ROWS][SCREEN_MAX_COLUMNS * 4];
  for (size_t r = 0; r < term->rows; r++) strcpy(kept[r], screen_row_text(term, r));
  size_t row = term->row, column = term->column;
  tm_lineedit_hide(edit);
  flush();
  for (rows = term->rows; rows > 0 && !screen_row_text(term, rows - 1)[0];) rows--;
  size_t top = term->row;
  tm_lineedit_show(edit);
  const char *bytes = tm_lineedit_output(edit, &size);
  term = fresh;
  screen_write(fresh, bytes, size);
  screen_write(before, bytes, size);
  for (size_t r = 0; top + r < before->rows; r++)
    assert_string_equal(screen_row_text(fresh, r), kept[top + r]);
  assert_int_equal(fresh->row + top, row);
  assert_int_equal(fresh->column, column);
  term = before;
  screen_free(fresh);
}

static void draws_differences_right(void **state) {
  (void)state;
  static const char *const pool[] = {"a",
                                     "bc ",
                                     "\xe6\x97\xa5",
                                     "e\xcc\x81",
                                     "\xf0\x9f\x98\x80",
                                     LEFT,
                                     RIGHT,
                                     UP,
                                     DOWN,
                                     "\001",
                                     "\005",
                                     "\177",
                                     "\027",
                                     "\013",
                                     "\031",
                                     "\033\r",
                                     "\037",
                                     "\033b",
                                     "\033f",
                                     "\004x",
                                     PASTE "1\n2\n3" PASTED,
                                     "\t",
                                     "long words here ",
                                     "\022a",
                                     "\007",
                                     "\033[Z",
                                     "\024",
                                     "\t"};
  srand(11);
  for (int round = 0; round < 3000; round++) {
    const char *key = pool[(size_t)rand() % (sizeof pool / sizeof *pool)];
    tm_line_event event = keys(key);
    if (event == TM_LINE_COMPLETE) {
      tm_lineedit_candidates(edit, tm_lineedit_cursor(edit), three, 1 + (size_t)rand() % 3);
      flush();
    }
    if (rand() % 40 == 0) {
      tm_lineedit_print_above(edit, "note", 4);
      flush();
    }
    if (rand() % 10 == 0) compare_with_fresh_draw();
    if (round % 250 == 249) enter("");
  }
}

// A session in which the n-th request for memory fails; answers how many there were. What does not
// fit is not typed, but nothing breaks and nothing leaks.
static uint64_t session_that_fails_at(uint64_t n) {
  static const char *const typed[] = {"one two", "\027\031", "\033\rb", PASTE "x\ny" PASTED,
                                      "\022o",   "\007\037", UP,        "t\t",
                                      "\t\t"};
  failing_alloc failing = {.fail_at = n, .once = true};
  tm_allocator alloc = failing_allocator(&failing);
  tm_ctx own;
  size_t size, used;
  tm_ctx_init(&own, &alloc);
  tm_lineedit *e = tm_lineedit_new(&own);
  if (e) {
    tm_lineedit_add_history(e, "history one", 11);
    tm_lineedit_begin(e, "tm> ", "..> ");
    for (size_t i = 0; i < sizeof typed / sizeof *typed; i++) {
      const char *keys_left = typed[i];
      for (size_t left = strlen(keys_left); left; keys_left += used, left -= used)
        if (tm_lineedit_feed(e, keys_left, left, &used) == TM_LINE_COMPLETE)
          tm_lineedit_candidates(e, tm_lineedit_cursor(e), three, 3);
      const char *text = tm_lineedit_text(e, &size);
      assert_int_equal(strlen(text), size);
      assert_true(tm_lineedit_cursor(e) <= size);
      tm_lineedit_output(e, &size);
    }
    tm_lineedit_accept(e);
  }
  tm_lineedit_free(e);
  assert_int_equal(failing.held_bytes, 0);
  assert_int_equal(own.error.status, e ? TM_OK : TM_E_NOMEM);
  tm_ctx_fini(&own);
  return failing.requests;
}

static void survives_without_memory(void **state) {
  (void)state;
  uint64_t requests = session_that_fails_at(0);
  assert_true(requests > 50);
  for (uint64_t n = 1; n <= requests; n++) session_that_fails_at(n);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(types_and_moves),
      TEST(deletes_kills_and_yanks),
      TEST(undoes),
      TEST(knows_wide_and_combining),
      TEST(wraps_wide_at_the_edge),
      TEST(full_row_keeps_its_last_cell),
      TEST(edits_several_lines),
      TEST(pastes_200_lines),
      TEST(pastes_what_looks_like_keys),
      TEST(walks_history_by_prefix),
      TEST(searches_history),
      TEST(keeps_long_entries_readable),
      TEST(completes),
      TEST(scrolls_a_long_menu),
      TEST(gives_events),
      TEST(stops_at_an_event),
      TEST(lets_others_write_above),
      TEST(follows_the_terminals_size),
      TEST(survives_a_tiny_terminal),
      TEST(takes_garbage),
      TEST(draws_differences_right),
      TEST(survives_without_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
