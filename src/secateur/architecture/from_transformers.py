"""Networks of Hugging Face's `transformers`: by name, and again from the configuration in a saved folder.

A network of a class of that package is described by the class's name and its configuration, which is JSON.
It lies in `transformers.json`, beside `architecture.json`, so that the folder can be read without a factory.
(Not in `config.json`: that would promise `from_pretrained` a network of the uncut shapes.) Only model classes
of the package itself are looked up, nothing is downloaded, and no code that a configuration names is run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from logging import CRITICAL, getLogger
from pathlib import Path
from typing import Any

from torch import nn

from secateur.architecture.file import ARCHITECTURE_FILE, TRANSFORMERS_FILE
from secateur.errors import InputError, first_line, require_packages
from secateur.process import silent
from secateur.records.reading import read_json

PREFIX = "transformers:"
"""Before the class, in `architecture.json`: "transformers:ViTForImageClassification"."""

FORMAT = "secateur-transformers"

Factory = Callable[..., nn.Module]
_MAX_BYTES = 5_000_000
_NAMES_CODE = (
    "auto_map",
    "attn_implementation",
    "experts_implementation",
    "quantization_config",
)
_DOWNLOADS = ("backbone", "use_pretrained_backbone", "use_timm_backbone")


def described(model: nn.Module) -> dict[str, Any] | None:
    """Describe a network of the package by its class and configuration; None: it is none.

    A subclass of the user's own is none: nobody could build it again from that.
    """
    config: Any = getattr(model, "config", None)
    if not _is_theirs(type(model)) or not hasattr(config, "to_json_string"):
        return None
    plain = _plain(json.loads(config.to_json_string(use_diff=False)))
    return {"format": FORMAT, "schema": 1, "class": type(model).__name__, "config": plain}


def name_of(described: dict[str, Any]) -> str:
    """The factory's name of a network that is described."""
    return f"{PREFIX}{described['class']}"


def factory_from(described: dict[str, Any], source: str = "the model") -> Factory:
    """Make what builds a fresh network of its description; nothing is built yet.

    Raises:
        InputError: where its class is none of the package's models, or building it would download something.
    """
    name, config = described.get("class"), described.get("config")
    kind = getattr(_package(), name, None) if isinstance(name, str) and name.isidentifier() else None
    if not isinstance(kind, type) or not _is_theirs(kind) or not isinstance(config, dict):
        raise InputError(
            f"{source}: 'class' must name a model class of transformers, with its 'config', got "
            f"{ascii(name)[:80]}: pass the factory that builds the network"
        )
    if asked := next((key for key in _DOWNLOADS if config.get(key)), None):
        raise InputError(
            f"{source}: a network whose configuration has '{asked}' would be built of downloaded parts, "
            "which a file may not ask for: pass the factory"
        )
    return partial(_built, kind, _plain(config))


def factory_beside(path: Path) -> Factory | None:
    """Find what builds the network of an architecture file, by the description that lies beside it.

    Returns:
        None where there is none, so that the factory has to be named.

    Raises:
        InputError: where it is damaged, or asks for what a file may not ask for.
    """
    file = path.parent / TRANSFORMERS_FILE
    return factory_from(_read(file), str(file)) if file.is_file() else None


def _read(file: Path) -> dict[str, Any]:
    """Read a description; InputError where it is none."""
    content = read_json(file, most=_MAX_BYTES)
    if not isinstance(content, dict) or (content.get("format"), content.get("schema")) != (FORMAT, 1):
        raise InputError(f'{file}: its "format" must be "{FORMAT}", schema 1: it is another kind of file')
    return content


def _built(kind: Any, config: dict[str, Any], **_arguments: Any) -> nn.Module:
    """Build a network; what an architecture file says besides is in the configuration already."""
    with quiet(_package()):
        made: nn.Module = kind(kind.config_class.from_dict(json.loads(json.dumps(config))))
    return made


def _plain(config: Any) -> Any:
    """A configuration without what names code, at any depth."""
    if isinstance(config, dict):
        return {
            key: _plain(value)
            for key, value in config.items()
            if not str(key).startswith("_") and key not in _NAMES_CODE
        }
    return [_plain(each) for each in config] if isinstance(config, list) else config


def _is_theirs(kind: type) -> bool:
    """Whether a class is a model of the package itself; False where the package is not even loaded."""
    package: Any = sys.modules.get("transformers")
    return (
        package is not None
        and kind.__module__.startswith("transformers.models.")
        and issubclass(kind, package.PreTrainedModel)
    )


def _package() -> Any:
    require_packages("transformers", what="an hf: model")
    return silent("transformers")


def is_pretrained_folder(name: str) -> bool:
    """Whether a folder is one that `save_pretrained` left, and not one of ours."""
    folder = Path(name)
    return (folder / "config.json").is_file() and not (folder / ARCHITECTURE_FILE).is_file()


def labels_of(name: str) -> list[str]:
    """The names of the classes of a model of the Hub or of a folder, in the order of its scores."""
    with quiet(package := _package()):
        named = package.AutoConfig.from_pretrained(name, trust_remote_code=False).id2label
    return [str(named[index]) for index in sorted(named)]


def image_classifier(name: str) -> tuple[Factory, Factory | None]:
    """Find what builds a fresh image classifier of the Hub or of a folder, and one with its weights, if any.

    Weights are read from safetensors alone, and no code that comes with them is run.

    Raises:
        InputError: where there is no such model, or its weights are pickled.
    """
    transformers = _package()

    def config_for(num_classes: int, in_channels: int) -> Any:
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        if config.num_labels != num_classes:
            config.num_labels = num_classes
        if hasattr(config, "num_channels"):
            config.num_channels = in_channels
        return config

    def fresh(num_classes: int, in_channels: int) -> nn.Module:
        config = config_for(num_classes, in_channels)
        made: nn.Module = transformers.AutoModelForImageClassification.from_config(
            config,
            trust_remote_code=False,  # else it asks on a terminal
        )
        return made

    def pretrained(num_classes: int, in_channels: int) -> nn.Module:
        with quiet(transformers):  # which reports the classifier's other size at length
            made: nn.Module = transformers.AutoModelForImageClassification.from_pretrained(
                name,
                config=config_for(num_classes, in_channels),
                ignore_mismatched_sizes=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
        return made

    try:
        with quiet(transformers):
            transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise InputError(
            f"no model '{name}' for transformers: name a folder that save_pretrained left, or a model of the "
            f"Hub ({reason[:160]})"
        ) from None
    return fresh, pretrained if _has_weights(Path(name)) else None


def _has_weights(local: Path) -> bool:
    """Whether there are weights to start from; InputError where they are only there as pickles."""
    if not local.is_dir() or any(local.glob("*.safetensors")):
        return True
    if pickled := next((each for kind in ("*.bin", "*.pt", "*.pth") for each in local.glob(kind)), None):
        raise InputError(
            f"{pickled}: weights are read from safetensors, never from pickles: save the model again with "
            "save_pretrained(folder), which writes model.safetensors"
        )
    return False


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Silence the package and the Hub's client."""
    logging = transformers.utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub = getLogger("huggingface_hub")  # reports every attempt where there is no network
    hub_before = hub.level
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    hub.setLevel(CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)
        hub.setLevel(hub_before)
        if bars:
            logging.enable_progress_bar()
