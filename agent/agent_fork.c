// A child of fork keeps what was counted and is an agent of its own: other pid, other socket, a
// thread when it first has something to tell. All locks are taken around the fork, so none is left
// with a thread that the child does not have.
#include "agent_handles.h"
#include "agent_tables.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

static void prepare(void) {
  tm_self.guard++;
  tm_live_lock_all();
  tm_handles_lock();
  tm_spin_lock(&tm_stacks_lock);
}

static void release(void) {
  tm_spin_unlock(&tm_stacks_lock);
  tm_handles_unlock();
  tm_live_unlock_all();
  tm_self.guard--;
}

static void in_child(void) {
  tm_agent.pid = syscall(SYS_getpid);
  tm_self.slot = 0;
  tm_self.random = 0; // or it would sample what its parent samples
  tm_control_forked();
  tm_handles_forked();
  release();
}

void tm_fork_init(void) {
  pthread_atfork(prepare, release, in_child);
}
