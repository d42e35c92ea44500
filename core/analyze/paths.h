// File names as reports show them.
#ifndef TM_ANALYZE_PATHS_H
#define TM_ANALYZE_PATHS_H

#include <stdbool.h>
#include <stddef.h>

// The shortest equal path: no "//", no "/./", "x/.." folded; "" becomes ".". buf needs strlen + 2
// bytes. Answers the length.
size_t tm_path_clean(char *buf, const char *path);

// The last element: "/a/b/" gives "b" with its length.
const char *tm_path_base(const char *path, size_t *out_length);

// The folder becomes its parent, in place: "/a/b" gives "/a", "a" gives ".". False at the top. The
// text needs room for ".".
bool tm_path_up(char *dir);

// path without the first prefix of the ':' list trim that it has. An empty trim guesses: whatever
// stands before and including a directory of the search list is cut. Points into path.
const char *tm_path_trim(const char *path, const char *trim, const char *search);

#endif
