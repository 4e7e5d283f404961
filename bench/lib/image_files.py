"""Small image files of every kind that servers of captchas may send, each drawn here."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageDraw

from cnnlib.dataset.images import FORMATS

WIDTH, HEIGHT = 48, 32
PNG_START = b"\x89PNG\r\n\x1a\n"
ORIENTATION_TAG = 0x0112
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6  # colour types of PNG
END_OF_JPEG = b"\xff\xd9"


@dataclass(frozen=True)
class ImageFile:
    """A file, its kind, and what distinguishes it from others of the kind."""

    kind: str
    name: str
    data: bytes


def image_files() -> list[ImageFile]:
    """Draw all of them; those that this version of Pillow cannot write are missing."""
    groups = {
        "orientation": orientations(),
        "end of the file": ends(),
        "transparency": transparencies(),
        "animation": animations(),
        "bits of PNG": png_depths(),
        "BMP": bitmaps(),
        "CMYK": cmyks(),
        "profiles and texts": chunks(),
        "encodings": encodings(),
    }
    return [
        ImageFile(kind, name, data)
        for kind, group in groups.items()
        for name, data in group.items()
    ]


# --- pictures ---


def picture(mode: str = "RGB", text: str = "dark") -> Image.Image:
    """Draw strokes of some colours on a light ground, no two of its corners alike."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (236, 232, 220))
    draw = ImageDraw.Draw(image)
    draw.line((5, 26, 12, 5, 19, 26), (30, 60, 150), 3)
    draw.rectangle((25, 6, 33, 14), (170, 30, 40))
    draw.ellipse((34, 16, 44, 27), None, (20, 120, 60), 3)
    draw.rectangle((0, 0, 3, 2), (0, 0, 0))
    return image.convert(mode)


def levels(maximum: int) -> np.ndarray:
    """Return gray values from 0 to a maximum, int [H, W], each as often as any other."""
    steps = np.arange(WIDTH * HEIGHT) * (maximum + 1) // (WIDTH * HEIGHT)
    return steps.reshape(WIDTH, HEIGHT).T


def cut_out(colour: tuple[int, int, int]) -> Image.Image:
    """Draw strokes of one colour, with soft edges, on a ground that is transparent."""
    large = Image.new("L", (4 * WIDTH, 4 * HEIGHT))
    draw = ImageDraw.Draw(large)
    draw.line((20, 104, 48, 20, 76, 104), 255, 14)
    draw.ellipse((110, 40, 170, 100), None, 255, 14)
    image = Image.new("RGB", (WIDTH, HEIGHT), colour)
    image.putalpha(large.resize((WIDTH, HEIGHT), Image.Resampling.BOX))
    return image


def letters(shown: Iterable[int], ink: int = 40, ground: int = 235) -> Image.Image:
    """Draw those of four simple letters; what is not shown is ground."""
    image = Image.new("L", (WIDTH, HEIGHT), ground)
    draw = ImageDraw.Draw(image)
    for i in shown:
        left = 2 + 12 * i
        draw.rectangle((left, 6, left + 2, 25), ink)
        draw.rectangle((left, 6 + 5 * i, left + 8, 8 + 5 * i), ink)
    return image


def faded(shares: Sequence[float]) -> Image.Image:
    """Draw the four letters, each as a share of its ink."""
    image = letters([])
    for i, share in enumerate(shares):
        image = ImageChops.darker(image, letters([i], round(235 - 195 * share)))
    return image


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# --- files, byte by byte ---


def png_chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def png(
    samples: np.ndarray,
    bits: int,
    colour_type: int,
    extra: Sequence[tuple[bytes, bytes]] = (),
    *,
    after: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """Write a PNG of samples, int [H, W] or [H, W, channels], each of that many bits.

    `extra` are chunks before the pixels, `after` those that follow them.
    """
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    rows = samples.reshape(height, -1)
    if bits == 16:
        lines = rows.astype(">u2", order="C").view(np.uint8)
    elif bits == 8:
        lines = rows.astype(np.uint8)
    else:
        places = (rows[..., np.newaxis] >> np.arange(bits - 1, -1, -1)) & 1
        lines = np.packbits(places.reshape(height, -1).astype(np.uint8), axis=1)
    pixels = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    chunks = [(b"IHDR", header), *extra, (b"IDAT", pixels), *after, (b"IEND", b"")]
    return PNG_START + b"".join(itertools.starmap(png_chunk, chunks))


def bmp(
    pixels: bytes,
    bits: int,
    *,
    compression: int = 0,
    masks: Sequence[int] = (),
    palette: bytes = b"",
    header: int = 40,
    top_down: bool = False,
) -> bytes:
    """Write a BMP of WIDTH and HEIGHT, given its rows as they stand in the file."""
    height = -HEIGHT if top_down else HEIGHT
    info = struct.pack(
        "<IiiHHIIiiII",
        header,
        WIDTH,
        height,
        1,
        bits,
        compression,
        len(pixels),
        2835,
        2835,
        len(palette) // 4,
        0,
    )
    info += struct.pack(f"<{len(masks)}I", *masks)
    info = info.ljust(header, b"\0")
    start = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + palette + pixels


def bmp_pixels(alpha: int | np.ndarray, bits: int = 32, *, top_down: bool = False) -> bytes:
    """Return the picture's rows: B, G, R, alpha, or 16 bits, 5 (6 green) for each colour."""
    colours = np.array(picture()).astype(int)
    if not top_down:
        colours = colours[::-1]
    if bits == 32:
        fourth = np.broadcast_to(alpha, colours.shape[:2])[..., np.newaxis]
        return np.concatenate([colours[..., ::-1], fourth], axis=2).astype(np.uint8).tobytes()
    red, green, blue = np.moveaxis(colours, 2, 0)
    if bits == 15:
        values = (red >> 3) << 10 | (green >> 3) << 5 | blue >> 3
    else:
        values = (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3
    return values.astype("<u2").tobytes()


def resized_canvas(gif: bytes, width: int, height: int) -> bytes:
    """Change the size of a GIF's canvas, and not that of its frames."""
    return gif[:6] + struct.pack("<HH", width, height) + gif[10:]


def without_adobe(jpeg: bytes) -> bytes:
    """Remove the APP14 segment, which says how Adobe's programs store colours."""
    at = jpeg.index(b"\xff\xee")
    size = int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return jpeg[:at] + jpeg[at + 2 + size :]


def exif(orientation: int) -> bytes:
    data = Image.Exif()
    data[ORIENTATION_TAG] = orientation
    return data.tobytes()


# --- the kinds ---


def orientations() -> dict[str, bytes]:
    files = {
        f"JPEG, {turn}": encode(picture(), "JPEG", quality=95, exif=exif(turn))
        for turn in range(1, 9)
    }
    kinds = ["PNG", "WEBP"] + (["AVIF"] if "AVIF" in FORMATS else [])
    for kind in kinds:
        for turn in (3, 6):
            options = {"lossless": True} if kind == "WEBP" else {}
            files[f"{kind}, {turn}"] = encode(picture(), kind, exif=exif(turn), **options)
    files["JPEG, 9, which means nothing"] = encode(picture(), "JPEG", exif=exif(9))
    samples = np.array(picture())
    files["PNG, 6, after the pixels"] = png(
        samples, 8, RGB, after=[(b"eXIf", exif(6).removeprefix(b"Exif\0\0"))]
    )
    return files


def ends() -> dict[str, bytes]:
    jpeg, progressive = (
        encode(picture(), "JPEG", quality=90, progressive=mode) for mode in (False, True)
    )
    png_file, gif = encode(picture(), "PNG"), encode(picture("P"), "GIF")
    return {
        "JPEG without its end marker": jpeg[:-2],
        "JPEG without half of its end marker": jpeg[:-1],
        "progressive JPEG without its end marker": progressive[:-2],
        "JPEG, bytes after it": jpeg + b"<!-- 1 -->\n" * 9,
        "PNG, bytes after it": png_file + b"\0" * 99,
        "PNG without its last chunk": png_file[:-12],
        "GIF, bytes after it": gif + b"\r\n" * 9,
        "GIF without its end marker": gif[:-1],
        "JPEG, half": jpeg[: len(jpeg) // 2],
        "PNG, half": png_file[: len(png_file) // 2],
        "GIF, half": gif[: len(gif) // 2],
    }


def transparencies() -> dict[str, bytes]:
    shades = {
        "black": (0, 0, 0),
        "red": (200, 20, 20),
        "light gray": (211, 211, 211),
        "white": (255, 255, 255),
        "pale yellow": (255, 255, 200),
    }
    files = {f"PNG, {name} text": encode(cut_out(rgb), "PNG") for name, rgb in shades.items()}
    files["WebP, white text"] = encode(cut_out((255, 255, 255)), "WEBP", lossless=True)
    holed = picture("RGBA")
    holed.paste((0, 0, 0, 0), (0, 20, 12, 32))
    files["PNG, a corner"] = encode(holed, "PNG")
    half = picture("RGBA")
    half.putalpha(128)
    files["PNG, half transparent"] = encode(half, "PNG")
    files["PNG, nothing to be seen"] = encode(Image.new("RGBA", (WIDTH, HEIGHT)), "PNG")
    colours = picture("P")
    files["PNG, a palette's colour"] = encode(
        colours, "PNG", transparency=colours.getpixel((20, 20))
    )
    files["PNG, an alpha for each colour"] = encode(colours, "PNG", transparency=bytes(range(256)))
    files["GIF"] = encode(colours, "GIF", transparency=colours.getpixel((20, 20)))
    return files


def animations() -> dict[str, bytes]:
    every = range(4)
    lacking = [letters(j for j in every if j != i) for i in every]
    single = [letters([i]) for i in every]
    other = letters([0, 1], 235, 40)
    fading = [[(i + j) % 5 / 4 for j in every] for i in range(5)]
    files = {
        "GIF, letters fade in and out": frames([faded(shares) for shares in fading], "GIF"),
        "GIF, the first frame is the picture": frames([letters(every), *lacking], "GIF"),
        "GIF, another letter is missing in each": frames(lacking, "GIF"),
        "GIF, one letter in each": frames(single, "GIF"),
        "GIF, letters come one by one": frames([letters(range(i)) for i in range(5)], "GIF"),
        "GIF, two pictures": frames([letters(every), other.rotate(180)], "GIF"),
        "APNG, another letter is missing in each": frames(lacking, "PNG"),
        "APNG, a picture for those that show no animation": frames(
            [letters(every), *lacking], "PNG", default_image=True
        ),
        "WebP, another letter is missing in each": frames(lacking, "WEBP", lossless=True),
    }
    return files


def frames(images: Sequence[Image.Image], kind: str, **options: object) -> bytes:
    return encode(
        images[0],
        kind,
        save_all=True,
        append_images=images[1:],
        duration=200,
        **({"loop": 0} | options),
    )


def png_depths() -> dict[str, bytes]:
    files = {}
    for bits in (1, 2, 4, 8, 16):
        top = 2**bits - 1
        files[f"gray, {bits}"] = png(levels(top), bits, GRAY)
        clear = struct.pack(">H", top - top // 3)
        files[f"gray, {bits}, one transparent"] = png(levels(top), bits, GRAY, [(b"tRNS", clear)])
    for bits in (1, 2, 4, 8):
        top = 2**bits - 1
        shades = [(255 * i // top, 255 - 255 * i // top, (7 * i) % 256) for i in range(top + 1)]
        palette = [(b"PLTE", bytes(itertools.chain(*shades))), (b"tRNS", bytes([90, 255]))]
        files[f"palette, {bits}, two alphas"] = png(levels(top), bits, PALETTE, palette)
    for bits in (8, 16):
        top = 2**bits - 1
        gray = levels(top)
        alpha = gray[:, ::-1]
        colours = np.stack([gray, gray[::-1], top - gray], axis=2)
        clear = struct.pack(">HHH", *colours[5, 30].tolist())
        files[f"gray and alpha, {bits}"] = png(np.stack([gray, alpha], 2), bits, GRAY_ALPHA)
        files[f"RGB, {bits}"] = png(colours, bits, RGB)
        files[f"RGB, {bits}, one transparent"] = png(colours, bits, RGB, [(b"tRNS", clear)])
        files[f"RGB and alpha, {bits}"] = png(np.dstack([colours, alpha]), bits, RGBA)
    return files


def bitmaps() -> dict[str, bytes]:
    alpha = levels(255)
    rgb565, rgb555 = (0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F)
    rgb888 = (0xFF0000, 0xFF00, 0xFF)
    gray16 = b"".join(bytes([17 * i] * 3 + [0]) for i in range(16))
    nibbles = levels(15)[::-1]
    return {
        "1 bit": encode(picture("1"), "BMP"),
        "4 bits, grays": bmp(
            (nibbles[:, ::2] << 4 | nibbles[:, 1::2]).astype(np.uint8).tobytes(), 4, palette=gray16
        ),
        "8 bits, palette": encode(picture("P"), "BMP"),
        "8 bits, grays": encode(picture("L"), "BMP"),
        "24 bits": encode(picture(), "BMP"),
        "32 bits, the fourth byte 0": bmp(bmp_pixels(0), 32),
        "32 bits, the fourth byte 255": bmp(bmp_pixels(255), 32),
        "32 bits, the fourth byte anything": bmp(bmp_pixels(alpha), 32),
        "32 bits, from the top": bmp(bmp_pixels(0, top_down=True), 32, top_down=True),
        "32 bits, masks, no alpha": bmp(bmp_pixels(0), 32, compression=3, masks=rgb888),
        "32 bits, masks, alpha": bmp(
            bmp_pixels(alpha), 32, compression=3, masks=(*rgb888, 0xFF000000), header=108
        ),
        "32 bits, masks, alpha all 0": bmp(
            bmp_pixels(0), 32, compression=3, masks=(*rgb888, 0xFF000000), header=108
        ),
        "16 bits": bmp(bmp_pixels(0, 15), 16),
        "16 bits, masks 5 6 5": bmp(bmp_pixels(0, 16), 16, compression=3, masks=rgb565),
        "16 bits, masks 5 5 5": bmp(bmp_pixels(0, 15), 16, compression=3, masks=rgb555),
        "16 bits, masks 4 4 4": bmp(bmp_pixels(0, 16), 16, compression=3, masks=(0xF00, 0xF0, 0xF)),
    }


def cmyks() -> dict[str, bytes]:
    cmyk = picture("CMYK")
    adobe = encode(cmyk, "JPEG", quality=95)
    files = {"CMYK, Adobe's": adobe, "CMYK without Adobe's mark": without_adobe(adobe)}
    at = adobe.index(b"Adobe") + 11
    files["YCCK"] = adobe[:at] + b"\x02" + adobe[at + 1 :]
    return files


def chunks() -> dict[str, bytes]:
    samples = np.array(picture())
    text = b"Comment\0\0" + zlib.compress(b"a" * 3_000_000)
    long = b"Comment\0\0\0\0\0" + b"b" * 2_000_000
    swapped = b"icc\0\0" + zlib.compress(swapped_profile())
    huge = b"icc\0\0" + zlib.compress(b"\0" * 3_000_000)
    return {
        "PNG, 3 MB of packed text": png(samples, 8, RGB, [(b"zTXt", text)]),
        "PNG, 3 MB of packed text after the pixels": png(samples, 8, RGB, after=[(b"zTXt", text)]),
        "PNG, 2 MB of text": png(samples, 8, RGB, [(b"iTXt", long)]),
        "PNG, 3 MB of colour profile": png(samples, 8, RGB, [(b"iCCP", huge)]),
        "PNG, a text that is not packed as it should": png(
            samples, 8, RGB, [(b"zTXt", b"Comment\0\0no zlib")]
        ),
        "PNG, sRGB profile": encode(picture(), "PNG", icc_profile=srgb_profile()),
        "PNG, another profile": png(samples, 8, RGB, [(b"iCCP", swapped)]),
        "JPEG, sRGB profile": encode(picture(), "JPEG", quality=95, icc_profile=srgb_profile()),
        "JPEG, another profile": encode(
            picture(), "JPEG", quality=95, icc_profile=swapped_profile()
        ),
        "PNG, gAMA 1.0": png(samples, 8, RGB, [(b"gAMA", struct.pack(">I", 100_000))]),
        "PNG, gAMA of sRGB": png(samples, 8, RGB, [(b"gAMA", struct.pack(">I", 45_455))]),
    }


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """Return the sRGB profile with its red and blue exchanged."""
    profile = srgb_profile()
    return profile.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")


def encodings() -> dict[str, bytes]:
    files = {
        f"JPEG, colour halved {name}": encode(picture(), "JPEG", quality=90, subsampling=sampling)
        for name, sampling in (("not", 0), ("across", 1), ("across and down", 2))
    }
    files |= {
        "JPEG, gray": encode(picture("L"), "JPEG", quality=90),
        "JPEG, progressive": encode(picture(), "JPEG", quality=90, progressive=True),
        "GIF": encode(picture("P"), "GIF"),
        "GIF, smaller than its canvas": resized_canvas(encode(picture("P"), "GIF"), 60, 40),
        "GIF, larger than its canvas": resized_canvas(encode(picture("P"), "GIF"), 20, 10),
        "GIF, interlaced": encode(picture("P"), "GIF", interlace=1),
        "WebP": encode(picture(), "WEBP", quality=90),
        "WebP, lossless": encode(picture(), "WEBP", lossless=True),
        "ICO of a PNG": encode(picture("RGBA"), "ICO", sizes=[(WIDTH, HEIGHT)]),
        "ICO of a BMP": encode(
            picture("RGBA"), "ICO", sizes=[(WIDTH, HEIGHT)], bitmap_format="bmp"
        ),
        "ICO, two sizes": encode(picture("RGBA"), "ICO", sizes=[(16, 16), (32, 21), (48, 32)]),
    }
    if "AVIF" in FORMATS:
        files["AVIF"] = encode(picture(), "AVIF", quality=90)
        files["AVIF with alpha"] = encode(cut_out((10, 20, 160)), "AVIF", quality=100)
    return files
