"""Each fault of a data set or a training is said in one line; of a sound one nothing is said."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

import doctor as script
from cnnlib import doctor
from cnnlib.image_set import ImageSet
from cnnlib.metrics import Scores


def image_set(count, classes=4, length=2, seed=0):
    rng = np.random.default_rng(seed)
    return ImageSet([f"{seed}_{i}.png" for i in range(count)],
                    rng.integers(0, 256, (count, 24, 40), np.uint8),
                    rng.integers(0, classes, (count, length)).astype(np.int32))


@pytest.fixture
def train():
    return image_set(400)


@pytest.fixture
def test():
    return image_set(2000, seed=1)


def test_nothing_is_said_of_good_images(train, test):
    assert doctor.examine(train, test, "0123") == []


def test_same_pixels_with_different_labels(train, test):
    train.pixels[7] = train.pixels[3]
    train.char_ids[7], train.char_ids[3] = (0, 1), (0, 2)
    [line, copies] = doctor.examine(train, test, "0123")
    assert line.startswith("1 picture has two labels, such as 0_3.png and 0_7.png: remove")
    assert copies.startswith("1 training image is a copy of another")


def test_training_images_in_the_test_set(train, test):
    test.pixels[:3], test.char_ids[:3] = train.pixels[:3], train.char_ids[:3]
    [line] = doctor.examine(train, test, "0123")
    assert line.startswith("3 test images are in the training set too, such as 1_0.png: remove")


def test_blank_images(train, test):
    train.pixels[5] = 255
    test.pixels[1] = 100
    test.pixels[1, 0, 0] = 103
    [line] = doctor.examine(train, test, "0123")
    assert line.startswith("2 images are of one shade, such as 0_5.png: look at them")


def test_characters_that_are_missing_or_rare(train, test):
    train.char_ids[train.char_ids == 3] = 0
    train.char_ids[:2, 1] = 4
    lines = doctor.examine(train, test, "01234xyz")
    assert lines[0].startswith("no image shows x y z: label images that do")
    assert lines[1].startswith("no training image shows 3, but test images do")
    assert lines[2].startswith("fewer than 20 training images show 4 (2): ")


def test_long_lists_of_characters_are_cut(train, test):
    [line] = doctor.examine(train, test, "0123abcdefghijklmnop")
    assert line.startswith("no image shows a b c d e f g h i j and 6 more: ")


@pytest.mark.parametrize(("count", "margin"), [(1, "39.7%"), (50, "5.1%"), (400, "1.4%")])
def test_small_test_set(train, count, margin):
    [line] = doctor.examine(train, image_set(count, seed=1), "0123")
    assert line.startswith(f"a test set of {count} cannot tell 1% apart (95 % interval: give or "
                           f"take {margin})")


# --- while training ---


def lines_of(reports, cycle_stop=1000, chance=0.25):
    """Feed reports, one every 10 steps, of (characters, images, loss of training; images of test).
    """
    watch = doctor.Watch(chance=chance, tested=100, cycle_stop=cycle_stop)
    lines = [watch.look(10 * i, Scores(chars, images, loss), Scores(chars, tested, loss))
             for i, (chars, images, loss, tested) in enumerate(reports, 1)]
    return [line for line in lines if line]


def test_sound_training_is_not_complained_about():
    reports = [(a := min(1.0, 0.2 + i / 60), a, 2 - a, max(0.0, a - 0.05)) for i in range(100)]
    assert lines_of(reports) == []


def test_accuracy_of_guessing_is_said_once():
    [line] = lines_of([(0.26, 0.1, 1.4, 0.1)] * 50)
    assert line.startswith("after 300 steps the answers are no better than guessing: most often "
                           "labels that do not belong to their images")


def test_perfect_answers_of_one_frequent_class_are_not_guessing():
    assert lines_of([(1.0, 1.0, 0.1, 1.0)] * 50, chance=0.7) == []
    assert lines_of([(1.0, 1.0, 0.1, 1.0)] * 50, chance=1.0) == []


def test_training_set_far_above_test_set():
    [line] = lines_of([(0.99, 0.98, 0.1, 0.6)] * 50)
    assert "98% of the training images are right and 60% of the test images" in line
    assert "--forecast" in line


def test_loss_that_stopped_falling():
    falling = [(0.6, 0.4, 2 - i / 50, 0.4) for i in range(50)]
    assert lines_of(falling) == []
    stopped = falling + [(0.6, 0.4, 1.0, 0.4)] * 60
    [line] = lines_of(stopped)
    assert "the loss has stopped falling at 40% of the training images right" in line
    assert lines_of(stopped, cycle_stop=1800) == []  # the rate is still high


def test_guessing_knows_that_classes_are_not_equally_frequent():
    assert doctor.guessing(np.array([[0, 1], [0, 2], [0, 3], [1, 1]])) == (3 / 4 + 2 / 4) / 2


# --- after training ---


def test_labels_that_the_model_holds_for_unlikely_are_doubtful_the_least_likely_first():
    sure, torn = [0.001, 0.001, 0.998], [0.3, 0.3, 0.4]
    probabilities = np.array([[sure, torn], [sure, sure], [torn, torn], [sure, sure]])
    char_ids = np.array([[0, 2], [0, 1], [0, 1], [2, 2]])
    assert doctor.doubtful_labels(doctor.likelihoods(probabilities, char_ids, False)) == [1, 0]


# --- the script ---


def test_script_finds_wrong_labels(trained, tmp_path, capsys):
    project = tmp_path / "project"
    shutil.copytree(trained.root, project)
    wrong = []
    for path in sorted((project / "sample/train").glob("00_*"))[:3]:
        wrong.append(path.with_name(path.name.replace("00_", "11_")))
        path.rename(wrong[-1])
    assert script.main(["--config", str(project / "conf/sample_config.json")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("600 images for training, 40 for testing\n- a test set of 40 cannot")
    assert all(f"  {path.name}: read as " in printed for path in wrong)
    assert f"look at them: {project / 'model/doubtful.png'}" in printed
    with Image.open(project / "model/doubtful.png") as picture:
        assert picture.format == "PNG"


def test_script_without_a_model_looks_at_the_images(project, draw_images, capsys):
    for folder in ("train", "test"):
        draw_images(project.root / "sample" / folder, 5)
    assert script.main(["--config", str(project.config_path)]) == 0
    assert "no model in model/ yet" in capsys.readouterr().out


def test_images_that_cost_much_are_said_with_a_size_that_does_not():
    assert list(doctor.expensive(900_000_000, 400, 200)) == []
    [line] = doctor.expensive(4_000_000_000, 800, 250)
    assert "4.0 GFLOP" in line and "image_width 400 and image_height 125" in line


@pytest.mark.parametrize(("train", "test", "expected"), [
    (0.998, 0.993, ""), (1.0, 0.9, "more images would pay"), (0.95, 0.93, "more steps would pay"),
    (0.0, 0.0, "more steps would pay .600, say"), (0.999, 0.97, "more images"),
])
def test_what_would_bring_most_after_a_training(train, test, expected):
    lines = doctor.advice(Scores(train, train, 0.1), Scores(test, test, 0.1), 300)
    assert re.search(expected, "".join(lines)) and len(lines) == bool(expected)


@pytest.mark.parametrize(("train", "steps", "wider", "said"), [
    (0.87, 3000, "wide", True), (0.87, 3000, "", False), (0.87, 999, "wide", False),
    (0.99, 3000, "wide", False),
])
def test_a_wider_network_is_advised_where_training_images_stay_wrong(train, steps, wider, said):
    lines = doctor.advice(Scores(train, train, 0.1), Scores(0.7, 0.7, 0.1), steps, wider)
    assert len(lines) == 1 + said
    if said:
        assert '"network": "wide"' in lines[1]


def test_a_colour_that_does_not_vary_is_no_blank_image():
    pixels = np.full((3, 10, 20, 3), 255, np.uint8)
    pixels[:2, 2:8, 5:15, 1:] = 0  # red on white
    images = ImageSet(["a_1.png", "b_2.png", "c_3.png"], pixels, np.zeros((3, 1), np.int32))
    [line] = [line for line in doctor.examine(images, images, "0") if "of one shade" in line]
    assert "c_3.png" in line and "a_1.png" not in line
