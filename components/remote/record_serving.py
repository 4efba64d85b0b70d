"""record_serving.py CONTAINER WANTED RECORD FACTS: writes down what a host serves, tells it in one line, frees the disk.

Runs under the host's own Python 3. Removes the weights and the image of what served before: the disk has no room for many.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def docker(*arguments: str) -> str:
    """What docker prints on both outputs; nothing where it fails."""
    done = subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def described(name: str, words: list[str], facts: dict[str, str]) -> dict[str, Any]:
    """What a container serves: from its own description, its image's, the weights' folder, and the log of its last start."""
    container: dict[str, Any] = json.loads(docker("inspect", "--type", "container", name))[0]
    image: dict[str, Any] = json.loads(docker("image", "inspect", container["Image"]))[0]
    log = docker("logs", "--since", container["State"]["StartedAt"], name)
    found = {fact: re.search(pattern, log, re.IGNORECASE) for fact, pattern in facts.items()}
    weights, count = Path(words[1]), int(words[2])
    model, _, revision = weights.name.partition("@")
    commit = weights / ".commit"
    return {
        "engine": container["Config"]["Labels"]["edge-inference.engine"],
        "model": model.replace("--", "/", 1),
        "revision": commit.read_text(encoding="utf-8") if commit.exists() else revision,
        **{fact: match[1].lower() if match else None for fact, match in found.items()},
        "fallback": "edge-inference.fallback" in container["Config"]["Labels"],
        "image": container["Config"]["Image"],
        "image_digest": (image.get("RepoDigests") or [None])[0],
        "image_id": container["Image"],
        "flags": words[4 + count :],
        "options": words[3 : 3 + count],
        "container": container["Id"],
        "since": container["State"]["StartedAt"],
    }


def main() -> None:
    """Records, tells, cleans up."""
    name, wanted, record, patterns = sys.argv[1:]
    words, facts = Path(wanted).read_text(encoding="utf-8").split("\0")[:-1], json.loads(patterns)
    before: dict[str, Any] = json.loads(Path(record).read_text(encoding="utf-8")) if Path(record).exists() else {}
    now = described(name, words, facts)
    draft = Path(f"{record}.new")
    draft.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
    draft.replace(record)
    for other in Path(words[1]).parent.glob("*"):
        if other.name != Path(words[1]).name:
            shutil.rmtree(other)
    if before.get("image_id") not in {None, now["image_id"]}:
        docker("image", "rm", before["image"])
    told = [f"{fact.replace('_', ' ')} {now[fact] or 'not stated'}" for fact in facts]
    fallback = ["started with the fallback"] if now["fallback"] else []
    print(", ".join([f"{now['engine']} serves {now['model']} at {now['revision'][:12]}", *told, *fallback]))


if __name__ == "__main__":
    main()
