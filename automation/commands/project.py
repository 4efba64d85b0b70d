"""A new project: what a folder needs so that `edge` and plain `pulumi` work there. Leaves out environments (initial.py).

The program is copied, for its owner to add to; what it is made of stays in the installed package.
"""

from pathlib import Path

from automation.errors import UsageError
from automation.paths import PROGRAM

_FILES = ("Pulumi.yaml", "__main__.py", "Pulumi.local.yaml")
_OF_PACKAGE = ("components", "geography")
"""What the program imports: folders of these names beside it would hide the package's own."""
_CHECKOUT_ONLY = "    virtualenv: .venv\n"
_INSTALLED = """\
    # Plain `pulumi` runs the Python that is first on PATH: activate the environment that has `edge`, or name it here:
    # virtualenv: PATH
"""
_IGNORED = """\
# What a local run makes: engine, local cloud, state, keys.
/.localcloud/
/.edge/
__pycache__/
"""


def begin(folder: Path) -> list[str]:
    """Writes a project into a folder; what it wrote. UsageError, and nothing, where something of that name is there."""
    if there := [name for name in (*_FILES, *_OF_PACKAGE) if (folder / name).exists()]:
        raise UsageError(
            f"{folder} has {', '.join(there)} already, and nothing was written\n  -> mkdir edge && cd edge && edge init"
        )
    texts = {name: (PROGRAM / name).read_text(encoding="utf-8") for name in _FILES}
    texts["Pulumi.yaml"] = texts["Pulumi.yaml"].replace(_CHECKOUT_ONLY, _INSTALLED)
    if not (folder / ".gitignore").exists():
        texts[".gitignore"] = _IGNORED
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return list(texts)
