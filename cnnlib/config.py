"""conf/*.json as checked, frozen dataclasses: a line of each says check, default and meaning.

Relative paths are relative to the project root, the folder above conf/, never to the working
directory. A config outside a folder named conf uses the root of this checkout. The meanings, in
English and Chinese, become the tables of docs/ by docs/config_tables.py.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.config_reader import ConfigReader, one_of, one_of_or_path, read_json
from cnnlib.errors import ConfigError
from cnnlib.paths import PROJECT_ROOT, AnyPath, ProjectPath, resolve_input_path

SAMPLE_CONFIG = "conf/sample_config.json"
CAPTCHA_CONFIG = "conf/captcha_config.json"
NETWORK_NAMES = ("resnet_attention", "resnet_attention_wide", "resnet_attention_small", "cnn5")
BACKBONE, RANDOM = "backbone", "random"  # what a training starts from, if not a model folder
RECIPE_NAMES = ("default", "specification")
AUTO, TENSORFLOW, ONNX = RUNTIME_NAMES = ("auto", "tensorflow", "onnx")
STYLE_NAMES = (
    "captcha",
    "outline",
    "dark",
    "fonts",
    "colours",
    "lines",
    "wave",
    "fisheye",
    "touching",
    "hard",
    "strip",
    "scattered",
    "pycapt",
)


def _key(
    read: Callable[[ConfigReader, str], Any],
    english: str,
    chinese: str,
    default: Any = dataclasses.MISSING,
) -> Any:
    """Return the field of a key; without a default the key must be there."""
    return dataclasses.field(default=default, metadata={"read": read, "en": english, "zh": chinese})


@dataclass(frozen=True)
class SampleConfig:
    """conf/sample_config.json: data, model, training and serving of one kind of captcha."""

    origin_image_dir: ProjectPath = _key(
        ConfigReader.path, "labelled images to verify and split", "待校验和拆分的已标注图片"
    )
    new_image_dir: ProjectPath = _key(
        ConfigReader.path,
        "further labelled images, treated the same",
        "以后增加的已标注图片，处理方式相同",
    )
    train_image_dir: ProjectPath = _key(ConfigReader.path, "training set", "训练集")
    test_image_dir: ProjectPath = _key(ConfigReader.path, "test set", "测试集")
    api_image_dir: ProjectPath = _key(
        ConfigReader.path, "images that the API received", "API 收到的图片"
    )
    online_image_dir: ProjectPath = _key(
        ConfigReader.path,
        "images that `recognize_online.py` fetched",
        "`recognize_online.py` 获取的图片",
    )
    local_image_dir: ProjectPath = _key(
        ConfigReader.path,
        "images that `recognize_local.py` asked about",
        "`recognize_local.py` 识别过的图片",
    )
    model_save_dir: ProjectPath = _key(ConfigReader.path, "the model", "模型")
    image_width: int = _key(
        ConfigReader.count,
        "width of the images, or what they are scaled to, pixels",
        "图片宽度，或缩放后的宽度，像素",
    )
    image_height: int = _key(ConfigReader.count, "height, likewise", "高度，同上")
    max_captcha: int = _key(
        ConfigReader.count, "characters in a label, at most", "标签的最多字符数"
    )
    image_suffix: tuple[str, ...] = _key(
        ConfigReader.suffixes,
        "suffix of the images, or a list of several; images that are saved get the first",
        "图片后缀，或多个后缀的列表；保存的图片使用第一个",
    )
    char_set: tuple[str, ...] = _key(
        ConfigReader.char_set,
        "the characters that occur: a string, or a list of one-character strings",
        "出现的字符：一个字符串，或单字符字符串的列表",
    )
    use_labels_json_file: bool = _key(
        ConfigReader.flag,
        "take them from `labels_json_file` instead",
        "改用 `labels_json_file` 中的字符",
    )
    remote_url: str = _key(
        ConfigReader.url,
        "where `recognize_online.py` fetches captchas",
        "`recognize_online.py` 获取验证码的地址",
    )
    cycle_stop: int = _key(
        ConfigReader.count,
        "training steps, counted from the start of a run",
        "训练步数，从本次训练开始时计算",
    )
    acc_stop: float = _key(
        ConfigReader.share,
        "stop earlier where this share of the test images is right beyond luck (95 % interval), or "
        "their loss no longer falls; `1.0`: never",
        "测试集图片准确率在 95 % 区间内确定达到此值，或测试集的损失不再下降时，提前停止；"
        "`1.0`：从不",
    )
    cycle_save: int = _key(
        ConfigReader.count,
        "steps between two saves; the test set is scored at each",
        "每隔多少步保存一次，并测试整个测试集",
    )
    enable_gpu: bool = _key(ConfigReader.flag, "`1`: train on a GPU", "`1`：用 GPU 训练")
    train_batch_size: int = _key(
        ConfigReader.count, "images in a training step", "每步训练的图片张数"
    )
    test_batch_size: int = _key(
        ConfigReader.count,
        "test images for the lines printed while training",
        "训练中每次输出时使用的测试图片张数",
    )
    labels_json_file: ProjectPath = _key(
        ConfigReader.path,
        "list of characters, written by `collect_labels.py`",
        "字符列表，由 `collect_labels.py` 生成",
        ProjectPath("gen_image/labels.json"),
    )
    log_dir: ProjectPath = _key(
        ConfigReader.path, "curves for TensorBoard", "TensorBoard 曲线", ProjectPath("logs/")
    )
    api_url: str = _key(
        ConfigReader.url,
        "the API that the clients ask",
        "客户端访问的 API",
        "http://127.0.0.1:6000/b",
    )
    network: str = _key(
        one_of(NETWORK_NAMES),
        'or `"resnet_attention_wide"`, for hard captchas, twice the computing; '
        '`"resnet_attention_small"`, for weak machines, a quarter of it; or `"cnn5"`, three '
        "convolutions and two dense layers",
        '或 `"resnet_attention_wide"`：用于困难的验证码，计算量为两倍；'
        '`"resnet_attention_small"`：用于性能较弱的机器，计算量为四分之一；或 `"cnn5"`：'
        "三个卷积层和两个全连接层",
        "resnet_attention",
    )
    recipe: str = _key(
        one_of(RECIPE_NAMES),
        'or `"specification"`: sigmoid loss, no augmentation',
        '或 `"specification"`：sigmoid 损失，无数据增强',
        "default",
    )
    start: AnyPath = _key(
        one_of_or_path((BACKBONE, RANDOM)),
        'weights that a training starts from: `"backbone"`, shipped ones that know letters; '
        '`"random"`; or the folder of another model, every layer that fits',
        '训练的初始权重：`"backbone"` 为随附的、已认识字符的权重；`"random"` 为随机权重；'
        "或另一个模型的文件夹，使用其中所有适用的层",
        BACKBONE,
    )
    teacher: AnyPath = _key(
        ConfigReader.optional_path,
        "folder of a trained model of the same captcha, from whose answers a training learns, too; "
        "`false`: none",
        "同一种验证码的已训练模型的文件夹，训练时同时学习它的识别结果；`false`：无",
        "",
    )
    seed: int = _key(
        ConfigReader.count_or_zero, "for the split and the training", "用于拆分和训练", 0
    )
    api_image_limit: int = _key(
        ConfigReader.count_or_zero,
        "files in `api_image_dir` at most",
        "`api_image_dir` 中最多的文件数",
        20_000,
    )
    min_captcha: int = _key(
        ConfigReader.count_or_zero,
        "fewest characters in a label; `0`: as many as `max_captcha`",
        "标签的最少字符数；`0`：与 `max_captcha` 相同",
        0,
    )
    resize: str = _key(
        ConfigReader.resize,
        '`true`, the same as `"pad"`: images of other sizes are scaled to this one, with their '
        'proportions kept and the rest filled with the background; `"stretch"`: each side is '
        "scaled",
        '`true`，即 `"pad"`：其他尺寸的图片保持宽高比缩放到此尺寸，空余部分用背景色填充；'
        '`"stretch"`：宽和高分别缩放',
        "",
    )
    image_channels: int = _key(ConfigReader.channels, "`3`: colour", "`3`：彩色", 1)
    ignore_case: bool = _key(
        ConfigReader.flag,
        "`true`: upper and lower case are the same, in labels and answers",
        "`true`：标签和识别结果不区分大小写",
        False,
    )
    arithmetic: bool = _key(
        ConfigReader.flag,
        "`true`: the captcha asks a sum, such as `10x4=`; the API adds its `result`",
        "`true`：验证码是算式，如 `10x4=`；API 的响应中增加其 `result`",
        False,
    )
    runtime: str = _key(
        one_of(RUNTIME_NAMES),
        'what recognises: `"tensorflow"`; `"onnx"`, with the file that `export_model.py` wrote; '
        '`"auto"`, the file where it has the newest weights or TensorFlow is not installed',
        '识别所用的库：`"tensorflow"`；`"onnx"`，使用 `export_model.py` 导出的文件；'
        '`"auto"`：导出的文件与最新权重一致，或未安装 TensorFlow 时使用该文件',
        AUTO,
    )
    export_onnx: bool = _key(
        ConfigReader.flag,
        "`true`: a training writes `model.onnx` with each new best; needs "
        "`pip install -r requirements-export.txt`",
        "`true`：训练时每次得到更好的权重都写出 `model.onnx`；需要 "
        "`pip install -r requirements-export.txt`",
        False,
    )
    test_time_augmentation: bool = _key(
        ConfigReader.flag,
        "`true`: where a training found that it helps, each image is read in three shifts, which "
        "takes three times as long; `false`: once",
        "`true`：训练发现有帮助时，把每张图片平移成三份分别识别并取平均，用时为三倍；`false`：只识别一次",
        True,
    )
    unlabelled_image_dir: ProjectPath = _key(
        ConfigReader.path,
        "images without labels, for `webserver_label_images.py` and for trainings",
        "没有标签的图片，用于 `webserver_label_images.py` 和训练",
        ProjectPath("sample/unlabelled/"),
    )
    self_training: bool = _key(
        ConfigReader.flag,
        "`true`: a training learns from the images in `unlabelled_image_dir`, too, where they are "
        "as many as those with labels",
        "`true`：`unlabelled_image_dir` 中的图片不少于有标签的图片时，训练也利用它们",
        True,
    )
    labelling_dir: ProjectPath = _key(
        ConfigReader.path,
        "what `webserver_label_images.py` and `label_loop.py` remember: the journal, the rounds",
        "`webserver_label_images.py` 和 `label_loop.py` 的记录：日志和各轮训练",
        ProjectPath("sample/labelling/"),
    )
    label_separator: str = _key(
        ConfigReader.separator,
        "what separates label and serial in a file name",
        "文件名中标签与序列号之间的分隔符",
        "_",
    )

    @property
    def root(self) -> Path:
        """The project root, which relative paths are relative to."""
        return self.model_save_dir.root

    @property
    def spec(self) -> CaptchaSpec:
        """The kind of captcha."""
        names = (field.name for field in dataclasses.fields(CaptchaSpec))
        return CaptchaSpec(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class CaptchaConfig:
    """conf/captcha_config.json: practice captchas to draw."""

    root_dir: ProjectPath = _key(ConfigReader.path, "where they are written", "保存位置")
    image_suffix: str = _key(ConfigReader.suffix, 'or `"jpg"`', '或 `"jpg"`')
    characters: tuple[str, ...] = _key(ConfigReader.characters, "what is drawn", "可选字符")
    count: int = _key(ConfigReader.count_or_zero, "how many", "张数")
    char_count: int = _key(
        ConfigReader.count, "characters in an image, at most", "每张图片的最多字符数"
    )
    width: int = _key(ConfigReader.count, "pixels", "像素")
    height: int = _key(ConfigReader.count, "pixels", "像素")
    fonts: tuple[ProjectPath, ...] = _key(
        ConfigReader.paths,
        "font files (TrueType, OpenType); none: those of the style",
        "字体文件（TrueType、OpenType）；为空时用该样式自带的字体",
        (),
    )
    style: str = _key(
        one_of(STYLE_NAMES),
        "that of the `captcha` library, or one of `outline`, `dark`, `fonts`, `colours`, `lines`, "
        "`wave`, `fisheye`, `touching`, `hard`, `strip`, whose images are as wide as their text, "
        "`scattered`, whose images are of any width (both need `resize`), or `pycapt`, that of a "
        "library which `pip install -r requirements-practice.txt` installs",
        "`captcha` 库的样式，或 `outline`、`dark`、`fonts`、`colours`、`lines`、`wave`、"
        "`fisheye`、`touching`、`hard`、`strip`、`scattered`、`pycapt` 之一；`strip` 的图片宽度随"
        "文本变化，`scattered` 的图片宽度任意，两者需要 `resize`；`pycapt` 是同名库的样式，用 "
        "`pip install -r requirements-practice.txt` 安装",
        "captcha",
    )
    min_char_count: int = _key(
        ConfigReader.count_or_zero,
        "fewest characters in an image; `0`: as many as `char_count`",
        "图片中的最少字符数；`0`：与 `char_count` 相同",
        0,
    )


def load_sample_config(path: AnyPath = SAMPLE_CONFIG, **overrides: Any) -> SampleConfig:
    """Read a sample config; overrides that are not None replace keys, with the same checks."""
    values, reader = _read(path, SampleConfig, overrides)
    config = SampleConfig(**values)
    _check_folders(config, reader.file)
    if config.min_captcha > config.max_captcha:
        raise reader.error("min_captcha", f"at most max_captcha, {config.max_captcha}")
    return dataclasses.replace(config, min_captcha=config.min_captcha or config.max_captcha)


def load_captcha_config(path: AnyPath = CAPTCHA_CONFIG, **overrides: Any) -> CaptchaConfig:
    """Read a config of practice captchas; overrides that are not None replace keys."""
    values, reader = _read(path, CaptchaConfig, overrides)
    config = CaptchaConfig(**values)
    if config.min_char_count > config.char_count:
        raise reader.error("min_char_count", f"at most char_count, {config.char_count}")
    return dataclasses.replace(config, min_char_count=config.min_char_count or config.char_count)


def _read(
    path: AnyPath, kind: type, overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], ConfigReader]:
    """Return the checked values of the keys that are given, and their reader."""
    file = resolve_input_path(path)
    values = read_json(file)
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected a JSON object with keys and values")
    root = file.parent.parent if file.parent.name == "conf" else PROJECT_ROOT
    given = {name: value for name, value in overrides.items() if value is not None}
    fields = {field.name: field for field in dataclasses.fields(kind)}
    defaults = {  # paths among them, which depend on the root
        name: field.default
        for name, field in fields.items()
        if isinstance(field.default, ProjectPath)
    }
    reader = ConfigReader(
        file, root, {**{n: p.text for n, p in defaults.items()}, **values, **given}, given
    )
    required = (name for name, field in fields.items() if field.default is dataclasses.MISSING)
    reader.check_keys(fields, required)
    return {name: fields[name].metadata["read"](reader, name) for name in reader.values}, reader


def _check_folders(config: SampleConfig, file: Path) -> None:
    known: dict[ProjectPath, str] = {}
    for key in ("origin_image_dir", "new_image_dir", "train_image_dir", "test_image_dir"):
        folder = ProjectPath(os.path.normpath(getattr(config, key)))
        if folder in known:
            raise ConfigError(
                f"{file}: '{known[folder]}' and '{key}' are the same folder; give each its own"
            )
        known[folder] = key
