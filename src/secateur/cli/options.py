"""The options that commands share: what each means, its default, and what is made of it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from secateur.errors import InputError

if TYPE_CHECKING:
    from secateur.architecture.architecture import Architecture
    from secateur.compare.settings import Sparsity
    from secateur.data import Data
    from secateur.progress import Reporter
    from secateur.runs.prune_channels import PruneSettings
    from secateur.training.recipe import Recipe

DATA, RECIPE, MACHINE = "Data", "Training recipe", "Machine"
PRUNING, SPARSE = "Pruning channels", "Pruning weights (nonzeros budgets)"


def option(help_text: str, panel: str, *names: str) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=panel)


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and on which data: what every command takes that opens one."""

    model: Annotated[
        str,
        typer.Option(
            help="wrn-D-K, resnet18, vgg19, conv4; for any other package.module:function, hf:NAME or "
            "timm:NAME; or an architecture.json."
        ),
    ] = "wrn-16-1"
    factory: Annotated[
        str | None,
        typer.Option(help="What builds the network of an architecture.json that is not built in."),
    ] = None
    data: Annotated[
        str,
        option(
            "digits, cifar10, tiny-imagenet, hf:OWNER/NAME, or a folder of images or parquet files.", DATA
        ),
    ] = "digits"
    limit_train: Annotated[int | None, option("Take a stratified part of the training images.", DATA)] = None
    val_fraction: Annotated[float, option("Held out of train for all that selects.", DATA)] = 0.1
    split_seed: Annotated[int, option("Which images are held out.", DATA)] = 0
    image_size: Annotated[int | None, option("Resize and crop images to this side.", DATA)] = None

    def load(self, reporter: Reporter) -> tuple[Data, Architecture]:
        """The data, and the model fitted to it. Names are checked before anything is decoded."""
        from secateur.architecture.resolve import check_model_name, resolve_model
        from secateur.data import load_data

        check_model_name(self.model)
        data = load_data(
            self.data,
            limit_train=self.limit_train,
            val_fraction=self.val_fraction,
            split_seed=self.split_seed,
            image_size=self.image_size,
            progress=reporter.decoding,
        )
        self._say_what_takes_long(reporter)
        return data, resolve_model(self.model, data, self.factory)

    def load_at(self, image: str, classes: int, reporter: Reporter) -> Architecture:
        """The model without data, for images written CHANNELSxHEIGHTxWIDTH."""
        from secateur.architecture.resolve import check_model_name, model_at

        found = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,4})x([1-9]\d{0,4})", image)
        if not found:
            raise InputError(
                f"--input reads CHANNELSxHEIGHTxWIDTH, got '{image}': write for example 3x224x224"
            )
        if classes < 2:
            raise InputError(f"--classes must be at least 2, got {classes}")
        check_model_name(self.model)
        self._say_what_takes_long(reporter)
        channels, height, width = (int(part) for part in found.groups())
        return model_at(self.model, (channels, height, width), classes, self.factory)

    def _say_what_takes_long(self, reporter: Reporter) -> None:
        from secateur.architecture.factories import names_factory

        if names_factory(self.model):
            reporter.note(f"{self.model}: finding and proving what can be cut (large models take a minute)")


@dataclass(frozen=True)
class Options(ModelOptions):
    """The options that `compare`, `train` and `prune` share; defaults are Crowley et al. 2018's."""

    epochs: Annotated[int, option("Passes over the training split.", RECIPE)] = 200
    batch_size: Annotated[int, option("Examples per step.", RECIPE)] = 128
    lr: Annotated[float, option("First learning rate.", RECIPE)] = 0.1
    momentum: Annotated[float, option("Of SGD.", RECIPE)] = 0.9
    weight_decay: Annotated[float, option("On every parameter.", RECIPE)] = 5e-4
    milestones: Annotated[str, option("Shares of the epochs at which the rate drops.", RECIPE)] = (
        "0.3,0.6,0.9"
    )
    gamma: Annotated[float, option("Factor of each drop.", RECIPE)] = 0.2
    schedule: Annotated[
        str, option("steps (at the milestones), cosine, or plateau (of accuracy).", RECIPE)
    ] = "steps"
    patience: Annotated[int, option("Epochs without improvement before plateau drops.", RECIPE)] = 10
    early_stop: Annotated[
        int | None, option("Epochs without improvement that end training; never by default.", RECIPE)
    ] = None
    select_on: Annotated[str, option("val; or test, which makes the accuracy there too good.", RECIPE)] = (
        "val"
    )
    pad: Annotated[
        int | None, option("Zero-padding before a random crop; by default 1/8 of the side.", RECIPE)
    ] = None
    flip: Annotated[
        bool | None,
        option("Mirror images at random; by default all but digits.", RECIPE, "--flip/--no-flip"),
    ] = None
    device: Annotated[str, option("auto, cpu, cuda, cuda:1, mps.", MACHINE)] = "auto"
    precision: Annotated[str, option("fp32 or bf16.", MACHINE)] = "fp32"

    def recipe(self) -> Recipe:
        """The training recipe asked for."""
        from secateur.training.recipe import Recipe

        return Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            milestones=numbers("--milestones", self.milestones),
            gamma=self.gamma,
            schedule=self.schedule,
            patience=self.patience,
            early_stop=self.early_stop,
            select_on=self.select_on,
            pad=self.pad,
            flip=self.flip,
            precision=self.precision,
        )


@dataclass(frozen=True)
class PruneOptions(Options):
    """What commands that prune take besides."""

    prune_every: Annotated[int, option("Fine-tuning steps per removal.", PRUNING)] = 100
    at_once: Annotated[
        int, option("Channels (granules) per removal; 0: all that the budget asks for.", PRUNING)
    ] = 1
    granularity: Annotated[
        int, option("Keep channels in multiples of it, as runtimes like them.", PRUNING)
    ] = 1
    flop_penalty: Annotated[float, option("beta, per MAC, in the removal score.", PRUNING)] = 0.0
    tuning_lr: Annotated[
        float | None, option("Rate of fine-tuning; by default the lowest of training.", PRUNING)
    ] = None

    tune_share: Annotated[float, option("Share of the epochs after the cut, in arms that tune.", SPARSE)] = (
        0.5
    )
    l1_strength: Annotated[float, option("Factor of the L1 norm.", SPARSE)] = 3e-4
    t_init: Annotated[float, option("Faithful: where every t begins.", SPARSE)] = 100.0
    penalty_weight: Annotated[float, option("Faithful: lambda of the budget loss.", SPARSE)] = 5.0
    crispness: Annotated[int, option("n of the gate; exact mode: at first.", SPARSE)] = 4
    crispness_final: Annotated[
        int | None, option("Exact: n at the end; by default the method's.", SPARSE)
    ] = None
    prune_start: Annotated[float | None, option("Exact: share of training before C falls.", SPARSE)] = None
    prune_end: Annotated[float | None, option("Exact: share at which C is the budget.", SPARSE)] = None
    sharpen_until: Annotated[float | None, option("Exact: share at which n is final.", SPARSE)] = None
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

        given = {
            "t_init": self.t_init,
            "penalty_weight": self.penalty_weight,
            "n": self.crispness,
            "n_final": self.crispness_final,
            "start": self.prune_start,
            "end": self.prune_end,
            "sharpen_until": self.sharpen_until,
        }
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if self.compile_gates:
            chosen["compiled"] = True
        return Sparsity(self.tune_share, None, self.l1_strength, chosen)

    def pruning(self, method: str = "fisher") -> PruneSettings:
        """The pruning asked for."""
        from secateur.runs.prune_channels import PruneSettings

        return PruneSettings(
            self.prune_every, self.flop_penalty, self.tuning_lr, method, self.granularity, self.at_once
        )


def taking(kind: type[ModelOptions]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command every field of `kind` as an option; it receives them as one object, `options`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(kind, include_extras=True)
        own = [
            p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "options"
        ]
        shared = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=hints[field.name],
            )
            for field in fields(kind)
        ]

        def run(**values: Any) -> None:
            options = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
            command(options=options, **values)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        run.__signature__ = inspect.Signature([*parameters, *shared])  # type: ignore[attr-defined]
        return run

    return decorate


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in words(text))
    except ValueError:
        raise InputError(f"{name} takes numbers with commas between them, got '{text}'") from None
