"""What an exported file says of its model: all that a program needs besides the file, as texts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.errors import ConfigError, ModelError
from cnnlib.networks.model_folder import ModelInfo
from cnnlib.version import __version__

FORMAT = 1
GRAY, RGB = "gray", "rgb"  # what an image is given as
FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"
PRECISIONS = (FLOAT32, FLOAT16, INT8)
OF_MODEL, OF_FILE = "float32 model", "this file"  # what an accuracy was measured with
FORMAT_NAMES = ("onnx", "savedmodel", "tflite")  # as `exporting.export.FORMATS` has them


@dataclass(frozen=True)
class ModelMetadata:
    """The captcha, where the model comes from, and how its file is used.

    `accuracy` is that of whole images in the test set: OF_MODEL as training measured it, which
    holds for files of float32; OF_FILE as export measured it. `checkpoint` names the weights as
    model.json does. `input` is GRAY for uint8 [B, H, W], RGB for [B, H, W, 3]; `precision` is of
    the weights.
    """

    spec: CaptchaSpec
    network: str
    step: int
    accuracy: float
    temperature: float
    origin: str
    checkpoint: str
    input: str = GRAY
    precision: str = FLOAT32
    version: str = __version__  # of cnn_captcha
    format: int = FORMAT
    accuracy_of: str = OF_MODEL
    test_time_augmentation: bool = False

    @classmethod
    def of(
        cls,
        info: ModelInfo,
        input_kind: str = GRAY,
        precision: str = FLOAT32,
        *,
        test_time_augmentation: bool = True,
    ) -> ModelMetadata:
        """Return the metadata of a model; a colour model is given RGB in any case.

        Without `test_time_augmentation` there is none, also where the training found that it helps.
        """
        augmented = info.augmented if test_time_augmentation else {}
        return cls(
            info.spec,
            info.network,
            info.step,
            augmented.get("image_accuracy", info.scores["image_accuracy"]),
            augmented.get("temperature", info.temperature),
            info.origin,
            info.best,
            RGB if info.spec.image_channels == 3 else input_kind,
            precision,
            test_time_augmentation=bool(augmented),
        )

    @property
    def image_spec(self) -> CaptchaSpec:
        """The captcha with as many channels as the file takes."""
        return dataclasses.replace(self.spec, image_channels=3 if self.input == RGB else 1)

    def describe(self, runtime: str) -> dict[str, Any]:
        """Return what the model is, as JSON values; `runtime` says what recognises with it."""
        return {
            "min_captcha": self.spec.min_captcha,
            "max_captcha": self.spec.max_captcha,
            "network": self.network,
            "runtime": runtime,
            "precision": self.precision,
            "test_time_augmentation": self.test_time_augmentation,
            "step": self.step,
            "accuracy": self.accuracy,
            "origin": self.origin,
        }

    def to_json(self) -> dict[str, Any]:
        """Return names and values: those of the spec are keys like the others."""
        values = dataclasses.asdict(self)
        return values.pop("spec") | values

    def to_properties(self) -> dict[str, str]:
        """Return names and texts: numbers and lists as JSON writes them, texts as they are."""
        return {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in self.to_json().items()
        }

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], where: str) -> ModelMetadata:
        """Read what `to_properties` gave; raises ModelError, which names the file `where`."""
        try:
            if json.loads(properties["format"]) != FORMAT:
                raise ModelError(
                    f"{where} has format {properties['format']}, this code knows {FORMAT}: "
                    "export the model with this version of export_model.py"
                )
            spec = CaptchaSpec(**_values(CaptchaSpec, properties))
            return cls(spec=spec, **_values(cls, properties))
        except (KeyError, ValueError, TypeError, ConfigError) as error:
            raise ModelError(
                f"{where} does not say what captcha it is for ({error!r}): it is damaged, or was "
                "not written by export_model.py; export the model again"
            ) from error


def _values(kind: type, properties: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a dataclass's fields; texts are fields of type str."""
    came_later = {"accuracy_of", "test_time_augmentation"} - properties.keys()
    return {
        field.name: properties[field.name]
        if field.type == "str"
        else json.loads(properties[field.name])
        for field in dataclasses.fields(kind)
        if field.name not in {"spec", *came_later}
    }
