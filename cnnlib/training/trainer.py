"""Train a network on labelled images: what `train_model.py` runs."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from cnnlib import plots
from cnnlib.captcha_spec import CaptchaSpec, parse_char_set
from cnnlib.config import BACKBONE, SampleConfig
from cnnlib.console import CONSOLE, Reporter
from cnnlib.cores import usable_cores
from cnnlib.dataset.folders import random_image
from cnnlib.dataset.image_set import ImageSet, load_images
from cnnlib.dataset.images import read_pixels
from cnnlib.dataset.labels import SEPARATOR, parse_suffixes
from cnnlib.dataset.verification import Rules
from cnnlib.errors import SampleError
from cnnlib.exporting.writers import require_onnx
from cnnlib.network import CNN, DEFAULT_NETWORK
from cnnlib.networks.model_folder import ModelInfo, fill_missing
from cnnlib.networks.session import (
    gpu_names,
    open_session,
    session_options,
    threads_in_pool,
)
from cnnlib.paths import AnyPath, ProjectPath
from cnnlib.recognizer import Prediction, Recognizer
from cnnlib.training.cluster import Cluster
from cnnlib.training.cluster_sessions import chief_session, worker_session
from cnnlib.training.distillation import Teacher, read_teacher
from cnnlib.training.graph import TrainingGraph, build
from cnnlib.training.loop import TrainingLoop
from cnnlib.training.options import RunOptions, TrainingResult
from cnnlib.training.self_training import load_unlabelled
from cnnlib.training.worker import Worker

RECOGNIZED_FILE = "recognized.png"


class TrainModel(CNN):
    """Train on the images of one folder, and validate on those of another.

    `spec` is that of the model in model_save_dir where it is not given, with its ignore_case, and
    of conf/sample_config.json where there is no model; so are size and lengths that it leaves out.
    `fresh` ignores a model that is there. Without one the training starts from `start`: "backbone",
    "random", or the folder of another model. `teacher` is the folder of a model of the same captcha
    from whose probabilities this one learns, too. Images without labels in `unlabelled_img_path`
    are learned from where they are as many as those with labels. Raises ConfigError for what cannot
    be used.
    """

    def __init__(
        self,
        train_img_path: AnyPath,
        verify_img_path: AnyPath,
        char_set: str | Iterable[str],
        model_save_dir: AnyPath,
        cycle_stop: int,
        acc_stop: float,
        cycle_save: int,
        image_suffix: str | Sequence[str],
        train_batch_size: int,
        test_batch_size: int,
        *,
        spec: CaptchaSpec | None = None,
        network: str = DEFAULT_NETWORK,
        recipe: str = "default",
        seed: int = 0,
        label_separator: str = SEPARATOR,
        log_dir: AnyPath = "logs/",
        enable_gpu: bool = False,
        fresh: bool = False,
        start: AnyPath = BACKBONE,
        teacher: AnyPath = "",
        export_onnx: bool = False,
        test_time_augmentation: bool = True,
        unlabelled_img_path: AnyPath = "",
        cluster: Cluster | None = None,
        reporter: Reporter = CONSOLE,
    ) -> None:
        spec = dataclasses.replace(
            fill_missing(spec, model_save_dir, ignore_model=fresh),
            char_set=parse_char_set(char_set),
        )
        super().__init__(
            spec.image_height,
            spec.image_width,
            spec.max_captcha,
            spec.char_set,
            model_save_dir,
            spec=spec,
            network=network,
        )
        self.rules = Rules(spec, parse_suffixes(image_suffix), label_separator)
        self.train_img_path, self.verify_img_path = train_img_path, verify_img_path
        self.unlabelled_img_path = unlabelled_img_path
        self.options = RunOptions(
            cycle_stop=cycle_stop,
            acc_stop=acc_stop,
            cycle_save=cycle_save,
            train_batch_size=train_batch_size,
            test_batch_size=test_batch_size,
            recipe_name=recipe,
            seed=seed,
            log_dir=ProjectPath(log_dir),
            enable_gpu=enable_gpu,
            start=start,
            teacher=teacher,
            export_onnx=export_onnx,
            test_time_augmentation=test_time_augmentation,
            cluster=cluster,
        )
        self.fresh = fresh
        self._reporter = reporter

    @classmethod
    def from_config(
        cls,
        config: SampleConfig,
        fresh: bool = False,
        reporter: Reporter = CONSOLE,
        cluster: Cluster | None = None,
    ) -> TrainModel:
        return cls(
            config.train_image_dir,
            config.test_image_dir,
            config.char_set,
            config.model_save_dir,
            config.cycle_stop,
            config.acc_stop,
            config.cycle_save,
            config.image_suffix,
            config.train_batch_size,
            config.test_batch_size,
            spec=config.spec,
            network=config.network,
            recipe=config.recipe,
            seed=config.seed,
            label_separator=config.label_separator,
            log_dir=config.log_dir,
            enable_gpu=config.enable_gpu,
            fresh=fresh,
            start=config.start,
            teacher=config.teacher,
            export_onnx=config.export_onnx,
            test_time_augmentation=config.test_time_augmentation,
            unlabelled_img_path=config.unlabelled_image_dir if config.self_training else "",
            cluster=cluster,
            reporter=reporter,
        )

    def train_cnn(self) -> TrainingResult:
        """Train until cycle_stop, acc_stop, Ctrl-C or SIGTERM; report the lines of version 2.

        An acc_stop of 1 ends no run: a small test set reaches it by luck. Nor does one that the
        weights of the run before reach already, which were to be improved.

        To be called once. A run that was cut off goes on from its last save; after one that ended
        a new one begins on its best weights. Raises SampleError for folders without usable images
        and ModelError for a model or a teacher that does not fit, and for a model that is in use or
        cannot be saved.
        """
        if self.options.export_onnx:
            require_onnx()  # before hours of training
        with self.folder.locked(self._reporter):
            if self.teacher:  # read before the images, which take longer
                self._reporter.say(f"teacher   {self.teacher.name}")
            previous = self._previous_model()
            train, test, unlabelled = self._load()
            return self._train(train, test, previous, len(train), unlabelled)

    def work_for_chief(self) -> None:
        """Compute this worker's share of each step of a run, until the chief ends it.

        Nothing is written. Raises SampleError for folders without usable images.
        """
        train, test, unlabelled = self._load()
        graph, options = self.build_graph(len(train)), self.options
        assert graph.replication is not None, "a worker is one of a cluster"
        stop, wanted = threading.Event(), session_options(options.enable_gpu)
        with worker_session(graph.replication, wanted, stop, self._reporter) as session:
            Worker(
                self,
                graph,
                graph.replication,
                session,
                options,
                train,
                test,
                unlabelled,
                stop,
                self._reporter,
            ).run()

    def train_subset(
        self, train: ImageSet, test: ImageSet, count: int, unlabelled: ImageSet | None = None
    ) -> TrainingResult:
        """Train on a part of `count` images as one would on all of them; give no advice.

        For an empty model_save_dir. Raises ModelError where it is in use or cannot be written.
        """
        with self.folder.locked(self._reporter):
            return self._train(train, test, None, count, unlabelled, advises=False)

    def _load(self) -> tuple[ImageSet, ImageSet, ImageSet | None]:
        """Return images to learn from, to test with, and without labels."""
        train, test = (
            load_images(path, self.rules, cached=True, reporter=self._reporter)
            for path in (self.train_img_path, self.verify_img_path)
        )
        return train, test, self._load_unlabelled(train, test)

    def _load_unlabelled(self, train: ImageSet, test: ImageSet) -> ImageSet | None:
        settings = self.options.recipe.self_training
        if not settings or not self.unlabelled_img_path:
            return None
        folder = ProjectPath(self.unlabelled_img_path)
        return load_unlabelled(
            folder, self.rules, train, test, settings, self.options.seed, self._reporter
        )

    @functools.cached_property
    def teacher(self) -> Teacher | None:
        """The teacher that the options name; raises ConfigError or ModelError for an unfit one."""
        return read_teacher(self.options.teacher, self) if self.options.teacher else None

    def build_graph(self, count: int) -> TrainingGraph:
        """Build and close the graph for a training set of `count` images; to be called once."""
        options, views = self.options, self._views(count)
        return build(
            self,
            options.recipe,
            options.seed,
            distortion=options.recipe.distortion(views),
            splices=options.recipe.splices(views, self.max_captcha),
            teacher=self.teacher,
            cluster=options.cluster,
        )

    def _views(self, count: int) -> float:
        """Return how often a run sees each image of a training set of this size."""
        return self.options.cycle_stop * min(self.options.train_batch_size, count) / count

    def _train(
        self,
        train: ImageSet,
        test: ImageSet,
        previous: ModelInfo | None,
        count: int,
        unlabelled: ImageSet | None = None,
        *,
        advises: bool = True,
    ) -> TrainingResult:
        options = self.options
        if options.enable_gpu and not gpu_names():
            self._reporter.warn(
                "enable_gpu is on, but TensorFlow sees no GPU: training on the "
                'processor. For NVIDIA: pip install "tensorflow[and-cuda]"'
            )
        graph = self.build_graph(count)
        if threads_in_pool() < usable_cores():
            self._reporter.warn(
                f"a Recognizer was used before in this process, so TensorFlow trains on "
                f"{threads_in_pool()} of {usable_cores()} cores: train in a process of its own, or "
                "before the first Recognizer"
            )
        with self._open_session(graph) as session:
            loop = TrainingLoop(
                self,
                graph,
                session,
                options,
                train,
                test,
                self._reporter,
                views=self._views(count),
                unlabelled=unlabelled,
                advises=advises,
            )
            return loop.run(previous)

    def _open_session(self, graph: TrainingGraph) -> AbstractContextManager[Any]:
        options = session_options(self.options.enable_gpu)
        if graph.replication is None:
            return open_session(self.graph, options)
        return chief_session(graph.replication, graph.initializer, options, self._reporter)

    def _previous_model(self) -> ModelInfo | None:
        """Return the model to go on from; raises ModelError where it does not fit."""
        previous = None if self.fresh else self.folder.read()
        if previous is None:
            return None
        known = set(previous.spec.char_set) <= set(self.char_set)
        self.folder.check_fits(
            previous,
            # A char_set that has grown fits.
            dataclasses.replace(self.spec, char_set=previous.spec.char_set) if known else self.spec,
            self.network,
            "Correct conf/, name another model_save_dir, or start over with --fresh",
        )
        return previous

    def recognize_captcha(self) -> Prediction:
        """Recognise a random training image; report and draw it with its label and the answer.

        Raises SampleError where the folder has no usable image, ModelError where no model is.
        """
        image = random_image(self.train_img_path)
        try:
            pixels = read_pixels(image, self.spec)
        except SampleError as error:
            raise SampleError(f"{image}: {error}; move the image away") from error
        with Recognizer.from_spec(self.spec, self.folder.path) as recognizer:
            prediction = recognizer.predict_pixels(pixels[np.newaxis])[0]
        label = self.rules.labels().label(image.name)
        words = f"label {label}, recognised as {prediction.text}"
        self._reporter.say(f"{image}: {words}, confidence {prediction.confidence:.3f}")
        picture = self.folder.full / RECOGNIZED_FILE
        plots.image_plot(pixels, picture, title=words)
        self._reporter.say(f"picture: {picture}")
        return prediction
