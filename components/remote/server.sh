# shellcheck shell=bash
# The server's container: how it is started, set aside for a new one, and brought back. start-server.sh and wait-ready.sh share it.
# One GPU holds one model: the old server stops before the new one starts, and stays until the new one has generated a token.

CONTAINER=edge-inference-server
PREVIOUS=$CONTAINER-previous
FAILED=$CONTAINER-failed
# How the server is started, word by word, so that wait-ready can start it again; without secrets.
WANTED="$EDGE_HOME/server-arguments"
RECORD="$EDGE_HOME/serving.json"

# container FORMAT [NAME]: a fact of a container, or nothing.
container() {
  docker inspect --type container --format "$1" "${2:-$CONTAINER}" 2>/dev/null || true
}

# runs DIGEST: whether the server of this spec runs.
runs() {
  [ "$(container '{{index .Config.Labels "edge-inference.spec"}} {{.State.Status}}')" = "$1 running" ]
}

# set_aside: stops the server; one that has served is kept until the next one does.
set_aside() {
  local id
  id=$(container '{{.Id}}')
  [ -n "$id" ] || return 0
  if grep -qs "\"$id\"" "$RECORD"; then
    docker rm -f "$PREVIOUS" >/dev/null 2>&1 || true
    docker stop "$CONTAINER" >/dev/null 2>&1 3>&- || true
    docker rename "$CONTAINER" "$PREVIOUS"
  else
    docker rm -f "$CONTAINER" >/dev/null
  fi
}

# run_server DOCKER_RUN_OPTION...: starts the wanted server in the place of what runs; options given here win.
run_server() {
  local words digest folder
  mapfile -d '' words <"$WANTED"
  digest=${words[0]} folder=${words[1]}
  set_aside
  docker run -d --name "$CONTAINER" --restart unless-stopped --gpus all --shm-size 1g \
    --label "edge-inference.spec=$digest" --log-opt max-size=10m --log-opt max-file=3 \
    -v "$folder:/model:ro" "${words[@]:3:${words[2]}}" "$@" "${words[@]:3+${words[2]}}" >/dev/null 3>&-
}

# go_back: the failed server is kept, stopped, for its log; the one before serves again. Tells what is the case then.
go_back() {
  docker rm -f "$FAILED" >/dev/null 2>&1 || true
  docker stop "$CONTAINER" >/dev/null 2>&1 3>&- || true
  docker rename "$CONTAINER" "$FAILED" 2>/dev/null || true
  if docker rename "$PREVIOUS" "$CONTAINER" 2>/dev/null && docker start "$CONTAINER" >/dev/null 2>&1 3>&-; then
    echo "the server before it is started again"
  else
    echo "this host serves nothing now"
  fi
}
