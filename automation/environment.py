"""Environment: one environment's stack, driven over the very program that `pulumi up` runs.

Local programs only (the project folder), so that the shell, CI and Python all take the same door. Blocking: an engine run is a
process of its own, and a thread is enough to wait for it. No signal handlers, no global state: safe in a notebook or a service.
A thin front: what is deployed is told by engine/deployed.py, what runs do by runs.py, what is asked of the sites by sites/.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from automation.engine.events import OnEvent
from automation.engine.results import Changes, Drift, Inventory, Plan
from automation.errors import CapacityError
from automation.runs import Runs
from automation.sites.deployed_sites import DeployedSites

if TYPE_CHECKING:
    from automation.account.acme_client import Authority
    from automation.account.orphans import Thing
    from automation.account.sweep import Swept
    from automation.sites.ask import OnText, Question, Reply
    from automation.sites.bench import Clients, Progress
    from automation.sites.certificate import Renewal
    from automation.sites.doctor import Examination
    from automation.sites.resolution import Resolution
    from automation.sites.rotation import Kind, Rotation
    from automation.sites.status import Status
    from automation.sites.usage import Usage
    from ttft.samples import Run
    from ttft.schedule import Plan as BenchPlan

Say = Callable[[str], None]


class Environment(DeployedSites):
    """An environment by name: `Environment("prod")` on AWS, `Environment("prod", on_local_cloud=True)` rehearses it.

    `Environment("local")` is always on the local cloud, which is started where it does not run. `directory` holds that cloud
    and the engine, `stack_files` the Pulumi.NAME.yaml, `logs` a log for each run (default: beside the cloud, or in `.edge/logs`
    beside the stack files); `say` is told what is being prepared.

    Methods raise EdgeError subclasses (errors.py), never an engine's traceback. They may be called from any thread, also where
    an asyncio loop runs (they block it: `asyncio.to_thread`); a second run of one environment at once is refused.
    """

    @cached_property
    def _runs(self) -> Runs:
        return Runs(self)

    def plan(self, on_event: OnEvent | None = None) -> Plan:
        """What `up` would change, resource by resource, and what that costs; changes nothing."""
        return self._runs.plan(on_event)

    def up(
        self,
        on_event: OnEvent | None = None,
        *,
        site: str | None = None,
        replace_hosts: Sequence[str] = (),
        all_at_once: bool = False,
        fallback: bool = False,
    ) -> Changes:
        """Deploys: afterwards every replica of the config serves. DeploymentFailedError names what does not; one site that
        fails does not keep others from being made, but those that served and wait for it are not touched. What is gone, stopped
        or dead is mended though nothing has changed. Hosts that are stopped or replaced go one after another.

        `site`: the zone of the only site that is brought up to the config. `replace_hosts`: hosts (`ZONE` or `ZONE-N`) that are
        replaced though nothing in the config says so. `all_at_once`: nothing waits for anything, and nobody is led elsewhere.
        `fallback`: where a zone has no capacity, the next of its `instanceTypes` is put first in the stack file.

        CapacityError where a zone has no GPU for a host that is to be launched: nothing was changed.
        """
        from automation.sites.capacity import Fallback
        from automation.up import UpOptions

        options = UpOptions(site, tuple(replace_hosts), all_at_once=all_at_once)
        types = Fallback(self)
        while True:
            try:
                return self._runs.up(on_event, options)
            except CapacityError as error:
                if not fallback:
                    raise
                types.move_on(error)

    def refresh(self, on_event: OnEvent | None = None) -> Changes:
        """Reads back what is really there into the state; creations that were cut off are forgotten, and told by `say`.

        What AWS has of the environment beside its state is listed, and not touched: `sweep` removes it.
        """
        return self._runs.refresh(on_event)

    def drift(self, on_event: OnEvent | None = None) -> Drift:
        """Where AWS is not as the state says, and what others added inside our own; changes nothing, there or in the state."""
        return self._runs.drift(on_event)

    def destroy(self, on_event: OnEvent | None = None) -> Changes:
        """Removes everything that the environment deployed; on the local cloud also the stack itself.

        ProtectedError where it is protected, ForeignAccountError where the credentials are of another account than the one that
        it is deployed in: nothing is changed then. OrphansError where AWS has something of it afterwards.
        """
        return self._runs.destroy(on_event)

    def plan_destroy(self) -> Inventory:
        """What `destroy` would remove; ProtectedError and ForeignAccountError as `destroy` itself."""
        return self._runs.plan_destroy()

    def sweep(self, chosen: "Sequence[Thing]") -> "Swept":
        """Removes those of `chosen` (what `orphans` found) that still are in no state; what a run makes meanwhile is not of them.

        EnvironmentBusyError while a run is at work, here or on another machine.
        """
        return self._runs.sweep(chosen)

    def interrupt(self) -> None:
        """Asks the run that is at work to stop, from any thread. Once: the steps at work are finished, no other is begun.
        Twice: they are cut off. The run then raises InterruptedRunError. Without a run: nothing.
        """
        self._runs.interrupt()

    def unprotect(self, zone: str | None = None) -> tuple[str, ...]:
        """Takes the protection off everything, or off a zone's resources, until the next `up`; the names of what had it."""
        return self._runs.unprotect(zone)

    def cancel(self) -> None:
        """Removes the lock that a killed run left on the state; EnvironmentBusyError where a run of this machine is at work."""
        self._runs.cancel()

    def store_drained(self, zones: Sequence[str]) -> None:
        """Stores in the config which sites are to get no users; changes no records."""
        self._runs.store_drained(zones)

    def reroute(self, drained: Sequence[str], on_event: OnEvent | None = None) -> Changes:
        """Stores which sites get no users, and brings health checks and records, and nothing else, up to the config."""
        return self._runs.reroute(drained, on_event)

    def store_secrets(self, values: Mapping[str, str]) -> None:
        """Stores secret config values, encrypted by the stack's secrets provider."""
        self._runs.store_secrets(values)

    def certificate(self, authority: "Authority", if_expires_in: timedelta | None = None) -> "Renewal":
        """Obtains a certificate for the service and its sites by ACME, and stores it in the stack, where the next `up` finds it.

        Changes TXT records of the hosted zone for a moment, and the stack file. `if_expires_in`: not where the stored one is of
        the same server, fits, and is good for longer.
        """
        from automation.sites.certificate import renew

        return renew(self, authority, if_expires_in)

    def plan_rotation(
        self, kind: "Kind", *, key: str | None = None, finish: bool = False, token: str | None = None
    ) -> "Rotation":
        """What making a secret anew would replace or reload; changes nothing. `key`, `finish`: of an API key; `token`: Hugging
        Face's. UsageError where it is not possible.
        """
        from automation.sites.rotation import plan_rotation

        return plan_rotation(self, kind, key=key, finish=finish, token=token)

    def store_rotation(self, rotation: "Rotation") -> None:
        """Stores the secrets of a planned rotation; `up` brings them about."""
        from automation.sites.rotation import store_rotation

        store_rotation(self, rotation)

    def restart(self, zone: str, replica: int | None = None) -> None:
        """Starts a site's servers anew, one replica after another; returns when each has generated a token."""
        from automation.sites.restart import restart

        restart(self, zone, replica, self.say)

    def usage(self, since: datetime | None = None) -> "Usage":
        """Requests, bytes and seconds by the name of the API key, by the proxies' logs. NothingDeployedError without a proxy."""
        from automation.sites.usage import usage

        return usage(self, since)

    def resolve(self, origin: str) -> "Resolution":
        """Which site a client in a city, or at an address, gets at this moment, and why. UsageError for an unknown city."""
        from automation.sites.resolution import locate

        client = locate(origin, self.arguments, on_local_cloud=self.on_local_cloud)
        return self.routes().resolve(client)

    def drain(self, zone: str, on_event: OnEvent | None = None) -> Changes:
        """Sends no more users to a site, and returns when none is served there any more; the site goes on running."""
        from automation.sites.drain import take_out, wait_until_unused

        changes = take_out(self, zone, on_event)
        wait_until_unused(self, zone, self.say)
        return changes

    def undrain(self, zone: str, on_event: OnEvent | None = None) -> Changes:
        """Sends users to a drained site again; each comes back within the records' TTL."""
        from automation.sites.drain import put_back

        return put_back(self, zone, on_event)

    def bench(
        self, plan: "BenchPlan | None" = None, clients: "Clients | None" = None, on_progress: "Progress | None" = None
    ) -> "Run":
        """Measures the time to first token of every site that serves, side by side; `ttft.summary.summarize` judges.

        `plan` says how (its targets are filled in), `clients` from where; by default over warm connections.
        """
        from automation.sites.bench import Clients, bench, bench_plan
        from ttft.schedule import Plan

        clients = clients or Clients()
        filled = bench_plan(self, plan or Plan(targets=(), connections=("warm",)), clients)
        return bench(filled, clients, on_progress=on_progress, say=self.say)

    def ask(self, question: "Question", on_text: "OnText" = lambda _: None) -> "Reply":
        """Asks the model as a user does: the site that the name leads to, key, TLS; `on_text` gets the answer as it comes."""
        from automation.sites.ask import ask

        return ask(self, question, on_text)

    def status(self, *, rates: bool = True) -> "Status":
        """How every site is at this moment; a dead one is part of the answer. NothingDeployedError where there are none.

        `rates`: tokens per second too, over a window of half a second.
        """
        with ThreadPoolExecutor(1) as pool:
            # The engine works while this process imports what asks the sites: that takes as long.
            reading = pool.submit(self.outputs_and_config)
            from automation.sites.status import status

            return status(self, reading, rates=rates)

    def doctor(self) -> "Examination":
        """What keeps the environment from being deployed, or from answering; changes nothing."""
        from automation.sites.doctor import examine

        return examine(self)
