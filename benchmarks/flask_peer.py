"""The way of an earlier system, "A", to answer over HTTP: Flask, and Keras's `predict` for each request.

python -m benchmarks.flask_peer PORT [MODEL.keras]

It reads a picture as A did: grey, squeezed to 28x28, never inverted.
"""

from __future__ import annotations

import sys
from typing import Any

import flask
import keras
import numpy as np
from PIL import Image


def create_app(path: str) -> flask.Flask:
    app = flask.Flask(__name__)
    model = keras.saving.load_model(path, compile=False)

    @app.post("/predict")
    def predict() -> dict[str, Any]:
        picture = Image.open(flask.request.files["image"].stream).convert("L").resize((28, 28))
        (probabilities,) = model.predict(np.asarray(picture, np.float32)[None, :, :, None], verbose=0)
        answer = {"Label": int(probabilities.argmax()), "Softmax probability": float(probabilities.max())}
        return {"Predictions": [answer], "Success": True}

    return app


if __name__ == "__main__":
    create_app(sys.argv[2] if len(sys.argv) > 2 else "results/reference/model.keras").run(port=int(sys.argv[1]))
