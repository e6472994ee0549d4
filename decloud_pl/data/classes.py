"""The classes that a user's files have, beside those that their data set declares."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from decloud_pl.errors import DatasetError

logger = logging.getLogger(__name__)

_MOST_SHOWN = 100
_MOST_IN_A_SENTENCE = 10


def check_classes(name: str, path: Path, classes: Mapping[str, int], labels: set[int], num_classes: int | None) -> None:
    """Compares the classes found with those declared.

    Args:
        name: of the data set.
        path: of its files.
        classes: label by name; empty where the labels are numbers.
        labels: those found.
        num_classes: how many there must be; None for any number.

    Raises:
        DatasetError: there is one only; or the labels are names, of which a missing one would move the others.
    """
    if len(labels) == 1:
        only = next(iter(classes), str(min(labels)))
        raise DatasetError(
            f"{path} has one class only, {only!r}.",
            fix=f"Set paths.{name} to samples of two classes or more"
            + (", the folder whose folders are the classes." if path.is_dir() else "."),
        )
    if num_classes is None:
        return
    are_names = not all(map(str.isdecimal, classes))
    found = f"{len(labels)}: {spelled(classes, _MOST_IN_A_SENTENCE)}" if are_names else f"the label {max(labels)}"
    if max(labels) >= num_classes or (are_names and len(labels) != num_classes):
        raise DatasetError(
            f"The data set {name} has {num_classes} classes, {path} has {found}.",
            fix=f"Correct paths.{name}, or map it to a data set that fits with mappings.{name}=NAME."
            + (f" Where a class is missing, name each one by its number, 0 to {num_classes - 1}." if are_names else ""),
        )


def log_classes(name: str, path: Path, classes: Mapping[str, int], labels: set[int], num_classes: int) -> None:
    """Says which label each name has, and warns of labels that no sample has."""
    if classes:
        logger.info("The labels of %s: %s", name, spelled(classes))
    missing = list(islice((label for label in range(num_classes) if label not in labels), _MOST_IN_A_SENTENCE + 1))
    if missing:
        shown = ", ".join(map(str, missing[:_MOST_IN_A_SENTENCE])) + (
            ", …" if len(missing) > _MOST_IN_A_SENTENCE else ""
        )
        logger.warning(
            "%s has samples of %d of the %d classes of %s; these labels have none: %s",
            path,
            len(labels),
            num_classes,
            name,
            shown,
        )


def spelled(classes: Mapping[str, int], most: int = _MOST_SHOWN) -> str:
    """Labels with what the user calls them, as in ``0 = cat, 1 = dog``; of many only the first ones."""
    shown = [f"{label} = {name}" for name, label in islice(classes.items(), most)]
    more = len(classes) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
