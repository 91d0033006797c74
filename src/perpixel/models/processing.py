"""What every image processor shares: settings that load and save, named choices, and batches.

A processor turns images into the arrays that a model reads and the model's outputs back into results of the
images' own sizes. Its settings live in `preprocessor_config.json`, in the layout that transformers reads and
writes.
"""

from __future__ import annotations

import enum
import inspect
import json
import math
import numbers
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from perpixel.errors import ConfigError, InputError, MissingDependencyError, PerpixelWarning
from perpixel.hub.load import load_json
from perpixel.hub.save import Uploadable, write_json
from perpixel.models.fields import nearest, refuse_unknown
from perpixel.models.planes import ChannelDimension, as_member, plain_array

if TYPE_CHECKING:
    import torch

__all__ = [
    "PROCESSOR_NAME",
    "BatchFeature",
    "ChannelDimension",
    "ImageProcessor",
    "TensorType",
    "check_channels",
    "check_flag",
    "check_number",
    "load_settings",
    "refuse_unknown",
    "two_names",
]

Source = str | os.PathLike[str]
PROCESSOR_NAME = "preprocessor_config.json"

# Keys that versions of transformers write into every preprocessor_config.json and that set nothing in a
# processor that does not name them in its own `__init__`.
FOREIGN_KEYS = frozenset(
    {
        *("image_processor_type", "feature_extractor_type", "processor_class", "auto_map", "backend"),
        *("do_convert_rgb", "do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_pad"),
        *("size", "default_to_square", "resample", "crop_size", "rescale_factor", "image_mean", "image_std"),
        *("pad_size", "num_channels", "patch_size", "image_seq_length", "disable_grouping", "device"),
        *("data_format", "input_data_format", "return_tensors", "transformers_version"),
    }
)


class TensorType(enum.StrEnum):
    """The libraries whose arrays a processor can return."""

    PYTORCH = "pt"
    NUMPY = "np"
    TENSORFLOW = "tf"
    JAX = "jax"


# Batches


class BatchFeature(dict[str, Any]):
    """What a processor returns: a dict whose keys are attributes too, ready for `model(**inputs)`.

    Args:
        data: arrays, lists of arrays or lists of numbers by name.
        tensor_type: the library to convert them to, see `convert_to_tensors`.

    >>> inputs = BatchFeature({"pixel_values": [np.zeros((4, 2, 2), np.float32)]}, tensor_type="np")
    >>> inputs.pixel_values.shape
    (1, 4, 2, 2)
    """

    def __init__(self, data: Mapping[str, Any] | None = None, tensor_type: str | TensorType | None = None) -> None:
        super().__init__(data or {})
        self.convert_to_tensors(tensor_type)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no {name!r}{nearest(name, self)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def convert_to_tensors(self, tensor_type: str | TensorType | None = None) -> Self:
        """Stack each list into one array of that library, in place; None leaves everything as it is.

        Raises:
            InputError: the arrays of one name have different shapes, or are no arrays of numbers.
            MissingDependencyError: the library is not installed.
        """
        if tensor_type is not None:
            kind = as_member(TensorType, tensor_type, "return_tensors")
            convert = _converter(kind)
            for name, value in self.items():
                self[name] = convert(_stacked(name, value))
        return self

    def to(
        self,
        device: torch.device | torch.dtype | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        non_blocking: bool = False,
    ) -> Self:
        """Move every torch tensor, in lists too, to a device, and the floating ones to a dtype, in place.

        Args:
            device: where to; a dtype is taken too, so that `inputs.to(torch.float16)` works.
            dtype: the new type of floating-point tensors; whole numbers such as labels keep theirs.
            non_blocking: copy from pinned memory without waiting.

        Raises:
            InputError: there is no torch tensor to move.
        """
        import torch

        if isinstance(device, torch.dtype):
            device, dtype = None, device
        moved = 0

        def move(value: Any) -> Any:
            nonlocal moved
            if isinstance(value, list | tuple):
                return type(value)(move(item) for item in value)
            if not isinstance(value, torch.Tensor):
                return value
            moved += 1
            new_type = dtype if value.is_floating_point() else None
            return value.to(device=device, dtype=new_type, non_blocking=non_blocking)

        for name, value in self.items():
            self[name] = move(value)
        if not moved:
            raise InputError("there is no torch tensor to move: call the processor with return_tensors='pt'")
        return self


def _stacked(name: str, value: Any) -> np.ndarray[Any, Any]:
    """Return one array of numbers for an array, or for a list of arrays of one shape."""
    if isinstance(value, list | tuple):
        value = [plain_array(item) for item in value]
        if len({np.shape(item) for item in value}) > 1:
            shapes = ", ".join(str(np.shape(item)) for item in value)
            raise InputError(f"{name} holds arrays of different shapes ({shapes}): pad them or keep the list")
    array = plain_array(value)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} holds {array.dtype} values: only numbers can become a tensor")
    return array


def _converter(kind: TensorType) -> Callable[[np.ndarray[Any, Any]], Any]:
    """Return the function that makes an array of that library from NumPy's."""
    if kind is TensorType.NUMPY:
        return lambda array: array
    package = {"pt": "torch", "tf": "tensorflow", "jax": "jax"}[kind.value]
    try:
        if kind is TensorType.PYTORCH:
            import torch

            return torch.from_numpy
        if kind is TensorType.TENSORFLOW:
            import tensorflow

            return tensorflow.convert_to_tensor  # type: ignore[no-any-return]
        import jax

        return jax.numpy.asarray  # type: ignore[no-any-return]
    except ImportError as error:
        raise MissingDependencyError(
            f"return_tensors={kind.value!r} needs {package}, which is not installed: pip install {package}, "
            "or pass return_tensors='pt' or 'np'"
        ) from error


# Settings


def check_flag(name: str, value: object) -> bool:
    """Return a setting that has to be True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ConfigError(f"{name} is {value!r}: it has to be True or False")
    return bool(value)


def check_number(name: str, value: Any, *, whole: bool = False) -> float:
    """Return a finite setting above zero; `whole` asks for an integer."""
    kind = numbers.Integral if whole else numbers.Real
    number = float(value) if isinstance(value, kind) and not isinstance(value, bool) else math.nan
    if not 0 < number < math.inf:
        raise ConfigError(f"{name} is {value!r}: it has to be a {'whole ' if whole else ''}number above 0")
    return number


def check_channels(name: str, value: object, *, positive: bool = False) -> list[float] | float:
    """Return a mean or a standard deviation: one number for all channels, or three: red, green and blue."""
    given = np.asarray(value, dtype=object)
    values = given.ravel().tolist()
    fits = given.ndim == 0 or given.shape == (3,)
    for number in values:
        real = isinstance(number, numbers.Real) and not isinstance(number, bool) and math.isfinite(number)
        fits = fits and real and (number > 0 or not positive)
    if not fits:
        above = " above 0" if positive else ""
        raise ConfigError(f"{name} is {value!r}: it has to be one number{above} or three, for red, green and blue")
    return float(values[0]) if given.ndim == 0 else [float(number) for number in values]


def two_names(name: str, value: object, other: str, other_value: object) -> ConfigError:
    """Return the error for a setting that was given under both of its names with different values."""
    return ConfigError(
        f"{name} is {value!r} and {other} is {other_value!r}, but they are one setting: give one of them"
    )


def load_settings(
    source: Source,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: Source | None = None,
    local_files_only: bool = False,
) -> dict[str, Any]:
    """Read the `preprocessor_config.json` of a folder, of an embedded model or a Hub id, or a JSON file."""
    path = Path(source)
    place, name = (path.parent, path.name) if path.is_file() else (source, PROCESSOR_NAME)
    return load_json(
        place, name, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
    )


class ImageProcessor(Uploadable):
    """The settings of a model's input and output, read from and written to `preprocessor_config.json`.

    The settings of a subclass are the arguments of its `__init__`, each of them an attribute of the same
    name; it adds `preprocess` and the post-processing of its model. Files of transformers load: what they say
    beyond the settings (the classes' names, defaults of other processors) is passed over, anything else gives
    a warning.
    """

    _named = "image processor"
    # Other names of settings, that files and callers may use in place of the setting's own.
    aliases: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def setting_names(cls) -> list[str]:
        """Return the names of the settings, in the order of `__init__`."""
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return [item.name for item in parameters if item.kind is not inspect.Parameter.VAR_KEYWORD]

    def _for_call(self, arguments: Mapping[str, Any]) -> Self:
        """Return the processor with what one call of `preprocess` sets.

        Args:
            arguments: of the call, by name, `locals()` as `preprocess` begins; None is the processor's own setting, and
                `unknown` holds the names that there are not.

        Raises:
            ConfigError: an argument is unknown or has the wrong type.
        """
        known = [name for name in arguments if name not in ("self", "unknown")]
        refuse_unknown(f"{type(self).__name__}.preprocess", arguments["unknown"], known)
        return self.from_dict(self.to_dict(), **{name: arguments.get(name) for name in self.setting_names()})

    @classmethod
    def _settings(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values by their settings' own names, without nulls, which stand for the defaults."""
        settings: dict[str, Any] = {}
        for name, value in values.items():
            own = cls.aliases.get(name, name)
            if value is not None and settings.setdefault(own, value) != value:
                first = next(key for key in values if cls.aliases.get(key, key) == own)
                raise two_names(first, settings[own], name, value)
        return settings

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> Self:
        """Build a processor from a mapping such as `preprocessor_config.json` holds.

        Args:
            values: settings by name; an unknown one gives a `PerpixelWarning`.
            overrides: settings to change; an unknown one raises `ConfigError`.
        """
        names = cls.setting_names()
        refuse_unknown(cls.__name__, overrides, names)
        for name in values:
            if name not in names and name not in FOREIGN_KEYS and not name.startswith("_"):
                warnings.warn(
                    f"the file's setting {name!r} is passed over, {cls.__name__} does not have it"
                    f"{nearest(name, names)}",
                    PerpixelWarning,
                    stacklevel=2,
                )
        known = {name: value for name, value in values.items() if name in names}
        return cls(**{**cls._settings(known), **cls._settings(overrides)})

    def to_dict(self) -> dict[str, Any]:
        """Return the settings and the class's name, as they go into `preprocessor_config.json`."""
        settings = {name: getattr(self, name) for name in self.setting_names()}
        return {**settings, "image_processor_type": type(self).__name__}

    def to_json_string(self) -> str:
        """Return the settings as the text of `preprocessor_config.json`."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_pretrained(
        cls,
        source: Source,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: Source | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> Self:
        """Read `preprocessor_config.json` from a folder, an embedded model's name or a Hub id.

        Args:
            source: a local folder, the JSON file itself, a name that `perpixel models` lists, or a Hub id
                such as "hustvl/vitmatte-small-composition-1k".
            revision: a branch, a tag or a commit on the Hub.
            token: an access token for private and gated models.
            cache_dir: where downloads are kept.
            local_files_only: never ask the network.
            overrides: settings to change.

        Raises:
            CheckpointError: there is no such file.
            ConfigError: the settings contradict each other or have the wrong type.
        """
        values = load_settings(
            source, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )
        return cls.from_dict(values, **overrides)

    def save_pretrained(self, folder: Source) -> None:
        """Write `preprocessor_config.json` into `folder`, which is made if it is not there."""
        write_json(Path(folder) / PROCESSOR_NAME, self.to_dict())

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.to_dict() == self.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        settings = ", ".join(
            f"{name}={getattr(self, name)!r}" for name in self.setting_names() if name not in self.aliases
        )
        return f"{type(self).__name__}({settings})"
