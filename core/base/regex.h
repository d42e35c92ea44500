// Regular expressions in RE2's syntax, matched in time linear in the text: patterns come from
// users, texts from hostile files. Searches only (unanchored, no captures). Supported: literals, .
// ^ $ \A \z \b \B, classes with ranges, \d \w \s \D \W \S, [[:alpha:]] and kin, groups ( ) (?: )
// (?P<n> ), flags (?i) (?s) (?m) (?U) and their groups, | * + ? {m,n} with lazy forms, \Q..\E,
// \xHH, \x{H..}. Not supported: \p{..}, back-references (RE2 has none), case folding beyond ASCII.
// Source: syntax of github.com/google/re2.
#ifndef TM_BASE_REGEX_H
#define TM_BASE_REGEX_H

#include "base/ctx.h"

typedef struct tm_regex tm_regex;

// TM_E_ARG says what in the pattern is wrong and at which byte of it. Free with tm_regex_free.
TM_NODISCARD tm_status tm_regex_new(tm_ctx *ctx, const char *pattern, size_t length,
                                    tm_regex **out);
void tm_regex_free(tm_regex *regex);

// Whether the pattern occurs anywhere in the text. Text is UTF-8; a wrong byte counts as U+FFFD.
// Uses memory inside regex: one thread at a time. Cost: text x pattern at worst.
bool tm_regex_match(tm_regex *regex, const char *text, size_t length);

#endif
