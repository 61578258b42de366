"""The base of every section of the configuration, and the small types that its values have.

Pydantic is used strictly: `true` is no number and `"5"` neither; whole numbers are accepted where a number is asked
for. What pydantic says of a mistake is turned here into the words that a person reads.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from site_config.errors import near

T = TypeVar("T")

_SECRETS = frozenset({"token", "password", "passwd", "secret", "api_key", "apikey", "key", "auth_token"})

_EXPECTED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "tuple_type": "a list",
    "datetime_type": "a date such as 2026-10-01 or 2026-10-01T00:00:00Z, without quotes",
    "finite_number": "a finite number",
}


def wrong(message: str) -> PydanticCustomError:
    """Make the error of a value, to be raised in a validator. `message` says what is wrong and what to do."""
    return PydanticCustomError("scarbon", "{message}", {"message": message})


def wrong_at(loc: tuple[str | int, ...], message: str) -> ValidationError:
    """Make the error of something inside a value, to be raised in the value's validator."""
    detail = InitErrorDetails(type=wrong(message), loc=loc, input=None)
    return ValidationError.from_exception_data("configuration", [detail])


def each(values: object, read: Callable[[Any], T]) -> tuple[T, ...]:
    """Read every entry of a list with `read`; the mistakes of all of them are raised together."""
    if not isinstance(values, tuple):
        raise wrong(f"must be a list, but is {shown(values)}")
    entries: list[T] = []
    mistakes: list[InitErrorDetails] = []
    for position, value in enumerate(values):
        try:
            entries.append(read(value))
        except ValidationError as error:
            mistakes += [
                InitErrorDetails(type=wrong(found["msg"]), loc=(position, *found["loc"]), input=None)
                for found in error.errors(include_url=False)
            ]
        except PydanticCustomError as error:
            mistakes.append(InitErrorDetails(type=error, loc=(position,), input=None))
    if mistakes:
        raise ValidationError.from_exception_data("configuration", mistakes)
    return tuple(entries)


def shown(value: object) -> str:
    """Return `value` as an error may show it: short, and in YAML's words."""
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, tuple):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _message(model: type[BaseModel], error: ErrorDetails) -> str:
    """Say in plain words what pydantic found in `model`."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    key = str(error["loc"][-1]) if error["loc"] else ""
    if kind == "extra_forbidden":
        return _unknown_key(model, key)
    if kind == "missing":
        hints = {field.alias or name: field.description for name, field in model.model_fields.items()}
        return f"missing ({hints[key]})" if hints.get(key) else "missing"
    if kind in _EXPECTED:
        quoted = "; put it in quotes" if kind == "string_type" and not isinstance(value, dict | tuple | None) else ""
        return f"must be {_EXPECTED[kind]}, but is {shown(value)}{quoted}"
    if kind == "literal_error":
        expected = context["expected"].replace("'", "").replace(" or ", ", ")
        guess = near(value, expected.split(", ")) if isinstance(value, str) else ""
        return f"must be one of {expected}, but is {shown(value)}{guess}"
    limits = {"greater_than": ("gt", "more than"), "greater_than_equal": ("ge", "at least")}
    limits |= {"less_than": ("lt", "less than"), "less_than_equal": ("le", "at most")}
    if kind in limits:
        name, words = limits[kind]
        return f"must be {words} {context[name]:g}, but is {shown(value)}"
    if kind == "too_short":
        return f"must have at least {context['min_length']} entry"
    return str(error["msg"])


def _unknown_key(model: type[BaseModel], key: str) -> str:
    names = [field.alias or name for name, field in model.model_fields.items()]
    if key.lower() in _SECRETS:
        places = [name for name in names if name.startswith(("token_", "password_"))]
        advice = f"; put it in a file or the environment and name it with {', '.join(places)}" if places else ""
        return f"a secret does not belong in this file{advice}"
    return "unknown key" + near(key, names)


class Section(BaseModel):
    """A mapping of the configuration: frozen, strict, and with no key that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _plain_words(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Reword pydantic's errors here, where it is known which keys this section has."""
        try:
            return handler(value)
        except ValidationError as error:
            details: list[InitErrorDetails] = []
            for found in error.errors(include_url=False):
                if found["type"] == "default_factory_not_called":
                    continue  # follows from another mistake, which is told
                kind = wrong(found["msg"] if found["type"] == "scarbon" else _message(cls, found))
                details.append(InitErrorDetails(type=kind, loc=found["loc"], input=None))
            raise ValidationError.from_exception_data(cls.__name__, details) from None


def _path(value: Any, info: ValidationInfo) -> Any:
    """Make a path absolute: a relative one is relative to the configuration file."""
    if not isinstance(value, str | Path):
        raise wrong(f"must be a path, but is {shown(value)}")
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise wrong("must be a path, but is empty")
    base: Path = (info.context or {}).get("base", Path.cwd())
    return base / Path(value).expanduser()


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port_is_sound = parts.port is None or parts.port > 0
    except ValueError:
        port_is_sound = False
    if not port_is_sound or parts.scheme not in ("http", "https") or not parts.hostname or value.split() != [value]:
        raise wrong(f"must be a URL such as http://host:9090, but is {shown(without_password(value))}")
    if parts.username is not None or parts.password is not None:
        raise wrong("a user or password does not belong in a URL; use token_file, or username and password_file")
    return value.rstrip("/")


def without_password(url: str) -> str:
    """Return `url` with what stands between its scheme and its host replaced, so that it can be shown."""
    head, at, tail = url.rpartition("@")
    scheme, mark, _ = head.partition("://")
    return f"{scheme}{mark}…@{tail}" if at else url


def _no_empty_text(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise wrong("must not be empty")
    return value


Text = Annotated[str, BeforeValidator(_no_empty_text), StringConstraints(strip_whitespace=True)]
FilePath = Annotated[Path, BeforeValidator(_path)]


def _http_url_or_socket(value: str) -> str:
    """Take a URL, or a Unix socket as `unix:///run/slurmrestd.sock`."""
    if not value.startswith("unix:"):
        return _http_url(value)
    if not value.startswith("unix:///") or len(value.split()) != 1:
        raise wrong(f"must name a socket as unix:///run/slurmrestd.sock, but is {shown(value)}")
    return value


HttpUrl = Annotated[Text, BeforeValidator(lambda value: _http_url(value) if isinstance(value, str) else value)]
HttpUrlOrSocket = Annotated[
    Text, BeforeValidator(lambda value: _http_url_or_socket(value) if isinstance(value, str) else value)
]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
