"""The Hub's client of the image, without a Hub: one gated organization, `gated/`, and one model that never arrives."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

TOKEN = "hf_host_tier_planted_token"  # noqa: S105 - opens nothing


class GatedRepoError(Exception):
    """What the real client raises without an accepted licence."""


def model_info(model: str, *, revision: str, files_metadata: bool, token: str | bool) -> SimpleNamespace:
    """The commit and the files of a model, refused as the download is."""
    assert files_metadata, "without it the files have no size"
    _refuse_strangers(model, revision, token)
    return SimpleNamespace(sha=revision, siblings=[SimpleNamespace(rfilename="model.safetensors", size=8)])


def _refuse_strangers(model: str, revision: str, token: str | bool) -> None:
    if model.startswith("gated/") and token != TOKEN:
        message = f"401 Client Error. Cannot access gated repo for url https://huggingface.co/{model}/resolve/{revision}"
        raise GatedRepoError(message)


def snapshot_download(model: str, *, revision: str, local_dir: str, ignore_patterns: list[str], token: str | bool) -> str:
    """Write what the server reads."""
    assert ignore_patterns, "the second copy of the weights would be fetched too"
    _refuse_strangers(model, revision, token)
    print("Fetching 2 files", flush=True)  # noqa: T201 - what is printed is the container's log
    directory = Path(local_dir)
    if model == "gated/never-arrives":
        time.sleep(3600)
    (directory / "config.json").write_text(json.dumps({"_name_or_path": model}))
    (directory / "model.safetensors").write_bytes(b"\0" * 8)
    return local_dir
