#!/usr/bin/env bash
# start-server.sh DIGEST MODEL REVISION DOCKER_RUN_ARGUMENT...: runs the server's container, offline, from the fetched weights.
# A running container of the same digest is left alone. Docker starts it again at every boot, without token or network.
# shellcheck source=components/remote/common.sh
. "$(dirname "$0")/common.sh"
digest=$1 model=$2 revision=$3
shift 3

inspect() {
  docker inspect --type container --format "$1" "$CONTAINER" 2>/dev/null || true
}

if [ "$(inspect '{{index .Config.Labels "edge-inference.spec"}}')" = "$digest" ] &&
  [ "$(inspect '{{.State.Status}}')" = running ]; then
  say "already running as wanted"
  exit 0
fi
# One GPU has no room for two models: the old server goes before the new one starts.
docker rm -f "$CONTAINER" >/dev/null 2>&1 || true
docker run -d --name "$CONTAINER" --restart unless-stopped --gpus all --shm-size 1g \
  --label "edge-inference.spec=$digest" --log-opt max-size=10m --log-opt max-file=3 \
  -v "$MODELS/${model//\//--}@${revision//\//--}:/model:ro" "$@" >/dev/null 3>&- ||
  fail "the server's container did not start" "sudo docker logs --tail 50 $CONTAINER"
say "started $model at $revision"
