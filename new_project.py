"""Write the configuration for a new kind of captcha, by inspecting labelled images.

    python3 new_project.py FOLDER_OF_IMAGES [--name NAME] [--separator TEXT]

Reads the images: their names, or labels.csv (file,label) in the folder, sizes, characters, colours.
Writes conf/NAME.json, where NAME is that of the folder, and says in a few lines what it saw and how
sure it is; check that file before you go on. It changes nothing else. The next scripts take it
with --config conf/NAME.json; the first of them moves the images to sample/NAME/.
"""

import json
import re
import sys
from collections.abc import Sequence

from cnnlib import console
from cnnlib.config import load_sample_config
from cnnlib.dataset.inspection import inspect_folder
from cnnlib.dataset.proposal import findings, proposed_config
from cnnlib.errors import ConfigError
from cnnlib.files import replacing
from cnnlib.paths import PROJECT_ROOT, ProjectPath, resolve_input_path


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument("folder", type=resolve_input_path, metavar="FOLDER_OF_IMAGES")
    parser.add_argument("--name", help="of the configuration (default: that of the folder)")
    parser.add_argument(
        "--separator",
        default="",
        metavar="TEXT",
        help="what separates label and serial in the names (default: found)",
    )
    args = parser.parse_args(argv)
    if not args.folder.is_dir():
        raise ConfigError(f"{args.folder} is not a folder: name a folder of images")
    name = args.name or re.sub(r"[^\w-]+", "_", args.folder.resolve().name)
    path = PROJECT_ROOT / "conf" / f"{name}.json"
    check_name(name)
    folder = ProjectPath(args.folder.resolve())
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{str(folder)!r} is not text, which a configuration needs: rename the folder"
        ) from error
    seen = inspect_folder(folder, args.separator)
    values = proposed_config(seen, folder, name)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", "utf-8")
        load_sample_config(temporary)
    for line in findings(seen, values):
        console.say(f"- {line}")
    console.say(
        f"written: {path}. Look at it, then\n"
        f"  python3 verify_and_split_data.py --config conf/{name}.json\n"
        f"  python3 train_model.py --config conf/{name}.json"
    )
    return 0


def check_name(name: str) -> None:
    """Raise ConfigError where a project cannot have this name, or another one has it."""
    if not re.fullmatch(r"[\w-]+", name):
        raise ConfigError(f"--name {name!r}: only letters, digits, '-' and '_' are possible")
    path = PROJECT_ROOT / "conf" / f"{name}.json"
    if path.exists():
        raise ConfigError(f"{path} exists: remove it, or choose another --name")
    for taken in (f"conf/{name}_config.json", f"sample/{name}", f"model/{name}"):
        if (PROJECT_ROOT / taken).exists():
            raise ConfigError(f"{taken} exists: choose another --name")


if __name__ == "__main__":
    sys.exit(main())
