"""Reports of heap dumps through the C library against the program's --json, cell by cell.

  same_reports.py EMBED_REPORT TIDEMARK SEEDS
"""
import glob
import json
import os
import subprocess
import sys

embed, program, seeds = sys.argv[1:]
# verb, options of the library, words of the program, columns (None = all)
SUSPECT = ["kind", "node", "type", "count", "retained_bytes", "share_ratio"]  # what is piled up the program counts anew
REPORTS = [
    ("objects", ["nodecount=0"], ["objects", "FILE"], None),
    ("objects", ["nodecount=0", "order=count", "follow=phantom"], ["objects", "FILE", "--order", "count", "--follow", "phantom"], None),
    ("holders", ["nodecount=0"], ["holders", "FILE"], None),
    ("holders", ["nodecount=5", "node=0"], ["holders", "FILE", "#0", "--nodecount", "5"], None),
    ("path", ["node=1"], ["path", "FILE", "#1"], None),
    ("path", ["node=3", "follow=strong"], ["path", "FILE", "#3", "--follow", "strong"], None),
    ("suspects", ["share=0.2"], ["suspects", "FILE", "--share", "20%"], SUSPECT),
    ("detached", ["nodecount=0"], ["detached", "FILE"], None),
]


def rows_of(words, rows):
    out = subprocess.run(words, capture_output=True, text=True, timeout=60, env={**os.environ, "HOME": "/nonexistent"})
    return rows(json.loads(out.stdout)) if out.stdout.strip() else None


def cells(row, columns):
    row = {k: v for k, v in row.items() if v is not None and (columns is None or k in columns)}
    return {k: round(v, 9) if isinstance(v, float) else v for k, v in row.items()}


compared = shown = 0
files = [f for kind in ("hprof", "v8heap", "goheap") for f in sorted(glob.glob(f"{seeds}/fuzz_{kind}/*"))]
for path in files:
    for verb, options, words, columns in REPORTS:
        ours = rows_of([embed, path, verb, "json", *options], lambda d: d)
        words = [path if w == "FILE" else w for w in words]
        theirs = rows_of([program, *words, "--json", "--no-index"], lambda d: d.get("rows"))
        if ours is None or theirs is None:
            if (ours is None) != (theirs is None):
                sys.exit(f"{path} {verb} {options}: only one says something\n{ours}\n{theirs}")
            continue
        a, b = [cells(r, columns) for r in ours], [cells(r, columns) for r in theirs]
        if a != b:
            sys.exit(f"{path} {verb} {options}\nlibrary {a}\nprogram {b}")
        compared += 1
        shown += len(a)
print(f"{compared} reports of {len(files)} dumps are the same, {shown} rows")
if compared < 40:
    sys.exit("too few reports to mean something")
