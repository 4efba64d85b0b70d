"""What a summary of a run holds: the types, as they are written to JSON. A contract: fields are added, never changed.

Leaves out how they are filled: summary.py does, and words.py the sentences.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ttft import statistics
from ttft.samples import Connection, ServerView


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Simulated(_Model):
    """What of the run was not real. Every sentence with a number in it says so."""

    network: bool
    model: bool

    @property
    def parts(self) -> tuple[str, ...]:
        """The simulated parts by name."""
        return tuple(name for name, is_simulated in (("network", self.network), ("model", self.model)) if is_simulated)


class TargetResult(_Model):
    """One target over one kind of connection at one prompt length."""

    name: str
    site: str
    city: str | None
    url: str
    connection: Connection
    prompt_tokens: int = Field(description="Wanted length, the point of a sweep.")
    counted_prompt_tokens: float | None = Field(description="Median length as the server counts it; null where it does not.")
    simulated: tuple[str, ...] = Field(description="What of these numbers is simulated: network, model.")
    samples: int
    errors: int
    failures: dict[str, int] = Field(description="Errors by kind.")
    messages: dict[str, str] = Field(description="By kind, the first message.")
    ttft_ms: statistics.Quantiles
    network_ms: statistics.Quantiles
    generation_ms: statistics.Quantiles
    parts_ms: dict[str, float] = Field(description="Medians of dns, tcp, tls, write, headers, first_event.")
    split: dict[str, int] = Field(description="What the network's share rests on, by number of samples.")
    rtt_ms: float | None = Field(description="Median round trip by TCP_INFO, the second witness of the network.")
    inter_token_ms: statistics.Quantiles = Field(description="Of each request's median time between tokens.")
    output_tokens_per_second: statistics.Quantiles = Field(description="Of each request, after its first token.")
    total_ms: statistics.Quantiles
    send_lag_ms: statistics.Quantiles = Field(description="How late requests were sent (open loop); part of TTFT.")
    cpu_ms_per_request: float | None = Field(description="CPU time of this client.")
    under_slo: statistics.Share | None
    budget_left_ms: tuple[float, float] | None = Field(description="What the median TTFT leaves of the shorter, longer budget.")
    drift: statistics.Drift | None


class Part(_Model):
    """A difference's share that is the network's, or the generation's."""

    median_ms: float
    low_ms: float | None
    high_ms: float | None


class Difference(_Model):
    """How a and b compare for the clients of one city: a minus b, negative where a answers sooner."""

    a: str = Field(description="URL of a.")
    b: str
    a_name: str
    b_name: str
    a_site: str
    b_site: str
    city: str | None
    connection: Connection
    prompt_tokens: int
    simulated: tuple[str, ...]
    rounds: int = Field(description="Rounds in which both answered.")
    median_ms: float
    low_ms: float | None = Field(description="null: too few rounds for an interval.")
    high_ms: float | None
    sooner: Literal["a", "b"] | None = Field(description="null: the interval includes 0, or there is none.")
    network: Part | None = Field(description="null where a request could not be split.")
    generation: Part | None


class SweepPoint(_Model):
    """The nearer and the farther site at one prompt length."""

    prompt_tokens: int
    nearer_ms: float
    farther_ms: float
    gain_ms: float
    gain_low_ms: float | None
    gain_high_ms: float | None
    share: float = Field(description="The gain as a share of the farther site's TTFT.")
    matters: bool
    why_not: str | None


class Sweep(_Model):
    """Two sites over prompt lengths, and from where on the nearer one no longer matters."""

    city: str | None
    connection: Connection
    nearer: str
    farther: str
    simulated: tuple[str, ...]
    points: tuple[SweepPoint, ...]
    negligible_share: float
    break_even_tokens: int | None = Field(description="The first measured length from which on it no longer matters.")
    matters_up_to_tokens: int | None = Field(description="The last measured length before that; break-even lies between.")


class Slo(_Model):
    """The service level that was asked for, and whether every target kept it."""

    limit_ms: float
    needed_share: float
    met: bool
    missed_by: tuple[str, ...]


class Budget(_Model):
    """What a conversation leaves for network and model."""

    conversation_ms: tuple[float, float]
    device_ms: float
    left_ms: tuple[float, float]


class Headline(_Model):
    """One sentence with the answer."""

    city: str | None
    connection: Connection
    text: str


class Summary(_Model):
    """All of a run but its raw samples. A contract: fields are added, never changed."""

    format: Literal[1] = 1
    headlines: tuple[Headline, ...]
    simulated: Simulated
    statement: str = Field(description="What was real and what was simulated.")
    interrupted: bool
    rounds_done: int
    setup: dict[str, JsonValue]
    conventions: dict[str, str]
    targets: tuple[TargetResult, ...]
    differences: tuple[Difference, ...]
    sweeps: tuple[Sweep, ...]
    slo: Slo | None
    budget: Budget
    server_views: tuple[ServerView, ...]
    notes: tuple[str, ...]


def summary_schema() -> dict[str, JsonValue]:
    """The JSON Schema of a written summary."""
    schema: dict[str, JsonValue] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return schema | Summary.model_json_schema(mode="serialization")
