"""The documentation as a site: tools/check.sh builds it strictly, so that no link, heading or page is lost.

The order of the pages is here, since a code host would show it as text in the pages. A new page is named here too.
"""

from typing import Any

NAVIGATION = {
    "Tutorial": ["tutorial/first-steps"],
    "How to": [
        "how-to/install",
        "how-to/deploy",
        "how-to/permissions",
        "how-to/first-run-on-aws",
        "how-to/place-sites",
        "how-to/routing",
        "how-to/send-requests",
        "how-to/https",
        "how-to/certificates",
        "how-to/github-actions",
        "how-to/operate",
        "how-to/rotate",
        "how-to/usage",
        "how-to/see-routing",
        "how-to/measure",
        "how-to/recover",
        "how-to/components",
    ],
    "Reference": [
        "reference/commands",
        "reference/options",
        "reference/config",
        "reference/outputs",
        "reference/errors",
        "reference/exit-codes",
        "reference/python",
        "reference/python-types",
        "reference/components",
        "reference/models",
        "reference/costs",
        "reference/local-cloud",
    ],
    "Explanation": [
        "explanation/security",
        "explanation/held-to",
        "explanation/placement",
        "explanation/voice",
        "explanation/beside-others",
        "decisions/README",
    ],
}

project = "Edge inference sites"
extensions = ["myst_parser"]
myst_heading_anchors = 4  # links to `page.md#heading`, as a code host has them too
html_theme = "furo"
html_title = project
html_show_sphinx = False
html_copy_source = False


def with_navigation(_: Any, name: str, source: list[str]) -> None:
    """Adds the tables of contents to the first page, and to that of the decisions."""
    if name == "index":
        source[0] += "".join(_contents(f":caption: {title}", pages) for title, pages in NAVIGATION.items())
    elif name == "decisions/README":
        source[0] += _contents(":glob:", ["0*"])


def _contents(option: str, pages: list[str]) -> str:
    return "\n".join(["", "```{toctree}", ":hidden:", option, "", *pages, "```", ""])


def setup(app: Any) -> None:
    """Sphinx calls this by its name."""
    app.connect("source-read", with_navigation)
