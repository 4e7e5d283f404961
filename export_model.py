"""Export the trained model to one file that any program reads.

    python3 export_model.py [--config conf/sample_config.json] [--format onnx|savedmodel|tflite]
                            [--precision float32|float16|int8] [--input gray|rgb] [--output PATH]

Reads the model in model_save_dir and writes model.onnx, model.tflite or the folder saved_model
next to it. Images go in as they were decoded, uint8; gray from RGB (--input rgb), the network, its
calibration and the decoding of texts are in the file, and so are the characters, lengths and sizes.
Before it is kept the file reads the test images, 200 images at least, and must give the text that
the Recognizer gives on all of them; a file that does not is removed. float16 halves the file, int8
quarters it; for both it says how many texts differ. See docs/en/export.md.
"""

import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cnnlib import console
from cnnlib.config import SAMPLE_CONFIG, load_sample_config
from cnnlib.networks.metadata import FLOAT32, FORMAT_NAMES, GRAY, PRECISIONS, RGB
from cnnlib.paths import resolve_output_path

if TYPE_CHECKING:
    from cnnlib.exporting.export import Export


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("--format", choices=FORMAT_NAMES, default="onnx", help="default: onnx")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default=FLOAT32, help="of the weights, default: float32"
    )
    parser.add_argument(
        "--input", choices=(GRAY, RGB), default=GRAY, help="what images are given as, default: gray"
    )
    parser.add_argument(
        "--output", type=resolve_output_path, metavar="PATH", help="file or folder to write"
    )
    args = parser.parse_args(argv)
    config = load_sample_config(args.config)
    from cnnlib.exporting.export import export_model  # TensorFlow takes seconds to load

    export = export_model(config, args.format, args.precision, args.input, args.output)
    for line in summary(export):
        console.say(line)
    return 0


def summary(export: "Export") -> Iterator[str]:
    """Yield the lines that report an export."""
    yield f"{export.file}: {export.megabytes:.1f} MB"
    for name, shape in export.shapes.items():
        yield f"  {'in ' if name == 'image' else 'out'} {name}: {shape}"
    found = export.comparison
    yield found.summary()
    if export.metadata.precision != FLOAT32 and found.model_accuracy is not None:
        yield f"right of them: {found.file_accuracy:.2%}, by the model {found.model_accuracy:.2%}"
    if export.bfloat16_differing:
        yield (
            f"with bfloat16, as TensorFlow computes on this processor, {export.bfloat16_differing} "
            "texts differ"
        )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an unfinished file is removed
    sys.exit(main())
