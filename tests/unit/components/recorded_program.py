# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# The mocks are untyped, and how they mark a secret is private to the SDK.
"""Runs the stack program's own build under Pulumi's mocks and keeps every registration as the engine would get it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import pulumi
from pulumi.runtime import mocks, rpc

from components import build
from components.outputs import stack_outputs
from components.stack_config import CheckedConfig

STACK_TYPE = "pulumi:pulumi:Stack"


@dataclass(frozen=True)
class Registered:
    """One resource as it was registered."""

    token: str
    name: str
    urn: str
    parent: str
    """URN; that of the stack at the top."""
    inputs: dict[str, Any]
    """By the engine's own names (camelCase), secrets unwrapped."""
    secret_inputs: frozenset[str]
    """The inputs that are secret, wholly or in part."""
    secret_outputs: frozenset[str]
    """The outputs that the program names as secret."""
    depends_on: frozenset[str]
    """The resources that must be there before, by option or by data, as `Kind name`."""
    deleted_with: str
    """`Kind name` of the resource whose deletion deletes this one too; empty where there is none."""
    ignore_changes: tuple[str, ...]
    replace_on_changes: tuple[str, ...]
    retain_on_delete: bool
    delete_before_replace: bool
    is_custom: bool

    @property
    def kind(self) -> str:
        """The last part of the token: `Instance`."""
        return self.token.rpartition(":")[2]

    @property
    def label(self) -> str:
        """Names it among all: two types may share a name."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Deployed:
    """What a program registered, in order, and its outputs."""

    resources: list[Registered]
    outputs: dict[str, Any]

    def __iter__(self) -> Iterator[Registered]:
        return iter(self.resources)

    def of_kind(self, kind: str, **inputs: object) -> list[Registered]:
        """The resources of a type, with these inputs."""
        return [
            each
            for each in self.resources
            if each.kind == kind and all(each.inputs.get(key) == value for key, value in inputs.items())
        ]

    def one(self, kind: str, name: str) -> Registered:
        """The resource of this type and name."""
        (found,) = (each for each in self.resources if each.label == f"{kind} {name}")
        return found

    def names(self, kind: str) -> list[str]:
        """The names of a type's resources, sorted."""
        return sorted(each.name for each in self.of_kind(kind))

    def parent(self, resource: Registered) -> Registered | None:
        """The component that a resource belongs to; None at the top."""
        return next((each for each in self.resources if each.urn == resource.parent), None)

    def all_before(self, resource: Registered) -> set[str]:
        """What must be there before a resource, directly or not, and goes after it."""
        by_label = {each.label: each for each in self.resources}
        found: set[str] = set()
        ahead = set(resource.depends_on)
        while ahead:
            label = ahead.pop()
            found.add(label)
            ahead |= by_label[label].depends_on - found
        return found

    def type_chain(self, resource: Registered) -> str:
        """The types from the top to this one, as the engine's URN has them (the mocks' own leaves the middle out)."""
        parent = self.parent(resource)
        return f"{self.type_chain(parent)}${resource.token}" if parent else resource.token


class Answers(mocks.Mocks):
    """Ids and outputs of resources as a provider gives them, so that they differ and can be told apart."""

    # `call` answers a lookup; its LookupError is what the provider then says.
    def __init__(self, call: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None) -> None:
        self._call = call

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        outputs: dict[str, Any] = {**args.inputs}
        if args.typ == "aws:ec2/eip:Eip":
            outputs["publicIp"] = address_of(args.name)
        elif args.typ == "aws:ec2/keyPair:KeyPair":
            outputs["keyName"] = f"key-name-of-{args.name}"
        elif args.typ == "aws:route53/zone:Zone":
            outputs |= {"zoneId": f"zone-id-of-{args.name}", "nameServers": [f"ns-1.{args.inputs['name']}"]}
        elif args.typ == "pulumi:index:Stash":
            outputs["output"] = "the-deployments-id"  # what the state has of the first `up`
        elif args.typ == "command:remote:Command":
            outputs["stdout"] = f"{args.name}: done"
        return f"id-of-{args.name}", outputs

    def call(self, args: mocks.MockCallArgs) -> Any:
        if self._call is None:
            raise AssertionError(f"components ask nothing: {args.token}")
        try:
            return self._call(args.token, args.args)
        except LookupError as error:
            return {}, [("", str(error))]


class RecordingMonitor(mocks.MockMonitor):
    """Keeps each request: the mocks themselves are not told of resource options."""

    def __init__(self, answers: Answers) -> None:
        super().__init__(answers)
        self.registered: list[Registered] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 # the engine's name
        response = super().RegisterResource(request)
        if request.type != STACK_TYPE:
            fields = request.object.fields
            self.registered.append(
                Registered(
                    token=request.type,
                    name=request.name,
                    urn=response.urn,
                    parent=request.parent,
                    inputs=_plain(rpc.deserialize_properties(request.object)),
                    secret_inputs=frozenset(key for key in fields if rpc._special_secret_sig in str(fields[key])),
                    secret_outputs=frozenset(request.additionalSecretOutputs),
                    depends_on=frozenset(_label(urn) for urn in request.dependencies),
                    deleted_with=_label(request.deletedWith) if request.deletedWith else "",
                    ignore_changes=tuple(request.ignoreChanges),
                    replace_on_changes=tuple(request.replaceOnChanges),
                    retain_on_delete=bool(request.retainOnDelete),
                    delete_before_replace=bool(request.deleteBeforeReplace),
                    is_custom=request.custom,
                )
            )
        return response


def address_of(eip: str) -> str:
    """The address that AWS allocates here: another for each name, the same at every run."""
    return f"100.64.{crc32(eip.encode()) % 65536 // 256}.{crc32(eip.encode()) % 256}"


def run_mocked(program: Callable[[], object], stack: str = "dev", answers: Answers | None = None) -> list[Registered]:
    """Runs a program to its end, with all that hangs on its outputs."""
    monitor = RecordingMonitor(answers or Answers())
    mocks.set_mocks(monitor.mocks, project="edge-inference", stack=stack, monitor=monitor)
    pulumi.runtime.test(program)()
    return monitor.registered


def deploy(config: CheckedConfig, answers: Answers | None = None) -> Deployed:
    """What `__main__.py` makes of a checked config."""
    outputs: dict[str, Any] = {}

    def program() -> pulumi.Output[None]:
        tags = build.tags(config)
        networks = build.networks(config, tags)
        sites = build.sites(config, networks, tags)
        routing = build.routing(config, sites, tags)
        exported = pulumi.Output.from_input(stack_outputs(config.settings, sites, routing))
        return exported.apply(outputs.update)

    registered = run_mocked(program, config.settings.stack, answers)
    return Deployed(registered, outputs)


def _label(urn: str) -> str:
    _, _, types, name = urn.split("::", 3)
    return f"{types.rpartition(':')[2]} {name}"


def _plain(value: Any) -> Any:
    """A value without the wrappers of secrets."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    if rpc._special_sig_key in value:
        return _plain(value["value"])
    return {key: _plain(each) for key, each in value.items()}
