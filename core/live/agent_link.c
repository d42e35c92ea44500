// The socket lies in the target's runtime folder or in /tmp, both of its own file system; who made
// it must be the process itself and its user, because /tmp is everybody's.
#include "live/agent_link.h"

#include "base/clock.h"
#include "base/cursor.h"
#include "live/agent_link_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_ROOM = 512, MAX_ENVIRONMENT = 1 << 20 };
#define MAX_PROFILE_BYTES (UINT64_C(1) << 30)

// ---- where it listens ----

typedef struct target {
  int64_t pid, own_pid;
  uint32_t uid;
  char runtime[PATH_ROOM]; // its XDG_RUNTIME_DIR, or ""
} target;

static tm_status read_ids(tm_ctx *ctx, target *t) {
  char path[64], line[256];
  snprintf(path, sizeof path, "/proc/%lld/status", (long long)t->pid);
  FILE *file = fopen(path, "re");
  if (!file)
    return tm_fail_errno(ctx, errno == ENOENT ? ESRCH : errno, "process %lld", (long long)t->pid);
  t->own_pid = t->pid;
  while (fgets(line, sizeof line, file)) {
    const char *last = strrchr(line, '\t');
    if (strncmp(line, "NSpid:", 6) == 0 && last) t->own_pid = strtoll(last, NULL, 10);
    if (strncmp(line, "Uid:", 4) == 0) sscanf(line, "Uid: %*u %u", &t->uid);
  }
  fclose(file);
  return TM_OK;
}

static void read_runtime_folder(target *t) {
  static const char name[] = "XDG_RUNTIME_DIR=";
  char path[64], *word = NULL;
  size_t room = 0, seen = 0;
  ssize_t size;
  snprintf(path, sizeof path, "/proc/%lld/environ", (long long)t->pid);
  FILE *file = fopen(path, "re");
  while (file && seen < MAX_ENVIRONMENT && (size = getdelim(&word, &room, 0, file)) > 0) {
    seen += (size_t)size;
    if (strncmp(word, name, sizeof name - 1) == 0)
      snprintf(t->runtime, sizeof t->runtime, "%s", word + sizeof name - 1);
  }
  free(word);
  if (file) fclose(file);
}

static tm_status open_path(tm_ctx *ctx, const target *t, const char *folder, uint64_t timeout_ns,
                           tm_channel *out) {
  char path[PATH_ROOM + 64];
  snprintf(path, sizeof path, "%s/%lld.sock", folder, (long long)t->own_pid);
  if (t->own_pid != t->pid)
    snprintf(path, sizeof path, "/proc/%lld/root%s/%lld.sock", (long long)t->pid, folder,
             (long long)t->own_pid);
  TM_TRY(tm_channel_open_unix(ctx, path, timeout_ns, out));
  if (out->peer_uid == t->uid && (!out->peer_pid || out->peer_pid == t->pid)) return TM_OK;
  tm_channel_close(out);
  return tm_fail(ctx, TM_E_PERM, TM_NO_OFFSET,
                 "%s is held by process %lld of user %lld: not trusted", path,
                 (long long)out->peer_pid, (long long)out->peer_uid);
}

static tm_status open_agent(tm_ctx *ctx, int64_t pid, uint64_t timeout_ns, tm_channel *out) {
  target t = {.pid = pid};
  char folder[PATH_ROOM + 16];
  TM_TRY(read_ids(ctx, &t));
  read_runtime_folder(&t);
  if (t.runtime[0]) {
    snprintf(folder, sizeof folder, "%s/tidemark", t.runtime);
    tm_status status = open_path(ctx, &t, folder, timeout_ns, out);
    if (status != TM_E_GONE) return status;
    tm_ctx_clear(ctx);
  }
  snprintf(folder, sizeof folder, "/tmp/tidemark-%u", t.uid);
  tm_status status = open_path(ctx, &t, folder, timeout_ns, out);
  if (status != TM_E_GONE) return status;
  tm_ctx_clear(ctx);
  return tm_fail(ctx, TM_E_GONE, TM_NO_OFFSET,
                 "process %lld has no malloc agent that listens: start it with `tidemark run "
                 "--malloc`, or bring one in with `tidemark inject %lld`",
                 (long long)pid, (long long)pid);
}

// ---- frames ----

static tm_status receive(tm_ctx *ctx, tm_channel *channel, void *data, size_t size) {
  uint8_t *at = data;
  while (size) {
    size_t got;
    TM_TRY(tm_channel_receive(ctx, channel, at, size, &got));
    if (!got)
      return tm_fail(ctx, TM_E_GONE, channel->received_bytes,
                     "the agent hung up: the process ended, or closed what it did not open");
    at += got;
    size -= got;
  }
  return TM_OK;
}

// Appends one frame.
static tm_status receive_frame(tm_ctx *ctx, tm_channel *channel, tm_bytes *out,
                               uint32_t *out_size) {
  uint8_t head[4], piece[8192];
  TM_TRY(receive(ctx, channel, head, sizeof head));
  uint32_t size = (uint32_t)head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16
                  | (uint32_t)head[3] << 24;
  *out_size = size;
  if (out->size + size > MAX_PROFILE_BYTES)
    return tm_fail(ctx, TM_E_LIMIT, out->size, "the agent says more than 1 GiB");
  for (uint32_t left = size; left;) {
    uint32_t part = left < sizeof piece ? left : (uint32_t)sizeof piece;
    TM_TRY(receive(ctx, channel, piece, part));
    TM_TRY(tm_bytes_append(ctx, out, piece, part));
    left -= part;
  }
  return TM_OK;
}

static void copy_text(char *out, size_t room, const uint8_t *data, size_t size) {
  size_t n = size < room - 1 ? size : room - 1;
  for (size_t i = 0; i < n; i++) out[i] = data[i] >= ' ' && data[i] < 0x7f ? (char)data[i] : '?';
  out[n] = 0;
}

// One field: its number, and its value or its bytes.
static bool next_field(tm_cursor *c, uint64_t *field, uint64_t *value, const uint8_t **bytes) {
  uint64_t tag = tm_get_varint(c);
  *field = tag >> 3;
  *bytes = NULL;
  *value = tm_get_varint(c);
  if ((tag & 7) == 2) {
    *bytes = tm_get_bytes(c, (size_t)*value);
    return c->ok;
  }
  return c->ok && (tag & 7) == 0;
}

static tm_status parse_reply(tm_ctx *ctx, const tm_bytes *frame, tm_agent_reply *out) {
  tm_cursor c = tm_cursor_of(frame->data, frame->size, 0);
  uint64_t field, value, refused = 0;
  const uint8_t *bytes;
  *out = (tm_agent_reply){0};
  while (tm_cursor_left(&c)) {
    if (!next_field(&c, &field, &value, &bytes))
      return tm_fail(ctx, TM_E_FORMAT, tm_cursor_offset(&c), "who answers is no malloc agent");
    tm_agent_value *last = &out->values[out->count < TM_AGENT_VALUES ? out->count : 0];
    if (field == TM_AGENT_REPLY_STATUS) refused = value;
    if (field == TM_AGENT_REPLY_TEXT && bytes)
      copy_text(out->text, sizeof out->text, bytes, (size_t)value);
    if (out->count >= TM_AGENT_VALUES) continue;
    if (field == TM_AGENT_REPLY_NAME && bytes)
      copy_text(last->name, sizeof last->name, bytes, (size_t)value);
    if (field == TM_AGENT_REPLY_VALUE) {
      last->value = value;
      out->count++;
    }
  }
  if (!refused) return TM_OK;
  return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "the malloc agent refuses: %s",
                 out->text[0] ? out->text : "no reason given");
}

tm_status tm_agent_read_reply(tm_ctx *ctx, tm_channel *channel, bool has_profile,
                              tm_agent_reply *reply, tm_bytes *profile) {
  tm_bytes frame = {0};
  uint32_t size = 0;
  tm_status status = receive_frame(ctx, channel, &frame, &size);
  if (status == TM_OK) status = parse_reply(ctx, &frame, reply);
  tm_bytes_free(ctx, &frame);
  if (status != TM_OK || !has_profile) return status;
  size_t start = profile->size;
  do status = receive_frame(ctx, channel, profile, &size);
  while (status == TM_OK && size);
  if (status != TM_OK) profile->size = start;
  return status;
}

static tm_status send_request(tm_ctx *ctx, tm_channel *channel, const tm_agent_request *request) {
  tm_bytes body = {0};
  tm_status status = TM_OK;
  for (uint32_t field = 1; field <= TM_AGENT_ASK_FLAGS && status == TM_OK; field++) {
    if (field != TM_AGENT_ASK_VERB && !(request->given & 1u << field)) continue;
    status = tm_bytes_varint(ctx, &body, (uint64_t)field << 3);
    if (status == TM_OK) status = tm_bytes_varint(ctx, &body, request->fields[field]);
  }
  const uint8_t head[4] = {(uint8_t)body.size, (uint8_t)(body.size >> 8), 0, 0};
  if (status == TM_OK) status = tm_channel_send(ctx, channel, head, sizeof head);
  if (status == TM_OK) status = tm_channel_send(ctx, channel, body.data, body.size);
  tm_bytes_free(ctx, &body);
  return status;
}

tm_status tm_agent_ask(tm_ctx *ctx, int64_t pid, uint64_t timeout_ns,
                       const tm_agent_request *request, tm_agent_reply *reply, tm_bytes *profile) {
  tm_channel channel = {.fd = -1};
  bool has_profile = request->fields[TM_AGENT_ASK_VERB] == TM_AGENT_SNAPSHOT && profile;
  TM_TRY(open_agent(ctx, pid, timeout_ns, &channel));
  tm_status status = send_request(ctx, &channel, request);
  if (status == TM_OK) status = tm_agent_read_reply(ctx, &channel, has_profile, reply, profile);
  tm_channel_close(&channel);
  return status == TM_OK ? TM_OK : tm_fail_in(ctx, "malloc agent of process %lld", (long long)pid);
}
