"""The file `.env`: lines of NAME=value, read strictly, for a line that is not understood leaves a default in force."""

from pathlib import Path

from dotenv.parser import parse_stream

from fc_pipeline.errors import ConfigError

__all__ = ["read_env_file"]


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of the file; values are taken as they are, without `${…}`.

    Raises:
        ConfigError: names the line that is no NAME=value, without repeating it: it may hold a secret.
    """
    found: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for binding in parse_stream(lines):
                if binding.error or (binding.key is not None and binding.value is None):
                    # What was read begins with the empty lines before it.
                    blank_lines = binding.original.string[: _indent(binding.original.string)].count("\n")
                    raise ConfigError(
                        f"{path}, line {binding.original.line + blank_lines}: not NAME=value",
                        hint="quotes must be closed; a comment begins with #; one variable per line",
                    )
                if binding.key is not None and binding.value is not None:
                    found[binding.key] = binding.value
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path} cannot be read: {reason}", hint="expected: lines of NAME=value") from None
    return found


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())
