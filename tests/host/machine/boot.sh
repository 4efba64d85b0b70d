#!/usr/bin/env bash
# boot.sh DIRECTORY: becomes process 1 of a machine whose root is this machine's own under an overlay, so nothing here changes.
# Runs in the hardware's namespaces, in process and mount namespaces of its own.
set -euo pipefail
directory=$1

root="$directory/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$directory/disk/upper,workdir=$directory/disk/work" "$root"
mkdir -p "$root/var/lib/docker" "$root/mnt/this-machine"
# Docker's own overlays cannot lie on an overlay.
mount --bind "$directory/docker" "$root/var/lib/docker"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
cd "$root"
pivot_root . mnt/this-machine
umount --lazy /mnt/this-machine
exec /usr/local/sbin/edge-init
