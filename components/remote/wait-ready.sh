#!/usr/bin/env bash
# wait-ready.sh DIGEST PORT HEALTH_PATH BUDGET_SECONDS FACTS TROUBLE FALLBACK_OPTION...: waits until the server is healthy and has
# generated one real token, records what runs, removes what served before it. A server that ends with TROUBLE (a pattern) in its
# log is started once more with the fallback options. FACTS: what to read in its log, by name, as JSON of patterns.
# shellcheck source=components/remote/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=components/remote/server.sh
. "$(dirname "$0")/server.sh"
digest=$1 port=$2 health=$3 budget=$4 facts=$5 trouble=$6
shift 6
started=$SECONDS

# Ends the wait early when the container dies: Docker's restart policy would start it again and again.
healthy_or_dead() {
  curl -fsS --max-time 5 "http://$address$health" && return 0
  [ "$(container '{{.RestartCount}} {{.Id}}')" = "$restarts $id" ] && return 1
  ended=yes
}

# serves: whether the server, of this `id`, gets ready in what is left of the budget; else `reason` says why not.
serves() {
  local restarts address ended=
  read -r restarts id < <(container '{{.RestartCount}} {{.Id}}') || true
  # Docker knows where it published the port.
  address=$(docker port "$CONTAINER" "$port/tcp" 2>/dev/null | head -n 1) || true
  reason="the server's container is not running"
  [ -n "$address" ] || return 1
  reason="not healthy within $budget s"
  wait_until $((budget - SECONDS + started)) "the model to load" healthy_or_dead || return 1
  reason="the server's container ended"
  [ -z "$ended" ] || return 1
  reason="healthy, but no token was generated"
  within 120 "the first token" curl -fsS --max-time 120 "http://$address/v1/completions" \
    -H 'Content-Type: application/json' -d '{"model": "tgi", "prompt": "Hello", "max_tokens": 1}' >/dev/null
}

# in_trouble: whether the log of a server that did not get ready shows what the fallback is for.
in_trouble() {
  [ -n "$trouble" ] && [ "$(container '{{index .Config.Labels "edge-inference.fallback"}}')" != yes ] &&
    grep -Eq -- "$trouble" <<<"$(docker logs --tail 200 "$CONTAINER" 2>&1)"
}

# An earlier run that failed may have gone back to the server before.
if ! runs "$digest"; then
  say "starting the server again"
  # shellcheck disable=SC2119 # no further options
  run_server || fail "the server's container did not start; $(go_back)" "sudo docker logs --tail 50 $FAILED"
fi
is_ready=yes
serves || is_ready=
if [ -z "$is_ready" ] && in_trouble; then
  say "$reason: trouble that the fallback is for; starting once more with $*"
  run_server --label edge-inference.fallback=yes "$@" ||
    fail "the server's container did not start with the fallback; $(go_back)" "sudo docker logs --tail 50 $FAILED"
  is_ready=yes
  serves || is_ready=
fi
if [ -z "$is_ready" ]; then
  last_lines 20 "$CONTAINER"
  fail "$reason; above are the last lines of the server's log; $(go_back)" "sudo docker logs --tail 200 $FAILED"
fi
docker rm -f "$PREVIOUS" "$FAILED" >/dev/null 2>&1 || true
if ! grep -qs "\"$id\"" "$RECORD"; then
  told=$(python3 "$EDGE_HOME/remote/record_serving.py" "$CONTAINER" "$WANTED" "$RECORD" "$facts") ||
    fail "the server is ready, but what runs could not be recorded in $RECORD" "sudo df $EDGE_HOME; python3 --version"
  say "$told"
fi
say "healthy, first token generated"
