"""TF-Serving's REST API for the server's one model: its addresses, its JSON, images as numbers."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mnist_utils.serving.schemas import error_responses

MAX_INSTANCES = 1_000  # of one request

_MODEL = "/v1/models/mnist"
_VERSION = f"{_MODEL}/versions/1"

_Pixel = Annotated[float, Field(ge=0, le=255)]
# `fail_fast`: else a body of a million wrong numbers makes a million errors.
_SIDE = Field(min_length=28, max_length=28, fail_fast=True)
_BATCH = Field(min_length=1, max_length=MAX_INSTANCES, fail_fast=True)
_ONE = Field(min_length=1, max_length=1, fail_fast=True)
_Image = Annotated[list[Annotated[list[_Pixel], _SIDE]], _SIDE]
_ImageWithChannel = Annotated[list[Annotated[list[tuple[_Pixel]], _SIDE]], _SIDE]
_NamedImage = Annotated[dict[str, _Image], _ONE]
_NamedImageWithChannel = Annotated[dict[str, _ImageWithChannel], _ONE]
_Images = Annotated[list[_Image], _BATCH] | Annotated[list[_ImageWithChannel], _BATCH]
_NamedImages = Annotated[list[_NamedImage], _BATCH] | Annotated[list[_NamedImageWithChannel], _BATCH]
_WANTED = (
    'wanted {"instances": [...]} or {"inputs": [...]}; '
    "each image 28x28 or 28x28x1 numbers, bare or the one entry of an object"
)


class TensorFlowRequest(BaseModel):
    """TF-Serving's request, by rows or by columns: images of numbers, bare or each in an object of one entry."""

    model_config = ConfigDict(
        strict=True,  # "1" and true are no numbers
        json_schema_extra={"oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}]},
    )
    signature_name: Literal["serving_default", ""] = "serving_default"
    # The factories: none is given by default, and OpenAPI shall not show an empty list as one that may be.
    instances: _Images | _NamedImages = Field(default_factory=list, union_mode="left_to_right")
    inputs: _Images | Annotated[dict[str, _Images], _ONE] = Field(default_factory=list, union_mode="left_to_right")


class TensorFlowPredictions(BaseModel):
    """TF-Serving's response to ``instances``: the probability of each class, for each image."""

    predictions: list[list[float]]


class TensorFlowOutputs(BaseModel):
    """TF-Serving's response to ``inputs``: the probability of each class, for each image."""

    outputs: list[list[float]]


class TensorFlowImages(NamedTuple):
    """The images of a request.

    Attributes
    ----------
    form : {"instances", "inputs"}
        The key that they came under.
    images : float32 array, shape (n, 28, 28)
        Values from 0 to 255.
    """

    form: Literal["instances", "inputs"]
    images: NDArray[np.float32]


TensorFlowResponse = TensorFlowPredictions | TensorFlowOutputs
_BODY = {"required": True, "content": {"application/json": {"schema": TensorFlowRequest.model_json_schema()}}}


def add_tensorflow_routes(
    app: FastAPI,
    classes: int,
    classify: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    run_in_thread: Callable[[Callable[[], TensorFlowResponse]], Awaitable[TensorFlowResponse]],
) -> None:
    """Let an application answer at TF-Serving's addresses.

    Parameters
    ----------
    app : FastAPI
    classes : int
        How many the model has.
    classify : callable
        From images, (n, 28, 28) values from 0 to 255, to (n, classes) probabilities.
    run_in_thread : callable
        Calls a function outside the event loop.
    """

    # The body is no parameter of the function: FastAPI would check it in the event loop, and only if it says it is JSON.
    @app.post(f"{_MODEL}:predict", responses=error_responses(400, 408, 413, 503), openapi_extra={"requestBody": _BODY})
    @app.post(f"{_VERSION}:predict", responses=error_responses(400, 408, 413, 503), openapi_extra={"requestBody": _BODY})
    async def predict_images(request: Request) -> TensorFlowResponse:
        """Predict as TF-Serving does, for (n, 28, 28) or (n, 28, 28, 1) numbers, white on black.

        They are from 0 to 255; an image whose largest is at most 1 is taken as scaled to 0 to 1, and multiplied by 255.
        """
        body = await request.body()
        return await run_in_thread(lambda: _answer(body, classify))

    @app.get(_MODEL)
    @app.get(_VERSION)
    async def model_status() -> dict[str, Any]:
        """Report as TF-Serving does that the model is available."""
        status = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": status}]}

    @app.get(f"{_MODEL}/metadata")
    @app.get(f"{_VERSION}/metadata")
    async def model_metadata() -> dict[str, Any]:
        """Report as TF-Serving does what the model takes and returns."""
        return _metadata(classes)


def parse_request(body: bytes) -> TensorFlowImages:
    """Check a request to predict, whatever its Content-Type, as TF-Serving does.

    Raises
    ------
    HTTPException
        With 413 for too many images, 400 for whatever else is wrong.
    """
    try:
        request = TensorFlowRequest.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None
    forms = request.model_fields_set & {"instances", "inputs"}
    if len(forms) != 1:
        given = "both instances and inputs" if forms else "neither instances nor inputs"
        raise HTTPException(400, f"given {given}; {_WANTED}")
    if "instances" in forms:
        return TensorFlowImages("instances", _as_images([_unnamed(row) for row in request.instances]))
    return TensorFlowImages("inputs", _as_images(_unnamed(request.inputs)))


def _unnamed(value: Any) -> Any:
    return next(iter(value.values())) if isinstance(value, dict) else value


def _as_images(rows: list[Any]) -> NDArray[np.float32]:
    """Bring images to values from 0 to 255.

    Each by itself: its answer does not depend on which others come with it. An image from 0 to 255 with nothing above 1
    would be black to the eye, and a black one is the same in both.
    """
    images = np.asarray(rows, np.float32).reshape(-1, 28, 28)
    scaled = images.max(axis=(1, 2), keepdims=True) <= 1
    return np.where(scaled, 255 * images, images)


def _answer(body: bytes, classify: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> TensorFlowResponse:
    form, images = parse_request(body)
    probabilities = classify(images).tolist()
    if form == "instances":
        return TensorFlowPredictions(predictions=probabilities)
    return TensorFlowOutputs(outputs=probabilities)


def _refusal(error: ValidationError) -> HTTPException:
    """Say what is wrong with a request: what was given, and where, and what is allowed."""
    flaw = max(error.errors(include_url=False), key=_progress)
    if flaw["type"] == "json_invalid":
        return HTTPException(400, f"the body is not JSON; {_WANTED}")
    if flaw["type"] == "too_long" and flaw["ctx"]["max_length"] == MAX_INSTANCES:
        number = f"{flaw['ctx']['actual_length']:,} instances"
        return HTTPException(413, f"{number}; allowed: {MAX_INSTANCES:,} in one request")
    field = flaw["loc"][0] if flaw["loc"] else "the body"
    where = "".join(f"[{index}]" for index in _indices(flaw))
    given = f"{field}{where}: given {_short(flaw['input'])}"
    if flaw["type"] == "literal_error":
        return HTTPException(400, f"{given}; allowed: serving_default")
    if flaw["type"] in ("less_than_equal", "greater_than_equal"):
        return HTTPException(400, f"{given}; allowed: numbers from 0 to 255, or from 0 to 1")
    return HTTPException(400, f"{given}; {_WANTED}")


def _indices(flaw: Any) -> list[float]:
    return [part for part in flaw["loc"] if isinstance(part, int)]


def _progress(flaw: Any) -> tuple[list[float], int]:
    """Say how far the check came: of the forms that a batch may have, it fails last for the one that it nearly has."""
    passed = [math.inf] if flaw["type"] in ("too_long", "too_short") else []
    return _indices(flaw) + passed, len(flaw["loc"])


def _short(given: Any) -> str:
    """Name a value of a request in a few words."""
    if isinstance(given, list | tuple):
        return f"a list of {len(given):,}"
    if isinstance(given, dict):
        return f"an object of {len(given):,} {'entry' if len(given) == 1 else 'entries'}"
    text = repr(given)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _metadata(classes: int) -> dict[str, Any]:
    """Describe the model, with the names that the inputs and outputs of an exported one have."""

    def tensor(name: str, *shape: int) -> dict[str, Any]:
        dim = [{"size": str(size), "name": ""} for size in shape]
        return {"dtype": "DT_FLOAT", "tensor_shape": {"dim": dim, "unknown_rank": False}, "name": name}

    signature = {
        "inputs": {"image": tensor("serving_default_image:0", -1, 28, 28, 1)},
        "outputs": {"output_0": tensor("StatefulPartitionedCall:0", -1, classes)},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": "mnist", "signature_name": "", "version": "1"},
        "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
    }
