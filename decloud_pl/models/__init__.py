"""Models: architectures by name, the package format, and the quarantine that opens files from strangers."""

from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.inputs import ImageInput, TextInput
from decloud_pl.models.package import load, read_spec, save
from decloud_pl.models.spec import ModelSpec

__all__ = ["BaseModel", "ImageInput", "ModelSpec", "TextInput", "load", "read_spec", "save"]
