// The line editor as a machine: bytes of a terminal go in, bytes that redraw the screen come out.
// It reads and writes nothing itself, so any loop can drive it and a test can be the terminal.
//
//   tm_lineedit_begin(e, "tm> ", "..> ");
//   for each chunk read: while (size) { event = tm_lineedit_feed(e, p, size, &used); ... answer it
//   } after each call: write what tm_lineedit_output answers
//
// Keys are those of Emacs and readline. The text is UTF-8 whatever comes in; a text of several
// lines is edited as one. A failed allocation rings the bell and leaves the text as it was. Not
// thread-safe.
#ifndef TM_HOST_LINEEDIT_H
#define TM_HOST_LINEEDIT_H

#include "base/ctx.h"

typedef struct tm_lineedit tm_lineedit;

// What the owner is asked. Until it answered, nothing more is fed.
typedef enum tm_line_event {
  TM_LINE_NONE,      // all bytes are taken
  TM_LINE_ENTER,     // answer with tm_lineedit_accept, or tm_lineedit_newline when more must come
  TM_LINE_COMPLETE,  // Tab: answer with tm_lineedit_candidates
  TM_LINE_INTERRUPT, // Ctrl-C: tm_lineedit_abandon
  TM_LINE_EOF,       // Ctrl-D in an empty text
  TM_LINE_SUSPEND    // Ctrl-Z
} tm_line_event;

typedef struct tm_candidate {
  const char *text; // replaces what stands between from and the cursor
  const char *doc;  // one line, may be ""
} tm_candidate;

// At most one MiB of text and 1,000 entries of history. NULL = no memory. ctx outlives the editor.
tm_lineedit *tm_lineedit_new(tm_ctx *ctx);
void tm_lineedit_free(tm_lineedit *e);

// An empty text behind a prompt, and the prompt of its further lines. SGR colours in them take no
// columns. Draws.
void tm_lineedit_begin(tm_lineedit *e, const char *prompt, const char *more_prompt);

// Takes bytes until an event or their end. used_out: how many were taken.
tm_line_event tm_lineedit_feed(tm_lineedit *e, const char *bytes, size_t size, size_t *used_out);

// True when the bytes so far may be the begin of a sequence: call tm_lineedit_idle when 50 ms pass
// without more, and an Escape key alone is taken as such.
bool tm_lineedit_pending(const tm_lineedit *e);
void tm_lineedit_idle(tm_lineedit *e);

// The text; ends with NUL. Valid until the next call.
const char *tm_lineedit_text(const tm_lineedit *e, size_t *size_out);
size_t tm_lineedit_cursor(const tm_lineedit *e);
void tm_lineedit_set_text(tm_lineedit *e, const char *text, size_t size);

// Answers to TM_LINE_ENTER: the line is done and the cursor goes below it (the text stays readable
// until begin); or a line break with so many blanks is inserted.
void tm_lineedit_accept(tm_lineedit *e);
void tm_lineedit_newline(tm_lineedit *e, size_t indent);

// Ctrl-C: shows ^C behind the text, goes below; begin next.
void tm_lineedit_abandon(tm_lineedit *e);

// Answer to TM_LINE_COMPLETE: one is inserted, of many what they share, and a menu shows them. They
// are copied. from: byte offset of the word in the text.
void tm_lineedit_candidates(tm_lineedit *e, size_t from, const tm_candidate *list, size_t count);

// Takes the prompt off the screen and puts it back, so that others may write in between.
void tm_lineedit_hide(tm_lineedit *e);
void tm_lineedit_show(tm_lineedit *e);

// Writes lines above the prompt. A missing line break at the end is added.
void tm_lineedit_print_above(tm_lineedit *e, const char *text, size_t size);

// The terminal's size; draws anew what is shown. Lines that the terminal broke are counted as it
// broke them.
void tm_lineedit_resize(tm_lineedit *e, size_t columns, size_t rows);

// History, oldest first. An entry equal to the newest is not added again.
void tm_lineedit_add_history(tm_lineedit *e, const char *text, size_t size);

// Bytes for the terminal; they are forgotten by the call. Valid until the next.
const char *tm_lineedit_output(tm_lineedit *e, size_t *size_out);

#endif
