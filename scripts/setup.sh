#!/bin/sh
# Installs what tidemark needs to build (--dev: and to be tested and linted) from Debian 12's own
# archive. With everything in place it only asks dpkg: no network, no root, a few milliseconds.
set -eu

# The one list of packages.
build_packages="build-essential cmake ninja-build pkg-config git libuv1-dev liblua5.4-dev lua5.4
  libprotobuf-c-dev protobuf-c-compiler node-llhttp libsqlite3-dev zlib1g-dev libdeflate-dev
  libzstd-dev libxxhash-dev libcurl4-openssl-dev ca-certificates libdw-dev"
dev_packages="lua-busted lua-check libcmocka-dev clang-format clang-tidy clang libclang-rt-14-dev
  python3 python3-psutil strace tmux libjemalloc2 shellcheck openssl libluajit-5.1-dev g++
  libxcb1-dev xvfb"

usage() {
  echo "usage: scripts/setup.sh [--dev] [--list]"
  echo "  --dev   also what the tests, linters and fuzzers need"
  echo "  --list  print the packages and install nothing"
}

packages=$build_packages
list=no
for word in "$@"; do
  case $word in
    --dev) packages="$build_packages $dev_packages" ;;
    --list) list=yes ;;
    -h | --help) usage && exit 0 ;;
    *)
      echo "setup: $word: no such option" >&2
      usage >&2
      exit 2
      ;;
  esac
done
# shellcheck disable=SC2086 # a list of words: one line, single blanks
packages=$(printf '%s ' $packages)

if [ "$list" = yes ]; then
  echo "$packages"
  exit 0
fi
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "setup: not a Debian system; install what these packages of Debian 12 hold: $packages" >&2
  exit 1
fi

# shellcheck disable=SC2086,SC2016 # a list of words; the format is dpkg-query's
installed=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' $packages 2>/dev/null |
  sed -n 's/^[ih]i *//p')
missing=""
for package in $packages; do
  echo "$installed" | grep -qxF -- "$package" || missing="$missing $package"
done
if [ -z "$missing" ]; then
  echo "setup: every package is here already"
  exit 0
fi

as_root=""
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: not root and no sudo; let an administrator run: apt-get install$missing" >&2
    exit 1
  fi
  as_root="sudo"
  [ -t 0 ] || as_root="sudo -n" # nobody is there to type a password
fi
apt() {
  $as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "setup: installing with apt-get:$missing"
apt update || echo "setup: apt-get update failed; trying with the package lists at hand" >&2
# shellcheck disable=SC2086 # a list of words
if ! apt install -y --no-install-recommends $missing; then
  tail -n 20 "$log" >&2
  echo "setup: apt-get could not install:$missing" >&2
  exit 1
fi
