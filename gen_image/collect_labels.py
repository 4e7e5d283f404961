"""Collect the characters that occur in the labels of images into a list for the config.

    python3 gen_image/collect_labels.py [FOLDER ...] [--config conf/sample_config.json]
                                        [--output FILE]

Reads the names of the images, or labels.csv, in the folders; where none is named, in
origin_image_dir, new_image_dir, train_image_dir and test_image_dir of the config. Writes
labels_json_file of the config, or FILE, from the working directory. Characters that are listed
there keep their place for ever, since a trained model counts on it; new ones follow.
"use_labels_json_file": true in the config makes this list the char_set.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cnnlib import console
from cnnlib.config import SAMPLE_CONFIG, SampleConfig, load_sample_config
from cnnlib.config_reader import IMAGE_SUFFIXES, read_labels_json
from cnnlib.dataset.folders import candidate_names
from cnnlib.dataset.labels import has_suffix
from cnnlib.dataset.verification import Rules
from cnnlib.errors import SampleError
from cnnlib.files import write_json
from cnnlib.paths import ProjectPath, resolve_input_path, resolve_output_path


def collect(
    folders: Iterable[Path], output: Path, rules: Rules
) -> tuple[list[str], list[str], int]:
    """Bring the list in `output` up to date: (characters listed before, new ones, files skipped).

    Raises SampleError where no file is a labelled image.
    """
    known = list(read_labels_json(output)) if output.exists() else []
    labels, skipped = _labels(folders, rules)
    new = sorted({character for label in labels for character in label} - set(known))
    if new:
        write_json(output, known + new)
    return known, new, skipped


def _labels(folders: Iterable[Path], rules: Rules) -> tuple[list[str], int]:
    """Return the labels in the folders, and how many files are not labelled images."""
    folders = list(folders)
    labels, skipped = [], 0
    for folder in folders:
        folder_labels = rules.labels(ProjectPath(folder))
        for name in candidate_names(ProjectPath(folder)):
            try:
                if not has_suffix(name, IMAGE_SUFFIXES):
                    raise SampleError(f"{name} is not an image")
                labels.append(folder_labels.label(name))
            except SampleError:
                skipped += 1
    if not labels:
        raise SampleError(
            f"no labelled image in {', '.join(map(str, folders))} "
            f"({skipped} files): name a folder of images such as 2e8j_17322d3d.png"
        )
    return labels, skipped


def _sample_folders(config: SampleConfig) -> list[Path]:
    folders = [
        config.origin_image_dir.full,
        config.new_image_dir.full,
        config.train_image_dir.full,
        config.test_image_dir.full,
    ]
    return [folder for folder in folders if folder.is_dir()] or folders[:1]


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("folders", nargs="*", type=resolve_input_path, metavar="FOLDER")
    parser.add_argument(
        "--output", type=resolve_output_path, metavar="FILE", help="the list to update"
    )
    args = parser.parse_args(argv)
    # char_set may come from the very list that is made here: neither is needed.
    config = load_sample_config(args.config, use_labels_json_file=False, char_set="?")
    output = args.output or config.labels_json_file.full
    known, new, skipped = collect(
        args.folders or _sample_folders(config), output, Rules.from_config(config)
    )
    console.say(
        f"{len(known) + len(new)} characters in {output}, {len(new)} of them new {''.join(new)}"
    )
    console.say(f"{skipped} files were not labelled images")
    console.say('"use_labels_json_file": true in the config makes them the char_set')
    return 0


if __name__ == "__main__":
    sys.exit(main())
