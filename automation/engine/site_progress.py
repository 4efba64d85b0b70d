"""Which stage each site has come to, by the names of the resources that make it.

The names are the program's contract with this module (components/site.py, server.py, routing.py); a test on a real deployment
holds both to it. Leaves out deletions: a zone that is taken away has no progress.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from automation.engine.events import STAGES, Stage, StageState

_ZONE = r"[a-z]{2}(?:-[a-z]+)+-\d(?:-[a-z]{3}-\d)?[a-z]"
_OF_REPLICA = re.compile(rf"(?P<zone>{_ZONE})-(?P<number>\d+)-(?P<part>[a-z]+)")
_OF_SITE = re.compile(rf"(?P<zone>{_ZONE})-(?P<part>[a-z].*)")
_OF_ROUTING = re.compile(rf"routing-[a-z]+-(?P<zone>{_ZONE})-(?P<number>\d+)")
_STAGE_OF_PART: dict[str, Stage] = {
    "image": "image",
    "weights": "model",
    "proxy": "healthy",
    "server": "healthy",  # of earlier releases: it goes at an upgrade
    "ready": "healthy",
}
"""Of a replica's parts; the others are the host's."""
_LAST_OF_STAGE: dict[Stage, str] = {"host": "prepare", "image": "image", "model": "weights", "healthy": "ready"}
_LAST_OF_NETWORK = ("subnet", "routes", "firewall", "egress")


@dataclass
class _StageProgress:
    """What is known of one stage of one site."""

    expected: frozenset[str]
    """Names of the resources with which it is done."""
    at_work: set[str] = field(default_factory=set[str])
    ended: set[str] = field(default_factory=set[str])
    stood: bool = False
    """Whether all of them are there from before the run."""
    changed: bool = False
    failed: bool = False

    @property
    def state(self) -> StageState:
        if self.failed:
            return "failed"
        if self.expected <= self.ended and not self.at_work:
            return "done" if self.changed else "unchanged"
        if self.at_work or (self.ended and self.changed):
            return "working"
        return "before" if self.stood else "waiting"


class SiteStages:
    """The stages of all sites of a run: told of steps, it says which stages have come to another state."""

    def __init__(self, replicas: Mapping[str, int]) -> None:
        self._stages = {zone: _expected(zone, count) for zone, count in replicas.items()}

    def stand(self, names: Collection[str]) -> Iterator[tuple[str, Stage, StageState]]:
        """Resources of these names are there from before the run."""
        for zone, stages in self._stages.items():
            for stage, progress in stages.items():
                progress.stood = progress.expected <= set(names)
                if progress.stood:
                    yield zone, stage, progress.state

    def begin(self, name: str) -> Iterator[tuple[str, Stage, StageState]]:
        """A step on a resource begins."""
        for zone, stage, progress in self._of(name):
            before = progress.state
            progress.at_work.add(name)
            if progress.state != before:
                yield zone, stage, progress.state

    def end(self, name: str, *, changed: bool, failed: bool = False) -> Iterator[tuple[str, Stage, StageState]]:
        """A step on a resource has ended."""
        for zone, stage, progress in self._of(name):
            before = progress.state
            progress.at_work.discard(name)
            progress.ended.add(name)
            progress.changed |= changed
            progress.failed |= failed
            if progress.state != before:
                yield zone, stage, progress.state

    def failed_stages(self) -> dict[str, Stage]:
        """By zone, the first stage that failed."""
        return {
            zone: next(stage for stage in STAGES if stages[stage].failed)
            for zone, stages in self._stages.items()
            if any(progress.failed for progress in stages.values())
        }

    def _of(self, name: str) -> Iterator[tuple[str, Stage, _StageProgress]]:
        """The stages that a resource belongs to: a Region's network and its records belong to several sites."""
        zone, stage = stage_of(name)
        if stage is None:
            return
        for site, stages in self._stages.items():
            # The records above a site's own are of no concern to one that does not serve yet.
            shared = zone is None and _is_shared_with(name, site) and (stage != "routed" or stages[stage].ended)
            if zone == site or shared:
                yield site, stage, stages[stage]


def zone_of(name: str) -> str | None:
    """The zone that a resource is made for; None for what sites share."""
    return stage_of(name)[0]


def stage_of(name: str) -> tuple[str | None, Stage | None]:
    """The zone and the stage that a resource belongs to, by its name."""
    if match := _OF_ROUTING.fullmatch(name):
        return match["zone"], "routed"
    if name.startswith("routing-"):
        return None, "routed"
    if match := _OF_REPLICA.fullmatch(name):
        return match["zone"], _STAGE_OF_PART.get(match["part"], "host")
    if match := _OF_SITE.fullmatch(name):
        return match["zone"], "network"
    if re.fullmatch(r"[a-z]{2}(?:-[a-z]+)+-\d-[a-z].*", name):
        return None, "network"
    return None, None


def _is_shared_with(name: str, zone: str) -> bool:
    """Whether a shared resource is one of a zone's: `REGION-vpc`, `routing-group-GROUP`, `routing-region-REGION`."""
    region = re.match(r"[a-z]{2}(?:-[a-z]+)+-\d", zone)
    if name.startswith("routing-"):
        return name.endswith((f"-{zone[:-1]}", f"-region-{region[0]}" if region else ""))
    return region is not None and name.startswith(f"{region[0]}-")


def _expected(zone: str, replicas: int) -> dict[Stage, _StageProgress]:
    numbers = range(1, replicas + 1)
    expected: dict[Stage, frozenset[str]] = {
        "network": frozenset(f"{zone}-{part}" for part in _LAST_OF_NETWORK),
        **{stage: frozenset(f"{zone}-{number}-{part}" for number in numbers) for stage, part in _LAST_OF_STAGE.items()},
        "routed": frozenset(f"routing-leaf-{zone}-{number}" for number in numbers),
    }
    return {stage: _StageProgress(names) for stage, names in expected.items()}
