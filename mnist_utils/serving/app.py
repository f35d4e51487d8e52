"""The HTTP server: pictures in, digits out, as JSON; and a page to draw a digit on."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.datastructures import UploadFile

from mnist_utils import __version__
from mnist_utils.evaluation.calibration import apply_temperature
from mnist_utils.preprocessing.decode import ImageError
from mnist_utils.preprocessing.reader import PreprocessedImage, preprocess
from mnist_utils.runs import inference
from mnist_utils.runs.find import run_of_model
from mnist_utils.serving import middleware
from mnist_utils.serving.schemas import (
    INSTANCES_SCHEMA,
    MAX_IMAGES,
    MAX_INSTANCES,
    ExplainResponse,
    Prediction,
    Predictions,
    TensorFlowResponse,
    body_schema,
    failure_responses,
    pictures_body,
)

MAX_WAITING = 32  # requests being answered or waiting for it; the next is sent away
METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client's own name: where worker processes put their counts
_STATUS = {"cannot be opened": 400, "cannot be decoded": 400, "too large": 413, "not a picture": 415, "no digit": 422}
_CURL = "curl -F image=@photo.jpg"
T = TypeVar("T")


def create_app(model: Path) -> FastAPI:
    """Make the server's application.

    Parameters
    ----------
    model : Path
        A ``.tflite`` or ``.keras`` network; loaded once, here.

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
    network, temperature = _serialized(inference.load_model(model)), 1.0
    facts = model_facts(model)
    page, policy = _drawing_page()
    work = _bounded_pool()
    registry = CollectorRegistry()
    digits = Counter("mnist_predictions", "Answers by digit", ["digit"], registry=registry)
    confidence = Histogram(
        "mnist_confidence",
        "Calibrated probability of the answer: drifts down when pictures become unlike the training's",
        buckets=(0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1),
        registry=registry,
    )

    def answer(uploads: list[UploadFile]) -> tuple[list[PreprocessedImage], NDArray[np.float32]]:
        readings = [_preprocess_upload(uploads, index) for index in range(len(uploads))]
        return readings, network(np.stack([reading.image for reading in readings]))

    def calibrated(softmax: NDArray[np.float32]) -> NDArray[np.float64]:
        return apply_temperature(softmax, temperature)

    def count(probabilities: NDArray[np.float64]) -> None:
        for row in probabilities:
            digits.labels(int(row.argmax())).inc()
            confidence.observe(float(row.max()))

    @app.post("/predict", responses=failure_responses(400, 408, 413, 415, 422, 503), openapi_extra=pictures_body(MAX_IMAGES))
    async def predict(request: Request) -> Predictions:
        """Say which digit each picture in the field ``image`` shows."""
        async with _uploads(request) as uploads:
            _, softmax = await work(lambda: answer(uploads))
        count(probabilities := calibrated(softmax))
        return Predictions(
            Predictions=[
                Prediction(
                    Label=int(row.argmax()),
                    probability=round(float(row.max()), 4),
                    Confidence=inference.round_down(float(sure.max())),
                )
                for row, sure in zip(softmax, probabilities, strict=True)
            ]
        )

    @app.post("/explain", responses=failure_responses(400, 408, 413, 415, 422, 503), openapi_extra=pictures_body(1))
    async def explain(request: Request) -> ExplainResponse:
        """Say which digit one picture shows, and what the network saw of it; not counted in the predictions."""
        async with _uploads(request) as uploads:
            if len(uploads) > 1:
                raise HTTPException(400, f"{len(uploads)} pictures; /explain takes one, /predict takes several")
            readings, softmax = await work(lambda: answer(uploads))
        probabilities = calibrated(softmax)
        return ExplainResponse(
            Label=int(probabilities[0].argmax()),
            Probabilities=[inference.round_down(float(share)) for share in probabilities[0]],
            Seen=readings[0].image.tolist(),
            Inverted=readings[0].inverted,
        )

    instances = body_schema("application/json", "instances", INSTANCES_SCHEMA)

    @app.post("/v1/models/mnist:predict", responses=failure_responses(400, 408, 413, 503), openapi_extra=instances)
    async def tensorflow_predict(request: Request) -> TensorFlowResponse:
        """Answer as TF-Serving does, for (n, 28, 28) or (n, 28, 28, 1) numbers from 0 to 255, white on black."""
        body = await request.body()
        count(probabilities := calibrated(await work(lambda: network(_parse_instances(body)))))
        return TensorFlowResponse(predictions=probabilities.tolist())

    @app.get("/v1/models/mnist")
    async def tensorflow_status() -> dict[str, Any]:
        """Report as TF-Serving does that the network is there."""
        status = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": status}]}

    @app.get("/healthz")
    async def healthz() -> dict[str, bool]:
        """Say that the process answers."""
        return {"Success": True}

    @app.get("/readyz", responses=failure_responses(503))
    async def readyz() -> dict[str, bool]:
        """Say whether a picture sent now would be answered: asks the network through the same queue."""
        await work(lambda: network(np.zeros((1, 28, 28))))
        return {"Success": True}

    @app.get("/version")
    async def version() -> dict[str, str]:
        """Say which version of the program answers, and with which network."""
        return facts

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Report the counts, for Prometheus."""
        source = registry
        if METRICS_DIR in os.environ:  # several processes: their sum
            MultiProcessCollector(source := CollectorRegistry())  # type: ignore[no-untyped-call]
        return Response(generate_latest(source), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", response_class=HTMLResponse)
    async def draw() -> HTMLResponse:
        """Show the page to draw a digit on."""
        return HTMLResponse(page, headers={"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"})

    middleware.add_json_errors(app)
    app.add_middleware(middleware.limit_body)
    app.add_middleware(
        middleware.log_requests, registry=registry, known={getattr(route, "path", "") for route in app.routes}
    )
    return app


def model_facts(model: Path) -> dict[str, str]:
    """Say in words for people what a network is: its run, its architecture, the data it was trained on."""
    facts = {"version": __version__}
    run = run_of_model(model)
    if run is None:
        return facts | {"run": model.name}
    return facts | {
        "run": run.name,
        "network": run.config.model,
        "trained on": run.dataset_name,
    }


# --- work -------------------------------------------------------------------------------------------------


def _serialized(network: inference.Predict) -> inference.Predict:
    lock = threading.Lock()  # LiteRT is not thread-safe, and a quarter of a millisecond is not worth a copy a thread

    def predict(batch: NDArray[Any]) -> NDArray[np.float32]:
        with lock:
            return network(batch)

    return predict


class _RunBounded(Protocol):
    def __call__(self, do: Callable[[], T]) -> Awaitable[T]: ...


def _bounded_pool() -> _RunBounded:
    """Return what runs a function in one of a few threads, and refuses where too many wait already."""
    free = threading.BoundedSemaphore(MAX_WAITING)
    threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="picture")

    async def work(do: Callable[[], T]) -> T:
        if not free.acquire(blocking=False):
            raise HTTPException(503, "overloaded; try again in a second", {"Retry-After": "1"})
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, do)
        finally:
            free.release()

    return work


@contextlib.asynccontextmanager
async def _uploads(request: Request) -> AsyncIterator[list[UploadFile]]:
    """Receive the files in the field ``image``; they are gone at the end of the block."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        if await anext(aiter(request.stream())) == b"":
            raise HTTPException(400, f"the body is empty; send a picture: {_CURL}")
        raise HTTPException(415, f"Content-Type: given {kind or 'none'}; allowed: multipart/form-data, as of {_CURL}")
    async with request.form() as form:
        found = form.getlist("image")
        if not found:
            given = ", ".join(sorted(set(form))) or "none"
            raise HTTPException(400, f"the field 'image' is missing; fields given: {given}. Send a picture: {_CURL}")
        if len(found) > MAX_IMAGES:
            raise HTTPException(413, f"{len(found)} pictures; allowed: {MAX_IMAGES} in one request")
        uploads = [value for value in found if isinstance(value, UploadFile)]
        if len(uploads) < len(found):
            raise HTTPException(400, f"the field 'image' holds a text, not a file; mind the @ in: {_CURL}")
        yield uploads


def _preprocess_upload(uploads: list[UploadFile], index: int) -> PreprocessedImage:
    try:
        return preprocess(uploads[index].file.read())
    except ImageError as error:
        which = f"picture {index + 1} ({uploads[index].filename}): " if len(uploads) > 1 else ""
        raise HTTPException(_STATUS[error.kind], f"{which}{error}") from None


def _parse_instances(body: bytes) -> NDArray[Any]:
    """Check what TF-Serving would be given; returns shape (n, 28, 28)."""
    try:
        batch = np.asarray(json.loads(body)["instances"])
    except (ValueError, TypeError, KeyError, RecursionError):
        batch = np.asarray(None)
    if batch.shape[1:] not in ((28, 28), (28, 28, 1)) or batch.dtype.kind not in "iuf":
        raise HTTPException(400, 'wanted {"instances": [...]}, each 28x28 or 28x28x1 numbers')
    if len(batch) > MAX_INSTANCES:
        raise HTTPException(413, f"{len(batch):,} instances; allowed: {MAX_INSTANCES:,} in one request")
    if not (batch.min() >= 0 and batch.max() <= 255):  # not NaN either
        raise HTTPException(400, f"instances: given {batch.min()} to {batch.max()}; allowed: numbers from 0 to 255")
    return batch.reshape(-1, 28, 28)


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
