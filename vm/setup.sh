#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Finish a guest's root file system; runs on the host, on the tree given as $1.
set -eu
root=$1

echo guest > "$root/etc/hostname"
echo "127.0.0.1 localhost guest" > "$root/etc/hosts"
echo "/dev/vda / ext4 noatime 0 1" > "$root/etc/fstab"

# The original testers become nobody by su, and run dmesg and insmod there.
chroot "$root" usermod --shell /bin/bash nobody
echo 'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    > "$root/etc/profile.d/guest.sh"

chroot "$root" systemctl --quiet enable systemd-networkd ssh hung-task
# What only costs time in a guest that lives for a test.
chroot "$root" systemctl --quiet mask \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer man-db.timer \
    systemd-networkd-wait-online.service systemd-rfkill.service \
    systemd-rfkill.socket systemd-update-utmp.service

# What Kbuild would ask the compiler before each build of a module: see try-run.mk. A kernel without
# headers has no answers, nor one whose headers build nothing.
share=/usr/local/share/try-run
find "$root/usr/src" "$root/usr/lib" -path '*/scripts/*' -type f \
    \( -name Kbuild.include -o -name Makefile.compiler \) -exec grep -l '^try-run = ' {} + |
while read -r file; do
    echo "include $share/try-run.mk" >> "$file"
done
mkdir "$root/tmp/module"
echo 'obj-m := empty.o' > "$root/tmp/module/Kbuild"
printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n' > "$root/tmp/module/empty.c"
for kernel in "$root"/lib/modules/*; do
    if chroot "$root" env TRY_RUN_RECORD=/tmp/module/answers \
        make -s -C "/lib/modules/${kernel##*/}/build" M=/tmp/module modules; then
        cat "$root/tmp/module/answers" >> "$root$share/answers"
    fi
    rm -f "$root/tmp/module/answers"
done
rm -r "$root/tmp/module"

# Each guest's image has its own identity; nothing but this cache knows its key.
chmod 700 "$root/root/.ssh"
rm -f "$root"/etc/ssh/ssh_host_rsa_key* "$root"/etc/ssh/ssh_host_ecdsa_key*
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
