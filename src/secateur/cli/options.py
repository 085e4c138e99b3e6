"""The options that commands share: what each means, its default, and what is made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from secateur.cli import names
from secateur.cli.generated import OptionsOf, Values, completing, option, words
from secateur.errors import InputError, unknown
from secateur.names import Fit, Normalization
from secateur.runs.settings import ChannelFields, SparseFields
from secateur.training.recipe import AUTO, CUSTOM, OPTIMIZERS, Recipe

if TYPE_CHECKING:
    from secateur.architecture.architecture import Architecture
    from secateur.compare.settings import Sparsity
    from secateur.data import Data
    from secateur.data.pixels import PixelFormat
    from secateur.progress import Reporter
    from secateur.records.results import DataSummary
    from secateur.runs.prune_channels import PruneSettings
    from secateur.surgery.constraints import Constraints
    from secateur.training.terms import Terms

DATA, RECIPE, MACHINE = "Data", "Training recipe", "Machine"
PRUNING, SPARSE = "Pruning channels", "Pruning weights (nonzeros budgets)"


SETTING = (
    "METHOD.NAME=VALUE: a setting of a method, rigl.drop=0.3 (docs/controls.md). Repeatable, or with commas."
)
MOST_CLASSES, MOST_NUMBERS = 1_000_000, 2**24  # as in architecture files


@dataclass(frozen=True)
class DataOptions:
    """Which data: what every command takes that reads some."""

    data: Annotated[
        str,
        option(
            "digits, cifar10, tiny-imagenet, hf:OWNER/NAME, or a folder, archive or table of images "
            "(docs/data.md).",
            DATA,
            values=names.DATA,
        ),
    ] = "digits"
    limit_train: Annotated[int | None, option("Take a stratified part of the training images.", DATA)] = None
    val_fraction: Annotated[float, option("Held out of train for all that selects.", DATA)] = 0.1
    split_seed: Annotated[int, option("Which images are held out.", DATA)] = 0
    image_size: Annotated[int | None, option("Make images square, with this side.", DATA)] = None
    fit: Annotated[
        str,
        option(
            "How: crop (the centre square), pad (the whole, on the background), squash.",
            DATA,
            values=get_args(Fit),
        ),
    ] = "crop"
    background: Annotated[str, option("Behind transparent pixels: white, black or #rrggbb.", DATA)] = "white"
    splits: Annotated[
        str | None,
        option("train=DIR,test=DIR[,val=DIR], below the data folder, where names do not say it.", DATA),
    ] = None
    classes_in: Annotated[
        str | None,
        option(
            "The folder, below the data folder, whose folders are the classes: a path, . for the data folder "
            "itself, '*' for all its folders together.",
            DATA,
        ),
    ] = None
    label_column: Annotated[
        str | None, option("The column of labels in a table or CSV, where several could be it.", DATA)
    ] = None
    image_column: Annotated[str | None, option("The column of images, likewise.", DATA)] = None
    task: Annotated[
        str,
        option(
            "classification; regression (columns of numbers) or multilabel (of 0 and 1, or of lists) of a "
            "table or CSV: loss, metric and verdict follow (docs/your-own.md).",
            DATA,
            values=names.TASKS,
        ),
    ] = "classification"
    skip_unreadable: Annotated[
        bool, option("Leave out images that cannot be read.", DATA, "--skip-unreadable")
    ] = False

    def __post_init__(self) -> None:
        """`~` is the home folder; an empty path is refused."""
        for name in ("model", "data"):
            if hasattr(self, name):
                object.__setattr__(self, name, _with_home(getattr(self, name), f"--{name}"))

    @property
    def data_folder(self) -> Path | None:
        """The folder that the images are read from, where it is one."""
        from secateur.data.sources import folder_of

        return folder_of(self.data)

    def load_data(self, reporter: Reporter, pixels: PixelFormat | None = None) -> Data:
        """The data; in a finished network's own pixel format, where that is given."""
        from secateur.data import load_data
        from secateur.data.reading import parse_splits

        if pixels is not None:
            self._check_as_taken(pixels)
        return load_data(
            self.data,
            limit_train=self.limit_train,
            val_fraction=self.val_fraction,
            split_seed=self.split_seed,
            image_size=self.image_size,
            splits=parse_splits(self.splits),
            classes_in=self.classes_in,
            label_column=self.label_column,
            image_column=self.image_column,
            task=self.task,
            fit=self.fit,
            background=self.background,
            skip_unreadable=self.skip_unreadable,
            pixels=pixels,
            progress=reporter.decoding,
        )

    def _check_as_taken(self, pixels: PixelFormat) -> None:
        """Raise InputError for options that would make other images than a finished network takes."""
        for name in ("image_size", "fit", "background"):
            given = getattr(self, name)
            if given != type(self).__dataclass_fields__[name].default:
                taken = f"{pixels.width}x{pixels.height}, {pixels.fit}, on {pixels.background}"
                raise InputError(
                    f"images are made as the network takes them ({taken}), got --{name.replace('_', '-')} "
                    f"{given}: leave it out"
                )


@dataclass(frozen=True)
class Int8Options(DataOptions):
    """On which data a network in int8 is calibrated and judged: what `export` takes for --int8 alone."""

    data: Annotated[  # type: ignore[assignment]  # there is no default but the network's own
        str | None,
        option(
            "For --int8: calibrated on its training images, judged on its test images; by default the "
            "digits, where the network is of these.",
            DATA,
            values=names.DATA,
        ),
    ] = None  # type: ignore[assignment]
    calibrate: Annotated[
        int | None, option("Training images that ranges are found on; by default 256.", DATA)
    ] = None

    def __post_init__(self) -> None:
        """As of all data, where there are some."""
        if self.data is not None:
            super().__post_init__()

    def check_unused(self) -> None:
        """Raise InputError where something is given that says how to quantise: --int8 is not."""
        for name, each in type(self).__dataclass_fields__.items():
            if getattr(self, name) != each.default:
                raise InputError(
                    f"--{name.replace('_', '-')} is for --int8, which is calibrated on data: add --int8, "
                    "or leave it out"
                )

    def of_network(self, known: DataSummary | None, task: str) -> Int8Options:
        """With what the network says of its data where nothing was given.

        Raises:
            InputError: where that is nothing that can be read here.
        """
        data = self.data or (known.name if known is not None else None)
        if self.data is None and data != "digits":
            made = f", got a network of '{data}'" if data else ""
            raise InputError(
                f"--int8 is calibrated on images of the network's classes{made}: name them with --data"
            )
        default = type(self).__dataclass_fields__["task"].default
        return replace(self, data=data, task=task if self.task == default else self.task)


@dataclass(frozen=True)
class ModelOptions(DataOptions):
    """Which model, and on which data: what every command takes that opens one."""

    model: Annotated[
        str,
        typer.Option(
            help="wrn-D-K, resnet18, vgg19, conv4; for any other package.module:function, hf:NAME or "
            "timm:NAME; or an architecture.json.",
            autocompletion=completing(names.MODELS),
        ),
    ] = "wrn-16-1"
    factory: Annotated[
        str | None,
        typer.Option(help="What builds the network of an architecture.json that is not built in."),
    ] = None
    normalize: Annotated[
        str | None,
        option(
            "By mean and deviation of: data, imagenet, model, or 'mean=.5,.5,.5 std=.2,.2,.2'; by default "
            "the model's where it comes with weights, else the data's.",
            DATA,
            values=get_args(Normalization),
        ),
    ] = None

    @property
    def model_path(self) -> Path | None:
        """The folder or file that the model is read from, where it is one."""
        path = Path(self.model)
        return path if path.exists() else None

    def load(self, reporter: Reporter) -> tuple[Data, Architecture]:
        """The data, and the model fitted to it. Names are checked before anything is decoded."""
        from secateur.architecture.pretrained import normalized_for
        from secateur.architecture.resolve import check_model_name, resolve_model
        from secateur.data.normalization import named

        check_model_name(self.model, self.factory)
        named(self.normalize)
        data, normalization = normalized_for(self.model, self.load_data(reporter), self.normalize)
        if normalization:
            reporter.note(f"images are normalised {normalization}")
        self._say_what_takes_long(reporter)
        return data, resolve_model(self.model, data, self.factory)

    def load_as_saved(self) -> Architecture | None:
        """A saved network that is not built in, as its file describes it; None where it is another model.

        It says itself what inputs it takes, which need not be images, so that only named data are looked at.
        """
        from secateur.architecture.architecture import Architecture
        from secateur.architecture.factories import factory_of
        from secateur.architecture.file import read_architecture
        from secateur.architecture.from_transformers import is_pretrained_folder
        from secateur.architecture.resolve import check_model_name
        from secateur.models import FACTORIES

        asks_for_data = self.data != type(self).__dataclass_fields__["data"].default
        check_model_name(self.model, self.factory)
        if asks_for_data or self.model_path is None or is_pretrained_folder(self.model):
            return None
        content, path = read_architecture(self.model)
        if not isinstance(content, dict) or content.get("factory") in FACTORIES:
            return None
        return Architecture.load(path, factory_of(self.factory) if self.factory else None)

    def terms(self) -> Terms:
        """The loss and the metric of the task."""
        from secateur.network.task import Task
        from secateur.training.terms import Terms

        return Terms(Task.named(self.task))

    def try_on(self, architecture: Architecture, data: Data) -> None:
        """Refuse what the loss would silently get wrong of a network that is not ours."""
        from secateur.compare.own import examine

        task = self.terms().task
        if not (task.is_default and architecture.is_family):
            examine(architecture, data, task)

    def load_at(self, image: str, classes: int, reporter: Reporter) -> Architecture:
        """The model without data, for images written CHANNELSxHEIGHTxWIDTH."""
        from secateur.architecture.resolve import check_model_name, model_at

        found = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,4})x([1-9]\d{0,4})", image)
        if not found:
            raise InputError(
                f"--input reads CHANNELSxHEIGHTxWIDTH, got '{image}': write for example 3x224x224"
            )
        if not 2 <= classes <= MOST_CLASSES:
            raise InputError(f"--classes must be at least 2, at most {MOST_CLASSES:,}, got {classes}")
        check_model_name(self.model, self.factory)
        self._say_what_takes_long(reporter)
        channels, height, width = (int(part) for part in found.groups())
        if channels * height * width > MOST_NUMBERS:
            raise InputError(f"an image of --input has at most {MOST_NUMBERS:,} numbers, got '{image}'")
        return model_at(self.model, (channels, height, width), classes, self.factory)

    def _say_what_takes_long(self, reporter: Reporter) -> None:
        from secateur.architecture.factories import names_factory

        if names_factory(self.model):
            reporter.note(f"{self.model}: finding and proving what can be cut (large models take a minute)")


def _with_home(name: str, what: str) -> str:
    """A name or path as the user wrote it, with the home folder for `~`."""
    from secateur.records.out import expanded

    return str(expanded(name, what)) if name.startswith("~") or not name.strip() else name


@dataclass(frozen=True)
class Options(ModelOptions):
    """The options that `compare`, `train` and `prune` share; those of the recipe are made from its fields."""

    training: Annotated[
        Values, OptionsOf(Recipe, RECIPE, without=("augment", "jitter", "pad", "flip", "precision"))
    ] = field(default_factory=dict)
    augmentation: Annotated[Values, OptionsOf(Recipe, RECIPE, only=("augment", "jitter", "pad", "flip"))] = (
        field(default_factory=dict)
    )
    device: Annotated[str, option("auto, cpu, cuda, cuda:1, mps.", MACHINE)] = "auto"
    computation: Annotated[Values, OptionsOf(Recipe, MACHINE, only=("precision",))] = field(
        default_factory=dict
    )

    def recipe(self) -> Recipe:
        """The recipe asked for, of networks that are trained from scratch."""
        return Recipe(**self._given())

    def fine_tuning(self) -> Recipe:
        """The recipe asked for, of a network that comes trained: what was given wins over its defaults."""
        return Recipe.fine_tuning(**self._given())

    @property
    def finds_rate(self) -> bool:
        """Whether the rate is to be searched for."""
        return self.training.get("lr") == AUTO

    def _given(self) -> Values:
        given = {**self.training, **self.augmentation, **self.computation}
        if given.get("optimizer") == CUSTOM:
            raise unknown("optimizer", CUSTOM, OPTIMIZERS)
        return {name: value for name, value in given.items() if value != AUTO}


@dataclass(frozen=True)
class PruneOptions(Options):
    """What commands that prune take besides."""

    channels: Annotated[
        Values, OptionsOf(ChannelFields, PRUNING, only=("every", "at_once", "granularity", "beta", "lr"))
    ] = field(default_factory=dict)
    keep: Annotated[
        list[str] | None,
        option(
            "Nothing is cut from what matches: a layer or group, e.g. 'stem.*'. Repeatable, or with commas.",
            PRUNING,
        ),
    ] = None
    at_least: Annotated[
        list[str] | None, option("Channels left at least: 'stage1=16'. Repeatable.", PRUNING)
    ] = None
    ratio: Annotated[
        list[str] | None,
        option("Share of the channels that goes, met exactly: 'layer4.*=50%'. Repeatable.", PRUNING),
    ] = None
    sparse: Annotated[Values, OptionsOf(SparseFields, SPARSE)] = field(default_factory=dict)
    setting: Annotated[list[str] | None, option(SETTING, SPARSE)] = None

    # Of the gates: settings of `methods.reparametrization.Config`, which loads torch. A test compares them.
    t_init: Annotated[float, option("Faithful: where every t begins.", SPARSE)] = 100.0
    penalty_weight: Annotated[float, option("Faithful: lambda of the budget loss.", SPARSE)] = 5.0
    t_rate: Annotated[
        float | None, option("Faithful: rate of t, in rates of the weights; as written 1.", SPARSE)
    ] = None
    crispness: Annotated[int, option("n of the gate; exact mode: at first.", SPARSE)] = 4
    crispness_final: Annotated[
        int | None, option("Exact: n at the end; by default the method's.", SPARSE)
    ] = None
    prune_start: Annotated[float | None, option("Exact: share of training before C falls.", SPARSE)] = None
    prune_end: Annotated[float | None, option("Exact: share at which C is the budget.", SPARSE)] = None
    sharpen_until: Annotated[float | None, option("Exact: share at which n is final.", SPARSE)] = None
    cut_at: Annotated[
        float | None, option("Exact: share at which weights go for good; by default --sharpen-until.", SPARSE)
    ] = None
    compile_gates: Annotated[
        bool,
        option(
            "Have torch.compile fuse the gates: seconds at first, then less a step.",
            SPARSE,
            "--compile-gates",
        ),
    ] = False

    def sparsity(self) -> Sparsity:
        """The weight pruning asked for."""
        from secateur.compare.settings import Sparsity
        from secateur.runs.method_settings import parse

        return Sparsity(
            **self.sparse, reparametrization=self.gates(), settings=parse(words(*self.setting or ()))
        )

    def gates(self) -> Values:
        """The gates' settings by their names in `Reparametrization`; without what is left to the method."""
        given = {
            "t_init": self.t_init,
            "penalty_weight": self.penalty_weight,
            "t_rate": self.t_rate,
            "n": self.crispness,
            "n_final": self.crispness_final,
            "start": self.prune_start,
            "end": self.prune_end,
            "sharpen_until": self.sharpen_until,
            "cut_at": self.cut_at,
            "compiled": self.compile_gates or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def pruning(self, method: str = "fisher") -> PruneSettings:
        """The pruning asked for."""
        from secateur.runs.prune_channels import PruneSettings

        return PruneSettings(**{**self.channels, "method": method}, constraints=self.constraints())

    def constraints(self) -> Constraints:
        """What must stay."""
        from secateur.surgery.constraints import Constraints

        given = [
            [word for text in texts or () for word in words(text) or [text]]
            for texts in (self.keep, self.at_least, self.ratio)
        ]
        return Constraints.parse(*given)
