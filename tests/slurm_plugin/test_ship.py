"""`hook.py ship` against a small receiver that keeps the protocol of docs/hooks.md, and against one that does not."""

import contextlib
import hashlib
import http.server
import io
import json
import socket
import ssl
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest

HOOK = Path(__file__).parents[2] / "slurm_plugin" / "hook.py"
TOKEN = "s3cret"


class Receiver(http.server.ThreadingHTTPServer):
    """The accounting host: a spool of `<node>.<first line's hash>.jsonl`, and the faults that it serves first."""

    daemon_threads = True

    def __init__(self, spool: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.spool = spool
        self.faults: list = []
        self.seen: list[tuple[str, str]] = []
        spool.mkdir()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """A cut connection is what some tests want."""

    def take(self, node: str, journal: str, offset: int, block: bytes) -> tuple[int, int]:
        """Keep what is new of a block. Returns the status and how many bytes are held."""
        path = self.spool / f"{node}.{journal}.jsonl"
        held = path.stat().st_size if path.exists() else 0
        if offset > held:
            return 409, held
        with path.open("ab") as file:
            file.write(block[held - offset :])
        return 200, max(held, offset + len(block))


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def log_message(self, *_):
        pass

    def answer(self, status: int, body: bytes, headers: dict | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        url = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, self.path))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer(401, b"")
            return
        if self.server.faults:
            fault = self.server.faults.pop(0)
            if fault is not None:
                fault(self, url, body)
                return
        self.serve(url, body)

    def serve(self, url, body):
        _, version, kind, node, journal = url.path.split("/")
        assert (version, kind) == ("v1", "journal")
        offset = int(urllib.parse.parse_qs(url.query).get("offset", ["0"])[0])
        status, held = self.server.take(urllib.parse.unquote(node), journal, offset, body)
        self.answer(status, json.dumps({"offset": held}).encode())

    def cut(self, url, body):
        self.close_connection = True
        self.connection.close()

    def kept_then_cut(self, url, body):
        """The block is kept, and the answer gets lost."""
        with contextlib.suppress(OSError):
            self.wfile = io.BytesIO()
            self.serve(url, body)
        self.cut(url, body)


def status(code, **headers):
    return lambda handler, url, body: handler.answer(code, b"", {k.replace("_", "-"): v for k, v in headers.items()})


@pytest.fixture
def receiver(tmp_path):
    server = Receiver(tmp_path / "received")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def sender(node, receiver):
    """The node's journal with two jobs in it, and a function that ships it."""
    token = node.home / "token"
    token.write_text(TOKEN + "\n")
    node.configure(ship_url=receiver.url, ship_token_file=token, rotate_mb=0.0006)
    node.prolog(41)
    node.epilog(41)

    def ship(exit_status=0, python=sys.executable):
        done = subprocess.run(node.command("ship", python=python), env={}, capture_output=True, text=True, timeout=120)
        assert done.returncode == exit_status, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr if exit_status else done.stdout

    return ship


def journal_bytes(node):
    return b"".join(path.read_bytes() for path in sorted(node.journal_dir.glob("*.jsonl"), key=rotated_first))


def rotated_first(path):
    return (path.name == "n1.jsonl", path.name)


def received(receiver, node):
    """What the spool has, in the journal's order."""
    order = [hashlib.sha256(path.read_bytes().splitlines()[0]).hexdigest()[:16]
             for path in sorted(node.journal_dir.glob("*.jsonl"), key=rotated_first)]  # fmt: skip
    assert {path.name for path in receiver.spool.iterdir()} <= {f"n1.{name}.jsonl" for name in order}
    return b"".join((receiver.spool / f"n1.{name}.jsonl").read_bytes() for name in order)


def test_the_journal_arrives_byte_for_byte(node, receiver, sender, python):
    assert sender(python=python) == f"scarbon-ship: {len(journal_bytes(node))} bytes sent\n"
    assert received(receiver, node) == journal_bytes(node)


def test_only_what_is_new_goes_over(node, receiver, sender):
    sender()
    before = len(journal_bytes(node))
    node.prolog(42)
    assert sender() == f"scarbon-ship: {len(journal_bytes(node)) - before} bytes sent\n"
    assert sender() == "scarbon-ship: 0 bytes sent\n"
    assert received(receiver, node) == journal_bytes(node)


def test_a_journal_that_was_put_aside_is_the_same_journal(node, receiver, sender):
    sender()
    for job in range(43, 49):
        node.prolog(job)
    assert len(list(node.journal_dir.glob("*.jsonl"))) > 2
    sender()
    assert received(receiver, node) == journal_bytes(node)


def test_a_line_that_is_being_written_waits(node, receiver, sender):
    whole = journal_bytes(node)
    with (node.journal_dir / "n1.jsonl").open("ab") as file:
        file.write(b'{"v":1,"ev')
    sender()
    assert received(receiver, node) == whole
    with (node.journal_dir / "n1.jsonl").open("ab") as file:
        file.write(b'ent":"end"}\n')
    sender()
    assert received(receiver, node) == journal_bytes(node)


@pytest.mark.parametrize(
    "faults",
    [
        [Handler.cut],
        [None, Handler.cut],
        [None, Handler.kept_then_cut],
        [status(500), None, status(502)],
        [status(503, Retry_After=0), None, status(503, Retry_After=1)],
        [status(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT")],
    ],
    ids=["cut", "cut in the block", "answer lost", "500", "503", "429"],
)
def test_what_passes_is_tried_again_and_nothing_comes_twice(node, receiver, sender, faults):
    receiver.faults = faults
    sender()
    assert received(receiver, node) == journal_bytes(node)


def test_a_receiver_that_has_lost_its_end_is_served_from_there(node, receiver, sender):
    sender()
    path = next(receiver.spool.iterdir())
    first_line = path.read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(first_line)
    sender()
    assert received(receiver, node) == journal_bytes(node)


def test_a_hole_is_refused_and_filled(node, receiver, sender):
    """The receiver loses the file between its answer and the block: it says 409 and where to go on."""
    sender()
    node.prolog(42)
    path = next(receiver.spool.iterdir())

    def lost(handler, url, body):
        path.unlink()
        handler.serve(url, body)

    receiver.faults = [None, lost]
    sender()
    assert received(receiver, node) == journal_bytes(node)


def test_a_wrong_token_is_said_at_once(node, receiver, sender):
    (node.home / "token").write_text("wrong")
    assert "answers 401 Unauthorized" in sender(1)
    assert len(receiver.seen) == 1
    assert list(receiver.spool.iterdir()) == []


def test_a_missing_token_file(node, receiver, sender):
    (node.home / "token").unlink()
    assert sender(1) == f"scarbon-ship: {node.home / 'token'}: No such file or directory\n"


@pytest.mark.parametrize("key", ["ship_url", "ship_token_file"])
def test_a_setting_that_is_missing(node, receiver, sender, key):
    node.configure(**{key: ""})
    assert sender(1).startswith(f"scarbon-ship: {key} ")


def test_a_receiver_that_stays_ill_is_given_up(node, receiver, sender):
    receiver.faults = [status(503, Retry_After=0)] * 5
    assert "answers 503 Service Unavailable (tried 5 times)" in sender(1)
    assert sender() != ""
    assert received(receiver, node) == journal_bytes(node)


def test_a_receiver_that_wants_to_be_left_alone(node, receiver, sender):
    receiver.faults = [status(503, Retry_After=3600)]
    assert "asks to come back in 3600 s" in sender(1)
    assert len(receiver.seen) == 1


def test_a_redirect_is_not_followed_with_the_token(node, receiver, sender):
    receiver.faults = [status(307, Location=receiver.url + "/elsewhere")]
    assert "answers 307" in sender(1)
    assert len(receiver.seen) == 1


def test_something_else_answers(node, receiver, sender):
    receiver.faults = [lambda handler, url, body: handler.answer(200, b"<html>Welcome to nginx!</html>")]
    assert "does not answer as an accounting host does" in sender(1)


def test_nobody_answers(node, receiver, sender):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    node.configure(ship_url=f"http://127.0.0.1:{port}")
    assert f"127.0.0.1:{port} cannot be reached" in sender(1)


def test_a_journal_that_is_shorter_than_what_was_sent(node, receiver, sender):
    sender()
    path = node.journal_dir / "n1.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert "holds more of it than there is" in sender(1)


def test_the_token_does_not_travel_in_the_clear(node, receiver, sender):
    node.configure(ship_url="http://books.example.org")
    assert "must begin with https://" in sender(1)


def test_over_tls_with_the_sites_own_authority(node, receiver, sender, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        capture_output=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    node.configure(ship_url=f"https://localhost:{receiver.server_port}")
    assert "CERTIFICATE_VERIFY_FAILED" in sender(1)
    node.configure(ship_ca_file=certificate)
    sender()
    assert received(receiver, node) == journal_bytes(node)
