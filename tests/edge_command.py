"""`edge` as a command of its own, on a local cloud and with stack files of a test's."""

import sys
from pathlib import Path

_EDGE = """
import sys
from pathlib import Path
from automation.commands import options
from automation.environment import Environment
directory, stack_files = Path(sys.argv.pop(1)), Path(sys.argv.pop(1))
def opened(name, *, local):
    return Environment(name, on_local_cloud=local, directory=directory, stack_files=stack_files, say=options.say)
options.open_environment = opened
from automation import cli
"""


def edge_on(directory: Path, stack_files: Path, before: str = "") -> list[str]:
    """The command, for the local cloud below a directory; `before`: lines of Python that come first."""
    return [sys.executable, "-c", f"{_EDGE}{before}\ncli.main()\n", str(directory), str(stack_files)]
