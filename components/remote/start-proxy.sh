#!/usr/bin/env bash
# start-proxy.sh IMAGE PULL_BUDGET_SECONDS PORT URL HEALTH_PATH CONFIG: runs the reverse proxy in front of the server.
# Without arguments: removes it, with its secrets. Certificate chain and key (base64) and API key come on standard input, a line
# each. They are in root-only files below one folder, which the container sees read-only; no process is told them.
# A running proxy of the same image and files is left alone.
# shellcheck source=components/remote/common.sh
. "$(dirname "$0")/common.sh"
proxy=edge-inference-proxy
files="$EDGE_HOME/proxy"
fresh="$EDGE_HOME/proxy.new"

# remove: the container first, so that there is none without its files.
remove() {
  [ -e "$files" ] || return 0
  docker rm --force --volumes "$proxy" >/dev/null 2>&1 || true
  rm -rf "$files"
}

if [ $# -eq 0 ]; then
  remove
  rm -rf "$fresh"
  say "no proxy is wanted"
  exit 0
fi
image=$1 budget=$2 port=$3 url=$4 health=$5 config=$6
IFS= read -r certificate
IFS= read -r private_key
IFS= read -r api_key

same() {
  local name
  for name in caddy.json certificate.pem private-key.pem; do
    [ -e "$files/$name" ] && [ "$(<"$files/$name")" = "$(<"$fresh/$name")" ] || return 1
  done
}

inspect() {
  docker inspect --type container --format "$1" "$proxy" 2>/dev/null || true
}

# Asks through the proxy, under the name that its certificate is for; trusts that very chain, whoever signed it.
ask() {
  # A host of the local cloud has no loopback of its own: there, docker knows where the port is.
  local address
  address=$(docker port "$proxy" "$port/tcp" 2>/dev/null | head -n 1) || true
  curl --silent --output /dev/null --max-time 5 --cacert "$files/certificate.pem" \
    --connect-to "::${address:-127.0.0.1:$port}" --write-out '%{http_code}' "$url$1"
}

healthy() {
  [ "$(ask "$health")" = 200 ]
}

# Ends the wait early when the container dies: Docker's restart policy would start it again and again.
healthy_or_dead() {
  [ "$(inspect '{{.RestartCount}}')" = "$restarts" ] || return 0
  healthy
}

give_up() {
  last_lines 20 "$proxy"
  fail "$1; above are the last lines of the proxy's log" "sudo docker logs --tail 200 $proxy"
}

trap 'rm -rf "$fresh"' EXIT
umask 077
rm -rf "$fresh"
mkdir -p "$fresh"
# Bash's own commands only: the arguments of any other could be seen.
printf '%s' "$certificate" | base64 --decode >"$fresh/certificate.pem"
printf '%s' "$private_key" | base64 --decode >"$fresh/private-key.pem"
printf '%s\n' "${config//@API_KEY@/"$api_key"}" >"$fresh/caddy.json"

if same && [ "$(inspect '{{.Config.Image}} {{.State.Status}}')" = "$image running" ]; then
  say "already running as wanted"
else
  if ! docker image inspect "$image" >/dev/null 2>&1; then
    within "$budget" "pulling $image" docker pull -q "$image" >/dev/null ||
      fail "$image was not pulled" "check the name in edge-inference:endpoint.proxyImage and the host's way to the registry: sudo docker pull $image"
  fi
  remove
  mv "$fresh" "$files"
  docker run -d --name "$proxy" --restart unless-stopped --network host --cap-drop ALL --cap-add NET_BIND_SERVICE \
    --log-opt max-size=10m --log-opt max-file=3 -v "$files:/etc/edge-inference:ro" \
    "$image" caddy run --config /etc/edge-inference/caddy.json >/dev/null 3>&- ||
    fail "the proxy's container did not start" "sudo docker logs --tail 50 $proxy"
fi
restarts=$(inspect '{{.RestartCount}}')
wait_until 30 "the proxy" healthy_or_dead || true
healthy || give_up "$url$health does not answer"
if [ -n "$api_key" ] && [ "$(ask /)" != 401 ]; then
  give_up "$url/ answers without the API key"
fi
say "answers at $url"
