"""perpixel: a value for every pixel, from a photograph and a hint.

>>> import perpixel as px
>>> px.cutout("portrait.jpg", box=(60, 20, 440, 512)).save("portrait.png")  # doctest: +SKIP

The finished tasks are `bokeh`, `cutout`, `depth`, `matte` and `segment`; the classes of the Hugging Face checkpoints
have the names and signatures that they have in transformers. Every name is imported when it is first used, so that
`import perpixel` itself costs nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from perpixel.allocator import tune_allocator as tune_allocator
    from perpixel.backbones import AutoBackbone as AutoBackbone
    from perpixel.backbones.beit import BeitBackbone as BeitBackbone
    from perpixel.backbones.beit import BeitConfig as BeitConfig
    from perpixel.backbones.beit import BeitModel as BeitModel
    from perpixel.backbones.bit import BitBackbone as BitBackbone
    from perpixel.backbones.bit import BitConfig as BitConfig
    from perpixel.backbones.bit import BitModel as BitModel
    from perpixel.backbones.dinov2 import Dinov2Backbone as Dinov2Backbone
    from perpixel.backbones.dinov2 import Dinov2Config as Dinov2Config
    from perpixel.backbones.dinov2 import Dinov2Model as Dinov2Model
    from perpixel.backbones.dinov2_with_registers import Dinov2WithRegistersBackbone as Dinov2WithRegistersBackbone
    from perpixel.backbones.dinov2_with_registers import Dinov2WithRegistersConfig as Dinov2WithRegistersConfig
    from perpixel.backbones.dinov2_with_registers import Dinov2WithRegistersModel as Dinov2WithRegistersModel
    from perpixel.backbones.resnet import ResNetBackbone as ResNetBackbone
    from perpixel.backbones.resnet import ResNetConfig as ResNetConfig
    from perpixel.backbones.resnet import ResNetModel as ResNetModel
    from perpixel.backbones.swin import SwinBackbone as SwinBackbone
    from perpixel.backbones.swin import SwinConfig as SwinConfig
    from perpixel.backbones.swin import SwinModel as SwinModel
    from perpixel.backbones.swinv2 import Swinv2Backbone as Swinv2Backbone
    from perpixel.backbones.swinv2 import Swinv2Config as Swinv2Config
    from perpixel.backbones.swinv2 import Swinv2Model as Swinv2Model
    from perpixel.backbones.timm import TimmBackbone as TimmBackbone
    from perpixel.backbones.timm import TimmBackboneConfig as TimmBackboneConfig
    from perpixel.backbones.vit import ViTBackbone as ViTBackbone
    from perpixel.backbones.vit import ViTConfig as ViTConfig
    from perpixel.backbones.vit import ViTModel as ViTModel
    from perpixel.backbones.vitdet import VitDetBackbone as VitDetBackbone
    from perpixel.backbones.vitdet import VitDetConfig as VitDetConfig
    from perpixel.backbones.vitdet import VitDetModel as VitDetModel
    from perpixel.batch.archives import Columns as Columns
    from perpixel.batch.job import Job as Job
    from perpixel.batch.ray_cluster import Cluster as Cluster
    from perpixel.batch.run import batch as batch
    from perpixel.client import Client as Client
    from perpixel.errors import CheckpointError as CheckpointError
    from perpixel.errors import ConfigError as ConfigError
    from perpixel.errors import InputError as InputError
    from perpixel.errors import MissingDependencyError as MissingDependencyError
    from perpixel.errors import OutputError as OutputError
    from perpixel.errors import PerpixelError as PerpixelError
    from perpixel.errors import PerpixelWarning as PerpixelWarning
    from perpixel.evaluate.model import evaluate as evaluate
    from perpixel.evaluate.report import Evaluation as Evaluation
    from perpixel.images.read import Photo as Photo
    from perpixel.images.read import read_mask as read_mask
    from perpixel.images.read import read_photo as read_photo
    from perpixel.images.read import read_trimap as read_trimap
    from perpixel.models.auto import AutoImageProcessor as AutoImageProcessor
    from perpixel.models.depth_anything.config import DepthAnythingConfig as DepthAnythingConfig
    from perpixel.models.depth_anything.model import DepthAnythingForDepthEstimation as DepthAnythingForDepthEstimation
    from perpixel.models.dpt.config import DPTConfig as DPTConfig
    from perpixel.models.dpt.model import DPTForDepthEstimation as DPTForDepthEstimation
    from perpixel.models.dpt.model import DPTForSemanticSegmentation as DPTForSemanticSegmentation
    from perpixel.models.dpt.model import DPTModel as DPTModel
    from perpixel.models.dpt.processor import DPTFeatureExtractor as DPTFeatureExtractor
    from perpixel.models.dpt.processor import DPTImageProcessor as DPTImageProcessor
    from perpixel.models.mask2former.config import Mask2FormerConfig as Mask2FormerConfig
    from perpixel.models.mask2former.model import (
        Mask2FormerForUniversalSegmentation as Mask2FormerForUniversalSegmentation,
    )
    from perpixel.models.mask2former.model import Mask2FormerModel as Mask2FormerModel
    from perpixel.models.mask2former.processor import Mask2FormerImageProcessor as Mask2FormerImageProcessor
    from perpixel.models.mask2former.targets import CompressedMasks as CompressedMasks
    from perpixel.models.outputs import BackboneOutput as BackboneOutput
    from perpixel.models.outputs import BaseModelOutput as BaseModelOutput
    from perpixel.models.outputs import BaseModelOutputWithPooling as BaseModelOutputWithPooling
    from perpixel.models.outputs import (
        BaseModelOutputWithPoolingAndIntermediateActivations as BaseModelOutputWithPoolingAndIntermediateActivations,
    )
    from perpixel.models.outputs import DepthEstimatorOutput as DepthEstimatorOutput
    from perpixel.models.outputs import ImageMattingOutput as ImageMattingOutput
    from perpixel.models.outputs import (
        Mask2FormerForUniversalSegmentationOutput as Mask2FormerForUniversalSegmentationOutput,
    )
    from perpixel.models.outputs import Mask2FormerModelOutput as Mask2FormerModelOutput
    from perpixel.models.outputs import SemanticSegmenterOutput as SemanticSegmenterOutput
    from perpixel.models.vitmatte.config import VitMatteConfig as VitMatteConfig
    from perpixel.models.vitmatte.model import VitMatteForImageMatting as VitMatteForImageMatting
    from perpixel.models.vitmatte.processor import VitMatteImageProcessor as VitMatteImageProcessor
    from perpixel.results import DepthMap as DepthMap
    from perpixel.results import Matte as Matte
    from perpixel.results import PointCloud as PointCloud
    from perpixel.results import Segment as Segment
    from perpixel.results import Segments as Segments
    from perpixel.results.picture import Picture as Picture
    from perpixel.tasks.bokeh import bokeh as bokeh
    from perpixel.tasks.cutout import cutout as cutout
    from perpixel.tasks.depth import DepthEstimator as DepthEstimator
    from perpixel.tasks.depth import depth as depth
    from perpixel.tasks.depth import load_depth_model as load_depth_model
    from perpixel.tasks.export import export as export
    from perpixel.tasks.load import load as load
    from perpixel.tasks.matting import matte as matte
    from perpixel.tasks.segmentation import segment as segment
    from perpixel.tasks.video_cutout import cutout_film as cutout_film
    from perpixel.tasks.video_depth import depth_film as depth_film
    from perpixel.tasks.video_segment import segment_film as segment_film
    from perpixel.train import train as train

# Where each public name lives. A type checker reads the block above instead; a test keeps the two equal.
_HOMES = {
    "AutoBackbone": "perpixel.backbones",
    "AutoImageProcessor": "perpixel.models.auto",
    "BackboneOutput": "perpixel.models.outputs",
    "BaseModelOutput": "perpixel.models.outputs",
    "BaseModelOutputWithPooling": "perpixel.models.outputs",
    "BaseModelOutputWithPoolingAndIntermediateActivations": "perpixel.models.outputs",
    "BeitBackbone": "perpixel.backbones.beit",
    "BeitConfig": "perpixel.backbones.beit",
    "BeitModel": "perpixel.backbones.beit",
    "BitBackbone": "perpixel.backbones.bit",
    "BitConfig": "perpixel.backbones.bit",
    "BitModel": "perpixel.backbones.bit",
    "CheckpointError": "perpixel.errors",
    "Client": "perpixel.client",
    "Cluster": "perpixel.batch.ray_cluster",
    "Columns": "perpixel.batch.archives",
    "CompressedMasks": "perpixel.models.mask2former.targets",
    "ConfigError": "perpixel.errors",
    "DPTConfig": "perpixel.models.dpt.config",
    "DPTFeatureExtractor": "perpixel.models.dpt.processor",
    "DPTForDepthEstimation": "perpixel.models.dpt.model",
    "DPTForSemanticSegmentation": "perpixel.models.dpt.model",
    "DPTImageProcessor": "perpixel.models.dpt.processor",
    "DPTModel": "perpixel.models.dpt.model",
    "DepthAnythingConfig": "perpixel.models.depth_anything.config",
    "DepthAnythingForDepthEstimation": "perpixel.models.depth_anything.model",
    "DepthEstimator": "perpixel.tasks.depth",
    "DepthEstimatorOutput": "perpixel.models.outputs",
    "DepthMap": "perpixel.results",
    "Dinov2Backbone": "perpixel.backbones.dinov2",
    "Dinov2Config": "perpixel.backbones.dinov2",
    "Dinov2Model": "perpixel.backbones.dinov2",
    "Dinov2WithRegistersBackbone": "perpixel.backbones.dinov2_with_registers",
    "Dinov2WithRegistersConfig": "perpixel.backbones.dinov2_with_registers",
    "Dinov2WithRegistersModel": "perpixel.backbones.dinov2_with_registers",
    "Evaluation": "perpixel.evaluate.report",
    "ImageMattingOutput": "perpixel.models.outputs",
    "InputError": "perpixel.errors",
    "Job": "perpixel.batch.job",
    "Mask2FormerConfig": "perpixel.models.mask2former.config",
    "Mask2FormerForUniversalSegmentation": "perpixel.models.mask2former.model",
    "Mask2FormerForUniversalSegmentationOutput": "perpixel.models.outputs",
    "Mask2FormerImageProcessor": "perpixel.models.mask2former.processor",
    "Mask2FormerModel": "perpixel.models.mask2former.model",
    "Mask2FormerModelOutput": "perpixel.models.outputs",
    "Matte": "perpixel.results",
    "MissingDependencyError": "perpixel.errors",
    "OutputError": "perpixel.errors",
    "PerpixelError": "perpixel.errors",
    "PerpixelWarning": "perpixel.errors",
    "Photo": "perpixel.images.read",
    "Picture": "perpixel.results.picture",
    "PointCloud": "perpixel.results",
    "ResNetBackbone": "perpixel.backbones.resnet",
    "ResNetConfig": "perpixel.backbones.resnet",
    "ResNetModel": "perpixel.backbones.resnet",
    "Segment": "perpixel.results",
    "Segments": "perpixel.results",
    "SemanticSegmenterOutput": "perpixel.models.outputs",
    "SwinBackbone": "perpixel.backbones.swin",
    "SwinConfig": "perpixel.backbones.swin",
    "SwinModel": "perpixel.backbones.swin",
    "Swinv2Backbone": "perpixel.backbones.swinv2",
    "Swinv2Config": "perpixel.backbones.swinv2",
    "Swinv2Model": "perpixel.backbones.swinv2",
    "TimmBackbone": "perpixel.backbones.timm",
    "TimmBackboneConfig": "perpixel.backbones.timm",
    "ViTBackbone": "perpixel.backbones.vit",
    "ViTConfig": "perpixel.backbones.vit",
    "ViTModel": "perpixel.backbones.vit",
    "VitDetBackbone": "perpixel.backbones.vitdet",
    "VitDetConfig": "perpixel.backbones.vitdet",
    "VitDetModel": "perpixel.backbones.vitdet",
    "VitMatteConfig": "perpixel.models.vitmatte.config",
    "VitMatteForImageMatting": "perpixel.models.vitmatte.model",
    "VitMatteImageProcessor": "perpixel.models.vitmatte.processor",
    "batch": "perpixel.batch.run",
    "bokeh": "perpixel.tasks.bokeh",
    "cutout": "perpixel.tasks.cutout",
    "cutout_film": "perpixel.tasks.video_cutout",
    "depth": "perpixel.tasks.depth",
    "depth_film": "perpixel.tasks.video_depth",
    "evaluate": "perpixel.evaluate.model",
    "export": "perpixel.tasks.export",
    "load": "perpixel.tasks.load",
    "load_depth_model": "perpixel.tasks.depth",
    "matte": "perpixel.tasks.matting",
    "read_mask": "perpixel.images.read",
    "read_photo": "perpixel.images.read",
    "read_trimap": "perpixel.images.read",
    "segment": "perpixel.tasks.segmentation",
    "segment_film": "perpixel.tasks.video_segment",
    "train": "perpixel.train",
    "tune_allocator": "perpixel.allocator",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'perpixel' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package. A folder in it may have the name of a function, which importing the folder must not hide."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
