#!/usr/bin/env bash
# prepare-host.sh BUDGET_SECONDS: waits for first boot and GPU driver; starts Docker now and at every boot.
# shellcheck source=components/remote/common.sh
. "$(dirname "$0")/common.sh"
budget=$1

if command -v cloud-init >/dev/null; then
  status=0
  within "$budget" "cloud-init" cloud-init status --wait >/dev/null || status=$?
  # 2 is "done, with recoverable errors" (cloud-init 23.4 and later).
  if [ "$status" -ne 0 ] && [ "$status" -ne 2 ]; then
    fail "cloud-init ended with status $status" "sudo cloud-init status --long; sudo tail -n 50 /var/log/cloud-init-output.log"
  fi
fi

wait_until "$budget" "the GPU driver" nvidia-smi ||
  fail "nvidia-smi does not answer within $budget s" "the AMI must bring the NVIDIA driver; sudo dmesg | grep -i nvidia"
say "GPU $(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | head -n 1)"

systemctl enable --now docker >/dev/null 2>&1 3>&- ||
  fail "Docker cannot be started" "sudo systemctl status docker; sudo journalctl -u docker -n 50"
wait_until "$budget" "Docker" docker info ||
  fail "Docker does not answer within $budget s" "sudo journalctl -u docker -n 50"
say "Docker $(docker info --format '{{.ServerVersion}}')"
