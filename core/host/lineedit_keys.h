// Bytes of a terminal as keys. Private to lineedit*.c.
#ifndef TM_HOST_LINEEDIT_KEYS_H
#define TM_HOST_LINEEDIT_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A key is a code point (control characters as they come), or one of these.
enum {
  KEY_UP = 0x110000,
  KEY_DOWN,
  KEY_LEFT,
  KEY_RIGHT,
  KEY_HOME,
  KEY_END,
  KEY_DELETE,
  KEY_INSERT,
  KEY_PAGE_UP,
  KEY_PAGE_DOWN,
  KEY_BACK_TAB,
  KEY_PASTE_BEGIN,
  KEY_PASTE_END, // made by the editor
  KEY_ESCAPE
};

enum { MOD_SHIFT = 1, MOD_ALT = 2, MOD_CTRL = 4 };

typedef struct line_key {
  uint32_t code;
  uint32_t mods;
} line_key;

typedef enum key_state { GROUND, AFTER_ESCAPE, IN_CSI, IN_SS3, IN_STRING, STRING_ESCAPE } key_state;

typedef struct key_parser {
  key_state state;
  char utf8[4];
  size_t utf8_have, utf8_need;
  char args[24]; // of a CSI sequence
  size_t arg_count;
  size_t string_bytes;
  bool alt; // an Escape came just before
} key_parser;

// Takes a byte; answers how many keys it completes (0 to 2, written to keys). Unknown sequences are
// dropped whole.
size_t tm_line_key_feed(key_parser *p, uint8_t byte, line_key *keys);

// Time has passed: a lone Escape is a key (answer 1), a broken sequence is forgotten.
size_t tm_line_key_idle(key_parser *p, line_key *keys);

#endif
