"""The hyper-parameters: the type, range, meaning and default of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from mnist_utils import ConfigError
from mnist_utils.data.own import is_path
from mnist_utils.data.sources import NAMES

ModelName = Literal["fast", "accurate", "simple", "branched"]
Augment = Literal["none", "shift", "pictures", "affine", "elastic", "erase", "contrast", "polarity"]
Precision = Literal["auto", "float32", "mixed_bfloat16"]
Schedule = Literal["constant", "one_cycle"]


# The default recipe of each architecture. `simple` and `branched` follow the systems they come from (13 epochs; 10 epochs
# of batch 32 with dropout 0.25 and 0.5).
DEFAULTS_BY_MODEL: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "fast": {
            "epochs": 1,
            "batch_size": 128,
            "learning_rate": 3e-2,
            "schedule": "one_cycle",
            "label_smoothing": 0.05,
            "conv_dropout": 0.0,
            "dense_dropout": 0.0,
            "augment": "shift",
        },
        "accurate": {
            "epochs": 20,
            "batch_size": 128,
            "learning_rate": 2e-2,
            "schedule": "one_cycle",
            "label_smoothing": 0.05,
            "conv_dropout": 0.0,
            "dense_dropout": 0.0,
            "augment": "erase",
        },
        "simple": {
            "epochs": 13,
            "batch_size": 128,
            "learning_rate": 1e-3,
            "schedule": "constant",
            "label_smoothing": 0.0,
            "conv_dropout": 0.0,
            "dense_dropout": 0.0,
            "augment": "none",
        },
        "branched": {
            "epochs": 10,
            "batch_size": 32,
            "learning_rate": 1e-3,
            "schedule": "constant",
            "label_smoothing": 0.0,
            "conv_dropout": 0.25,
            "dense_dropout": 0.5,
            "augment": "none",
        },
    }
)

# `digits` has 40 times fewer images than MNIST, so an epoch has so few steps that the recipes for MNIST would hardly change
# the weights.
_DIGITS_EPOCHS = 10
_FEW_IMAGES = 13_000  # data of one's own with fewer are passed over as much more often, up to ten times


class TrainConfig(BaseModel):
    """The hyper-parameters of one training run: validated, frozen, complete.

    A field that is missing or None takes the value of its model's recipe (`DEFAULTS_BY_MODEL`). After construction,
    every field except `train_limit` and `patience` has a value.

    Raises
    ------
    pydantic.ValidationError
        If a field is unknown or out of range. `make_config` turns it into a one-line `ConfigError`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dataset: str = Field(
        "auto", description="data set; auto is mnist if available, otherwise digits; or the path of your own data"
    )
    raw: bool = Field(
        False, description="resize your own pictures and do nothing else to them: they must be white on black, as MNIST's"
    )
    skip_unreadable: bool = Field(False, description="leave out those of your own pictures that cannot be read")
    train_limit: Annotated[int, Field(ge=100)] | None = Field(
        None, description="use only this many of the training images, stratified"
    )
    validation_fraction: float = Field(
        0.1, gt=0, le=0.5, description="share of the training images held out for validation, stratified"
    )
    augment: Augment = Field(
        "none",
        description="random changes of each image in each epoch; pictures is for photos, scans and drawings of digits; "
        "each kind from affine on changes more than the one before",
    )

    model: ModelName = Field("fast", description="architecture; it also sets the defaults of the fields below")
    conv_dropout: float = Field(0.0, ge=0, lt=1, description="share of the activations dropped after convolutions")
    dense_dropout: float = Field(0.0, ge=0, lt=1, description="share of the activations dropped in the dense layers")

    epochs: int = Field(
        1, ge=1, le=10_000, description="passes over the training images; ten times as many by default on digits"
    )
    batch_size: int = Field(128, ge=1, le=60_000, description="images in one step of the optimiser")
    learning_rate: float = Field(3e-2, gt=0, le=1, description="step size of Adam; the peak of a schedule")
    schedule: Schedule = Field("one_cycle", description="learning rate over time; one_cycle warms up, then decays to 0")
    label_smoothing: float = Field(
        0.05, ge=0, lt=1, description="share of each training label that is spread evenly over all ten classes"
    )
    patience: Annotated[int, Field(ge=1)] | None = Field(
        None, description="stop after this many epochs without a lower validation loss, and keep the best epoch"
    )
    precision: Precision = Field("auto", description="arithmetic; auto is mixed_bfloat16 if the CPU is faster with it")
    seed: int = Field(0, ge=0, lt=2**31, description="random seed of initialisation, order, dropout and augmentation")

    @model_validator(mode="before")
    @classmethod
    def _drop_none(cls, given: Any) -> Any:
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _fill_defaults_of_model(self) -> Self:
        for name, value in self._defaults(self.dataset).items():
            self.__dict__[name] = value  # a frozen model refuses setattr
        return self

    def _defaults(self, dataset: str) -> dict[str, Any]:
        """Return the fields that were not given, with the defaults of the model and the data set."""
        defaults = DEFAULTS_BY_MODEL[self.model]
        if dataset == "digits":
            defaults = defaults | {"epochs": defaults["epochs"] * _DIGITS_EPOCHS}
        return {name: value for name, value in defaults.items() if name not in self.model_fields_set}

    def for_dataset(self, name: str, n: int) -> TrainConfig:
        """Replace ``auto`` by a data set of `n` training images; fields that were not given take the defaults for it."""
        if not is_path(self.dataset):
            return self.model_copy(update={"dataset": name} | self._defaults(name))
        longer = min(max(round(_FEW_IMAGES / n), 1), _DIGITS_EPOCHS)
        defaults = self._defaults(self.dataset)
        return self.model_copy(update={"epochs": defaults["epochs"] * longer} if "epochs" in defaults else {})

    @field_validator("dataset")
    @classmethod
    def _check_dataset(cls, given: str) -> str:
        if is_path(given):
            return str(Path(given).expanduser().resolve())  # a notebook works in another folder
        if given not in NAMES:
            raise ValueError("no such data set")
        return given

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name not in FLAGS:  # pydantic would convert True to 1
            raise ValueError("the field is no bool")
        return value


FLAGS = frozenset(name for name, field in TrainConfig.model_fields.items() if field.annotation is bool)


def allowed_values(field: str) -> str:
    """Describe the allowed values of a field of `TrainConfig`, for error messages and help texts."""
    if field == "dataset":
        return f"{', '.join(NAMES)}, or a path with a / in it"
    if field in FLAGS:
        return "true, false"
    schema = TrainConfig.model_json_schema()["properties"][field]
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    schema = kinds[0]
    if "enum" in schema:
        return ", ".join(schema["enum"])
    kind = {"integer": "a whole number", "number": "a number"}[schema["type"]]
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    low_word = "above" if "exclusiveMinimum" in schema else "from"
    high_word = "below" if "exclusiveMaximum" in schema else "to"
    return (
        kind
        + (f" {low_word} {low:g}" if low is not None else "")
        + (f" {high_word} {high:.10g}" if high is not None else "")
    )


def make_config(**given: Any) -> TrainConfig:
    """Make a `TrainConfig`; on errors, report each bad field in one line.

    Parameters
    ----------
    **given
        Fields of `TrainConfig`; numbers may be text, as from a command line. None means default.

    Raises
    ------
    ConfigError
        Lists each bad field, the given value and the allowed ones.
    """
    try:
        return TrainConfig(**given)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            field = str(problem["loc"][0])
            if problem["type"] == "extra_forbidden":
                lines.append(f"{field}: no such hyper-parameter; allowed: {', '.join(TrainConfig.model_fields)}")
            else:
                lines.append(f"{field}: given {str(problem['input']) or repr('')}; allowed: {allowed_values(field)}")
        raise ConfigError("\n".join(lines)) from None


def given_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Take the fields of `TrainConfig` from a notebook's parameters, where "" and -1 mean the default.

    A parameter has one plain type, so that ``papermill -p epochs 3`` can set it; it cannot be None.

    Raises
    ------
    KeyError
        If a field is missing in `values`.
    """
    return {name: None if values[name] in ("", -1) else values[name] for name in TrainConfig.model_fields}


def default_text(field: str) -> str:
    """Describe the default of a field, for each model if they differ (for help texts)."""
    values = {model: getattr(TrainConfig(model=model), field) for model in get_args(ModelName)}
    if values["fast"] is None:
        return "off" if field == "patience" else "all"
    if field in FLAGS:
        return "off"
    if field == "model" or len(set(values.values())) == 1:
        return str(values["fast"])
    return ", ".join(
        f"{model} {value:g}" if isinstance(value, float) else f"{model} {value}" for model, value in values.items()
    )


def choose_precision(precision: str) -> str:
    """Turn ``auto`` into the arithmetic that is fastest on this machine's CPU.

    bfloat16 is faster if the CPU multiplies its matrices in hardware (AMX). Otherwise it is emulated, and these networks
    take three times as long as in float32.
    """
    if precision != "auto":
        return precision
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux: no CPU with AMX runs macOS
        return "float32"
    return "mixed_bfloat16" if "amx_bf16" in flags else "float32"
