"""The HTTP server: pictures in, digits out, as JSON; and a page to draw a digit on."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from fastapi import FastAPI, HTTPException, Response, UploadFile
from fastapi.responses import HTMLResponse, PlainTextResponse
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from mnist_utils import __version__
from mnist_utils.data.classes import DIGITS
from mnist_utils.preprocessing.decode import ONE_DIGIT, ImageError
from mnist_utils.preprocessing.reader import preprocess
from mnist_utils.runs import inference
from mnist_utils.runs.find import run_of_model
from mnist_utils.runs.inference import PicturePrediction
from mnist_utils.runs.numbers import PictureDigits, predict_digits, predict_one_or_many
from mnist_utils.serving import middleware
from mnist_utils.serving.schemas import (
    DigitInNumber,
    Explanation,
    Number,
    Numbers,
    OneOfSeveral,
    OnePicture,
    Pictures,
    Predictions,
    error_responses,
)
from mnist_utils.serving.tensorflow_serving import add_tensorflow_routes

MAX_WAITING = 32  # requests being answered or waiting for it; the next is sent away
METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client's own name: where worker processes put their counts
_STATUS = {"cannot be opened": 400, "cannot be decoded": 400, "too large": 413, "not a picture": 415, "no digit": 422}
T = TypeVar("T")

# Of this process. Few threads: each may hold a picture of 200 MB, a HEIC or an AVIF of 400.
_threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="picture")
places = threading.BoundedSemaphore(MAX_WAITING)


def create_app(model: Path) -> FastAPI:
    """Make the server's application.

    Parameters
    ----------
    model : Path
        A ``.tflite`` or ``.keras`` model; loaded once, here.

    Raises
    ------
    ModelError
        If it cannot be used.
    """
    app = FastAPI(
        title="MNIST workbench",
        version=__version__,
        docs_url=None,  # these two pages load scripts from elsewhere; /openapi.json stays
        redoc_url=None,
    )
    network, lock = inference.load_model(model), threading.Lock()
    run = run_of_model(model)
    classes = inference.class_names(network, run.classes if run else ())
    facts = model_facts(model) | {"classes": list(classes)}
    page, policy = _drawing_page()
    registry = CollectorRegistry()
    counted = Counter("mnist_predictions", "Predictions by digit", ["digit"], registry=registry)
    confidence = Histogram(
        "mnist_confidence",
        "Calibrated probability of the prediction: drifts down when pictures become unlike the training's",
        buckets=(0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1),
        registry=registry,
    )

    def classify(images: NDArray[Any]) -> NDArray[np.float32]:
        with lock:  # LiteRT is not thread-safe, and a quarter of a millisecond is not worth a copy a thread
            return network(images)

    def classify_uploads(uploads: list[UploadFile]) -> tuple[NDArray[np.float32], list[bool]]:
        seen = [_of_upload(uploads, index, preprocess) for index in range(len(uploads))]
        maybe = [classes == DIGITS and one.may_be_several for one in seen]
        several = [may and shows_several(upload) for may, upload in zip(maybe, uploads, strict=True)]
        return classify(np.stack([one.image for one in seen])), several

    def shows_several(upload: UploadFile) -> bool:
        upload.file.seek(0)
        try:
            return predict_digits(upload.file.read(), classify, side=ONE_DIGIT).are_several
        except ImageError:
            return False

    def read_numbers(uploads: list[UploadFile]) -> list[Number]:
        def read(picture: bytes) -> PictureDigits:
            return predict_digits(picture, classify)

        found = [_of_upload(uploads, index, read) for index in range(len(uploads))]
        return [Number(Number=one.number, Digits=_digits(one)) for one in found]

    def count(labels: Iterable[int], probabilities: Iterable[float]) -> None:
        for label, probability in zip(labels, probabilities, strict=True):
            counted.labels(classes[label]).inc()
            confidence.observe(probability)

    def count_rows(probabilities: NDArray[np.float32]) -> None:
        count(probabilities.argmax(axis=1).tolist(), probabilities.max(axis=1).tolist())

    def classify_counted(images: NDArray[Any]) -> NDArray[np.float32]:
        probabilities = classify(images)
        count_rows(probabilities)
        return probabilities

    @app.post("/predict", responses=error_responses(400, 408, 413, 415, 422, 503))
    async def predict_pictures(image: Pictures, digits: Literal["one", "many"] = "one") -> Predictions | Numbers:
        """Say which digit each picture in the field ``image`` shows; with ``digits=many``, which number in rows."""
        if digits == "many" and classes != DIGITS:
            raise HTTPException(400, "digits: given many; allowed: one, as this model's classes are no digits")
        if digits == "many":
            numbers = await _run_in_thread(lambda: read_numbers(image))
            every = [digit for number in numbers for digit in number.Digits]
            count([digit.Label for digit in every], [digit.probability for digit in every])
            return Numbers(Predictions=numbers)
        probabilities, several = await _run_in_thread(lambda: classify_uploads(image))
        count_rows(probabilities)
        found = zip(probabilities, several, strict=True)
        predictions = [OneOfSeveral(**_prediction(row, classes), several=many or None) for row, many in found]
        return Predictions(Predictions=predictions)

    @app.post("/explain", responses=error_responses(400, 408, 413, 415, 422, 503))
    async def explain_picture(image: OnePicture) -> Explanation:
        """Say which digit or number one picture shows, and what the model saw of it; not counted in the predictions."""

        def read(picture: bytes) -> PicturePrediction | PictureDigits:
            return (predict_one_or_many if classes == DIGITS else inference.predict_picture)(picture, classify)

        found = await _run_in_thread(lambda: _of_upload(image, 0, read))
        if isinstance(found, PictureDigits):
            digit = min(found.digits, key=lambda digit: digit.probability)
            seen, inverted, probabilities = digit.image, found.inverted, digit.probabilities
            several = {"Number": found.number, "Digits": _digits(found)}
        else:
            seen, inverted, probabilities, several = found.seen.image, found.seen.inverted, found.probabilities, {}
        return Explanation(
            Label=int(probabilities.argmax()),
            Classes=list(classes),
            Probabilities=[inference.round_down(float(share)) for share in probabilities],
            Seen=seen.tolist(),
            Inverted=inverted,
            Unlike=inference.unlike_digits(probabilities),
            **several,
        )

    add_tensorflow_routes(app, len(classes), classify_counted, _run_in_thread)

    @app.get("/healthz")
    async def healthz() -> dict[str, bool]:
        """Report that the process is alive."""
        return {"Success": True}

    @app.get("/readyz", responses=error_responses(503))
    async def readyz() -> dict[str, bool]:
        """Report whether the server can predict now: the model predicts through the same queue as for pictures."""
        await _run_in_thread(lambda: classify(np.zeros((1, 28, 28))))
        return {"Success": True}

    @app.get("/version")
    async def version() -> dict[str, Any]:
        """Report the version of the program, the model, and its classes."""
        return facts

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Report the counts, for Prometheus."""
        source = registry
        if METRICS_DIR in os.environ:  # several processes: their sum
            MultiProcessCollector(source := CollectorRegistry())  # type: ignore[no-untyped-call]
        return Response(generate_latest(source), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", response_class=HTMLResponse)
    async def drawing_page() -> HTMLResponse:
        """Show the page to draw a digit on."""
        return HTMLResponse(page, headers={"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"})

    middleware.add_json_errors(app)
    app.add_middleware(middleware.limit_body)
    app.add_middleware(middleware.answer_head)
    app.add_middleware(
        middleware.log_requests, registry=registry, known={getattr(route, "path", "") for route in app.routes}
    )
    return app


def model_facts(model: Path) -> dict[str, Any]:
    """Say in words for people what a model is: its run, its architecture, the data it was trained on; and if calibrated."""
    run = run_of_model(model)
    facts: dict[str, Any] = {"version": __version__, "calibrated": run is not None}
    if run is None:
        return facts | {"run": model.name}
    return facts | {
        "run": run.name,
        "architecture": run.config.model,
        "dataset": run.dataset_name,
    }


async def _run_in_thread(do: Callable[[], T]) -> T:
    """Run a function in one of a few threads; refuse it where too many wait already."""
    if not places.acquire(blocking=False):
        raise HTTPException(503, "overloaded; try again in a second", {"Retry-After": "1"})
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, do)
    finally:
        places.release()


def _prediction(probabilities: NDArray[np.float32], classes: tuple[str, ...] = DIGITS) -> dict[str, Any]:
    label = int(probabilities.argmax())
    return {
        "Label": label,
        "Class": None if classes == DIGITS else classes[label],
        "probability": inference.round_down(float(probabilities.max())),
        "unlike": inference.unlike_digits(probabilities) or None,
    }


def _digits(found: PictureDigits) -> list[DigitInNumber]:
    return [DigitInNumber(**_prediction(digit.probabilities), Box=digit.box) for digit in found.digits]


def _of_upload(uploads: list[UploadFile], index: int, read: Callable[[bytes], T]) -> T:
    """Read a picture; if that fails, answer with the status that says why."""
    try:
        return read(uploads[index].file.read())
    except ImageError as error:
        which = f"picture {index + 1} ({uploads[index].filename}): " if len(uploads) > 1 else ""
        raise HTTPException(_STATUS[error.kind], f"{which}{error}") from None


def _drawing_page() -> tuple[str, str]:
    """Return the page, and the policy that lets it run its own script and nothing else."""
    page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    hashes = {}
    for tag in "script", "style":
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes[tag] = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    policy = {
        "default-src": "'none'",
        "script-src": f"'sha256-{hashes['script']}'",
        "style-src": f"'sha256-{hashes['style']}'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return page, "; ".join(f"{name} {value}" for name, value in policy.items())
