from __future__ import annotations

import asyncio
import itertools
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageOps

from mnist_utils import images, inference, serving
from mnist_utils.data import load_dataset
from tests.test_images import packed, seven

REFERENCE = Path(__file__).parent.parent / "results" / "reference"
MODEL = REFERENCE / "model.tflite"
BLACK_ON_WHITE, WHITE_ON_BLACK = packed(seven()), packed(ImageOps.invert(seven()))


@pytest.fixture
def client() -> TestClient:
    return TestClient(serving.create_app(MODEL))


def files(*contents: bytes, field: str = "image") -> list[tuple[str, tuple[str, bytes]]]:
    return [(field, (f"{n}.png", content)) for n, content in enumerate(contents, start=1)]


def failed(response: Any, status: int, message: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    content = response.json()
    assert content.keys() == {"Success", "Error"}
    assert content["Success"] is False
    assert message in content["Error"]


# --- answers ---


def test_the_answer_has_exactly_the_promised_keys_whatever_the_polarity(client: TestClient) -> None:
    for picture in BLACK_ON_WHITE, WHITE_ON_BLACK:
        response = client.post("/predict", files=files(picture))
        assert response.status_code == 200
        (prediction,) = response.json()["Predictions"]
        share = prediction["Softmax probability"]
        assert 0.8 < share <= 1
        assert response.json() == {"Predictions": [{"Label": 7, "Softmax probability": share}], "Success": True}


def test_several_pictures_are_answered_in_order(client: TestClient) -> None:
    dataset = load_dataset("digits")
    digits = [dataset.x_test[dataset.y_test == label][0] for label in (3, 0, 6)]
    response = client.post("/predict", files=files(*(packed(Image.fromarray(digit)) for digit in digits)))
    assert [prediction["Label"] for prediction in response.json()["Predictions"]] == [3, 0, 6]


def test_the_first_frame_of_an_animated_gif_is_answered(client: TestClient) -> None:
    frames = [seven().convert("L"), Image.new("L", (200, 160), 255)]
    gif = packed(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert client.post("/predict", files=files(gif)).json()["Predictions"][0]["Label"] == 7


def test_explain_tells_what_the_network_saw(client: TestClient) -> None:
    answer = client.post("/explain", files=files(BLACK_ON_WHITE)).json()
    assert answer.keys() == {"Label", "Probabilities", "Seen", "Inverted"}
    seen = np.array(answer["Seen"])
    assert (seen.shape, seen.max(), answer["Inverted"]) == ((28, 28), 255, True)
    expected = inference.load(MODEL)(seen[None])[0]
    np.testing.assert_allclose(answer["Probabilities"], expected, atol=1e-4)
    failed(client.post("/explain", files=files(BLACK_ON_WHITE, BLACK_ON_WHITE)), 400, "/explain takes one")


@pytest.mark.parametrize("shape", [(-1, 28, 28), (-1, 28, 28, 1)])
def test_tensorflow_servings_address_gives_the_networks_own_probabilities(
    client: TestClient, shape: tuple[int, ...]
) -> None:
    batch = load_dataset("digits").x_test[:3]
    response = client.post("/v1/models/mnist:predict", json={"instances": batch.reshape(shape).tolist()})
    assert response.status_code == 200
    np.testing.assert_array_equal(np.array(response.json()["predictions"], np.float32), inference.load(MODEL)(batch))


def test_health_version_and_description(client: TestClient) -> None:
    assert client.get("/healthz").json() == client.get("/readyz").json() == {"Success": True}
    facts = {"version": "0.1.0", "run": "reference", "network": "fast", "trained on": "mnist"}
    assert client.get("/version").json() == facts
    assert client.get("/v1/models/mnist").json()["model_version_status"][0]["state"] == "AVAILABLE"
    described = client.get("/openapi.json").json()
    assert "Softmax probability" in json.dumps(described)
    assert {"/predict", "/healthz", "/metrics", "/v1/models/mnist:predict"} <= described["paths"].keys()
    failed(client.get("/docs"), 404, "there is no /docs")


def test_the_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    response = client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "unsafe" not in response.headers["content-security-policy"]
    assert "http" not in response.text.replace("http-equiv", "")


def test_metrics_count_what_was_asked_and_answered(client: TestClient) -> None:
    client.post("/predict", files=files(BLACK_ON_WHITE, WHITE_ON_BLACK))
    client.post("/predict", files=files(b"no picture"))
    client.get("/whatever/a/stranger/thinks/up")
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'mnist_requests_total{method="POST",path="/predict",status="200"} 1.0',
        'mnist_requests_total{method="POST",path="/predict",status="415"} 1.0',
        'mnist_requests_total{method="GET",path="other",status="404"} 1.0',
        'mnist_request_seconds_count{path="/predict"} 2.0',
        'mnist_predictions_total{digit="7"} 2.0',
        "mnist_confidence_count 2.0",
    ):
        assert line in lines


def test_each_request_is_a_line_of_json_on_stderr(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.get("/healthz")
    client.get('/a"b%0A')
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first.pop("milliseconds") >= 0
    assert first == {"method": "GET", "path": "/healthz", "status": 200}
    assert (second["path"], second["status"]) == ('/a"b\n', 404)


# --- errors; after each, the next request is answered ---

HUGE = BLACK_ON_WHITE[:16] + struct.pack(">II", 50_000, 50_000) + bytes.fromhex("0800000000")
HUGE += struct.pack(">I", zlib.crc32(HUGE[12:])) + BLACK_ON_WHITE[33:]
JPEG = packed(seven(), "JPEG")


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({"content": b""}, 400, "the body is empty"),
        ({"content": BLACK_ON_WHITE}, 415, "Content-Type: given none; allowed: multipart/form-data"),
        ({"json": {"image": "x"}}, 415, "Content-Type: given application/json"),
        ({"data": {"image": "photo.jpg"}}, 415, "Content-Type: given application/x-www-form-urlencoded"),
        ({"files": files(BLACK_ON_WHITE, field="picture")}, 400, "'image' is missing; fields given: picture"),
        ({"files": [("image", (None, "photo.jpg"))]}, 400, "holds a text, not a file; mind the @"),
        ({"content": b"--x\r\ngarbage", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400, ""),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
        ({"files": files(b"hello, I am a text")}, 415, "not a picture: none of PNG, JPEG"),
        ({"files": files(b"")}, 415, "not a picture"),
        ({"files": files(b"<svg xmlns='http://www.w3.org/2000/svg'/>")}, 415, "not a picture"),
        ({"files": files(JPEG[: len(JPEG) // 2])}, 400, "cannot be decoded"),
        ({"files": files(packed(Image.new("L", (50, 50), 255)))}, 422, "no digit"),
        ({"files": files(HUGE)}, 413, "too large: more than 50,000,000 pixels"),
        ({"files": files(bytes(20_000_001))}, 413, "too large: more than 20,000,000 bytes"),
        ({"files": files(*[BLACK_ON_WHITE] * 17)}, 413, "17 pictures; allowed: 16"),
        ({"files": files(BLACK_ON_WHITE, b"text")}, 415, "picture 2 (2.png): not a picture"),
        ({"content": b"x", "headers": {"content-length": "200000000"}}, 413, "a body of 200,000,000 bytes"),
    ],
    ids=itertools.count(),
)
def test_bad_requests(client: TestClient, request_: dict[str, Any], status: int, message: str) -> None:
    if "headers" in request_ and "content-length" in request_["headers"]:
        request_ = request_ | {"headers": {"content-type": "multipart/form-data; boundary=x"} | request_["headers"]}
    failed(client.post("/predict", **request_), status, message)
    assert client.post("/predict", files=files(BLACK_ON_WHITE)).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "wanted"),
        (b"[1]", 400, "wanted"),
        (b'{"instances": []}', 400, "wanted"),
        (b'{"instances": [[1, 2], [3]]}', 400, "wanted"),
        (b"[" * 100_000, 400, "wanted"),
        (json.dumps({"instances": [[["1"] * 28] * 28]}).encode(), 400, "wanted"),
        (json.dumps({"instances": [[[256] * 28] * 28]}).encode(), 400, "given 256 to 256; allowed: numbers from 0 to 255"),
        (json.dumps({"instances": [[[float("nan")] * 28] * 28]}).encode(), 400, "allowed: numbers from 0 to 255"),
        (json.dumps({"instances": [[[0] * 28] * 28] * 1001}).encode(), 413, "1,001 instances; allowed: 1,000"),
    ],
    ids=itertools.count(),
)
def test_bad_instances(client: TestClient, body: bytes, status: int, message: str) -> None:
    failed(client.post("/v1/models/mnist:predict", content=body), status, message)


def test_wrong_methods_and_addresses(client: TestClient) -> None:
    response = client.get("/predict")
    failed(response, 405, "GET does not go with /predict; allowed: POST")
    assert response.headers["allow"] == "POST"
    failed(client.post("/healthz"), 405, "allowed: GET")
    failed(client.get("/nosuch"), 404, "there is no /nosuch")


def test_an_error_of_ours_is_json_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnist_utils.images.read", lambda _: 1 / 0)
    client = TestClient(serving.create_app(MODEL), raise_server_exceptions=False)
    failed(client.post("/predict", files=files(BLACK_ON_WHITE)), 500, "an error in the server")


def test_who_comes_while_all_places_are_taken_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    read = images.read

    def slow(picture: bytes) -> Any:
        begun.set()
        assert go_on.wait(20)
        return read(picture)

    monkeypatch.setattr(serving, "MAX_WAITING", 1)
    monkeypatch.setattr("mnist_utils.images.read", slow)
    client = TestClient(serving.create_app(MODEL))
    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, "/predict", files=files(BLACK_ON_WHITE))
        assert begun.wait(20)
        second = client.post("/predict", files=files(BLACK_ON_WHITE))
        ready, healthy = client.get("/readyz"), client.get("/healthz")
        go_on.set()
        assert first.result().status_code == 200
    failed(second, 503, "overloaded")
    assert second.headers["retry-after"] == "1"
    assert (ready.status_code, healthy.status_code) == (503, 200)
    assert client.get("/readyz").status_code == 200


# --- a real process ---


def start(*arguments: str) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "mnist_utils.cli", "serve", "--results", str(REFERENCE.parent), "--port", "0"]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    line = process.stdout.readline()
    assert line.endswith(" - network: reference (fast, trained on mnist). Ctrl-C ends it.\n"), process.communicate()[1]
    return process, int(line.split()[1].rpartition(":")[2])


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, int]]:
    """Run a server: its port, its process."""
    process, port = start()
    try:
        yield port, process.pid
    finally:
        process.kill()
        process.communicate()


def ask(port: int, request: bytes) -> tuple[int, bytes]:
    """Send bytes, receive the status and all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(answer.split()[1]), answer


def form(picture: bytes) -> bytes:
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + picture + b"\r\n--x--\r\n"
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return head.encode() + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + body


def memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def test_a_body_of_200_megabytes_is_refused_without_being_kept(server: tuple[int, int]) -> None:
    port, pid = server
    before, sent = memory(pid), 0
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
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


def test_whoever_goes_away_in_the_middle_or_speaks_no_http_disturbs_nobody(server: tuple[int, int]) -> None:
    for words in form(BLACK_ON_WHITE)[:300], b"\x16\x03\x01 no HTTP\r\n\r\n":
        with socket.create_connection(("127.0.0.1", server[0])) as connection:
            connection.sendall(words)
    assert ask(server[0], form(BLACK_ON_WHITE))[0] == 200


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "BODY_SECONDS", 0.2)
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "http_version": "1.1"}
    headers = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"100")]
    asyncio.run(serving.create_app(MODEL)({**scope, "headers": headers}, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["Success"] is False


def test_sigterm_answers_what_was_accepted_and_ends_with_0() -> None:
    process, port = start()
    request = form(BLACK_ON_WHITE)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request[:400])
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        time.sleep(0.3)
        connection.sendall(request[400:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - begun < 3
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert process.returncode == 0
    assert [json.loads(line)["status"] for line in err.splitlines()] == [200]


def test_several_workers_count_together_and_end() -> None:
    process, port = start("--workers", "2")
    for _ in range(6):
        assert ask(port, form(BLACK_ON_WHITE))[0] == 200
    _, counts = ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b'mnist_predictions_total{digit="7"} 6.0' in counts
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert len([json.loads(line) for line in err.splitlines()]) == 7


def test_a_port_in_use_is_one_line_and_status_1(server: tuple[int, int]) -> None:
    command = [sys.executable, "-m", "mnist_utils.cli", "serve", "--port", str(server[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"mnist: cannot listen on http://127.0.0.1:{server[0]}: Address already in use; choose another --port or --host\n"
    )
