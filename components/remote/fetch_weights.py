"""Runs in a one-shot container of the engine's image: downloads one revision of a model into a plain directory.

`original/` is left out: Llama repositories carry a second copy of the weights there. Exit status 28: the disk is too small.
"""

import errno
import os
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path

# Progress bars would arrive as one endless line.
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

from huggingface_hub import model_info, snapshot_download

IGNORED = ["original/*", "*.pth", "*.gguf"]
model, revision, directory = sys.argv[1], sys.argv[2], Path(sys.argv[3])
# An empty token file would be sent as a wrong token; a public model needs none.
token = Path(os.environ["HF_TOKEN_PATH"]).read_text(encoding="utf-8").strip() or False
try:
    # A branch moves: its commit is asked for once, fetched, and written down for the record of what runs.
    info = model_info(model, revision=revision, files_metadata=True, token=token)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    needed = sum(size for name, size in sizes.items() if not any(fnmatch(name, pattern) for pattern in IGNORED))
    here = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    free = shutil.disk_usage(directory).free
    if needed - here > free:
        print(f"{model} takes {needed >> 20} MiB of disk, {free >> 20} MiB are free", file=sys.stderr)
        sys.exit(errno.ENOSPC)
    commit = info.sha or revision
    snapshot_download(model, revision=commit, local_dir=str(directory), ignore_patterns=IGNORED, token=token)
    (directory / ".commit").write_text(commit, encoding="utf-8")
except Exception as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(errno.ENOSPC if getattr(error, "errno", None) == errno.ENOSPC else 1)
