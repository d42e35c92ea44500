// Time: wall clock in nanoseconds since the epoch (what series and findings carry), and a monotone
// clock for periods and costs.
#ifndef TM_BASE_CLOCK_H
#define TM_BASE_CLOCK_H

#include <stdint.h>

int64_t tm_clock_wall_ns(void);
uint64_t tm_clock_mono_ns(void);
uint64_t tm_clock_thread_cpu_ns(void);  // CPU time of the calling thread
uint64_t tm_clock_process_cpu_ns(void); // CPU time of this process

#endif
