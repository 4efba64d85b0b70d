"""The API server: one HTTP port for every AWS service that this project uses.

Requests that the world's keys have signed are told apart by the service in their signature's scope and handed to moto's response
classes directly, without moto's own server, so nothing else of moto is loaded. They run one at a time, so that "check, then act"
holds. Whoever has no key is answered from the headers of his request alone. Permissions are not checked.
"""

# moto is partly untyped, and its parts use each other's state:
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import socket
import threading
from dataclasses import replace
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from moto.core import responses
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.responses import ActionResult, BaseResponse
from moto.core.utils import method_names_from_class
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.iam.responses import IamResponse
from moto.route53.models import route53_backends
from moto.servicequotas.models import servicequotas_backends
from moto.ssm.models import ssm_backends
from moto.ssm.responses import SimpleSystemManagerResponse
from moto.sts.responses import TokenResponse
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from werkzeug.datastructures import Headers
from werkzeug.wrappers import Request

from localcloud.api import faults, health, holds, permissions, signatures, world, zones
from localcloud.api.ec2 import Ec2Backend, Ec2Responses
from localcloud.api.images import SsmBackend
from localcloud.api.quotas import QuotasBackend, QuotasResponses
from localcloud.api.route53 import LocalRoute53Backend, Route53Responses
from localcloud.api.signatures import Received
from localcloud.bounds import Places
from localcloud.keys import CONTROL_PREFIX, Keys
from localcloud.serving import admit, bounded, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)

SERVICES: dict[str, type[BaseResponse]] = {
    "ec2": Ec2Responses,
    "iam": IamResponse,
    "route53": Route53Responses,
    "servicequotas": QuotasResponses,
    "ssm": SimpleSystemManagerResponse,
    "sts": TokenResponse,
}
BACKENDS = (ec2_backends, iam_backends, route53_backends, servicequotas_backends, ssm_backends)
THROTTLES = {
    "ec2": ("RequestLimitExceeded", "Request limit exceeded."),
    "route53": ("Throttling", "Rate exceeded"),
}
_CONNECTIONS = 256
_LONGEST_BODY_BYTES = 2**20
"""Far above what any call of EC2 or Route 53 may have."""
_FRAMING = {"content-length", "transfer-encoding", "connection"}
_CLOSE = {"connection": "close"}
"""One request for each connection: clients that keep them find them closed in the wrong moment."""
READING = ("Describe", "Get", "List", "Test")

# moto lists a response class's methods anew for every request: half of the time that one takes.
responses.method_names_from_class = cache(  # pyright: ignore[reportPrivateImportUsage]
    method_names_from_class
)

ec2_backends.backend = Ec2Backend
route53_backends.backend = LocalRoute53Backend
servicequotas_backends.backend = QuotasBackend
ssm_backends.backend = SsmBackend

Json = dict[str, object]


def reset_world() -> None:
    """Forget every resource of every Region, and all faults: a fresh account."""
    with world.lock:
        for backends in BACKENDS:
            backends.clear()
        world.changed()
        faults.reset()
        permissions.set_policy({})
        zones.reset()
        health.reset()


class ApiServer:
    """The API on 127.0.0.1, in a thread of its own. One at a time per process: a new one starts a fresh world."""

    def __init__(
        self,
        keys: Keys,
        port: int = 0,
        on_change: Callable[[], None] = lambda: None,
        control: Callable[[str, str, Json, str], tuple[int, Json]] | None = None,
    ) -> None:
        """Bind the port (0: any free one); raises OSError where it is in use.

        `on_change` is called after each request that may have changed EC2's or Route 53's state. `control`
        answers what is below `/_localcloud/` and not the API's own: it gets method, path,
        JSON body and Authorization header, and returns status and JSON. The world lives and dies with the process.
        """
        self.keys = keys
        self._on_change = on_change
        self._control = control
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._hosts = {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost")}
        reset_world()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="api-server", daemon=True)

    def start(self) -> None:
        """Answer requests from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with serving(self._application, self._listener, own_places=Places(_CONNECTIONS)):
            await self._stopping.wait()

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(scope, bounded(receive, _LONGEST_BODY_BYTES))
        except HTTPException as error:
            response = PlainTextResponse(error.detail, error.status_code)
        response.headers.update(_CLOSE)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        request = Received(scope["method"], (scope["raw_path"] + query).decode("latin-1"), headers)
        if request.header("host") not in self._hosts:
            # A page of the internet whose name was made to lead here would come with that name.
            await _read(receive, keep=False)
            return PlainTextResponse("The local cloud answers at its own address only.", HTTPStatus.MISDIRECTED_REQUEST)
        if request.target.startswith(CONTROL_PREFIX):
            return await self._answer_control(request, scope, receive)
        return await self._answer_aws(request, scope, receive)

    async def _answer_aws(self, request: Received, scope: Scope, receive: Receive) -> Response:
        claimed = signatures.claim(request)
        problem = signatures.key_problem(claimed, self.keys)
        request = replace(request, body=await _read(receive, keep=problem is None))
        problem = problem or signatures.problem(request, claimed, self.keys)
        service = claimed.service if claimed else ""
        if problem:
            status, media_type, body = signatures.refusal(service, problem)
            return Response(body, status, media_type=media_type)
        admit(scope)
        if service not in SERVICES:
            log.warning("refused a request for service %r", service)
            text = f"The local cloud has no AWS service {service!r}; it has {sorted(SERVICES)}."
            return Response(text, HTTPStatus.NOT_IMPLEMENTED)
        return await asyncio.to_thread(self._act, service, request)

    def _act(self, service: str, received: Received) -> Response:
        hold = holds.taken()
        if hold and not hold.passes("arrival"):
            return Response("held until its caller was gone", HTTPStatus.SERVICE_UNAVAILABLE)
        request = _for_moto(received)
        handler = SERVICES[service]()
        with world.lock:
            handler.setup_class(request, request.url, dict(request.headers))
            action = handler._get_action()  # noqa: SLF001
            reading = action.startswith(READING)
            status, headers, body = _call(service, action, handler, throttled=not reading)
            if not reading:
                world.changed()
        log.info("%s %s %s", service, action, status)
        if service in {"ec2", "route53"} and not reading:
            self._on_change()
        if hold:
            hold.passes("answer")
        response = Response(body, int(status))
        response.headers.update({name: str(value) for name, value in headers.items() if name.lower() not in _FRAMING})
        return response

    async def _answer_control(self, request: Received, scope: Scope, receive: Receive) -> Response:
        path = self._control_path(request)
        if path is None:
            await _read(receive, keep=False)
            return JSONResponse({"error": "no or another token"}, HTTPStatus.FORBIDDEN)
        body = await _read(receive)
        admit(scope)
        status, content = await asyncio.to_thread(self._control_answer, request, path, body)
        return JSONResponse(content, status)

    def _control_path(self, request: Received) -> str | None:
        """What is asked for, below the prefix and without the Hub's secret; None where the token of it is wrong."""
        path = unquote(request.target.partition("?")[0].removeprefix(CONTROL_PREFIX))
        if path.startswith("hub/"):
            _, token, *rest = [*path.split("/", 2), ""]
            return f"hub/{rest[0]}" if _same(token, self.keys.hub_token) else None
        return path if _same(request.header("authorization"), f"Bearer {self.keys.control_token}") else None

    def _control_answer(self, request: Received, path: str, body: bytes) -> tuple[int, Json]:
        answer: tuple[int, Json] | None
        try:
            parsed: Json = json.loads(body or b"{}")
            # Without the world's lock: a GET waits for a call.
            answer = (HTTPStatus.OK, holds.control(request.method, parsed)) if path == "holds" else None
            answer = answer or _own_control(request.method, path, parsed)
            if answer is None and self._control:
                answer = self._control(request.method, path, parsed, request.header("authorization"))
        except (ValueError, KeyError, TypeError) as error:
            answer = HTTPStatus.BAD_REQUEST, {"error": str(error)}
        return answer or (HTTPStatus.NOT_FOUND, {"error": f"no such control: {path}"})


async def _read(receive: Receive, *, keep: bool = True) -> bytes:
    """The body; without `keep` it is thrown away: a client that still sends would not read the answer."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if keep:
            parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _for_moto(received: Received) -> Request:
    path, _, query = received.target.partition("?")
    request = Request.from_values(
        path,
        base_url=f"http://{received.header('host')}",
        query_string=query,
        method=received.method,
        headers=Headers(received.headers),
        data=received.body,
    )
    request.max_form_memory_size = None
    request.get_data()
    return request


def _call(service: str, action: str, handler: BaseResponse, *, throttled: bool) -> tuple[Any, Any, Any]:
    try:
        permissions.check(service, action, with_tags=any(key.startswith("TagSpecification") for key in handler.querystring))
        if throttled and service in THROTTLES and faults.take_throttle():
            return handler.serialized(ActionResult(EC2ClientError(*THROTTLES[service])))
        return handler.call_action()
    except permissions.Denied as error:
        return handler.serialized(ActionResult(error))
    except Exception as error:
        # moto fails with any exception on what it does not know; the caller is to get an AWS error.
        log.exception("%s failed", service)
        message = f"The local cloud failed: {error!r}"
        return handler.serialized(ActionResult(EC2ClientError("InternalError", message)))


def _own_control(method: str, path: str, body: Json) -> tuple[int, Json] | None:
    """The API's own part of the control interface; None for the rest."""
    with world.lock:
        match method, path:
            case "GET", "faults":
                return HTTPStatus.OK, faults.current.model_dump()
            case "PUT", "faults":
                faults.update(body)
                return HTTPStatus.OK, faults.current.model_dump()
            case "PUT", "policy":
                permissions.set_policy(body)
                return HTTPStatus.OK, {}
            case "PUT", "hosted-zones":
                return HTTPStatus.OK, {"id": _hosted_zone(str(body["name"]))}
            case "PUT", "zone-groups":
                return HTTPStatus.OK, _set_zone_group(str(body["name"]), body["opt_in_status"])
            case _:
                return None


def _hosted_zone(name: str) -> str:
    """The id of the public hosted zone of that name, created if missing."""
    backend = route53_backends[DEFAULT_ACCOUNT_ID]["aws"]
    name = name.rstrip(".") + "."
    zone = backend.get_hosted_zone_by_name(name)
    if zone is None:
        zone = backend.create_hosted_zone(name, private_zone=False)
    return zone.resource_id


def _set_zone_group(name: str, status: object) -> Json:
    """Opt a zone group in or, unlike AWS's API, out again."""
    if name not in zones.GROUPS:
        raise ValueError(f"no zone group {name!r}")
    if status not in {"opted-in", "not-opted-in"}:
        raise ValueError(f"opt_in_status is {status!r}, neither 'opted-in' nor 'not-opted-in'")
    if status == "opted-in":
        zones.opted_in.add(name)
    else:
        zones.opted_in.discard(name)
    return {"name": name, "opt_in_status": status}
