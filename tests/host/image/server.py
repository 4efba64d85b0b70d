"""The model server's stand-in in the image: TGI's routes as far as the scripts and these tests ask them.

How it behaves is the model's name, as the weights' folder tells it: some models do not start, or never answer.
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WORDS = [" Edge", " is", " near", "."]
DIRECTORY = Path(sys.argv[sys.argv.index("--model-id") + 1])


class Answers(BaseHTTPRequestHandler):
    """Answers one request."""

    model = ""

    def do_GET(self) -> None:
        """Health."""
        self.send_response(200 if self.path == "/health" and self.model != "acme/never-healthy" else 503)
        self.end_headers()

    def do_POST(self) -> None:
        """Generation."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.model == "acme/no-token":
            self.send_response(424)
            self.end_headers()
            self.wfile.write(json.dumps({"error": "CUDA error", "error_type": "generation"}).encode())
        elif self.path == "/v1/completions":
            self._answer("application/json", json.dumps({"choices": [{"text": "".join(WORDS[: request["max_tokens"]])}]}))
        else:
            events = [{"index": index, "token": {"text": word, "special": False}} for index, word in enumerate(WORDS, 1)]
            self._answer("text/event-stream", "".join(f"data: {json.dumps(event)}\n\n" for event in events))

    def _answer(self, content_type: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.end_headers()
        self.wfile.write(text.encode())


def stop(_signal: int, _frame: object) -> None:
    """Ends the server at once."""
    os._exit(0)


def main() -> None:
    """Serve the weights at the port that the image's PORT names."""
    # Process 1 ends by no signal that it does not handle.
    signal.signal(signal.SIGTERM, stop)
    Answers.model = json.loads((DIRECTORY / "config.json").read_text())["_name_or_path"]
    if Answers.model == "acme/dies":
        sys.exit("torch.OutOfMemoryError: CUDA out of memory.")
    print("Using Attention = paged", flush=True)  # noqa: T201 - the log that a person looks at
    ThreadingHTTPServer(("", int(os.environ["PORT"])), Answers).serve_forever()


main()
