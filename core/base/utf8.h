// UTF-8 as a terminal sees it: code points out of bytes, and the columns they take. No locale is
// asked; the table is Unicode's (char_width.def). Bytes that are no UTF-8 count as one code point
// of one column each.
#ifndef TM_BASE_UTF8_H
#define TM_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Reads the code point at text (size_bytes > 0) and answers how many bytes it takes. What is no
// UTF-8 (overlong, surrogate, cut, above U+10FFFF) is one byte and U+FFFD.
size_t tm_utf8_decode(const char *text, size_t size_bytes, uint32_t *code_out);

// Writes a code point (at most U+10FFFF, no surrogate) and answers how many bytes it takes.
size_t tm_utf8_encode(uint32_t code, char out[4]);

// Columns of a code point: 0 (combining, joiners, controls), 1 or 2.
uint32_t tm_char_width(uint32_t code);

// Columns of a text, controls counted as none.
size_t tm_text_width(const char *text, size_t size_bytes);

// The start of the next cluster after at, and of the one before it: a base with its combining
// marks, joined emoji, a pair of regional indicators. What a cursor steps over.
size_t tm_cluster_next(const char *text, size_t size_bytes, size_t at);
size_t tm_cluster_prev(const char *text, size_t at);

#endif
