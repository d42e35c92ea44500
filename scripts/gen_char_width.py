#!/usr/bin/env python3
"""Writes core/base/char_width.def: which code points take no column and which take two.

Run it when Python's Unicode is newer than the table's:  scripts/gen_char_width.py > core/base/char_width.def
Zero: combining marks (Mn, Me), format characters (Cf) but the soft hyphen, and the later letters of
a Hangul syllable. Two: East Asian Wide and Fullwidth, which holds the emoji that show as pictures.
Unassigned places in the ideographic planes are wide too, as Unicode says they will be.
"""
import unicodedata


def width(code):
    c = chr(code)
    if 0x1160 <= code <= 0x11FF or 0xD7B0 <= code <= 0xD7FF:
        return 0
    if unicodedata.category(c) in ("Mn", "Me") or (unicodedata.category(c) == "Cf" and code != 0xAD):
        return 0
    if 0x3400 <= code <= 0x4DBF or 0x4E00 <= code <= 0x9FFF or 0x20000 <= code <= 0x3FFFD:
        return 2
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def ranges(wanted):
    start = None
    for code in range(0x80, 0x110000):
        hit = not 0xD800 <= code <= 0xDFFF and width(code) == wanted
        if hit and start is None:
            start = code
        elif not hit and start is not None:
            yield start, code - 1
            start = None
    if start is not None:
        yield start, 0x10FFFF


def emit(macro, wanted):
    rows = [f"{macro}(0x{a:x}, 0x{b:x})" for a, b in ranges(wanted)]
    for i in range(0, len(rows), 3):
        print(" ".join(rows[i:i + 3]))


print(f"// Unicode {unicodedata.unidata_version}, by scripts/gen_char_width.py. TM_ZERO: no column of their own; TM_WIDE: two.")
emit("TM_ZERO", 0)
emit("TM_WIDE", 2)
