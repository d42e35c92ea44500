"""The psutil side of bench_sampling: one pass per line read, answered with its CPU microseconds."""
import sys
import time

import psutil

PASSES = {
    "rss": ["memory_info"],
    "core": ["memory_info", "num_threads", "cpu_times", "num_fds"],
}

for line in sys.stdin:
    attrs = PASSES[line.strip()]
    start = time.process_time_ns()
    for process in psutil.process_iter(attrs):
        process.info
    print((time.process_time_ns() - start) // 1000, flush=True)
