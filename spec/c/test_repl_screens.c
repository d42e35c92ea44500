// floors: base host
// Whole screens of `tidemark repl`, in each state that a session can be in: every row and the
// cursor are compared with what a user must see, and Ctrl-C is typed in each.
#include "repl_pty.h"

enum { ROWS = 12, COLUMNS = 40 };

static const char *picture(void) { // the rows, those that are blank at the end left out
  static char text[SCREEN_MAX_ROWS * 256];
  size_t n = 0, last = term->rows;
  while (last > 0 && !screen_row_text(term, last - 1)[0]) last--;
  for (size_t r = 0; r < last; r++) {
    int wrote = snprintf(text + n, sizeof text - n, "%s\n", screen_row_text(term, r));
    if (wrote > 0) n += (size_t)wrote;
  }
  text[n] = '\0';
  return text;
}

// The screen is this, the cursor stands there, and both stay so while nothing more is written.
static void see_screen(const char *want, size_t row, size_t column) {
  for (int64_t until = now_ms() + PATIENCE_MS; now_ms() < until; take(50)) {
    if (strcmp(picture(), want) != 0 || term->row != row || term->column != column) continue;
    take(QUIET_MS);
    if (strcmp(picture(), want) == 0) return;
  }
  fail_with_screen(want);
}

static void resize(size_t columns) {
  struct winsize size = {.ws_row = ROWS, .ws_col = (unsigned short)columns};
  screen_resize(term, columns, ROWS, true);
  assert_int_equal(ioctl(master, TIOCSWINSZ, &size), 0);
}

static void begin(void) {
  start();
  resize(COLUMNS);
  type("\014");
  see_screen("tm>\n", 0, 4);
}

// While a line computes Ctrl-C is a signal, while it waits or is edited a key.
static void wait_for_signals(bool wanted) {
  struct termios mode = {0};
  for (int64_t until = now_ms() + PATIENCE_MS;; take(10)) {
    tcgetattr(slave, &mode);
    if (((mode.c_lflag & ISIG) != 0) == wanted) return;
    if (now_ms() > until) fail_with_screen("another mode of the terminal");
  }
}

static void idle_and_editing(void **state) {
  (void)state;
  begin();
  type("\003");
  see_screen("tm> ^C\ntm>\n", 1, 4);
  type("x = '日本' .. 'é'\002\002");
  see_screen("tm> ^C\ntm> x = '日本' .. 'é'\n", 1, 19);
  type("\003");
  see_screen("tm> ^C\ntm> x = '日本' .. 'é'^C\ntm>\n", 2, 4);
}

static void a_menu(void **state) {
  (void)state;
  begin();
  type("tm.me\t");
  see_screen("tm> tm.me\n median  The median.\n memory  Memory dumps in a browser's tr\n merge   "
             "Several profiles as one, value\n",
             0, 9);
  type("\003");
  see_screen("tm> tm.me^C\ntm>\n", 1, 4);
}

static void a_search(void **state) {
  (void)state;
  begin();
  type("first = 1\rsecond = 2\r\022fir");
  see_screen("tm> first = 1\ntm> second = 2\nsearch 'fir': first = 1\n", 2, 14);
  type("\003");
  see_screen("tm> first = 1\ntm> second = 2\ntm> first = 1^C\ntm>\n", 3, 4);
}

static void many_lines(void **state) {
  (void)state;
  begin();
  type("s = [[日本語日本語日本語日本語日本語日本語\rend of it");
  see_screen("tm> s = [[日本語日本語日本語日本語日本語\n日本語\n..> end of it\n", 2, 13);
  resize(25);
  see_screen("tm> s = [[日本語日本語日\n本語日本語日本語日本語\n..> end of it\n", 2, 13);
  resize(60);
  see_screen("tm> s = [[日本語日本語日本語日本語日本語日本語\n..> end of it\n", 1, 13);
  type("]]\r");
  see_line("tm>");
  type("#s\r");
  see("64"); // 18 letters of three bytes, a break, nine more
}

static void findings_above(void **state) {
  (void)state;
  begin();
  type(":watch 6*7 300ms\r");
  see("6*7 = 42");
  type("t = {\r'日本");
  see_line("..>   '日本");
  for (int i = 0; i < 4; i++) {
    size_t before = term->scrolled + term->row;
    while (term->scrolled + term->row == before) assert_true(take(1000));
    see_line("..>   '日本");
    row_above_is(1, "tm> t = {");
    assert_non_null(strstr(screen_row_text(term, term->row - 2), "6*7 = 42"));
  }
  type("\003");
  see_line("tm>");
}

static void running_lua(void **state) {
  (void)state;
  begin();
  type("while true do end\r");
  wait_for_signals(true);
  type("\003");
  see_screen("tm> while true do end\n^C\ninterrupted\ntm>\n", 3, 4);
}

static void work_in_c(void **state) {
  (void)state;
  char path[128], line[256];
  snprintf(path, sizeof path, "%s/big.collapsed", home);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  for (int i = 0; i < 3000000; i++) fprintf(f, "main;work%d;leaf%d 1\n", i % 500, i);
  fclose(f);
  begin();
  snprintf(line, sizeof line, "p = tm.read '%s'; print 'read it'\r", path);
  type(line);
  see("print 'read it'");
  take(QUIET_MS);
  type("\003");
  see("interrupted");
  see_line("tm>");
  row_above_is(1, "interrupted");
  type("p\r");
  see("nil");
}

static void awaiting(void **state) {
  (void)state;
  begin();
  type("print 'now'; await(job.sleep '1h')\r");
  see_screen("tm> print 'now'; await(job.sleep '1h')\nnow\n", 2, 0);
  wait_for_signals(false);
  type("\003");
  see_screen("tm> print 'now'; await(job.sleep '1h')\nnow\ninterrupted\ntm>\n", 3, 4);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, end_session)
  const struct CMUnitTest tests[] = {
      TEST(idle_and_editing), TEST(a_menu),      TEST(a_search),  TEST(many_lines),
      TEST(findings_above),   TEST(running_lua), TEST(work_in_c), TEST(awaiting),
  };
  signal(SIGPIPE, SIG_IGN);
  return cmocka_run_group_tests(tests, find_binary, remove_home);
}
