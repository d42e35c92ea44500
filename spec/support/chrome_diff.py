#!/usr/bin/env python3
"""Compares tidemark's answers about traces of Chrome with a plain count by Python's json module.

Usage: chrome_diff.py TIDEMARK [TRACE.json...]

Without a trace it makes some at random. Slow and plain on purpose: each question goes through all
events anew, nesting is found by comparing every slice with those around it.
"""
import collections
import json
import os
import random
import subprocess
import sys
import tempfile

SCRIPT = {"FunctionCall", "EvaluateScript", "v8.evaluateModule", "v8.compile", "RunMicrotasks"}
KINDS = [("script_ns", SCRIPT), ("layout_ns", {"Layout"}), ("style_ns", {"UpdateLayoutTree", "RecalculateStyles"}),
         ("gc_ns", {"MinorGC", "MajorGC"}), ("html_ns", {"ParseHTML"})]
TASKS = {"RunTask", "ThreadControllerImpl::RunTask"}
TIMED = set("XBEbenSTFICPiR")


def ns(microseconds):
    text = microseconds if isinstance(microseconds, str) else repr(microseconds)
    whole, _, part = text.partition(".")
    return int(whole) * 1000 + int((part + "000")[:3])


class Trace:
    def __init__(self, path):
        with open(path) as f:
            document = json.load(f)
        self.events = [e for e in (document["traceEvents"] if isinstance(document, dict) else document) if "ph" in e]
        timed = [e for e in self.events if "ts" in e and e["ph"] in TIMED]
        self.start = min(ns(e["ts"]) for e in timed)
        self.end = max(ns(e["ts"]) + ns(e.get("dur", 0)) for e in timed)
        self.names = {}
        for e in self.events:
            if e["ph"] == "M" and e["name"] == "thread_name":
                self.names[e["pid"], e["tid"]] = e["args"]["name"]
        self.slices = self.find_slices()

    def find_slices(self):
        out, stacks = [], collections.defaultdict(list)
        for e in self.events:
            key = e.get("pid"), e.get("tid")
            if e["ph"] == "X":
                out.append([key, ns(e["ts"]) - self.start, ns(e.get("dur", 0)), e["name"]])
            elif e["ph"] == "B":
                out.append([key, ns(e["ts"]) - self.start, None, e["name"]])
                stacks[key].append(out[-1])
            elif e["ph"] == "E" and stacks[key]:
                s = stacks[key].pop()
                s[2] = max(0, ns(e["ts"]) - self.start - s[1])
        for s in out:
            if s[2] is None:
                s[2] = self.end - self.start - s[1]
        return out


def tasks(trace, over_ns):
    watch = "CrRendererMain" in trace.names.values()
    threads = collections.defaultdict(list)
    for s in trace.slices:
        if not watch or trace.names.get(s[0]) == "CrRendererMain":
            threads[s[0]].append(s)
    count, out = 0, []
    for key, slices in threads.items():
        slices.sort(key=lambda s: (s[1], -s[2]))
        until, task = -1, None
        for s in slices:
            if s[3] in TASKS and s[1] >= until:
                count += 1
                until = s[1] + s[2]
                task = {"begin_ns": s[1], "duration_ns": s[2], "pid": key[0], "tid": key[1], "inside": []}
                out.append(task)
            elif s[1] < until:
                task["inside"].append(s)
    kept = []
    for task in out:
        if task["duration_ns"] > over_ns:
            add_work(task, task.pop("inside"))
            kept.append(task)
    return count, kept


def add_work(task, inside):
    until = collections.Counter()
    task.update({name: 0 for name, _ in KINDS}, forced_ns=0, forced_count=0)
    for _, begin, took, name in inside:
        kind = next((k for k, names in KINDS if name in names), None)
        if not kind:
            continue
        covered = {k for k, end in until.items() if end > begin}
        if kind in ("layout_ns", "style_ns") and "script_ns" in covered and not covered & {"layout_ns", "style_ns"}:
            task["forced_ns"] += took
            task["forced_count"] += 1
        if kind not in covered:
            task[kind] += took
        until[kind] = max(until[kind], begin + took)


OWNED = (("timer", "TimerInstall", "TimerFire", "TimerRemove", "timerId"),
         ("animation frame", "RequestAnimationFrame", "FireAnimationFrame", "CancelAnimationFrame", "id"),
         ("websocket", "WebSocketCreate", None, "WebSocketDestroy", "identifier"),
         ("request", "ResourceSendRequest", None, "ResourceFinish", "requestId"))


def asyncs(trace):
    """How many operations of each kind and name began and did not end."""
    still = collections.defaultdict(list)
    for e in trace.events:
        local = e.get("id2", {}).get("local")
        where = ("local", local, e["pid"]) if local is not None else ("id", e.get("id2", {}).get("global", e.get("id")))
        if e["ph"] in "bS":
            still[e["name"], e.get("cat"), where].append(("async", e["name"], False))
        elif e["ph"] in "eF":
            if still[e["name"], e.get("cat"), where]:
                still[e["name"], e.get("cat"), where].pop()
        elif e["ph"] != "E" and isinstance(e.get("args", {}).get("data"), dict):
            for row in OWNED:
                follow_owner(row, still, e, e["args"]["data"])
    return collections.Counter(item[:2] for items in still.values() for item in items)


def follow_owner(row, still, e, data):
    kind, begin, fire, end, field = row
    name = e["name"]
    if name not in (begin, fire, end, "ResourceReceiveResponse") or field not in data:
        return
    key = (kind, e["pid"], None if kind == "request" else e["tid"], data[field])
    if name == begin:
        fetch = kind == "request" and data.get("initiator", {}).get("fetchType")
        still[key].append(({"fetch": "fetch", "xmlhttprequest": "xhr"}.get(fetch, kind), name, not data.get("singleShot", True)))
    elif name == "ResourceReceiveResponse":
        if still[key] and data.get("mimeType") == "text/event-stream":
            still[key][-1] = ("eventsource", begin, False)
    elif still[key] and not (name == fire and still[key][-1][2]):
        still[key].pop()


def counters(trace):
    points = collections.defaultdict(list)
    for e in trace.events:
        if e.get("name") == "UpdateCounters" and e["ph"] in "IiR":
            for name, value in e["args"]["data"].items():
                points[e["pid"], name].append((ns(e["ts"]), value))
        elif e["ph"] == "C":
            for name, value in e["args"].items():
                if isinstance(value, (int, float)):
                    points[e["pid"], e["name"] + "." + name].append((ns(e["ts"]), value))
    out = set()
    for (pid, name), list_ in points.items():
        values = [v for _, v in list_]
        first = min(enumerate(list_), key=lambda p: (p[1][0], p[0]))[1][1]
        last = max(enumerate(list_), key=lambda p: (p[1][0], p[0]))[1][1]
        out.add((pid, name, first, last, min(values), max(values), len(values)))
    return out


def frames(trace):
    states = collections.Counter()
    for e in trace.events:
        if e.get("name") == "PipelineReporter" and e["ph"] == "b":
            states["frames"] += 1
            states[e["args"].get("frame_reporter", e["args"].get("chrome_frame_reporter", {})).get("state")] += 1
    return {"frames": states["frames"], "presented": states["STATE_PRESENTED_ALL"], "partial": states["STATE_PRESENTED_PARTIAL"],
            "dropped": states["STATE_DROPPED"] or sum(e.get("name") == "DroppedFrame" and e["ph"] in "IiR" for e in trace.events),
            "not_desired": states["STATE_NO_UPDATE_DESIRED"]}


def memory(trace):
    held = {}
    for e in trace.events:
        if e["ph"] != "v":
            continue
        dumps = e["args"]["dumps"]
        found = {name: int(value, 16) for name, value in dumps.get("process_totals", {}).items() if isinstance(value, str)}
        for name, allocator in dumps.get("allocators", {}).items():
            attrs = allocator.get("attrs", {})
            size = attrs.get("effective_size", attrs.get("size"))
            if size or "object_count" in attrs:
                found[name] = int(size["value"], 16) if size else 0
        for name, value in found.items():
            held.setdefault((e["pid"], name), []).append((ns(e["ts"]), value))
    return {(pid, name, min(list_)[1], max(list_)[1], len(list_)) for (pid, name), list_ in held.items()}


def ask(tidemark, *words):
    done = subprocess.run([tidemark, *words, "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def compare(what, ours, theirs):
    if ours == theirs:
        return 0
    print(f"{what} differs")
    if isinstance(ours, (set, collections.Counter)):
        print("  only ours:", sorted(map(str, set(ours) - set(theirs)))[:5], "\n  only theirs:", sorted(map(str, set(theirs) - set(ours)))[:5])
    print("  ours:", str(ours)[:600], "\n  theirs:", str(theirs)[:600])
    return 1


def check(tidemark, path):
    trace, wrong = Trace(path), 0
    for over in 16, 50:
        answer = ask(tidemark, "tasks", path, "--over", f"{over}ms")
        count, ours = answer["meta"]["tasks"], answer["rows"]
        their_count, theirs = tasks(trace, over * 1000000)
        wrong += compare("count of tasks", count, their_count)
        fields = ["pid", "tid", "begin_ns", "duration_ns", "forced_ns", "forced_count"] + [name for name, _ in KINDS]
        plain = [sorted(tuple((f, t[f]) for f in fields) for t in list_) for list_ in (ours, theirs)]
        wrong += compare(f"tasks over {over} ms", *map(set, plain))
    rows = ask(tidemark, "asyncs", path, "--all")["rows"]
    ours = collections.Counter()
    for row in rows:
        ours[row["kind"], row["name"]] += row["count"]
    wrong += compare("operations without an end", ours, asyncs(trace))
    rows = ask(tidemark, "counters", path, "--constant")["rows"]
    fields = ["pid", "name", "first", "last", "least", "greatest", "count"]
    ours = {tuple(r[f] for f in fields) for r in rows if not r["name"].startswith("v8.")}
    wrong += compare("counters", ours, counters(trace))
    meta = ask(tidemark, "frames", path)["meta"]
    theirs = frames(trace)
    wrong += compare("frames", {name: meta[name] for name in theirs}, theirs)
    rows = ask(tidemark, "memory-infra", path, "--deep")["rows"]
    ours = {(r["pid"], r["name"], r["first_bytes"], r["last_bytes"], r["dumps"]) for r in rows}
    wrong += compare("memory", ours, memory(trace))
    print(f"{os.path.basename(path)}: {len(trace.events)} events, {'differs' if wrong else 'same'}")
    return wrong


class Maker:
    """A trace of which nothing is known but that its slices nest."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.events, self.open, self.ids = [], [], 0
        for tid, name in (1, "CrRendererMain"), (2, "Compositor"), (3, "CrRendererMain"):
            self.events.append({"ph": "M", "name": "thread_name", "pid": 7, "tid": tid, "args": {"name": name}})

    def time(self, us):
        return self.random.choice([us, float(us) + 0.5, str(us)])

    def event(self, ph, name, tid, ts, **more):
        self.events.append({"ph": ph, "cat": "c", "name": name, "pid": 7, "tid": tid, "ts": self.time(ts), **more})

    def nest(self, tid, begin, end):
        todo = [(begin, end, 0)]
        while todo:
            begin, end, depth = todo.pop()
            name = self.random.choice(sorted(TASKS | SCRIPT | set("Layout UpdateLayoutTree MinorGC MajorGC ParseHTML Paint".split())))
            if depth == 0:
                name = "RunTask"
            if self.random.random() < 0.3:
                self.begin_end(name, tid, begin, end)
            else:
                self.events.append({"ph": "X", "cat": "c", "name": name, "pid": 7, "tid": tid, "ts": begin, "dur": end - begin})
            while depth < 6 and end - begin > 20 and self.random.random() < 0.7:
                middle = self.random.randrange(begin + 1, end)
                todo.append((begin + 1, middle, depth + 1))
                begin = middle + 1

    def begin_end(self, name, tid, begin, end):
        # begins and ends of a thread stand in their order in a file: one alone on a thread does
        if not self.random.randrange(2) and begin >= max(self.open, default=0):
            self.events += [{"ph": ph, "cat": "c", "name": name, "pid": 7, "tid": tid, "ts": ts} for ph, ts in (("B", begin), ("E", end))]
            return
        self.events.append({"ph": "X", "cat": "c", "name": name, "pid": 7, "tid": tid, "ts": begin, "dur": end - begin})

    def owner(self, ts):
        r = self.random
        kind, begin, fire, end, field = r.choice(OWNED)
        name = r.choice([begin, begin, fire or end, end, "ResourceReceiveResponse" if kind == "request" else end])
        key = str(r.randrange(30)) if kind == "request" else r.randrange(30)
        data = {field: key, "singleShot": r.random() < 0.5, "url": "http://x/" + str(r.randrange(4))}
        if r.random() < 0.3:
            data["initiator"] = {"fetchType": r.choice(["fetch", "xmlhttprequest", ""])}
        if name == "ResourceReceiveResponse":
            data["mimeType"] = r.choice(["text/event-stream", "text/html"])
        self.event("I", name, r.choice([1, 3]), ts, args={"data": data})

    def plain(self, ts):
        r = self.random
        kind = r.randrange(5)
        id_ = r.choice([{"id": hex(r.randrange(9))}, {"id2": {"local": hex(r.randrange(9))}}, {"id2": {"global": hex(r.randrange(9))}}])
        if kind == 0:
            self.event(*r.choice([("b", "load"), ("e", "load"), ("b", "wait"), ("e", "wait"), ("S", "old"), ("F", "old")]), 1, ts, **id_)
        elif kind == 1:
            self.event("I", "UpdateCounters", r.choice([1, 3][:1]), ts, args={"data": {"nodes": r.randrange(99), "documents": 1}})
        elif kind == 2:
            self.event("C", "live", 1, ts, args={"cats": r.randrange(9), "dogs": r.randrange(9) / 4})
        elif kind == 3:
            self.ids += 1
            state = r.choice("PRESENTED_ALL PRESENTED_PARTIAL DROPPED NO_UPDATE_DESIRED".split())
            for ph, more in (("b", {"args": {"frame_reporter": {"state": "STATE_" + state}}}), ("e", {})):
                self.event(ph, "PipelineReporter", 2, ts, id2={"local": hex(1000 + self.ids)}, **more)
        else:
            value = {"type": "scalar", "units": "bytes", "value": hex(r.randrange(1 << 40))[2:]}
            sizes = {name: {"attrs": {key: value for key in r.sample(["effective_size", "size"], r.randrange(1, 3))}} for name in ("malloc", "v8/main")}
            self.events.append({"ph": "v", "cat": "m", "name": "periodic_interval", "id": hex(ts), "pid": r.choice([7, 8]), "tid": -1, "ts": ts,
                                "args": {"dumps": {"allocators": sizes}}})

    def make(self, path):
        for tid in 1, 2, 3:
            at = 1000
            for _ in range(200):
                took = self.random.choice([9, 500, 15999, 16000, 16001, 50000, 50001, 90000])
                self.nest(tid, at, at + took)
                at += took + self.random.randrange(3000)
        for i in range(1500):
            ts = 1000 + 17 * i
            self.owner(ts) if self.random.random() < 0.4 else self.plain(ts)
        with open(path, "w") as f:
            json.dump(self.events if self.random.random() < 0.5 else {"traceEvents": self.events}, f)


def main():
    tidemark, paths = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(0 if paths else 3):
            paths.append(os.path.join(folder, f"random-{seed}.json"))
            Maker(seed).make(paths[-1])
        wrong = sum(check(tidemark, path) for path in paths)
    sys.exit(1 if wrong else 0)


main()
