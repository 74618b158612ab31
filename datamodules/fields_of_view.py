"""Masks of what counts, as a field of view: nearly the same in all images, they are not what is to be learned."""

from collections.abc import Sequence
from pathlib import Path

from .errors import DataError
from .guesses import Guess
from .pairs import Pairing
from .patterns import Listing
from .rater_folders import read_any_mask

_SAMPLE = 6  # masks that are compared
_SAME = 0.9  # Dice above which two masks are nearly the same


def without(listing: Listing, guesses: Sequence[Guess]) -> tuple[Guess, list[str], list[str]]:
    """The first guess whose masks differ between the images, what to tell of those that do not, and their patterns.

    Args:
        listing: The files.
        guesses: Patterns, best first, one a folder of masks.
    """
    rivals = [guess for guess in guesses if guess.fits and guess.hits == guesses[0].hits]
    fields = [guess for guess in rivals if _are_alike(listing, guess)]
    chosen = next((guess for guess in rivals if guess not in fields), guesses[0])
    if chosen in fields:
        return (
            chosen,
            ["the masks are nearly the same in all images, as a field of view is; are they what is meant?"],
            [],
        )
    told = [
        f"{guess.masks}: nearly the same in all images, as a field of view is, so not taken for the masks; were they, "
        f"give --data.images '{guess.images}' --data.masks '{guess.masks}'"
        for guess in fields
    ]
    return chosen, told, [guess.masks for guess in fields]


def _are_alike(listing: Listing, guess: Guess) -> bool:
    """Whether the masks of a guess are nearly those of the first image."""
    cases = Pairing(guess.images, [guess.masks]).find(listing).cases
    paths = [case.masks[0] for case in cases if len(case.masks) == 1]
    sample = paths[:: max(1, len(paths) // _SAMPLE)][:_SAMPLE]
    return len(sample) > 2 and all(_dice(sample[0], other) > _SAME for other in sample[1:])


def _dice(one: Path, other: Path) -> float:
    """Overlap of what is above the least value of two masks; 0 where they cannot be compared."""
    try:
        first, second = (array > array.min() for array in (read_any_mask(one), read_any_mask(other)))
    except DataError:
        return 0.0
    if first.shape != second.shape:
        return 0.0
    return float(2 * (first & second).sum() / max(1, first.sum() + second.sum()))
