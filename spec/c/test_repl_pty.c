// floors: base host
// Real sessions with `tidemark repl` on a pseudo-terminal: keys are typed, and what a terminal
// would show is compared. Waiting is for a state of the screen, never for a time.
#include "repl_pty.h"

// ---- sessions ----

static void answers_and_leaves_the_terminal_as_it_was(void **state) {
  (void)state;
  struct termios before, after;
  spawn(NULL);
  tcgetattr(slave, &before);
  see_line("tm>");
  run("1+1");
  row_above_is(1, "2");
  row_above_is(2, "tm> 1+1");
  type("_ * 21, _1\r");
  see("42");
  type("io.write('no break')\r");
  see("no break");
  see_line("tm>"); // on a line of its own
  type("\004");
  assert_int_equal(exit_code(), 0);
  tcgetattr(slave, &after);
  assert_int_equal(before.c_lflag, after.c_lflag);
  assert_int_equal(before.c_iflag, after.c_iflag);
}

static void edits_wide_characters(void **state) {
  (void)state;
  start();
  type("x = \"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e e\xcc\x81 \xf0\x9f\x98\x80\"");
  see_line("tm> x = \"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e e\xcc\x81 \xf0\x9f\x98\x80\"");
  assert_int_equal(term->column, 4 + 5 + 6 + 1 + 1 + 1 + 2 + 1);
  type("\033[D\177\033[D\177\033[D\177"); // the emoji, a letter with its accent, the last wide one
  see_line("tm> x = \"\xe6\x97\xa5\xe6\x9c\xac  \"");
  type("\r");
  see_line("tm>");
  type("#x\r");
  see("8");
}

static void runs_a_paste_of_200_lines(void **state) {
  (void)state;
  static char block[16384];
  size_t n = (size_t)snprintf(block, sizeof block, "\033[200~");
  for (int i = 1; i <= 200; i++)
    n += (size_t)snprintf(block + n, sizeof block - n, "local v%d = %d -- line\r", i, i);
  n += (size_t)snprintf(block + n, sizeof block - n, "total = v1 + v100 + v200\033[201~");
  start();
  type_sized(block, n);
  see_line("..> total = v1 + v100 + v200");
  row_above_is(1, "..> local v200 = 200 -- line");
  type("\r");
  see_line("tm>");
  type("total\r");
  see("301");
  type("\033[A\033[A"); // history gives it back whole
  see_line("..> total = v1 + v100 + v200");
  type("\003");
  see_line("tm>");
}

static void follows_the_size(void **state) {
  (void)state;
  start();
  const char *line = "s = '0123456789012345678901234567890123456789012345678901234567890123456789'";
  type(line);
  see("6789'");
  struct winsize size = {.ws_row = 15, .ws_col = 30};
  while (take(QUIET_MS) && poll(&(struct pollfd){master, POLLIN, 0}, 1, QUIET_MS) > 0) {
  }
  screen_resize(term, 30, 15, true);
  assert_int_equal(ioctl(master, TIOCSWINSZ, &size), 0);
  see_line("1234567890123456789'"); // 80 columns in rows of 30
  row_above_is(2, "tm> s = '012345678901234567890");
  size.ws_col = 100;
  screen_resize(term, 100, 15, true);
  assert_int_equal(ioctl(master, TIOCSWINSZ, &size), 0);
  char whole[128];
  snprintf(whole, sizeof whole, "tm> %s", line);
  see_line(whole);
  type("\r#s\r");
  see("70");
}

static void completes_with_docs(void **state) {
  (void)state;
  start();
  type("tm.me\t");
  see("Several profiles as one");
  see(" median");
  type("\t\t\t"); // median, memory, merge
  see_line("tm> tm.merge");
  type("\r"); // takes the choice
  type("\025tm.top({}, {sample_i\t");
  see_line("tm> tm.top({}, {sample_index =");
  type("\025longname = {alpha_key = 1, beta = 2}\r");
  see_line("tm>");
  type("longn\t.al\t\r");
  see("tm> longname.alpha_key");
  see_line("tm>");
  row_above_is(2, "tm> longname.alpha_key");
  row_above_is(1, "1");
  type(":expl\t proc.rss_s\t\r");
  see("hold 3m 00s");
  type("setmetatable({}, {__index = error}).x\t");
  type("\025?tm.sna\t\r");
  see("Takes a profile of a running app");
}

static void stops_at_ctrl_c_everywhere(void **state) {
  (void)state;
  static const char *const endless[] = {
      "while true do end\r", "while true do pcall(function() while true do end end) end\r",
      "coroutine.wrap(function() while true do end end)()\r",
      "string.rep('x', 100):gsub('.', function() while true do end end)\r"};
  start();
  type("half a line");
  see("half a line");
  type("\003");
  see("half a line^C");
  type("for i = 1, 2 do\r"); // within a statement
  see_line("..>");
  type("\003");
  see_line("tm>");
  type("tm.re\t"); // in the menu
  see(" replay");
  type("\003");
  see("tm> tm.re^C");
  type("\022half"); // in a search
  see("no match 'half'");
  type("\003");
  see_line("tm>");
  for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
    type(endless[i]);
    struct termios mode = {0};
    for (int64_t until = now_ms() + PATIENCE_MS; !(mode.c_lflag & ISIG); take(10)) {
      if (now_ms() > until) fail_with_screen("a line that runs");
      tcgetattr(slave, &mode);
    }
    type("\003");
    see("interrupted");
    see_line("tm>");
    type("\014");
    while (shows("interrupted")) take(50);
  }
  type("sleep '1h'\r"); // while it waits
  see("sleep '1h'");
  take(QUIET_MS);
  type("\003");
  see("interrupted");
  see_line("tm>");
  type("'still ' .. 'here'\r");
  see("\"still here\"");
}

static void waits_while_others_speak(void **state) {
  (void)state;
  start();
  type(":watch 6*7 50ms\r");
  see("6*7 = 42");
  see_line("tm>");
  type("typed meanwhile");
  see_line("tm> typed meanwhile");
  for (int i = 0; i < 4; i++) {
    size_t before = term->scrolled + term->row;
    while (term->scrolled + term->row == before) assert_true(take(1000));
    see_line("tm> typed meanwhile");
  }
  type("\025:watch stop\r");
  see_line("tm>");
  type("sleep '30ms'; 'done'\r");
  see("tm>");
  type("await(job.any{job.sleep '10ms', job.sleep '1h'})\r");
  see("true");
}

static void reads_files_beside_the_prompt(void **state) {
  (void)state;
  char path[128], line[256];
  snprintf(path, sizeof path, "%s/x.collapsed", home);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  for (int i = 0; i < 200000; i++) fprintf(f, "main;work%d;leaf%d 1\n", i % 50, i % 1000);
  fclose(f);
  start();
  snprintf(line, sizeof line, "j = job.go(job.read '%s')", path);
  run(line);
  run("'typed ' .. 'meanwhile'");
  see("\"typed meanwhile\"");
  type("await(j):info().samples\r");
  see("200000");
  type("await(j) == await(j)\r");
  see("true");
  snprintf(line, sizeof line, "tm.read('%s'):info().samples + 1\r", path);
  type(line);
  see("200001");
  type("tm.read '/no/such'\r");
  see("cannot open /no/such");
  see_line("tm>");
  snprintf(line, sizeof line, "j = job.go(job.read '%s')", path);
  run(line);
  type("\004"); // ends although it reads
  assert_int_equal(exit_code(), 0);
}

static void keeps_its_history_private(void **state) {
  (void)state;
  char path[128];
  start();
  run("kept_line = 1");
  run(" hidden_line = 2");
  type(":quit\r");
  assert_int_equal(exit_code(), 0);
  end_session(NULL);
  snprintf(path, sizeof path, "%s/tidemark/repl_history", home);
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  start();
  type("kept_\033[A");
  see_line("tm> kept_line = 1");
  type("\025\022hidden");
  see("no match 'hidden'");
}

static void watches_a_program_while_one_types(void **state) {
  (void)state;
  char pid[24];
  snprintf(pid, sizeof pid, "%d", (int)getpid());
  spawn(pid);
  see("test_repl_pty (pid");
  see_line("tm>");
  type("target:last('rss') ~= nil or sleep '2s' or target:last('rss') ~= nil\r");
  see("true");
  type(":plot rss 10m\r");
  see("proc.rss");
  see_line("tm>");
  type(":explain pressure\r");
  see("pressure: ");
  see_line("tm>");
  type("\004");
  assert_int_equal(exit_code(), 0);
}

static void ends_with_its_terminal(void **state) {
  (void)state;
  struct termios before, after;
  spawn(NULL);
  tcgetattr(slave, &before);
  see_line("tm>");
  kill(child, SIGTERM);
  assert_int_equal(exit_code(), 0);
  tcgetattr(slave, &after);
  assert_int_equal(before.c_lflag, after.c_lflag);
  end_session(NULL);
  start();
  close(slave);
  close(master);
  master = slave = -1;
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  child = 0;
}

static void survives_garbage(void **state) {
  (void)state;
  char noise[3000];
  start();
  srand(5);
  for (size_t i = 0; i < sizeof noise; i++) {
    noise[i] = (char)(rand() % 256);
    if (memchr("\r\n\003\004\032\034", noise[i], 6)) noise[i] = 'g'; // nothing is run or left
  }
  type_sized(noise, sizeof noise);
  type("\033[201~\033\\");
  type("\003\003\003");
  see_line("tm>");
  type("\003'al' .. 'ive'\r");
  see("\"alive\"");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, end_session)
  const struct CMUnitTest tests[] = {
      TEST(answers_and_leaves_the_terminal_as_it_was),
      TEST(edits_wide_characters),
      TEST(runs_a_paste_of_200_lines),
      TEST(follows_the_size),
      TEST(completes_with_docs),
      TEST(stops_at_ctrl_c_everywhere),
      TEST(waits_while_others_speak),
      TEST(reads_files_beside_the_prompt),
      TEST(keeps_its_history_private),
      TEST(watches_a_program_while_one_types),
      TEST(ends_with_its_terminal),
      TEST(survives_garbage),
  };
  signal(SIGPIPE, SIG_IGN);
  return cmocka_run_group_tests(tests, find_binary, remove_home);
}
