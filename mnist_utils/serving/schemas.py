"""What the server takes and returns; FastAPI makes its OpenAPI description of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import File, UploadFile
from pydantic import BaseModel, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

MAX_IMAGES = 16  # of one request to /predict

# FastAPI itself writes `contentMediaType`, as OpenAPI 3.1 has it; generators of clients and tests know `format: binary`.
_Upload = Annotated[UploadFile, WithJsonSchema({"type": "string", "format": "binary"})]
Pictures = Annotated[list[_Upload], File(min_length=1, max_length=MAX_IMAGES)]
OnePicture = Annotated[list[_Upload], File(min_length=1, max_length=1)]  # a list: else all but the last would be dropped

# A key that is there, and true, or not there at all.
_Mark = Annotated[Literal[True] | SkipJsonSchema[None], Field(exclude_if=lambda mark: mark is None)]


class Prediction(BaseModel):
    """The digit, or what else the model knows, that one picture shows."""

    Label: int
    Class: str | None = Field(
        None, description="the label's name, where the classes are not digits", exclude_if=lambda name: name is None
    )
    probability: float = Field(
        serialization_alias="Softmax probability",
        description="calibrated: of such predictions for pictures like the tested ones, this share is correct",
    )
    unlike: _Mark = Field(
        None,
        serialization_alias="Unlike digits",
        description="there, and true, only where the picture is unlike the digits that the model was trained on",
    )


class OneOfSeveral(Prediction):
    """The most probable digit of a picture that clearly shows several."""

    several: _Mark = Field(
        None,
        serialization_alias="Several digits",
        description="there, and true, only where the picture clearly shows several digits, which digits=many reads",
    )


class Predictions(BaseModel):
    """The predictions for the pictures, in their order."""

    Predictions: list[OneOfSeveral]
    Success: bool = True


class DigitInNumber(Prediction):
    """One digit of a picture of several."""

    Box: tuple[float, float, float, float] = Field(
        description="left, top, right and bottom, as fractions of the picture's width and height"
    )


class Number(BaseModel):
    """The number that one picture shows: its digits in reading order; rows are lines."""

    Number: str
    Digits: list[DigitInNumber]


class Numbers(BaseModel):
    """The numbers that the pictures show, in the pictures' order."""

    Predictions: list[Number]
    Success: bool = True


class Explanation(BaseModel):
    """The prediction for one picture, and what the model saw of it; of several digits, of the one it is least sure of."""

    Label: int
    Classes: list[str] = Field(description="the name of each label")
    Probabilities: list[float]
    Seen: list[list[int]]
    Inverted: bool
    Unlike: bool = Field(description="whether the picture is unlike the digits that the model was trained on")
    Number: str = Field("", description="the number, if the picture clearly shows several digits; rows are lines")
    Digits: list[DigitInNumber] = Field([], description="its digits, in reading order")


class ErrorResponse(BaseModel):
    """Any response with a status of 400 or more."""

    Success: bool = False
    Error: str


_RETRY = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error responses for OpenAPI."""
    return {status: {"model": ErrorResponse, **({"headers": _RETRY} if status == 503 else {})} for status in statuses}
