"""Errors that a user can act on. Scripts print them to stderr and exit 2."""


class CaptchaError(Exception):
    """Base of all errors below; the message says what is wrong, where, and what to do."""


class ConfigError(CaptchaError):
    """A file in conf/, a command-line option or an argument has a value that cannot be used."""


class MissingPackageError(ConfigError, ImportError):
    """A package is not installed; the message has the command that installs it."""


class SampleError(CaptchaError):
    """An image, a label or a folder of images cannot be used."""


class ImageFormatError(SampleError):
    """The bytes are not an image, or an image of a format that is not accepted."""


class ImageSizeError(SampleError):
    """The image has another width or height than the model expects."""


class ImageTooLargeError(SampleError):
    """The image has more pixels than are ever decoded."""


class CharsetError(SampleError):
    """The answer is restricted to characters that the model does not know."""


class OverloadError(CaptchaError):
    """The queue is full: try again later."""


class ModelError(CaptchaError):
    """A model folder is missing, damaged, in use, or does not fit the config."""


class ServiceError(CaptchaError):
    """An address on the network does not answer, or not as expected."""


class ApiError(ServiceError):
    """The recognition API refused a request; the message contains its error_code."""
