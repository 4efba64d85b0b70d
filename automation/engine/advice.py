"""The words for a run that did not end well: what happened, what stands, which command goes on from there."""

from collections.abc import Sequence
from dataclasses import dataclass

from automation.engine.causes import by_cause
from automation.engine.dial_advice import after_dials


@dataclass(frozen=True)
class Commands:
    """The commands for one environment, as a person would type them."""

    environment: str
    is_rehearsal: bool

    @property
    def is_local(self) -> bool:
        """Whether it is deployed on the local cloud."""
        return self.is_rehearsal or self.environment == "local"

    @property
    def arguments(self) -> str:
        """ENV, with what makes it the same environment."""
        return self.environment + (" --local" if self.is_rehearsal else "")

    def edge(self, verb: str) -> str:
        """`edge VERB ENV`."""
        return f"edge {verb} {self.arguments}"

    def again(self, operation: str) -> str:
        """The command that brings an operation to its end; what a drain was to change is in the config by then."""
        return self.edge("up" if operation == "drain" else operation)


def after_failure(commands: Commands, engines_text: str, errors: Sequence[str], *, has_changed: bool) -> list[str]:
    """What is said after a run that the engine ended: its own errors, and what to do where that is known.

    `engines_text` is all that the engine printed, `errors` what its events told.
    """
    told = list(errors) or last_words(engines_text)
    texts = [*by_cause(told), *after_dials(commands, told)]
    if has_changed:
        texts.append("What was finished stays. Mend the cause, then run the same command again.")
    return texts + _after_a_kill(commands, engines_text)


def after_interruption(commands: Commands, operation: str, times: int, cut_off: Sequence[str], broken_off: Sequence[str]) -> str:
    """What is said after a run that was stopped as asked, once or more often.

    `cut_off` names what was at work when the engine ended, `broken_off` says what gave up or failed then.
    """
    if times == 1:
        but = f" (but {'; '.join(broken_off)})" if broken_off else ""
        return (
            f"stopped as asked: the steps at work were finished{but}, no other was begun, the state is whole\n"
            f"  -> {commands.again(operation)}   # goes on from here"
        )
    remains = f"{', '.join(cut_off)} {'was' if len(cut_off) == 1 else 'were'} cut off: " if cut_off else ""
    return f"stopped at once: {remains}AWS may have made what the state does not know\n{recovery(commands, operation)}"


def recovery(commands: Commands, operation: str) -> str:
    """The commands, in order, after a run that was cut off: each may be run also where there is nothing for it to do."""
    lines = {
        commands.edge("cancel"): "removes the lock, if one is left on the state",
        commands.edge("refresh"): "reads back what is really there, and names what was cut off",
        commands.edge("sweep"): "removes what AWS made of that and the state does not know",
        commands.again(operation): "goes on from there",
    }
    width = max(map(len, lines))
    return "  -> " + "\n     ".join(f"{command:<{width}}   # {why}" for command, why in lines.items())


def is_about_bytes(engines_text: str) -> bool:
    """Whether the engine failed over text that is none: a config value, before the program starts, or a command's output."""
    return "string field contains invalid UTF-8" in engines_text


def after_bytes(commands: Commands, keys: Sequence[str]) -> str:
    """What is said of config values that the engine cannot hand to the program."""
    lines = [f"{commands.edge('secret set')} {key.removeprefix('edge-inference:')}" for key in keys]
    what = f"{keys[0]} is" if len(keys) == 1 else f"{', '.join(keys)} are"
    return (
        f"{what} no UTF-8 text, which the engine cannot hand to the program; nothing was changed\n  -> "
        + "\n     ".join(lines)
        + "   # again, in UTF-8: `locale` tells what this terminal writes"
    )


def last_words(text: str) -> list[str]:
    """The lines of an engine's failure that say something, where no event did."""
    lines = [line.strip().removeprefix("stderr: ") for line in text.splitlines()]
    return [line for line in lines if line.startswith("error:")] or lines[-3:]


def _after_a_kill(commands: Commands, text: str) -> list[str]:
    """What to do about a state that a run was killed over; what AWS has beside it, leftovers.py says."""
    if "failed to load checkpoint" in text:
        remedy = "edge cloud stop, then deploy again" if commands.is_local else "restore the .bak file beside it"
        return [f"The state was cut off when a run was killed\n  -> {remedy}"]
    return []
