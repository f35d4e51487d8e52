from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any, NamedTuple

import pytest
import uvicorn
from fastapi.testclient import TestClient
from starlette.routing import Route

from mnist_utils.serving import middleware
from mnist_utils.serving.app import create_app
from tests.asking import BLACK_ON_WHITE, MODEL, ask, failed, files, form, memory


def test_each_request_is_a_line_of_json_on_stderr(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.get("/healthz")
    client.get('/a"b%0A')
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first.pop("milliseconds") >= 0
    assert first == {"method": "GET", "path": "/healthz", "status": 200}
    assert (second["path"], second["status"]) == ('/a"b\n', 404)


def test_wrong_methods_and_addresses(client: TestClient) -> None:
    response = client.get("/predict")
    failed(response, 405, "GET does not go with /predict; allowed: POST")
    assert response.headers["allow"] == "POST"
    response = client.post("/healthz")
    failed(response, 405, "POST does not go with /healthz; allowed: GET, HEAD")
    assert response.headers["allow"] == "GET, HEAD"
    failed(client.get("/nosuch"), 404, "there is no /nosuch")


ROUTES = [route for route in create_app(MODEL).routes if isinstance(route, Route)]
GETS = [route.path for route in ROUTES if "GET" in (route.methods or ())]


@pytest.mark.parametrize("path", [*GETS, "/nosuch", "/predict"])
def test_head_is_answered_as_get_without_the_body(client: TestClient, path: str) -> None:
    head = client.head(path)
    get = client.get(path)
    assert head.status_code == get.status_code
    if path != "/metrics":  # which counts the HEAD before it
        assert head.headers == get.headers
    assert int(head.headers["content-length"]) > 0


def test_nothing_of_a_body_is_sent_after_head() -> None:
    sent: list[Any] = []  # `client` would throw a body away

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "HEAD", "path": "/version", "query_string": b"", "http_version": "1.1"}
    asyncio.run(create_app(MODEL)({**scope, "headers": []}, receive, send))
    assert sent[0]["status"] == 200
    assert [message["body"] for message in sent[1:]] == [b""]


def test_head_is_for_every_get_and_not_in_the_description(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]
    assert {path for path, methods in described.items() if "get" in methods} == {*GETS} - {"/openapi.json"}
    assert {method for methods in described.values() for method in methods} == {"get", "post"}


def test_head_is_counted_and_logged_as_head(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.head("/v1/models/mnist/metadata")
    client.head("/v1/models/mnist/versions/2")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["method"], first["path"], first["status"]) == ("HEAD", "/v1/models/mnist/metadata", 200)
    assert (second["method"], second["path"], second["status"]) == ("HEAD", "/v1/models/mnist/versions/2", 404)
    lines = client.get("/metrics").text.splitlines()
    assert 'mnist_requests_total{method="HEAD",path="/v1/models/mnist/metadata",status="200"} 1.0' in lines
    assert 'mnist_requests_total{method="HEAD",path="other",status="404"} 1.0' in lines


def test_a_connection_goes_on_after_head(server: tuple[int, int]) -> None:
    head = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
    status, answer = ask(server[0], head + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    first, body = answer.split(b"\r\n\r\n", 1)
    assert status == 200
    assert b"content-length: " in first
    assert body.startswith(b"HTTP/1.1 200 ")
    assert body.endswith(b'{"Success":true}')


def test_an_error_of_ours_is_json_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnist_utils.serving.app.preprocess", lambda _: 1 / 0)
    client = TestClient(create_app(MODEL), raise_server_exceptions=False)
    failed(client.post("/predict", files=files(BLACK_ON_WHITE)), 500, "an error in the server")


def test_a_body_of_200_megabytes_is_refused_without_being_kept(server: tuple[int, int]) -> None:
    port, pid = server
    before, sent = memory(pid), 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012 - which of the chunks it is depends
            for _ in range(200):
                connection.sendall(chunk)
                sent += len(chunk)
        answer = connection.recv(65536)
    assert sent < 80_000_000
    assert b" 413 " in answer.splitlines()[0]
    assert b"too large: a body of more than 64,000,000 bytes" in answer
    assert memory(pid) - before < 30_000, "kB"
    assert ask(port, form(BLACK_ON_WHITE))[0] == 200


def test_an_announced_body_is_refused_before_it_is_sent(server: tuple[int, int]) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 200000000\r\nExpect: 100-continue\r\n"
    status, answer = ask(server[0], head + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n")
    assert status == 413
    assert b"100 Continue" not in answer


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.2)
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "http_version": "1.1"}
    headers = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"100")]
    asyncio.run(create_app(MODEL)({**scope, "headers": headers}, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["Success"] is False


# --- slow headers ---


class Impatient(NamedTuple):
    """A server with a limit of a second for a header, whose application answers when `answer` is set."""

    address: tuple[str, int]
    answer: threading.Event

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=60)

    def wait_longer_than_the_limit(self) -> None:
        """Wait until the server has closed a silent connection that was opened now, twice."""
        for _ in range(2):
            with self.connect() as silent:
                assert silent.recv(65536) == b""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Impatient]:
    monkeypatch.setattr(middleware, "HEADER_SECONDS", 1)
    answer = threading.Event()

    async def app(_: Any, __: Any, send: Any) -> None:
        await asyncio.to_thread(answer.wait, 60)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    http: Any = middleware.http_connection
    server = uvicorn.Server(uvicorn.Config(app, http=http, lifespan="off", log_config=None, timeout_keep_alive=60))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield Impatient(listener.getsockname(), answer)
        server.should_exit = True
        thread.join(60)


REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("complete_ones_before", [0, 1])
def test_a_header_that_drips_is_not_waited_for(impatient: Impatient, complete_ones_before: int) -> None:
    impatient.answer.set()
    with impatient.connect() as connection:
        for _ in range(complete_ones_before):
            connection.sendall(REQUEST)
            assert connection.recv(65536).startswith(b"HTTP/1.1 204 ")
        begun = time.monotonic()
        with pytest.raises(OSError, match=r"reset|pipe|closed"):  # noqa: PT012 - which of the bytes it is depends
            for byte in chain(b"GET / HTTP/1.1\r\nSlow: ", repeat(0x78)):
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
                assert time.monotonic() - begun < 60


def test_a_connection_that_awaits_its_response_or_idles_between_two_requests_is_kept(impatient: Impatient) -> None:
    with impatient.connect() as connection:
        connection.sendall(REQUEST)
        impatient.wait_longer_than_the_limit()
        impatient.answer.set()
        assert connection.recv(65536).startswith(b"HTTP/1.1 204 ")
        impatient.wait_longer_than_the_limit()  # uvicorn's keep-alive timer alone counts here
        connection.sendall(REQUEST)
        assert connection.recv(65536).startswith(b"HTTP/1.1 204 ")
