"""A voice agent of LiveKit Agents whose model is the deployed service: `python agent.py OUTPUTS`, then type what a caller says.

One connection is kept for the whole call, opened before the first turn. A site that does not answer is passed over for the
next, by its own name. Each turn tells the time to its first token. OUTPUTS is what `edge outputs ENV --json` printed. Left out:
speech. For calls, stt=, tts= and turn detection of your choice go into AgentSession beside llm=.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

INSTRUCTIONS = "You talk on the telephone: answer in one or two short sentences."
FIRST_TOKEN_SECONDS = 2.0
"""How long a site may take before the next one is asked."""
KEPT_SECONDS = 300
"""How long an unused connection is kept: a caller may be silent for a while."""
MOST_TOKENS = 120


def base_urls(outputs: Mapping[str, Any], nearest: Sequence[str] = ()) -> list[str]:
    """The service's URL, then each site's by its own name: zones in `nearest` first, then as they were deployed.

    Without routing there are no names; then the sites' addresses.
    """
    sites: Mapping[str, Any] = outputs["sites"]
    zones = [*(zone for zone in nearest if zone in sites), *(zone for zone in sites if zone not in nearest)]
    service = outputs["service_url"]
    if not service:
        return [f"{url}/v1" for zone in zones if (url := outputs["endpoint_urls"].get(zone))]
    name = urlsplit(service).hostname or ""
    return [f"{url}/v1" for url in (service, *(service.replace(name, sites[zone]["name"], 1) for zone in zones))]


def clients(urls: Sequence[str], api_key: str) -> list[Any]:
    """A client for each URL, which keeps its connection."""
    import openai
    from httpx2 import Limits

    def client(url: str) -> Any:
        kept = openai.DefaultAsyncHttpxClient(limits=Limits(keepalive_expiry=KEPT_SECONDS))
        return openai.AsyncOpenAI(base_url=url, api_key=api_key, max_retries=0, timeout=FIRST_TOKEN_SECONDS, http_client=kept)

    return [client(url) for url in urls]


async def connect(every: Sequence[Any]) -> None:
    """Opens, or keeps open, a connection to each; a site that is dead is noticed by the turn that needs it."""
    await asyncio.gather(*(each.models.list() for each in every), return_exceptions=True)


def language_model(every: Sequence[Any], model: str) -> Any:
    """The clients as LiveKit's model: the first that gives a token."""
    from livekit.agents import llm
    from livekit.plugins import openai

    # TGI knows max_tokens alone, LiveKit's own parameter is the newer max_completion_tokens.
    models = [openai.LLM(model=model, client=each, extra_body={"max_tokens": MOST_TOKENS}) for each in every]
    return llm.FallbackAdapter(models, attempt_timeout=FIRST_TOKEN_SECONDS)


async def talk(urls: Sequence[str], model: str, api_key: str) -> None:
    """Answers each line of standard input as a turn of one call."""
    from livekit.agents import Agent, AgentSession

    every = clients(urls, api_key)
    await connect(every)
    turns = 0

    def said(event: Any) -> None:
        nonlocal turns
        if event.item.type == "message" and event.item.role == "assistant":
            turns += 1
            metrics = event.item.metrics
            first_token_ms = 1000 * metrics["llm_node_ttft"]
            print(f"agent: {event.item.text_content}")
            print(
                f"turn {turns}: first token after {first_token_ms:.0f} ms, from {metrics['llm_metadata']['model_provider']}",
                flush=True,
            )

    def listening(event: Any) -> None:
        # While the caller speaks there is time: a connection that was closed in a long silence is opened anew.
        if event.new_state == "speaking":
            tasks.add(asyncio.create_task(connect(every)))

    tasks: set[asyncio.Task[None]] = set()
    async with AgentSession(llm=language_model(every, model)) as session:
        session.on("conversation_item_added", said)
        session.on("user_state_changed", listening)
        await session.start(Agent(instructions=INSTRUCTIONS))
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            await session.run(user_input=line)


def main() -> None:
    """Reads OUTPUTS and talks. EDGE_NEAREST: zones, with commas; EDGE_MODEL: unset `tgi`; EDGE_API_KEY where there is a key."""
    outputs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    nearest = os.environ.get("EDGE_NEAREST", "").split(",")
    asyncio.run(talk(base_urls(outputs, nearest), os.environ.get("EDGE_MODEL", "tgi"), os.environ.get("EDGE_API_KEY", "none")))


if __name__ == "__main__":
    main()
