"""Test a trained model on a folder of labelled images."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnnlib import console, plots
from cnnlib.captcha_spec import CaptchaSpec, parse_char_set
from cnnlib.config import AUTO, SampleConfig
from cnnlib.config_reader import IMAGE_SUFFIXES
from cnnlib.console import CONSOLE, Reporter
from cnnlib.dataset.image_set import load_images
from cnnlib.dataset.images import open_image
from cnnlib.dataset.labels import SEPARATOR, file_name, parse_suffixes
from cnnlib.dataset.verification import Rules
from cnnlib.errors import CaptchaError
from cnnlib.evaluation import metrics
from cnnlib.evaluation.metrics import Coverage
from cnnlib.explanation import CharExplanation, heat_map
from cnnlib.files import read_bytes, replacing
from cnnlib.networks.model_folder import fill_missing
from cnnlib.onnx_recognizer import OnnxRecognizer
from cnnlib.packages import is_installed
from cnnlib.paths import AnyPath, ProjectPath
from cnnlib.runtimes import AutoRecognizer, recognizer_of
from cnnlib.text_reader import Prediction

MAX_LISTED_ERRORS = 10  # confusions, and wrong answers
MAX_EXPLAINED = 50  # wrong answers, in pictures


@dataclass(frozen=True)
class WrongAnswer:
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
    wrong: list[WrongAnswer]
    calibration_error: float
    coverage: list[Coverage]

    @property
    def image_accuracy(self) -> float:
        return self.right / self.total


class TestBatch:
    """Recognise the images of a folder, or `total` of them chosen by the seed, and count.

    `spec` is that of the model where it is not given, with its ignore_case; `runtime` and
    `test_time_augmentation` say how it recognises, as in a config. Raises ModelError where the
    folder holds no model, or another one, and ConfigError for a char_set that cannot be used.
    """

    __test__ = False  # the name begins as pytest's own do

    def __init__(
        self,
        img_path: AnyPath,
        char_set: str | Iterable[str],
        model_save_dir: AnyPath,
        total: int | None = None,
        *,
        spec: CaptchaSpec | None = None,
        image_suffix: str | Sequence[str] | None = None,
        label_separator: str = SEPARATOR,
        seed: int = 0,
        runtime: str = AUTO,
        test_time_augmentation: bool = True,
        reporter: Reporter = CONSOLE,
    ) -> None:
        self.img_path, self.total, self.seed = ProjectPath(img_path), total, seed
        spec = dataclasses.replace(
            fill_missing(spec, model_save_dir), char_set=parse_char_set(char_set)
        )
        self.recognizer = recognizer_of(
            spec, model_save_dir, runtime, test_time_augmentation=test_time_augmentation
        )
        suffixes = parse_suffixes(image_suffix) if image_suffix else IMAGE_SUFFIXES
        self.rules = Rules(spec, suffixes, label_separator)
        self._reporter = reporter

    @classmethod
    def from_config(
        cls, config: SampleConfig, total: int | None = None, reporter: Reporter = CONSOLE
    ) -> TestBatch:
        return cls(
            config.test_image_dir,
            config.char_set,
            config.model_save_dir,
            total,
            spec=config.spec,
            image_suffix=config.image_suffix,
            label_separator=config.label_separator,
            seed=config.seed,
            runtime=config.runtime,
            test_time_augmentation=config.test_time_augmentation,
            reporter=reporter,
        )

    def test_batch(self) -> BatchResult:
        """Report the line of version 2 (docs/en/version-2.md, 3.1) and more, and return all of it.

        Raises SampleError where the folder holds no usable image.
        """
        began_s = time.perf_counter()
        rng = np.random.default_rng(self.seed)
        images = load_images(
            self.img_path, self.rules, limit=self.total, rng=rng, reporter=self._reporter
        )
        predictions = self.recognizer.predict_pixels(images.pixels)
        seconds = time.perf_counter() - began_s
        labels = images.labels(self.recognizer.char_set)
        result = compare(images.names, labels, predictions, seconds)
        for line in summary(result):
            self._reporter.say(line)
        return result

    def save_errors(self, result: BatchResult, folder: AnyPath) -> None:
        """Copy the wrong images to a folder, under their names with the answer before them.

        The MAX_EXPLAINED least certain get a picture each, NAME_explained.png: the answer, what
        else each character could be, and where the network looked. An exported file and a machine
        without matplotlib give none. Raises CaptchaError where something cannot be written.
        """
        target = ProjectPath(folder).full
        try:
            target.mkdir(parents=True, exist_ok=True)
            for item in result.wrong:
                data = read_bytes(self.img_path.full / item.name)
                with replacing(target / _copy_name(item)) as temporary:
                    temporary.write_bytes(data)
        except OSError as error:
            raise CaptchaError(
                f"cannot copy wrong images to {target}: {error.strerror or error}; free some "
                "space, make the folder writable, or name another folder"
            ) from error
        self._reporter.say(
            f"{len(result.wrong)} wrong images copied to {target}, named answer_for_label_serial"
        )
        if result.wrong:
            self._reporter.say(self._explain(result.wrong, target))

    def _explain(self, wrong: list[WrongAnswer], target: Path) -> str:
        """Draw pictures of wrong answers, the least certain first, and return what was done."""
        recognizer = self.recognizer
        if isinstance(recognizer, AutoRecognizer):
            recognizer = recognizer.chosen
        if isinstance(recognizer, OnnxRecognizer):
            return (
                "no pictures explain them: model.onnx gives answers alone; the runtime tensorflow "
                "(--runtime tensorflow) draws them"
            )
        if not is_installed("matplotlib"):
            return "no pictures explain them: matplotlib is not installed"
        drawn = wrong[:MAX_EXPLAINED]
        for item in self._reporter.progress(drawn, "drawing"):
            with open_image(self.img_path.full / item.name) as image:
                explanation = recognizer.explain(image)
                pixels = recognizer.pixels_of(image)
            answer = explanation.prediction
            plots.explanation_plot(
                pixels,
                [_panel(character, pixels) for character in explanation.characters],
                target / f"{Path(_copy_name(item)).stem}_explained.png",
                title=f"label {item.label}, read as {answer.text}, confidence "
                f"{answer.confidence:.3f}",
            )
        which = "each is" if len(drawn) == len(wrong) else f"the {len(drawn)} least certain are"
        return f"{which} explained in a picture next to it, named ..._explained.png"


def _copy_name(item: WrongAnswer) -> str:
    answer = file_name(item.prediction.text, "x").partition(SEPARATOR)[0]
    return f"{answer}_for_{item.name}"


def _panel(character: CharExplanation, pixels: np.ndarray) -> tuple[str, str, np.ndarray]:
    """Return what a picture shows of a character: two texts, and the heat map over the pixels."""
    return (
        f"{character.character}  {character.confidence:.3f}",
        "\n".join(f"{other}  {probability:.3f}" for other, probability in character.runners_up),
        heat_map(character.attention, (pixels.shape[0], pixels.shape[1])),
    )


def compare(
    names: list[str], labels: list[str], predictions: list[Prediction], seconds: float
) -> BatchResult:
    """Compare predictions with the labels of the same images, of which there is at least one."""
    triples = list(zip(names, labels, predictions, strict=True))
    wrong = [WrongAnswer(*triple) for triple in triples if triple[2].text != triple[1]]
    wrong.sort(key=lambda item: item.prediction.confidence)
    right_chars = sum(metrics.right_characters(label, p.text) for _, label, p in triples)
    confidences = np.array([p.confidence for p in predictions])
    right = np.array([p.text == label for _, label, p in triples])
    return BatchResult(
        len(labels),
        len(labels) - len(wrong),
        seconds,
        right_chars / sum(map(len, labels)),
        wrong,
        metrics.calibration_error(confidences, right),
        metrics.coverage(confidences, right),
    )


def summary(result: BatchResult) -> Iterator[str]:
    """Yield the lines that report a batch test."""
    yield console.batch_test_result(result.total, result.seconds, result.image_accuracy)
    low, high = metrics.wilson_interval(result.right, result.total)
    yield (
        f"characters right: {result.char_accuracy:.2%}; images right: {result.right} of "
        f"{result.total}, 95 % interval {low:.1%} to {high:.1%}"
    )
    yield (
        f"confidence is off by {result.calibration_error:.2%} on average "
        "(calibration error)\nanswer only above a confidence of:"
    )
    for row in result.coverage:
        right = "" if row.accuracy is None else f", {row.accuracy:.2%} of those right"
        yield f"  {row.threshold:.2f}: {row.answered:6.2%} answered{right}"
    pairs = metrics.confusions((w.label, w.prediction.text) for w in result.wrong)
    if pairs:
        yield f"most frequent confusions: {confusions_in_words(pairs)}"
        yield f"least certain of the {len(result.wrong)} wrong answers:"
    for item in result.wrong[:MAX_LISTED_ERRORS]:
        yield (
            f"  {item.name}: read as {item.prediction.text}, confidence "
            f"{item.prediction.confidence:.3f}"
        )


def confusions_in_words(pairs: list[tuple[str, str, int]]) -> str:
    """Return the most frequent of (true character, answer, count)."""
    return ", ".join(
        f"{true} read as {read} ({count})" for true, read, count in pairs[:MAX_LISTED_ERRORS]
    )
