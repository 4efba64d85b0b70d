"""Makes README's pictures from one run of the demo: the live table in the middle of it, and the map of who gets which site.

Run it after a change to either; it deploys on this checkout's local cloud and takes some minutes. Needs Chromium for the map.
"""

import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, RenderableType

from automation.commands.live_table import LiveTable
from automation.demo.__main__ import main
from automation.engine.events import Event, OnEvent, SiteProgress
from automation.environment import Environment

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
COLUMNS = 84
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Photographer:
    """Shows a run, and keeps the live table of the moment at which the first site serves."""

    def __init__(self) -> None:
        self.picture: RenderableType | None = None

    @contextmanager
    def shown(self, environment: Environment) -> Generator[OnEvent]:
        """As the demo shows a run on a terminal."""
        with LiveTable(Console(file=io.StringIO()), environment.planned_replicas()) as table:

            def on_event(event: Event) -> None:
                table.on_event(event)
                if isinstance(event, SiteProgress) and (event.stage, event.state) == ("healthy", "done"):
                    self.picture = self.picture or table.render()

            yield on_event


def take() -> None:
    """Runs the demo and writes the pictures."""
    photographer = Photographer()
    main(photographer.shown)
    if photographer.picture is None:
        sys.exit("no site came to serve in this run: edge cloud stop, and again")
    PICTURES.mkdir(exist_ok=True)
    paper = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    paper.print(photographer.picture)
    # No font from elsewhere: a viewer's own will do.
    table = FONT.sub("", paper.export_svg(title="edge up local (simulated)"))
    (PICTURES / "live-table.svg").write_text(table, encoding="utf-8")
    _map(PICTURES / "map.png")


def _map(picture: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no Chromium on this machine: apt install chromium")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "map.html"
        routes = [sys.executable, "-m", "automation", "routes", "local", "--html", str(page)]
        subprocess.run(routes, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,770"]
        subprocess.run([browser, *options, f"--screenshot={picture}", page.as_uri()], check=True, capture_output=True)  # noqa: S603


if __name__ == "__main__":
    take()
