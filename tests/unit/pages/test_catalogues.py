"""The catalogues of both languages: complete, compiled, and about the texts that are really there."""

from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

from server.pages.language import DOMAIN, LANGUAGES, TRANSLATIONS

PAGES = TRANSLATIONS.parent
METHODS = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
OPTIONS = {"**/templates/**.html": {"trimmed": "true", "silent": "false"}}
KEYWORDS: dict[str, tuple[int, ...] | None] = {"_": None, "_l": None, "gettext": None, "ngettext": (1, 2)}

Ids = set[str | tuple[str, ...]]


def extracted() -> Ids:
    """Message ids that code and templates use; a tuple is one with a plural."""
    found = extract_from_dir(str(PAGES), METHODS, OPTIONS, KEYWORDS)
    return {message for _, _, message, _, _ in found}


def folder(code: str) -> Path:
    """Where a language's catalogue lies."""
    return TRANSLATIONS / code / "LC_MESSAGES"


def texts(catalog: Catalog) -> dict[str | tuple[str, ...], tuple[str, ...]]:
    """A catalogue as plain values."""
    found = {}
    for message in catalog:
        if message.id:
            key = message.id if isinstance(message.id, str) else tuple(message.id)
            found[key] = (message.string,) if isinstance(message.string, str) else tuple(message.string or ())
    return found


@pytest.mark.parametrize("code", LANGUAGES)
def test_catalogue_is_complete(code: str) -> None:
    """Every text of the pages has a translation, none is empty or fuzzy, and none is left over."""
    with (folder(code) / f"{DOMAIN}.po").open("rb") as source:
        catalog = read_po(source, locale=code)
    assert texts(catalog).keys() == extracted()
    assert not [message.id for message in catalog if message.id and message.fuzzy]
    assert not [key for key, strings in texts(catalog).items() if not all(strings)]


@pytest.mark.parametrize("code", LANGUAGES)
def test_compiled_catalogue_matches(code: str) -> None:
    """The compiled file says what the text file says."""
    with (folder(code) / f"{DOMAIN}.po").open("rb") as source, (folder(code) / f"{DOMAIN}.mo").open("rb") as compiled:
        assert texts(read_mo(compiled)) == texts(read_po(source, locale=code))


def test_placeholders_survive_translation() -> None:
    """A Chinese text keeps the placeholders of its English one."""
    with (folder("zh") / f"{DOMAIN}.po").open("rb") as source:
        catalog = read_po(source, locale="zh")
    for message in catalog:
        assert not list(message.check(catalog)), message.id
