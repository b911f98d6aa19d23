#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Vagrant's provisioner, in the guest: build the module and leave it ready for insmod.
set -eu

release=$(uname -r)
if ! command -v make >/dev/null || [ ! -d "/lib/modules/$release/build" ]; then
    echo "installing a compiler and the kernel's headers"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
        gcc libc6-dev make "linux-headers-$release" >/dev/null
fi
make --silent -C /root/module
echo "ready: insmod /root/module/interceptor.ko"
