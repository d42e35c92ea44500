#!/usr/bin/env python3
"""What a Go heap dump holds, by a reader of its own and brute force: goheap_count.py DUMP.

Prints objects and bytes as the dump's own MemStats say, objects and bytes that the roots reach, and the bytes that
die with each goroutine's object. Slots past what fits a page of small objects (mspan.nelems) are no objects.
"""
import bisect
import collections
import re
import sys

PARTS = {1: "vsf", 2: "sv", 3: "vvsv", 4: "vvvvvvvvsvvvv", 5: "vvvsvvvsf", 6: "vvvvssv", 7: "vvvvv", 8: "vv", 9: "vvv",
         10: "v" * 281, 11: "vvvvv", 12: "vsf", 13: "vsf", 14: "v" * 7, 15: "v" * 6, 17: "vv"}


class Dump:
    def __init__(self, data):
        self.data, self.at = data, 16

    def number(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def text(self):
        size = self.number()
        self.at += size
        return self.data[self.at - size:self.at]

    def fields(self):
        out = []
        while self.number():
            out.append(self.number())
        return out

    def record(self):
        tag = self.number()
        if tag == 16:
            self.number(), self.number()
            for _ in range(self.number()):
                self.text(), self.text(), self.number()
            self.number(), self.number()
            return tag, None
        read = {"v": self.number, "s": self.text, "f": self.fields}
        return tag, [read[part]() for part in PARTS.get(tag, "")]


def slots(contents, fields):
    return [int.from_bytes(contents[f:f + 8], "little") for f in fields if f + 8 <= len(contents)]


def real_objects(objects, version):
    """Without the slots that lie over the collector's bits."""
    minor = int(re.match(rb"go1\.(\d+)", version)[1])
    pages = collections.defaultdict(list)
    for o in objects:
        if minor >= 22 and len(o[1]) <= 512:
            pages[o[0] >> 13].append(o)
    dropped = set()
    for number, page in pages.items():
        size = len(page[0][1])
        marks = 128 if minor >= 26 and size >= 16 else 0
        fits = (8192 - marks - 128) // size
        if not any(o[2] and (o[0] - (number << 13)) // size < fits for o in page):
            fits = (8192 - marks) // size
        dropped.update(o[0] for o in page if (o[0] - (number << 13)) // size >= fits)
    return sorted(o for o in objects if o[0] not in dropped)


def main():
    with open(sys.argv[1], "rb") as file:
        dump = Dump(file.read())
    objects, roots, goroutines, held, version, stats = [], [], [], {}, b"", None
    while True:
        tag, r = dump.record()
        if tag == 0:
            break
        if tag == 1:
            objects.append(r)
        elif tag == 6:
            version = r[5]
        elif tag == 10:
            stats = r
        elif tag in (12, 13):
            roots += slots(r[1], r[2])
        elif tag == 4:
            goroutines.append(r[0])
            roots.append(r[0])
            held[r[0]] = [r[9]]
        elif tag == 5:
            held[goroutines[-1]] += slots(r[3], r[8])
        elif tag in (14, 15):
            held[goroutines[-1]] += [r[0], r[4 if tag == 14 else 3]]
        elif tag in (7, 11):
            roots += r[:2] if tag == 11 else r[1:2]
    objects = real_objects(objects, version)
    starts = [o[0] for o in objects]

    def find(pointer):
        i = bisect.bisect_right(starts, pointer) - 1
        return i if i >= 0 and pointer < starts[i] + len(objects[i][1]) else -1

    edges = [[t for t in map(find, slots(o[1], o[2])) if t >= 0] for o in objects]
    for g, pointers in held.items():
        edges[find(g)] += [t for t in map(find, pointers) if t >= 0]

    def reach(without=-1):
        seen, todo = {without}, []
        for node in [find(p) for p in roots]:
            if node >= 0 and node not in seen:
                seen.add(node)
                todo.append(node)
        while todo:
            for to in edges[todo.pop()]:
                if to not in seen:
                    seen.add(to)
                    todo.append(to)
        seen.discard(without)
        return seen

    def size(nodes):
        return sum(len(objects[n][1]) for n in nodes)

    live = reach()
    print(stats[11], stats[6], len(live), size(live))
    for g in sorted(goroutines)[:40]:
        print(f"{g:#x} {size(live) - size(reach(find(g)))}")


main()
