"""What both provider plugins share: Pulumi's provider protocol, secrets, unknowns, diffs, logs and clean errors.

Written on the protocol itself and not on `pulumi.provider.experimental`, which drops old inputs, leaks secrets of
rebuilt values and answers errors with tracebacks. Left out: components, methods, parameters, listing.
Long, because the protocol is one service: each call of it, and what all calls do with secrets, unknowns and errors.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ClassVar, NoReturn

import grpc
from google.protobuf import any_pb2, empty_pb2, struct_pb2
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)

from localcloud.plugins import schema
from localcloud.plugins.package_schema import package_schema
from localcloud.plugins.schema import Problem
from localcloud.plugins.values import (
    UNKNOWN,
    Properties,
    Secret,
    decode,
    encode,
    has_secret,
    is_list,
    is_map,
    overlay,
    reveal,
    reveal_all,
    seal,
)

# Remote commands wait for minutes, each in a thread of its own; a request beyond the pool waits.
THREADS = 64
_PARENT_POLL_SECONDS = 1.0
_MAX_MESSAGE_BYTES = 400 * 1024 * 1024  # the engine's own limit
# Maps of which the program owns every key: one that was added or removed by others is drift.
_WHOLE = {"tags", "volumeTags"}
_DEFAULTS = "__defaults"  # where bridged plugins note which inputs they filled in themselves


class ProviderError(Exception):
    """A failure whose text is shown to the user as it is, on one or a few lines."""


class CancelledUpdateError(ProviderError):
    """The user stopped the update while an operation waited."""


@dataclass(frozen=True)
class Call:
    """What an operation on one resource may use: its URN, the engine's log, and waiting that can be cancelled.

    `outputs` takes what only this operation can know (a command's output); what can be read later is read.
    """

    urn: str
    send: Callable[[engine_pb2.LogRequest], None]
    cancelled: threading.Event
    outputs: Properties = field(default_factory=dict[str, object])

    def status(self, message: str) -> None:
        """Show a passing line next to the resource."""
        self.send(engine_pb2.LogRequest(urn=self.urn, severity=engine_pb2.INFO, message=message, ephemeral=True))

    def warning(self, message: str) -> None:
        """Show a line that stays."""
        self.send(engine_pb2.LogRequest(urn=self.urn, severity=engine_pb2.WARNING, message=message))

    def error(self, message: str) -> None:
        """Show an error that stays; the operation's own failure is raised instead."""
        self.send(engine_pb2.LogRequest(urn=self.urn, severity=engine_pb2.ERROR, message=message))

    def sleep(self, seconds: float) -> None:
        """Wait; raise `CancelledUpdateError` as soon as the update is cancelled."""
        if self.cancelled.wait(seconds):
            message = "the update was cancelled"
            raise CancelledUpdateError(message)


class Resource(ABC):
    """One resource type. Operations get inputs and state in clear, without unknowns, and may block."""

    replace_on: ClassVar[frozenset[str]] = frozenset()
    """Paths (`ami`, `rootBlockDevice.encrypted`) whose change needs a new resource; any other is updated in place."""
    unordered: ClassVar[frozenset[str]] = frozenset()
    """Lists that are sets: another order is no change."""
    delete_first: ClassVar[bool] = False
    """Whether AWS cannot hold the old and the new resource at once."""
    supported: ClassVar[frozenset[str] | None] = None
    """Inputs that are acted on, where that is not all that the SDK accepts; the others are refused, not dropped."""
    defaults: ClassVar[Mapping[str, object]] = {}
    """Values that the official plugin fills in."""
    sees_secrets: ClassVar[bool] = False
    """Whether a value that becomes secret, or ceases to be, is a change; what is secret as a whole then changes as a whole."""
    autoname: ClassVar[str | None] = None
    """The property that gets `<logical name>-<7 hex digits>` where the program gives none."""

    def completed(self, inputs: Properties) -> Properties:
        """Return inputs as the upstream plugin takes them, where more than `defaults` is to be filled in; secrets are visible."""
        return inputs

    def problems(self, inputs: Properties) -> Iterable[Problem]:
        """Yield what the upstream plugin refuses beyond types; inputs may hold `UNKNOWN`."""
        del inputs
        return ()

    def replaces(self, path: str, olds: Properties, news: Properties) -> bool:
        """Tell whether a change at a path needs a new resource."""
        del olds, news
        return any(path == name or path.startswith((f"{name}.", f"{name}[")) for name in self.replace_on)

    def uncertain(self, changed: set[str]) -> Iterable[str]:
        """Return outputs that an in-place update of these properties changes; unknown in preview."""
        del changed
        return ()

    def sealed(self, outputs: Properties, *given: Mapping[str, object]) -> Properties:
        """Return outputs with all secret that must be; `given` are inputs and old state with their secrets."""
        return seal(outputs, *given)

    @abstractmethod
    def create(self, call: Call, inputs: Properties) -> str:
        """Create the object and return its id at once, before any wait: from then on the engine knows it."""

    def settle(self, call: Call, resource_id: str, inputs: Properties) -> None:
        """Do what remains after creation: wait until it is usable, set attributes."""
        del call, resource_id, inputs

    @abstractmethod
    def read(self, call: Call, resource_id: str, known: Properties) -> Properties | None:
        """Return the real properties, or None where the object is gone. `known` are inputs and last state."""

    @abstractmethod
    def update(self, call: Call, resource_id: str, olds: Properties, news: Properties, state: Properties) -> None:
        """Change the object from old to new inputs; `state` is its last known state."""

    @abstractmethod
    def delete(self, call: Call, resource_id: str, state: Properties) -> None:
        """Delete the object; one that is already gone is no error."""


Function = Callable[[Properties], Properties]


def changes(old: object, new: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, "ADD" | "DELETE" | "UPDATE") for each difference, in the engine's path notation."""
    if old == new:
        return
    if is_map(old) and is_map(new):
        for key in sorted(old.keys() | new.keys()):
            inner = (f"{path}.{key}" if path else key) if key.isidentifier() else f'{path}["{key}"]'
            yield from _entry(old.get(key), new.get(key), inner)
    elif is_list(old) and is_list(new):
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else None
            after = new[index] if index < len(new) else None
            yield from _entry(before, after, f"{path}[{index}]")
    else:
        yield path, "UPDATE"


def _entry(old: object, new: object, path: str) -> Iterator[tuple[str, str]]:
    if old is None and new is not None:
        yield path, "ADD"
    elif new is None and old is not None:
        yield path, "DELETE"
    else:
        yield from changes(old, new, path)


class Plugin(provider_pb2_grpc.ResourceProviderServicer):
    """The provider service: turns requests into calls on `Resource`s and `Function`s."""

    configuration: ClassVar[frozenset[str]] = frozenset()
    """What the provider's own configuration may hold, as its schema tells it."""

    def __init__(
        self,
        version: str,
        resources: Mapping[str, Resource],
        functions: Mapping[str, Function],
        engine_address: str,
    ) -> None:
        """Serve the given resource types and functions, by token."""
        self.version = version
        self.resources = resources
        self.functions = functions
        self.cancelled = threading.Event()
        channel = grpc.insecure_channel(engine_address)
        self.engine = engine_pb2_grpc.EngineStub(channel)

    # What a plugin may refine ------------------------------------------------------------------------------

    def config_problems(self, config: Properties) -> Iterable[Problem]:
        """Yield what is wrong with the provider's own configuration."""
        del config
        return ()

    def configure(self, config: Properties) -> None:
        """Take the configuration over."""

    def explain(self, error: Exception) -> str:
        """Return what the user reads about an error."""
        return str(error) if isinstance(error, ProviderError) else f"{type(error).__name__}: {error}"

    # Helpers -----------------------------------------------------------------------------------------------

    def _log(self, request: engine_pb2.LogRequest) -> None:
        try:
            self.engine.Log(request, timeout=10)  # pyright: ignore[reportUnknownMemberType]
        except grpc.RpcError:
            print(request.message, file=sys.stderr)  # noqa: T201 - the engine is gone or deaf

    def _call(self, urn: str) -> Call:
        return Call(urn, self._log, self.cancelled)

    def _resource(self, urn: str, context: grpc.ServicerContext) -> tuple[str, Resource]:
        token = urn.split("::")[2].rsplit("$", maxsplit=1)[-1]
        if token not in self.resources:
            self._fail(context, ProviderError(f"the local cloud has no {token}"))
        return token, self.resources[token]

    def _fail(self, context: grpc.ServicerContext, error: Exception) -> NoReturn:
        context.abort(grpc.StatusCode.UNKNOWN, self.explain(error))
        raise AssertionError  # abort raises

    def _fail_half_made(
        self, context: grpc.ServicerContext, error: Exception, made: tuple[Resource, Call, str], inputs: Properties
    ) -> NoReturn:
        """Fail, but tell the engine that the object exists and how, so that the next run completes it or deletes it."""
        (resource, call, resource_id), plain = made, reveal_all(inputs)
        try:
            actual = resource.read(call, resource_id, {**plain, **call.outputs})
        except Exception:  # the first error is the one to show
            actual = {}
        if actual is None:
            self._fail(context, error)
        reason = self.explain(error)
        detail = provider_pb2.ErrorResourceInitFailed(
            id=resource_id,
            properties=encode(resource.sealed(_outputs({**plain, **actual}), inputs)),
            inputs=encode(_refreshed(inputs, actual)),
            reasons=[reason],
        )
        packed = any_pb2.Any()
        packed.Pack(detail, type_url_prefix="type.googleapis.com/")
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=reason, details=[packed])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.UNKNOWN, reason)
        raise AssertionError  # abort raises

    # The protocol ------------------------------------------------------------------------------------------

    def GetPluginInfo(  # noqa: N802
        self, request: empty_pb2.Empty, context: grpc.ServicerContext
    ) -> plugin_pb2.PluginInfo:
        """Say which version of the official plugin this one stands in for."""
        del request, context
        return plugin_pb2.PluginInfo(version=self.version)

    def Handshake(  # noqa: N802
        self, request: provider_pb2.ProviderHandshakeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ProviderHandshakeResponse:
        """Agree on secrets before anything is sent."""
        del request, context
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def GetSchema(  # noqa: N802
        self, request: provider_pb2.GetSchemaRequest, context: grpc.ServicerContext
    ) -> provider_pb2.GetSchemaResponse:
        """Tell what is served, as a package schema: of all that the SDK has, the part that the local cloud knows."""
        if request.version:
            self._fail(context, ProviderError(f"unsupported schema version {request.version}"))
        package = next(iter(self.resources)).partition(":")[0]
        supported = {token: resource.supported for token, resource in self.resources.items()}
        found = package_schema(package, self.version, supported, self.functions, self.configuration)
        return provider_pb2.GetSchemaResponse(schema=json.dumps(found))

    def Cancel(  # noqa: N802
        self, request: empty_pb2.Empty, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        """End all waiting: the user stopped the update."""
        del request, context
        self.cancelled.set()
        return empty_pb2.Empty()

    def CheckConfig(  # noqa: N802
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        """Accept or refuse the provider's configuration."""
        del context
        return _checked(request.news, self.config_problems(reveal_all(decode(request.news))))

    def DiffConfig(  # noqa: N802
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        """Never replace a provider: that would replace all that it made."""
        del request, context
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(  # noqa: N802
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        """Take configuration over; secrets come as such, and previews are answered."""
        try:
            self.configure(reveal_all(decode(request.args)))
        except ProviderError as error:
            self._fail(context, error)
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Check(  # noqa: N802
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        """Refuse inputs that the official plugin refuses, and fill in its defaults."""
        token, resource = self._resource(request.urn, context)
        given = decode(request.news)
        completed = resource.completed(given)
        inputs = reveal_all(completed)
        problems = list(schema.resource_shape(token).problems(inputs))
        problems += _unsupported(inputs, resource, token) if not problems else []
        problems += resource.problems(inputs) if not problems else []
        # As it came where nothing is added: secrets and unknowns stay what they are.
        response = _checked(request.news if completed is given or problems else encode(completed), problems)
        filled = _defaults(resource, inputs, request) if not problems else {}
        if filled:
            response.inputs.MergeFrom(encode({**filled, _DEFAULTS: sorted(filled)}))
        return response

    def Diff(  # noqa: N802
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        """Compare old and new inputs; outputs play no part, drift comes in through refreshed inputs."""
        _, resource = self._resource(request.urn, context)
        inputs = decode(request.news)
        shown = _outputs if resource.sees_secrets else reveal_all
        olds = _sorted_sets(shown(decode(request.old_inputs)), resource)
        news = _sorted_sets(shown(inputs), resource)
        response = provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_NONE,
            hasDetailedDiff=True,
            deleteBeforeReplace=resource.delete_first or _keeps_name(resource, inputs),
        )
        for path, kind in changes(olds, news):
            replaces = resource.replaces(path, olds, news)
            entry = response.detailedDiff[path]
            entry.kind = provider_pb2.PropertyDiff.Kind.Value(f"{kind}_REPLACE" if replaces else kind)
            entry.inputDiff = True
            response.changes = provider_pb2.DiffResponse.DIFF_SOME
            top = re.split(r"[.\[]", path)[0]
            if top not in response.diffs:
                response.diffs.append(top)
            if replaces and path not in response.replaces:
                response.replaces.append(path)
        return response

    def Create(  # noqa: N802
        self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CreateResponse:
        """Create a resource, or in preview say which of its outputs will only be known afterwards."""
        token, resource = self._resource(request.urn, context)
        inputs = decode(request.properties)
        if request.preview:
            shape = schema.resource_shape(token)
            unknown = dict.fromkeys((*shape.outputs, *shape.accepted), UNKNOWN)
            return provider_pb2.CreateResponse(properties=encode(_outputs({**unknown, **inputs})))
        plain, call, resource_id = reveal_all(inputs), self._call(request.urn), ""
        try:
            resource_id = resource.create(call, plain)
            resource.settle(call, resource_id, plain)
            state = self._state(resource, call, resource_id, inputs, inputs)
        except Exception as error:  # whatever it is, it becomes one line for the user
            if resource_id:
                self._fail_half_made(context, error, (resource, call, resource_id), inputs)
            self._fail(context, error)
        return provider_pb2.CreateResponse(id=resource_id, properties=encode(state))

    def _state(self, resource: Resource, call: Call, resource_id: str, inputs: Properties, olds: Properties) -> Properties:
        plain = reveal_all(inputs)
        actual = resource.read(call, resource_id, {**reveal_all(olds), **plain, **call.outputs})
        if actual is None:
            message = f"{resource_id} does not exist any more: run a refresh, and then it is made anew"
            raise ProviderError(message)
        return resource.sealed(_outputs({**plain, **actual}), inputs, olds)

    def Read(  # noqa: N802
        self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ReadResponse:
        """Return real state, and inputs as they would have to be for it; nothing where the object is gone."""
        token, resource = self._resource(request.urn, context)
        inputs, olds = decode(request.inputs), decode(request.properties)
        known = {**reveal_all(olds), **reveal_all(inputs)}
        try:
            actual = resource.read(self._call(request.urn), request.id, known)
        except Exception as error:
            self._fail(context, error)
        if actual is None:
            return provider_pb2.ReadResponse()
        if request.inputs.fields:
            found = _refreshed(inputs, actual)
        else:  # an import: what was really found and can be set is what the program has to say
            accepted = schema.resource_shape(token).accepted
            found = {key: value for key, value in actual.items() if key in accepted and value not in ("", [], {})}
        state = resource.sealed(_outputs({**known, **actual}), inputs, olds)
        return provider_pb2.ReadResponse(id=request.id, properties=encode(state), inputs=encode(found))

    def Update(  # noqa: N802
        self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.UpdateResponse:
        """Change a resource in place."""
        _, resource = self._resource(request.urn, context)
        state, inputs, olds = decode(request.olds), decode(request.news), decode(request.old_inputs)
        plain_olds, plain = reveal_all(olds), reveal_all(inputs)
        if request.preview:
            changed = {key for key in plain_olds | plain if plain_olds.get(key) != plain.get(key)}
            kept = {key: value for key, value in state.items() if key not in olds}
            unknown = dict.fromkeys(resource.uncertain(changed), UNKNOWN)
            return provider_pb2.UpdateResponse(properties=encode(_outputs({**kept, **unknown, **inputs})))
        call = self._call(request.urn)
        try:
            resource.update(call, request.id, plain_olds, plain, reveal_all(state))
            kept = {key: value for key, value in state.items() if key not in olds}
            properties = self._state(resource, call, request.id, inputs, kept)
        except Exception as error:
            self._fail(context, error)
        return provider_pb2.UpdateResponse(properties=encode(properties))

    def Delete(  # noqa: N802
        self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        """Delete a resource."""
        _, resource = self._resource(request.urn, context)
        try:
            resource.delete(self._call(request.urn), request.id, reveal_all(decode(request.properties)))
        except Exception as error:
            self._fail(context, error)
        return empty_pb2.Empty()

    def Invoke(  # noqa: N802
        self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.InvokeResponse:
        """Answer a function; wrong arguments and failed look-ups come back as failures, one line each."""
        arguments = decode(request.args)
        plain = reveal_all(arguments)
        response = provider_pb2.InvokeResponse()
        if request.tok not in self.functions:
            self._fail(context, ProviderError(f"the local cloud has no function {request.tok}"))
        problems = list(schema.function_shape(request.tok).problems(plain))
        if not problems:
            try:
                result = seal(self.functions[request.tok](plain), arguments)
            except Exception as error:
                # The engine prints the property behind the reason: say what was looked for.
                failure = provider_pb2.CheckFailure(property=", ".join(plain), reason=self.explain(error))
                response.failures.append(failure)
            else:
                getattr(response, "return").CopyFrom(encode(result))
        response.failures.extend(_failures(problems))
        return response


def _outputs(properties: Properties) -> Properties:
    return {key: value for key, value in properties.items() if not key.startswith("__")}


def _refreshed(inputs: Properties, actual: Properties) -> Properties:
    """Return inputs as they would have to be for what was really found."""
    found = {key: overlay(value, actual.get(key)) for key, value in inputs.items()}
    for name in _WHOLE & inputs.keys() & actual.keys():
        if reveal(inputs[name]) != actual[name]:
            found[name] = Secret(actual[name]) if has_secret(inputs[name]) else actual[name]
    return found


def _failures(problems: Iterable[Problem]) -> list[provider_pb2.CheckFailure]:
    """Return problems as failures; the path is part of the reason, so that no value is printed with it."""
    return [provider_pb2.CheckFailure(reason=f"{problem.path} {problem.reason}".strip()) for problem in problems]


def _checked(news: struct_pb2.Struct, problems: Iterable[Problem]) -> provider_pb2.CheckResponse:
    response = provider_pb2.CheckResponse(failures=_failures(problems))
    response.inputs.CopyFrom(news)
    return response


def _unsupported(inputs: Properties, resource: Resource, token: str) -> list[Problem]:
    if resource.supported is None:
        return []
    reason = f"is not simulated by the local cloud's {token}; only a real account takes it"
    return [Problem(name, reason) for name in inputs if name not in resource.supported]


def _defaults(resource: Resource, inputs: Properties, request: provider_pb2.CheckRequest) -> Properties:
    """Return defaults and an automatic name; a name that was made once is kept, as the official plugins do."""
    filled = {key: value for key, value in resource.defaults.items() if key not in inputs}
    name = resource.autoname
    if name and name not in inputs and f"{name}Prefix" not in inputs:
        olds = decode(request.olds)
        made_before = is_list(marks := olds.get(_DEFAULTS)) and name in marks
        digits = hashlib.sha256(request.randomSeed or os.urandom(8)).hexdigest()[:7]
        filled[name] = reveal(olds[name]) if made_before else f"{request.urn.split('::')[-1]}-{digits}"
    return filled


def _keeps_name(resource: Resource, inputs: Properties) -> bool:
    """Tell whether the program chose the name: its old holder must then go before a new one can have it."""
    filled = inputs.get(_DEFAULTS)
    automatic = is_list(filled) and resource.autoname in filled
    return resource.autoname in inputs and not automatic


def _sorted_sets(properties: Properties, resource: Resource) -> Properties:
    return {
        key: sorted(value, key=str) if key in resource.unordered and is_list(value) else value
        for key, value in properties.items()
    }


def _end_with_parent() -> None:
    """End this process when the engine is gone, so that a killed engine leaves no plugin behind."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_SECONDS)
    os._exit(1)


def serve(make_plugin: Callable[[str], Plugin]) -> None:
    """Serve a plugin until the engine ends it; the engine's address is the first argument."""
    if len(sys.argv) < 2:  # noqa: PLR2004
        sys.exit("This is a Pulumi provider plugin: it is started by the Pulumi engine, not by hand.")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    limits = [
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ]
    server = grpc.server(ThreadPoolExecutor(THREADS), options=limits)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(make_plugin(sys.argv[1]), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    server.wait_for_termination()
