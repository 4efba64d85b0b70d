"""What a plan changes in the config's own terms, and what of it cannot be undone.

Data only; sites/config_plan.py makes it, commands/plan_words.py tells it. Leaves out what it means for users (rollout.py).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Effect = Literal["added", "removed", "changed", "unknown"]


@dataclass(frozen=True)
class ConfigChange:
    """One thing that will be another."""

    key: str
    """Where it stands in the config: `sites`, `access.clientCidrs`, `apiKeys`, `routing.policy`."""
    effect: Effect
    """`unknown`: the release that deployed it has not recorded what was there before."""
    what: str
    """In words: `us-west-2-den-1a (Denver): 1 x g4dn.2xlarge`. Of a key its name, never its value."""
    before: Any = None
    after: Any = None


@dataclass(frozen=True)
class ConfigPlan:
    """Everything that changes."""

    is_first: bool
    """Whether nothing of it is deployed yet."""
    changes: tuple[ConfigChange, ...]
    for_good: tuple[str, ...] = ()
    """What cannot be undone, in words."""

    def described(self) -> Mapping[str, Any]:
        """As `edge plan --json` prints it."""
        return {"is_first": self.is_first, "changes": [asdict(each) for each in self.changes], "for_good": list(self.for_good)}
