"""`edge usage`: who called how much, by the name of the API key."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from automation.commands.options import EnvironmentName, JsonFlag, LocalFlag, open_environment
from automation.commands.terminal import say, show, show_json
from automation.errors import UsageError

if TYPE_CHECKING:
    from automation.sites.usage import Usage

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_KIB = 1024


def usage(
    env: EnvironmentName,
    since: Annotated[
        str | None, typer.Option("--since", metavar="24h", help="30m, 24h, 7d, or a time as 2026-11-30T08:00; default: all.")
    ] = None,
    local: LocalFlag = False,  # noqa: FBT002
    as_json: JsonFlag = False,  # noqa: FBT002
) -> None:
    """Sum up requests by the name of their key.

    Requests, bytes sent and seconds taken, from the log of every proxy. A log has its last 30 MB, and begins anew with its proxy.
    Whoever is refused, and health checks, are not in it; what `edge status`, `up` and `ask` ask is.

    Example: edge usage prod --since 24h
    """
    environment = open_environment(env, local=local)
    found = environment.usage(time_of(since, datetime.now(UTC)) if since else None)
    if as_json:
        show_json(found.described())
    else:
        for line in usage_lines(found):
            show(line)
    if found.silent:
        say(f"did not tell: {', '.join(found.silent)}\n  -> edge status {environment.arguments}")
        raise typer.Exit(1)


def time_of(text: str, now: datetime) -> datetime:
    """What `--since` means; UsageError for what is no time."""
    if found := re.fullmatch(r"(\d{1,5})([mhd])", text):
        return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"--since {text} is no time\n  -> such as 30m, 24h, 7d, or 2026-11-30T08:00") from None


def usage_lines(found: "Usage") -> Iterator[str]:
    """A row for each key, and from when on the logs have everything."""
    from automation.tables import table

    rows = [
        [
            name or "(no key)",
            str(each.requests),
            in_bytes(each.bytes),
            f"{each.seconds:.1f}",
            f"{each.last.astimezone():%Y-%m-%d %H:%M:%S}" if each.last else "never",
        ]
        for name, each in found.keys.items()
    ]
    yield from table(["key", "requests", "sent", "seconds", "last"], rows, right=(1, 2, 3))
    since = f" since {found.since.astimezone():%Y-%m-%d %H:%M}" if found.since else ""
    begins = f"the logs are whole from {found.begins.astimezone():%Y-%m-%d %H:%M:%S} on" if found.begins else "the logs are empty"
    yield f"{len(found.replicas)} replicas{since}; {begins}{' (simulated)' if found.simulated else ''}"


def in_bytes(count: int) -> str:
    """A size in the unit that a person reads."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < _KIB:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _KIB
    return f"{size:.1f} GiB"
