"""Make a project for a new kind of captcha out of a folder of labelled images.

    python3 new_project.py FOLDER_OF_IMAGES [--name NAME] [--go]
                           [--labels WHERE] [--separator TEXT] [--unlabelled FOLDER]
    python3 new_project.py FOLDER_OF_IMAGES --characters 0-9a-z --length 4 [--name NAME]

Finds the images, in sub-folders too, and their labels: in the names, or in a list (CSV, text, JSON)
in the folder or above it. Copies them, each content once, to sample/NAME/origin/ under the names
label_serial.suffix, and those without a label to sample/NAME/unlabelled/. Writes conf/NAME.json,
with what fits these images, and says what it took, what it left out, and what follows.

It never changes the folder. Stopped, it goes on when it is run again; with more images, it
adds those that are new. --characters and --length say what occurs in images that have no labels,
to be labelled on the page of webserver_label_images.py. --go also verifies, splits, trains and
tests. --in-place copies nothing: verify_and_split_data.py will move the images out of the folder,
whose names must be as above.
"""

import argparse
import dataclasses
import re
import shlex
import string
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cnnlib import console
from cnnlib.config import SampleConfig
from cnnlib.dataset.folders import image_names
from cnnlib.dataset.splitting import verify_and_split
from cnnlib.errors import ConfigError
from cnnlib.importing.findings import findings
from cnnlib.importing.labelled_folder import read_labelled_folder, read_unlabelled_folder
from cnnlib.importing.project import (
    Project,
    describe_changes,
    describe_import,
    inspect_in_place,
    with_plain_forms,
)
from cnnlib.packages import require
from cnnlib.paths import PROJECT_ROOT, ProjectPath, resolve_input_path


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.go:
        require("tensorflow")
    folder = checked_folder(args.folder)
    name = args.name or re.sub(r"[^\w-]+", "_", folder.name)
    project = Project(name, PROJECT_ROOT)
    project.check_free(may_exist=not args.in_place)
    expected = expected_labels(args)
    found = (
        read_unlabelled_folder(folder)
        if expected
        else read_labelled_folder(
            folder, labels=args.labels, separator=args.separator, encoding=args.encoding
        )
    )
    if args.plain_forms:
        with_plain_forms(found)
    if args.in_place:
        if args.unlabelled or args.plain_forms:
            raise ConfigError("--in-place copies and changes nothing: leave out the other options")
        seen = inspect_in_place(found)
        say_lines([*found.taken, *(f"left out: {line}" for line in found.left_out)])
        say_lines(findings(seen, project.write_config(seen, ProjectPath(folder))))
    else:
        unlabelled = checked_folder(args.unlabelled) if args.unlabelled else None
        is_new = not project.exists
        project.add_source(folder, is_named=bool(args.name))
        result, seen = project.copy_images(found, unlabelled)
        seen = dataclasses.replace(seen, **expected)
        say_lines(describe_import(found, result))
        if is_new:
            say_lines(findings(seen, project.write_config(seen)))
        else:
            say_lines(describe_changes(seen, project.config()))
    console.say(f"the configuration is {project.config_file}")
    config = project.config(cycle_stop=args.cycle_stop)
    if expected:
        console.say(f"next:\n  python3 webserver_label_images.py --config {project.config_name}")
        return 0
    if args.go:
        return go(config, project.config_name)
    say_commands(config, project.config_name, trained=False)
    return 0


def parser() -> argparse.ArgumentParser:
    options = console.parser(__doc__)
    options.add_argument("folder", type=resolve_input_path, metavar="FOLDER_OF_IMAGES")
    options.add_argument("--name", help="of the project (default: that of the folder)")
    options.add_argument("--go", action="store_true", help="verify, split, train and test as well")
    options.add_argument(
        "--cycle-stop",
        type=console.at_least_one,
        metavar="N",
        help="training steps of --go (default: what is proposed)",
    )
    options.add_argument(
        "--labels",
        default="",
        metavar="WHERE",
        help="before, after (the separator), a number (that part between separators), stem (the "
        "whole name), folder (its name), texts (next to images), or a list's file (default: found)",
    )
    options.add_argument(
        "--separator", default="", metavar="TEXT", help="between the parts of a name"
    )
    options.add_argument(
        "--encoding", default="", metavar="NAME", help="of the list, such as gb18030"
    )
    options.add_argument(
        "--unlabelled",
        type=resolve_input_path,
        metavar="FOLDER",
        help="more images, which have no labels",
    )
    options.add_argument(
        "--characters",
        type=characters,
        default=None,
        metavar="TEXT",
        help="no image has a label: these characters occur, such as 0-9a-z",
    )
    options.add_argument(
        "--length",
        type=lengths,
        default=None,
        metavar="N",
        help="with --characters: of a label, such as 4, or 4-6",
    )
    options.add_argument(
        "--plain-forms",
        action="store_true",
        help="write full-width and other forms of a character as the plain one",
    )
    options.add_argument(
        "--in-place", action="store_true", help="copy nothing: the images will be moved"
    )
    return options


def characters(text: str) -> str:
    """Read an option such as 0-9a-z; argparse shows the error."""

    def every(ends: re.Match[str]) -> str:
        first, last = ends[1], ends[2]
        kinds = (string.digits, string.ascii_lowercase, string.ascii_uppercase)
        if first >= last or not any({first, last} <= set(kind) for kind in kinds):
            raise argparse.ArgumentTypeError(f"{ends[0]} is not a range such as 0-9, a-z or A-Z")
        return "".join(map(chr, range(ord(first), ord(last) + 1)))

    found = "".join(dict.fromkeys(re.sub("([0-9A-Za-z])-([0-9A-Za-z])", every, text)))
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} has no characters: write, say, 0-9a-z")
    return found


def lengths(text: str) -> tuple[int, ...]:
    """Read an option such as 4 or 4-6; argparse shows the error."""
    found = re.fullmatch(r"([1-9]\d?)(?:-([1-9]\d?))?", text)
    if not found or int(found[2] or 99) < int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a length such as 4, or 4-6")
    return tuple(range(int(found[1]), int(found[2] or found[1]) + 1))


def expected_labels(args: argparse.Namespace) -> dict[str, Any]:
    """Return what labels will be of images that have none; raises ConfigError for half of it."""
    if bool(args.characters) != bool(args.length):
        raise ConfigError("--characters and --length belong together: give both")
    if not args.characters:
        return {}
    if args.go or args.in_place or args.labels or args.separator:
        raise ConfigError(
            "--characters is for images without labels: leave out --go, --in-place, --labels and "
            "--separator"
        )
    return {"expected_characters": args.characters, "expected_lengths": args.length}


def checked_folder(folder: Path) -> Path:
    """Return the full path of a folder that the user named; raises ConfigError."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: name a folder of images")
    try:
        str(folder.resolve()).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{str(folder)!r} is not text, which a configuration needs: rename the folder"
        ) from error
    return folder.resolve()


def say_lines(lines: Iterable[str]) -> None:
    for line in lines:
        console.say(f"- {line}")


def go(config: SampleConfig, name: str) -> int:
    """Run the next steps, as their scripts do."""
    console.say("\n[1 of 3] verify and split")
    verify_and_split(config, config.seed)
    console.say("\n[2 of 3] train")
    from cnnlib.training import TrainModel  # here: TensorFlow takes seconds to load

    if TrainModel.from_config(config).train_cnn().interrupted:
        console.say(f"go on with: python3 train_model.py --config {name}")
        return console.EXIT_INTERRUPTED
    console.say("\n[3 of 3] test")
    from cnnlib.evaluation import TestBatch

    TestBatch.from_config(config).test_batch()
    say_commands(config, name, trained=True)
    return 0


def say_commands(config: SampleConfig, name: str, trained: bool) -> None:
    """Print what comes next, ready to be copied."""
    scripts = ["webserver_recognize_api.py"]
    if not trained:
        scripts = ["verify_and_split_data.py", "train_model.py", "test_batch.py", *scripts]
    lines = [f"  python3 {script} --config {name}" for script in scripts]
    if trained and (images := image_names(ProjectPath(config.test_image_dir))):
        name = next((name for name in images if not set(name) & set(';,"')), images[0])
        image = f"image_file=@{config.test_image_dir}{name}"
        lines += [
            "and ask it, in a second terminal:",
            f"  curl -F {shlex.quote(image)} {config.api_url}",
        ]
    console.say("\n".join(["next:", *lines]))


if __name__ == "__main__":
    sys.exit(main())
