#!/usr/bin/env bash
# prepare-host.sh BUDGET_SECONDS MINIMUM_DRIVER: waits for first boot and GPU driver; starts Docker now and at every boot.
# shellcheck source=components/remote/common.sh
. "$(dirname "$0")/common.sh"
budget=$1 minimum=$2

# Once done, cloud-init is not asked again before the next boot: it takes half a second to say so.
boot=$(cat /proc/sys/kernel/random/boot_id)
if command -v cloud-init >/dev/null && ! grep -qsx "$boot" "$EDGE_HOME/booted"; then
  status=0
  within "$budget" "cloud-init" cloud-init status --wait >/dev/null || status=$?
  # 2 is "done, with recoverable errors" (cloud-init 23.4 and later).
  if [ "$status" -ne 0 ] && [ "$status" -ne 2 ]; then
    fail "cloud-init ended with status $status" "sudo cloud-init status --long; sudo tail -n 50 /var/log/cloud-init-output.log"
  fi
  echo "$boot" >"$EDGE_HOME/booted"
fi

driver() {
  gpu=$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | head -n 1) && [ -n "$gpu" ]
}
wait_until "$budget" "the GPU driver" driver ||
  fail "nvidia-smi does not answer within $budget s" "the AMI must bring the NVIDIA driver; sudo dmesg | grep -i nvidia"
say "GPU $gpu"
installed=${gpu##*, }
if [ "${installed%%.*}" -lt "$minimum" ]; then
  fail "the NVIDIA driver is $installed, and the server's image wants $minimum or newer" \
    "a newer AMI: edge-inference:host.amis; or an image of an older CUDA: edge-inference:server.image"
fi

systemctl enable --now docker >/dev/null 2>&1 3>&- ||
  fail "Docker cannot be started" "sudo systemctl status docker; sudo journalctl -u docker -n 50"
engine() {
  version=$(docker info --format '{{.ServerVersion}}') && [ -n "$version" ]
}
wait_until "$budget" "Docker" engine ||
  fail "Docker does not answer within $budget s" "sudo journalctl -u docker -n 50"
say "Docker $version"
