"""The Docker engine of one host: images, containers, restarts.

A model server's container serves for real, so does Caddy's; any other image that is left running does nothing, and a
one-shot command is run by the caller's own process on this machine. Left out on purpose: networks,
volumes, layers, limits.
Long, because containers of four kinds start, end and are started again under one lock and one clock.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from localcloud.hosts import registry
from localcloud.hosts.caddy import Caddy, is_caddy
from localcloud.hosts.doorway import bound_socket
from localcloud.model_server import launcher

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from localcloud.model_server.simulation import Timing

VERSION = "25.0.6"
_LONGEST_BACKOFF_SECONDS = 60.0
_KILLED = 137
_LONGEST_LOG_LINES = 10_000
_SHORTEST_IMAGE_ID, _SHORTEST_CONTAINER_ID = 12, 2


class DockerError(Exception):
    """An error of the Docker daemon, in its words."""


@dataclass(frozen=True)
class Spec:
    """What `docker run` was told."""

    image: registry.Image
    image_reference: str
    name: str
    arguments: list[str]
    entrypoint: str | None = None
    environment: dict[str, str] = field(default_factory=dict[str, str])
    labels: dict[str, str] = field(default_factory=dict[str, str])
    mounts: list[tuple[str, str, bool]] = field(default_factory=list[tuple[str, str, bool]])
    """Path on this machine, path in the container, writable."""
    ports: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])
    """Address on the host, port on the host, port in the container."""
    restart: str = "no"
    remove: bool = False
    host_network: bool = False
    gpus: bool = False

    def outside(self, path: str) -> str | None:
        """The path on this machine of a path in the container; None where nothing is mounted."""
        for source, target, _ in sorted(self.mounts, key=lambda mount: -len(mount[1])):
            if path == target or path.startswith(target.rstrip("/") + "/"):
                return source + path[len(target.rstrip("/")) :]
        return None

    def translate(self, text: str) -> str:
        """Replace a container's path that is a whole text or follows `=`."""
        prefix, separator, path = text.rpartition("=")
        outside = self.outside(path)
        return prefix + separator + outside if outside else text


@dataclass
class State:
    """A container's state as `docker inspect` tells it."""

    status: str = "created"
    exit_code: int = 0
    started: str = "0001-01-01T00:00:00Z"
    finished: str = "0001-01-01T00:00:00Z"
    restarts: int = 0


class Container:
    """One container; `served` maps its ports to this machine's, bound but refusing until it serves."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.id = hashlib.sha256(uuid.uuid4().bytes).hexdigest()
        self.created = _now()
        self.state = State()
        self.log: list[tuple[float, str]] = []
        """Lines, each with the time since 1970 at which it was said."""
        self.forgotten = 0
        """So many lines were said before those of the log."""
        self.changed = asyncio.Event()
        """Set, and replaced, whenever the state or the log has changed."""
        self.task: asyncio.Task[None] | None = None
        self.process = 0
        """The process on this machine of a one-shot command, as its caller names it."""
        self.kill: Callable[[], None] = lambda: None
        """Has its caller kill it."""
        self.caddy: Caddy | None = None
        """Where it runs Caddy."""
        self.stopped_by_user = False
        self.listeners: dict[int, socket.socket] = {}
        self.listening: set[int] = set()

    @property
    def running(self) -> bool:
        """Whether it runs or is about to be started again."""
        return self.state.status in {"running", "restarting"}

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        self.changed.set()
        self.changed = asyncio.Event()

    def say(self, text: str) -> None:
        """Write to the container's log."""
        now = time.time()
        self.log += [(now, line) for line in text.splitlines()]
        surplus = max(0, len(self.log) - _LONGEST_LOG_LINES)
        del self.log[:surplus]
        self.forgotten += surplus
        self.notify()

    @property
    def said(self) -> int:
        """How many lines were said so far."""
        return self.forgotten + len(self.log)

    def lines_from(self, number: int, since: float = 0.0) -> list[str]:
        """What was said from a line on, counted from 0, and since a time, as far as it is kept."""
        return [line for said, line in self.log[max(0, number - self.forgotten) :] if said >= since]

    def inside_port(self, port: int) -> int | None:
        """The port on 127.0.0.1 that stands for a port of the container."""
        listener = self.listeners.get(port)
        return listener.getsockname()[1] if listener else None

    def published(self) -> list[tuple[str, int, int]]:
        """Address, port on the host and in the container of each published port while it runs."""
        if not self.running:
            return []
        if self.spec.host_network:
            return [("0.0.0.0", port, port) for port in self.listeners]  # noqa: S104 - as Docker prints it
        return self.spec.ports

    def reserve_ports(self) -> None:
        """Bind a port of this machine for each published one."""
        for _, _, port in self.spec.ports:
            self.listener(port)

    def listener(self, port: int) -> socket.socket:
        """The socket behind a container's port, bound on first use."""
        if port not in self.listeners:
            self.listeners[port] = bound_socket("127.0.0.1", 0)
        return self.listeners[port]

    def release_ports(self) -> None:
        """Close the sockets; whoever is connected is cut."""
        for bound in self.listeners.values():
            bound.close()
        self.listeners.clear()
        self.listening.clear()


class DockerEngine:
    """Images and containers of one host; `on_change` is called when what listens may have changed."""

    def __init__(
        self,
        root: Path,
        timing: Timing,
        load_seconds: float,
        on_change: Callable[[], None],
        has_fault: Callable[[str], bool] = lambda _fault: False,
    ) -> None:
        self.root = root
        self.has_fault = has_fault
        self.timing = timing
        self.load_seconds = load_seconds
        self.on_change = on_change
        self.running = False
        self.images: list[registry.Image] = []
        self.containers: dict[str, Container] = {}

    # Engine

    def start(self) -> None:
        """Start the daemon: containers with a restart policy come back."""
        if self.running:
            return
        self.running = True
        for container in self.containers.values():
            policy = container.spec.restart.partition(":")[0]
            if policy == "always" or (policy == "unless-stopped" and not container.stopped_by_user):
                with suppress(DockerError):
                    self.start_container(container)

    async def stop(self) -> None:
        """Stop the daemon and, with it, the containers."""
        self.running = False
        for container in list(self.containers.values()):
            await self._end(container, 0)

    # Images

    def image(self, reference: str) -> registry.Image | None:
        """A pulled image by name, digest or id."""
        repository, tag, digest = registry.split(reference)
        for image in self.images:
            by_name = image.repository == repository and (image.digest == digest if digest else image.tag == tag)
            hexadecimal = reference.removeprefix("sha256:")
            by_id = len(hexadecimal) >= _SHORTEST_IMAGE_ID and image.id.removeprefix("sha256:").startswith(hexadecimal)
            if by_name or by_id:
                return image
        return None

    def add_image(self, image: registry.Image) -> bool:
        """Keep a pulled image; False where it was there already."""
        if image in self.images:
            return False
        self.images.append(image)
        return True

    # Containers

    def find(self, reference: str) -> Container:
        """A container by name or beginning of its id; raises DockerError."""
        for name, container in self.containers.items():
            if name == reference.removeprefix("/") or (
                len(reference) >= _SHORTEST_CONTAINER_ID and container.id.startswith(reference)
            ):
                return container
        raise DockerError(f"No such container: {reference}")

    def create(self, spec: Spec) -> Container:
        """Create a container; raises DockerError where its name is taken."""
        other = self.containers.get(spec.name)
        if other:
            raise DockerError(
                f'Conflict. The container name "/{spec.name}" is already in use by container "{other.id}".'
                " You have to remove (or rename) that container to be able to reuse that name."
            )
        container = Container(spec)
        self.containers[spec.name] = container
        return container

    def start_container(self, container: Container) -> None:
        """Start what a container runs; raises DockerError where its port is taken."""
        if container.running:
            return
        for _, port, _ in container.spec.ports:
            for other in self.containers.values():
                if other is not container and any(port == taken for _, taken, _ in other.published()):
                    raise DockerError(
                        "driver failed programming external connectivity on endpoint"
                        f" {container.spec.name} ({container.id}): Bind for 0.0.0.0:{port} failed:"
                        " port is already allocated"
                    )
        container.stopped_by_user = False
        container.state = State("running", started=_now())
        container.reserve_ports()
        container.task = asyncio.ensure_future(self._keep_running(container))
        self._changed(container)

    def rename(self, container: Container, name: str) -> None:
        """Give a container another name; raises DockerError where that is taken."""
        if name in self.containers:
            raise DockerError(f'Error when allocating new name: Conflict. The container name "/{name}" is already in use')
        del self.containers[container.spec.name]
        container.spec = replace(container.spec, name=name)
        self.containers[name] = container

    def remove_image(self, reference: str) -> None:
        """Remove a pulled image; raises DockerError where there is none, or a container of it."""
        image = self.image(reference)
        if image is None:
            raise DockerError(f"No such image: {reference}")
        used = next((each for each in self.containers.values() if each.spec.image == image), None)
        if used:
            raise DockerError(f"conflict: unable to remove repository reference: container {used.id[:12]} is using it")
        self.images.remove(image)

    async def stop_container(self, container: Container) -> None:
        """Stop a container as a user does: it stays stopped at the next boot. TGI then exits with 0."""
        container.stopped_by_user = True
        status = 0 if launcher.is_model_server(container.spec.image.repository) else _KILLED
        await self._end(container, status)

    async def remove(self, container: Container, *, force: bool) -> None:
        """Remove a container; raises DockerError where it runs and `force` is not set."""
        if container.running and not force:
            raise DockerError(
                f'cannot remove container "/{container.spec.name}": container is running:'
                " stop the container before removing or force remove"
            )
        await self._end(container, _KILLED)
        self.containers.pop(container.spec.name, None)
        container.notify()

    async def _end(self, container: Container, exit_code: int) -> None:
        container.kill()
        if container.task:
            container.task.cancel()
            with suppress(asyncio.CancelledError):
                await container.task
            container.task = None
        container.release_ports()
        if container.running:
            container.state.status = "exited"
            container.state.exit_code = exit_code
            container.state.finished = _now()
        self._changed(container)

    def finish(self, container: Container, exit_code: int) -> None:
        """Record that a one-shot command has ended."""
        container.state.status = "exited"
        container.state.exit_code = exit_code
        container.state.finished = _now()
        container.process, container.kill = 0, lambda: None
        if container.spec.remove and self.containers.get(container.spec.name) is container:
            self.containers.pop(container.spec.name, None)
        self._changed(container)

    async def _keep_running(self, container: Container) -> None:
        """Run the container's process; start it again by its policy, with Docker's growing pause."""
        pause = 0.1
        while True:
            try:
                await self._process(container)
            except launcher.StartError as error:
                container.say(str(error))
                container.state.exit_code = error.status
            container.listening.clear()
            if not _restarts(container):
                break
            container.state.status = "restarting"
            container.state.restarts += 1
            self._changed(container)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_BACKOFF_SECONDS)
            container.state.status = "running"
            container.state.started = _now()
        container.release_ports()
        self.finish(container, container.state.exit_code)

    async def _process(self, container: Container) -> None:
        """What runs in the container until it is cancelled; raises StartError where it ends by itself."""
        spec = container.spec
        if is_caddy(spec.image.repository):
            await self._proxy(container)
        if spec.entrypoint is not None or not launcher.is_model_server(spec.image.repository):
            await asyncio.Event().wait()
        command = launcher.parse(spec.image.repository, spec.arguments, spec.environment)
        self._check_gpu(container)
        directory = self._model_directory(spec, command.model)
        server = launcher.Server(command, directory, spec.environment, self.timing, container.say)
        server.has_flashinfer = not self.has_fault("no_flashinfer")
        listener = container.listener(command.port).dup()
        async with server.running(listener, self.load_seconds):
            container.listening.add(command.port)
            self._changed(container)
            await asyncio.Event().wait()

    async def _proxy(self, container: Container) -> None:
        def outside(path: str) -> Path | None:
            found = container.spec.outside(path)
            return self.root.__class__(found) if found else None

        proxy = container.caddy = Caddy(container.spec.arguments, outside, self._published_inside, container.say)
        async with proxy.running(container.listener(proxy.port).dup()):
            container.listening.add(proxy.port)
            self._changed(container)
            await asyncio.Event().wait()

    def _published_inside(self, port: int) -> int | None:
        """The port on 127.0.0.1 of this machine that stands for a port of the host's own loopback."""
        found = (
            container.inside_port(inside)
            for container in self.containers.values()
            for _, published, inside in container.published()
            if published == port and inside in container.listening
        )
        return next(found, None)

    def _check_gpu(self, container: Container) -> None:
        """One GPU has no memory for two servers: each takes nine tenths of it."""
        if not container.spec.gpus:
            raise launcher.StartError(1, "RuntimeError: no NVIDIA GPU in the container: run it with --gpus all")
        others = [other for other in self.containers.values() if other is not container and other.running]
        if self.has_fault("out_of_memory") or any(other.spec.gpus and other.listening for other in others):
            text = "torch.OutOfMemoryError: CUDA out of memory. GPU 0 has a total capacity of 14.58 GiB"
            raise launcher.StartError(1, text)

    def _model_directory(self, spec: Spec, model: str) -> Path | None:
        """The model's directory on this machine; None for a name on the Hub."""
        if not model.startswith("/"):
            return None
        outside = spec.outside(model)
        return self.root.__class__(outside) if outside else self.root / "nowhere"

    def _changed(self, container: Container) -> None:
        container.notify()
        self.on_change()

    # What is shown

    def inspect(self, container: Container) -> dict[str, Any]:
        """The JSON of `docker inspect`, as far as it is of use here."""
        spec, state = container.spec, container.state
        policy, _, retries = spec.restart.partition(":")
        words = [spec.entrypoint or "/tgi-entrypoint.sh", *spec.arguments]
        bindings = {f"{inside}/tcp": [{"HostIp": host, "HostPort": str(port)}] for host, port, inside in spec.ports}
        return {
            "Id": container.id,
            "Created": container.created,
            "Name": f"/{spec.name}",
            "Image": spec.image.id,
            "Path": words[0],
            "Args": words[1:],
            "RestartCount": state.restarts,
            "State": {
                "Status": state.status,
                "Running": container.running,
                "Restarting": state.status == "restarting",
                "Pid": container.process,
                "ExitCode": state.exit_code,
                "StartedAt": state.started,
                "FinishedAt": state.finished,
            },
            "Config": {
                "Image": spec.image_reference,
                "Cmd": spec.arguments or None,
                "Entrypoint": [spec.entrypoint] if spec.entrypoint is not None else ["/tgi-entrypoint.sh"],
                "Env": [f"{key}={value}" for key, value in spec.environment.items()],
                "Labels": spec.labels,
            },
            "HostConfig": {
                "Binds": [f"{source}:{target}{'' if writable else ':ro'}" for source, target, writable in spec.mounts],
                "PortBindings": bindings,
                "RestartPolicy": {"Name": policy, "MaximumRetryCount": int(retries or 0)},
            },
        }

    def inspect_image(self, image: registry.Image) -> dict[str, Any]:
        """The JSON of `docker image inspect`."""
        return {
            "Id": image.id,
            "RepoTags": [f"{image.repository}:{image.tag}"] if image.tag else [],
            "RepoDigests": [f"{image.repository}@{image.digest}"],
        }


def _restarts(container: Container) -> bool:
    policy, _, limit = container.spec.restart.partition(":")
    if policy == "on-failure":
        return container.state.exit_code != 0 and (not limit or container.state.restarts < int(limit))
    return policy in {"always", "unless-stopped"}


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def valid_name(name: str) -> bool:
    """Whether Docker takes a container name."""
    return re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name) is not None
