"""What holds where nobody says otherwise: one place for the stack config's defaults and for those of the components' arguments.

What a server and a host are asked for by default stands with `Server` (engines.py) and `Host` (host_steps.py).
"""

INSTANCE_TYPE = "g4dn.2xlarge"
"""One T4; sold in almost every Local Zone (aws-facts 3.3)."""
VOLUME_GIB = 100
"""For image, weights and Docker; the AMI's own snapshot needs 75."""
AMI_PARAMETER = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
"""Driver, Docker and the NVIDIA container toolkit, no framework: enough for a container (aws-facts 3.6)."""
VPC_CIDR = "10.64.0.0/16"
PROXY_IMAGE = "caddy:2.10.2-alpine"
HEALTH_PATH = "/health"
HEALTH_INTERVAL_SECONDS = 30
HEALTH_FAILURE_THRESHOLD = 3
_HTTPS_PORT, _PLAIN_PORT = 443, 8080


def public_port(*, tls: bool) -> int:
    """The TCP port that clients connect to."""
    return _HTTPS_PORT if tls else _PLAIN_PORT


def endpoint_url(host: str, port: int, *, tls: bool) -> str:
    """The URL of an endpoint under a name or address."""
    scheme, usual = ("https", _HTTPS_PORT) if tls else ("http", 80)
    return f"{scheme}://{host}" if port == usual else f"{scheme}://{host}:{port}"
