"""Print the text of captcha images, and how sure the model is.

    python3 examples/python_minimal.py MODEL.onnx IMAGE...

Needs onnxruntime, numpy and Pillow alone: copy it into a program of your own.
"""

import json
import os
import sys
from collections.abc import Mapping

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else onnxruntime reports to its makers since 1.29

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def read_pixels(file: str, model: Mapping[str, str]) -> np.ndarray:
    """Return an image's pixels as the model takes them, uint8 [H, W] or [H, W, 3]."""
    layer = ImageOps.exif_transpose(Image.open(file)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    image = image.convert("RGB" if model["input"] == "rgb" else "L")
    size = int(model["image_width"]), int(model["image_height"])
    if image.size != size and not model["resize"]:
        raise ValueError(f"image of {image.width}x{image.height}, expected {size[0]}x{size[1]}")
    return np.array(image if image.size == size else resize(image, size, model["resize"] == "pad"))


def resize(image: Image.Image, size: tuple[int, int], pad: bool) -> Image.Image:
    """Scale an image; to pad it is to keep its proportions, on the median colour of its edge."""
    if not pad:
        return image.resize(size, Image.Resampling.BILINEAR)
    scale = min(size[0] / image.width, size[1] / image.height)
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    pixels = np.array(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = np.median(edge, axis=0).astype(np.uint8)
    padded = Image.fromarray(np.full((size[1], size[0], *pixels.shape[2:]), colour))
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    padded.paste(scaled, ((size[0] - width) // 2, (size[1] - height) // 2))
    return padded


def main(model_file: str, *files: str) -> int:
    try:
        session = onnxruntime.InferenceSession(model_file, providers=["CPUExecutionProvider"])
        model = session.get_modelmeta().custom_metadata_map
        characters = json.loads(model["char_set"])
    except Exception as error:
        sys.exit(f"{model_file} cannot be used as a model of export_model.py: {error}")
    failed = 0
    for file in files:
        try:
            pixels = read_pixels(file, model)[np.newaxis]  # [1, H, W] or [1, H, W, 3]
        except Exception as error:  # Pillow raises many kinds
            print(f"{file}: {error}", file=sys.stderr)
            failed = 1
            continue
        [[char_ids], [confidence]] = session.run(["char_ids", "confidence"], {"image": pixels})
        text = "".join(characters[i] for i in char_ids if i >= 0)
        print(f"{file}\t{text}\t{confidence:.4f}")
    return failed


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
