#!/usr/bin/env bash
# As much of systemctl as user data and the project's scripts use, for a machine without systemd: the units ssh and docker, and
# such as scripts have written: a service that a socket of its name starts and is handed to. Both are one process here.
set -euo pipefail

verb=$1 now=
shift
if [ "${1:-}" = --now ]; then
  now=yes
  shift
fi
if [ "$verb" = daemon-reload ]; then exit 0; fi
if [ $# -gt 1 ]; then
  for each in "$@"; do "$0" "$verb" "$each"; done
  exit 0
fi
unit=${1%.service}
unit=${unit%.socket}
units=/etc/systemd/system
case "$unit" in
  ssh | sshd) pid_file=/run/sshd.pid ;;
  docker) pid_file=/run/docker.pid ;;
  *)
    pid_file=/run/$unit.pid
    if [ ! -e "$units/$unit.service" ]; then
      echo "Unit $unit.service not found." >&2
      exit 5
    fi
    ;;
esac

active() { kill -0 "$(cat "$pid_file" 2>/dev/null)" 2>/dev/null; }

# hand_over UNIT: becomes the unit's service, with its socket as descriptor 3.
hand_over() {
  local port
  port=$(sed -n 's/^ListenStream=.*://p' "$units/$1.socket")
  # shellcheck disable=SC2046 # the words of a command line
  exec setsid python3 -c '
import os, socket, sys
made = socket.create_server(("0.0.0.0", int(sys.argv[1])))
os.dup2(made.fileno(), 3, inheritable=True)
open(sys.argv[2], "w").write(str(os.getpid()))
os.execvp(sys.argv[3], sys.argv[3:])' "$port" "$pid_file" $(sed -n 's/^ExecStart=//p' "$units/$1.service")
}

start() {
  if active; then return; fi
  # Not even a descriptor of the caller is left to a daemon.
  exec 3>&-
  case "$unit" in
    docker) setsid dockerd </dev/null >>/var/log/dockerd.log 2>&1 & ;;
    ssh | sshd) /usr/sbin/sshd -E /var/log/sshd.log ;;
    *) hand_over "$unit" </dev/null >>"/var/log/$unit.log" 2>&1 & ;;
  esac
  for _ in $(seq 1200); do
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
