#!/usr/bin/env bash
# install_host_packages.sh: installs what the tests need of the system (sshd, Docker, Caddy, dig, Chromium), by apt-get and as root.
# No service is started, now or at the next boot: the tests start their own, in namespaces.
set -euo pipefail

packages=()
for wanted in bind9-dnsutils:dig caddy:caddy chromium:chromium cloud-init:cloud-init curl:curl docker.io:dockerd iproute2:ip \
  iptables:iptables openssh-client:ssh-keyscan openssh-server:sshd sudo:sudo util-linux:nsenter; do
  if ! PATH="$PATH:/usr/sbin:/sbin" command -v "${wanted#*:}" >/dev/null; then
    packages+=("${wanted%:*}")
  fi
done
if [ "${#packages[@]}" -eq 0 ]; then
  exit 0
fi
if [[ " ${packages[*]} " == *" chromium "* ]]; then
  packages+=(fonts-dejavu-core) # it only recommends fonts, and needs one
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "The tests need ${packages[*]}, which only root can install, on Debian or Ubuntu; what needs them is skipped." >&2
  exit 0
fi

# Packages ask this program whether a service may be started.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
# Before it is installed: it would otherwise take the next boot for a new machine's first.
if [ ! -d /etc/cloud ]; then
  mkdir /etc/cloud
  touch /etc/cloud/cloud-init.disabled
fi

echo "Installing ${packages[*]} for the tests"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
  tail -n 8 "$log" >&2
  echo "They could not be installed; the tests that need them are skipped." >&2
fi
rm -f "$log"
for package in "${packages[@]}"; do
  case "$package" in
    docker.io) units="docker.service docker.socket containerd.service" ;;
    caddy) units=caddy.service ;;
    openssh-server) units=ssh.service ;;
    *) units= ;;
  esac
  for unit in $units; do
    # It answers packages' own scripts only.
    DPKG_MAINTSCRIPT_PACKAGE="$package" deb-systemd-helper disable "$unit" >/dev/null 2>&1 || true
  done
done
