// Memory of a process by process_vm_readv. The call ends at the first range that it cannot read:
// that one stays unread, and the next call goes on behind it.
#include "linux.h"

#include <errno.h>
#include <sys/uio.h>

enum { BATCH = 256 };

// Reads the first ranges of a batch; answers how many are done with, whether read or not.
static size_t read_some(int64_t pid, tm_memory_range *ranges, size_t count, int *err) {
  struct iovec here[BATCH] = {0}, there[BATCH] = {0};
  for (size_t i = 0; i < count; i++) {
    here[i] = (struct iovec){ranges[i].to, ranges[i].bytes};
    there[i] = (struct iovec){(void *)(uintptr_t)ranges[i].address, ranges[i].bytes};
  }
  ssize_t got = process_vm_readv((pid_t)pid, here, count, there, count, 0);
  if (got < 0) {
    *err = errno == EFAULT ? 0 : errno;
    return 1;
  }
  size_t i = 0;
  for (size_t left = (size_t)got; i < count && ranges[i].bytes <= left; i++) {
    left -= ranges[i].bytes;
    ranges[i].read = true;
  }
  return i + (i < count);
}

tm_status tm_proc_copy(tm_ctx *ctx, tm_proc *proc, tm_memory_range *ranges, size_t count) {
  for (size_t i = 0; i < count; i++) ranges[i].read = false;
  for (size_t i = 0; i < count;) {
    int err = 0;
    i += read_some(proc->id.pid, ranges + i, count - i < BATCH ? count - i : BATCH, &err);
    if (err)
      return tm_fail_errno(ctx, err,
                           "cannot look into process %lld; it wants CAP_SYS_PTRACE or the "
                           "same user with kernel.yama.ptrace_scope 0",
                           (long long)proc->id.pid);
  }
  return TM_OK;
}
