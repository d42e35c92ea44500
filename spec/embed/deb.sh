#!/usr/bin/env bash
# Packs a build folder as a Debian package, installs it into a root that has nothing but the shared
# libraries it asks for, and runs `tidemark run` there. Needs root; exit 77 where that is not so.
#
#   deb.sh BUILD_FOLDER
set -euo pipefail
build=$(cd "$1" && pwd)
[ "$(id -u)" = 0 ] || { echo "deb: not root"; exit 77; }
work=$build/deb.work
rm -rf "$work"
mkdir -p "$work/root/proc"
cd "$work"
cpack --config "$build/CPackConfig.cmake" -G DEB -B "$work" >cpack.log 2>&1 || { tail -n 40 cpack.log; exit 1; }
deb=$(ls "$work"/*.deb)
dpkg-deb --info "$deb" | sed -n 's/^ \(Package\|Version\|Architecture\|Depends\|Installed-Size\)/\1/p'
dpkg-deb --contents "$deb" >contents
for path in usr/bin/tidemark usr/include/tidemark.h libtidemark.so.1 tidemark.pc tidemarkConfig.cmake lua/5.4/tidemark.so; do
  grep -q "$path" contents || { echo "deb: $path is not in it"; exit 1; }
done

# The clean root: a dpkg database without anything, and the libraries with their loader.
root=$work/root
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/bin" "$root/tmp"
: >"$root/var/lib/dpkg/status"
dpkg --root="$root" --force-depends --force-not-root --force-script-chrootless --install "$deb" >dpkg.log 2>&1 \
  || { tail -n 20 dpkg.log; exit 1; }
copy_libraries() {
  ldd "$1" | grep -oE '/[^ ]+' | while read -r lib; do
    mkdir -p "$root$(dirname "$lib")"
    cp -Ln "$lib" "$root$lib" 2>/dev/null || true
  done
}
copy_libraries "$root/usr/bin/tidemark"
copy_libraries "$(find "$root/usr/lib" -name 'libtidemark.so.1')"
cp -L /bin/sleep "$root/bin/sleep"
copy_libraries /bin/sleep
in_root() { # in a mount namespace of its own, so that nothing stays mounted
  # shellcheck disable=SC2016 # the inner shell expands
  unshare -m sh -c 'mount --bind /proc "$0/proc" && root=$0 && exec chroot "$root" "$@"' "$root" "$@"
}
unshare -m true 2>/dev/null || { echo "deb: no mount namespaces here"; exit 77; }
in_root /usr/bin/tidemark version
in_root /usr/bin/tidemark run --plain -- /bin/sleep 2 >run.log 2>&1 || { tail -n 20 run.log; exit 1; }
echo "deb: $(basename "$deb"), $(stat -c %s "$deb") bytes; tidemark run works in a clean root"
