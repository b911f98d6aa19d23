#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# build.sh SOURCE ARCH JOBS: build a kernel from the Debian package SOURCE (linux-source-6.1), in the
# root file system that has it installed. The options are in the file config beside this script, and
# pack.sh writes the result to the folder out.
set -eu
source=$1
export ARCH="$2"
jobs=$3
here=$(dirname "$(realpath "$0")")

echo "build: unpacking $source"
tar -C "$here" -xf "/usr/src/$source.tar.xz"
cd "$here/$source"
make -s tinyconfig
cat "$here/config" >> .config
make -s olddefconfig 2> /dev/null # warnings of options that are set twice

# The last line for an option counts. An option that depends on others may be off in spite of it.
awk '/^CONFIG_/ { at = index($0, "="); value[substr($0, 1, at - 1)] = substr($0, at + 1) }
    /^# CONFIG_.* is not set/ { value[$2] = "n" }
    END { for (name in value) print name "=" value[name] }' "$here/config" | sort > wanted
lost=$({
    grep -v '=n$' wanted | grep -vxFf .config || true
    sed -n 's/=n$/=/p' wanted | while read -r name; do grep "^$name" .config || true; done
} | tr '\n' ' ')
if [ -n "$lost" ]; then
    echo "build: the kernel's options would differ from what is asked for: $lost"
    exit 1
fi
# KCSAN takes a sample of all accesses. Where the kernel has no checks, each sample is of a module's,
# and the kernel runs at its usual speed. Races within the kernel are not what a guest is for. The
# barriers in its locks have to be known all the same, which are in these files of kernel/locking.
set -- KCSAN_SANITIZE=n
for name in mutex percpu-rwsem rtmutex_api rwsem semaphore spinlock; do
    set -- "$@" "KCSAN_INSTRUMENT_BARRIERS_$name.o=y"
done
echo "build: compiling"
make -j "$jobs" "$@" 2> "$here/errors" || {
    status=$?
    tail -n 20 "$here/errors" # what else runs at the time would push it out of sight
    exit "$status"
}
echo "build: packing"
sh "$here/pack.sh" . "$here/out"
