#!/usr/bin/env bash
# pull-image.sh IMAGE BUDGET_SECONDS: makes sure that an image is on the host.
# shellcheck source=components/remote/common.sh
. "$(dirname "$0")/common.sh"
image=$1 budget=$2

if docker image inspect "$image" >/dev/null 2>&1; then
  say "$image is here already"
  exit 0
fi
started=$SECONDS
# Without -q Docker redraws progress bars, which arrive as one endless line.
within "$budget" "pulling $image" docker pull -q "$image" >/dev/null ||
  fail "$image was not pulled" "check the name in edge-inference:server.image and the host's way to the registry: sudo docker pull $image"
say "pulled $image in $((SECONDS - started)) s"
