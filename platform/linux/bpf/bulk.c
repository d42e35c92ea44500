// BPF task iterator: one record per process, written to the reader's seq file while the kernel
// walks its tasks. The structs name only the fields that are read; the loader moves the offsets to
// those of the running kernel (CO-RE), so no kernel headers are needed.
// Source: include/linux/sched.h, mm_types.h, percpu_counter.h of the kernel (6.2 and later);
// kernel/bpf/task_iter.c.
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

#include "../bulk_row.h"

#include <bpf/bpf_helpers.h>

#define KERNEL __attribute__((preserve_access_index))

struct percpu_counter {
  __s64 count;
} KERNEL;

struct mm_struct {
  int map_count;
  struct percpu_counter rss_stat[4];
} KERNEL;

struct signal_struct {
  int nr_threads;
  unsigned long maj_flt;
} KERNEL;

struct task_struct {
  int pid, tgid;
  unsigned long maj_flt;
  struct mm_struct *mm;
  struct signal_struct *signal;
} KERNEL;

struct bpf_iter_meta {
  struct seq_file *seq;
} KERNEL;

struct bpf_iter__task {
  struct bpf_iter_meta *meta;
  struct task_struct *task;
} KERNEL;

SEC("iter/task")
int tm_each_task(struct bpf_iter__task *ctx) {
  struct task_struct *task = ctx->task;
  if (!task) return 0;
  struct tm_bulk_record record = {.pid = task->tgid, .is_leader = task->pid == task->tgid};
  record.majflt_count = task->maj_flt;
  if (!record.is_leader && !record.majflt_count) return 0;
  if (record.is_leader) {
    struct mm_struct *mm = task->mm;
    struct signal_struct *signal = task->signal;
    record.thread_count = (__u32)signal->nr_threads;
    record.majflt_count += signal->maj_flt;
    if (mm) {
      record.map_count = (__u32)mm->map_count;
      record.pages[0] = mm->rss_stat[0].count;
      record.pages[1] = mm->rss_stat[1].count;
      record.pages[2] = mm->rss_stat[2].count;
      record.pages[3] = mm->rss_stat[3].count;
    }
  }
  bpf_seq_write(ctx->meta->seq, &record, sizeof record);
  return 0;
}

char tm_license[] SEC("license") =
    "GPL"; // what the kernel wants to read before it lends bpf_seq_write
