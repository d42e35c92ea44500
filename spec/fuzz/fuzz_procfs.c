// floors: platform
// The parsers of /proc files: the first byte picks one, the rest is the file. None may read past
// its bytes, and what each answers must be usable as it is.
#include "platform/linux/linux.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_lines(char which, tm_text text) {
  tm_text line, path;
  tm_procfs_map map, previous;
  bool has_previous = false;
  while (tm_text_line(&text, &line)) {
    tm_procfs_mount mount;
    tm_procfs_cgroup group;
    tm_procfs_socket socket;
    tm_procfs_segment segment;
    if (which == 'm' && tm_procfs_parse_map(line, &map)) {
      assert(map.start <= map.end);
      assert(tm_procfs_map_kind(&map, has_previous ? &previous : NULL) < TM_MAPPING_COUNT);
      previous = map;
      has_previous = true;
    }
    if (which == 'M' && tm_procfs_parse_mount(line, &mount))
      assert(memchr(mount.dir, '\0', sizeof mount.dir));
    if (which == 'g' && tm_procfs_parse_cgroup(line, &group)) assert(*group.path.at == '/');
    if (which == 't' && tm_procfs_parse_socket(line, &socket)) {
      char address[64] = "";
      (void)tm_procfs_format_address(socket.local, address, sizeof address);
      (void)tm_procfs_format_address(socket.remote, address, 8);
    }
    tm_procfs_drm drm;
    if (which == 'd' && tm_procfs_parse_drm(line, &drm))
      assert(drm.key.at <= drm.key.end && drm.region.at <= drm.region.end);
    uint64_t inode;
    if (which == 'u' && tm_procfs_parse_unix(line, &inode, &path)) assert(path.at <= path.end);
    if (which == 'h' && tm_procfs_parse_segment(line, &segment)) assert(segment.creator_pid >= 0);
  }
}

static void fuzz_file(char which, tm_text text) {
  static const tm_procfs_key keys[] = {{"VmHWM", 0, 1024}, {"Pss", 1, 1}, {"a", 1, 2}};
  tm_procfs_statm statm;
  tm_procfs_stat stat;
  tm_procfs_psi psi;
  double values[2];
  uint64_t inode;
  char copy[24];
  switch (which) {
  case '1':
    (void)tm_procfs_parse_statm(text, &statm);
    break;
  case 's':
    if (!tm_procfs_parse_stat(text, &stat)) break;
    assert(stat.name.at <= stat.name.end && stat.parent_pid >= 0);
    tm_text_copy(stat.name, copy, sizeof copy);
    break;
  case 'k':
    tm_procfs_parse_keys(text, keys, TM_COUNT(keys), values, TM_COUNT(values));
    assert(isnan(values[0]) || values[0] >= 0);
    break;
  case 'p':
    tm_procfs_parse_psi(text, &psi);
    assert(isnan(psi.some_avg10) || psi.some_avg10 >= 0);
    break;
  case 'l':
    (void)tm_procfs_parse_limit(text, "Max open files");
    break;
  case 'f':
    assert(tm_procfs_link_kind(text, &inode) < TM_HANDLE_COUNT);
    break;
  default:
    fuzz_lines(which, text);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size) fuzz_file((char)data[0], tm_text_of((const char *)data + 1, size - 1));
  return 0;
}
