"""The Hub's client of the image, without a Hub: one gated organization, `gated/`, and one model that never arrives."""

import json
import time
from pathlib import Path

TOKEN = "hf_host_tier_planted_token"  # noqa: S105 - opens nothing


class GatedRepoError(Exception):
    """What the real client raises without an accepted licence."""


def snapshot_download(model: str, *, revision: str, local_dir: str, ignore_patterns: list[str], token: str | bool) -> str:
    """Write what the server reads."""
    assert ignore_patterns, "the second copy of the weights would be fetched too"
    if model.startswith("gated/") and token != TOKEN:
        message = f"401 Client Error. Cannot access gated repo for url https://huggingface.co/{model}/resolve/{revision}"
        raise GatedRepoError(message)
    print("Fetching 2 files", flush=True)  # noqa: T201 - what is printed is the container's log
    directory = Path(local_dir)
    if model == "gated/never-arrives":
        time.sleep(3600)
    (directory / "config.json").write_text(json.dumps({"_name_or_path": model}))
    (directory / "model.safetensors").write_bytes(b"\0" * 8)
    return local_dir
