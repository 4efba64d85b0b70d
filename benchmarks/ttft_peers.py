"""ttft beside its peers: error against what the server itself saw, and CPU time per request, on the same server in one run.

requests + iter_lines + json is what most scripts do; aiohttp, guidellm and aiperf are installed into environments of their own
under --environments (guidellm brings torch: 6 GB), and skipped with a word where they cannot be had. Outside CI. All on
loopback: what the network adds is the same for all.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ttft.samples import Target
from ttft.schedule import Plan, run
from ttft.selftest import quantile, server_process, truth_ms

TOKENS = 32
PINS = {"aiohttp": "aiohttp==3.13.2", "guidellm": "guidellm==0.8.1", "aiperf": "aiperf==0.13.0"}
INSTALL_SECONDS = 600
RUN_SECONDS = 300
AIOHTTP = """
import asyncio, json, sys, time
import aiohttp
url, users, requests = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
body = {"inputs": "a b c", "parameters": {"max_new_tokens": 32, "details": True}}
found = []
async def user(session):
    for _ in range(requests):
        begin, first = time.perf_counter(), None
        async with session.post(url + "/generate_stream", json=body) as response:
            async for line in response.content:
                if line.startswith(b"data:") and json.loads(line[5:])["token"]["text"] and first is None:
                    first = time.perf_counter()
        found.append((first - begin) * 1000)
async def main():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(user(session) for _ in range(users)))
begin = time.process_time()
asyncio.run(main())
print(json.dumps({"ttft_ms": found, "cpu_seconds": time.process_time() - begin}))
"""


@dataclass(frozen=True)
class Load:
    """A closed loop: so many users, each with so many requests one after another."""

    users: int
    requests: int


class UnavailableError(Exception):
    """A peer that cannot be had here."""


def ours(url: str, load: Load) -> list[float]:
    """The project's own client, through its public entry."""
    target = Target("here", url)
    plan = Plan(
        (target,),
        dialect="tgi",
        rounds=1,
        connections=("warm",),
        output_tokens=TOKENS,
        concurrency=load.users,
        requests_per_turn=load.requests,
        prompt_tokens=(20,),
    )
    return [sample.ttft_ms for sample in run(plan).samples]


def plain_requests(url: str, load: Load) -> list[float]:
    """A Session for each user, iter_lines, json: what most scripts do."""
    import requests

    body = {"inputs": "a b c", "parameters": {"max_new_tokens": TOKENS, "details": True}}
    found: list[float] = []

    def user() -> None:
        session = requests.Session()
        for _ in range(load.requests):
            begin, first = time.perf_counter(), None
            with session.post(f"{url}/generate_stream", json=body, stream=True, timeout=60) as response:
                for line in response.iter_lines():
                    if line.startswith(b"data:") and json.loads(line[5:])["token"]["text"] and first is None:
                        first = time.perf_counter()
            found.append(((first or begin) - begin) * 1000)

    users = [threading.Thread(target=user) for _ in range(load.users)]
    for each in users:
        each.start()
    for each in users:
        each.join()
    return found


IN_THIS_ENVIRONMENT: dict[str, Callable[[str, Load], list[float]]] = {"ttft": ours, "requests": plain_requests}


def environment(name: str, directory: Path) -> Path:
    """Folder with the programs of a peer's own environment. Raises UnavailableError."""
    programs = directory / name / "bin"
    if not (programs / name).exists() and not (directory / name / "installed").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", directory / name], check=True, capture_output=True)
            command = [programs / "pip", "install", "--quiet", PINS[name]]
            subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"not installed within {INSTALL_SECONDS} s") from error
        except subprocess.CalledProcessError as error:
            raise UnavailableError(f"not installed: {error.stderr.decode().strip().splitlines()[-1:]}") from error
        (directory / name / "installed").touch()
    return programs


def tokenizer_directory(directory: Path) -> Path:
    """A tokenizer of whole words, since the peers want one of Hugging Face's and there may be no way to fetch it."""
    path = directory / "tokenizer"
    path.mkdir(parents=True, exist_ok=True)
    words = {"<s>": 0, "[UNK]": 1, **{f"w{number}": number + 2 for number in range(2000)}}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
    whole: dict[str, object] = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": model}
    (path / "tokenizer.json").write_text(json.dumps(whole))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "bos_token": "<s>", "eos_token": "<s>"}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


def command_of(name: str, url: str, load: Load, directory: Path, output: Path) -> list[str]:
    """Command line of a peer."""
    programs, count = environment(name, directory), str(load.users * load.requests)
    if name == "aiohttp":
        return [str(programs / "python"), "-c", AIOHTTP, url, str(load.users), str(load.requests)]
    tokenizer = str(tokenizer_directory(directory))
    if name == "guidellm":
        backend = f"--backend kind=openai_http,target={url},model=selftest,request_format=/v1/completions"
        profile = f"--profile kind=concurrent,streams={load.users} --constraint kind=max_requests,count={count}"
        data = f"--data kind=synthetic_text,prompt_tokens=20,output_tokens={TOKENS} --tokenizer kind=hf_auto,model={tokenizer}"
        options = f"{backend} {profile} {data} --output kind=json,path={output}/report.json --disable-console"
        return [str(programs / name), "run", *options.split()]
    options = f"--model selftest --endpoint-type completions --streaming --use-legacy-max-tokens --tokenizer {tokenizer}"
    sizes = f"--synthetic-input-tokens-mean 20 --output-tokens-mean {TOKENS} --ui none --output-artifact-dir {output}"
    counts = f"--concurrency {load.users} --request-count {count}"
    return [str(programs / name), "profile", "--url", url, *options.split(), *sizes.split(), *counts.split()]


def reported(name: str, output: str, directory: Path) -> tuple[list[float], float | None]:
    """First-token times in milliseconds from what a peer wrote, and its own CPU seconds, if it says. Raises UnavailableError."""
    try:
        if name == "guidellm":
            report = json.loads(next(directory.rglob("*.json")).read_text())
            return [each["time_to_first_token_ms"] for each in report["benchmarks"][0]["requests"]["successful"]], None
        if name == "aiperf":
            lines = next(directory.rglob("profile_export.jsonl")).read_text().splitlines()
            return [json.loads(line)["metrics"]["time_to_first_token"]["value"] for line in lines], None
        own = json.loads(output.splitlines()[-1])
        return own["ttft_ms"], own["cpu_seconds"]
    except (StopIteration, LookupError, ValueError) as error:
        raise UnavailableError(f"its report is not as expected: {error!r}") from error


def measured(name: str, url: str, load: Load, directory: Path) -> tuple[list[float], float]:
    """First-token times of one run in a process of its own, and CPU milliseconds per request.

    Of guidellm and aiperf, which are many processes, their start counts; of the others it does not.
    """
    with tempfile.TemporaryDirectory() as output:
        if name in IN_THIS_ENVIRONMENT:
            command = [sys.executable, __file__, "--client", name, url, str(load.users), str(load.requests)]
        else:
            command = command_of(name, url, load, directory, Path(output))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        surroundings = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        try:
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=RUN_SECONDS, env=surroundings)
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"not done within {RUN_SECONDS} s") from error
        except subprocess.CalledProcessError as error:
            raise UnavailableError(f"fails: {(error.stderr or error.stdout).strip().splitlines()[-1:]}") from error
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found, cpu_seconds = reported(name, done.stdout, Path(output))
    if cpu_seconds is None:
        cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found, cpu_seconds * 1000 / (load.users * load.requests)


def main() -> None:
    """Print one line for each peer, load and repetition, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", nargs=4, metavar=("NAME", "URL", "USERS", "REQUESTS"), help=argparse.SUPPRESS)
    parser.add_argument("--peers", nargs="+", default=[*IN_THIS_ENVIRONMENT, *PINS])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--requests", type=int, default=30, help="of each of 32 users; a single user makes twice as many")
    parser.add_argument("--environments", type=Path, default=Path(tempfile.gettempdir()) / "ttft-peers")
    arguments = parser.parse_args()
    if arguments.client:
        name, url, users, requests = arguments.client
        begin = time.process_time()
        found = IN_THIS_ENVIRONMENT[name](url, Load(int(users), int(requests)))
        print(json.dumps({"ttft_ms": found, "cpu_seconds": time.process_time() - begin}))
        return
    print("| peer | users | error of median ms | error of p99 ms | CPU ms per request |\n|---|---|---|---|---|")
    loads = [Load(1, arguments.requests * 2), Load(32, arguments.requests)]
    unavailable: dict[str, str] = {}
    rows: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    with server_process() as port:
        url = f"http://127.0.0.1:{port}"
        for _ in range(arguments.repetitions):
            for load in loads:
                for name in arguments.peers:
                    if name not in unavailable:
                        try:
                            found, cpu = measured(name, url, load, arguments.environments)
                        except UnavailableError as error:
                            unavailable[name] = str(error)
                            continue
                        truth = truth_ms(url)[-len(found) :]
                        errors = [quantile(found, share) - quantile(truth, share) for share in (0.5, 0.99)]
                        rows.setdefault((name, load.users), []).append((errors[0], errors[1], cpu))
    for (name, users), runs in sorted(rows.items(), key=lambda row: row[0][1]):
        cells = (f"{statistics.median(run):+.2f} ({min(run):+.2f} to {max(run):+.2f})" for run in zip(*runs, strict=True))
        print(f"| {name} | {users} | {' | '.join(cells)} |")
    for name, why in unavailable.items():
        print(f"\n{name}: skipped, {why}")


if __name__ == "__main__":
    main()
