"""serve.py SPEC_FILE: has this host serve what the spec says, as one transaction: drain, stop, start, judge, return, or go back.

Started detached by serve.sh, so that nothing but the host's own end leaves it half-way. What the spec holds is said by
components/host_steps.py. Its last line is JSON: what came of it. Leaves out image and weights, which were fetched before.
"""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import containers
import door_unit
import leave
import probe
import serving_record
from common import StepError, pause, say, try_docker, wait_until
from containers import FAILED, Spec

_LOG_LINES = 20
_ENDINGS_OF_THE_ONE_BEFORE = 3


@dataclass
class Outcome:
    """What came of a transaction: its last line."""

    digest: str
    changed: bool = False
    """Whether another server was started, or the proxy anew."""
    protected: bool = False
    """Whether health checkers led users elsewhere meanwhile."""
    cut: int = 0
    """How many requests outlasted the drain."""
    first_token_ms: dict[str, float | None] = field(default_factory=lambda: {"before": None, "after": None})
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each part took."""


class Transaction:
    """One host's way from what it serves to what it shall."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.outcome = Outcome(spec["digest"])
        self._is_closed = self._is_proxy_away = False
        self._door_before: dict[str, Any] | None = None
        self._began = time.monotonic()

    def run(self) -> Outcome:
        """Converge the host; StepError where the wanted server does not serve, with what serves instead."""
        self._door_before = door_unit.installed()
        # Its script alone: where the server is, and its port, may be about to change.
        door_unit.install(self._door_before or self.spec["door"])
        proxy_change = containers.proxy_change(self.spec["proxy"])
        runs = containers.runs(self.spec["digest"])
        try:
            if runs and proxy_change in {"", "reload"}:
                self._stay()
                door_unit.install(self.spec["door"])
                if proxy_change:
                    containers.reload_proxy(self.spec)
                    say("the proxy has its new keys, certificate or config; no connection was cut")
            else:
                self._change(proxy_change, starts_server=not runs)
        finally:
            self._open()
        self._return()
        serving_record.forget_releases(Path(__file__).resolve().parent)
        say("healthy, first token generated")
        return self.outcome

    def _stay(self) -> None:
        """The wanted server runs already; it may be loading, as after a boot."""
        try:
            self._get_ready()
            self._write_down()
        except StepError as error:
            raise self._gone_back(error) from error

    def _change(self, proxy_change: str, *, starts_server: bool) -> None:
        """Take away what serves, and put in its place what shall serve."""
        # One that hangs is at work.
        if probe.is_healthy(self.spec["door"], self.spec["door"]["grace_seconds"]):
            self._drain()
            self._measure("before")
        self._mark("drain")
        try:
            if proxy_change:
                self._is_proxy_away = True
                containers.stop_proxy()
            door_unit.install(self.spec["door"])
            if starts_server:
                door_unit.proven(yes=False)
                containers.run_server(self.spec)
                say(f"started {self.spec['weights'].replace('--', '/', 1).replace('@', ' at ')}")
            self._mark("stop")
            self._get_ready()
            if proxy_change and self.spec["proxy"]:
                containers.run_proxy(self.spec)
                say(f"the proxy answers at {self.spec['proxy']['url']}")
            self._mark("load")
            self._judge()
            self._write_down()
        except (StepError, OSError) as error:
            raise self._gone_back(error) from error
        containers.forget_proxy()
        self.outcome.changed = True

    # Away and back

    def _drain(self) -> None:
        """Have users led elsewhere while the server serves on, then let it finish what it is at."""
        rollout = self.spec["rollout"]
        if rollout["is_alone"]:
            say("not protected: no other replica is there to take its users; changed at once")
            return
        if leave.is_at_once():
            say("not protected: --all-at-once waits for nothing")
            return
        self._is_closed = True
        self.outcome.protected, self.outcome.cut = leave.close_and_wait(self.spec["door"], self.spec["busy_metrics"], rollout)

    def _open(self) -> None:
        door_unit.reopen()

    def _return(self) -> None:
        """Until the checkers must have seen that the host is back: only then may the next one go."""
        self._mark("judge")
        if self._is_closed and self.outcome.protected:
            pause(self.spec["rollout"]["notice_seconds"], "health checkers to see that this host is back")
        self._mark("return")

    def _gone_back(self, error: StepError | OSError) -> StepError:
        """The server before serves again, if it can; the error, with what is the case then."""
        hint = error.hint if isinstance(error, StepError) else "sudo df /opt/edge-inference"
        print(containers.cut(try_docker("logs", "--tail", str(_LOG_LINES), containers.SERVER)), file=sys.stderr)
        door_unit.proven(yes=False)
        if self._is_proxy_away:  # it may have the port that the server before needs
            containers.bring_proxy_back()
        has_server = containers.go_back()
        door_unit.install(self._door_before or self.spec["door"])
        if not has_server:
            state = "this host serves nothing now"
        elif self._becomes_ready():
            door_unit.proven(yes=True)
            state = "the server before it serves again"
        else:
            state = "the server before it is started again, but has generated no token"
        self._open()
        return StepError(f"{error}; above are the last lines of the server's log; {state}", hint)

    # The server

    def _get_ready(self) -> None:
        """Wait until the server has generated a token; started once more with the fallback where its log asks for that."""
        reason = self._serves()
        if reason and self._is_in_trouble():
            say(f"{reason}: trouble that the fallback is for; starting once more with {' '.join(self.spec['fallback'])}")
            containers.run_server(self.spec, "--label", "edge-inference.fallback=yes", *self.spec["fallback"])
            reason = self._serves()
        if reason:
            raise StepError(reason, f"sudo docker logs --tail 200 {FAILED}")
        door_unit.proven(yes=True)

    def _serves(self, what: str = "the model to load", endings: int = 1) -> str:
        """Why the server does not get ready within its budget, or before it ended so often; nothing where it does."""
        lives = {containers.inspect("{{.RestartCount}} {{.Id}}")}

        def healthy_or_dead() -> bool:
            if probe.is_healthy(self.spec["door"]):
                return True
            # Docker's restart policy would start it again and again.
            lives.add(containers.inspect("{{.RestartCount}} {{.Id}}"))
            return len(lives) > endings

        if not wait_until(self.spec["ready_seconds"], what, healthy_or_dead):
            return f"not healthy within {self.spec['ready_seconds']} s"
        if len(lives) > endings:
            return "the server's container ended"
        return "" if probe.generates(self.spec["door"]) else "healthy, but no token was generated"

    def _becomes_ready(self) -> bool:
        """Whether the server before generates a token again. What the other had of the GPU may be free only a little later."""
        return not self._serves("the server before to load", endings=_ENDINGS_OF_THE_ONE_BEFORE)

    def _is_in_trouble(self) -> bool:
        if not self.spec["trouble"] or containers.inspect('{{index .Config.Labels "edge-inference.fallback"}}') == "yes":
            return False
        return re.search(self.spec["trouble"], try_docker("logs", "--tail", "200", containers.SERVER)) is not None

    # Its measure

    def _measure(self, when: str) -> None:
        try:
            median = self.outcome.first_token_ms[when] = probe.first_token_ms(self.spec["door"])
        except StepError:
            if when == "after":
                raise
            say("the server before generates no tokens: there is nothing to compare with")
            return
        say(f"median time to first token over loopback, {when}: {median:.1f} ms")

    def _judge(self) -> None:
        """Hold the new server's first tokens against what `rollout` allows."""
        self._measure("after")
        before, after = self.outcome.first_token_ms["before"], self.outcome.first_token_ms["after"] or 0.0
        limit, slowdown = self.spec["rollout"]["max_ttft_ms"], self.spec["rollout"]["max_slowdown"]
        hint = f"sudo docker logs --tail 200 {FAILED}; or another edge-inference:rollout"
        if limit and after > limit:
            raise StepError(f"its first token takes {after:.1f} ms, and rollout.maxTtftMs is {limit:g}", hint)
        if slowdown and before and after > before * slowdown:
            told = f"its first token takes {after:.1f} ms, {after / before:.2f} times as long as before"
            raise StepError(f"{told}, and rollout.maxSlowdown is {slowdown:g}", hint)

    def _write_down(self) -> None:
        known = containers.record()
        if known.get("container") == containers.inspect("{{.Id}}"):
            self.outcome.first_token_ms = known.get("first_token_ms", self.outcome.first_token_ms)
            containers.forget_previous()
            return
        if self.outcome.first_token_ms["after"] is None:
            self._judge()
        try:
            serving_record.write(self.spec, self.outcome.first_token_ms)
        except (OSError, ValueError) as error:
            raise StepError(f"what runs could not be recorded: {error}", "sudo df /opt/edge-inference") from error
        containers.forget_previous()

    def _mark(self, part: str) -> None:
        """Note how long a part took."""
        now = time.monotonic()
        self.outcome.seconds[part] = round(now - self._began, 1)
        self._began = now


def main(file: str) -> int:
    """Run the transaction of a spec; its exit status."""
    try:
        outcome = Transaction(json.loads(Path(file).read_text(encoding="utf-8"))).run()
    except StepError as error:
        print(f"serve failed: {error.reason}\n  -> {error.hint}", file=sys.stderr)
        return 1
    print(json.dumps(vars(outcome)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
