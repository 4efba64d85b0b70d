#!/usr/bin/env bash
# serve.sh SPEC: has the host serve what SPEC (JSON) says, by serve.py, which runs detached: a connection that breaks does not
# end it half-way. Follows its log. Where the same change is at work already, follows that; waits for another one to end first.
# shellcheck source=components/remote/common.sh
. "$(dirname "$0")/common.sh"
spec=$1
release=$(realpath "$(dirname "$0")")
folder="$EDGE_HOME/transaction"
mkdir -p "$folder"
key=$(printf '%s\n%s' "$release" "$spec" | sha256sum | cut -c -16)
files="$folder/$key"

# begin: starts the change; the lock (descriptor 9) is held as long as it runs, and no longer by this script.
begin() {
  find "$folder" -name '*.*' -mtime +30 -delete
  rm -f "${files:?}".*
  printf '%s' "$spec" >"$files.json"
  : >"$files.log"
  # shellcheck disable=SC2016 # the inner shell's own variables
  setsid bash -c 'status=0; python3 -B "$1/serve.py" "$2.json" >>"$2.log" 2>"$2.error" || status=$?; echo "$status" >"$2.status"' \
    bash "$release" "$files" </dev/null >/dev/null 2>&1 3>&- &
  echo "$key $!" >"$folder/running"
  exec 9>&-
  follow "$!"
}

# follow PROCESS: shows what the change says until it ends, then ends as it did.
follow() {
  tail --pid="$1" --sleep-interval=0.1 --lines=+1 --follow "$files.log" 3>&-
  [ -e "$files.status" ] || fail "the change was broken off on the host" "sudo tail -n 50 $files.log; then deploy again"
  cat "$files.error" >&2
  exit "$(<"$files.status")"
}

exec 9>>"$folder/lock"
started=$SECONDS told=-10
until flock --nonblock 9; do
  read -r running process <"$folder/running" || running=
  if [ "$running" = "$key" ] && kill -0 "$process" 2>/dev/null; then
    exec 9>&-
    say "this very change is at work on the host already: following it"
    follow "$process"
  fi
  if [ $((SECONDS - told)) -ge 10 ]; then
    told=$SECONDS
    say "another change is at work on the host: waiting for its end, $((SECONDS - started)) s so far"
  fi
  sleep 0.5
done
begin
