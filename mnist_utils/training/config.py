"""The hyper-parameters: the type, range, meaning and default of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mnist_utils import ConfigError
from mnist_utils._support.own_function import OwnFunction, is_own, read_function
from mnist_utils.data.augmentation import AUGMENTATIONS
from mnist_utils.data.own import is_path
from mnist_utils.data.sources import NAMES
from mnist_utils.training import network as networks
from mnist_utils.training.network import KERAS_DEFAULTS, Network, load_network

Precision = Literal["auto", "float32", "mixed_bfloat16"]
Schedule = Literal["constant", "cosine", "one_cycle"]
Optimizer = Literal["adam", "adamw", "sgd", "rmsprop", "nadam", "adagrad"]

# `digits` has 40 times fewer images than MNIST, so in an epoch the recipes for MNIST would hardly change the weights.
_DIGITS_EPOCHS = 10
_FEW_IMAGES = 13_000  # data of one's own with fewer are passed over as much more often, up to ten times


class TrainConfig(BaseModel):
    """The hyper-parameters of one training run: validated, frozen, complete.

    A field that is missing or None takes the value of its network's recipe. After construction, every field except
    `train_limit` and `patience` has a value.

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
        0.1, ge=0, le=0.5, description="share of the training images held out for validation, stratified; 0: none"
    )
    augment: str = Field(
        "none",
        description="random changes of each image in each epoch; pictures is for photos, scans and drawings of digits; "
        "each kind from affine on changes more than the one before",
    )

    model: str = Field("fast", description="network; it also sets the defaults of the fields below")
    conv_dropout: float = Field(0.0, ge=0, lt=1, description="share of the activations dropped after convolutions")
    dense_dropout: float = Field(0.0, ge=0, lt=1, description="share of the activations dropped in the dense layers")

    epochs: int = Field(
        1, ge=1, le=10_000, description="passes over the training images; ten times as many by default on digits"
    )
    batch_size: int = Field(128, ge=1, le=60_000, description="images in one step of the optimiser")
    optimizer: Optimizer = Field("adam", description="Keras's optimiser of that name")
    learning_rate: float = Field(3e-2, gt=0, le=1, description="step size of the optimiser; the peak of a schedule")
    momentum: float = Field(0.0, ge=0, lt=1, description="share of the last step in the next; of sgd and rmsprop")
    weight_decay: float = Field(
        0.0, ge=0, le=1, description="share of a weight that each step takes away, per learning rate"
    )
    schedule: Schedule = Field(
        "one_cycle", description="learning rate over time; cosine decays to 0, one_cycle warms up before that"
    )
    label_smoothing: float = Field(
        0.05, ge=0, lt=1, description="share of each training label that is spread evenly over all classes"
    )
    patience: Annotated[int, Field(ge=1)] | None = Field(
        None, description="stop after this many epochs without a lower validation loss, and keep the best epoch"
    )
    precision: Precision = Field("auto", description="arithmetic; auto is mixed_bfloat16 if the CPU is faster with it")
    seed: int = Field(0, ge=0, lt=2**31, description="random seed of initialisation, order, dropout and augmentation")

    from_run: str = Field("", description="a finished run, by name or folder, from whose weights the training starts")
    freeze: str = Field("", description="layers whose weights stay, by name or pattern, with commas between: conv*,dense")

    _network: Network | None = PrivateAttr(None)
    _own_augment: OwnFunction | None = PrivateAttr(None)

    def model_post_init(self, context: Any) -> None:
        """Keep the network that `make_config` found; a built-in one is found by its name."""
        found = context if isinstance(context, dict) else {}
        self._own_augment = found.get("augment")
        self._network = found.get("network") or (load_network(self.model) if self.model in networks.NAMES else None)

    @property
    def network(self) -> Network:
        """The network to train.

        Raises
        ------
        ConfigError
            If the configuration was read back from a run of your own network, which only keeps its text.
        """
        if self._network is None:
            raise ConfigError(
                f"model: {self.model} is your own, and only its text was kept; give its file: file.py:function"
            )
        return self._network

    @property
    def own_augment(self) -> OwnFunction | None:
        """Your own augmentation; None if it is a built-in one.

        Raises
        ------
        ConfigError
            See `network`.
        """
        if self._own_augment is None and self.augment not in AUGMENTATIONS:
            raise ConfigError(f"augment: {self.augment} is your own, and only its text was kept; give its file")
        return self._own_augment

    @model_validator(mode="before")
    @classmethod
    def _drop_none(cls, given: Any) -> Any:
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _fill_defaults_of_model(self) -> Self:
        for name, value in self._defaults(self.dataset).items():
            self.__dict__[name] = value  # a frozen model refuses setattr
        if self.patience and not self.validation_fraction:
            raise ValueError(
                f"patience: given {self.patience} without validation images; allowed: a validation_fraction above 0"
            )
        if self.momentum and self.optimizer not in ("sgd", "rmsprop"):
            raise ValueError(f"momentum: given {self.momentum:g} with {self.optimizer}; allowed: with sgd and rmsprop")
        return self

    def _defaults(self, dataset: str) -> dict[str, Any]:
        """Return the fields that were not given, with the defaults of the network and the data set."""
        defaults = {**KERAS_DEFAULTS, **(self._network.recipe if self._network else {})}
        if not self.validation_fraction:
            defaults.pop("patience", None)
        if dataset == "digits":
            defaults["epochs"] = defaults["epochs"] * _DIGITS_EPOCHS
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

    @field_validator("model")
    @classmethod
    def _check_model(cls, given: str, info: ValidationInfo) -> str:
        if given not in networks.NAMES and not (info.context or {}).get("network"):
            raise ValueError("no such model")
        return given

    @field_validator("augment")
    @classmethod
    def _check_augment(cls, given: str, info: ValidationInfo) -> str:
        if given not in AUGMENTATIONS and not (info.context or {}).get("augment"):
            raise ValueError("no such augmentation")
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
        return f"{', '.join(NAMES)}, or a path, as ./shapes or train.csv"
    if field == "model":
        return networks.allowed()
    if field == "augment":
        return f"{', '.join(AUGMENTATIONS)}, or your own: file.py or file.py:function"
    if field in ("from_run", "freeze"):
        return "text"
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
        Fields of `TrainConfig`; numbers may be text, as from a command line. None means default. ``model`` may be whatever
        `load_network` takes: a name, a file, a function; ``augment`` may be a file or a function, too.

    Raises
    ------
    ConfigError
        Lists each bad field, the given value and the allowed ones.
    """
    network = load_network(given["model"] if given.get("model") is not None else "fast")
    if not network.built_in:
        network = replace(network, recipe=_check_recipe(network))
    context: dict[str, Any] = {"network": network}
    given = given | {"model": network.identity}
    if is_own(given.get("augment")):
        context["augment"] = read_function(given["augment"], option="augment", default="augment")
        given["augment"] = context["augment"].identity
    try:
        return TrainConfig.model_validate(given, context=context)
    except ValidationError as error:
        problems = _problems(error)
    raise ConfigError("\n".join(problems))


def _check_recipe(network: Network) -> dict[str, Any]:
    """Return a file's recipe with each value as its field has it."""
    unsuited = sorted({"model", "dataset", "from_run"} & set(network.recipe))
    if unsuited:
        raise ConfigError(f"recipe of {network.name}: {unsuited[0]}; allowed: {', '.join(KERAS_DEFAULTS)} and the like")
    try:
        checked = TrainConfig.model_validate(dict(network.recipe))
    except ValidationError as error:
        raise ConfigError("\n".join(f"recipe of {network.name}: {line}" for line in _problems(error))) from None
    return {name: getattr(checked, name) for name in network.recipe}


def _problems(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        if not problem["loc"]:  # of several fields together
            lines.append(str(problem["ctx"]["error"]))
            continue
        field = str(problem["loc"][0])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{field}: no such hyper-parameter; allowed: {', '.join(TrainConfig.model_fields)}")
        else:
            lines.append(f"{field}: given {str(problem['input']) or repr('')}; allowed: {allowed_values(field)}")
    return lines


def given_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Take the fields of `TrainConfig` from a notebook's parameters, where "" and -1 mean the default.

    A parameter has one plain type, so that ``papermill -p epochs 3`` can set it; it cannot be None.

    Raises
    ------
    KeyError
        If a field is missing in `values`.
    """
    return {name: None if values[name] in ("", -1) else values[name] for name in TrainConfig.model_fields}
