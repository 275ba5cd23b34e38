"""What a setting is: the declaration that `Settings` carries once per field."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fc_pipeline.config.setting_values import Unexpected
from fc_pipeline.errors import ConfigError

__all__ = ["Setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One FC_ variable; its name, type and default are those of the field that carries it.

    `parse` makes the value of its text, given the values of the fields `given`, too; it raises `Unexpected`. `derive`
    makes the default where that depends on other fields. `meaning`, in which `{example}` stands for the example, and
    `shown_default` are for README's table, `example` also for a new project's `.env`.
    """

    meaning: str
    parse: Callable[..., Any]
    shown_default: str = ""
    example: str | None = None
    given: tuple[str, ...] = ()
    derive: Callable[[Mapping[str, Any]], Any] | None = None
    is_of_target_set: bool = False

    def read(self, name: str, text: str, fields: Mapping[str, Any]) -> Any:
        """The value of this text. Raises ConfigError, which names the variable and what is expected of it."""
        try:
            return self.parse(text, *(fields[name] for name in self.given))
        except Unexpected as unexpected:
            raise ConfigError(
                f"{name} {unexpected.problem}", hint=f"expected: {unexpected.expected}"
            ) from unexpected.__cause__
