# shellcheck shell=bash
# What all steps share: where things are on a host, how progress is told, how time and disk are limited.
# Every step is idempotent and keeps all it writes under one folder. Output is short lines, at least one in 10 seconds.
# Amazon Linux 2023 and Ubuntu differ in the login user (host.loginUser) and in sudo's PATH; nothing else here depends on it.

set -euo pipefail

# Amazon Linux's sudo leaves this folder out, Ubuntu's has it.
PATH="$PATH:/usr/local/bin"
# EDGE_HOST_ROOT is empty on a real host; a host of the local cloud has its own root folder there.
EDGE_HOME="${EDGE_HOST_ROOT:-}/opt/edge-inference"
# shellcheck disable=SC2034 # the steps that source this file use it
MODELS="$EDGE_HOME/models"
STEP=$(basename "$0" .sh)

# presentable: lines of at most 4000 printable characters. A server's log or a registry's answer may be anything, and the official
# command plugin hangs for ever on a line of 64 KiB, and fails on bytes that are no UTF-8.
presentable() {
  # Whatever ends the step: what it has to say then must have somewhere to go.
  trap '' HUP INT TERM
  LC_ALL=C sed -u -E 's/[^[:print:]\t]/?/g; s/^(.{4000}).+/\1 .../'
}
# Progress goes to the step's own output also where a command's output is thrown away.
exec > >(presentable) 2> >(presentable >&2) 3>&1

# last_lines COUNT CONTAINER: the end of a container's log, cut before a line of megabytes is looked at character by character.
last_lines() {
  docker logs --tail "$1" "$2" 2>&1 | cut -b-4001 >&2 || true
}

say() {
  printf '%s: %s\n' "$STEP" "$*" >&3
}

# fail REASON HINT: ends the step; HINT is what to look at or to run.
fail() {
  printf '%s failed: %s\n  -> %s\n' "$STEP" "$1" "$2" >&2
  exit 1
}

# room_for MIB WHAT: ends the step where the disk has less free space than that.
room_for() {
  local free
  free=$(df --output=avail --block-size=1M "$EDGE_HOME" | tail -n 1 | tr -dc '0-9')
  [ "${free:-0}" -ge "$1" ] || no_space "$2 needs at least $1 MiB of disk, ${free:-0} MiB are free"
}

# no_space WHAT: ends the step because of the disk.
no_space() {
  fail "no space left: $1" \
    "sudo docker system df; sudo du -sh $EDGE_HOME/models/*; or a larger edge-inference:sites[].volumeGib"
}

# within SECONDS WHAT COMMAND...: runs a command, tells every 10 s that it goes on, ends it after SECONDS.
within() {
  local budget=$1 what=$2 started=$SECONDS beat status=0
  shift 2
  # Its sleep must not hold the connection's output open after the heartbeat has ended, so it has none of it.
  (while sleep 10 >/dev/null 2>&1 3>&-; do say "$what: $((SECONDS - started)) s of at most $budget s"; done) >/dev/null 2>&1 &
  beat=$!
  timeout --kill-after=10 "$budget" "$@" 3>&- || status=$?
  kill "$beat" 2>/dev/null || true
  wait "$beat" 2>/dev/null || true
  if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
    say "$what: given up after $budget s"
  fi
  return "$status"
}

# wait_until SECONDS WHAT COMMAND...: repeats a quick command until it succeeds; tells every 10 s what is waited for.
wait_until() {
  local budget=$1 what=$2 started=$SECONDS told=$SECONDS
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ $((SECONDS - started)) -ge "$budget" ]; then
      return 1
    fi
    if [ $((SECONDS - told)) -ge 10 ]; then
      told=$SECONDS
      say "waiting for $what: $((SECONDS - started)) s of at most $budget s"
    fi
    sleep 0.5
  done
}
