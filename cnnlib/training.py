"""Train a network on labelled images: the recipes, the graph, and how a run begins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from cnnlib import augmentation, console, dataset, encoding, image_set, model_folder, plots
from cnnlib.architectures import NETWORKS, TrainableWeights, Weights
from cnnlib.config import AnyPath, ProjectPath, SampleConfig
from cnnlib.dataset import Rules
from cnnlib.encoding import NO_CHARACTER
from cnnlib.errors import SampleError
from cnnlib.image_set import ImageSet
from cnnlib.model_folder import ModelInfo
from cnnlib.network import CNN, DEFAULT_NETWORK, Tensor, gpu_names, session_options
from cnnlib.recognizer import Prediction, Recognizer
from cnnlib.training_loop import TrainingLoop, TrainingResult

PICTURE = "recognized.png"


@dataclass(frozen=True)
class Recipe:
    """How weights are learned; the learning rate rises linearly, then falls along a cosine."""

    peak_rates: Mapping[str, float]  # of each network; batch norm bears a higher one
    warm_up: float  # share of the steps; 0 keeps the rate constant
    weight_decay: float  # of kernels, decoupled (Loshchilov and Hutter 2019)
    keep_prob: float
    label_smoothing: float  # Szegedy et al. 2016
    augment: bool
    sigmoid: bool  # every class of every character is a yes or no of its own

    def rate(self, network: str, step: int, steps: int, new_kind_at: int = 0) -> float:
        """Return the learning rate of a step, counted from 1, in a run of so many.

        It rises a second time from the step on, if any, at which images become of a new kind:
        Adam's mean of squared gradients is too small then, and its steps would be too long.
        """
        peak = self.peak_rates[network]
        if not self.warm_up:
            return peak
        rising = max(1, round(self.warm_up * steps))
        if step <= rising:
            return peak * step / rising
        again = min(1.0, (step - new_kind_at + 1) / rising) if 0 < new_kind_at <= step else 1.0
        return again * peak * (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2

    def distortion(self, views: float) -> float:
        """Return the strength of augmentation where each image is seen so many times.

        Images that are seen a few times are new enough as they are.
        """
        return min(1.0, max(0.5, views / FULLY_DISTORTED_VIEWS)) if self.augment else 0.0


FULLY_DISTORTED_VIEWS = 8
MIXED_VIEWS = 15  # from so many on, characters are joined to new images; at 8 not tried
RECIPES = {
    "default": Recipe({"resnet_attention": 2e-2, "resnet_attention_wide": 2e-2, "cnn5": 2e-3},
                      0.07, 0.05, 1.0, 0.05, augment=True, sigmoid=False),
    "specification": Recipe(dict.fromkeys(NETWORKS, 1e-4), 0.0, 0.0, 0.75, 0.0,
                            augment=False, sigmoid=True),
}


class TrainModel(CNN):
    """Train on the images of one folder, and validate on those of another.

    Sizes and lengths that are not given, channels and resize are those of the model in
    model_save_dir; where there is none, those of conf/sample_config.json. `fresh` ignores a model
    that is there.
    """

    def __init__(self, train_img_path: AnyPath, verify_img_path: AnyPath,
                 char_set: str | Iterable[str], model_save_dir: AnyPath, cycle_stop: int,
                 acc_stop: float, cycle_save: int, image_suffix: str, train_batch_size: int,
                 test_batch_size: int, *, image_height: int | None = None,
                 image_width: int | None = None, max_captcha: int | None = None,
                 network: str = DEFAULT_NETWORK, recipe: str = "default", seed: int = 0,
                 log_dir: AnyPath = "logs/", enable_gpu: bool = False, fresh: bool = False,
                 min_captcha: int | None = None, image_channels: int | None = None,
                 resize: str | None = None, label_separator: str = encoding.SEPARATOR,
                 ignore_case: bool = False) -> None:
        super().__init__(
            char_set=char_set, model_save_dir=model_save_dir, network=network,
            **model_folder.completed(
                model_save_dir, ignore_model=fresh, image_height=image_height,
                image_width=image_width, max_captcha=max_captcha, min_captcha=min_captcha,
                image_channels=image_channels, resize=resize))
        self.rules = Rules(self.format, (image_suffix.lstrip("."),), self.char_set,
                           self.min_captcha, self.max_captcha, label_separator, ignore_case)
        self.train_img_path, self.verify_img_path = train_img_path, verify_img_path
        self.cycle_stop, self.acc_stop, self.cycle_save = cycle_stop, acc_stop, cycle_save
        self.image_suffix = image_suffix
        self.train_batch_size, self.test_batch_size = train_batch_size, test_batch_size
        self.recipe_name, self.recipe = recipe, RECIPES[recipe]
        self.seed, self.log_dir = seed, ProjectPath(log_dir)
        self.enable_gpu, self.fresh = enable_gpu, fresh
        self._distortion, self.mixes = 0.0, False  # until the images are counted
        self.is_trial = False

    @classmethod
    def from_config(cls, config: SampleConfig, fresh: bool = False) -> TrainModel:
        return cls(
            config.train_image_dir, config.test_image_dir, config.char_set, config.model_save_dir,
            config.cycle_stop, config.acc_stop, config.cycle_save, config.image_suffix,
            config.train_batch_size, config.test_batch_size, image_height=config.image_height,
            image_width=config.image_width, max_captcha=config.max_captcha,
            network=config.network, recipe=config.recipe, seed=config.seed,
            log_dir=config.log_dir, enable_gpu=config.enable_gpu, fresh=fresh,
            min_captcha=config.min_captcha, image_channels=config.image_channels,
            resize=config.resize, label_separator=config.label_separator,
            ignore_case=config.ignore_case)

    # Public

    def train_cnn(self) -> TrainingResult:
        """Train until cycle_stop, acc_stop, Ctrl-C or SIGTERM; print the specification's lines.

        An acc_stop of 1 ends no run: a small test set is all right by luck sooner or later. Nor
        does one that the weights of the run before reach already, which were to be improved.

        To be called once. A run that was cut off goes on from its last save; after one that ended
        a new one begins on its best weights. Raises SampleError for folders without usable images
        and ModelError for a model that does not fit, is in use, or cannot be saved.
        """
        with self.folder.locked():
            previous = self._previous_model()
            train, test = (self._load(path)
                           for path in (self.train_img_path, self.verify_img_path))
            return self._train(train, test, previous, len(train))

    def try_on(self, train: ImageSet, test: ImageSet, count: int) -> TrainingResult:
        """Train on a part of `count` images as one would on all of them; give no advice."""
        self.is_trial = True
        with self.folder.locked():
            return self._train(train, test, None, count)

    def _train(self, train: ImageSet, test: ImageSet, previous: ModelInfo | None,
               count: int) -> TrainingResult:
        if self.enable_gpu and not gpu_names():
            console.warn("enable_gpu is on, but TensorFlow sees no GPU: training on the "
                         "processor. For NVIDIA: pip install \"tensorflow[and-cuda]\"")
        views = self.cycle_stop * min(self.train_batch_size, count) / count
        self._distortion = self.recipe.distortion(views)
        self.mixes = self.recipe.augment and views >= MIXED_VIEWS and self.max_captcha > 1
        self._build()
        with tf.Session(graph=self.graph, config=session_options(self.enable_gpu)) as session:
            return TrainingLoop(self, session, train, test).run(previous)

    def _previous_model(self) -> ModelInfo | None:
        """Return the model to go on from; raises ModelError where it does not fit."""
        previous = None if self.fresh else self.folder.read()
        if previous is None:
            return None
        wanted = {"image_height": self.image_height, "image_width": self.image_width,
                  "channels": self.format.channels, "resize": self.format.resize,
                  "min_captcha": self.min_captcha, "max_captcha": self.max_captcha,
                  "network": self.network}
        if not set(previous.char_set) <= set(self.char_set):
            wanted["char_set"] = self.char_set
        self.folder.check_fits(
            previous, "Correct conf/, name another model_save_dir, or start over with --fresh",
            **wanted)
        return previous

    def _load(self, folder: AnyPath) -> ImageSet:
        return image_set.load_images(folder, self.rules, cached=True)

    def recognize_captcha(self) -> Prediction:
        """Recognise a random training image; print and draw it with its label and the answer."""
        image = dataset.random_image(self.train_img_path)
        try:
            pixels = self.format.read(image)
        except SampleError as error:
            raise SampleError(f"{image}: {error}; move the image away") from error
        recognizer = Recognizer(self.image_height, self.image_width, self.max_captcha,
                                self.char_set, self.folder.path, min_captcha=self.min_captcha,
                                image_channels=self.format.channels, resize=self.format.resize)
        prediction = recognizer.predict_pixels(pixels[np.newaxis])[0]
        said = f"label {self.rules.label(image.name)}, recognised as {prediction.text}"
        console.say(f"{image}: {said}, confidence {prediction.confidence:.3f}")
        plots.image_plot(pixels, self.folder.full / PICTURE, title=said)
        console.say(f"picture: {self.folder.full / PICTURE}")
        return prediction

    # Graph

    def images(self) -> Tensor:
        """Return standardised images, distorted at random in training."""
        self._still = still = super().images()
        if not self._distortion:
            return still
        images = tf.cond(self.training, lambda: augmentation.distort(still, self._distortion),
                         lambda: still)
        return tf.ensure_shape(images, still.shape)

    def weights(self) -> Weights:
        weights = TrainableWeights(self.training, self.keep_prob)
        self.moving_averages = weights.moving_averages
        return weights

    def _build(self) -> None:
        """Add loss, optimiser and savers to the graph, and close it."""
        with self.graph.as_default():
            tf.set_random_seed(self.seed)  # for the operations that come after it
        self.model()
        with self.graph.as_default():
            self.weight_variables = tf.global_variables()  # with the averages of batch norm
            smoothed = self._targets(self.recipe.label_smoothing)
            loss = tf.reduce_mean(self._losses(smoothed))
            self.losses = self._losses(self._targets(0.0))  # [B], as reported
            self.saliency = self._saliency() if self.mixes else None
            self.rate = tf.placeholder(tf.float32, [], "rate")
            self.train_step = self._train_step(loss)
            self.all_variables = tf.global_variables()  # with the averages of the optimiser
            self.initializer = tf.variables_initializer(self.all_variables)
            self.best_saver = tf.train.Saver(self.weight_variables, max_to_keep=None)
            self.last_saver = tf.train.Saver(max_to_keep=None)
        self.graph.finalize()

    def _targets(self, smoothing: float) -> Tensor:
        """Return the probability of each class, float32 [B, P, C]."""
        end = tf.fill(tf.shape(self.Y), self.classes - 1)
        classes = tf.where(tf.equal(self.Y, NO_CHARACTER), end, self.Y)
        possible = self.possible().astype(np.float32)
        return (tf.one_hot(classes, self.classes) * (1 - smoothing)
                + smoothing * possible / possible.sum(axis=-1, keepdims=True))

    def _losses(self, targets: Tensor) -> Tensor:
        """Return the loss of each image, float32 [B]."""
        if self.recipe.sigmoid:
            return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(
                labels=targets, logits=self.logits), axis=[1, 2])
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(
            labels=targets, logits=self.logits), axis=1)

    def _saliency(self) -> Tensor:
        """Return what each column of an image does for each character of Y, float32 [B, L, W]."""
        scores = tf.reduce_sum(self.logits * tf.one_hot(self.Y, self.classes), axis=-1)  # [B, L]
        gradients = [tf.gradients(scores[:, k], self._still)[0] for k in range(self.max_captcha)]
        return tf.stack([tf.reduce_sum(tf.square(g), axis=[1, 3]) for g in gradients], axis=1)

    def _train_step(self, loss: Tensor) -> Tensor:
        step = tf.train.AdamOptimizer(self.rate).minimize(loss)
        with tf.control_dependencies([step]):
            decay = [kernel.assign_sub(self.rate * self.recipe.weight_decay * kernel)
                     for kernel in tf.trainable_variables() if kernel.op.name.endswith("kernel")]
            return tf.group(*decay, *self.moving_averages)
