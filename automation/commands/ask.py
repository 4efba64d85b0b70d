"""`edge ask`: one question to a deployment. The answer is the result, as it comes; who gave it, and how soon, is talk.

Left out: finding the site and asking it (sites/ask.py).
"""

import sys
from typing import Annotated

import typer

from automation.commands.options import EnvironmentName, JsonFlag, LocalFlag, open_environment
from automation.commands.terminal import say, show, show_json
from components.problems import printable


def ask(  # noqa: PLR0913, PLR0917 - an option each
    env: EnvironmentName,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask the model, in quotes.")],
    origin: Annotated[str | None, typer.Option("--from", metavar="CITY|ADDRESS", help="Ask as users there do.")] = None,
    zone: Annotated[str | None, typer.Option("--zone", metavar="ZONE", help="Ask this site, whoever it is for.")] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", metavar="N", min=1, help="The longest answer.")] = 128,
    local: LocalFlag = False,  # noqa: FBT002
    as_json: JsonFlag = False,  # noqa: FBT002
) -> None:
    """Ask the model a question, as its users do.

    By the service's name, with key and TLS; the answer streams to standard output.

    Example: edge ask local --from Honolulu "What is the edge?"
    """
    from automation.sites.ask import Question

    environment = open_environment(env, local=local)
    answer = _Answer(is_shown=not as_json)
    try:
        reply = environment.ask(Question(question, origin, zone, max_tokens), answer.take)
    finally:
        answer.end()
    if as_json:
        show_json(reply.described())
        return
    say(f"{reply.way.zone} ({reply.city}) answered: {reply.way.chosen}.")
    simulated = ", simulated as the model and the network are" if reply.simulated else ", connection included"
    say(f"First token after {reply.first_token_ms:.0f} ms, {reply.tokens} tokens in {reply.total_ms:.0f} ms{simulated}.")
    if origin and not reply.simulated:
        say(f"The question left from this machine, not from {origin}: the times are this machine's.")


class _Answer:
    """An answer on standard output, as it comes."""

    def __init__(self, *, is_shown: bool) -> None:
        self._is_shown, self._line_is_open = is_shown, False

    def take(self, text: str) -> None:
        """The next words; of what steers a terminal, nothing takes effect."""
        if self._is_shown:
            sys.stdout.write(printable(text))
            sys.stdout.flush()
            self._line_is_open = not text.endswith("\n")

    def end(self) -> None:
        """Ends the line, also of an answer that broke off."""
        if self._line_is_open:
            show("")
