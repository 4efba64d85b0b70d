"""Who may use the API: what boto3 signs with the world's keys, and nothing else."""

# boto3 makes its clients from data, so they have no types:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from localcloud import keys
from localcloud.api import signatures
from localcloud.api.server import ApiServer
from localcloud.api.signatures import Received

from .conftest import Client, options

KEYS = keys.make()
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("ec2", "describe_vpcs", {"Filters": [{"Name": "tag:a b/c", "Values": ["ä=1&2", "*"]}]}),
    ("route53", "list_hosted_zones_by_name", {"DNSName": "edge.internal", "MaxItems": "10"}),
    ("route53", "list_health_checks", {"MaxItems": "5"}),
    ("ssm", "get_parameters_by_path", {"Path": "/aws/service/global-infrastructure"}),
    ("sts", "get_caller_identity", {}),
    ("service-quotas", "get_service_quota", {"ServiceCode": "ec2", "QuotaCode": "L-DB2E81BA"}),
    ("iam", "list_account_aliases", {}),
]
SERVICES = ["ec2", "route53", "ssm", "sts", "service-quotas", "iam"]
CHEAP_CALLS = {name: (method, given) for name, method, given in CALLS}


def _signed(
    secret: str = KEYS.secret_access_key,
    body: bytes = b"Action=DescribeVpcs",
    target: str = "/",
    headers: dict[str, str] | None = None,
) -> Received:
    """A request to EC2, signed by botocore as a client does."""
    request = AWSRequest("POST", f"http://127.0.0.1:4599{target}", {"Host": "127.0.0.1:4599", **(headers or {})}, body)
    SigV4Auth(Credentials(KEYS.access_key_id, secret), "ec2", "us-west-2").add_auth(request)
    return Received("POST", target, list(request.headers.items()), body)


def _problem(request: Received, now: datetime | None = None) -> str | None:
    found = signatures.problem(request, signatures.claim(request), KEYS, now)
    return found.kind if found else None


@pytest.mark.parametrize(("service", "method", "given"), CALLS)
def test_what_boto3_signs_is_answered(client: Client, service: str, method: str, given: dict[str, Any]) -> None:
    assert getattr(client(service), method)(**given)["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("wrong", ["aws_access_key_id", "aws_secret_access_key"])
def test_other_keys_are_refused_in_the_form_of_the_service(api: ApiServer, service: str, wrong: str) -> None:
    given = {**options(api), wrong: "another"}
    refused = boto3.client(service, region_name="us-west-2", **given, config=Config(retries={"total_max_attempts": 1}))
    method, arguments = CHEAP_CALLS[service]
    with pytest.raises(ClientError) as error:
        getattr(refused, method)(**arguments)
    by_key = wrong == "aws_access_key_id"
    if service == "ec2":
        expected = "AuthFailure", 401
    elif service in {"ssm", "service-quotas"}:
        expected = ("UnrecognizedClientException" if by_key else "InvalidSignatureException"), 400
    else:
        expected = ("InvalidClientTokenId" if by_key else "SignatureDoesNotMatch"), 403
    told = error.value.response
    assert (told["Error"]["Code"], told["ResponseMetadata"]["HTTPStatusCode"]) == expected


def test_nothing_else_than_what_was_signed_is_taken() -> None:
    request = _signed(target="/a%20b/c?x=%2F&a=1", headers={"X-Amz-Target": "T", "Content-Type": "text/plain"})
    assert _problem(request) is None
    assert _problem(replace(request, body=b"Action=RunInstances")) == "signature"
    assert _problem(replace(request, method="GET")) == "signature"
    assert _problem(replace(request, target="/a%20b/c?x=%2F&a=2")) == "signature"
    others = [(name, "U" if name == "X-Amz-Target" else value) for name, value in request.headers]
    assert _problem(replace(request, headers=others)) == "signature"
    assert _problem(replace(request, headers=[*request.headers, ("X-Amz-Other", "1")])) == "signature", "it is not signed"
    assert _problem(replace(request, headers=[*request.headers, ("User-Agent", "1")])) is None
    assert _problem(_signed("another")) == "signature"


@pytest.mark.parametrize("payload", ["UNSIGNED-PAYLOAD", "0" * 64])
def test_a_body_that_the_signature_does_not_hold_is_refused(payload: str) -> None:
    assert _problem(_signed(headers={"X-Amz-Content-SHA256": payload})) == "signature"


def test_an_old_or_early_date_is_refused() -> None:
    request, now = _signed(), datetime.now(UTC)
    assert _problem(request, now + timedelta(minutes=14)) is None
    assert _problem(request, now - timedelta(minutes=14)) is None
    for later in (timedelta(minutes=16), timedelta(days=1), -timedelta(minutes=16)):
        assert _problem(request, now + later) == "time"
    date = request.header("x-amz-date")
    moved = [(name, value.replace(date, date[:8] + "T000000Z")) for name, value in request.headers]
    assert _problem(replace(request, headers=moved)) == "signature"
    malformed = [(name, value.replace(date, date[:8])) for name, value in request.headers]
    assert _problem(replace(request, headers=malformed)) == "signature"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer x",
        "AWS4-HMAC-SHA256",
        f"AWS4-HMAC-SHA256 Credential={KEYS.access_key_id}/20260101/us-west-2/ec2/aws4_request",
        f"AWS4-HMAC-SHA256 Credential={KEYS.access_key_id}/20260101/us-west-2/ec2/aws4_request, SignedHeaders=host, Signature=",
        "AWS4-HMAC-SHA256 Credential=ä, SignedHeaders=host, Signature=" + "0" * 64,
    ],
    ids=["none", "bearer", "no more than its kind", "no signature", "an empty one", "no ASCII"],
)
def test_what_is_no_signature_is_none(authorization: str) -> None:
    assert _problem(Received("POST", "/", [("Authorization", authorization)])) == "missing"


def _ask(
    api: ApiServer, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", api.port, timeout=10)
    connection.request(method, path, body, headers or {})
    with connection.getresponse() as response:
        return response.status, response.read()


def test_control_requests_need_the_token(api: ApiServer) -> None:
    token = f"Bearer {api.keys.control_token}"
    assert _ask(api, "GET", "/_localcloud/faults", {"Authorization": token})[0] == 200
    for wrong in ({}, {"Authorization": "Bearer "}, {"Authorization": token + "x"}, {"Authorization": "Bearer ä"}):
        status, answer = _ask(api, "PUT", "/_localcloud/faults", wrong, b'{"quota_vcpus": 1}')
        assert (status, json.loads(answer)) == (403, {"error": "no or another token"})
    assert json.loads(_ask(api, "GET", "/_localcloud/faults", {"Authorization": token})[1])["quota_vcpus"] == 64
    for path in (
        "/_localcloud//faults",
        "/%5Flocalcloud/faults",
        "//_localcloud/faults",
        "/_localcloud/hub/../faults",
        "/_localcloud",
    ):
        assert _ask(api, "GET", path)[0] == 403


@pytest.mark.parametrize("path", ["hub/api/models/a/b", "hub/", "hub", "hub/x/api/models/a/b", "hub/%2e%2e/faults"])
def test_the_hub_needs_its_own_secret_in_the_address(api: ApiServer, path: str) -> None:
    hf_token = {"Authorization": "Bearer hf_x"}
    assert _ask(api, "GET", f"/_localcloud/{path}", hf_token)[0] == 403
    # There is no Hub beside this server, but its address is known.
    assert _ask(api, "GET", f"/_localcloud/hub/{api.keys.hub_token}/api/models/a/b", hf_token)[0] == 404
    assert _ask(api, "GET", "/_localcloud/faults", {"Authorization": f"Bearer {api.keys.hub_token}"})[0] == 403


@pytest.mark.parametrize("host", ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.nip.io:{port}", ""])
def test_another_name_than_the_loopbacks_is_refused_even_with_the_token(api: ApiServer, host: str) -> None:
    token = f"Bearer {api.keys.control_token}"
    status, _ = _ask(api, "GET", "/_localcloud/faults", {"Authorization": token, "Host": host.format(port=api.port)})
    assert status == 421
    assert _ask(api, "GET", "/_localcloud/faults", {"Authorization": token, "Host": f"localhost:{api.port}"})[0] == 200


def test_a_request_for_another_server_is_refused(api: ApiServer) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as connection:
        text = f"GET http://evil.example/_localcloud/faults HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\n"
        connection.sendall(f"{text}Authorization: Bearer {api.keys.control_token}\r\n\r\n".encode())
        assert connection.makefile("rb").readline().split()[1] == b"403"


def test_keys_are_stored_for_their_owner_alone_and_are_new_each_time(tmp_path: Any) -> None:
    (tmp_path / "world").mkdir()
    keys.store(tmp_path, KEYS)
    assert keys.load(tmp_path) == KEYS
    assert (tmp_path / "world" / "keys.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        keys.store(tmp_path, KEYS)
    assert KEYS.secret_access_key not in repr(KEYS)
    other = keys.make()
    assert not set(vars(other).values()) & set(vars(KEYS).values())
