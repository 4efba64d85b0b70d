"""`edge plan`: what `up` would change, in the config's terms; and the same before the question of `up`.

Left out: the words themselves (plan_words.py, rollout_words.py).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from automation.commands.options import EnvironmentName, JsonFlag, LocalFlag, open_environment
from automation.commands.telling import described, price_lines, told, where
from automation.commands.terminal import say, show, show_json

if TYPE_CHECKING:
    from automation.engine.results import Plan
    from automation.environment import Environment


def plan(
    env: EnvironmentName,
    local: LocalFlag = False,  # noqa: FBT002
    as_json: JsonFlag = False,  # noqa: FBT002
    details: Annotated[bool, typer.Option("--details", help="And the engine's resources, one by one.")] = False,  # noqa: FBT002
) -> None:
    """Show what `up` would change; change nothing.

    Example: edge plan prod
    """
    environment = open_environment(env, local=local)
    if not as_json:
        tell_plan(environment, show, details=details)
        return
    planned = environment.plan()
    show_json(
        {
            "config": planned.config.described(),
            "changes": dict(planned.counts),
            "seconds": round(planned.seconds, 1),
            "resources": described(planned.resources),
            "price": {**planned.price.described(), "simulated": environment.on_local_cloud},
            "rollout": planned.rollout and planned.rollout.described(),
        }
    )


def tell_plan(environment: "Environment", tell: Callable[[str], None], *, details: bool = False) -> "Plan":
    """Makes a plan, and tells it by `tell`."""
    from automation.commands.plan_words import paragraph, plan_lines, resource_lines

    with told("Plan", environment, is_plan=True) as on_event:
        planned = environment.plan(on_event)
    say(f"Planned in {planned.seconds:.1f} s; nothing was changed.")
    first = ", for the first time" if planned.config.is_first else ""
    tell(f"'{environment.name}' on {where(environment)}{first}:")
    lines = plan_lines(planned)
    for line in lines:
        tell(line)
    for line in (*paragraph("change", str(planned.price)), *price_lines("price     ", environment, planned.price.after)):
        tell(line)
    for line in resource_lines(planned.resources, planned.counts) if details else ():
        tell(line)
    return planned
