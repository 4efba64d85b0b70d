"""The API server: one HTTP port for every AWS service that this project uses.

Requests are told apart by the service in their signature's scope and handed to moto's response
classes directly, without moto's own server, so nothing else of moto is loaded. They run one at a
time, so that "check, then act" holds. Signatures are not verified.
"""

# moto is partly untyped, and its parts use each other's state:
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import logging
import socket
import threading
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

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
from moto.servicequotas.responses import ServiceQuotasResponse
from moto.ssm.models import ssm_backends
from moto.ssm.responses import SimpleSystemManagerResponse
from moto.sts.responses import TokenResponse
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from localcloud.api import faults, health, world, zones
from localcloud.api.ec2 import Ec2Backend, Ec2Responses
from localcloud.api.images import SsmBackend
from localcloud.api.quotas import QuotasBackend
from localcloud.api.route53 import LocalRoute53Backend, Route53Responses

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

CONTROL_PREFIX = "/_localcloud/"
SERVICES: dict[str, type[BaseResponse]] = {
    "ec2": Ec2Responses,
    "iam": IamResponse,
    "route53": Route53Responses,
    "servicequotas": ServiceQuotasResponse,
    "ssm": SimpleSystemManagerResponse,
    "sts": TokenResponse,
}
BACKENDS = (ec2_backends, iam_backends, route53_backends, servicequotas_backends, ssm_backends)
THROTTLES = {
    "ec2": ("RequestLimitExceeded", "Request limit exceeded."),
    "route53": ("Throttling", "Rate exceeded"),
}
POLL_SECONDS = 0.05
"""How long `stop` may have to wait for the listening thread."""
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
        zones.reset()
        health.reset()


class _Handler(WSGIRequestHandler):
    """Logs through `logging` only."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        log.debug("%s: %s", type, message % args)


class ApiServer:
    """The API on 127.0.0.1. One at a time per process: a new one starts a fresh world."""

    def __init__(
        self,
        directory: Path,
        port: int = 0,
        on_change: Callable[[], None] = lambda: None,
        control: Callable[[str, str, Json, str], tuple[int, Json]] | None = None,
    ) -> None:
        """Bind the port (0: any free one); raises OSError where it is in use.

        `on_change` is called after each request that may have changed EC2's or Route 53's state. `control`
        answers what is below `/_localcloud/` and not the API's own: it gets method, path,
        JSON body and Authorization header, and returns status and JSON. Nothing is kept in `directory`: the world lives and
        dies with the process.
        """
        self.directory = directory
        self._on_change = on_change
        self._control = control
        with socket.create_server(("127.0.0.1", port)) as listener:
            self.port: int = listener.getsockname()[1]
            # werkzeug ends the process when it finds a port in use; it takes a copy of ours.
            self._server: BaseWSGIServer = make_server(
                "127.0.0.1",
                port,
                self._application,
                threaded=True,
                request_handler=_Handler,
                fd=listener.fileno(),
            )
        reset_world()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,), name="api-server", daemon=True)

    def start(self) -> None:
        """Answer requests, in threads, from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _application(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        request.max_form_memory_size = None
        request.get_data()
        is_control = request.path.startswith(CONTROL_PREFIX)
        answer = self._answer_control if is_control else self._answer_aws
        return answer(request)(environ, start_response)

    def _answer_aws(self, request: Request) -> Response:
        service = _service(request)
        if service not in SERVICES:
            log.warning("refused a request for service %r", service)
            text = f"The local cloud has no AWS service {service!r}; it has {sorted(SERVICES)}."
            return Response(text, HTTPStatus.NOT_IMPLEMENTED)
        handler = SERVICES[service]()
        with world.lock:
            handler.setup_class(request, request.url, dict(request.headers))
            action = handler._get_action()  # noqa: SLF001
            reading = action.startswith(READING)
            status, headers, body = _call(service, handler, throttled=not reading)
            if not reading:
                world.changed()
        log.info("%s %s %s", service, action, status)
        if service in {"ec2", "route53"} and not reading:
            self._on_change()
        return Response(body, int(status), headers)

    def _answer_control(self, request: Request) -> Response:
        path = request.path.removeprefix(CONTROL_PREFIX)
        try:
            body: Json = json.loads(request.get_data() or b"{}")
            answer = _own_control(request.method, path, body)
            if answer is None and self._control:
                answer = self._control(request.method, path, body, request.headers.get("Authorization", ""))
        except (ValueError, KeyError, TypeError) as error:
            answer = HTTPStatus.BAD_REQUEST, {"error": str(error)}
        status, content = answer or (HTTPStatus.NOT_FOUND, {"error": f"no such control: {path}"})
        return Response(json.dumps(content), status, content_type="application/json")


def _service(request: Request) -> str:
    """The service from `Authorization: … Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`."""
    scope = request.headers.get("Authorization", "").partition("Credential=")[2].split(",")[0]
    parts = scope.split("/")
    return parts[3] if len(parts) == 5 else ""  # noqa: PLR2004 (the parts named above)


def _call(service: str, handler: BaseResponse, *, throttled: bool) -> tuple[Any, Any, Any]:
    try:
        if throttled and service in THROTTLES and faults.take_throttle():
            return handler.serialized(ActionResult(EC2ClientError(*THROTTLES[service])))
        return handler.call_action()
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
