"""The graph that learns: built once, closed before the first step."""

import dataclasses

import numpy as np
import pytest

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.config import load_sample_config
from cnnlib.dataset.labels import PAD_ID, UNKNOWN_ID
from cnnlib.network import CNN
from cnnlib.training import TrainModel
from cnnlib.training.graph import build
from cnnlib.training.recipes import RECIPES
from cnnlib.training.stepping import Stepper
from tests.training.helpers import exact_session, train

RECIPE = RECIPES["default"]
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 24, 40), np.uint8)
CHAR_IDS = np.array([[0, 1, PAD_ID], [1, PAD_ID, PAD_ID], [0, 0, 0], [1, 0, PAD_ID]])


def test_graph_is_closed_before_the_first_step(ready, monkeypatch):
    seen = []
    step = Stepper.step

    def watched(self, *arguments):
        seen.append((self._graph.graph.finalized, len(self._graph.graph.get_operations())))
        step(self, *arguments)

    monkeypatch.setattr(Stepper, "step", watched)
    train(ready)
    assert len(seen) == 20 and set(seen) == {(True, seen[0][1])}


def test_seed_decides_the_first_weights(ready):
    def first_weights(seed):
        config = load_sample_config(ready.config_path, seed=seed)
        graph = TrainModel.from_config(config).build_graph(40)
        with exact_session(graph.graph) as session:
            session.run(graph.initializer)
            return session.run(graph.weight_variables[0])

    np.testing.assert_array_equal(first_weights(0), first_weights(0))
    assert np.abs(first_weights(0) - first_weights(1)).max() > 0.1


@pytest.mark.parametrize(("count", "splices"), [(20, True), (22, False)])
def test_saliency_is_built_where_images_are_seen_often(project, count, splices):
    project.change(network="cnn5")
    graph = TrainModel.from_config(project.sample).build_graph(count)  # 20 steps of 16 images
    assert graph.graph.finalized
    assert (graph.saliency is not None) is splices
    if splices:
        assert graph.saliency.shape.as_list() == [None, 2, 40]


@pytest.fixture
def run(tmp_path):
    """Return run(recipe, **options) -> (graph, its session), of labels of 1 to 3 characters."""
    sessions = []

    def start(recipe=RECIPE, **options):
        cnn = CNN(24, 40, 3, "ab", tmp_path, spec=CaptchaSpec(min_captcha=1), network="cnn5")
        graph = build(cnn, recipe, 0, **options)
        sessions.append(exact_session(graph.graph))
        sessions[-1].run(graph.initializer)
        return graph, sessions[-1]

    yield start
    for session in sessions:
        session.close()


@pytest.mark.parametrize("recipe", ["default", "specification"])
def test_losses_are_those_of_the_labels_without_smoothing(run, recipe):
    graph, session = run(RECIPES[recipe])
    logits, losses = session.run((graph.logits, graph.losses), {graph.X: PIXELS, graph.Y: CHAR_IDS})
    targets = np.eye(3)[np.where(CHAR_IDS == PAD_ID, 2, CHAR_IDS)]
    if recipe == "default":
        log_sum = np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        expected = ((log_sum - logits) * targets).sum(axis=-1).mean(axis=1)
    else:  # each class is a yes or no of its own
        expected = (np.logaddexp(0, logits) - logits * targets).mean(axis=(1, 2))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_nothing_is_learned_from_characters_that_are_not_known(run):
    graph, session = run()
    logits, losses = session.run(
        (graph.logits, graph.losses),
        {graph.X: PIXELS[:2], graph.Y: np.array([[UNKNOWN_ID, 1, PAD_ID], [UNKNOWN_ID] * 3])},
    )
    log_sum = np.log(np.exp(logits).sum(axis=-1))  # [B, P]
    known = (log_sum[0, 1] - logits[0, 1, 1]) + (log_sum[0, 2] - logits[0, 2, 2])
    np.testing.assert_allclose(losses, [known / 3, 0.0], rtol=1e-4)


def test_images_are_distorted_in_training_alone(run):
    for distortion, changes in ((0.0, False), (1.0, True)):
        graph, session = run(distortion=distortion)
        feeds = {graph.X: PIXELS, graph.Y: CHAR_IDS}
        still = [session.run(graph.losses, feeds) for _ in range(2)]
        np.testing.assert_array_equal(*still)
        moved = session.run(graph.losses, feeds | {graph.training: True})
        assert bool(np.abs(moved - still[0]).max() > 1e-3) is changes


def test_saliency_is_what_a_column_contributes_to_a_character(run):
    graph, session = run(splices=True)
    found = session.run(graph.saliency, {graph.X: PIXELS, graph.Y: CHAR_IDS})
    assert found.shape == (4, 3, 40) and (found >= 0).all()
    contributes = found.max(axis=-1) > 0  # [B, L]
    np.testing.assert_array_equal(contributes, CHAR_IDS != PAD_ID)


def test_kernels_decay_and_biases_do_not(run):
    after = []
    for weight_decay in (0.0, 10.0):
        graph, session = run(dataclasses.replace(RECIPE, weight_decay=weight_decay))
        feeds = {graph.X: PIXELS, graph.Y: CHAR_IDS, graph.training: True, graph.rate: 0.01}
        session.run(graph.train_step, feeds)
        after.append(session.run({v.op.name: v for v in graph.weight_variables}))
    plain, decayed = after
    for name, value in plain.items():
        factor = 0.9 if name.endswith("kernel") else 1.0
        np.testing.assert_allclose(decayed[name], factor * value, rtol=1e-3, atol=1e-4)
