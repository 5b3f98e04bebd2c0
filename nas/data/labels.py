"""Classes of images, by name and by number."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from cells.errors import unknown


@dataclass(frozen=True)
class Labels:
    """The names of classes, numbered from 0."""

    classes: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> "Labels":
        """Numbers the classes of a training part by name, whole numbers by their value."""
        found = set(names)
        if all(name.removeprefix("-").isdecimal() and len(name) < 20 for name in found):
            return cls(tuple(sorted(found, key=lambda name: (int(name), name))))
        return cls(tuple(sorted(found)))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.classes)}

    def index(self, name: str, where: str) -> int:
        """Returns the number of a class.

        Raises:
            InputError: if it has none.
        """
        if name not in self._numbers:
            raise unknown(f"class in {where}", name, self.classes)
        return self._numbers[name]
