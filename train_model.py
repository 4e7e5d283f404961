"""Train a recogniser on the labelled images, and save it.

    python3 train_model.py [--config conf/sample_config.json] [--fresh] [--cycle-stop N] [--seed N]
                           [--teacher MODEL_FOLDER] [--cluster FILE --task JOB:INDEX [--patience S]]
    python3 train_model.py --recognize

Reads the images in train_image_dir and test_image_dir. Prints, every 10 steps, the share of right
characters and of wholly right images in the training batch and in some test images. Writes the
model, history.csv and accuracy.png to model_save_dir every cycle_save steps and at the end, and
curves for TensorBoard to log_dir.

It stops after cycle_stop steps, or earlier where acc_stop of the test images are right beyond
chance, or where their loss no longer falls. Ctrl-C and SIGTERM
save and leave (exit code 130); the same command goes on from there, as it does after a crash.
Started after its end, it trains the same weights further; --fresh ignores them.
--teacher names a trained model of the same captcha, from whose probabilities the network learns,
too (docs/en/training.md, A smaller network).
--cluster and --task train on several machines (docs/en/cluster.md): the file names them, and each
one runs this command with a task of its own, such as chief:0, worker:0 or ps:0. The environment
variable TF_CONFIG says the same.
--recognize answers one random training image, and draws it to recognized.png in model_save_dir.
"""

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnlib import console
from cnnlib.config import SAMPLE_CONFIG, SampleConfig, load_sample_config
from cnnlib.paths import resolve_input_path

if TYPE_CHECKING:
    from cnnlib.training import TrainModel
    from cnnlib.training.cluster import Cluster

__all__ = ["TrainModel", "main"]


def __getattr__(name: str) -> type["TrainModel"]:
    """Load TrainModel where it is imported from here: its TensorFlow takes seconds."""
    if name != "TrainModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cnnlib.training import TrainModel

    return TrainModel


@console.script
def main(argv: Sequence[str] | None = None) -> int:
    parser = console.parser(__doc__, SAMPLE_CONFIG)
    parser.add_argument("--fresh", action="store_true", help="ignore the model that is there")
    parser.add_argument("--cycle-stop", type=int, metavar="N", help="training steps of this run")
    parser.add_argument("--seed", type=int, metavar="N", help="order of images, first weights")
    parser.add_argument(
        "--teacher", type=resolve_input_path, metavar="MODEL_FOLDER", help="a model to learn from"
    )
    parser.add_argument("--recognize", action="store_true", help="answer one training image")
    parser.add_argument(
        "--cluster", type=resolve_input_path, metavar="FILE", help="the machines that train"
    )
    parser.add_argument("--task", metavar="JOB:INDEX", help="which of them this is")
    parser.add_argument(
        "--patience", type=console.at_least_one, metavar="S", help="seconds to wait for a machine"
    )
    args = parser.parse_args(argv)
    config = load_sample_config(
        args.config, cycle_stop=args.cycle_stop, seed=args.seed, teacher=args.teacher
    )
    from cnnlib.training import TrainModel
    from cnnlib.training.cluster import read_cluster

    cluster = None if args.recognize else read_cluster(args.cluster, args.task, args.patience)
    if cluster and not cluster.is_chief:
        return _serve_chief(config, args.fresh, cluster)
    model = TrainModel.from_config(config, fresh=args.fresh, cluster=cluster)
    if args.recognize:
        model.recognize_captcha()
        return 0
    if model.train_cnn().interrupted:
        return console.EXIT_INTERRUPTED
    console.say(f"next: python3 test_batch.py --config {args.config}")
    return 0


def _serve_chief(config: SampleConfig, fresh: bool, cluster: "Cluster") -> int:
    """Be a parameter server or a worker until the chief ends the run."""
    from cnnlib.training import TrainModel
    from cnnlib.training.cluster_sessions import serve_parameters

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # it may wait for the others, and has no state
    if cluster.is_ps:
        serve_parameters(cluster, console.CONSOLE)
    else:
        TrainModel.from_config(config, fresh, cluster=cluster).work_for_chief()
    return 0


if __name__ == "__main__":
    sys.exit(main())
