"""How an environment's runs treat what AWS has of it and its state does not: who looks, what is said, what is refused.

orphans.py decides what that is, sweep.py removes it. Takes an exported state and the config's own files; no engine, no runs.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from automation.engine.advice import Commands
from automation.errors import EdgeError, OrphansError
from automation.paths import typed_pulumi

if TYPE_CHECKING:
    from automation.account.orphans import Thing
    from components.settings import StackConfig

_ONLY_AN_ORPHAN = re.compile(
    r"AlreadyExists|\balready exists\b|\.Duplicate\b|\.Conflict\b|DependencyViolation|AlreadyAssociated|\balready associated\b"
    r"|AddressInUse|IPAddress\.InUse|HostedZoneNotEmpty|NotEmpty\b"
)
"""Errors, whichever operation they end, that mostly mean: AWS has something that the state does not."""

NAMESAKE_REMEDIES = (
    f"{typed_pulumi()} whoami -v   # is the state kept elsewhere? then: {typed_pulumi()} login",
    'docs/how-to/recover.md, "A lost state"   # how to put it back, and what to do where it is gone',
)
"""What to do where a state may be lost."""

ReadState = Callable[[], Mapping[str, Any]]
"""Gives the exported state as it is at that moment."""


@dataclass(frozen=True)
class Leftovers:
    """What one environment's runs say and do about it."""

    commands: Commands
    client: Callable[[str, str], Any]
    """Makes a boto3 client of a service in a Region."""

    def find(self, read_state: ReadState, config: "StackConfig", before: Mapping[str, Any] | None = None) -> "tuple[Thing, ...]":
        """What AWS has and the state does not. `before` is the state before a run that may have removed what tells where to look.

        EdgeError where AWS does not say, or where the state has no id, so that nobody can tell what is its own.
        """
        # Imported late: few commands look.
        from automation.account.orphan_search import deployment_scope, find_orphans
        from components.settings import validate

        validated = validate(config)
        scope = deployment_scope(before or {}, validated) or deployment_scope(read_state(), validated)
        if scope is None:
            state = read_state()
            if state.get("resources") or state.get("pending_operations"):
                raise EdgeError(self._no_id())
            return ()  # the id is made before anything else
        return find_orphans(scope, read_state, self.client)

    def namesakes(self, deployment: Mapping[str, Any], config: "StackConfig") -> "tuple[Thing, ...]":
        """What AWS has with the environment's name, in its sites' Regions, while its state holds nothing: it may be lost, or
        another's of that name may be elsewhere. EdgeError where AWS does not say.
        """
        from automation.account.orphan_search import find_namesakes
        from components.settings import validate

        if deployment.get("resources") or deployment.get("pending_operations"):
            return ()
        return find_namesakes(self.commands.environment, validate(config).regions, self.client)

    def namesake_words(self, found: "Sequence[Thing]") -> list[str]:
        """What is told of namesakes: nothing can be done about them from here."""
        from automation.account.orphans import listed

        if not found:
            return []
        name, count = self.commands.environment, "one object" if len(found) == 1 else f"{len(found)} objects"
        return [
            f"The state of '{name}' holds nothing, and AWS has {count} with its name (tag edge-inference:stack):",
            *listed(found),
            "Nobody can tell whether they are yours: another state may hold them. None is touched; `up` deploys beside them.",
            "  -> " + "\n     ".join(NAMESAKE_REMEDIES),
        ]

    def words(self, found: "Sequence[Thing]") -> list[str]:
        """What is told of what was found, with the command that removes it; nothing where nothing was."""
        from automation.account.orphans import listed

        if not found:
            return []
        one = len(found) == 1
        title = f"AWS has {'one object' if one else f'{len(found)} objects'} of this deployment that its state does not know:"
        return [title, *listed(found), f"  -> {self.commands.edge('sweep')}   # removes {'it' if one else 'them'}"]

    def refuse(self, found: "Sequence[Thing]", why: str, operation: str) -> None:
        """OrphansError where something was found, which says how the operation goes on."""
        if found:
            raise OrphansError("\n".join([why, *self.words(found), f"     {self.commands.again(operation)}   # goes on then"]))

    def advice(self, text: str, find: "Callable[[], Sequence[Thing]]") -> list[str]:
        """What is said of a failure that only an orphan explains: which it is. Nothing of any other."""
        if not _ONLY_AN_ORPHAN.search(text):
            return []
        try:
            found = find()
        except EdgeError as error:
            return [f"What is in the way may be a killed run's: {error}"]
        if not found:
            return ["AWS has nothing of this deployment beside its state: what is in the way belongs to somebody else"]
        return ["\n".join(["What is in the way was made by a run that was killed before it was recorded.", *self.words(found)])]

    def _no_id(self) -> str:
        name = self.commands.environment
        return (
            f"the state of '{name}' keeps no deployment id, so what AWS has beside it cannot be told from another's\n"
            f"  -> {self.commands.edge('up')}   # makes one, and tags all that the state holds\n"
            "     aws resourcegroupstaggingapi get-resources --region REGION "
            f"--tag-filters Key=edge-inference:stack,Values={name}   # lists what carries the name, also another stack's of it"
        )
