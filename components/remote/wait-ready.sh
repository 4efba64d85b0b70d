#!/usr/bin/env bash
# wait-ready.sh CONTAINER_PORT HEALTH_PATH BUDGET_SECONDS: waits until the server is healthy and has generated one real token.
# shellcheck source=components/remote/common.sh
. "$(dirname "$0")/common.sh"
port=$1 health=$2 budget=$3

give_up() {
  docker logs --tail 20 "$CONTAINER" >&2 || true
  fail "$1; above are the last lines of the server's log" "sudo docker logs --tail 200 $CONTAINER"
}

# Ends the wait early when the container dies: Docker's restart policy would start it again and again.
healthy_or_dead() {
  [ "$(docker inspect --type container --format '{{.RestartCount}}' "$CONTAINER")" = "$restarts" ] || return 0
  curl -fsS --max-time 5 "http://$address$health"
}

restarts=$(docker inspect --type container --format '{{.RestartCount}}' "$CONTAINER" 2>/dev/null || true)
# Docker knows where it published the port.
address=$(docker port "$CONTAINER" "$port/tcp" 2>/dev/null | head -n 1) || true
[ -n "$address" ] || give_up "the server's container is not running"
wait_until "$budget" "the model to load" healthy_or_dead || give_up "not healthy within $budget s"
curl -fsS --max-time 5 "http://$address$health" >/dev/null || give_up "the server's container ended"
within 120 "the first token" curl -fsS --max-time 120 "http://$address/v1/completions" \
  -H 'Content-Type: application/json' -d '{"model": "tgi", "prompt": "Hello", "max_tokens": 1}' >/dev/null ||
  give_up "healthy, but no token was generated"
say "healthy, first token generated"
