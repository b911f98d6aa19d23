#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# pack.sh TREE OUT [FLAG]...: take out of a kernel's tree that is built what a guest needs, into the folder OUT.
# The flags are make's.
#   vmlinuz       the kernel, which QEMU boots
#   config        its options
#   facts         its release, its version, and the vermagic of its modules, a line each
#   gdb           the kernel's symbols, and its commands for gdb if it has them
#   files.tar.gz  its modules, and what building others needs, for the guest's root file system
set -eu
tree=$1
out=$2
shift 2
export LC_ALL=C
unset MAKEFLAGS MFLAGS MAKELEVEL KBUILD_OUTPUT # of a make that this is run by
case $out in
*[!A-Za-z0-9/._+-]*)
    echo "pack.sh: the kernel's makefile can't install to $out, as it has other characters than a-z 0-9 . _ + -" >&2
    exit 1
    ;;
esac

mkdir -p "$out/files/lib"
flags=$*
# shellcheck disable=SC2086 # words
ask() { make -s --no-print-directory -C "$tree" $flags "$@"; }
# As it was when the kernel was built: git may call the source another one since.
release=$(cat "$tree/include/config/kernel.release")
image=$(ask image_name)
cp "$tree/$image" "$out/vmlinuz"
cp "$tree/.config" "$out/config"
mkdir "$out/gdb"
cp "$tree/vmlinux" "$out/gdb"
if [ -e "$tree/vmlinux-gdb.py" ]; then
    cp -L "$tree/vmlinux-gdb.py" "$out/gdb"
    mkdir "$out/gdb/scripts"
    cp -LR "$tree/scripts/gdb" "$out/gdb/scripts"
fi
vermagic=$(tr '\0' '\n' < "$tree/vmlinux" | grep -axm 1 "$release [a-zA-Z0-9_ -]*" | sed 's, *$,,')
[ -n "$vermagic" ] || {
    echo "pack.sh: $tree/vmlinux is not the kernel $release: build it again" >&2
    exit 1
}
printf '%s\n' "$release" "$(sed -n 's/^#define UTS_VERSION "\(.*\)"$/\1/p' \
    "$tree/include/generated/utsversion.h" "$tree/include/generated/compile.h" 2> /dev/null |
    head -n 1)" "$vermagic" > "$out/facts"

modules=$out/files/lib/modules/$release
headers=usr/src/linux-headers-$release
if [ -e "$tree/modules.order" ]; then
    ask INSTALL_MOD_PATH="$(realpath "$out")/files" INSTALL_MOD_STRIP=1 modules_install > /dev/null
fi
mkdir -p "$modules" "$out/files/$headers"
rm -f "$modules/build" "$modules/source"
ln -s "/$headers" "$modules/build"

# What Kbuild reads when it builds a module: the same files as in Debian's linux-headers. A tree that
# was built in a folder of its own (O=) has a link to its source.
arch=${image%/boot/*}
source=$(realpath -e "$tree/source" 2> /dev/null || realpath "$tree")
for from in "$source" "$tree"; do
    (
        cd "$from"
        {
            find . "$arch" -maxdepth 1 \( -name 'Makefile*' -o -name 'Kbuild*' -o -name 'Kconfig*' \)
            find "$arch" -path '*/include/*' -type f
            find "$arch" \( -name Kbuild.platforms -o -name Platform -o -name module.lds \)
            find include scripts \( -type f -o -type l \) ! -name '.*.cmd'
            find tools/objtool tools/bpf/resolve_btfids .config Module.symvers -maxdepth 1 -type f \
                \( -executable -o ! -path 'tools/*' \)
        } 2> /dev/null | sort -u
    ) | tar -C "$from" --no-recursion -T - -cf - | tar -C "$out/files/$headers" -xf -
done
tar -C "$out/files" --owner=0 --group=0 -czf "$out/files.tar.gz" .
rm -r "$out/files"
