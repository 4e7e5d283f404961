"""What labelled images show, in words: what follows from it, and how sure that is."""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cnnlib.console import examples
from cnnlib.importing.inspection import Inspection
from cnnlib.importing.proposal import training_minutes

FEW_LABELS = 100
FIRST_LABELS = 200
COMING_CHARACTERS = 1000  # of this many to come less than one will be of a kind not seen yet
RARE_LENGTH = 0.02  # of the labels
RARE_CHARACTER = 0.05  # of what a character has on average
LOOK_ALIKES = ("АВЕКМНОРСТХаеорсухΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEKMHOPCTXaeopcyxABEZHIKMNOPTXo")
ENDINGS = "-#@=+~. "  # what may end a label
LOST_ZEROS = 0.03, 0.25  # of the labels
CLASSES = (string.digits, string.ascii_lowercase, string.ascii_uppercase)


def findings(seen: Inspection, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a few lines on what was seen, what follows from it, and how sure that is."""
    if not seen.labels:
        yield f"no labels yet: some {FIRST_LABELS} by hand are enough for a first training"
    elif len(seen.labels) < FEW_LABELS:
        yield f"fewer than {FEW_LABELS} labels teach little: label some hundred"
    if seen.broken:
        yield f"cannot be decoded: {examples(seen.broken)}"
    if seen.labels:
        yield from _about_lengths(seen)
        yield from _about_lost_zeros(seen)
        yield from _about_characters(seen, values)
    yield _about_sizes(seen, values)
    hidden = f"{seen.hidden_colour:.0f} of 255"
    yield (
        f"several colours, {hidden} from what gray shows: image_channels 3, "
        "which costs little; 1 may do as well"
        if values["image_channels"] == 3
        else f"gray shows all but {hidden}: image_channels 1"
    )
    steps, area = values["cycle_stop"], values["image_width"] * values["image_height"]
    yield (
        f"cycle_stop {steps}: training takes about {training_minutes(steps, area)} minutes on two "
        "cores that multiply bfloat16, longer on others"
    )


def _about_lengths(seen: Inspection) -> Iterator[str]:
    lengths = seen.lengths
    counts = ", ".join(f"{n} of {length}" for length, n in sorted(lengths.items()))
    sure = len(lengths) == 1 or min(lengths.values()) > RARE_LENGTH * len(seen.labels)
    yield f"labels of {counts} characters" + (
        ": sure" if sure else f". Some lengths are rare: check {_rare_length(seen)!r} and others"
    )


def _about_lost_zeros(seen: Inspection) -> Iterator[str]:
    """Say where spreadsheet programs may have taken zeros away: one of ten numbers begins with one.

    Then none of the longest does, and one of ten is shorter.
    """
    lengths, total = seen.lengths, len(seen.labels)
    longest = max(lengths)
    shorter = total - lengths[longest]
    if (
        total >= FEW_LABELS / 2
        and LOST_ZEROS[0] * total <= shorter <= LOST_ZEROS[1] * total
        and all(label.isdecimal() and not label.startswith("0") for label in seen.labels)
    ):
        short = next(label for label in seen.labels if len(label) < longest)
        yield (
            f"no label begins with 0, and {shorter} of {total} are shorter, such as {short!r}: a "
            "spreadsheet program may have taken zeros away. Where it did, give each label its "
            f"{longest} digits again, and start again with another --name"
        )


def _rare_length(seen: Inspection) -> str:
    rarest = min(seen.lengths, key=lambda n: seen.lengths[n])
    return next(label for label in seen.labels if len(label) == rarest)


def _about_characters(seen: Inspection, values: Mapping[str, Any]) -> Iterator[str]:
    occur = set(seen.characters)
    yield f"{len(occur)} different characters"
    missing = "".join(
        c
        for group in CLASSES
        if 2 * len(occur & set(group)) > len(group)
        for c in group
        if c not in occur
    )
    if missing:
        yield (
            f"never seen: {missing}. Add to char_set what can occur; some captchas leave out "
            "what looks alike"
        )
    elif (new := _share_of_new(seen.labels)) > 1 / COMING_CHARACTERS:
        yield (
            f"of {round(1 / new)} further characters about one will be a new one: label more, "
            "or add to char_set what can occur"
        )
    if values.get("ignore_case"):
        yield (
            f"upper and lower case seem to mean the same ({_rare_case(seen.labels)}): ignore_case "
            "true. Where the site tells them apart, set it to false and complete char_set; where "
            "it does not draw both, these labels may be wrong"
        )
    elif occur & set(string.ascii_lowercase) and occur & set(string.ascii_uppercase):
        yield 'upper and lower case: "ignore_case": true where the site ignores it'
    yield from _about_rare(seen)
    yield from _about_forms(seen.labels)
    yield from _about_scripts(seen.labels)
    yield from _about_separators(seen)


def _rare_case(labels: Sequence[str]) -> str:
    """Return, of letters that occur in both cases, the rarer one, with the numbers of both."""
    counts = Counter("".join(labels))
    rarer = [c for c in counts if c.isupper() and 0 < counts[c.lower()] >= counts[c]] + [
        c for c in counts if c.islower() and 0 < counts[c.upper()] > counts[c]
    ]
    return ", ".join(f"{counts[c]} {c} and {counts[c.swapcase()]} {c.swapcase()}"
                     for c in sorted(rarer)[:5])  # fmt: skip


def _about_rare(seen: Inspection) -> Iterator[str]:
    """Say which characters are so rare that they may be wrong, and how to find their labels."""
    counts = Counter("".join(seen.labels))
    usual = counts.total() / len(counts)
    rare = {c: n for c, n in counts.items() if n < RARE_CHARACTER * usual}
    if not rare or len(seen.labels) < FEW_LABELS:
        return
    shown = ", ".join(
        f"{c!r} ({n}, as in {next(label for label in seen.labels if c in label)!r})"
        for c, n in sorted(rare.items(), key=lambda item: item[1])[:5]
    )
    yield f"rare characters, which may be wrong labels: {shown}"


def _about_forms(labels: Sequence[str]) -> Iterator[str]:
    """Say which characters are another form of one that also occurs, such as full-width digits."""
    occur = set("".join(labels))
    forms = {c: plain for c in occur if (plain := unicodedata.normalize("NFKC", c)) != c}
    if both := {c: plain for c, plain in forms.items() if set(plain) <= occur}:
        n = sum(any(c in both for c in label) for label in labels)
        pairs = ", ".join(f"{c} for {plain}" for c, plain in sorted(both.items())[:5])
        yield (
            f"{n} labels have other forms of characters ({pairs}): where they mean the same, "
            "start again with --plain-forms and another --name"
        )


def _about_scripts(labels: Sequence[str]) -> Iterator[str]:
    """Say where labels have letters of another script that look like those around them."""
    occur = set("".join(labels))
    for letter, latin in zip(*LOOK_ALIKES, strict=True):
        if {letter, latin} <= occur:
            example = next(label for label in labels if letter in label)
            yield (
                f"{unicodedata.name(letter)} in {example!r}, where others have {latin}: they look "
                "the same; correct the labels"
            )


def _about_separators(seen: Inspection) -> Iterator[str]:
    for separator in ENDINGS:
        inside = [label for label in seen.labels if separator in label[1:-1]]
        places = {label.find(separator) for label in inside}
        if len(inside) > 0.9 * len(seen.labels) and len(places) == 1:
            yield (
                f"{separator!r} at the same place in all labels: where it ends them, start again "
                f"with --separator {separator!r} and another --name"
            )


def _share_of_new(labels: Sequence[str]) -> float:
    """Estimate how many of further characters were never seen: as many as were seen once.

    Good 1953, "The population frequencies of species and the estimation of population parameters".
    """
    counts = Counter("".join(labels))
    return sum(n == 1 for n in counts.values()) / counts.total()


def _about_sizes(seen: Inspection, values: Mapping[str, Any]) -> str:
    size = f"{values['image_width']}x{values['image_height']}"
    if not values["resize"]:
        total = sum(seen.sizes.values())
        rest = total - max(seen.sizes.values())
        return f"{size} pixels: " + (
            f"{rest} of {total} have another size, and are left out" if rest else "sure"
        )
    widths, heights = ({side[i] for side in seen.sizes} for i in (0, 1))
    text = f", letters of about {seen.text_height:.0f} pixels" if seen.text_height else ""
    smallest, largest = f"{min(widths)}x{min(heights)}", f"{max(widths)}x{max(heights)}"
    sizes = f"{largest} pixels" if smallest == largest else f"sizes from {smallest} to {largest}"
    return f"{sizes}{text}: scaled to {size}, with their proportions kept"
