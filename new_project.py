"""Write the configuration for a new kind of captcha, after a look at labelled images.

    python3 new_project.py FOLDER_OF_IMAGES [--name NAME]

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
from cnnlib.config import (
    PROJECT_ROOT,
    SAMPLE_CONFIG,
    ProjectPath,
    existing_path,
    load_sample_config,
    read_json,
)
from cnnlib.errors import ConfigError
from cnnlib.files import replacing

FOLDERS = ("new_image_dir", "train_image_dir", "test_image_dir", "api_image_dir",
           "online_image_dir", "local_image_dir")


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=existing_path, metavar="FOLDER_OF_IMAGES")
    parser.add_argument("--name", help="of the configuration (default: that of the folder)")
    args = parser.parse_args(argv)
    name = args.name or re.sub(r"[^\w-]+", "_", args.folder.resolve().name) or "captcha"
    if not re.fullmatch(r"[\w-]+", name):
        raise ConfigError(f"--name {name!r}: only letters, digits, '-' and '_' are possible")
    path = PROJECT_ROOT / "conf" / f"{name}.json"
    if path.exists():
        raise ConfigError(f"{path} exists already: remove it, or choose another --name")
    seen = survey.survey(ProjectPath(args.folder))
    suggested = survey.suggestion(seen)
    values = read_json(PROJECT_ROOT / SAMPLE_CONFIG)
    values |= {key: f"sample/{name}/{key.removesuffix('_image_dir')}/" for key in FOLDERS}
    values |= {"origin_image_dir": str(args.folder.resolve()), "model_save_dir": f"model/{name}/",
               "log_dir": f"logs/{name}/", "use_labels_json_file": False, **suggested}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", "utf-8")
    load_sample_config(path)
    for line in survey.findings(seen, suggested):
        console.say(f"- {line}")
    console.say(f"written: {path}. Look at it, then\n"
                f"  python3 verify_and_split_data.py --config conf/{name}.json\n"
                f"  python3 train_model.py --config conf/{name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
