"""How long a server takes to its first token, by instance type: as `ttft` measured it, as the caller says, or estimated.

Left out: queues, long contexts, quantised weights. No GPU was measured for the estimate.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from placement.question import Generation
from placement.world import PlacementError

ESTIMATED_ON = "2026-11-30"
_REAL_SHARE = 25 / 65
"""Of a data sheet's peak, what a prefill reaches: of a T4's 65 TFLOPS about 20 to 30."""
_GPUS: dict[str, tuple[str, float, float]] = {
    "g4dn": ("T4", 65, 320),
    "g5": ("A10G", 70, 600),
    "g6": ("L4", 121, 300),
    "g6e": ("L40S", 362, 864),
}
"""By family: the GPU, its dense float16 TFLOPS and its memory's GB/s, as data sheets have them (from memory, not looked up)."""
_BYTES_PER_PARAMETER = 2


def estimated(types: Sequence[str], billions: float, prompt_tokens: int) -> Generation:
    """Arithmetic: the prompt's multiplications, or reading all weights once, whichever takes longer. One GPU, float16."""
    times: dict[str, float] = {}
    for kind in types:
        gpu = _GPUS.get(kind.partition(".")[0])
        if gpu is None:
            raise PlacementError(f"no estimate for {kind}\n  -> --generation {kind}=MS, or {kind}=SUMMARY.json of `ttft`")
        _, tflops, gigabytes = gpu
        prefill = 2 * billions * prompt_tokens / (tflops * _REAL_SHARE)
        reading = _BYTES_PER_PARAMETER * billions / gigabytes * 1000
        times[kind] = round(max(prefill, reading), 1)
    return Generation(
        times,
        f"estimate of {ESTIMATED_ON}, by arithmetic and not measured: {billions:g} billion parameters in float16, "
        f"{prompt_tokens} prompt tokens, an idle server (placement/generation.py)",
    )


def told(words: Sequence[str], types: Sequence[str], billions: float, prompt_tokens: int) -> Generation:
    """Generation times from `TYPE=MS`, `TYPE=FILE`, or the same without a type for all; the others are estimated."""
    times: dict[str, float] = {}
    sources: list[str] = []
    for word in words:
        kind, has_type, value = word.partition("=")
        kinds = [kind] if has_type else list(types)
        if has_type and kind not in types:
            raise PlacementError(f"--generation {word}: {kind} is none of the types {', '.join(types)}\n  -> --type {kind}")
        milliseconds, source = _one(value if has_type else word, prompt_tokens)
        times |= dict.fromkeys(kinds, milliseconds)
        sources.append(f"{', '.join(kinds)}: {source}")
    missing = [kind for kind in types if kind not in times]
    if missing:
        guessed = estimated(missing, billions, prompt_tokens)
        times |= guessed.by_type_ms
        sources.append(f"{', '.join(missing)}: {guessed.source}" if sources else guessed.source)
    return Generation(times, "; ".join(sources))


def _one(value: str, prompt_tokens: int) -> tuple[float, str]:
    try:
        milliseconds = float(value)
    except ValueError:
        return _from_summary(Path(value), prompt_tokens)
    if not 0 <= milliseconds < float("inf"):
        raise PlacementError(f"--generation {value}: no time in ms")
    return milliseconds, f"{milliseconds:g} ms, as told"


def _from_summary(path: Path, prompt_tokens: int) -> tuple[float, str]:
    """The median over all targets of a summary of `ttft`, at the prompt length nearest to the wanted one."""
    found = [
        (int(target["prompt_tokens"]), float(target["generation_ms"]["p50"]), bool(target["simulated"]))
        for target in read_summary(path)["targets"]
        if target["generation_ms"]["p50"] is not None
    ]
    if not found:
        raise PlacementError(
            f"{path}: no request in it could be split into network and generation\n  -> give the time: --generation MS"
        )
    length = min((tokens for tokens, *_ in found), key=lambda tokens: abs(tokens - prompt_tokens))
    times = sorted(milliseconds for tokens, milliseconds, _ in found if tokens == length)
    simulated = ", in part SIMULATED" if any(is_simulated for *_, is_simulated in found) else ""
    words = f"measured by `ttft` with {length} prompt tokens ({path.name}){simulated}"
    return times[len(times) // 2], words


def read_summary(path: Path) -> dict[str, Any]:
    """A summary of `ttft`; PlacementError for anything else."""
    try:
        summary: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlacementError(f"{path} cannot be read: {error}") from error
    if not isinstance(summary, dict) or not isinstance(cast("dict[str, Any]", summary).get("targets"), list):
        raise PlacementError(f"{path} is no summary of `ttft`\n  -> edge bench ENV, or ttft URL --json FILE")
    return cast("dict[str, Any]", summary)
