"""Several processes train one network: who takes part, and a training from its start to its end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import train_model
from bench.lib.clusters import Training
from cnnlib.dataset.image_set import ImageSet
from cnnlib.errors import ConfigError, SampleError
from cnnlib.networks.model_folder import ModelFolder
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.training import TrainModel
from cnnlib.training.cluster import Cluster, read_cluster
from cnnlib.training.replication import placed
from tests.helpers import Project, drawing
from tests.trials.lib.ports import free_port

JOBS = {"chief": ["a:1"], "worker": ["b:1", "c:1"], "ps": ["a:2"]}


def test_the_environment_names_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "TF_CONFIG", json.dumps({"cluster": JOBS, "task": {"type": "worker", "index": 1}})
    )
    cluster = read_cluster(None, None)
    assert cluster is not None
    assert (cluster.name, cluster.replicas, cluster.position) == ("worker:1", 3, 2)
    assert not cluster.is_chief and not cluster.is_ps
    assert cluster.replica_at(2) == "worker:1 at c:1"


def test_without_a_cluster_one_process_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert read_cluster(None, None) is None


def test_a_cluster_of_one_task_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As job systems set it for a single machine."""
    alone = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(alone))
    assert read_cluster(None, None) is None


@pytest.mark.parametrize("whole", [True, False])
def test_a_file_names_the_cluster_and_an_option_the_task(tmp_path: Path, whole: bool) -> None:
    file = tmp_path / "cluster.json"
    file.write_text(json.dumps({"cluster": JOBS} if whole else JOBS), encoding="utf-8")
    cluster = read_cluster(file, "chief")
    assert cluster is not None and cluster.is_chief and cluster.position == 0


def test_the_first_worker_is_the_chief_where_none_is_named() -> None:
    jobs = {"worker": ("b:1", "c:1"), "ps": ("a:2",)}
    assert Cluster(jobs, "worker", 0).is_chief
    assert not Cluster(jobs, "worker", 1).is_chief


@pytest.mark.parametrize(
    ("jobs", "task", "words"),
    [
        ({"worker": ["b:1"]}, "worker:0", "has no ps"),
        ({"ps": ["a:1"]}, "ps:0", "no chief and no worker"),
        ({**JOBS, "evaluator": ["d:1"]}, "chief:0", "'evaluator' is not one of"),
        ({**JOBS, "chief": ["a:1", "d:1"]}, "chief:0", "several chiefs"),
        ({**JOBS, "ps": ["a:1"]}, "chief:0", "a:1 is the address of two tasks"),
        ({**JOBS, "ps": ["a"]}, "chief:0", "'a' must be a host or IPv4 address"),
        ({**JOBS, "ps": ["[::1]:5"]}, "chief:0", "must be a host or IPv4 address"),
        (JOBS, "worker:2", "name one of chief:0, worker:0, worker:1, ps:0"),
        (JOBS, "worker:x", "the task one such as worker:0"),
        ({**JOBS, "ps": "a:2"}, "chief:0", "must be a list of addresses"),
        ([JOBS], "chief:0", "must be an object such as"),
    ],
)
def test_what_is_no_cluster_is_named(tmp_path: Path, jobs: object, task: str, words: str) -> None:
    file = tmp_path / "cluster.json"
    file.write_text(json.dumps(jobs), encoding="utf-8")
    with pytest.raises(ConfigError, match=words) as error:
        read_cluster(file, task)
    assert "cluster.json" in str(error.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": {}}', '{"task": {"type": "ps"}}'])
def test_a_damaged_environment_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        read_cluster(None, None)


def test_file_and_task_go_together(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--config", str(project.config_path), "--task", "chief:0"]
    assert train_model.main(options) == 2
    assert "--cluster and --task go together" in capsys.readouterr().err


def test_each_process_has_its_share_of_the_images() -> None:
    images = ImageSet(list("abcde"), np.arange(5)[:, None, None], np.arange(5)[:, None])
    shares = [images.share(position, 2) for position in range(2)]
    assert [share.names for share in shares] == [["a", "c", "e"], ["b", "d"]]
    assert shares[1].char_ids.tolist() == [[1], [3]]


def test_fewer_images_than_tasks_are_refused(project: Project) -> None:
    cluster = Cluster({job: tuple(known) for job, known in JOBS.items()}, "worker", 0)
    model = TrainModel.from_config(project.sample, cluster=cluster)
    with pytest.raises(SampleError, match="2 images for training are fewer than the 3 tasks"):
        model.options.own_share(ImageSet(["a", "b"], np.zeros((2, 1, 1)), np.zeros((2, 1))))


def test_servers_hold_about_as_many_weights_each() -> None:
    cluster = Cluster({"chief": ("a:1",), "ps": ("a:2", "b:2")}, "chief", 0)
    with tf.Graph().as_default(), placed(cluster):
        variables = [tf.get_variable(f"v{size}", [size]) for size in (10, 2, 3, 4)]
        total = tf.add_n([tf.reduce_sum(variable) for variable in variables])
    assert [variable.device[-1] for variable in variables] == ["0", "1", "1", "1"]
    assert total.device == "/job:chief/task:0"


def test_a_server_a_chief_and_a_worker_train_one_model(project: Project, tmp_path: Path) -> None:
    project.change(cycle_stop=20, cycle_save=10, train_batch_size=16, start="random")
    for name, count in (("train", 40), ("test", 10)):
        drawing(project)(project.root / "sample" / name, count)
    addresses = {job: [f"127.0.0.1:{free_port()}"] for job in ("ps", "chief", "worker")}
    training = Training(tmp_path, addresses, ["--config", str(project.config_path)])
    with training.running():
        codes = {task: training.ended(task, 120) for task in training.tasks}
    assert codes == dict.fromkeys(training.tasks, 0), [training.said(t) for t in training.tasks]
    chief, worker = training.said("chief:0"), training.said("worker:0")
    assert "2 processes learn from 8 images each in a step" in chief
    assert "第20次训练 >>> " in chief
    assert "worker:0 takes part after step 0: 20 images" in worker
    assert "次训练" not in worker
    info = ModelFolder(project.sample.model_save_dir).read_required()
    assert info.run.done and info.total_step == 20
    # One process trains it further: checkpoints are the same.
    assert train_model.main(["--config", str(project.config_path), "--cycle-stop", "10"]) == 0
