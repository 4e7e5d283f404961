"""Errors that a user can act on. Scripts print them to stderr and exit 2."""


class CaptchaError(Exception):
    """Base of all errors below; the message says what is wrong, where, and what to do."""


class ConfigError(CaptchaError):
    """A file in conf/, a command-line option or an argument has a value that cannot be used."""


class SampleError(CaptchaError):
    """An image, a label or a folder of images cannot be used."""


class ImageFormatError(SampleError):
    """The bytes are no image, or an image of a format that is not accepted."""


class ImageSizeError(SampleError):
    """The image is not as wide and high as the model expects."""


class ImageTooLargeError(SampleError):
    """The image has more pixels than are ever decoded."""


class CharsetError(SampleError):
    """The answer should be among characters that the model does not know."""


class OverloadError(CaptchaError):
    """More images wait than are ever recognised in time; to be tried again later."""


class ModelError(CaptchaError):
    """A model folder is missing, damaged, in use, or does not fit the config."""


class ServiceError(CaptchaError):
    """An address on the network does not answer, or not as it should."""


class ApiError(ServiceError):
    """The recognition API refused a request; its error_code stands in the message."""
