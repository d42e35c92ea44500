// The JVM listens at /tmp/.java_pidN of its own file system, once a file .attach_pidN stands there
// and SIGQUIT came. SIGQUIT ends what does not catch it, so that is looked at first. Who answers
// must be the process itself: /tmp is everybody's.
#include "live/jvm_attach.h"

#include "base/clock.h"
#include "net/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MS_NS     UINT64_C(1000000)
#define WAKE_NS   (10000 * MS_NS) // how long a JVM may take to begin to listen
#define PROTOCOL  "1"
#define SHOWN_MAX 300

enum { PATH_ROOM = 64, PAUSE_MS = 20 };

// ---- what the process is ----

static FILE *open_proc(int64_t pid, const char *name) {
  char path[PATH_ROOM];
  snprintf(path, sizeof path, "/proc/%lld/%s", (long long)pid, name);
  return fopen(path, "re");
}

static tm_status read_status(tm_ctx *ctx, int64_t pid, tm_jvm *out, bool *catches_quit) {
  char line[256];
  FILE *file = open_proc(pid, "status");
  if (!file)
    return tm_fail_errno(ctx, errno == ENOENT ? ESRCH : errno, "process %lld", (long long)pid);
  *out = (tm_jvm){.pid = pid, .own_pid = pid};
  *catches_quit = false;
  while (fgets(line, sizeof line, file)) {
    const char *last = strrchr(line, '\t');
    if (strncmp(line, "NSpid:", 6) == 0 && last) out->own_pid = strtoll(last, NULL, 10);
    if (strncmp(line, "Uid:", 4) == 0) sscanf(line, "Uid: %*u %u", &out->uid);
    if (strncmp(line, "Gid:", 4) == 0) sscanf(line, "Gid: %*u %u", &out->gid);
    if (strncmp(line, "SigCgt:", 7) == 0)
      *catches_quit = strtoull(line + 7, NULL, 16) >> (SIGQUIT - 1) & 1;
  }
  fclose(file);
  return TM_OK;
}

static tm_status has_libjvm(tm_ctx *ctx, int64_t pid, bool *out) {
  char *line = NULL;
  size_t room = 0;
  FILE *file = open_proc(pid, "maps");
  if (!file) return tm_fail_errno(ctx, errno, "what process %lld has mapped", (long long)pid);
  errno = 0;
  *out = false;
  while (!*out && getline(&line, &room, file) > 0) *out = strstr(line, "/libjvm.so") != NULL;
  int error = ferror(file) ? errno : 0;
  free(line);
  fclose(file);
  if (error) return tm_fail_errno(ctx, error, "what process %lld has mapped", (long long)pid);
  return TM_OK;
}

static bool is_apart(int64_t pid) {
  char path[PATH_ROOM];
  struct stat own, other;
  snprintf(path, sizeof path, "/proc/%lld/ns/mnt", (long long)pid);
  return stat("/proc/self/ns/mnt", &own) == 0 && stat(path, &other) == 0
         && (own.st_ino != other.st_ino || own.st_dev != other.st_dev);
}

tm_status tm_jvm_find(tm_ctx *ctx, int64_t pid, tm_jvm *out) {
  bool catches_quit = false, is_jvm = false;
  TM_TRY(read_status(ctx, pid, out, &catches_quit));
  TM_TRY(has_libjvm(ctx, pid, &is_jvm));
  if (!is_jvm)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "process %lld is no HotSpot JVM: it has no libjvm.so", (long long)pid);
  if (!catches_quit)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "JVM %lld does not catch SIGQUIT and would end by it: it still starts, or runs "
                   "with -Xrs",
                   (long long)pid);
  out->is_apart = is_apart(pid);
  return TM_OK;
}

// ---- its socket ----

static void tmp_path(const tm_jvm *jvm, const char *stem, char out[PATH_ROOM]) {
  snprintf(out, PATH_ROOM, "/proc/%lld/root/tmp/.%s_pid%lld", (long long)jvm->pid, stem,
           (long long)jvm->own_pid);
}

static tm_status check_peer(tm_ctx *ctx, const tm_jvm *jvm, const tm_channel *channel) {
  if (channel->peer_uid == jvm->uid && (!channel->peer_pid || channel->peer_pid == jvm->pid))
    return TM_OK;
  return tm_fail(ctx, TM_E_PERM, TM_NO_OFFSET,
                 "the attach socket of JVM %lld is held by process %lld of user %lld: not trusted",
                 (long long)jvm->pid, (long long)channel->peer_pid, (long long)channel->peer_uid);
}

static tm_status connect_jvm(tm_ctx *ctx, const tm_jvm *jvm, uint64_t timeout_ns,
                             tm_channel *channel) {
  char path[PATH_ROOM];
  tmp_path(jvm, "java", path);
  TM_TRY(tm_channel_open_unix(ctx, path, timeout_ns, channel));
  tm_status status = check_peer(ctx, jvm, channel);
  if (status != TM_OK) tm_channel_close(channel);
  return status;
}

// Old JVMs want the file to be their user's own. *out_made: to be removed by us.
static tm_status ask_to_listen(tm_ctx *ctx, const tm_jvm *jvm, const char *file, bool *out_made) {
  int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  *out_made = fd >= 0;
  if (fd < 0 && errno != EEXIST) return tm_fail_errno(ctx, errno, "cannot make %s", file);
  if (fd >= 0) {
    if (jvm->uid != geteuid() && fchown(fd, jvm->uid, jvm->gid) != 0) errno = 0;
    close(fd);
  }
  if (kill((pid_t)jvm->pid, SIGQUIT) != 0)
    return tm_fail_errno(ctx, errno, "cannot signal JVM %lld", (long long)jvm->pid);
  return TM_OK;
}

static tm_status wait_for_listener(tm_ctx *ctx, const tm_jvm *jvm, uint64_t timeout_ns,
                                   tm_channel *channel) {
  uint64_t start_ns = tm_clock_mono_ns();
  uint64_t limit_ns = timeout_ns < WAKE_NS ? timeout_ns : WAKE_NS;
  const struct timespec pause = {0, PAUSE_MS * 1000000};
  for (;;) {
    tm_ctx_clear(ctx);
    tm_status status = connect_jvm(ctx, jvm, timeout_ns, channel);
    if (status != TM_E_GONE) return status;
    tm_ctx_clear(ctx);
    if (tm_clock_mono_ns() - start_ns > limit_ns)
      return tm_fail(ctx, TM_E_TIMEOUT, TM_NO_OFFSET,
                     "JVM %lld does not begin to listen: it is stopped, busy, or runs with "
                     "-XX:+DisableAttachMechanism",
                     (long long)jvm->pid);
    TM_TRY(tm_ctx_tick(ctx, 0));
    nanosleep(&pause, NULL);
  }
}

static tm_status open_jvm(tm_ctx *ctx, const tm_jvm *jvm, uint64_t timeout_ns,
                          tm_channel *channel) {
  char file[PATH_ROOM];
  bool made = false;
  tm_status status = connect_jvm(ctx, jvm, timeout_ns, channel);
  if (status != TM_E_GONE) return status;
  tm_ctx_clear(ctx);
  tmp_path(jvm, "attach", file);
  status = ask_to_listen(ctx, jvm, file, &made);
  if (status == TM_OK) status = wait_for_listener(ctx, jvm, timeout_ns, channel);
  if (made) unlink(file);
  return status;
}

// ---- a command ----

static tm_status send_command(tm_ctx *ctx, tm_channel *channel, const char *command,
                              const char *const args[TM_JVM_ARGS]) {
  tm_bytes text = {0};
  tm_status status = tm_bytes_append(ctx, &text, PROTOCOL, sizeof PROTOCOL);
  if (status == TM_OK) status = tm_bytes_append(ctx, &text, command, strlen(command) + 1);
  for (int i = 0; i < TM_JVM_ARGS && status == TM_OK; i++) {
    const char *arg = args && args[i] ? args[i] : "";
    status = tm_bytes_append(ctx, &text, arg, strlen(arg) + 1);
  }
  if (status == TM_OK) status = tm_channel_send(ctx, channel, text.data, text.size);
  tm_bytes_free(ctx, &text);
  return status;
}

static tm_status receive_all(tm_ctx *ctx, tm_channel *channel, tm_bytes *out) {
  uint8_t piece[8192];
  size_t size;
  do {
    TM_TRY(tm_channel_receive(ctx, channel, piece, sizeof piece, &size));
    if (out->size + size > TM_JVM_TEXT_BYTES)
      return tm_fail(ctx, TM_E_LIMIT, out->size, "the JVM answers more than %d bytes",
                     TM_JVM_TEXT_BYTES);
    if (size) TM_TRY(tm_bytes_append(ctx, out, piece, size));
  } while (size);
  return TM_OK;
}

// "0\n" and the text, or an error's number and words, which stand in one or more lines.
static tm_status read_result(tm_ctx *ctx, tm_bytes *out, size_t start) {
  char words[SHOWN_MAX];
  size_t at = start, n = 0;
  if (at == out->size)
    return tm_fail(ctx, TM_E_GONE, TM_NO_OFFSET, "the JVM hung up without an answer");
  while (at < out->size && at - start < 12 && out->data[at] != '\n') at++;
  if (at == out->size || out->data[at] != '\n' || at == start)
    return tm_fail(ctx, TM_E_FORMAT, at - start, "who answers speaks no attach protocol");
  bool is_fine = at == start + 1 && out->data[start] == '0';
  at++;
  if (is_fine) {
    memmove(out->data + start, out->data + at, out->size - at);
    out->size -= at - start;
    return TM_OK;
  }
  while (at < out->size && n + 1 < sizeof words) {
    uint8_t c = out->data[at++];
    words[n++] = c >= ' ' && c < 0x7f ? (char)c : ' ';
  }
  while (n && words[n - 1] == ' ') n--;
  words[n] = '\0';
  return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "the JVM refuses: %s", n ? words : "no reason given");
}

tm_status tm_jvm_command(tm_ctx *ctx, const tm_jvm *jvm, uint64_t timeout_ns, const char *command,
                         const char *const args[TM_JVM_ARGS], tm_bytes *out) {
  tm_channel channel = {.fd = -1};
  size_t start = out->size;
  TM_TRY(open_jvm(ctx, jvm, timeout_ns, &channel));
  tm_status status = send_command(ctx, &channel, command, args);
  if (status == TM_OK) status = receive_all(ctx, &channel, out);
  tm_channel_close(&channel);
  if (status == TM_OK) status = read_result(ctx, out, start);
  if (status == TM_OK) return TM_OK;
  out->size = start;
  return tm_fail_in(ctx, "JVM %lld, %s", (long long)jvm->pid, command);
}
