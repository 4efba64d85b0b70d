"""Takes an environment from nothing to serving, and looks after it, from Python. Runs in a script, a notebook or a service.

.venv/bin/python docs/examples/deploy.py local       # on the local cloud: no AWS account, nothing is real
.venv/bin/python docs/examples/deploy.py prod        # on AWS
"""

import sys

from automation import EdgeError, Environment, Run
from automation.engine.events import LaunchWaits, SiteProgress


def deploy(environment: Environment) -> None:
    """Deploys, telling how far each site is, and shows what came of it."""
    plan = environment.plan()
    print(f"plan: {dict(plan.counts)}")
    for change in plan.resources:
        print(f"  {change.operation} {change.name} ({change.kind}) {', '.join(change.differs)}")

    # Events as an iterator: the run is in a thread of its own. Or as a callback: environment.up(print)
    run = Run(environment.up)
    for event in run:
        if isinstance(event, SiteProgress):
            print(f"{event.seconds:6.1f} s  {event.zone}: {event.stage} {event.state}")
        elif isinstance(event, LaunchWaits):
            print(event.text)  # environment.interrupt() would stop here
    changes = run.result()
    print(f"up: {dict(changes.counts)} in {changes.seconds:.0f} s, log: {changes.log}")

    for zone, url in environment.outputs()["endpoint_urls"].items():
        print(f"{zone} serves {url}")
    drift = environment.drift()
    print(f"drift: {[change.name for change in drift.resources] or 'none'}")


def main() -> None:
    """What goes wrong is an EdgeError, with what to do about it and the exit code that `edge` gives."""
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit(f"usage: {sys.argv[0]} ENVIRONMENT   # such as local: the name in Pulumi.NAME.yaml")
    try:
        deploy(Environment(sys.argv[1], say=print))
    except EdgeError as error:
        print(f"error: {error}\nlog: {error.log}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
