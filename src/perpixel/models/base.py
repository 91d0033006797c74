"""The base of every model: building, loading, saving.

A model's parameter names equal those of the Hugging Face checkpoint, so a file loads without a key map. The
files are the usual ones: `config.json` beside `model.safetensors` (or its shards, or `pytorch_model.bin`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from perpixel.errors import CheckpointError, ConfigError
from perpixel.hub.keymaps import infer_config, to_hugging_face_names
from perpixel.hub.load import load_state_dict
from perpixel.hub.save import Uploadable, save_state_dict
from perpixel.models.checkpoint import check_fit, fit_prefix
from perpixel.models.config import CONFIG_NAME, Config, Source
from perpixel.models.outputs import ModelOutput

Output = TypeVar("Output", bound=ModelOutput)


class Model(nn.Module, Uploadable):
    """The base of every model.

    A subclass names its `config_class` and calls `super().__init__(config)` first and `self.post_init()` last.
    Its constructor must also run under `torch.device("meta")`, where tensors have no values: numbers such as
    a schedule of drop rates are computed in plain Python, never with `.item()`.
    """

    config_class: ClassVar[type[Config]]
    _named = "model"
    # The name of this model inside larger ones of its family, and others under which a checkpoint may hold it.
    base_model_prefix: ClassVar[str] = ""
    _prefixes_in_larger_models: ClassVar[tuple[str, ...]] = ()
    main_input_name: ClassVar[str] = "pixel_values"
    # Patterns of keys that a checkpoint may have too many (another task's head) or too few (a pooler).
    _keys_to_ignore_on_load_unexpected: ClassVar[tuple[str, ...]] = ()
    _keys_to_ignore_on_load_missing: ClassVar[tuple[str, ...]] = ()
    # What `perpixel.models.precision` lets the matrix products of an inference copy run in; None is the weights' own.
    compute_dtype: torch.dtype | None = None
    # Whether this is an inference copy, see `optimize`.
    optimized: bool = False

    def __init__(self, config: Config) -> None:
        super().__init__()
        if not isinstance(config, self.config_class):
            raise ConfigError(
                f"{type(self).__name__} needs a {self.config_class.__name__}, got {type(config).__name__}: "
                f"build one with {self.config_class.__name__}(), or load weights with "
                f"{type(self).__name__}.from_pretrained(…)"
            )
        self.config: Any = config

    def post_init(self) -> None:
        """Set the starting weights; the last line of a subclass's constructor."""
        if not any(parameter.is_meta for parameter in self.parameters()):
            with torch.no_grad():
                for module in self.modules():
                    self._init_weights(module)

    def _init_weights(self, module: nn.Module) -> None:
        """Set the starting weights of one module, its children not included."""
        std = getattr(self.config, "initializer_range", 0.02)
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(module.weight, mean=0.0, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`, in the precision that the model computes in."""
        if self.compute_dtype is None:
            return super().__call__(*args, **kwargs)
        with torch.autocast(self.device.type, self.compute_dtype):
            return super().__call__(*args, **kwargs)

    @property
    def device(self) -> torch.device:
        """The device of the first parameter."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the first floating-point parameter; of inputs and outputs where it computes in another."""
        if self.compute_dtype is not None:
            return torch.float32
        return next(parameter.dtype for parameter in self.parameters() if parameter.is_floating_point())

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Count the parameters: all, those that need gradients, those that are no table of embeddings."""
        tables = [module.weight for module in self.modules() if isinstance(module, nn.Embedding)]
        left_out = {id(table) for table in tables if exclude_embeddings}
        counted = (p for p in self.parameters() if id(p) not in left_out and (p.requires_grad or not only_trainable))
        return sum(parameter.numel() for parameter in counted)

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: Mapping[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Recompute the layers in the backward pass: less memory, about a third more time.

        The arguments are those that transformers' `Trainer` passes.

        Args:
            activation_checkpointing_kwargs: for torch's `checkpoint`; only `{"use_reentrant": False}`, which it is
                anyway: the other way leaves what precedes frozen layers without gradients.
            every_n_layers: only 1.
            offload: only False.

        Raises:
            ConfigError: the model has no layers that could be recomputed, or other arguments.
        """
        given = dict(activation_checkpointing_kwargs or {})
        if given.pop("use_reentrant", False) or given or every_n_layers != 1 or offload:
            raise ConfigError(
                f"activation checkpointing with {dict(activation_checkpointing_kwargs or {})}, {every_n_layers=} and "
                f'{offload=} is not possible: leave these out, or give {{"use_reentrant": False}}'
            )
        self._set_gradient_checkpointing(True)

    def activation_checkpointing_disable(self) -> None:
        """Keep every activation for the backward pass again."""
        self._set_gradient_checkpointing(False)

    def gradient_checkpointing_enable(
        self,
        gradient_checkpointing_kwargs: Mapping[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """The older name of `activation_checkpointing_enable`."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs, every_n_layers, offload)

    def gradient_checkpointing_disable(self) -> None:
        """The older name of `activation_checkpointing_disable`."""
        self.activation_checkpointing_disable()

    def _set_gradient_checkpointing(self, value: bool) -> None:
        holders = [module for module in self.modules() if hasattr(module, "gradient_checkpointing")]
        if not holders:
            raise ConfigError(f"{type(self).__name__} does not support gradient checkpointing")
        for module in holders:
            module.gradient_checkpointing = value  # type: ignore[assignment]

    # Inference

    def optimize(self) -> Self:
        """Return a copy that computes the same faster, for inference in float32 on a processor.

        Linear maps lie in it as the processor reads them, query, key and value are one product, activations and norms
        join what they follow, and large 3×3 convolutions take a quarter of the multiplications. Results differ by
        rounding, about 1e-5 of their deviation. The copy has its own order of the linear maps' weights and shares all
        else with this model, which stays as it is: once this one is dropped, nothing is held twice. A copy does not
        follow later changes of this model's weights; make another one then.

        `state_dict()` and `save_pretrained` of the copy give the names and values of this model. Where the processor,
        the type of the weights or an installed library has no faster way, and for inputs that need gradients, the copy
        computes as this model does.

        Example:
            >>> from perpixel.backbones.vit import ViTConfig, ViTModel
            >>> model = ViTModel(ViTConfig(hidden_size=32, num_attention_heads=2, num_hidden_layers=2))
            >>> quick = model.optimize()
            >>> quick.state_dict().keys() == model.state_dict().keys()
            True
        """
        from perpixel.models.optimize import optimized

        return self if self.optimized else optimized(self)

    def train(self, mode: bool = True) -> Self:
        """As `torch.nn.Module.train`.

        Raises:
            ConfigError: this is a copy that `optimize` made for inference.
        """
        if mode and self.optimized:
            raise ConfigError(
                f"this {type(self).__name__} is an inference copy, made by optimize(): train the model that it was "
                "made from, or load it again"
            )
        return super().train(mode)

    # What every `forward` begins and ends with

    def _flag(self, name: str, given: bool | None) -> bool:
        """The caller's choice, or the config's where there is none."""
        return bool(getattr(self.config, name) if given is None else given)

    def _result(self, output: Output, return_dict: bool | None) -> Output | tuple[Any, ...]:
        """The output as the caller wants it: itself or a tuple."""
        return output if self._flag("return_dict", return_dict) else output.to_tuple()

    # Loading

    @classmethod
    def from_pretrained(
        cls,
        source: Source,
        *,
        config: Config | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: Source | None = None,
        local_files_only: bool = False,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        strict: bool = True,
        ignore_mismatched_sizes: bool = False,
        **config_overrides: Any,
    ) -> Self:
        """Build the model with the weights of a checkpoint, ready for inference (`eval()`).

        Args:
            source: a local folder, a weights file, an embedded model's name, or a Hub id.
            config: used instead of the checkpoint's `config.json`.
            revision: a branch, a tag or a commit on the Hub.
            token: an access token for private and gated models.
            cache_dir: where downloads are kept.
            local_files_only: never ask the network.
            dtype: the type of the floating-point weights, for instance `torch.bfloat16`; None is float32
                whatever the file holds, "auto" is as stored.
            device: where the model goes; None is the CPU.
            strict: raise where keys are missing or unexpected. Otherwise the missing ones keep their starting
                values, with a warning. A wrong shape still raises.
            ignore_mismatched_sizes: tensors whose shape is not the model's keep their starting values, with a warning
                that names them, instead of raising: a new head on old weights, for `num_labels` or `id2label` of
                another number of classes.
            config_overrides: fields of the config to change.

        Raises:
            CheckpointError: there is no such checkpoint, it cannot be read, or its tensors do not fit.
            ConfigError: the config is not one of this model's.
        """
        access: dict[str, Any] = {
            "revision": revision,
            "token": token,
            "cache_dir": cache_dir,
            "local_files_only": local_files_only,
        }
        target = resolve_dtype(dtype)
        state: dict[str, Tensor] | None = None
        if config is None:
            if Path(source).is_file():
                state = load_state_dict(source)
                config = cls._config_for_file(Path(source), state, config_overrides)
            else:
                config = cls.config_class.from_pretrained(source, **access, **config_overrides)
        elif config_overrides:
            config = type(config).from_dict(config.to_dict(), **config_overrides)
        with torch.device("meta"):
            model = cls(config)
        state = load_state_dict(source, **access) if state is None else state
        own = model.state_dict()
        state = to_hugging_face_names(state, own.keys())
        for prefix in (cls.base_model_prefix, *cls._prefixes_in_larger_models):
            state = fit_prefix(state, own, prefix)
        missing = check_fit(
            state,
            own,
            where=f"{source} does not fit {cls.__name__}",
            may_be_unexpected=cls._keys_to_ignore_on_load_unexpected if strict else (".*",),
            may_be_missing=cls._keys_to_ignore_on_load_missing if strict else (".*",),
            may_be_misshaped=ignore_mismatched_sizes,
        )
        if missing or any(module._non_persistent_buffers_set for module in model.modules()):
            # What only the constructor can compute needs one that ran on a real device.
            model = cls(config)
        state = {key: _cast(tensor, target) for key, tensor in state.items() if key in own and key not in missing}
        model.load_state_dict(state, strict=False, assign=True)
        if target is not None:
            model.to(target)
        return model.to(device).eval()

    @classmethod
    def _config_for_file(cls, path: Path, state: Mapping[str, Tensor], overrides: dict[str, Any]) -> Config:
        """Find the config of a bare weights file: beside it, or from the tensors' shapes."""
        if (path.parent / CONFIG_NAME).is_file():
            return cls.config_class.from_pretrained(path.parent, **overrides)
        inferred = infer_config(state, cls.config_class.model_type, path.name)
        if inferred is None:
            raise CheckpointError(
                f"{path} has no {CONFIG_NAME} beside it: give config={cls.config_class.__name__}(…), "
                "or the folder that holds both"
            )
        return cls.config_class.from_dict(inferred, **overrides)

    # Saving

    def save_pretrained(
        self, folder: Source, *, max_shard_size: int | str = "5GB", dtype: torch.dtype | None = None
    ) -> None:
        """Write `config.json` and `model.safetensors` (in shards where larger) into `folder`.

        transformers reads the folder as it reads its own.

        Args:
            folder: made if it is not there; files of the same names are replaced.
            max_shard_size: the largest file, in bytes or for instance "5GB".
            dtype: the type that floating-point weights are stored as; None is the model's own.
        """
        state = {key: _cast(tensor, dtype) for key, tensor in self.state_dict().items()}
        config = copy.deepcopy(self.config)
        config.architectures = [type(self).__name__]
        config.dtype = str(dtype or self.dtype).removeprefix("torch.")
        save_state_dict(state, folder, max_shard_size=max_shard_size)
        config.save_pretrained(folder)


def resolve_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """Return the target type; None means as stored."""
    if dtype is None:
        return torch.float32
    if dtype == "auto":
        return None
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ConfigError(f"dtype is {dtype!r}: give a floating-point torch.dtype, its name, 'auto' or None")
    return found


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
