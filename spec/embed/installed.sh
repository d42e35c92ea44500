#!/usr/bin/env bash
# Installs a build folder into a fresh prefix, builds and runs examples/embed against it as a vendor
# would (CMake package, pkg-config, ctypes, stock Lua), and looks at what the libraries show.
#
#   installed.sh BUILD_FOLDER     exit 77: something that the host lacks
set -euo pipefail
build=$(cd "$1" && pwd)
top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
prefix=$build/installed
work=$build/installed.work
rm -rf "$prefix" "$work"
mkdir -p "$work"
cd "$work"

run() { # NAME COMMAND...: its output only when it fails
  local name=$1
  shift
  if "$@" >"$name.log" 2>&1; then echo "ok   $name"; else
    echo "FAIL $name (exit $?)"
    tail -n 40 "$name.log"
    exit 1
  fi
}

run install cmake --install "$build" --prefix "$prefix"
libdir=$(dirname "$(find "$prefix" -name 'libtidemark.so')")
cache() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }
flags=-g
sanitize=$(cache TM_SANITIZE | tr ';' ',')
[ -z "$sanitize" ] || flags="-g -fsanitize=$sanitize"
export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
cc=$(cache CMAKE_C_COMPILER) cxx=${CXX:-c++}

# What the libraries show, and what programs were compiled against: a change of it is announced by
# a change of these lists, and a change that breaks old programs by another TM_ABI.
symbols=$top/spec/c/symbols.txt
sed -n 's/^TM_API .*[ *]\(tm_[a-z_]*\)(.*/\1/p' "$prefix/include/tidemark.h" | sort >declared
nm -D --defined-only "$libdir/libtidemark.so" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort >shown
nm -g --defined-only "$libdir/libtidemark.a" | awk 'NF == 3 { print $3 }' | sort >archived
nm -D --defined-only "$(find "$prefix" -path '*/lua/5.4/tidemark.so')" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort >module_shows
run declared_symbols diff "$symbols" declared
run shared_symbols diff "$symbols" shown
run archive_symbols diff "$symbols" archived
run module_symbols diff "$top/spec/c/symbols_lua.txt" module_shows
# No state of its own but the three stream pointers of core/tidemark_stdio.c, set at loading; nothing
# that prints, handles signals or changes the environment. (exit, system and setlocale are in Lua's
# os library, where no rule sees them; abort in its panic.)
objdump -t "$libdir/libtidemark.a" | grep -E ' O \.bss|\*COM\*|\.tbss' | grep -v '__odr' | awk '{ print $NF }' | sort >state
run no_state diff <(printf 'tm_lua_%s\n' stderr stdin stdout) state
nm -u "$libdir/libtidemark.a" | awk '{ print $2 }' | grep -xE '_exit|printf|puts|putchar|signal|sigaction|setenv|putenv|fork|popen' >effects || true
run no_side_effects diff /dev/null effects
run soname grep -q "libtidemark.so.$(sed -n 's/^#define TM_ABI //p' "$prefix/include/tidemark.h")" <(readelf -d "$libdir/libtidemark.so")
run abi_builds "$cc" -I"$prefix/include" "$top/spec/embed/abi.c" -o abi
./abi >abi.txt
run abi diff "$top/spec/c/abi.txt" abi.txt

# The installed header alone, as C11 and as C++17, with all warnings.
echo '#include <tidemark.h>
int main(void) { return tm_abi() == TM_ABI ? 0 : 1; }' >header.c
read -ra cflags <<<"$(pkg-config --cflags tidemark)"
read -ra libs <<<"$(pkg-config --libs tidemark)"
read -ra opts <<<"$flags"
run header_c11 "$cc" "${opts[@]}" -std=c11 -Wall -Wextra -Wpedantic -Wconversion -Werror header.c "${cflags[@]}" "${libs[@]}" -o header
run header_runs ./header
run header_cxx17 "$cxx" -std=c++17 -Wall -Wextra -Wpedantic -Werror -x c++ -fsyntax-only header.c "${cflags[@]}"

# The examples: the CMake package, and one by pkg-config.
export CFLAGS=$flags CXXFLAGS=$flags
run configure cmake -S "$top/examples/embed" -B examples -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc"
run build cmake --build examples
run pkg_config "$cc" "${opts[@]}" -std=c11 "$top/examples/embed/embed_minimal.c" "${cflags[@]}" "${libs[@]}" -o minimal
run embed_minimal timeout 60 examples/embed_minimal
grep -q 'firing growth: it grows' embed_minimal.log
run embed_uv timeout 60 examples/embed_uv "$top/rules"
grep -q 'the engine is gone' embed_uv.log
run embed_thread timeout 60 examples/embed_thread
[ "$(sort -u embed_thread.log | grep -c 'a long queue')" -ge 3 ]
run embed_actions timeout 60 examples/embed_actions
grep -q 'old steps were dropped' embed_actions.log
run embed_functions timeout 60 examples/embed_functions
grep -q 'firing: bookshop is dear for a small plan' embed_functions.log
grep -q 'shop.plan: no such shop' embed_functions.log

printf 'main;cache 8000\nmain;serve 50\n' >heap.folded
run embed_report timeout 60 examples/embed_report heap.folded
grep -q '"name":"cache","flat":8000' embed_report.log

# Heap dumps: the C library says what the program says.
run same_as_program python3 "$top/spec/embed/same_reports.py" examples/embed_report "$prefix/bin/tidemark" "$top/spec/fuzz/seeds"

# Other Luas beside ours in one process: each must keep its own functions.
for lua in luajit lua5.4; do
  for kind in shared static; do
    if ! pkg-config --exists "$lua"; then
      echo "skip beside_${lua}_$kind: no $lua"
      continue
    fi
    read -ra lua_flags <<<"$(pkg-config --cflags --libs "$lua")"
    package=tidemark
    [ $kind = shared ] || package=tidemark-static
    read -ra own <<<"$(pkg-config --libs $package)"
    run "beside_${lua}_$kind" "$cc" "${opts[@]}" -std=c11 "$top/spec/embed/beside_lua.c" "${cflags[@]}" "${lua_flags[@]}" "${own[@]}" \
      -o "beside_${lua}_$kind"
    run "beside_${lua}_${kind}_runs" timeout 60 "./beside_${lua}_$kind"
  done
done

# Other languages. A sanitized library wants its runtime loaded first.
preload=
case $sanitize in
  *address*) preload="$("$cc" -print-file-name=libasan.so) $("$cc" -print-file-name=libubsan.so)" ;;
  *thread*) echo "skip ctypes, stock Lua: not under TSan"; exit 0 ;;
esac
export ASAN_OPTIONS=detect_leaks=0
run ctypes env LD_PRELOAD="$preload" timeout 60 python3 "$top/examples/embed/embed_ctypes.py" "$libdir/libtidemark.so.1"
grep -q 'firing cache' ctypes.log
module=$(find "$prefix" -path '*/lua/5.4/tidemark.so')
export LUA_CPATH="${module%/tidemark.so}/?.so"
run stock_lua env LD_PRELOAD="$preload" timeout 60 lua5.4 "$top/examples/embed/stock.lua"
grep -q 'grew most: cache.Put by 8000000' stock_lua.log
run stock_files env LD_PRELOAD="$preload" timeout 60 lua5.4 "$top/spec/embed/stock_reads.lua" "$top/spec/fuzz/seeds"
