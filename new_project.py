"""Write the configuration for a new kind of captcha, after a look at labelled images.

    python3 new_project.py FOLDER_OF_IMAGES [--name NAME] [--separator TEXT]

Reads the images: their names, or labels.csv (file,label) beside them, sizes, characters, colours.
Writes conf/NAME.json, where NAME is that of the folder, and says in a few lines what it saw and how
sure it is; look at that file before you go on. It changes nothing else. The next scripts take it
with --config conf/NAME.json; the first of them moves the images to sample/NAME/.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence

from cnnlib import console, survey
from cnnlib.config import PROJECT_ROOT, ProjectPath, existing_path, load_sample_config
from cnnlib.errors import ConfigError
from cnnlib.files import replacing


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=existing_path, metavar="FOLDER_OF_IMAGES")
    parser.add_argument("--name", help="of the configuration (default: that of the folder)")
    parser.add_argument("--separator", default="", metavar="TEXT",
                        help="what stands between label and serial in the names (default: found)")
    args = parser.parse_args(argv)
    if not args.folder.is_dir():
        raise ConfigError(f"{args.folder} is no folder")
    name = args.name or re.sub(r"[^\w-]+", "_", args.folder.resolve().name)
    if not re.fullmatch(r"[\w-]+", name):
        raise ConfigError(f"--name {name!r}: only letters, digits, '-' and '_' are possible")
    path = PROJECT_ROOT / "conf" / f"{name}.json"
    if path.exists():
        raise ConfigError(f"{path} exists already: remove it, or choose another --name")
    for taken in (f"conf/{name}_config.json", f"sample/{name}", f"model/{name}"):
        if (PROJECT_ROOT / taken).exists():
            raise ConfigError(f"{taken} exists already: choose another --name")
    folder = ProjectPath(args.folder.resolve())
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{str(folder)!r} is no text, which a configuration needs: rename the "
                          "folder") from error
    seen = survey.survey(folder, args.separator)
    values = survey.configuration(seen, folder, name)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", "utf-8")
        load_sample_config(temporary)
    for line in survey.findings(seen, values):
        console.say(f"- {line}")
    console.say(f"written: {path}. Look at it, then\n"
                f"  python3 verify_and_split_data.py --config conf/{name}.json\n"
                f"  python3 train_model.py --config conf/{name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
