#!/usr/bin/env bash
# Process 1 of a machine, in the order of a cloud image's boot: cloud-init, sshd, what was enabled, the rest of cloud-init.
# The machine is cut off the power when standard input ends: with process 1, the kernel ends all others.
set -uo pipefail

exec 3<&0 </dev/null
mkdir -p /run/sshd
hostname edge-host
# tools/install_host_packages.sh keeps cloud-init from working on the machine that it is installed on.
rm -f /etc/cloud/cloud-init.disabled
cloud-init init --local
cloud-init init
# As sshd-keygen of Amazon Linux and openssh-server of Debian do: a key of each type that is missing.
ssh-keygen -A
systemctl start ssh
for unit in /etc/edge-machine/enabled/*; do
  if [ -e "$unit" ]; then systemctl start "$(basename "$unit")"; fi
done
cloud-init modules --mode config
cloud-init modules --mode final
cat <&3
