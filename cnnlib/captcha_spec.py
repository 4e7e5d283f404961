"""What a kind of captcha is: the value that configs, models and constructors share."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cnnlib.errors import ConfigError

RESIZE_MODES = ("", "pad", "stretch")


@dataclass(frozen=True)
class CaptchaSpec:
    """Image format, characters, lengths and case of one kind of captcha.

    Images become uint8 [image_height, image_width], or [..., 3] where image_channels is 3. `resize`
    says what becomes of images of other sizes: "" refuses them, "pad" scales them with their
    proportions kept and fills the rest with the background, "stretch" scales each side. Class i of
    a network is character i of char_set. min_captcha 0 means max_captcha.

    What is 0 or empty is not known yet; verification does not check such lengths and characters.
    Raises ConfigError for
    values that cannot be used.
    """

    image_height: int = 0
    image_width: int = 0
    max_captcha: int = 0
    char_set: tuple[str, ...] = ()
    min_captcha: int = 0
    image_channels: int = 1
    resize: str = ""
    ignore_case: bool = False  # of labels: upper case is learned as lower case

    def __post_init__(self) -> None:
        if self.char_set:
            object.__setattr__(self, "char_set", parse_char_set(self.char_set))
        object.__setattr__(self, "min_captcha", self.min_captcha or self.max_captcha)
        if self.max_captcha and self.min_captcha > self.max_captcha:
            raise ConfigError(
                f"min_captcha is {self.min_captcha}: it must be at most max_captcha, "
                f"{self.max_captcha}"
            )
        if self.image_channels not in (1, 3):
            raise ConfigError(
                f"image_channels is {self.image_channels!r}: it must be 1 (gray) or 3 (colour)"
            )
        if self.resize not in RESIZE_MODES:
            raise ConfigError(
                f"resize is {self.resize!r}: it must be one of {', '.join(map(repr, RESIZE_MODES))}"
            )

    def with_fixed(
        self, image_height: int, image_width: int, max_captcha: int, char_set: str | Iterable[str]
    ) -> CaptchaSpec:
        """Return this spec with the parameters that every constructor takes by position.

        Fewer characters stay possible, but labels of one length have the new one. Raises
        ConfigError for a char_set that is empty.
        """
        one_length = self.max_captcha and not self.has_end_class
        return dataclasses.replace(
            self,
            image_height=image_height,
            image_width=image_width,
            max_captcha=max_captcha,
            min_captcha=0 if one_length else min(self.min_captcha, max_captcha),
            char_set=parse_char_set(char_set),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image's pixels, [H, W] or [H, W, 3]."""
        colour = (3,) if self.image_channels == 3 else ()
        return (self.image_height, self.image_width, *colour)

    @property
    def has_end_class(self) -> bool:
        """Whether lengths vary, and the last class says that the text has ended."""
        return self.min_captcha < self.max_captcha

    @property
    def classes(self) -> int:
        return len(self.char_set) + self.has_end_class

    def normalize(self, label: str) -> str:
        """Return a label as it is learned."""
        return fold_case(label) if self.ignore_case else label

    def length_problem(self, label: str) -> str:
        """Return how many characters a label has, and should have; "" where both agree.

        A length of 0 in the spec stands for any.
        """
        least, most = self.min_captcha or 1, self.max_captcha or len(label)
        if least <= len(label) <= most:
            return ""
        expected = f"{most}" if least == most else f"{least} to {most}"
        return f"{len(label)} characters, expected {expected}"

    def differences(self, other: CaptchaSpec, *, with_case: bool = False) -> Iterator[str]:
        """Yield each property in which `other` is another captcha, with both values.

        How labels are read (ignore_case) does not make it another one, but `with_case`.
        """
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if mine != theirs and (with_case or field.name != "ignore_case"):
                yield f"{field.name} {_shown(mine)}, not {_shown(theirs)}"


def _shown(value: Any) -> str:
    return "".join(value) if isinstance(value, tuple) else str(value).lower() or "false"


def parse_char_set(char_set: str | Iterable[str], where: str = "char_set") -> tuple[str, ...]:
    """Return the characters as a tuple.

    Raises ConfigError for an empty set, an entry of another length than 1, or one listed twice.
    """
    characters = tuple(char_set)
    if not characters:
        raise ConfigError(f"{where} is empty: list the characters that occur in your labels")
    for character in characters:
        if not isinstance(character, str) or len(character) != 1:
            raise ConfigError(
                f"{where} has the entry {character!r}: every entry must be one character"
            )
    duplicates = sorted(c for c, count in Counter(characters).items() if count > 1)
    if duplicates:
        raise ConfigError(
            f"{where} lists {', '.join(map(repr, duplicates))} more than once: list every "
            "character once"
        )
    return characters


def fold_case(text: str) -> str:
    """Return the text in lower case, character by character, so that its length stays."""
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
