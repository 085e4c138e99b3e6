"""Networks of Hugging Face's `transformers`: by name, and again from the configuration in a saved folder.

A network of a class of that package is described by the class's name and its configuration, which is JSON:
`config.json` beside `architecture.json`, as `save_pretrained` writes it. So its folder can be read without a
factory. Only model classes of the package itself are looked up, nothing is downloaded, and no code that a
configuration names is run.
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

from secateur.errors import InputError, first_line

CONFIG_FILE = "config.json"
PREFIX = "transformers:"
"""What the factories of such networks are called in `architecture.json`: "transformers:ViTForImageClassification"."""

Factory = Callable[..., nn.Module]
_MAX_BYTES = 5_000_000
_NAMES_CODE = (
    "auto_map",
    "architectures",
    "attn_implementation",
    "experts_implementation",
    "quantization_config",
)
_DOWNLOADS = ("backbone", "use_pretrained_backbone", "use_timm_backbone")


def config_of(model: nn.Module) -> dict[str, Any] | None:
    """Read the configuration of a network of the package, with its class under `architectures`; None: it is none.

    A subclass of the user's own is none: nobody could build it again from that.
    """
    config = getattr(model, "config", None)
    if not _is_theirs(type(model)) or not hasattr(config, "to_json_string"):
        return None
    found: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return {**found, "architectures": [type(model).__name__]}


def name_of(config: dict[str, Any]) -> str:
    """The factory's name of a network with this configuration."""
    return f"{PREFIX}{config['architectures'][0]}"


def factory_of_config(config: dict[str, Any], source: str = "the model") -> Factory:
    """Make what builds a fresh network of a configuration; nothing is built yet.

    Raises:
        InputError: where its class is none of the package's models, or building it would download something.
    """
    named = config.get("architectures")
    name = named[0] if isinstance(named, list) and len(named) == 1 and isinstance(named[0], str) else ""
    kind = getattr(_package(), name, None) if name.isidentifier() else None
    if not isinstance(kind, type) or not _is_theirs(kind):
        raise InputError(
            f"{source}: 'architectures' must name one model class of transformers, got {ascii(named)[:80]}: pass "
            "the factory that builds the network"
        )
    if asked := next((key for key in _DOWNLOADS if config.get(key)), None):
        raise InputError(
            f"{source}: a network whose configuration has '{asked}' would be built of downloaded parts, which a "
            "file may not ask for: pass the factory"
        )
    return partial(_built, kind, _plain(config))


def factory_beside(path: Path, name: str) -> Factory | None:
    """Find what builds the network of an architecture file, by the configuration that lies beside it.

    Args:
        path: of the architecture file.
        name: its factory.

    Returns:
        None where the network is none of the package's.

    Raises:
        InputError: where the configuration is missing, damaged, or not allowed.
    """
    if not name.startswith((PREFIX, "hf:")):
        return None
    file = path.parent / CONFIG_FILE
    if not file.is_file():
        if name.startswith("hf:"):
            return None  # as it was written once; the factory has to be named
        raise InputError(f"{path}: the network is of '{name[:80]}', whose {CONFIG_FILE} must lie beside it")
    return factory_of_config(read_config(file), str(file))


def read_config(file: Path) -> dict[str, Any]:
    """Read a configuration; InputError where it is none."""
    if file.stat().st_size > _MAX_BYTES:
        raise InputError(f"{file}: a configuration holds at most {_MAX_BYTES:,} bytes, got more")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not valid JSON ({type(error).__name__}): it was damaged") from None
    if not isinstance(content, dict):
        raise InputError(f"{file}: a configuration is an object, got {type(content).__name__}")
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
    try:
        import transformers
    except ImportError:
        raise InputError("hf: models need transformers: pip install 'secateur[hf]'") from None
    return transformers


def is_pretrained_folder(name: str) -> bool:
    """Whether a folder is one that `save_pretrained` left, and not one of ours."""
    folder = Path(name)
    return (folder / CONFIG_FILE).is_file() and not (folder / "architecture.json").is_file()


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
        made: nn.Module = transformers.AutoModelForImageClassification.from_config(config)
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
