"""Compare the classes in a user's files with the classes that the data set declares."""

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
    """Check that the classes found in a user's files fit the declared number of classes.

    Args:
        name: the data set's name.
        path: the path of the user's files.
        classes: maps class names to labels; empty if the files contain only numeric labels.
        labels: the labels found.
        num_classes: the declared number of classes; None accepts any number.

    Raises:
        DatasetError: there is only one class, a label is too high, or the classes have names and there are not exactly
            ``num_classes`` of them. If a class were missing, the names after it would get wrong labels.
    """
    if len(labels) == 1:
        only = next(iter(classes), str(min(labels)))
        raise DatasetError(
            f"{path} has only one class, {only!r}.",
            fix=f"Set paths.{name} to samples of two classes or more"
            + (", the folder that contains the class folders." if path.is_dir() else "."),
        )
    if num_classes is None:
        return
    are_names = not all(map(str.isdecimal, classes))
    found = f"{len(labels)}: {spelled(classes, _MOST_IN_A_SENTENCE)}" if are_names else f"the label {max(labels)}"
    if max(labels) >= num_classes or (are_names and len(labels) != num_classes):
        raise DatasetError(
            f"The data set {name} has {num_classes} classes, but {path} has {found}.",
            fix=f"Correct paths.{name}, or map {name} to another data set with mappings.{name}=NAME."
            + (
                f" If a class is missing, rename each class to its number, 0 to {num_classes - 1}." if are_names else ""
            ),
        )


def log_classes(name: str, path: Path, classes: Mapping[str, int], labels: set[int], num_classes: int) -> None:
    """Log which label each class name has, and warn about labels without samples."""
    if classes:
        logger.info("The labels of %s: %s", name, spelled(classes))
    missing = list(islice((label for label in range(num_classes) if label not in labels), _MOST_IN_A_SENTENCE + 1))
    if missing:
        shown = ", ".join(map(str, missing[:_MOST_IN_A_SENTENCE])) + (
            ", …" if len(missing) > _MOST_IN_A_SENTENCE else ""
        )
        logger.warning(
            "The data set %s has %d classes, but %s has samples of only %d. These labels have no samples: %s",
            name,
            num_classes,
            path,
            len(labels),
            shown,
        )


def spelled(classes: Mapping[str, int], most: int = _MOST_SHOWN) -> str:
    """Format the first labels with their class names, as in ``0 = cat, 1 = dog and 8 more``."""
    shown = [f"{label} = {name}" for name, label in islice(classes.items(), most)]
    more = len(classes) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
