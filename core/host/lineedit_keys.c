// A state machine over bytes, as the terminals of ECMA-48 and xterm write them: CSI and SS3 for
// function keys, strings (OSC, DCS, APC) that answer questions nobody asked and are swallowed,
// Escape before a key for Alt. Whatever is malformed is dropped, and the machine is back at the
// ground after a bounded number of bytes.
#include "host/lineedit_keys.h"

#include "base/attr.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { ESC = 0x1b, BELL = 0x07, MAX_STRING = 4096 };

static size_t key_of(key_parser *p, line_key *out, uint32_t code, uint32_t mods) {
  *out = (line_key){code, mods | (p->alt ? MOD_ALT : 0u)};
  p->alt = false;
  return 1;
}

// ---- CSI ----

static const struct {
  char final;
  uint32_t code;
} letters[] = {{'A', KEY_UP},   {'B', KEY_DOWN}, {'C', KEY_RIGHT},   {'D', KEY_LEFT},
               {'H', KEY_HOME}, {'F', KEY_END},  {'Z', KEY_BACK_TAB}};

static const struct {
  int number;
  uint32_t code;
} tildes[] = {{1, KEY_HOME}, {2, KEY_INSERT},  {3, KEY_DELETE},
              {4, KEY_END},  {5, KEY_PAGE_UP}, {6, KEY_PAGE_DOWN},
              {7, KEY_HOME}, {8, KEY_END},     {200, KEY_PASTE_BEGIN}};

static size_t letter_key(key_parser *p, char final, uint32_t mods, line_key *out) {
  for (size_t i = 0; i < TM_COUNT(letters); i++)
    if (letters[i].final == final) return key_of(p, out, letters[i].code, mods);
  p->alt = false;
  return 0;
}

// CSI number u: keys by code point, as newer terminals write them.
static size_t unicode_key(key_parser *p, long number, uint32_t mods, line_key *out) {
  bool is_char = number > 0 && number < 0x110000 && (number < 0xd800 || number > 0xdfff);
  bool letter = number >= '@' && number <= '~';
  if (!is_char) number = 0xfffd;
  if (letter && (mods & MOD_CTRL)) return key_of(p, out, (uint32_t)number & 0x1f, mods & MOD_ALT);
  return key_of(p, out, (uint32_t)number, mods & (MOD_ALT | MOD_CTRL));
}

// CSI number ; modifiers final. Modifiers are one more than their bits.
static size_t end_csi(key_parser *p, char final, line_key *out) {
  p->args[p->arg_count < sizeof p->args ? p->arg_count : sizeof p->args - 1] = '\0';
  p->state = GROUND;
  char *end = p->args;
  long number = strtol(p->args, &end, 10), bits = 1;
  if (*end == ';') bits = strtol(end + 1, &end, 10);
  uint32_t mods = bits >= 1 && bits <= 16 ? (uint32_t)(bits - 1) & 7 : 0;
  if (*end != '\0' || p->arg_count >= sizeof p->args) final = '\0'; // mouse, colours, garbage
  if (final == 'u') return unicode_key(p, number, mods, out);
  if (final != '~') return letter_key(p, final, mods, out);
  for (size_t i = 0; i < TM_COUNT(tildes); i++)
    if (tildes[i].number == number) return key_of(p, out, tildes[i].code, mods);
  p->alt = false;
  return 0;
}

static size_t in_csi(key_parser *p, uint8_t byte, line_key *out) {
  if (byte >= 0x40 && byte <= 0x7e) return end_csi(p, (char)byte, out);
  if (byte == ESC) {
    p->state = AFTER_ESCAPE;
  } else if (byte < 0x20 || byte >= 0x7f || p->arg_count > 64) {
    p->state = GROUND; // a control key amid a sequence wins
    p->alt = false;
    if (byte < 0x20) return key_of(p, out, byte, 0);
  } else {
    if (p->arg_count < sizeof p->args) p->args[p->arg_count] = (char)byte;
    p->arg_count++;
  }
  return 0;
}

// ---- the ground ----

// A byte of a character that has begun; answers false when it is none, and the begin was garbage.
static bool continues(key_parser *p, uint8_t byte) {
  bool yes = (byte & 0xc0) == 0x80;
  if (yes)
    p->utf8[p->utf8_have++] = (char)byte;
  else
    p->utf8_have = 0;
  return yes;
}

static size_t on_ground(key_parser *p, uint8_t byte, line_key *keys) {
  size_t n = 0;
  if (p->utf8_have) {
    uint32_t code;
    if (!continues(p, byte)) {
      n = key_of(p, keys, 0xfffd, 0);
    } else if (p->utf8_have < p->utf8_need) {
      return 0;
    } else {
      tm_utf8_decode(p->utf8, p->utf8_have, &code);
      p->utf8_have = 0;
      return key_of(p, keys, code, 0);
    }
  }
  if (byte == ESC) {
    p->state = AFTER_ESCAPE;
    return n;
  }
  if (byte < 0x80) return n + key_of(p, keys + n, byte, 0);
  if (byte < 0xc2 || byte > 0xf4) return n + key_of(p, keys + n, 0xfffd, 0);
  p->utf8_need = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
  p->utf8[0] = (char)byte;
  p->utf8_have = 1;
  return n;
}

static size_t after_escape(key_parser *p, uint8_t byte, line_key *keys) {
  p->state = GROUND;
  if (byte == '[') {
    p->state = IN_CSI;
    p->arg_count = 0;
  } else if (byte == 'O') {
    p->state = IN_SS3;
  } else if (byte == ']' || byte == 'P' || byte == '_' || byte == '^' || byte == 'X') {
    p->state = IN_STRING;
    p->string_bytes = 0;
  } else if (byte == ESC) { // Escape twice: one is a key, the other may begin something
    p->alt = false;
    p->state = AFTER_ESCAPE;
    return key_of(p, keys, KEY_ESCAPE, 0);
  } else {
    p->alt = true;
    return on_ground(p, byte, keys);
  }
  return 0;
}

static void in_string(key_parser *p, uint8_t byte) {
  bool ends = byte == BELL || (p->state == STRING_ESCAPE && byte == '\\') || byte == 0x03
              || ++p->string_bytes > MAX_STRING;
  p->state = ends ? GROUND : byte == ESC ? STRING_ESCAPE : IN_STRING;
  p->alt = false;
}

size_t tm_line_key_feed(key_parser *p, uint8_t byte, line_key *keys) {
  switch (p->state) {
  case GROUND:
    return on_ground(p, byte, keys);
  case AFTER_ESCAPE:
    return after_escape(p, byte, keys);
  case IN_CSI:
    return in_csi(p, byte, keys);
  case IN_SS3:
    p->state = GROUND;
    return letter_key(p, (char)byte, 0, keys);
  case IN_STRING:
  case STRING_ESCAPE:
    in_string(p, byte);
    return 0;
  }
  return 0;
}

size_t tm_line_key_idle(key_parser *p, line_key *keys) {
  bool escape = p->state == AFTER_ESCAPE;
  if (p->state == IN_STRING || p->state == STRING_ESCAPE) return 0; // long answers may pause
  p->state = GROUND;
  p->alt = false;
  p->utf8_have = 0;
  return escape ? key_of(p, keys, KEY_ESCAPE, 0) : 0;
}
