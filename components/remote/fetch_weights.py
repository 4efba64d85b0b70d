"""Runs in a one-shot container of the engine's image: downloads one revision of a model into a plain directory.

`original/` is left out: Llama repositories carry a second copy of the weights there.
"""

import os
import sys
from pathlib import Path

# Progress bars would arrive as one endless line.
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

from huggingface_hub import snapshot_download

model, revision, directory = sys.argv[1:]
# An empty token file would be sent as a wrong token; a public model needs none.
token = Path(os.environ["HF_TOKEN_PATH"]).read_text(encoding="utf-8").strip()
try:
    snapshot_download(
        model,
        revision=revision,
        local_dir=directory,
        ignore_patterns=["original/*", "*.pth", "*.gguf"],
        token=token or False,
    )
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
