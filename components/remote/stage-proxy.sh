#!/usr/bin/env bash
# stage-proxy.sh IMAGE PULL_BUDGET_SECONDS CONFIG: lays the reverse proxy's files ready; serve.py puts them to work.
# Without arguments: none is wanted, and none is left. Certificate chain and key (base64) and API keys (with blanks between them)
# come on standard input, a line each. They are in root-only files below one folder; no process is told them.
# shellcheck source=components/remote/common.sh
. "$(dirname "$0")/common.sh"
staged="$EDGE_HOME/proxy.next"
fresh="$EDGE_HOME/proxy.new"

rm -rf "$fresh" "$staged"
if [ $# -eq 0 ]; then
  say "no proxy is wanted"
  exit 0
fi
image=$1 budget=$2 config=$3
IFS= read -r certificate
IFS= read -r private_key
IFS=' ' read -ra api_keys

trap 'rm -rf "$fresh"' EXIT
umask 077
mkdir -p "$fresh"
# Bash's own commands only: the arguments of any other could be seen. Each key stands where its mark does, counted from 1.
printf '%s' "$certificate" | base64 --decode >"$fresh/certificate.pem"
printf '%s' "$private_key" | base64 --decode >"$fresh/private-key.pem"
for number in "${!api_keys[@]}"; do
  config=${config//@API_KEY_$((number + 1))@/"${api_keys[number]}"}
done
[[ $config != *@API_KEY_* ]] || fail "a key has no value" "deploy again"
printf '%s\n' "$config" >"$fresh/caddy.json"

if ! docker image inspect "$image" >/dev/null 2>&1; then
  within "$budget" "pulling $image" docker pull -q "$image" >/dev/null ||
    fail "$image was not pulled" "check the name in edge-inference:endpoint.proxyImage and the host's way to the registry: sudo docker pull $image"
fi
mv "$fresh" "$staged"
say "the proxy's files are ready"
