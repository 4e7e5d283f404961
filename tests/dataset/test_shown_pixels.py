"""Pixels are those that a browser shows; where more can be shown, more is shown."""

import io
import json
import random
import warnings

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bench.bench_pixels import RESULTS, SAMPLED, is_same
from bench.lib.image_files import (
    HEIGHT,
    RGB,
    WIDTH,
    bmp,
    bmp_pixels,
    cut_out,
    encode,
    exif,
    frames,
    image_files,
    letters,
    picture,
    png,
)
from cnnlib.captcha_spec import CaptchaSpec
from cnnlib.dataset import animations
from cnnlib.dataset.images import (
    FORMATS,
    open_image,
    opened,
    read_pixels,
    shown_size,
    to_pixels,
)
from cnnlib.dataset.verification import verify
from cnnlib.errors import ImageFormatError, ImageSizeError, ImageTooLargeError, SampleError
from tests.dataset.helpers import png as gray_png

FILES = {f"{file.kind}: {file.name}": file.data for file in image_files()}
BROWSER = json.loads(RESULTS.read_text(encoding="utf-8"))["files"]
SPEC = CaptchaSpec(HEIGHT, WIDTH, image_channels=3)
LETTERS = np.array(letters(range(4)))


def shown(data):
    return np.array(open_image(data)).astype(int)


def gray_of(data):
    return read_pixels(data, CaptchaSpec(HEIGHT, WIDTH)).astype(int)


@pytest.mark.parametrize("name", [name for name, result in BROWSER.items() if is_same(result)])
def test_pixels_are_those_of_chromium(name):
    """The values are Chromium's; bench/bench_pixels.py writes them."""
    if name not in FILES:
        pytest.skip("this version of Pillow does not write it")
    width, height = BROWSER[name]["size"]
    expected = np.frombuffer(bytes.fromhex(BROWSER[name]["pixels"]), np.uint8)
    pixels = read_pixels(FILES[name], CaptchaSpec(height, width, image_channels=3))
    sampled = pixels[SAMPLED, SAMPLED].astype(int)
    # Encoders of other versions write other files.
    most = 12 if any(kind in name for kind in ("JPEG", "AVIF", "WebP", "CMYK", "YCCK")) else 2
    assert np.abs(sampled - expected.reshape(sampled.shape)).max() <= most


# --- orientation ---


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_turned_images_have_their_shown_size_before_they_are_decoded(kind, turn):
    data = encode(picture(), kind, exif=exif(turn))
    size = (WIDTH, HEIGHT) if turn < 5 else (HEIGHT, WIDTH)
    with opened(data) as image:
        assert shown_size(image) == size
        with pytest.raises(ImageSizeError, match=f"image of {size[0]}x{size[1]}, expected 9x9"):
            to_pixels(image, CaptchaSpec(9, 9))
    assert open_image(data).size == size
    with Image.open(io.BytesIO(data)) as image:  # as `rec_image` gets it
        pixels = to_pixels(image, CaptchaSpec(size[1], size[0], image_channels=3))
    np.testing.assert_array_equal(pixels, shown(data))


def test_image_that_its_owner_has_turned_is_not_turned_again():
    with Image.open(io.BytesIO(FILES["orientation: JPEG, 6"])) as image:
        turned = image.transpose(Image.Transpose.ROTATE_270)
    assert shown_size(turned) == (HEIGHT, WIDTH)
    to_pixels(turned, CaptchaSpec(WIDTH, HEIGHT))


# --- ends ---


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_jpeg_is_read_without_its_end_and_refused_without_its_pixels(options):
    whole = encode(picture(), "JPEG", quality=90, **options)
    for missing in (1, 2):
        np.testing.assert_array_equal(shown(whole[:-missing]), shown(whole))
    for length in range(len(whole) - 3, 2, -13):
        with pytest.raises(ImageFormatError, match="not a whole image"):
            open_image(whole[:length])


def test_jpeg_file_without_its_end_is_read(tmp_path):
    path = tmp_path / "01_1.jpg"
    path.write_bytes(FILES["end of the file: JPEG without its end marker"])
    np.testing.assert_array_equal(shown(path), shown(path.read_bytes() + b"\xff\xd9"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_half_an_image_is_refused(kind):
    with pytest.raises(ImageFormatError, match="not a whole image"):
        open_image(FILES[f"end of the file: {kind}, half"])


# --- transparency ---


@pytest.mark.parametrize(
    ("colour", "ground"),
    [
        ((0, 0, 0), 255),
        ((200, 20, 20), 255),
        ((211, 211, 211), 255),
        ((255, 255, 255), 0),
        ((255, 255, 150), 0),
    ],
)
def test_text_on_a_transparent_ground_stays_visible(colour, ground):
    pixels = shown(encode(cut_out(colour), "PNG"))
    assert (pixels[0, 0] == ground).all()
    assert np.abs(pixels - ground).max(axis=2).max() > 40


@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 255, 150)])
@pytest.mark.parametrize("noise", [(60, 60, 160), (0, 0, 0), (200, 0, 0)])
def test_light_text_stays_visible_under_dark_lines(colour, noise):
    image = cut_out(colour)
    ImageDraw.Draw(image).line([(0, 2), (WIDTH, HEIGHT - 2)], (*noise, 255))
    pixels = shown(encode(image, "PNG"))
    assert (pixels[-1, 0] == 0).all() and (pixels == colour).all(axis=2).sum() > 50


def test_plates_and_faint_shades_keep_the_white_ground():
    plate = Image.new("RGBA", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(plate)
    draw.rectangle((2, 2, WIDTH - 3, HEIGHT - 3), "white")
    draw.line([(8, 4), (8, HEIGHT - 5)], "black", 3)
    faint = Image.new("RGBA", (WIDTH, HEIGHT))
    ImageDraw.Draw(faint).line([(8, 4), (8, HEIGHT - 5)], (0, 0, 0, 25), 3)
    for image in (plate, faint):
        pixels = shown(encode(image, "PNG"))
        assert (pixels[0, 0] == 255).all() and (pixels[10, 8] < 240).all()


def test_sixteen_bit_gray_gets_the_same_ground():
    values = np.full((HEIGHT, WIDTH), 300)
    values[8:20, 10:14] = 65535
    pixels = gray_of(png(values, 16, 0, [(b"tRNS", (300).to_bytes(2, "big"))]))
    assert pixels[0, 0] == 0 and pixels[10, 12] == 255


# --- animations ---


JOINED = [name for name in FILES if name.startswith("animation: ") and not is_same(BROWSER[name])]


@pytest.mark.parametrize("name", JOINED)
def test_letters_of_all_frames_are_seen(name):
    assert np.abs(gray_of(FILES[name]) - LETTERS).max() <= 2


@pytest.mark.parametrize("name", ["the first frame is the picture", "two pictures"])
def test_first_frame_counts_where_it_is_the_picture_or_frames_contradict(name):
    assert np.abs(gray_of(FILES[f"animation: GIF, {name}"]) - LETTERS).max() <= 2


def test_noise_that_moves_is_not_added():
    images = []
    for i in range(6):
        image = letters(range(4))
        ImageDraw.Draw(image).line((0, 3 + 5 * i, WIDTH, 28 - 5 * i), 90, 1)
        images.append(image)
    np.testing.assert_array_equal(gray_of(frames(images, "GIF")), np.array(images[0]))


def test_letters_are_joined_through_noise_that_moves():
    images = []
    for i in range(6):
        image = letters(j for j in range(4) if j != i % 4)
        ImageDraw.Draw(image).line((0, 3 + 5 * i, WIDTH, 28 - 5 * i), 90, 1)
        images.append(image)
    wrong = np.abs(gray_of(frames(images, "GIF")) - LETTERS) > 40
    assert wrong.mean() < 0.02


def test_pictures_one_after_another_are_not_joined():
    images = [Image.new("L", (WIDTH, HEIGHT), 235) for _ in range(4)]
    for image, text in zip(images, ("8m3k", "wz5t", "8m3k", "wz5t"), strict=True):
        ImageDraw.Draw(image).text((2, 4), text, 30, font_size=20)
    np.testing.assert_array_equal(gray_of(frames(images, "GIF")), np.array(images[0]))


def test_white_letters_of_all_frames_get_one_ground():
    layers = []
    for i in range(4):
        layer = Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, 0))
        layer.putalpha(letters((j for j in range(4) if j != i), 255, 0))
        layers.append(layer)
    pixels = gray_of(frames(layers, "WEBP", lossless=True, exact=True))
    np.testing.assert_array_equal(pixels, np.array(letters(range(4), 255, 0)))


def test_frames_are_decoded_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(animations, "MAX_ANIMATION_PIXELS", 3 * WIDTH * HEIGHT)
    pixels = gray_of(FILES["animation: GIF, one letter in each"])
    np.testing.assert_array_equal(pixels, np.array(letters(range(3))))


def test_gif_whose_later_frames_are_huge_shows_its_first():
    data = bytearray(encode(letters([0]), "GIF"))
    assert data[-1:] == b";"
    huge = b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x4c\x01\0;"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = gray_of(bytes(data[:-1]) + huge)
    np.testing.assert_array_equal(pixels, np.array(letters([0])))


def test_verify_names_animations_that_are_no_single_picture(tmp_path, capsys):
    for i, name in enumerate(("one letter in each", "two pictures")):
        (tmp_path / f"01_{i}.gif").write_bytes(FILES[f"animation: GIF, {name}"])
    assert verify(tmp_path, WIDTH, HEIGHT, "gif") == []
    told = capsys.readouterr().err
    assert "several frames were joined to one picture: 01_0.gif" in told
    assert "frames show different pictures; the first frame counts: 01_1.gif" in told


# --- formats ---


@pytest.mark.parametrize(
    ("start", "encoding"),
    [
        ("<svg xmlns='http://www.w3.org/2000/svg'/>", "utf-8"),
        ("<?xml version='1.0'?>\n<!-- drawn -->\n<svg width='9'/>", "utf-8-sig"),
        ("\n <SVG width='9'></SVG>", "utf-8"),
        ("<?xml version='1.0'?><svg/>", "utf-16"),
    ],
)
def test_svg_is_refused_with_what_to_do(start, encoding, tmp_path):
    path = tmp_path / "a.svg"
    path.write_bytes(start.encode(encoding))
    for source in (path, path.read_bytes()):
        with pytest.raises(
            ImageFormatError, match="SVG is a drawing, not pixels: convert it to PNG"
        ):
            open_image(source)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "ICO", "AVIF"])
def test_formats_with_alpha_look_alike(kind):
    if kind == "AVIF" and "AVIF" not in FORMATS:
        pytest.skip("this Pillow has no AVIF")
    options = {"ICO": {"sizes": [(WIDTH, HEIGHT)]}, "AVIF": {"quality": 100}}.get(kind, {})
    pixels = shown(encode(cut_out((10, 20, 160)), kind, **options))
    assert np.abs(pixels - shown(encode(cut_out((10, 20, 160)), "PNG"))).max() <= 12


@pytest.mark.parametrize("mode", ["RGB", "P", "L", "1"])
def test_icons_of_few_bits_are_read(mode):
    data = encode(picture(mode), "ICO", sizes=[(WIDTH, HEIGHT)], bitmap_format="bmp")
    np.testing.assert_array_equal(shown(data), np.array(picture(mode).convert("RGB")))


def test_icon_says_how_large_its_image_is_whatever_its_list_says():
    large = gray_png(3000, 3000, b"")
    icon = b"\0\0\1\0\1\0" + bytes([9, 9, 0, 0, 1, 0, 32, 0])
    icon += len(large).to_bytes(4, "little") + (22).to_bytes(4, "little") + large
    with pytest.raises(ImageTooLargeError, match="3000x3000"):
        open_image(icon)


def test_bmp_whose_alpha_is_no_alpha_is_opaque():
    np.testing.assert_array_equal(shown(bmp(bmp_pixels(0), 32)), np.array(picture()))


@pytest.mark.parametrize(
    "name",
    ["3 MB of packed text", "3 MB of packed text after the pixels", "3 MB of colour profile"],
)
def test_png_is_read_with_texts_and_profiles_of_any_size(name, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(FILES[f"profiles and texts: PNG, {name}"])
    for source in (path, path.read_bytes()):
        np.testing.assert_array_equal(shown(source), np.array(picture()))


def test_damaged_texts_do_not_matter():
    data = bytearray(png(np.array(picture()), 8, RGB, [(b"tEXt", b"a\0b")]))
    data[data.index(b"tEXt") + 7] ^= 255  # and its check sum is wrong
    np.testing.assert_array_equal(shown(bytes(data)), np.array(picture()))


@pytest.mark.filterwarnings("ignore")  # Pillow tells of what is damaged
def test_damaged_files_raise_nothing_but_errors_of_images():
    random_bytes = random.Random(0)
    # libtiff writes about damage to stderr.
    for name, data in FILES.items():
        for _ in range(4):
            damaged = bytearray(data)
            for _ in range(random_bytes.choice((1, 3, 20))):
                damaged[random_bytes.randrange(len(damaged))] = random_bytes.randrange(256)
            del damaged[random_bytes.randrange(1, 2 * len(damaged)) :]
            try:
                read_pixels(bytes(damaged), SPEC)
            except SampleError as error:
                kinds = (ImageFormatError, ImageSizeError, ImageTooLargeError)
                assert isinstance(error, kinds), name
