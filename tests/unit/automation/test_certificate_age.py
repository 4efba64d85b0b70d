"""How long a certificate is good, as doctor and status tell it: the config's, and what replicas really show."""

# What is judged is made in doctor's own parts:
# pyright: reportPrivateUsage=false

import socketserver
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest

from automation.account.keys import new_certificate
from automation.commands.status_words import status_lines
from automation.environment import Environment
from automation.sites.certificate_age import age_of, judged, shown, stored
from automation.sites.doctor import Check, _Doctor
from automation.sites.status import Status, _certificate
from components.certificates import Facts, facts_of
from components.settings import PROJECT, StackConfig, validate

NAME = "us-west-2a.sites.llm.acme.dev"
NAMES = ["llm.acme.dev", "*.sites.llm.acme.dev"]
NOW = datetime.now(UTC)


def facts(days: float, serial: int = 1) -> Facts:
    return Facts(datetime.now(UTC) + timedelta(days=days, hours=6), "An Authority X1", serial)


@pytest.mark.parametrize(
    ("kept", "others", "state", "words", "fix"),
    [
        (facts(89), {}, "ok", "89 days left, until 20", None),
        (facts(89), {"us-west-2a-1": facts(89)}, "ok", "signed by An Authority X1", None),
        (facts(29.5), {}, "warning", "29 days left", "edge certificate prod   # then: edge up prod"),
        (facts(89), {"us-west-2a-1": facts(3, 2)}, "warning", "us-west-2a-1, which shows another (3 days", "edge up prod"),
        (facts(89), {"us-west-2a-1": facts(-2, 2)}, "failed", "which shows another (expired on 20", "edge up prod"),
    ],
)  # fmt: skip
def test_a_certificate_by_its_time_left(kept: Facts, others: dict[str, Facts], state: str, words: str, fix: str | None) -> None:
    found = judged(kept, others, "prod")
    assert (found[0], words in found[1], found[2]) == (state, True, fix), found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """Somebody who shows a certificate and says nothing: port and certificate."""
    certificate, key = new_certificate(NAMES, days=7)
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    file.write_text(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            context.wrap_socket(self.request, server_side=True).close()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1], certificate
        server.shutdown()
        thread.join()


class Ports:
    """An environment, as far as it is asked."""

    arguments, on_local_cloud = "prod", False

    def port_of(self, address: str, port: int) -> int:
        assert address == "127.0.0.1"
        return port


def outputs(*ports: int) -> dict[str, Any]:
    replicas = [{"address": "127.0.0.1", "url": f"https://{NAME}:{port}"} for port in ports]
    return {"sites": {"us-west-2a": {"replicas": replicas}}}


def test_what_replicas_show_is_looked_at_whoever_signed_it(served: tuple[int, str]) -> None:
    port, certificate = served
    assert shown(Ports(), outputs(port, 1)) == {"us-west-2a-1": facts_of(certificate)}
    assert shown(Ports(), {"sites": {"us-west-2a": {"replicas": [{"address": None, "url": None}]}}}) == {}


def checks(served_outputs: dict[str, Any], pair: tuple[str, str] | None, *, tls: bool = True) -> list[Check]:
    """What doctor says of a certificate."""
    sealed = frozenset(f"{PROJECT}:{name}" for name in ("tlsCertificate", "tlsPrivateKey"))
    secrets = dict(zip(sorted(sealed), pair, strict=True)) if pair else {}
    sections = {
        "sites": '[{"zone": "us-west-2a"}]',
        "routing": '{"domain": "llm.acme.dev", "hostedZone": "acme.dev"}',
        "endpoint": f'{{"tls": {str(tls).lower()}}}',
    }
    config = StackConfig("prod", {**{f"{PROJECT}:{key}": text for key, text in sections.items()}, **secrets}, sealed)
    doctor = object.__new__(_Doctor)
    doctor._environment, doctor._outputs = cast("Environment", Ports()), served_outputs
    doctor._config, doctor._validated = config, validate(config)
    doctor._problems = list(doctor._validated.problems)
    return list(doctor._certificate())


def test_doctor_has_a_row_for_it(served: tuple[int, str]) -> None:
    (good,) = checks({}, new_certificate(NAMES, days=60))
    assert (good.subject, good.state, good.fix) == ("certificate", "ok", None)
    (other,) = checks(outputs(served[0]), new_certificate(NAMES, days=60))
    assert (other.state, other.fix) == ("warning", "edge up prod")
    (expired,) = checks({}, new_certificate(NAMES, NOW - timedelta(days=30), days=20))
    assert (expired.state, (expired.fix or "").splitlines()[0]) == (
        "failed",
        "edge certificate ENV   # by ACME; or one of your own:",
    )
    (unfit,) = checks({}, new_certificate(NAMES[:1]))
    assert (unfit.state, f"but not {NAME}" in unfit.finding) == ("failed", True)
    assert [(each.state, each.finding) for each in checks({}, None)] == [("unknown", "nothing has decrypted it")]
    assert checks({}, None, tls=False) == []


def test_status_tells_it_and_the_line_to_run_when_it_is_time() -> None:
    def lines(days: int, *, simulated: bool = False) -> list[str]:
        return [line.strip() for line in status_lines(Status("prod", simulated, (), age_of(facts(days))))]

    assert any(line.startswith("certificate: 60 days left, until 20") for line in lines(60))
    assert not any("edge certificate" in line for line in lines(60))
    assert "-> edge certificate prod   # then: edge up prod" in lines(10)
    assert "-> edge certificate prod --local   # then: edge up prod --local" in lines(10, simulated=True)
    assert Status("prod", False, (), age_of(facts(60))).described()["certificate"]["days_left"] == 60
    assert Status("prod", False, ()).described()["certificate"] is None


def test_status_goes_by_what_is_shown_and_else_by_what_is_stored(served: tuple[int, str]) -> None:
    port, certificate = served
    kept = new_certificate(NAMES, days=60)[0]
    values = {f"{PROJECT}:endpoint": '{"tls": true}', f"{PROJECT}:tlsCertificate": kept}
    config = StackConfig("prod", values, frozenset({f"{PROJECT}:tlsCertificate"}))
    seen = _certificate(cast("Environment", Ports()), config, outputs(port))
    assert seen
    assert seen.expires == getattr(facts_of(certificate), "expires", None)
    unseen = _certificate(cast("Environment", Ports()), config, outputs(1))
    assert unseen
    assert unseen.expires == getattr(facts_of(kept), "expires", None)
    assert _certificate(cast("Environment", Ports()), StackConfig("prod", {}), outputs(port)) is None


def test_who_signed_it_is_told() -> None:
    certificate, _ = new_certificate(NAMES)
    found = facts_of(certificate)
    assert found
    assert found.issuer == "itself"
    assert stored(StackConfig("prod", {f"{PROJECT}:tlsCertificate": certificate})) == found
    assert stored(StackConfig("prod", {})) is None
    assert facts_of(Path(__file__).read_text(encoding="utf-8")) is None
