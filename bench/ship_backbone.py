"""Put weights that train_backbone.py has made into model/backbone/, in half precision.

    python3 bench/ship_backbone.py FOLDER [--target model/backbone]

Reads FOLDER/averaged.npz, and writes NETWORK.npz and backbone.json to the target.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.lib.pretraining import CHARACTERS, GRID, NETWORK
from cnnlib import console
from cnnlib.config_reader import read_json
from cnnlib.files import replacing
from cnnlib.networks.starting_weights import BACKBONE_DIR, DESCRIPTION_FILE
from cnnlib.paths import resolve_input_path, resolve_output_path

TRAINING_ALONE = "columns/"  # the head that reads columns


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__)
    parser.add_argument("folder", type=resolve_input_path, metavar="FOLDER")
    parser.add_argument("--target", type=resolve_output_path, default=BACKBONE_DIR)
    args = parser.parse_args(argv)
    ship(args.folder / "averaged.npz", args.target)
    return 0


def ship(averaged: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with np.load(averaged) as arrays:
        step = int(arrays["step"])
        values = {
            name: arrays[name].astype(np.float16)
            for name in arrays.files
            if name != "step" and not name.startswith(TRAINING_ALONE)
        }
    with replacing(target / f"{NETWORK}.npz") as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **values)
    known = target / DESCRIPTION_FILE
    description = dict(read_json(known)) if known.exists() else {}
    description[NETWORK] = {
        "file": f"{NETWORK}.npz",
        "char_set": list(CHARACTERS),
        "grid": list(GRID),
        "steps": step,
        "date": datetime.date.today().isoformat(),
    }
    with replacing(known) as temporary:
        text = json.dumps(description, ensure_ascii=False, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")
    size = (target / f"{NETWORK}.npz").stat().st_size
    console.say(f"{target / NETWORK}.npz: {size / 1e6:.1f} MB, after {step} steps")


if __name__ == "__main__":
    sys.exit(main())
