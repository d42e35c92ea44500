// The record that the BPF program writes and bulk.c reads; natural alignment, no padding.
#ifndef TM_PLATFORM_LINUX_BULK_ROW_H
#define TM_PLATFORM_LINUX_BULK_ROW_H

// A process has one row with is_leader; each other thread that had major faults adds a row with its
// own, since the kernel keeps them per thread until it ends.
struct tm_bulk_record {
  int pid; // of the process
  unsigned int is_leader;
  long long pages[4]; // file, anon, swap, shmem: the kernel's order
  unsigned int thread_count, map_count;
  unsigned long long majflt_count;
};

#endif
