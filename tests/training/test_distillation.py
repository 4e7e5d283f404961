"""Training with a teacher: what is in the graph, what is learned, which teachers are refused."""

import dataclasses

import numpy as np
import pytest

import train_model
from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.config import load_sample_config
from cnnlib.console import SilentReporter
from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.verification import Rules
from cnnlib.errors import ConfigError, ModelError
from cnnlib.network import CNN
from cnnlib.networks.tensorflow_v1 import tf
from cnnlib.networks.weights import TrainableWeights
from cnnlib.training import TrainModel, forecast, loop
from cnnlib.training.distillation import SCOPE, Teacher, taught_losses
from cnnlib.training.graph import build
from cnnlib.training.recipes import RECIPES, Distillation
from tests.helpers import new_project
from tests.networks.helpers import build as build_network
from tests.training.helpers import exact_session, info, make_ready, stopped_after, train

RECIPE = RECIPES["default"]
SPEC = CaptchaSpec(24, 40, 3, ("a", "b"), 1)
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 24, 40), np.uint8)
PROBABILITIES = f"{SCOPE}/probabilities:0"  # of the teacher
CHAR_IDS = np.random.default_rng(0).integers(0, 2, (8, 3))


@pytest.fixture(scope="module")
def teacher():
    """A teacher of SPEC with random weights."""
    with tf.Graph().as_default():
        build_network(
            "cnn5", TrainableWeights(tf.constant(False), tf.constant(1.0)), classes=SPEC.classes
        )
        shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    rng = np.random.default_rng(1)
    values = {name: rng.normal(0, 0.1, shape) for name, shape in shapes.items()}
    return Teacher("teacher", "cnn5", {k: v.astype(np.float32) for k, v in values.items()})


def new_cnn(folder, network="cnn5"):
    return CNN(24, 40, 3, "ab", folder, spec=SPEC, network=network)


def kinds(graph):
    return [op.type for op in graph.graph.get_operations()]


# --- the graph ---


def test_without_a_teacher_nothing_is_added(tmp_path, teacher):
    plain, taught = (build(new_cnn(tmp_path), RECIPE, 0, teacher=t) for t in (None, teacher))
    assert (kinds(plain).count("Conv2D"), kinds(taught).count("Conv2D")) == (3, 6)
    loss = "SoftmaxCrossEntropyWithLogits"
    assert (kinds(plain).count(loss), kinds(taught).count(loss)) == (2, 3)
    names = [op.name for op in plain.graph.get_operations()]
    assert not [name for name in names if name.startswith(SCOPE)]
    first = [op.name for op in taught.graph.get_operations()]
    assert names[: names.index("Mean")] == first[: first.index("Mean")]  # of the labels' losses


def test_a_teacher_is_constant_and_not_saved(tmp_path, teacher):
    plain, taught = (build(new_cnn(tmp_path), RECIPE, 0, teacher=t) for t in (None, teacher))
    for variables in ("weight_variables", "all_variables"):
        names = [[v.op.name for v in getattr(graph, variables)] for graph in (plain, taught)]
        assert names[0] == names[1]
    of_teacher = [op for op in taught.graph.get_operations() if op.name.startswith(f"{SCOPE}/")]
    assert not [op for op in of_teacher if op.type.startswith(("VarHandle", "FusedBatchNorm"))]


def test_a_teacher_sees_what_its_student_sees(tmp_path, teacher):
    graph = build(new_cnn(tmp_path), RECIPE, 0, distortion=1.0, teacher=teacher)
    by_name = graph.graph.get_tensor_by_name
    own, others = (by_name(f"{name}:0").op.inputs[0] for name in ("Conv2D", f"{SCOPE}/Conv2D"))
    assert own is others
    feeds = {graph.X: PIXELS, graph.training: True}
    with exact_session(graph.graph) as session:
        first, second = (session.run(by_name(PROBABILITIES), feeds) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3  # distorted in another way


def test_the_recipe_must_allow_it(tmp_path, teacher):
    recipe = dataclasses.replace(RECIPE, distillation=None)
    graph = build(new_cnn(tmp_path), recipe, 0, teacher=teacher)
    assert kinds(graph).count("Conv2D") == 3


# --- what is learned ---


def probabilities(logits):
    values = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return values / values.sum(axis=-1, keepdims=True)


def test_the_loss_is_that_of_hinton_et_al(tmp_path, teacher):
    cnn = new_cnn(tmp_path)
    label_losses = np.arange(8, dtype=np.float32)
    with cnn.graph.as_default():
        tf.set_random_seed(0)
        cnn.model()
        settings = Distillation(temperature=2.0, weight=0.75)
        losses = taught_losses(
            cnn, cnn.standardized(), tf.constant(label_losses), teacher, settings
        )
        taught = cnn.graph.get_tensor_by_name(PROBABILITIES)
        initializer = tf.global_variables_initializer()
    with exact_session(cnn.graph) as session:
        session.run(initializer)
        found, logits, target = session.run((losses, cnn.logits, taught), {cnn.X: PIXELS})
    assert (target[:, 0, 2] == 0).all()  # no text ends before its first character
    log_p = np.log(np.maximum(probabilities(logits / 2), 1e-30))
    expected = 4 * -(target * log_p).sum(axis=-1).mean(axis=1)
    np.testing.assert_allclose(found, 0.25 * label_losses + 0.75 * expected, rtol=1e-4)


def test_a_network_learns_the_answers_of_its_teacher(tmp_path, teacher):
    recipe = dataclasses.replace(RECIPE, distillation=Distillation(weight=1.0))
    graph = build(new_cnn(tmp_path, "resnet_attention_small"), recipe, 0, teacher=teacher)
    taught = graph.graph.get_tensor_by_name(PROBABILITIES)
    feeds = {graph.X: PIXELS, graph.Y: CHAR_IDS, graph.training: True, graph.rate: 3e-3}
    distances = []
    with exact_session(graph.graph) as session:
        session.run(graph.initializer)
        for _ in range(25):
            _, logits, target = session.run((graph.train_step, graph.logits, taught), feeds)
            distances.append(np.abs(probabilities(logits) - target).mean())
    assert distances[-1] < distances[0] / 3


# --- a training ---


@pytest.fixture(scope="module")
def first_taught(tmp_path_factory):
    """A project like `ready`, with a model in another folder as its teacher."""
    project = make_ready(new_project(tmp_path_factory.mktemp("taught") / "project"))
    train(project, cycle_stop=2)
    project.sample.model_save_dir.full.rename(project.root / "big")
    project.change(teacher="big/")
    return project


@pytest.fixture
def taught(first_taught, tmp_path):
    return first_taught.copy(tmp_path / "project")


def test_a_training_names_its_teacher_and_goes_on_with_it(taught, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_signals", stopped_after(10, range(10)))
        assert train(taught).interrupted
    assert train(taught).steps == 19
    said = capsys.readouterr().out
    assert sum(line.startswith("teacher   big/ (") for line in said.splitlines()) == 2
    assert f"({taught.root / 'big'}): cnn5, " in said and "% of its test images right" in said
    assert "the run that was interrupted goes on after step 1" in said
    assert "teacher" not in info(taught).to_json()


def test_a_small_network_learns_a_tiny_set(trained, tmp_path, monkeypatch):
    """With the teacher's help, and no more images than its teacher had."""
    rates = {**RECIPE.peak_rates, "resnet_attention_small": 8e-3}  # so few steps bear no higher one
    monkeypatch.setitem(RECIPES, "default", dataclasses.replace(RECIPE, peak_rates=rates))
    config = load_sample_config(
        trained.config_path,
        network="resnet_attention_small",
        model_save_dir=tmp_path / "small",
        log_dir=tmp_path / "logs",
        teacher=trained.sample.model_save_dir.full,
        cycle_stop=90,
    )
    assert TrainModel.from_config(config).train_cnn().scores.char_accuracy > 0.7  # by chance: 0.5


def test_the_option_reaches_the_training(taught, monkeypatch, capsys):
    taught.change(teacher=False, cycle_stop=1)
    arguments = ["--config", str(taught.config_path), "--teacher"]
    monkeypatch.chdir(taught.root)
    assert train_model.main([*arguments, "big"]) == 0
    assert f"teacher   {taught.root / 'big'} (" in capsys.readouterr().out
    assert train_model.main([*arguments, str(taught.root / "model"), "--fresh"]) == 2
    assert "a model cannot be its own teacher" in capsys.readouterr().err
    assert info(taught).run.done


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"char_set": "01234"}, "char_set 0123, not 01234"),
        ({"image_width": 50}, "image_width 24, not 50"),
        ({"image_channels": 3}, "image_channels 1, not 3"),
        ({"min_captcha": 1}, "min_captcha 2, not 1"),
        ({"max_captcha": 3}, "max_captcha 2, not 3"),
        ({"ignore_case": True}, "ignore_case false, not true"),
    ],
)
def test_a_teacher_of_another_captcha_is_refused(taught, changed, expected):
    taught.change(**changed)
    with pytest.raises(ModelError, match=f"big.* does not fit: .*{expected}.* A teacher must"):
        train(taught)
    assert not (taught.sample.model_save_dir.full / "model.json").exists()


def test_what_is_no_teacher_is_refused(taught):
    with pytest.raises(ModelError, match="no model in nowhere .*, the teacher: train it first"):
        train(taught, teacher="nowhere")
    for same in ("model", "big/../model/"):
        with pytest.raises(ConfigError, match="is the teacher and the model_save_dir"):
            train(taught, teacher=same, fresh=True)
    with pytest.raises(ConfigError, match="'specification' learns from labels alone: leave the"):
        train(taught, recipe="specification")


def test_a_teacher_may_have_another_network(taught):
    taught.change(network="resnet_attention_small")
    cnn = TrainModel.from_config(taught.sample)
    assert cnn.teacher and cnn.teacher.network == "cnn5" != cnn.network


def test_images_that_are_held_back_are_unknown_to_all(taught, monkeypatch):
    """A teacher may have learned them, and would make a forecast too good."""
    monkeypatch.setattr("cnnlib.training.trainer.read_teacher", None)  # an error where called
    config = taught.sample
    images = load_images(config.test_image_dir, Rules.from_config(config))
    silent = SilentReporter()
    assert forecast.count_wrong(config, images, images, images, 20, 1, silent) <= len(images)
