from __future__ import annotations

import itertools
import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from PIL import Image

from mnist_utils.data.datasets import load_dataset
from mnist_utils.preprocessing import reader
from mnist_utils.runs import inference
from mnist_utils.serving import app
from mnist_utils.serving.server import ServingError, listen
from tests import drawings
from tests.asking import BLACK_ON_WHITE, MODEL, WHITE_ON_BLACK, ask, failed, files, form, listens, start
from tests.fuzz import STATUS, claim_size, outcome_of, pictures
from tests.pictures import letter_on_paper, packed
from tests.preprocessing.test_reader import seven

# --- answers ---


def test_the_response_has_exactly_the_promised_keys_whatever_the_polarity(client: TestClient) -> None:
    for picture in BLACK_ON_WHITE, WHITE_ON_BLACK:
        response = client.post("/predict", files=files(picture))
        assert response.status_code == 200
        (prediction,) = response.json()["Predictions"]
        share = prediction["Softmax probability"]
        assert 0.8 < share < 1
        assert response.json() == {"Predictions": [{"Label": 7, "Softmax probability": share}], "Success": True}


def test_the_probability_is_the_models(client: TestClient) -> None:
    picture = packed(Image.fromarray(load_dataset("digits").x_test[3]))
    (prediction,) = client.post("/predict", files=files(picture)).json()["Predictions"]
    expected = inference.load_model(MODEL)(reader.preprocess(picture).image[None])[0]
    assert prediction == {"Label": expected.argmax(), "Softmax probability": inference.round_down(float(expected.max()))}


def test_several_pictures_are_answered_in_order(client: TestClient) -> None:
    dataset = load_dataset("digits")
    digits = [dataset.x_test[dataset.y_test == label][0] for label in (3, 0, 6)]
    response = client.post("/predict", files=files(*(packed(Image.fromarray(digit)) for digit in digits)))
    assert [prediction["Label"] for prediction in response.json()["Predictions"]] == [3, 0, 6]


def test_many_digits_of_a_picture_are_answered_with_their_boxes(client: TestClient) -> None:
    sheet = drawings.Sheet((500, 200), drawings.WHITE)
    for column, label in enumerate((2, 0, 5)):
        sheet.digit(label, (60 + 140 * column, 50, 60, 100), 10, drawings.BLACK)
    response = client.post("/predict?digits=many", files=files(sheet.packed(), BLACK_ON_WHITE))
    assert response.status_code == 200
    number, single = response.json()["Predictions"]
    assert (number["Number"], single["Number"], response.json()["Success"]) == ("205", "7", True)
    for column, digit in enumerate(number["Digits"]):
        left = 60 + 140 * column
        assert digit["Box"] == pytest.approx([(left - 5) / 500, 0.225, (left + 65) / 500, 0.775], abs=0.01)
        assert set(digit) == {"Label", "Softmax probability", "Box"}
    assert 'mnist_predictions_total{digit="2"} 1.0' in client.get("/metrics").text
    assert client.post("/predict?digits=few", files=files(BLACK_ON_WHITE)).status_code == 400
    blank = client.post("/predict?digits=many", files=files(drawings.Sheet((300, 200), drawings.WHITE).packed()))
    assert (blank.status_code, blank.json()["Success"]) == (422, False)


def test_one_digit_of_several_is_answered_and_said_to_be_one(client: TestClient) -> None:
    sheet = drawings.Sheet((500, 200), drawings.WHITE)
    for column, label in enumerate((2, 0, 5)):
        sheet.digit(label, (60 + 140 * column, 50, 60, 100), 10, drawings.BLACK)
    several, single = client.post("/predict", files=files(sheet.packed(), BLACK_ON_WHITE)).json()["Predictions"]
    assert several["Several digits"] is True
    assert "Several digits" not in single
    failed(
        client.post("/predict?digits=auto", files=files(BLACK_ON_WHITE)), 400, "digits: given 'auto'; allowed: one or many"
    )


def test_a_letter_is_answered_and_said_to_be_unlike_digits(client: TestClient) -> None:
    digit, letter = client.post("/predict", files=files(BLACK_ON_WHITE, letter_on_paper())).json()["Predictions"]
    assert set(digit) == {"Label", "Softmax probability"}  # as in the earlier system, key for key
    assert letter["Unlike digits"] is True
    assert letter["Softmax probability"] < 0.5
    assert client.post("/explain", files=files(letter_on_paper())).json()["Unlike"] is True
    failed(client.post("/predict?digits=many", files=files(letter_on_paper())), 422, "no digit")


def test_sixteen_pictures_are_allowed(client: TestClient) -> None:
    predictions = client.post("/predict", files=files(*[BLACK_ON_WHITE] * 16)).json()["Predictions"]
    assert [prediction["Label"] for prediction in predictions] == [7] * 16


def test_the_first_frame_of_an_animated_gif_is_answered(client: TestClient) -> None:
    frames = [seven().convert("L"), Image.new("L", (200, 160), 255)]
    gif = packed(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert client.post("/predict", files=files(gif)).json()["Predictions"][0]["Label"] == 7


def test_explain_tells_what_the_network_saw(client: TestClient) -> None:
    answer = client.post("/explain", files=files(BLACK_ON_WHITE)).json()
    assert answer.keys() == {"Label", "Probabilities", "Seen", "Inverted", "Unlike", "Number", "Digits", "Classes"}
    assert not answer["Unlike"]
    assert (answer["Number"], answer["Digits"]) == ("", [])
    seen = np.array(answer["Seen"])
    assert (seen.shape, seen.max(), answer["Inverted"]) == ((28, 28), 255, True)
    expected = inference.load_model(MODEL)(seen[None])[0]
    np.testing.assert_allclose(answer["Probabilities"], expected, atol=1e-4)
    failed(client.post("/explain", files=files(BLACK_ON_WHITE, BLACK_ON_WHITE)), 400, "/explain takes one")


def test_health_version_and_description(client: TestClient) -> None:
    assert client.get("/healthz").json() == client.get("/readyz").json() == {"Success": True}
    facts = {"version": "0.1.0", "calibrated": True, "run": "reference", "architecture": "accurate", "dataset": "mnist"}
    assert client.get("/version").json() == {**facts, "classes": list("0123456789")}
    assert client.get("/v1/models/mnist").json()["model_version_status"][0]["state"] == "AVAILABLE"
    described = client.get("/openapi.json").json()
    assert "Softmax probability" in json.dumps(described)
    assert {"/predict", "/healthz", "/metrics", "/v1/models/mnist:predict"} <= described["paths"].keys()
    assert client.get("/docs").status_code == 404


def test_the_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    response = client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "unsafe" not in response.headers["content-security-policy"]
    assert "http" not in response.text.replace("http-equiv", "")


def test_metrics_count_what_was_asked_and_answered(client: TestClient) -> None:
    client.post("/predict", files=files(BLACK_ON_WHITE, WHITE_ON_BLACK))
    client.post("/predict", files=files(b"no picture"))
    client.get("/openapi.json")
    client.get("/whatever/a/stranger/thinks/up")
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'mnist_requests_total{method="POST",path="/predict",status="200"} 1.0',
        'mnist_requests_total{method="POST",path="/predict",status="415"} 1.0',
        'mnist_requests_total{method="GET",path="/openapi.json",status="200"} 1.0',
        'mnist_requests_total{method="GET",path="other",status="404"} 1.0',
        'mnist_request_seconds_count{path="/predict"} 2.0',
        'mnist_predictions_total{digit="7"} 2.0',
        "mnist_confidence_count 2.0",
    ):
        assert line in lines


# --- errors; after each, the next request is answered ---

JPEG = packed(seven(), "JPEG")
PARTS = {"headers": {"content-type": "multipart/form-data; boundary=x"}}
WRONG_TYPES: list[dict[str, Any]] = [
    {"content": BLACK_ON_WHITE},
    {"json": {"image": "x"}},
    {"data": {"image": "photo.jpg"}},
    {"files": files(b"hello, I am a text")},
    {"files": files(b"")},
    {"files": files(b"<svg xmlns='http://www.w3.org/2000/svg'/>")},
]
BROKEN: list[dict[str, Any]] = [
    {"content": b"--x\r\ngarbage"} | PARTS,
    {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
    {"files": files(JPEG[: len(JPEG) // 2])},
]


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        *((request_, 415, "") for request_ in WRONG_TYPES),
        *((request_, 400, "") for request_ in BROKEN),
        ({"content": b""}, 400, "the body is empty"),
        ({"content": b"a", "headers": {"content-type": "text/plain; charset=x"}}, 415, "given text/plain; allowed"),
        ({"files": files(BLACK_ON_WHITE, field="picture")}, 400, "'image' is missing; fields given: picture"),
        ({"files": [("image", (None, "photo.jpg"))]}, 400, "holds a text, not a file; mind the @"),
        ({"files": [*files(BLACK_ON_WHITE), ("image", (None, "photo.jpg"))]}, 400, ""),
        ({"files": files(packed(Image.new("L", (50, 50), 255)))}, 422, "no digit"),
        ({"files": files(claim_size(BLACK_ON_WHITE, 50_000, 50_000))}, 413, "50,000,000 pixels"),
        ({"files": files(bytes(20_000_001))}, 413, "20,000,000 bytes"),
        ({"files": files(*[BLACK_ON_WHITE] * 17)}, 413, "17 pictures; allowed: 16"),
        ({"files": files(BLACK_ON_WHITE, b"text")}, 415, "picture 2 (2.png): not a picture"),
        (
            {"content": b"x", "headers": PARTS["headers"] | {"content-length": "200000000"}},
            413,
            "a body of 200,000,000 bytes",
        ),
    ],
    ids=itertools.count(),
)
def test_bad_requests(client: TestClient, request_: dict[str, Any], status: int, message: str) -> None:
    failed(client.post("/predict", **request_), status, message)
    assert client.post("/predict", files=files(BLACK_ON_WHITE)).status_code == 200


def test_any_bytes_are_answered_as_preprocessing_finds_them(client: TestClient) -> None:
    @given(content=pictures())
    @settings(
        max_examples=150, derandomize=True, database=None, deadline=60_000, suppress_health_check=[HealthCheck.too_slow]
    )
    def check(content: bytes) -> None:
        response = client.post("/predict", files=files(content))
        assert response.status_code == STATUS[outcome_of(content)]
        assert response.json()["Success"] == (response.status_code == 200)

    check()


def test_who_comes_while_all_places_are_taken_is_sent_away(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    read = reader.preprocess

    def slow(picture: bytes) -> Any:
        begun.set()
        assert go_on.wait(60)
        return read(picture)

    monkeypatch.setattr(app, "places", threading.BoundedSemaphore(1))
    monkeypatch.setattr("mnist_utils.serving.app.preprocess", slow)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, "/predict", files=files(BLACK_ON_WHITE))
        assert begun.wait(60)
        second = client.post("/predict", files=files(BLACK_ON_WHITE))
        ready, healthy = client.get("/readyz"), client.get("/healthz")
        go_on.set()
        assert first.result().status_code == 200
    failed(second, 503, "overloaded")
    assert second.headers["retry-after"] == "1"
    assert (ready.status_code, healthy.status_code) == (503, 200)
    assert client.get("/readyz").status_code == 200


# --- a socket, a process ---


def test_responses_are_sent_at_once() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:  # without it, each response on a kept connection takes 40 ms more
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_named() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ServingError, match=f"127.0.0.1:{port}: Address already in use; choose another --port"):
            listen("127.0.0.1", port)


def test_whoever_goes_away_in_the_middle_or_speaks_no_http_disturbs_nobody(server: tuple[int, int]) -> None:
    for words in form(BLACK_ON_WHITE)[:300], b"\x16\x03\x01 no HTTP\r\n\r\n":
        with socket.create_connection(("127.0.0.1", server[0])) as connection:
            connection.sendall(words)
    assert ask(server[0], form(BLACK_ON_WHITE))[0] == 200


def test_sigterm_answers_what_was_accepted_and_ends_with_0() -> None:
    process, port = start()
    head, _, body = form(BLACK_ON_WHITE).partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")  # the application waits for the body
        process.send_signal(signal.SIGTERM)
        while listens(port):
            time.sleep(0.01)
        connection.sendall(body)
        response = b"".join(iter(lambda: connection.recv(65536), b""))
    _, err = process.communicate(timeout=60)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert process.returncode == 0
    assert [json.loads(line)["status"] for line in err.splitlines()] == [200]


def test_several_workers_count_together_and_end() -> None:
    process, port = start("--workers", "2")
    for _ in range(6):
        assert ask(port, form(BLACK_ON_WHITE))[0] == 200
    _, counts = ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b'mnist_predictions_total{digit="7"} 6.0' in counts
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len([json.loads(line) for line in err.splitlines()]) == 7


def test_what_libtiff_says_of_a_broken_fax_is_not_in_the_log() -> None:
    fax = bytearray(packed(seven().convert("1"), "TIFF", compression="group3"))
    fax[200:300] = bytes(range(100))
    process, port = start()
    ask(port, form(bytes(fax)))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert [json.loads(line)["path"] for line in err.splitlines()] == ["/predict"]
