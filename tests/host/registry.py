"""The model server's image, and a registry to pull it from: this machine's own Python, the stand-in server, nothing else.

Docker's registry API as far as `docker pull` reads it. Leaves out pushing, authentication and ranges.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

_NEVER = "never/arrives"
NAME, TAG = "huggingface/text-generation-inference", "2.4.0"
_FILES = Path(__file__).parent / "image"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_NOT_NEEDED = {
    "__pycache__",
    "dist-packages",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tkinter",
}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _without(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    skipped = _NOT_NEEDED.intersection(Path(entry.name).parts) or "/config-" in entry.name
    return None if skipped else entry


def _libraries(*binaries: Path) -> set[str]:
    """What the binaries are linked with, the loader among it, as `ldd` names it."""
    found = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout.split()
    return {word for word in found if word.startswith("/") and not word.endswith(":")}


def _layer() -> bytes:
    """The root file system as a tar archive."""
    interpreter = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    modules = (library / "lib-dynload").glob("*.so")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        for name in ("bin", "lib", "lib64"):
            if (link := Path("/") / name).is_symlink():
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, str(link.readlink())
                archive.addfile(entry)
        for path in {str(interpreter), "/etc/ld.so.cache", *_libraries(interpreter, *modules)}:
            archive.add(path, str(Path(path).parent.resolve() / Path(path).name))
        archive.add(library, filter=_without)
        archive.add(_FILES / "huggingface_hub.py", str(library / "huggingface_hub.py"))
        archive.add(_FILES / "server.py", "server.py")
        entry = tarfile.TarInfo("usr/bin/python3")
        entry.type, entry.linkname = tarfile.SYMTYPE, str(interpreter)
        archive.addfile(entry)
    return buffer.getvalue()


class Registry:
    """Serves the image at 127.0.0.1; made in the network that the image is to be pulled in."""

    def __init__(self) -> None:
        layer = _layer()
        config = {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
            "os": "linux",
            # As TGI's image has them: its port, and its server as the entry point.
            "config": {"Entrypoint": ["python3", "/server.py"], "Env": ["PATH=/usr/bin", "PORT=80"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "history": [{"created_by": "tests/host"}],
        }
        self._blobs = {_digest(content): content for content in (layer, json.dumps(config).encode())}
        described = [
            {"mediaType": kind, "size": len(content), "digest": digest}
            for kind, (digest, content) in zip((_LAYER, _CONFIG), self._blobs.items(), strict=True)
        ]
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": described[1], "layers": described[:1]}
        self._manifest = json.dumps(manifest).encode()
        self._stopping = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, dict(self._paths()), self._stopping))
        self._thread = threading.Thread(target=self.server.serve_forever)

    def _paths(self) -> Iterator[tuple[str, tuple[str, bytes]]]:
        yield "/v2/", ("application/json", b"{}")
        for reference in (TAG, _digest(self._manifest)):
            yield f"/v2/{NAME}/manifests/{reference}", (_MANIFEST, self._manifest)
        for digest, content in self._blobs.items():
            yield f"/v2/{NAME}/blobs/{digest}", ("application/octet-stream", content)

    @property
    def image(self) -> str:
        """The image's name with its tag."""
        return f"127.0.0.1:{self.server.server_address[1]}/{NAME}:{TAG}"

    @property
    def missing_image(self) -> str:
        """A tag that nobody has pushed."""
        return self.image.replace(TAG, "2.4.99")

    @property
    def image_that_never_arrives(self) -> str:
        """An image whose registry does not answer."""
        return self.image.replace(NAME, _NEVER)

    @property
    def image_by_digest(self) -> str:
        """The same image, pinned."""
        return f"{self.image.removesuffix(f':{TAG}')}@{_digest(self._manifest)}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One request of `docker pull`."""

    def __init__(self, paths: Mapping[str, tuple[str, bytes]], stopping: threading.Event, *arguments: object) -> None:
        self._paths, self._stopping = paths, stopping
        super().__init__(*arguments)  # pyright: ignore[reportArgumentType, reportCallIssue]

    def do_HEAD(self) -> None:
        self._headers()

    def do_GET(self) -> None:
        self.wfile.write(self._headers())

    def _headers(self) -> bytes:
        if _NEVER in self.path:
            self._stopping.wait()
        found = self._paths.get(self.path)
        kind, content = found or (
            "application/json",
            b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}',
        )
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if found:
            self.send_header("Docker-Content-Digest", _digest(content))
        self.end_headers()
        return content

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""
