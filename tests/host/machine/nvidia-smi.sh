#!/usr/bin/env bash
# The driver's answer on a host with a T4; none while the driver is taken away.
if [ -e /etc/edge-machine/no-driver ]; then
  echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver." >&2
  exit 9
fi
echo "Tesla T4, 15360 MiB, 550.90.07"
