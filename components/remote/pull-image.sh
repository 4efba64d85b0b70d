#!/usr/bin/env bash
# pull-image.sh IMAGE NEEDED_MIB BUDGET_SECONDS: makes sure that an image is on the host.
# shellcheck source=components/remote/common.sh
. "$(dirname "$0")/common.sh"
image=$1 needed=$2 budget=$3

# A change that still runs frees the disk when it ends: not of this one.
echo "$image" >"$EDGE_HOME/image.wanted"
if docker image inspect "$image" >/dev/null 2>&1; then
  say "$image is here already"
  exit 0
fi
room_for "$needed" "the image"
started=$SECONDS
# Without -q Docker redraws progress bars, which arrive as one endless line.
if ! within "$budget" "pulling $image" docker pull -q "$image" >/dev/null; then
  room_for 1024 "the image"
  fail "$image was not pulled" "check the name in edge-inference:server.image and the host's way to the registry: sudo docker pull $image"
fi
say "pulled $image in $((SECONDS - started)) s"
