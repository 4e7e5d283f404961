"""Test a trained model on a folder of labelled images."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cnnlib import console, doctor, encoding, image_set, metrics, model_folder, plots, reading
from cnnlib.config import IMAGE_SUFFIXES, AnyPath, ProjectPath, SampleConfig
from cnnlib.dataset import Rules
from cnnlib.errors import CaptchaError
from cnnlib.image_set import ImageSet
from cnnlib.metrics import Coverage
from cnnlib.recognizer import Prediction, Recognizer

SHOWN = 10  # confusions, and wrong answers
DOUBTED = 20  # labels of a folder
AT_ONCE = 256  # images, between two steps of the progress bar
PICTURE = "doubtful.png"


@dataclass(frozen=True)
class Wrong:
    """A test image whose answer is not its label."""

    name: str
    label: str
    prediction: Prediction


@dataclass(frozen=True)
class BatchResult:
    """What a batch test gave; shares are 0 to 1, `wrong` is sorted, the least certain first."""

    total: int
    right: int
    seconds: float
    char_accuracy: float
    wrong: list[Wrong]
    calibration_error: float
    coverage: list[Coverage]

    @property
    def image_accuracy(self) -> float:
        return self.right / self.total


class TestBatch:
    """Recognise the images of a folder, or `total` of them chosen by the seed, and count.

    What is not given of sizes, lengths, channels and resize is that of the model.
    `label_separator` and `ignore_case` say how labels are read.
    """

    __test__ = False  # the name begins as pytest's own do

    def __init__(self, img_path: AnyPath, char_set: str | Iterable[str], model_save_dir: AnyPath,
                 total: int | None = None, *, image_height: int | None = None,
                 image_width: int | None = None, max_captcha: int | None = None,
                 image_suffix: str | None = None, seed: int = 0,
                 min_captcha: int | None = None, image_channels: int | None = None,
                 resize: str | None = None, label_separator: str = encoding.SEPARATOR,
                 ignore_case: bool = False) -> None:
        self.img_path, self.total, self.seed = ProjectPath(img_path), total, seed
        self.recognizer = model = Recognizer(
            char_set=char_set, model_save_dir=model_save_dir,
            **model_folder.completed(
                model_save_dir, image_height=image_height, image_width=image_width,
                max_captcha=max_captcha, min_captcha=min_captcha, image_channels=image_channels,
                resize=resize))
        suffixes = (image_suffix.lstrip("."),) if image_suffix else IMAGE_SUFFIXES
        self.rules = Rules(model.format, suffixes, model.char_set, model.min_captcha,
                           model.max_captcha, label_separator, ignore_case)

    @classmethod
    def from_config(cls, config: SampleConfig, total: int | None = None) -> TestBatch:
        return cls(config.test_image_dir, config.char_set, config.model_save_dir, total,
                   image_height=config.image_height, image_width=config.image_width,
                   max_captcha=config.max_captcha, image_suffix=config.image_suffix,
                   seed=config.seed, label_separator=config.label_separator,
                   ignore_case=config.ignore_case, min_captcha=config.min_captcha,
                   image_channels=config.image_channels, resize=config.resize)

    def test_batch(self) -> BatchResult:
        """Print the specification's line (3.1) and what is behind it, and return all of it.

        Raises SampleError where the folder holds no usable image.
        """
        recognizer = self.recognizer
        began = time.perf_counter()
        images = image_set.load_images(self.img_path, self.rules, limit=self.total,
                                       rng=np.random.default_rng(self.seed))
        predictions = recognizer.predict_pixels(images.pixels)
        seconds = time.perf_counter() - began
        labels = [encoding.ids_to_label(ids, recognizer.char_set) for ids in images.char_ids]
        wrong = [Wrong(name, label, prediction) for name, label, prediction
                 in zip(images.names, labels, predictions, strict=True)
                 if prediction.text != label]
        wrong.sort(key=lambda item: item.prediction.confidence)
        right_chars = sum(metrics.right_characters(label, p.text)
                          for label, p in zip(labels, predictions, strict=True))
        confidences = np.array([p.confidence for p in predictions])
        right = np.array([p.text == label for label, p in zip(labels, predictions, strict=True)])
        result = BatchResult(
            len(labels), len(labels) - len(wrong), seconds, right_chars / sum(map(len, labels)),
            wrong, metrics.calibration_error(confidences, right),
            metrics.coverage(confidences, right))
        _print(result)
        return result

    def save_errors(self, result: BatchResult, folder: AnyPath) -> None:
        """Copy the wrong images to a folder, under their names with the answer before them."""
        target = ProjectPath(folder).full
        try:
            target.mkdir(parents=True, exist_ok=True)
            for item in result.wrong:
                answer = encoding.file_name(item.prediction.text, "x").partition("_")[0]
                shutil.copy(self.img_path.full / item.name, target / f"{answer}_for_{item.name}")
        except OSError as error:
            raise CaptchaError(f"cannot copy wrong images to {target}: {error.strerror}; name "
                               "another folder") from error
        console.say(f"{len(result.wrong)} wrong images copied to {target}, "
                    "named answer_for_label_serial")


def _print(result: BatchResult) -> None:
    console.batch_test_result(result.total, result.seconds, result.image_accuracy)
    low, high = metrics.wilson_interval(result.right, result.total)
    console.say(f"characters right: {result.char_accuracy:.2%}; images right: {result.right} of "
                f"{result.total}, 95 % interval {low:.1%} to {high:.1%}")
    console.say(f"confidence is off by {result.calibration_error:.2%} on average "
                "(calibration error)\nanswer only above a confidence of:")
    for row in result.coverage:
        right = "" if row.accuracy is None else f", {row.accuracy:.2%} of those right"
        console.say(f"  {row.least_confidence:.2f}: {row.answered:6.2%} answered{right}")
    pairs = metrics.confusions((w.label, w.prediction.text) for w in result.wrong)
    if pairs:
        console.say("most frequent confusions: " + ", ".join(
            f"{true} read as {read} ({count})" for true, read, count in pairs[:SHOWN]))
        console.say(f"least certain of the {len(result.wrong)} wrong answers:")
    for item in result.wrong[:SHOWN]:
        console.say(f"  {item.name}: read as {item.prediction.text}, confidence "
                    f"{item.prediction.confidence:.3f}")


def doubt(config: SampleConfig, train: ImageSet, test: ImageSet) -> None:
    """Recognise all images; print and draw those whose label is doubtful, and the confusions."""
    recognizer = Recognizer.from_config(config)
    doubtful: list[tuple[str, np.ndarray]] = []
    for images, folder in ((train, config.train_image_dir), (test, config.test_image_dir)):
        answers, likelihood = [], []
        for start in console.progress(range(0, len(images), AT_ONCE), "recognising"):
            part = slice(start, start + AT_ONCE)
            probabilities = recognizer.probabilities(images.pixels[part])
            answers += [encoding.ids_to_label(ids, config.char_set)
                        for ids in reading.most_probable(probabilities, recognizer.ends)[0]]
            likelihood.append(doctor.likelihoods(probabilities, images.char_ids[part],
                                                 recognizer.ends))
        labels = [encoding.ids_to_label(ids, config.char_set) for ids in images.char_ids]
        found = doctor.doubtful_labels(np.concatenate(likelihood))
        console.say(f"{len(found)} labels are doubtful in {folder}"
                    + (f", the {DOUBTED} most doubtful:" if len(found) > DOUBTED else ""))
        for i in found[:DOUBTED]:
            console.say(f"  {images.names[i]}: read as {answers[i]}")
            doubtful.append((f"{labels[i]}? or {answers[i]}", images.pixels[i]))
    if doubtful:
        picture = config.model_save_dir.full / PICTURE
        plots.image_grid([pixels for _, pixels in doubtful], [title for title, _ in doubtful],
                         picture)
        console.say(f"look at them: {picture}. Rename those whose label is wrong, and train again")
    pairs = metrics.confusions(zip(labels, answers, strict=True))
    if pairs:
        console.say("confused in the test set: " + ", ".join(
            f"{true} read as {read} ({count})" for true, read, count in pairs[:SHOWN])
            + ". More images with these characters help most")
