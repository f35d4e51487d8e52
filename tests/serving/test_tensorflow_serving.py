from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from pydantic import ValidationError

from mnist_utils.data.datasets import load_dataset
from mnist_utils.runs import inference
from mnist_utils.serving.tensorflow_serving import TensorFlowRequest, add_tensorflow_routes, parse_request
from tests.asking import MODEL, failed

PREDICT = "/v1/models/mnist:predict"
DIGITS = load_dataset("digits").x_test[:3]


@pytest.fixture(scope="module")
def expected() -> NDArray[np.float32]:
    return inference.load_model(MODEL)(DIGITS)


# --- what clients send ---


def by_rows(images: Any) -> dict[str, Any]:
    return {"instances": images.tolist()}


def by_rows_named(images: Any) -> dict[str, Any]:
    return {"instances": [{"image": image.tolist()} for image in images]}


def by_columns(images: Any) -> dict[str, Any]:
    return {"inputs": images.tolist()}


def by_columns_named(images: Any) -> dict[str, Any]:
    return {"inputs": {"flatten_input": images.tolist()}}


FORMS = [(by_rows, "predictions"), (by_rows_named, "predictions"), (by_columns, "outputs"), (by_columns_named, "outputs")]


@pytest.mark.parametrize("shape", [(-1, 28, 28), (-1, 28, 28, 1)])
@pytest.mark.parametrize(("form", "key"), FORMS)
def test_each_form_gives_the_models_probabilities(
    client: TestClient, expected: NDArray[np.float32], form: Any, key: str, shape: tuple[int, ...]
) -> None:
    response = client.post(PREDICT, json=form(DIGITS.reshape(shape)))
    assert response.status_code == 200
    assert response.json().keys() == {key}
    np.testing.assert_array_equal(np.array(response.json()[key], np.float32), expected)


@pytest.mark.parametrize(("form", "key"), FORMS)
def test_a_digit_scaled_to_0_to_1_is_the_same_digit(
    client: TestClient, expected: NDArray[np.float32], form: Any, key: str
) -> None:
    assert client.post(PREDICT, json=form(DIGITS)).json() == client.post(PREDICT, json=form(DIGITS / 255)).json()
    response = client.post(PREDICT, json=form(DIGITS.astype(np.float32) / np.float32(255)))
    np.testing.assert_allclose(np.array(response.json()[key]), expected, atol=1e-6)
    assert expected.max(axis=1).min() > 0.9  # else the digits would say little


def test_black_and_white_is_one_digit_in_either_scale(client: TestClient) -> None:
    white = DIGITS > 127
    scaled, full = (client.post(PREDICT, json=by_rows(white * white_)).json() for white_ in (1, 255))
    assert scaled == full
    assert np.argmax(full["predictions"], axis=1).tolist() == load_dataset("digits").y_test[:3].tolist()


def test_each_image_has_its_own_scale(client: TestClient, expected: NDArray[np.float32]) -> None:
    mixed = np.stack([DIGITS[0], DIGITS[1] / 255, np.zeros((28, 28)), DIGITS[2] / 255])
    found = np.array(client.post(PREDICT, json=by_rows(mixed)).json()["predictions"], np.float32)
    np.testing.assert_allclose(found[[0, 1, 3]], expected, atol=1e-6)  # batches of other sizes round otherwise


@pytest.mark.parametrize(
    ("pixel", "largest", "read"),
    [
        (0.5, 1, 127.5),
        (0.5, 0.5, 127.5),
        (0.002, 0.002, 0.51),
        (0, 1, 0),
        (0, 0, 0),
        (0.5, 1.0001, 0.5),
        (1, 2, 1),
        (0, 255, 0),
    ],
)
def test_an_image_is_scaled_where_nothing_in_it_is_above_1(pixel: float, largest: float, read: float) -> None:
    image = np.full((28, 28), pixel, np.float64)
    image[5, 5] = largest
    images = parse_request(json.dumps(by_rows(image[None])).encode()).images
    assert images.dtype == np.float32
    assert images.shape == (1, 28, 28)
    assert images[0, 0, 0] == pytest.approx(read)
    assert images[0, 5, 5] == pytest.approx(255 * largest if largest <= 1 else largest)


@pytest.mark.parametrize("name", ["serving_default", ""])
def test_the_one_signature_may_be_named(client: TestClient, name: str) -> None:
    named = client.post(PREDICT, json={"signature_name": name, **by_columns(DIGITS)})
    assert named.json() == client.post(PREDICT, json=by_columns(DIGITS)).json()


def test_predictions_are_counted(client: TestClient) -> None:
    client.post(PREDICT, json=by_columns(DIGITS))
    client.post("/v1/models/mnist/versions/1:predict", json=by_rows(DIGITS))
    lines = client.get("/metrics").text.splitlines()
    assert "mnist_confidence_count 6.0" in lines
    assert f'mnist_requests_total{{method="POST",path="{PREDICT}",status="200"}} 1.0' in lines
    assert 'mnist_requests_total{method="POST",path="/v1/models/mnist/versions/1:predict",status="200"} 1.0' in lines


# --- what they ask before ---


def test_the_status_is_tensorflow_servings(client: TestClient) -> None:
    status = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in "/v1/models/mnist", "/v1/models/mnist/versions/1":
        assert client.get(path).json() == {"model_version_status": [status]}


def test_the_metadata_is_tensorflow_servings(client: TestClient) -> None:
    def tensor(name: str, *sizes: str) -> dict[str, Any]:
        shape = {"dim": [{"size": size, "name": ""} for size in sizes], "unknown_rank": False}
        return {"dtype": "DT_FLOAT", "tensor_shape": shape, "name": name}

    signature = {
        "inputs": {"image": tensor("serving_default_image:0", "-1", "28", "28", "1")},
        "outputs": {"output_0": tensor("StatefulPartitionedCall:0", "-1", "10")},
        "method_name": "tensorflow/serving/predict",
    }
    for path in "/v1/models/mnist/metadata", "/v1/models/mnist/versions/1/metadata":
        assert client.get(path).json() == {
            "model_spec": {"name": "mnist", "signature_name": "", "version": "1"},
            "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
        }


def test_what_the_metadata_names_is_taken(client: TestClient, expected: NDArray[np.float32]) -> None:
    answer = client.get("/v1/models/mnist/metadata").json()
    ((name, taken),) = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"].items()
    shape = [int(dim["size"]) for dim in taken["tensor_shape"]["dim"]]
    response = client.post("/v1/models/mnist/versions/1:predict", json={"inputs": {name: DIGITS.reshape(shape).tolist()}})
    np.testing.assert_array_equal(np.array(response.json()["outputs"], np.float32), expected)


def test_the_metadata_has_as_many_classes_as_the_model() -> None:
    app = FastAPI()
    add_tensorflow_routes(app, 3, lambda images: images, lambda _: pytest.fail("the model is not asked"))
    answer = TestClient(app).get("/v1/models/mnist/metadata").json()
    returned = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]["outputs"]["output_0"]
    assert [dim["size"] for dim in returned["tensor_shape"]["dim"]] == ["-1", "3"]


def test_there_is_no_other_version(client: TestClient) -> None:
    for path in "/v1/models/mnist/versions/2", "/v1/models/mnist/versions/2/metadata", "/v1/models/other":
        failed(client.get(path), 404, f"there is no {path}; see /openapi.json")
    failed(client.post("/v1/models/mnist/versions/2:predict", json=by_rows(DIGITS)), 404, "versions/2:predict")


def test_openapi_says_what_the_numbers_are(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"][PREDICT]["post"]
    assert "an image whose largest is at most 1 is taken as scaled" in operation["description"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["oneOf"] == [{"required": ["instances"]}, {"required": ["inputs"]}]
    assert body["properties"]["signature_name"]["enum"] == ["serving_default", ""]


# --- errors ---


def batch(pixel: Any, *, n: int = 1, columns: int = 28) -> list[Any]:
    return [[[pixel] * columns] * 28] * n


def instances(pixel: Any, *, n: int = 1, columns: int = 28) -> bytes:
    return json.dumps({"instances": batch(pixel, n=n, columns=columns)}).encode()


def inputs(value: Any, **more: Any) -> bytes:
    return json.dumps({"inputs": value, **more}).encode()


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "the body is not JSON; wanted"),
        (b"[1]", 400, "the body: given a list of 1; wanted"),
        (b"{}", 400, "given neither instances nor inputs; wanted"),
        (b'{"instances": []}', 400, "instances: given a list of 0; wanted"),
        (b'{"instances": [[1, 2], [3]]}', 400, "instances[0]"),
        (b"[" * 100_000, 400, "the body is not JSON"),
        (instances("1"), 400, "instances[0][0][0]: given '1'; wanted"),
        (instances(True), 400, "given True"),
        (instances([0, 0]), 400, "instances[0][0][0]: given a list of 2; wanted"),
        (instances(0, columns=29), 400, "instances[0][0]: given a list of 29; wanted"),
        (instances(0, columns=0), 400, "instances[0][0]: given a list of 0; wanted"),
        (instances(256), 400, "given 256; allowed: numbers from 0 to 255, or from 0 to 1"),
        (instances([-1]), 400, "given -1"),
        (instances(-0.42), 400, "given -0.42; allowed: numbers from 0 to 255, or from 0 to 1"),
        (instances(float("nan")), 400, "given nan"),
        (b'{"instances": [[[' + b"9" * 400 + b"]]]}", 400, f"given {'9' * 40}...; allowed"),
        (instances(0, n=1001), 413, "1,001 instances; allowed: 1,000"),
        (b'{"instances": [{"b64": "aaaa"}]}', 400, "instances[0]: given 'aaaa'; wanted"),
        (json.dumps({"instances": [{"a": batch(0)[0], "b": 0}]}).encode(), 400, "instances[0]"),
        (
            json.dumps({"instances": [*batch(0), {"image": batch(0)[0]}]}).encode(),
            400,
            "instances[1]: given an object of 1 entry",
        ),
        (json.dumps({"instances": [{"image": batch(0)[0]}] * 1001}).encode(), 413, "1,001 instances"),
        (inputs(None), 400, "inputs: given None; wanted"),
        (inputs(batch(0)[0]), 400, "inputs[0][0]: given 0; wanted"),
        (inputs({}), 400, "inputs: given an object of 0 entries; wanted"),
        (inputs({"a": batch(0), "b": batch(0)}), 400, "inputs: given an object of 2 entries; wanted"),
        (inputs({"image": batch(300)}), 400, "inputs[0][0][0]: given 300; allowed"),
        (inputs({"image": batch(0, n=1001)}), 413, "1,001 instances"),
        (inputs(batch(0), instances=batch(0)), 400, "given both instances and inputs; wanted"),
        (
            inputs(batch(0), signature_name="predict_images"),
            400,
            "given 'predict_images'; allowed: serving_default",
        ),
        (inputs(batch(0), signature_name=None), 400, "signature_name: given None; allowed: serving_default"),
        (inputs(batch(0), signature_name="a\nb"), 400, r"signature_name: given 'a\nb'; allowed"),
    ],
    ids=itertools.count(),
)
def test_bad_requests(client: TestClient, body: bytes, status: int, message: str) -> None:
    response = client.post(PREDICT, content=body)
    failed(response, status, message)
    assert len(response.json()["Error"].splitlines()) == 1


def test_many_wrong_entries_make_one_error() -> None:
    many = {f"{n}": 0 for n in range(100_000)}
    for body in inputs(many), json.dumps({"instances": [many]}).encode():
        with pytest.raises(ValidationError) as raised:
            TensorFlowRequest.model_validate_json(body)
        assert raised.value.error_count() == 4  # one for each form that a batch may have
