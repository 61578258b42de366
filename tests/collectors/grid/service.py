"""A small real HTTP server that answers what a test tells it to."""

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class Answer:
    body: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hold: bool = False  # answer nothing until the test ends


class Service:
    """A service on 127.0.0.1: gives its answers in turn (the last one for ever), and keeps what it was asked.

    Where an answer is given for a path, that one is given there.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.by_path: dict[str, str] = {}
        self.requests: list[Request] = []
        self.end = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                service.requests.append(Request(parts.path, query, dict(self.headers)))
                if parts.path in service.by_path:
                    answer = Answer(service.by_path[parts.path])
                else:
                    answer = service.answers[min(len(service.requests), len(service.answers)) - 1]
                if answer.hold:
                    service.end.wait()
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                body = answer.body.encode()
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def answer(self, *bodies: str | Answer) -> None:
        self.answers = [body if isinstance(body, Answer) else Answer(body) for body in bodies]
        self.requests.clear()

    def close(self) -> None:
        self.end.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
