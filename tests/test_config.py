"""conf/*.json: what a user can get wrong in them, and what the message then says."""

import json

import pytest

from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.config import load_captcha_config, load_sample_config
from cnnlib.errors import ConfigError
from cnnlib.paths import PROJECT_ROOT, ProjectPath

SHIPPED = PROJECT_ROOT / "conf"


def test_shipped_configs_load_and_agree():
    for samples, captchas in (
        ("sample_config", "captcha_config"),
        ("demo_config", "demo_captcha_config"),
    ):
        sample = load_sample_config(SHIPPED / f"{samples}.json")
        captcha = load_captcha_config(SHIPPED / f"{captchas}.json")
        assert captcha.root_dir == sample.origin_image_dir
        assert (captcha.width, captcha.height) == (sample.image_width, sample.image_height)
        assert captcha.char_count == sample.max_captcha
        assert set(captcha.characters) <= set(sample.char_set)
        assert (captcha.image_suffix,) == sample.image_suffix


def test_default_paths_are_relative_to_the_folder_above_conf(project, monkeypatch):
    monkeypatch.chdir("/")
    assert project.sample.labels_json_file.full == project.root / "gen_image" / "labels.json"
    assert project.sample.log_dir.full == project.root / "logs"
    assert project.sample.root == project.root


def test_overrides_replace_keys_with_the_same_checks(project):
    assert load_sample_config(project.config_path, seed=7, cycle_stop=None).seed == 7
    assert project.sample.cycle_stop == 20
    with pytest.raises(ConfigError, match="'cycle_stop' is 0; it must be a whole number of at le"):
        load_sample_config(project.config_path, cycle_stop=0)


@pytest.mark.parametrize("none", ["", False])
def test_a_path_that_may_be_left_out(project, none):
    assert project.sample.teacher == ""
    project.change(teacher=none)
    assert project.sample.teacher == ""
    project.change(teacher="model/big/")
    assert project.sample.teacher == ProjectPath("model/big/", project.root)


def error_of(project):
    with pytest.raises(ConfigError) as caught:
        _ = project.sample
    assert str(project.config_path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("image_width", "100", "whole number of at least 1"),
        ("image_width", 100.0, "whole number of at least 1"),
        ("image_width", True, "whole number of at least 1"),
        ("max_captcha", 0, "whole number of at least 1"),
        ("train_batch_size", -1, "whole number of at least 1"),
        ("seed", -1, "whole number of at least 0"),
        ("acc_stop", 0, "above 0 and at most 1"),
        ("acc_stop", 99, "above 0 and at most 1"),
        ("acc_stop", True, "above 0 and at most 1"),
        ("enable_gpu", "yes", "true or false"),
        ("use_labels_json_file", "True", "true or false"),
        ("image_suffix", "psd", "one of png, jpg"),
        ("image_suffix", 1, "suffix"),
        ("image_suffix", [], "a list of suffixes"),
        ("image_suffix", ["png", "psd"], "one of png, jpg"),
        ("image_suffix", ["png", 1], "suffix"),
        ("remote_url", "127.0.0.1:6100", "http://"),
        ("model_save_dir", 3, "a path in quotes"),
        ("model_save_dir", "", "a path in quotes"),
        ("network", "vgg", "one of resnet_attention, resnet_attention_wide, resnet"),
        ("recipe", "best", "one of default, specification"),
        ("teacher", True, "a path in quotes"),
        ("teacher", ["model/"], "a path in quotes"),
        ("char_set", 123, "a string, or a list"),
        ("char_set", "", "is empty"),
        ("char_set", ["a", "bc"], "'bc': every entry must be one character"),
        ("char_set", "abcab", "'a', 'b' more than once"),
        ("min_captcha", 3, "at most max_captcha, 2"),
        ("resize", "crop", 'true or false, or "pad" or "stretch"'),
        ("image_channels", 4, "1 (gray) or 3 (colour)"),
        ("ignore_case", "yes", "true or false"),
        ("label_separator", "", "one or more of _ - #"),
        ("label_separator", "a", "one or more of _ - #"),
    ],
)
def test_wrong_value_is_named_with_its_key(project, key, value, expected):
    project.change(**{key: value})
    message = error_of(project)
    assert f"'{key}'" in message and expected in message


def test_unknown_key_names_the_nearest(project):
    project.change(cycle_stopp=10)
    assert error_of(project).endswith(
        "unknown key 'cycle_stopp'; the nearest known key is 'cycle_stop'"
    )


def test_missing_key(project):
    values = json.loads(project.config_path.read_text(encoding="utf-8"))
    del values["max_captcha"]
    project.config_path.write_text(json.dumps(values), encoding="utf-8")
    assert "key 'max_captcha' is missing" in error_of(project)


def test_duplicate_key(project):
    text = project.config_path.read_text(encoding="utf-8")
    project.config_path.write_text('{"seed": 1, "seed": 2, ' + text[1:], encoding="utf-8")
    assert "key 'seed' occurs twice" in error_of(project)


@pytest.mark.parametrize("mark", ["#", "//"])
def test_comment_is_named_with_its_line(project, mark):
    project.config_path.write_text(
        f'{{\n  "remote_url": "http://host/#part",\n  "seed": 1,  {mark} as in the README\n}}',
        encoding="utf-8",
    )
    message = error_of(project)
    assert f"line 3: JSON has no comments; remove the '{mark}'" in message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            '"remote_url": "http://host/captcha/,',
            "Invalid control character; end the text with",
        ),
        ("'seed': 1", "line 2: texts are in straight double quotes, not in '"),
        ("\u201cseed\u201d: 1", "line 2: texts are in straight double quotes, not in \u201c"),
        ('"origin_image_dir": "C:\\users\\x"', "a Windows path has / or \\\\ where it has \\"),
    ],
)
def test_fault_in_json_is_said_with_its_line_and_a_remedy(project, line, said):
    text = f'{{\n  {line}\n  "char_set": "ab", "api_url": "http://host:6000/b"\n}}'
    project.config_path.write_text(text, encoding="utf-8")
    assert said in error_of(project)


def test_paths_that_mean_something_else_in_json(project, monkeypatch):
    project.change(origin_image_dir="C:\new\train")
    assert "it must be a path; in JSON one of Windows has /" in error_of(project)
    monkeypatch.setenv("HOME", str(project.root / "home"))
    monkeypatch.setenv("USERPROFILE", str(project.root / "home"))
    project.change(origin_image_dir="~/captchas/")
    assert project.sample.origin_image_dir.full == project.root / "home" / "captchas"


@pytest.mark.parametrize("char_set", ["0-9", "0-9a-z", "A-Za-z"])
def test_ranges_are_not_expanded(project, char_set):
    project.change(char_set=char_set)
    assert "one after the other: ranges are not expanded" in error_of(project)
    project.change(char_set=list(dict.fromkeys(char_set)))
    assert "-" in project.sample.char_set


def test_address_in_capitals(project):
    project.change(api_url="HTTP://host:6000/b")
    assert project.sample.api_url == "HTTP://host:6000/b"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_json_that_is_nested_too_deeply(project, text):
    project.config_path.write_text(text, encoding="utf-8")
    assert "is nested too deeply" in error_of(project)


def test_broken_json_is_named_with_line_and_column(project):
    project.config_path.write_text('{\n  "seed": 1\n  "recipe": 2\n}', encoding="utf-8")
    assert "line 3, column 3" in error_of(project)


def test_json_that_is_not_an_object(project):
    project.config_path.write_text("[1]", encoding="utf-8")
    assert "expected a JSON object" in error_of(project)


def test_byte_order_mark_is_accepted_and_other_encodings_are_refused(project):
    text = project.config_path.read_text(encoding="utf-8")
    project.config_path.write_text(text, encoding="utf-8-sig")
    assert project.sample.max_captcha == 2
    project.config_path.write_bytes(text.replace("0123", "验证").encode("gbk"))
    assert "is not UTF-8" in error_of(project)


def test_missing_file_is_named():
    with pytest.raises(ConfigError, match="nowhere.json does not exist"):
        load_sample_config("conf/nowhere.json")


def test_same_folder_twice(project):
    project.change(train_image_dir="sample/../sample/origin")
    message = error_of(project)
    assert "'origin_image_dir' and 'train_image_dir' are the same folder" in message


def test_labels_file_is_the_char_set_where_it_is_on(project):
    project.change(use_labels_json_file=True)
    labels = project.root / "gen_image" / "labels.json"
    with pytest.raises(ConfigError, match="labels.json does not exist.*collect_labels.py"):
        _ = project.sample
    labels.parent.mkdir()
    labels.write_text('["验", "证", "a"]', encoding="utf-8")
    assert project.sample.char_set == ("验", "证", "a")
    for wrong in ('{"a": 1}', '["ab"]', '["a", "a"]', "[1]", "[]"):
        labels.write_text(wrong, encoding="utf-8")
        with pytest.raises(ConfigError, match="labels.json"):
            _ = project.sample


@pytest.mark.parametrize(
    ("value", "resize"),
    [(False, ""), (0, ""), (True, "pad"), ("pad", "pad"), ("stretch", "stretch")],
)
def test_spec_has_the_keys_that_say_what_the_captcha_is(project, value, resize):
    project.change(resize=value, min_captcha=1, image_channels=3, ignore_case=True, char_set="aAb")
    assert project.sample.spec == CaptchaSpec(24, 40, 2, ("a", "b"), 1, 3, resize, True)


def test_captcha_config(project):
    values = json.loads(project.captcha_config_path.read_text(encoding="utf-8"))
    values |= {"fonts": ["fonts/a.ttf"], "count": 0, "image_suffix": ".JPG"}
    project.captcha_config_path.write_text(json.dumps(values), encoding="utf-8")
    captcha = project.captcha
    assert captcha.fonts[0].full == project.root / "fonts" / "a.ttf"
    assert (captcha.count, captcha.image_suffix, captcha.characters) == (0, "jpg", tuple("0123"))
    values["fonts"] = "fonts/a.ttf"
    project.captcha_config_path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ConfigError, match="'fonts' is .* it must be a list of paths"):
        _ = project.captcha


def test_lengths_of_practice_captchas_are_checked(project):
    values = json.loads(project.captcha_config_path.read_text(encoding="utf-8"))
    assert project.captcha.min_char_count == 2
    for changed, expected in (
        ({"min_char_count": 3}, "'min_char_count' is 3; it must be at most char_count, 2"),
        ({"style": "comic"}, "'style' is 'comic'; it must be one of captcha, outline"),
    ):
        project.captcha_config_path.write_text(json.dumps(values | changed), encoding="utf-8")
        with pytest.raises(ConfigError, match=expected):
            _ = project.captcha


@pytest.mark.parametrize(
    ("given", "read"),
    [("png", ("png",)), (".JPG", ("jpg",)), (["png", ".JPEG", "png"], ("png", "jpeg"))],
)
def test_suffix_is_one_or_several(project, given, read):
    project.change(image_suffix=given)
    assert project.sample.image_suffix == read
