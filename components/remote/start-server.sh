#!/usr/bin/env bash
# start-server.sh DIGEST MODEL REVISION COUNT WORD...: runs the server's container, offline, from the fetched weights. The first
# COUNT words are options of `docker run`, the others the image and its arguments.
# A running container of the same digest is left alone. Docker starts it again at every boot, without token or network.
# shellcheck source=components/remote/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=components/remote/server.sh
. "$(dirname "$0")/server.sh"
digest=$1 model=$2 revision=$3
shift 3

printf '%s\0' "$digest" "$MODELS/${model//\//--}@${revision//\//--}" "$@" >"$WANTED"
if runs "$digest"; then
  say "already running as wanted"
  exit 0
fi
# shellcheck disable=SC2119 # no further options
run_server || fail "the server's container did not start; $(go_back)" "sudo docker logs --tail 50 $FAILED"
say "started $model at $revision"
