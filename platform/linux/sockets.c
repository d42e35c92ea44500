// Bytes waiting in sockets: kernel memory that is in no process's RSS. Asked from the kernel in
// five netlink dumps (sock_diag), matched by inode; for a process in another network namespace, or
// where netlink is refused, from its own /proc/PID/net tables, which know no unix queues.
// Source: sock_diag(7); linux/inet_diag.h, linux/unix_diag.h.
#include "platform/linux/linux.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int by_inode(const void *a, const void *b) {
  const tm_socket *x = a, *y = b;
  return (x->inode > y->inode) - (x->inode < y->inode);
}

static void add_bytes(tm_plat *plat, uint64_t inode, uint64_t bytes) {
  tm_socket key = {.inode = inode};
  tm_socket *found = bsearch(&key, plat->sockets, plat->socket_count, sizeof key, by_inode);
  if (found && inode) found->bytes = bytes;
}

// Takes the next length-prefixed record ("size, type" in front, padded to 4) of a netlink answer.
static bool take_attr(const char **at, const char *end, struct rtattr *head, const char **payload) {
  if (end - *at < (ptrdiff_t)sizeof *head) return false;
  memcpy(head, *at, sizeof *head);
  if (head->rta_len < sizeof *head || end - *at < head->rta_len) return false;
  *payload = *at + sizeof *head;
  ptrdiff_t padded = (head->rta_len + 3) & ~3;
  *at = end - *at < padded ? end : *at + padded;
  return true;
}

// Received and not read, sent and not acknowledged (a unix socket's sender pays), and in between.
static uint64_t memory_of(const char *at, const char *end, uint16_t wanted) {
  uint32_t info[SK_MEMINFO_VARS] = {0};
  struct rtattr head;
  const char *payload;
  while (take_attr(&at, end, &head, &payload)) {
    if (head.rta_type != wanted) continue;
    size_t n = head.rta_len - sizeof head;
    memcpy(info, payload, n < sizeof info ? n : sizeof info);
  }
  uint32_t sending = info[SK_MEMINFO_WMEM_ALLOC] > info[SK_MEMINFO_WMEM_QUEUED]
                         ? info[SK_MEMINFO_WMEM_ALLOC]
                         : info[SK_MEMINFO_WMEM_QUEUED];
  return (uint64_t)info[SK_MEMINFO_RMEM_ALLOC] + sending + info[SK_MEMINFO_BACKLOG];
}

static void take_message(tm_plat *plat, const char *at, const char *end, uint8_t family) {
  if (family == AF_UNIX) {
    struct unix_diag_msg msg;
    if (end - at < (ptrdiff_t)sizeof msg) return;
    memcpy(&msg, at, sizeof msg);
    add_bytes(plat, msg.udiag_ino, memory_of(at + sizeof msg, end, UNIX_DIAG_MEMINFO));
  } else {
    struct inet_diag_msg msg;
    if (end - at < (ptrdiff_t)sizeof msg) return;
    memcpy(&msg, at, sizeof msg);
    add_bytes(plat, msg.idiag_inode, memory_of(at + sizeof msg, end, INET_DIAG_SKMEMINFO));
  }
}

// One datagram of messages: *done when the dump ended.
static int take_datagram(tm_plat *plat, const char *at, const char *end, uint8_t family,
                         bool *done) {
  struct nlmsghdr head;
  while (end - at >= (ptrdiff_t)sizeof head) {
    memcpy(&head, at, sizeof head);
    if (head.nlmsg_len < sizeof head || end - at < (ptrdiff_t)head.nlmsg_len) return EBADMSG;
    if (head.nlmsg_type == NLMSG_ERROR) return EOPNOTSUPP; // no diag module for this family
    *done = *done || head.nlmsg_type == NLMSG_DONE;
    if (*done) return 0;
    take_message(plat, at + sizeof head, at + head.nlmsg_len, family);
    ptrdiff_t padded = ((ptrdiff_t)head.nlmsg_len + 3) & ~(ptrdiff_t)3;
    at = end - at < padded ? end : at + padded;
  }
  return 0;
}

static int receive(tm_plat *plat, uint8_t family) {
  bool done = false;
  int err = 0;
  while (!err && !done) {
    char buf[8192];
    ssize_t n;
    do n = recv(plat->netlink_fd, buf, sizeof buf, 0);
    while (n < 0 && errno == EINTR);
    err = n < 0 ? errno : n == 0 ? EIO : take_datagram(plat, buf, buf + n, family, &done);
  }
  if (err && err != EOPNOTSUPP) { // what is still on its way would answer the next question
    close(plat->netlink_fd);
    plat->netlink_fd = -1;
  }
  return err;
}

static int open_netlink(tm_plat *plat) {
  if (plat->netlink_fd >= 0) return 0;
  plat->netlink_fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (plat->netlink_fd < 0) return errno;
  struct timeval patience = {.tv_usec = 200000}; // the kernel answers at once or never
  setsockopt(plat->netlink_fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return 0;
}

static int dump(tm_plat *plat, const void *request, size_t size, uint8_t family) {
  int err = open_netlink(plat);
  if (err) return err;
  if (send(plat->netlink_fd, request, size, 0) < 0) return errno;
  return receive(plat, family);
}

static int dump_inet(tm_plat *plat, uint8_t family, uint8_t protocol) {
  struct {
    struct nlmsghdr head;
    struct inet_diag_req_v2 body;
  } request = {
      .head = {.nlmsg_len = sizeof request,
               .nlmsg_type = SOCK_DIAG_BY_FAMILY,
               .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
      .body = {.sdiag_family = family,
               .sdiag_protocol = protocol,
               .idiag_ext = 1 << (INET_DIAG_SKMEMINFO - 1),
               .idiag_states = UINT32_MAX},
  };
  return dump(plat, &request, sizeof request, family);
}

static int dump_unix(tm_plat *plat) {
  struct {
    struct nlmsghdr head;
    struct unix_diag_req body;
  } request = {
      .head = {.nlmsg_len = sizeof request,
               .nlmsg_type = SOCK_DIAG_BY_FAMILY,
               .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
      .body = {.sdiag_family = AF_UNIX,
               .udiag_states = UINT32_MAX,
               .udiag_show = UDIAG_SHOW_MEMINFO},
  };
  return dump(plat, &request, sizeof request, AF_UNIX);
}

static bool shares_our_network(const tm_proc *proc) {
  struct stat st;
  return proc->plat->own_net_ns && fstatat(proc->dir_fd, "ns/net", &st, 0) == 0
         && st.st_ino == proc->plat->own_net_ns;
}

static bool add_line(void *ud, tm_text line) {
  tm_procfs_socket socket;
  if (tm_procfs_parse_socket(line, &socket)) add_bytes(ud, socket.inode, socket.bytes);
  return true;
}

void tm_proc_fill_sockets(tm_proc *proc) {
  static const char *const tables[] = {"net/tcp", "net/tcp6", "net/udp", "net/udp6"};
  tm_plat *plat = proc->plat;
  if (shares_our_network(proc)) {
    bool any = !dump_unix(plat);
    static const uint8_t families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; i < TM_COUNT(families); i++) {
      any |= !dump_inet(plat, families[i], IPPROTO_TCP);
      any |= !dump_inet(plat, families[i], IPPROTO_UDP);
    }
    if (any) return;
  }
  for (size_t i = 0; i < TM_COUNT(tables); i++)
    tm_plat_each_line(plat, proc->dir_fd, tables[i], add_line, plat);
}

// ---- Names, as evidence.

typedef struct address_walk {
  const char *protocol;
  void (*fn)(void *ud, uint64_t inode, const char *text);
  void *ud;
} address_walk;

static bool give_address(void *ud, tm_text line) {
  const address_walk *walk = ud;
  tm_procfs_socket socket;
  char local[64], remote[64], text[160];
  if (!tm_procfs_parse_socket(line, &socket) || !socket.inode) return true;
  if (!tm_procfs_format_address(socket.local, local, sizeof local)) return true;
  if (!tm_procfs_format_address(socket.remote, remote, sizeof remote)) return true;
  bool connected = !tm_text_ends(socket.remote, ":0000");
  snprintf(text, sizeof text, "%s %s%s%s", walk->protocol, local, connected ? " -> " : "",
           connected ? remote : "");
  walk->fn(walk->ud, socket.inode, text);
  return true;
}

static bool give_path(void *ud, tm_text line) {
  const address_walk *walk = ud;
  uint64_t inode;
  tm_text path;
  char copy[128], text[160];
  if (!tm_procfs_parse_unix(line, &inode, &path)) return true;
  tm_text_copy(path, copy, sizeof copy);
  snprintf(text, sizeof text, "unix%s%s", *copy ? " " : "", copy);
  walk->fn(walk->ud, inode, text);
  return true;
}

void tm_proc_each_address(tm_proc *proc, void (*fn)(void *ud, uint64_t inode, const char *text),
                          void *ud) {
  static const struct {
    const char *file, *protocol;
  } tables[] = {{"net/tcp", "tcp"}, {"net/tcp6", "tcp"}, {"net/udp", "udp"}, {"net/udp6", "udp"}};
  address_walk walk = {.fn = fn, .ud = ud};
  for (size_t i = 0; i < TM_COUNT(tables); i++) {
    walk.protocol = tables[i].protocol;
    tm_plat_each_line(proc->plat, proc->dir_fd, tables[i].file, give_address, &walk);
  }
  tm_plat_each_line(proc->plat, proc->dir_fd, "net/unix", give_path, &walk);
}
