"""What the server takes and answers, as its OpenAPI description states it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

MAX_IMAGES = 16  # of one request to /predict
MAX_INSTANCES = 1_000  # of one request to TF-Serving's address


class Prediction(BaseModel):
    """The answer for one picture."""

    Label: int
    probability: float = Field(serialization_alias="Softmax probability", description="as the network gives it")
    Confidence: float = Field(
        description="calibrated: of such answers to pictures like the tested ones, this share is right"
    )


class Predictions(BaseModel):
    """The answers for the pictures, in their order."""

    Predictions: list[Prediction]
    Success: bool = True


class ExplainResponse(BaseModel):
    """The answer for one picture, and what the network saw of it."""

    Label: int
    Probabilities: list[float]
    Seen: list[list[int]]
    Inverted: bool


class ErrorResponse(BaseModel):
    """Any answer with a status of 400 or more."""

    Success: bool = False
    Error: str


class TensorFlowResponse(BaseModel):
    """TF-Serving's answer: ten probabilities for each instance."""

    predictions: list[list[float]]


_RETRY = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}


def failure_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error answers for OpenAPI."""
    return {status: {"model": ErrorResponse, **({"headers": _RETRY} if status == 503 else {})} for status in statuses}


def body_schema(media: str, field: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Describe a request's body for OpenAPI."""
    content = {"schema": {"type": "object", "required": [field], "properties": {field: schema}}}
    return {"requestBody": {"required": True, "content": {media: content}}}


def pictures_body(most: int) -> dict[str, Any]:
    """Describe a form of pictures for OpenAPI."""
    schema = {"type": "array", "minItems": 1, "maxItems": most, "items": {"type": "string", "format": "binary"}}
    return body_schema("multipart/form-data", "image", schema)


def _lists(of: dict[str, Any], least: int, most: int) -> dict[str, Any]:
    return {"type": "array", "minItems": least, "maxItems": most, "items": of}


_NUMBER = {"type": "number", "minimum": 0, "maximum": 255}
INSTANCES_SCHEMA = {
    "anyOf": [_lists(_lists(_lists(pixel, 28, 28), 28, 28), 1, MAX_INSTANCES) for pixel in (_NUMBER, _lists(_NUMBER, 1, 1))]
}
