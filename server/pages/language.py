"""Which language a page is written in: the address says so, else the reader's cookie, else Chinese."""

from pathlib import Path
from urllib.parse import urlencode

from flask import Flask, Response, g, request
from flask_babel import Babel

LANGUAGES = {"zh": "中文", "en": "English"}
"""Languages in the order of the switch, each named in itself; the first is the default."""
DEFAULT = next(iter(LANGUAGES))
HTML_TAGS = {"zh": "zh-Hans-CN", "en": "en"}
COOKIE = "fieldproof_language"
COOKIE_S = 365 * 24 * 3600
DOMAIN = "pages"
TRANSLATIONS = Path(__file__).parent / "translations"


def chosen_language() -> str:
    """Return the language of the running request."""
    for wish in (request.args.get("lang"), request.cookies.get(COOKIE)):
        if wish in LANGUAGES:
            return wish
    return DEFAULT


def language_url(code: str) -> str:
    """Return the present page's address in another language; a page that answers a form leads to its own address."""
    query = [(name, value) for name, value in request.args.items() if name not in ("lang", "code")]
    return f"{request.path}?{urlencode([*query, ('lang', code)])}"


def remember_language(response: Response) -> Response:
    """Keep the language that the address asked for in a cookie."""
    wish = request.args.get("lang")
    if wish in LANGUAGES:
        secure = bool(g.get("secure_cookies"))
        response.set_cookie(COOKIE, wish, max_age=COOKIE_S, httponly=True, samesite="Lax", secure=secure)
    return response


def install(app: Flask) -> None:
    """Give the application its translations."""
    Babel(
        app,
        default_locale=DEFAULT,
        default_domain=DOMAIN,
        default_translation_directories=str(TRANSLATIONS),
        locale_selector=chosen_language,
    )
