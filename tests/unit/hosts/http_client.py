"""A client for the tests: plain http.client, so that nothing hides what is on the wire."""

import http.client
import json
from typing import Any


class Answer:
    """Status, headers and body of one response."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of the server-sent events, parsed where they are JSON."""
        lines = [line.removeprefix("data: ") for line in self.body.decode().split("\n\n") if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


def send(port: int, path: str, body: object | None, headers: dict[str, str] | None = None) -> http.client.HTTPConnection:
    """Send a request: POST with a JSON body, GET without one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    data = body if isinstance(body, str) else json.dumps(body)
    sent = {"content-type": "application/json", **(headers or {})}
    if body is None:
        connection.request("GET", path, headers=headers or {})
    else:
        connection.request("POST", path, data, sent)
    return connection


def ask(port: int, path: str, body: object | None = None, headers: dict[str, str] | None = None) -> Answer:
    """Send a request and read all of the answer."""
    return Answer(send(port, path, body, headers).getresponse())
