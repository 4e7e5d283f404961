"""How large an image file may be."""

MAX_IMAGE_BYTES = 20_000_000  # an uncompressed image of all pixels that are decoded has 16 MB
TOO_LARGE = f"has more than {MAX_IMAGE_BYTES:,} bytes: it is not a captcha"
