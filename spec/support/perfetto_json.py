#!/usr/bin/env python3
"""A Perfetto trace as Chrome's JSON, decoded with nothing but Python: an oracle for the reader.

Usage: perfetto_json.py TRACE.pb > TRACE.json

Slow and plain on purpose: every message becomes a dictionary of lists, every packet is looked at in
order, begins and ends are joined by one list per track. Only what Chromium writes today.
"""
import gzip
import json
import struct
import sys


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def message(data):
    out, at = {}, 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            size = 8 if key & 7 == 1 else 4
            value, at = data[at:at + size], at + size
        out.setdefault(key >> 3, []).append(value)
    return out


def first(m, number, otherwise=None):
    return m[number][-1] if number in m else otherwise


def signed(value):
    return value - (1 << 64) if value >= 1 << 63 else value


def text(value):
    return value.decode("utf-8", "replace")


class Sequence:
    def __init__(self):
        self.valid = False
        self.clocks = {}
        self.thread = None
        self.clear()

    def clear(self):
        self.strings = {1: {}, 2: {}, 3: {}, 29: {}}
        self.track = 0
        self.clock = None


class Track:
    def __init__(self):
        self.parent = 0
        self.kind = None
        self.pid = self.tid = 0
        self.name = None
        self.process_name = None
        self.thread_name = None
        self.multiplier = 1
        self.incremental = self.builtin = False
        self.sum = {}


def nested(data):
    m = message(data)
    kind = first(m, 1, 0)
    if kind == 1:
        return {text(k): nested(v) for k, v in zip(m.get(2, []), m.get(3, []))}
    if kind == 2:
        return [nested(v) for v in m.get(4, [])]
    if 5 in m:
        return signed(first(m, 5))
    if 6 in m:
        return struct.unpack("<d", first(m, 6))[0]
    if 7 in m:
        return bool(first(m, 7))
    return text(first(m, 8, b""))


def annotation(data, strings):
    m = message(data)
    name = text(first(m, 10)) if 10 in m else strings[3].get(first(m, 1), "")
    if 11 in m:
        value = dict(annotation(d, strings) for d in m[11])
    elif 12 in m:
        value = [annotation(d, strings)[1] for d in m[12]]
    elif 2 in m:
        value = bool(first(m, 2))
    elif 3 in m:
        value = first(m, 3)
    elif 4 in m:
        value = signed(first(m, 4))
    elif 5 in m:
        value = struct.unpack("<d", first(m, 5))[0]
    elif 6 in m:
        value = text(first(m, 6))
    elif 7 in m:
        value = hex(first(m, 7))
    elif 8 in m:
        value = nested(first(m, 8))
    elif 9 in m:
        value = json.loads(first(m, 9))
    elif 17 in m:
        value = strings[29].get(first(m, 17), "")
    else:
        value = None
    return name, value


FRAME_STATES = ["STATE_NO_UPDATE_DESIRED", "STATE_PRESENTED_ALL", "STATE_PRESENTED_PARTIAL", "STATE_DROPPED"]


class Trace:
    def __init__(self, data):
        self.sequences, self.tracks, self.shared = {}, {}, {}
        self.trace_clock = None
        self.events = []
        for raw in message(data).get(1, []):
            self.packet(message(raw))

    def packet(self, p):
        s = self.sequences.setdefault(first(p, 10, 0), Sequence())
        if first(p, 42) and not first(p, 87) and getattr(s, "seen", False):
            s.valid = False
        s.seen = True
        if first(p, 41) or first(p, 13, 0) & 1:
            s.clear()
            s.valid = True
        for table, entries in message(first(p, 12, b"")).items():
            if table in s.strings:
                for entry in map(message, entries):
                    s.strings[table][first(entry, 1, 0)] = text(first(entry, 2, b""))
        defaults = message(first(p, 59, b""))
        s.clock = first(defaults, 58, s.clock)
        s.track = first(message(first(defaults, 11, b"")), 11, s.track)
        when = self.when(s, p) if 8 in p else None
        if first(p, 13, 0) & 2 and not s.valid:
            return
        if 6 in p:
            self.snapshot(s, message(first(p, 6)))
        if 60 in p:
            self.describe(s, message(first(p, 60)))
        if 11 in p and when is not None:
            self.events.append((when, len(self.events), s, dict(s.strings), s.track, s.thread, message(first(p, 11))))

    def when(self, s, p):
        clock, value = first(p, 58, s.clock) or 6, first(p, 8)
        if clock == (self.trace_clock or 6):
            return value
        table = s.clocks if 64 <= clock <= 127 else self.shared
        if clock not in table:
            return None if self.shared or table is s.clocks else value
        c = table[clock]
        if c["incremental"]:
            c["last"] += value
            value = c["last"]
        return value * c["unit"] - c["source"] + c["trace"]

    def snapshot(self, s, m):
        self.trace_clock = self.trace_clock or first(m, 2)
        clocks = [message(c) for c in m.get(1, [])]
        now = None
        for c in clocks:
            if first(c, 1) == (self.trace_clock or 6):
                now = first(c, 2)
        if now is None:
            return
        for c in clocks:
            unit = first(c, 4, 1)
            table = s.clocks if 64 <= first(c, 1) <= 127 else self.shared
            table[first(c, 1)] = {"last": first(c, 2), "unit": unit, "source": first(c, 2) * unit, "trace": now,
                                  "incremental": first(c, 3, 0)}

    def describe(self, s, m):
        t = self.tracks.setdefault(first(m, 1, 0), Track())
        t.parent = first(m, 5, t.parent)
        for number in (2, 10, 13):
            if number in m:
                t.name = text(first(m, number))
        if 3 in m:
            process = message(first(m, 3))
            t.kind, t.pid, t.tid = "process", first(process, 1, 0), first(process, 1, 0)
            name = text(first(process, 6, b""))
            if name and (6 in m and not getattr(t, "sure", False) or not t.process_name):
                t.process_name, t.sure = name, 6 in m
        if 4 in m:
            thread = message(first(m, 4))
            t.kind, t.pid, t.tid = "thread", first(thread, 1, 0), first(thread, 2, 0)
            t.thread_name = text(first(thread, 5, b"")) or t.thread_name
            if s.valid:
                s.thread = (t.pid, t.tid)
        if 8 in m:
            counter = message(first(m, 8))
            t.builtin = first(counter, 1, 0) != 0
            t.multiplier = first(counter, 4, 0) or 1
            t.incremental = bool(first(counter, 5, 0))

    def root(self, uuid):
        t = self.tracks.get(uuid)
        for _ in range(64):
            if t is None or t.kind or t.parent not in self.tracks:
                break
            t = self.tracks[t.parent]
        return t

    def args(self, strings, m):
        out = dict(annotation(a, strings) for a in m.get(4, []))
        for number in (32, 1075):
            if number in m:
                state = first(message(first(m, number)), 1)
                if state is not None:
                    out["frame_reporter"] = {"state": FRAME_STATES[state]}
        return out

    def json(self):
        out, open_slices = [], {}
        for t in self.tracks.values():
            if t.process_name:
                out.append({"ph": "M", "name": "process_name", "pid": t.pid, "tid": t.tid, "args": {"name": t.process_name}})
            if t.thread_name:
                out.append({"ph": "M", "name": "thread_name", "pid": t.pid, "tid": t.tid, "args": {"name": t.thread_name}})
        for when, _, s, strings, track, thread, m in sorted(self.events, key=lambda e: (e[0], e[1])):
            legacy = message(first(m, 6, b""))
            uuid = first(m, 11, track)
            root = self.root(uuid) or Track()
            beside = root.kind != "thread" or root is not self.tracks.get(uuid)
            place = (root.pid, root.tid)
            if root.kind != "thread" and thread and (thread[0] == root.pid or root.kind is None):
                place = thread
            name = strings[2].get(first(m, 10) or first(legacy, 1), "") if 10 in m or 1 in legacy else text(first(m, 23, b""))
            categories = [strings[1].get(i, "") for i in m.get(3, [])] + [text(c) for c in m.get(22, [])]
            e = {"name": name, "cat": ",".join(categories), "ts": when / 1000, "pid": place[0], "tid": place[1], "args": self.args(strings, m)}
            phase = {1: "B", 2: "E", 3: "I", 4: "C"}.get(first(m, 9, 0))
            if 2 in legacy:
                phase = chr(first(legacy, 2))
                if 10 in legacy:
                    e["id2"] = {"local": hex(first(legacy, 10))}
                elif 6 in legacy or 11 in legacy:
                    e["id"] = hex(first(legacy, 6, first(legacy, 11)))
                if 7 in legacy:
                    e["id"] = text(first(legacy, 7)) + str(e.get("id")) + str(e.get("id2")) + str(e["pid"])
                if 3 in legacy:
                    e["dur"] = first(legacy, 3)
            elif uuid:
                e["id"] = hex(uuid)
            if phase == "C" and 2 not in legacy:
                self.count(e, uuid, m, s, out)
            elif phase == "B":
                open_slices.setdefault(uuid, []).append((e, when, beside))
                e["ph"] = "b" if beside else "B"
                out.append(e)
            elif phase == "E":
                self.end(open_slices.get(uuid, []), when, name, e["args"], out)
            elif phase:
                own = self.tracks.get(uuid)
                e["ph"] = "n" if phase == "I" and uuid and (own is None or not own.kind) else phase
                out.append(e)
        return out

    def count(self, e, uuid, m, s, out):
        t = self.tracks.get(uuid) or Track()
        if t.builtin:
            return
        value = struct.unpack("<d", first(m, 44))[0] if 44 in m else signed(first(m, 30, 0))
        if t.incremental:
            t.sum[id(s)] = value = t.sum.get(id(s), 0) + value
        out.append(dict(e, ph="C", name=e["name"] or t.name, args={"value": value * t.multiplier}))

    def end(self, stack, when, name, args, out):
        for at in range(len(stack) - 1, -1, -1):
            begin, since, beside = stack[at]
            if not name or begin["name"] == name:
                del stack[at]
                begin["args"].update(args)
                begin["ph"] = ("b" if beside else "X") if when > since else "n" if beside else "I"
                begin["dur"] = (when - since) / 1000
                if beside and when > since:
                    out.append({k: v for k, v in begin.items() if k not in ("args", "dur")} | {"ph": "e", "ts": when / 1000})
                return


def main():
    with open(sys.argv[1], "rb") as f:
        data = f.read()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    events = Trace(data).json()
    # one event a line; times with the three decimals that they have
    sys.stdout.write('{"traceEvents":[\n')
    for i, e in enumerate(events):
        for key in ("ts", "dur"):
            if key in e:
                e[key] = round(e[key], 3)
        sys.stdout.write((",\n" if i else "") + json.dumps(e))
    sys.stdout.write("\n]}\n")


main()
