#!/bin/sh
# JVM heap dumps as VisualVM's heap library sees them and as we do, object by object and class by class:
#   hprof_diff.sh HPROF_NODES [FILE...]
# FILE.histo, where it is, is the VM's own class histogram of then. Without files, every JDK that is installed dumps its compiler, with narrow and wide references and compact headers. TM_VISUALVM names
# the folder of org-graalvm-visualvm-lib-jfluid-heap.jar; exit code 77 without it or without a JDK.
set -eu
nodes=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
jar=${TM_VISUALVM:-/usr/share/visualvm/visualvm/modules}/org-graalvm-visualvm-lib-jfluid-heap.jar
[ -f "$jar" ] || { echo "no heap library of VisualVM here: TM_VISUALVM names no folder with ${jar##*/}"; exit 77; }
command -v javac >/dev/null 2>&1 || { echo "no JDK here"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
make_dumps() {
  seen=
  for javac in "$(command -v javac)" /usr/lib/jvm/*/bin/javac; do
    [ -x "$javac" ] || continue
    home=$(dirname "$(dirname "$(readlink -f "$javac")")")
    case " $seen " in *" $home "*) continue ;; esac
    seen="$seen $home"
    name=$(basename "$home")
    "$home/bin/java" -cp "$jar" "$here/hprof_diff.java" "$dir/$name.hprof" --make all >"$dir/$name.hprof.histo"
    "$home/bin/java" -XX:-UseCompressedOops -cp "$jar" "$here/hprof_diff.java" "$dir/$name-wide.hprof" --make live >"$dir/$name-wide.hprof.histo"
    "$home/bin/java" -XX:+UseCompactObjectHeaders -version >/dev/null 2>&1 || continue
    "$home/bin/java" -XX:+UseCompactObjectHeaders -cp "$jar" "$here/hprof_diff.java" "$dir/$name-compact.hprof" --make live >"$dir/$name-compact.hprof.histo"
  done
}
if [ $# -eq 0 ]; then
  make_dumps
  set -- "$dir"/*.hprof
fi
failed=0
for file in "$@"; do # the library keeps its tables beside the dump
  mkdir "$dir/peer"
  ln -s "$(readlink -f "$file")" "$dir/peer/dump.hprof"
  java -Xmx2g -cp "$jar" "$here/hprof_diff.java" "$dir/peer/dump.hprof" >"$dir/theirs"
  [ -s "$dir/theirs" ] || { echo "VisualVM read nothing of $file"; exit 1; }
  "$nodes" "$file" "$dir/theirs" "$file.histo" || failed=1
  rm -rf "$dir/peer" "$dir/theirs"
done
exit $failed
