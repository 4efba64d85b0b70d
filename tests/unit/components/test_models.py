"""What is known of a model and from whom: config over Hub over table, and unknowns named."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from component_helpers import server_of

from components.engines import SERVED_MODEL_NAME, WEIGHTS_DIRECTORY, server_process
from components.models import (
    HubAnswer,
    ModelFacts,
    ask_hub,
    known_facts,
    model_problems,
    token_problem,
    unknowns,
)
from components.settings import ServerSettings

LLAMA = "meta-llama/Llama-3.2-3B-Instruct"
T4_MIB = 16384
NO_ANSWER = HubAnswer(None, "the Hub was not asked")


@dataclass
class Hub:
    """A Hugging Face Hub that answers what a test wants."""

    url: str
    status: int = 200
    body: bytes = b"{}"
    asked: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])
    """Paths with the Authorization header that came along."""

    def answer(self, body: object, status: int = 200) -> None:
        self.body, self.status = json.dumps(body).encode(), status


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, self.headers["Authorization"]))
            self.send_response(found.status)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the base class's name
            del format, args

    server = HTTPServer(("127.0.0.1", 0), Handler)
    found = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"{found.url}/")
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def known(model: str = LLAMA, hub_answer: HubAnswer = NO_ANSWER, **server: object) -> ModelFacts:
    return known_facts(ServerSettings.model_validate({"model": model, **server}), hub_answer)


# The Hub


def test_hub_knows_size_gating_and_commit(hub: Hub) -> None:
    hub.answer({"gated": "manual", "sha": "abc", "safetensors": {"parameters": {"BF16": 3_000_000_000, "F32": 12}}})
    answer = ask_hub(LLAMA, None)
    assert answer.facts
    assert (answer.facts.parameters, answer.facts.gated, answer.facts.revision) == (3_000_000_012, True, "abc")
    assert answer.silence is None
    assert hub.asked == [(f"/api/models/{LLAMA}", None), (f"/{LLAMA}/resolve/main/config.json", None)]


def test_token_goes_to_the_hub_as_its_own_tools_send_it(hub: Hub) -> None:
    ask_hub(LLAMA, "hf_abc")
    assert {token for _, token in hub.asked} == {"Bearer hf_abc"}


@pytest.mark.parametrize(("gated", "expected"), [("auto", True), ("manual", True), (False, False)])
def test_gating_as_the_hub_words_it(hub: Hub, gated: object, expected: bool) -> None:
    hub.answer({"gated": gated})
    facts = ask_hub(LLAMA, None).facts
    assert facts
    assert facts.gated is expected


@pytest.mark.parametrize("safetensors", [None, {}, {"parameters": {}}, {"parameters": None, "total": 0}])
def test_size_that_the_hub_does_not_say_is_unknown(hub: Hub, safetensors: object) -> None:
    hub.answer({"safetensors": safetensors})
    facts = ask_hub("org/model", None).facts
    assert facts
    assert (facts.parameters, facts.gated, facts.revision) == (None, None, None)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_refusal_of_the_hub_is_said_in_a_word(hub: Hub, status: int) -> None:
    hub.answer({"error": "no"}, status)
    answer = ask_hub("org/model", None)
    assert answer.facts is None
    assert answer.silence
    assert str(status) in answer.silence


@pytest.mark.parametrize("body", [b"<html>Sign in to the Wi-Fi</html>", b"", b"[]", b'"text"', b"null"])
def test_what_is_no_hub_is_said_in_a_word(hub: Hub, body: bytes) -> None:
    """A captive portal or a proxy answers in its place."""
    hub.body = body
    answer = ask_hub("org/model", None)
    assert answer.facts is None
    assert answer.silence


def test_hub_out_of_reach_is_said_in_a_word(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    answer = ask_hub("org/model", "hf_abc")
    assert answer.facts is None
    assert answer.silence
    assert "cannot be reached" in answer.silence
    assert "hf_abc" not in answer.silence
    assert hub.asked == []


# Who is believed


def test_config_over_hub_over_table() -> None:
    hub = HubAnswer(ModelFacts(5, gated=False, revision="moves", source="the Hub"), None)
    table = known()
    assert table.parameters
    assert table.parameters > 3e9
    assert table.gated is True
    assert (known(hub_answer=hub).parameters, known(hub_answer=hub).gated) == (5, False)
    config = known(hub_answer=hub, modelParameters=7, modelGated=True)
    assert (config.parameters, config.gated) == (7, True)


def test_source_is_who_said_it() -> None:
    assert "table" in known().source
    assert known(hub_answer=HubAnswer(ModelFacts(5, gated=None, revision=None, source="the Hub"), None)).source == "the Hub"
    assert "config" in known(modelParameters=7).source


def test_table_answers_what_the_hub_left_out() -> None:
    half = HubAnswer(ModelFacts(None, gated=None, revision=None, source="the Hub"), None)
    assert (known(hub_answer=half).parameters, known(hub_answer=half).gated) == (known().parameters, True)


def test_revision_is_pinned_by_config_or_table_only() -> None:
    """The Hub's newest commit moves from day to day, and with it would every host."""
    hub = HubAnswer(ModelFacts(5, gated=False, revision="moves", source="the Hub"), None)
    assert known("org/model", hub).revision is None
    assert known(hub_answer=hub).revision == known().revision
    assert len(known().revision or "") == 40
    assert known("org/model", hub, revision="v1").revision == "v1"


def test_quantized_weights_are_as_large_as_they_are_stored(hub: Hub) -> None:
    """Eight 4-bit weights are packed into one I32: the Hub's count of elements is no count of parameters."""
    told = {"model_type": "qwen3", "quantization_config": {"quant_method": "awq", "bits": 4}}
    hub.answer({"gated": False, "safetensors": {"parameters": {"I32": 1000, "F16": 100}}, **told})
    answer = ask_hub("org/model-AWQ", None)
    facts = known_facts(ServerSettings(model="org/model-AWQ"), answer)
    assert (facts.parameters, facts.weight_bytes, facts.kind) == (None, 4200, "qwen3")
    assert facts.quantization
    assert facts.quantization.words == "4-bit awq"
    settled = known_facts(ServerSettings(model="org/model-AWQ", model_parameters=8000), answer)
    assert settled.weight_bytes == 4000


def test_a_closed_config_json_leaves_what_the_api_tells(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.answer({"config": {"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 4}}})

    def closed(*_: object) -> None: ...

    monkeypatch.setattr("components.models._config", closed)
    config = ask_hub(LLAMA, None).config
    assert config.kind == "llama"
    assert config.quantization
    assert config.shape is None


def test_todays_models_are_in_the_table() -> None:
    qwen = known("Qwen/Qwen3-8B-AWQ")
    assert (qwen.gated, qwen.kind, round(qwen.weight_bytes / 1e9, 1)) == (False, "qwen3", 6.1)
    assert qwen.kv_bytes_per_token == 144 * 1024
    assert len(qwen.revision or "") == 40
    half = HubAnswer(ModelFacts(None, gated=False, revision=None, source="the Hub"), None)
    assert known("Qwen/Qwen3-8B-AWQ", half).weight_bytes == qwen.weight_bytes


# Whether a token opens a gated model


@pytest.mark.parametrize(
    ("status", "reason", "fix"),
    [
        (401, "is no valid token", "edge secret set ENV huggingFaceToken"),
        (403, "has not been given access", f"accept the licence at https://huggingface.co/{LLAMA}"),
    ],
)
def test_token_that_does_not_open_the_model_is_a_problem(hub: Hub, status: int, reason: str, fix: str) -> None:
    hub.answer({"error": "hf_abc is refused"}, status)
    problem, silence = token_problem(LLAMA, "hf_abc")
    assert problem
    assert silence is None
    assert problem.path == "edge-inference:huggingFaceToken"
    assert reason in problem.reason
    assert fix in problem.fix
    assert f"https://huggingface.co/{LLAMA}" in str(problem)
    assert "hf_abc" not in str(problem)
    assert hub.asked == [(f"/api/models/{LLAMA}/auth-check", "Bearer hf_abc")]


@pytest.mark.parametrize(("status", "silence"), [(200, None), (404, "answers 404"), (500, "answers 500")])
def test_token_that_nobody_refuses_is_no_problem(hub: Hub, status: int, silence: str | None) -> None:
    hub.answer({}, status)
    problem, told = token_problem(LLAMA, "hf_abc")
    assert problem is None
    assert told is None if silence is None else silence in (told or "")


@pytest.mark.parametrize("token", ["hf_abc", "hf_\nnext: line", "hf_ä€"])
def test_token_with_no_hub_in_reach_is_no_problem_and_not_told(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    problem, silence = token_problem(LLAMA, token)
    assert problem is None
    assert "cannot be reached" in (silence or "")
    assert token not in (silence or "")


# What follows


@pytest.mark.parametrize(
    ("gated", "has_token", "found"), [(True, False, 1), (True, True, 0), (False, False, 0), (None, False, 0)]
)
def test_gated_model_wants_a_token(gated: bool | None, has_token: bool, found: int) -> None:
    facts = ModelFacts(1, gated=gated, revision=None, source="the Hub")
    problems = list(model_problems(ServerSettings(model=LLAMA), facts, has_token))
    assert len(problems) == found
    for problem in problems:
        assert problem.path == "edge-inference:huggingFaceToken"
        assert LLAMA in problem.reason
        assert "the Hub" in problem.reason
        assert "edge secret set ENV huggingFaceToken" in problem.fix


def test_unknowns_are_named_with_the_key_that_settles_them() -> None:
    server = ServerSettings(model="org/model")
    silent = HubAnswer(None, "the Hub is down")
    said = list(unknowns(server, known_facts(server, silent), silent))
    for key, warning in zip(("modelParameters", "maxTotalTokens", "modelGated", "revision"), said, strict=True):
        assert f"edge-inference:server.{key}" in warning
        assert "org/model" in warning
    assert ["the Hub is down" in warning for warning in said] == [True, True, True, False]


def test_nothing_unknown_is_no_warning() -> None:
    assert list(unknowns(ServerSettings(), known(), NO_ANSWER)) == []


# Engines


LOGS = {
    "tgi": (
        "2026 INFO text_generation_launcher: Args {\n    dtype: Some(\n        Float16,\n    ),\n}\n"
        "2026 INFO text_generation_launcher: Using attention paged - Prefix caching 0\n"
    ),
    "vllm": "INFO Initializing an engine: dtype=torch.float16, enable_prefix_caching=False\nINFO Using TRITON_ATTN backend.\n",
}


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("tgi", {"dtype": "Float16", "attention": "paged", "prefix_caching": "0"}),
        ("vllm", {"dtype": "float16", "attention": "TRITON_ATTN", "prefix_caching": "False"}),
    ],
)
def test_facts_are_read_from_the_log(engine: str, expected: dict[str, str]) -> None:
    facts = server_process(server_of(engine=engine)).log_facts
    found = {name: re.search(pattern, LOGS[engine], re.IGNORECASE) for name, pattern in facts.items()}
    assert {name: match[1] if match else None for name, match in found.items()} == expected


@pytest.mark.parametrize(
    ("log", "attention", "caching"),
    [
        ("Using attention flashinfer - Prefix caching true\nUsing prefix caching = True\n", "flashinfer", "true"),
        ("Using attention paged - Prefix caching 0\n", "paged", "0"),
        # Recorded of TGI 2.4.0 on a machine without a GPU: it says what it wants, then serves with something else.
        (
            "Using attention flashinfer - Prefix caching true\nWARN Could not import Flash Attention enabled models: no\n",
            None,
            "true",
        ),
        ("Disabling prefix caching because of lora adapters\nUsing attention paged - Prefix caching 0\n", "paged", "0"),
    ],
)
def test_what_tgi_only_wanted_is_not_recorded_as_what_runs(log: str, attention: str | None, caching: str) -> None:
    facts = server_process(server_of()).log_facts
    found = {name: re.search(pattern, log, re.IGNORECASE) for name, pattern in facts.items()}
    assert {name: match[1] if match else None for name, match in found.items()} == {
        "dtype": None, "attention": attention, "prefix_caching": caching
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "is_trouble"),
    [
        ("RuntimeError: CUDA error: no kernel image is available for execution on the device", True),
        ("RuntimeError: FlashAttention only supports Ampere GPUs or newer.", True),
        ('  File "/opt/conda/lib/python3.11/site-packages/flashinfer/prefill.py", line 5, in plan', True),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", True),
        ("Using attention flashinfer - Prefix caching true", False),
        ("torch.OutOfMemoryError: CUDA out of memory.", False),
    ],
)
def test_trouble_with_attention_is_told_from_other_trouble(line: str, is_trouble: bool) -> None:
    process = server_process(server_of())
    assert bool(re.search(process.trouble, line)) is is_trouble
    assert process.fallback == {"ATTENTION": "paged", "PREFIX_CACHING": "0"}
    assert server_process(server_of(engine="vllm")).trouble == ""


def test_an_image_of_ones_own_registry_takes_the_place_of_the_engines() -> None:
    for engine in ("tgi", "vllm"):
        image = "registry.acme.dev:5000/mirror/engine@sha256:" + "0" * 64
        assert server_process(server_of(engine=engine, image=image)).image == image


def test_tgi_is_the_source_documents_one() -> None:
    process = server_process(server_of())
    assert process.image == "ghcr.io/huggingface/text-generation-inference:2.4.0"
    assert (process.container_port, process.health_path) == (80, "/health")
    assert process.arguments[:2] == ("--model-id", WEIGHTS_DIRECTORY)
    assert process.environment["HF_HUB_OFFLINE"] == "1"


def test_vllm_answers_to_the_same_model_name() -> None:
    """One request body for both engines."""
    process = server_process(server_of(engine="vllm"))
    assert process.image.startswith("vllm/vllm-openai:")
    name = process.arguments.index("--served-model-name")
    assert process.arguments[name + 1 : name + 3] == (ServerSettings().model, SERVED_MODEL_NAME)
    assert process.arguments[0] == WEIGHTS_DIRECTORY


@pytest.mark.parametrize("engine", ["tgi", "vllm"])
def test_settings_reach_the_command_line(engine: str) -> None:
    process = server_process(
        server_of(engine=engine, maxInputTokens=111, maxTotalTokens=222, image="mine/engine:1", extraArguments=["--x", "y"])
    )
    assert process.image == "mine/engine:1"
    assert "222" in process.arguments
    assert process.arguments[-2:] == ("--x", "y")
    assert engine == "vllm" or "111" in process.arguments


@pytest.mark.parametrize("engine", ["tgi", "vllm"])
def test_the_server_runs_offline_in_float16_without_token_or_revision(engine: str) -> None:
    """The T4 has no bfloat16; with --revision TGI's router asks the Hub even for a local folder."""
    process = server_process(server_of(engine=engine, revision="v1"))
    assert process.environment["HF_HUB_OFFLINE"] == "1"
    assert process.arguments[process.arguments.index("--dtype") + 1] in {"float16", "half"}
    assert "--revision" not in process.arguments
    assert not [key for key in process.environment if "TOKEN" in key]


@pytest.mark.parametrize("engine", ["tgi", "vllm"])
def test_prefix_caching_can_be_turned_off(engine: str) -> None:
    on, off = (server_process(server_of(engine=engine, prefixCaching=value)) for value in (True, False))
    assert on != off
    assert off.environment.get("PREFIX_CACHING") == "0" or "--no-enable-prefix-caching" in off.arguments
