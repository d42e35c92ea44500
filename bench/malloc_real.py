#!/usr/bin/env python3
"""What recording the native heap costs real programs: user CPU and peak memory of gcc, jq, node, python3 and a Go program
that calls C, plain and with the agent; the best of some interleaved rounds. Programs that are not installed are left out.

    bench/malloc_real.py BUILD [ROUNDS]      BUILD: folder of a release build

Ends with 1 if sampling costs one of them more than 15 % (bar H1) or 10 MiB.
"""
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
MODES = ("plain", "sampled", "full")
NODE = """let k = [];
for (let i = 0; i < 300000; i++) { k.push(Buffer.alloc(1000 + i % 5000)); if (k.length > 2000) k = []; }"""
PYTHON = "import json; [json.loads(json.dumps(json.load(open('big.json'))[:100000])) for _ in range(2)]"


def write_inputs():
    with open("unit.c", "w") as unit:
        unit.write("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/socket.h>\n")
        for i in range(200):
            unit.write(f"int f{i}(int a, char *s) {{ int r = 0; for (int i = 0; i < a; i++) {{ r += s[i % 7] * {i};"
                       " if (r & 1) r ^= a << 3; else r -= (int)strlen(s); } return r; }\n")
    rows = [{"id": i, "name": f"n{i}", "tags": ["a", "b", str(i)], "at": {"x": i * 1.5}} for i in range(400000)]
    pathlib.Path("big.json").write_text(json.dumps(rows))


def build_cgo():
    os.mkdir("app")
    shutil.copy(HERE.parent / "spec/support/cgoleak.go", "app/main.go")
    pathlib.Path("app/go.mod").write_text("module app\n\ngo 1.19\n")
    env = dict(os.environ, CGO_ENABLED="1", GOFLAGS="-mod=mod", GOCACHE=os.path.abspath("cache"))
    done = subprocess.run(["go", "build", "-o", "../cgo", "."], cwd="app", env=env, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def programs():
    lines = {"gcc": ["gcc", "-O2", "-c", "-o", "unit.o", "unit.c"],
             "jq": ["jq", "-c", "group_by(.id % 10) | map(length)", "big.json"],
             "node": ["node", "-e", NODE], "python3": ["python3", "-c", PYTHON]}
    lines = {name: line for name, line in lines.items() if shutil.which(line[0])}
    if shutil.which("go") and build_cgo():
        lines["cgo"] = ["./cgo"]
    return lines


def run(line, mode, agent):
    """User seconds and peak KiB of a run; its children are counted with it."""
    env = dict(os.environ)
    if mode != "plain":
        env.update(LD_PRELOAD=agent, TIDEMARK_AGENT_OPTIONS=f"mode={mode}")
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        subprocess.run(line, env=env, check=True)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        pathlib.Path("usage").write_text(f"{usage.ru_utime} {usage.ru_maxrss}")
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit(f"{line[0]} failed ({mode})")
    seconds, peak = pathlib.Path("usage").read_text().split()
    return float(seconds), int(peak)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    agent = str(pathlib.Path(sys.argv[1], "libtidemark-malloc.so").resolve())
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_inputs()
        print(f"{'PROGRAM':10} {'PLAIN':>8} {'SAMPLED':>8} {'RATIO':>6} {'FULL':>8} {'RATIO':>6} {'SAMPLED RSS':>12}")
        for name, line in programs().items():
            best = {mode: (1e9, 1 << 60) for mode in MODES}
            for _ in range(rounds):
                for mode in MODES:
                    got = run(line, mode, agent)
                    best[mode] = (min(best[mode][0], got[0]), min(best[mode][1], got[1]))
            plain, sampled, full = (best[mode] for mode in MODES)
            more_kib = sampled[1] - plain[1]
            missed = missed or sampled[0] > 1.15 * plain[0] or more_kib > 10240
            print(f"{name:10} {plain[0]:7.2f}s {sampled[0]:7.2f}s {sampled[0] / plain[0]:6.2f} {full[0]:7.2f}s"
                  f" {full[0] / plain[0]:6.2f} {more_kib / 1024:+8.1f} MiB", flush=True)
        os.chdir("/")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
