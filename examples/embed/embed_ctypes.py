#!/usr/bin/env python3
"""The engine from Python, with nothing but ctypes: a hour of fed samples, and what a rule says of them.

    python3 embed_ctypes.py [/path/to/libtidemark.so.1]
"""
import ctypes as c
import sys

tm = c.CDLL(sys.argv[1] if len(sys.argv) > 1 else "libtidemark.so.1")


class Config(c.Structure):
    """tm_config as ABI 1 has it up to its flags; the rest keeps its defaults."""
    _fields_ = [("size", c.c_uint32), ("abi", c.c_uint32), ("flags", c.c_uint32), ("max_targets", c.c_uint32)]


class Notice(c.Structure):
    _fields_ = [("size", c.c_uint32), ("type", c.c_uint32), ("level", c.c_int32), ("tell", c.c_uint32),
                ("time_ns", c.c_int64), ("word", c.c_char_p), ("rule", c.c_char_p), ("target", c.c_char_p),
                ("key", c.c_char_p), ("text", c.c_char_p), ("json", c.c_char_p), ("unit", c.c_char_p),
                ("value", c.c_double)]


VIRTUAL_TIME, ON_FINDING, SECOND = 1, 1, 10**9
NoticeFn = c.CFUNCTYPE(None, c.c_void_p, c.POINTER(Notice))
tm.tm_now_ns.restype = c.c_int64
tm.tm_now_ns.argtypes = [c.c_void_p]
tm.tm_message.restype = tm.tm_version_string.restype = c.c_char_p
tm.tm_message.argtypes = [c.c_void_p]
tm.tm_config_init.argtypes = [c.POINTER(Config), c.c_size_t]
tm.tm_open.argtypes = [c.POINTER(Config), c.POINTER(c.c_void_p)]
tm.tm_close.argtypes = [c.c_void_p, c.c_void_p, c.c_void_p]
tm.tm_on_event.argtypes = [c.c_void_p, NoticeFn, c.c_void_p]
tm.tm_target_virtual.argtypes = [c.c_void_p, c.c_char_p, c.POINTER(c.c_void_p)]
tm.tm_rules_load.argtypes = [c.c_void_p, c.c_char_p, c.c_char_p, c.c_size_t]
tm.tm_feed.argtypes = [c.c_void_p, c.c_void_p, c.c_char_p, c.c_int64, c.c_double]
tm.tm_clock_set.argtypes = [c.c_void_p, c.c_int64]

RULE = b"""
tm.rule { id = "cache", doc = "a cache without bound", every = "10s", hold = "0s",
  inputs = { size = tm.ring("app.cache_bytes", { every = "10s", keep = 360 }) },
  check = function(c)
    if (c.size.last or 0) > tm.bytes "100MB" then
      return c:finding { level = "warn", value = c.size.last, unit = "bytes", text = "the cache is large" }
    end
  end }
"""

told = []


@NoticeFn
def on_event(_, notice):
    n = notice.contents
    if n.type == ON_FINDING and n.tell:
        told.append(n.value)
        print(n.word.decode(), n.rule.decode(), n.text.decode(), int(n.value))


def check(engine, status):
    if status:
        sys.exit(tm.tm_message(engine).decode())


config, engine, target = Config(), c.c_void_p(), c.c_void_p()
tm.tm_config_init(config, c.sizeof(config))
config.flags = VIRTUAL_TIME
if tm.tm_open(config, engine):
    sys.exit("tm_open failed")
check(engine, tm.tm_on_event(engine, on_event, None))
check(engine, tm.tm_target_virtual(engine, b"worker", target))
check(engine, tm.tm_rules_load(engine, b"cache.lua", RULE, len(RULE)))
start = tm.tm_now_ns(engine)
for i in range(1, 361):
    now = start + i * 10 * SECOND
    check(engine, tm.tm_feed(engine, target, b"app.cache_bytes", now, i * 1e6))
    check(engine, tm.tm_clock_set(engine, now))
tm.tm_close(engine, None, None)
print("tidemark", tm.tm_version_string().decode(), "told", len(told))
sys.exit(0 if told else 1)
