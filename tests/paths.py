"""Where the clone's files lie, for tests in any folder."""

from pathlib import Path

CLONE = Path(__file__).parents[1]
REFERENCE = CLONE / "results" / "reference"
MODEL = REFERENCE / "model.tflite"
