// Lexical work on slash-separated paths; touches no file system.
#include "analyze/paths.h"

#include <string.h>

size_t tm_path_clean(char *buf, const char *path) {
  bool rooted = *path == '/';
  size_t n = 0, floor = rooted ? 1 : 0; // ".." never goes below floor
  if (rooted) buf[n++] = '/';
  for (const char *s = path; *s;) {
    size_t len = strcspn(s, "/");
    bool dot = len == 1 && s[0] == '.', up = len == 2 && s[0] == '.' && s[1] == '.';
    if (up && n > floor) {
      while (n > floor && buf[n - 1] != '/') n--;
      if (n > floor) n--; // the slash too
    } else if (len && !dot && !(up && rooted)) {
      if (n > (rooted ? 1u : 0u)) buf[n++] = '/';
      memcpy(buf + n, s, len);
      n += len;
      if (up) floor = n;
    }
    s += len;
    while (*s == '/') s++;
  }
  if (!n) buf[n++] = '.';
  buf[n] = '\0';
  return n;
}

const char *tm_path_base(const char *path, size_t *out_length) {
  size_t end = strlen(path);
  *out_length = 1;
  if (!end) return ".";
  while (end && path[end - 1] == '/') end--;
  if (!end) return "/";
  size_t begin = end;
  while (begin && path[begin - 1] != '/') begin--;
  *out_length = end - begin;
  return path + begin;
}

bool tm_path_up(char *dir) {
  size_t n = strlen(dir);
  while (n > 1 && dir[n - 1] == '/') dir[--n] = '\0';
  char *slash = strrchr(dir, '/');
  if (strcmp(dir, "/") == 0 || strcmp(dir, ".") == 0) return false;
  if (!slash) return memcpy(dir, ".", 2), true;
  slash[slash == dir] = '\0';
  return true;
}

// Where "/name/" stands in path, or NULL.
static const char *find_directory(const char *path, const char *name, size_t length) {
  for (const char *s = strchr(path, '/'); s; s = strchr(s + 1, '/'))
    if (strncmp(s + 1, name, length) == 0 && s[1 + length] == '/') return s;
  return NULL;
}

static size_t prefix_length(const char *path, const char *prefix, size_t length) {
  if (strncmp(path, prefix, length) != 0) return 0;
  if (length && prefix[length - 1] == '/') return length;
  return path[length] == '/' ? length + 1 : 0;
}

const char *tm_path_trim(const char *path, const char *trim, const char *search) {
  if (!trim || !*trim) {
    for (const char *s = search ? search : ""; *s;) {
      size_t len = strcspn(s, ":"), end = len;
      while (end && s[end - 1] == '/') end--;
      size_t begin = end;
      while (begin && s[begin - 1] != '/') begin--;
      const char *found = end > begin ? find_directory(path, s + begin, end - begin) : NULL;
      if (found) return found + (end - begin) + 2;
      s += len + (s[len] == ':');
    }
  }
  for (const char *s = trim ? trim : ""; *s;) {
    size_t len = strcspn(s, ":"), n = prefix_length(path, s, len);
    if (n) return path + n;
    s += len + (s[len] == ':');
  }
  static const char *const always[] = {"/proc/self/cwd/./", "/proc/self/cwd/"};
  for (size_t i = 0; i < 2; i++)
    if (strncmp(path, always[i], strlen(always[i])) == 0) return path + strlen(always[i]);
  return path;
}
