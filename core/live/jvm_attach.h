// Commands to a running HotSpot JVM over its own attach protocol, as jcmd and jmap use it: no
// agent, no JDK needed. Works into containers (the JVM's own /tmp and pid are used).
// Source: attachListener_posix.cpp and attachListener.cpp of OpenJDK 8 to 25.
#ifndef TM_LIVE_JVM_ATTACH_H
#define TM_LIVE_JVM_ATTACH_H

#include "base/bytes.h"

enum { TM_JVM_ARGS = 3, TM_JVM_TEXT_BYTES = 64 << 20 };

typedef struct tm_jvm {
  int64_t pid, own_pid; // own_pid: in its own pid namespace
  uint32_t uid, gid;    // effective
  bool is_apart;        // another mount namespace: its paths are not ours (see /proc/PID/root)
} tm_jvm;

// Looks whether a process is a JVM that can be spoken to. TM_E_GONE, TM_E_PERM, TM_E_UNSUPPORTED it
// is no HotSpot JVM, or one that would die of SIGQUIT (still starting, or -Xrs). Changes nothing.
TM_NODISCARD tm_status tm_jvm_find(tm_ctx *ctx, int64_t pid, tm_jvm *out);

// Does one command: "jcmd" with "GC.heap_info", "inspectheap" with "-live", "dumpheap" with a path
// of the JVM, "-live" and a gzip level. Missing args are NULL. The answer's text goes to `out`
// (which keeps what it had; cap TM_JVM_TEXT_BYTES). The first command of a JVM's life wakes its
// listener by SIGQUIT, which prints nothing then. TM_E_PERM the socket belongs to somebody else,
// TM_E_TIMEOUT (also a JVM with -XX:+DisableAttachMechanism), TM_E_IO what the JVM refuses, in its
// words, TM_E_FORMAT, TM_E_GONE, TM_E_CANCELLED. Blocking; any thread.
TM_NODISCARD tm_status tm_jvm_command(tm_ctx *ctx, const tm_jvm *jvm, uint64_t timeout_ns,
                                      const char *command, const char *const args[TM_JVM_ARGS],
                                      tm_bytes *out);

#endif
