#!/usr/bin/env bash
# hardware.sh DIRECTORY: what a machine keeps while it is switched off: its disk and its network. Lasts until standard input ends.
# Runs in a mount and a network namespace of its own, so that all of it goes with its last process.
set -euo pipefail
directory=$1

# In memory, since an overlay's upper folder must not lie on the file system that is its lower one.
mount -t tmpfs tmpfs "$directory/disk"
mkdir "$directory/disk/upper" "$directory/disk/work"
ip link set lo up
echo "switched on"
exec cat
