"""The `docker` command of a host: arguments, output and exit statuses as Docker 25 has them.

Left out on purpose: every command and option that no script here uses; they are refused as unknown.
Long, because it is one table: a subcommand after the other, each with its options and its own words of refusal.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
import uuid
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.hosts import docker_engine, registry
from localcloud.hosts.docker_engine import Container, DockerEngine, DockerError
from localcloud.hosts.go_template import TemplateError, render
from localcloud.hosts.session import ExitError, Session
from localcloud.model_server.launcher import StartError

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

_CONTAINER_PYTHON = Path(__file__).parent / "container_python"
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_CANNOT_CONNECT = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_RUN_VALUES = _names(
    "name gpus shm-size restart publish volume env env-file label entrypoint log-opt network pull cap-add cap-drop tmpfs"
)
_RUN_SWITCHES = _names("detach rm interactive init")
_SHORT = {
    "a": ("all",), "d": ("detach",), "e": ("env",), "f": ("force", "follow", "filter", "format"), "i": ("interactive",),
    "l": ("label",), "n": ("tail",), "p": ("publish",), "q": ("quiet",), "t": ("time", "timestamps"), "v": ("volume", "volumes"),
}  # fmt: skip
"""What a letter may stand for; the command's own options decide."""

Options = dict[str, list[str]]


class DockerCli:
    """Runs `docker …` calls against one host's engine."""

    def __init__(self, engine: DockerEngine, hub_endpoint: str, pull_seconds: float) -> None:
        self.engine = engine
        self.hub_endpoint = hub_endpoint
        self.pull_seconds = pull_seconds

    async def run(self, session: Session) -> int:
        """Run one call; returns its exit status."""
        arguments = session.arguments[1:]
        words = 2 if arguments[:1] == ["image"] else 1
        name, arguments = " ".join(arguments[:words]), arguments[words:]
        command = self._commands().get(name)
        if command is None:
            raise ExitError(1, f"docker: '{name}' is not a docker command.\nSee 'docker --help'")
        if not self.engine.running and name != "info":
            raise ExitError(
                *((125, f"docker: {_CANNOT_CONNECT}.\nSee 'docker run --help'.") if name == "run" else (1, _CANNOT_CONNECT))
            )
        try:
            return await command(session, arguments)
        except DockerError as error:
            raise ExitError(1, f"Error response from daemon: {error}") from error
        except (registry.RegistryError, TemplateError) as error:
            raise ExitError(1, str(error)) from error

    def _commands(self) -> dict[str, Callable[[Session, list[str]], Any]]:
        return {
            "info": self._info,
            "pull": self._pull,
            "image inspect": self._image_inspect,
            "inspect": self._inspect,
            "ps": self._ps,
            "run": self._run,
            "rm": self._rm,
            "rename": self._rename,
            "image rm": self._image_rm,
            "stop": self._stop,
            "start": self._start,
            "restart": self._restart,
            "logs": self._logs,
            "port": self._port,
            "exec": self._exec,
            "wait": self._wait,
        }

    # Engine

    async def _info(self, session: Session, arguments: list[str]) -> int:
        options, _ = _parse("info", arguments, {"format"}, set())
        if not self.engine.running:
            raise ExitError(1, f"ERROR: {_CANNOT_CONNECT}\nerrors pretty printing info")
        template = options.get("format", ["Server:\n Server Version: {{.ServerVersion}}"])[-1]
        session.out(render(template, {"ServerVersion": docker_engine.VERSION}))
        return 0

    # Images

    async def _pull(self, session: Session, arguments: list[str]) -> int:
        options, rest = _parse("pull", arguments, {"platform"}, {"quiet"})
        (reference,) = _exactly("pull", rest, 1)
        await self._pull_image(session.out, reference, quiet="quiet" in options)
        return 0

    async def _pull_image(self, say: Callable[[str], None], reference: str, *, quiet: bool) -> None:
        repository, tag, digest = registry.split(reference)
        canonical = f"{repository}@{digest}" if digest else f"{repository}:{tag}"
        full = canonical if "." in repository.partition("/")[0] else _docker_hub(canonical)

        def progress(text: str) -> None:
            if not quiet:
                say(text)

        if reference == repository and not quiet:
            progress("Using default tag: latest")
        image = registry.find(reference)
        progress(f"{digest or tag}: Pulling from {full.split('/', 1)[1].split('@')[0].rpartition(':')[0] or repository}")
        if image not in self.engine.images:
            layers = [image.digest[7 + 12 * n : 19 + 12 * n] for n in range(4)]
            for layer in layers:
                progress(f"{layer}: Pulling fs layer")
            for layer in layers:
                await asyncio.sleep(self.pull_seconds / len(layers))
                progress(f"{layer}: Pull complete")
        fresh = self.engine.add_image(image)
        progress(f"Digest: {image.digest}")
        progress(f"Status: {'Downloaded newer image' if fresh else 'Image is up to date'} for {canonical}")
        say(full)

    async def _image_inspect(self, session: Session, arguments: list[str]) -> int:
        options, rest = _parse("inspect", arguments, {"format"}, set())
        return self._show(session, options, rest, self._image_shown, "No such image")

    def _image_shown(self, reference: str) -> dict[str, Any] | None:
        image = self.engine.image(reference)
        return self.engine.inspect_image(image) if image else None

    def _container_shown(self, reference: str) -> dict[str, Any] | None:
        try:
            return self.engine.inspect(self.engine.find(reference))
        except DockerError:
            return None

    # Containers

    async def _inspect(self, session: Session, arguments: list[str]) -> int:
        options, rest = _parse("inspect", arguments, {"format", "type"}, set())
        kind = options.get("type", [""])[-1]

        def shown(reference: str) -> dict[str, Any] | None:
            container = self._container_shown(reference) if kind in {"", "container"} else None
            return container or (self._image_shown(reference) if kind in {"", "image"} else None)

        missing = {"container": "No such container", "image": "No such image"}.get(kind, "No such object")
        return self._show(session, options, rest, shown, missing)

    def _show(
        self,
        session: Session,
        options: Options,
        references: list[str],
        find: Callable[[str], dict[str, Any] | None],
        missing: str,
    ) -> int:
        """Print what was found, then complain of what was not, as Docker's inspect commands do."""
        found = [(reference, find(reference)) for reference in references]
        shown = [item for _, item in found if item]
        if "format" in options:
            for item in shown:
                session.out(render(options["format"][-1], item))
            if not shown:
                session.out("")
        else:
            session.out(json.dumps(shown, indent=4))
        absent = [reference for reference, item in found if not item]
        for reference in absent:
            session.err(f"Error: {missing}: {reference}" if "object" in missing
                        else f"Error response from daemon: {missing}: {reference}")  # fmt: skip
        return 1 if absent else 0

    async def _ps(self, session: Session, arguments: list[str]) -> int:
        options, _ = _parse("ps", arguments, {"filter", "format"}, {"all", "quiet"})
        columns = "{{.ID}}   {{.Image}}   {{.Status}}   {{.Ports}}   {{.Names}}"
        if "quiet" not in options and "format" not in options:
            session.out("CONTAINER ID   IMAGE   STATUS   PORTS   NAMES")
        template = options.get("format", ["{{.ID}}" if "quiet" in options else columns])[-1]
        for container in self.engine.containers.values():
            if ("all" in options or container.running) and _matches(container, options.get("filter", [])):
                session.out(render(template, _row(container)))
        return 0

    async def _rm(self, session: Session, arguments: list[str]) -> int:
        options, rest = _parse("rm", arguments, set(), {"force", "volumes"})
        return await self._each(
            session, rest, lambda c: self.engine.remove(c, force="force" in options), ignore="force" in options
        )

    async def _rename(self, _session: Session, arguments: list[str]) -> int:
        reference, name = _exactly("rename", arguments, 2)
        self.engine.rename(self.engine.find(reference), name)
        return 0

    async def _image_rm(self, session: Session, arguments: list[str]) -> int:
        for reference in arguments:
            self.engine.remove_image(reference)
            session.out(f"Untagged: {reference}")
        return 0

    async def _stop(self, session: Session, arguments: list[str]) -> int:
        _, rest = _parse("stop", arguments, {"time"}, set())
        return await self._each(session, rest, self.engine.stop_container)

    async def _start(self, session: Session, arguments: list[str]) -> int:
        _, rest = _parse("start", arguments, set(), set())

        async def start(container: Container) -> None:
            self.engine.start_container(container)

        return await self._each(session, rest, start)

    async def _restart(self, session: Session, arguments: list[str]) -> int:
        _, rest = _parse("restart", arguments, {"time"}, set())

        async def restart(container: Container) -> None:
            await self.engine.stop_container(container)
            self.engine.start_container(container)

        return await self._each(session, rest, restart)

    async def _each(
        self, session: Session, references: list[str], act: Callable[[Container], Any], *, ignore: bool = False
    ) -> int:
        """Do something with each container; print its name, or the error and go on."""
        failed = False
        for reference in references:
            try:
                await act(self.engine.find(reference))
                session.out(reference)
            except DockerError as error:
                session.err(f"Error response from daemon: {error}")
                failed = failed or not (ignore and "No such container" in str(error))
        return 1 if failed else 0

    async def _logs(self, session: Session, arguments: list[str]) -> int:
        options, rest = _parse("logs", arguments, {"tail", "since"}, {"follow", "timestamps"})
        container = self.engine.find(*_exactly("logs", rest, 1))
        tail = options.get("tail", ["all"])[-1]
        shown = container.said - int(tail) if tail.isdigit() else 0
        shown, since = max(0, shown), _since(options.get("since", [""])[-1])
        while True:
            for line in container.lines_from(shown, since):
                session.out(line)
            shown = container.said
            if "follow" not in options or not container.running:
                return 0
            await container.changed.wait()

    async def _port(self, session: Session, arguments: list[str]) -> int:
        """Unlike Docker, print where the port is on this machine: scripts call the server through it."""
        if not 1 <= len(arguments) <= 2:  # noqa: PLR2004
            raise ExitError(1, '"docker port" requires at least 1 and at most 2 arguments.')
        container = self.engine.find(arguments[0])
        ports = {f"{inside}/tcp": container.inside_port(inside) for _, _, inside in container.published()}
        if len(arguments) == 1:
            for name, port in ports.items():
                session.out(f"{name} -> 127.0.0.1:{port}")
            return 0
        wanted = arguments[1] if "/" in arguments[1] else f"{arguments[1]}/tcp"
        if wanted not in ports:
            raise ExitError(1, f"Error: No public port '{wanted}' published for {arguments[0]}")
        session.out(f"127.0.0.1:{ports[wanted]}")
        return 0

    async def _wait(self, session: Session, arguments: list[str]) -> int:
        for reference in arguments:
            container = self.engine.find(reference)
            while container.running:
                await container.changed.wait()
            session.out(str(container.state.exit_code))
        return 0

    async def _exec(self, _session: Session, arguments: list[str]) -> int:
        _, rest = _parse("exec", arguments, set(), set(), until_first=True)
        container = self.engine.find(rest[0] if rest else "")
        if not container.running:
            raise DockerError(f"container {container.id} is not running")
        if not container.caddy or rest[1:2] != ["caddy"]:
            raise DockerError(f"the local cloud runs caddy in a container that runs it, and nothing else; not {rest[1:]}")
        try:
            container.caddy.reload(rest[1:])
        except StartError as error:
            raise ExitError(error.status, str(error)) from error
        return 0

    # docker run

    async def _run(self, session: Session, arguments: list[str]) -> int:
        options, rest = _parse("run", arguments, _RUN_VALUES, _RUN_SWITCHES, until_first=True)
        if not rest:
            raise ExitError(1, "\"docker run\" requires at least 1 argument.\nSee 'docker run --help'.")
        try:
            await self._pull_for_run(session, options, rest[0])
            spec = self._spec(session, options, rest)
            container = self.engine.create(spec)
            if spec.entrypoint is not None and "detach" not in options:
                return await self._one_shot(session, container)
            self.engine.start_container(container)
        except DockerError as error:
            raise ExitError(125, f"docker: Error response from daemon: {error}.\nSee 'docker run --help'.") from error
        except registry.RegistryError as error:
            raise ExitError(125, f"docker: {error}.\nSee 'docker run --help'.") from error
        if "detach" in options:
            session.out(container.id)
            return 0
        return await self._attached(session, container)

    async def _pull_for_run(self, session: Session, options: Options, reference: str) -> None:
        policy = options.get("pull", ["missing"])[-1]
        if policy != "always" and self.engine.image(reference):
            return
        if policy == "never":
            raise DockerError(f"No such image: {':'.join(filter(None, registry.split(reference)[:2]))}")
        session.err(f"Unable to find image '{reference}' locally")
        await self._pull_image(session.err, reference, quiet=False)

    def _spec(self, session: Session, options: Options, rest: list[str]) -> docker_engine.Spec:
        image = self.engine.image(rest[0])
        if image is None:
            raise DockerError(f"No such image: {rest[0]}")
        name = options.get("name", [f"sim_{uuid.uuid4().hex[:8]}"])[-1]
        if not docker_engine.valid_name(name):
            raise DockerError(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        restart = options.get("restart", ["no"])[-1]
        if restart.partition(":")[0] not in {"no", "always", "unless-stopped", "on-failure"}:
            raise DockerError(
                f"invalid restart policy: unknown policy '{restart}';"
                " use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )
        if "rm" in options and restart != "no":
            raise ExitError(125, "docker: conflicting options: cannot specify both --restart and --rm.\nSee 'docker run --help'.")
        return docker_engine.Spec(
            image=image,
            image_reference=rest[0],
            name=name,
            arguments=rest[1:],
            entrypoint=options["entrypoint"][-1] if "entrypoint" in options else None,
            environment=_environment(session, options),
            labels=dict(_pair(label) for label in options.get("label", [])),
            mounts=[self._mount(volume) for volume in options.get("volume", [])],
            ports=[_published(text) for text in options.get("publish", [])],
            restart=restart,
            remove="rm" in options,
            host_network=options.get("network", [""])[-1] == "host",
            gpus="gpus" in options,
        )

    def _mount(self, volume: str) -> tuple[str, str, bool]:
        """A bind mount; the host's paths lie below its root directory on this machine."""
        source, _, rest = volume.partition(":")
        target, _, flags = rest.partition(":")
        if not target.startswith("/") or not source.startswith("/"):
            raise DockerError(f"invalid volume specification: '{volume}': the local cloud takes /path:/path[:ro] only")
        root = str(self.engine.root)
        inside = source == root or source.startswith(root + "/")
        place = Path(source if inside else root + source)
        if not place.exists():
            place.mkdir(parents=True)  # as Docker does for a path that is not there
        return str(place), target, "ro" not in flags.split(",")

    async def _one_shot(self, session: Session, container: Container) -> int:
        container.state.status = "running"
        spec = container.spec
        status = 137
        try:
            command = [spec.entrypoint or "true", *spec.arguments]
            status = await self._on_this_machine(session, spec, command, container)
        finally:
            self.engine.finish(container, status)
        return status

    async def _on_this_machine(
        self, session: Session, spec: docker_engine.Spec, arguments: list[str], container: Container | None = None
    ) -> int:
        """Run a container's command with this machine's programs; mounted paths are translated. It ends with the container."""

        def started(process: int, kill: Callable[[], None]) -> None:
            if container:
                container.process, container.kill = process, kill

        program, *rest = arguments
        program = {"python3": sys.executable, "python": sys.executable}.get(program, spec.translate(program))
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/nonexistent",
            "PYTHONPATH": str(_CONTAINER_PYTHON),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HF_ENDPOINT": self.hub_endpoint,
            **{key: spec.translate(value) for key, value in spec.environment.items()},
        }
        return await session.spawn([program, *map(spec.translate, rest)], environment, str(self.engine.root), started)

    async def _attached(self, session: Session, container: Container) -> int:
        """`docker run` without -d: the log until it ends; the container goes when its caller goes."""
        shown = 0
        try:
            while True:
                for line in container.lines_from(shown):
                    session.out(line)
                shown = container.said
                if not container.running:
                    return container.state.exit_code
                await container.changed.wait()
        finally:
            with suppress(DockerError):
                if container.running:
                    await self.engine.stop_container(container)
                if container.spec.remove:
                    await self.engine.remove(container, force=True)


def _docker_hub(canonical: str) -> str:
    return f"docker.io/{canonical if '/' in canonical else 'library/' + canonical}"


def _since(text: str) -> float:
    """The time, in seconds since 1970, that `--since` means: a length of time before now, or a time."""
    if not text:
        return 0.0
    if _DURATION.fullmatch(text):
        return time.time() - sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ExitError(1, f'invalid value for "since": failed to parse value as time or duration: "{text}"') from None


def _parse(
    command: str, arguments: list[str], values: AbstractSet[str], switches: AbstractSet[str], *, until_first: bool = False
) -> tuple[Options, list[str]]:
    """Split options from the rest; `until_first`: options end at the first other argument."""
    options: Options = {}
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if not word.startswith("-") or word == "-" or (until_first and rest):
            rest.append(word)
            if until_first:
                return options, rest + queue
            continue
        if word == "--":
            return options, rest + queue
        for name, value in _option(word, values, switches):
            if name in switches:
                options.setdefault(name, []).append("true")
            elif name not in values:
                shown = f"unknown flag: {word}" if word.startswith("--") else f"unknown shorthand flag: '{word[1]}' in {word}"
                raise ExitError(125, f"{shown}\nSee 'docker {command} --help'.")
            elif value is None and not queue:
                raise ExitError(125, f"flag needs an argument: {word}\nSee 'docker {command} --help'.")
            else:
                options.setdefault(name, []).append(queue.pop(0) if value is None else value)
    return options, rest


def _option(word: str, values: AbstractSet[str], switches: AbstractSet[str]) -> list[tuple[str, str | None]]:
    """The long names and attached value of one word: --name, --name=value, -d, -it, -p80:80."""
    if word.startswith("--"):
        name, separator, value = word[2:].partition("=")
        return [(name, value if separator else None)]
    found: list[tuple[str, str | None]] = []
    for position, letter in enumerate(word[1:], start=2):
        name = next((name for name in _SHORT.get(letter, ()) if name in values or name in switches), letter)
        if name in values:
            return [*found, (name, word[position:].removeprefix("=") or None)]
        found.append((name, None))
    return found


def _exactly(command: str, rest: list[str], count: int) -> list[str]:
    if len(rest) != count:
        raise ExitError(1, f"\"docker {command}\" requires exactly {count} argument.\nSee 'docker {command} --help'.")
    return rest


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _environment(session: Session, options: Options) -> dict[str, str]:
    """Variables of --env-file and -e; a name alone takes the caller's value, as Docker does."""
    lines: list[str] = []
    for name in options.get("env-file", []):
        try:
            lines += Path(session.directory, name).read_text().splitlines()
        except OSError as error:
            raise ExitError(125, f"docker: open {name}: {(error.strerror or '').lower()}.\nSee 'docker run --help'.") from error
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")] + options.get("env", [])
    found: dict[str, str] = {}
    for line in lines:
        key, separator, value = line.partition("=")
        if separator:
            found[key] = value
        elif key in session.environment:
            found[key] = session.environment[key]
    return found


def _published(text: str) -> tuple[str, int, int]:
    """[address:]host:container[/tcp] of -p."""
    parts = text.removesuffix("/tcp").split(":")
    if not 2 <= len(parts) <= 3 or not all(part.isdigit() for part in parts[-2:]):  # noqa: PLR2004
        raise DockerError(f"invalid published port '{text}': the local cloud takes [address:]port:port only")
    address = parts[0] if len(parts) == 3 else "0.0.0.0"  # noqa: S104, PLR2004
    return address, int(parts[-2]), int(parts[-1])


def _matches(container: Container, filters: list[str]) -> bool:
    for text in filters:
        key, _, wanted = text.partition("=")
        if key != "name":
            raise DockerError(f"invalid filter '{key}'")
        name, sought = container.spec.name, wanted.strip("^/$")
        if not (name == sought if wanted.endswith("$") else sought in name):
            return False
    return True


def _row(container: Container) -> dict[str, str]:
    """The columns of `docker ps`."""
    spec, state = container.spec, container.state
    status = {
        "running": "Up",
        "created": "Created",
        "restarting": f"Restarting ({state.exit_code})",
        "exited": f"Exited ({state.exit_code})",
    }[state.status]
    return {
        "ID": container.id[:12],
        "Image": spec.image_reference,
        "Status": status,
        "Ports": ", ".join(f"{host}:{port}->{inside}/tcp" for host, port, inside in container.published()),
        "Names": spec.name,
    }
