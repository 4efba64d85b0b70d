#!/usr/bin/env bash
# As much of systemctl as user data and the project's scripts use, for a machine without systemd: the units ssh and docker.
set -euo pipefail

verb=$1 now=
shift
if [ "${1:-}" = --now ]; then
  now=yes
  shift
fi
unit=${1%.service}
case "$unit" in
  ssh | sshd) pid_file=/run/sshd.pid ;;
  docker) pid_file=/run/docker.pid ;;
  *)
    echo "Unit $unit.service not found." >&2
    exit 5
    ;;
esac

active() { kill -0 "$(cat "$pid_file" 2>/dev/null)" 2>/dev/null; }

start() {
  if active; then return; fi
  # Not even a descriptor of the caller is left to a daemon.
  exec 3>&-
  case "$unit" in
    docker) setsid dockerd </dev/null >>/var/log/dockerd.log 2>&1 & ;;
    *) /usr/sbin/sshd -E /var/log/sshd.log ;;
  esac
  for _ in $(seq 200); do
    if active; then return; fi
    sleep 0.05
  done
  exit 1
}

stop() {
  pid=$(cat "$pid_file" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || return 0
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  rm -f "$pid_file"
}

case "$verb" in
  enable)
    mkdir -p /etc/edge-machine/enabled
    touch "/etc/edge-machine/enabled/$unit"
    if [ -n "$now" ]; then start; fi
    ;;
  start) start ;;
  stop) stop ;;
  restart)
    stop
    start
    ;;
  try-restart)
    active || exit 0
    stop
    start
    ;;
  is-active) active ;;
  *)
    echo "Unknown command verb $verb." >&2
    exit 1
    ;;
esac
