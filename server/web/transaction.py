"""One request, one transaction: the session opens around the view and commits before the reply leaves."""

from collections.abc import Callable
from functools import wraps
from typing import Any, cast, overload

from flask import current_app, g
from sqlalchemy.orm import Session

from server.runtime import Runtime

View = Callable[..., Any]


def runtime() -> Runtime:
    """Return the application's runtime."""
    return cast(Runtime, current_app.extensions["fieldproof"])


def session() -> Session:
    """Return the session of the running request; only inside `@transactional`."""
    return cast(Session, g.session)


@overload
def transactional(view: View) -> View: ...
@overload
def transactional(*, read_only: bool = False) -> Callable[[View], View]: ...
def transactional(view: View | None = None, *, read_only: bool = False) -> View | Callable[[View], View]:
    """Run a view inside one transaction.

    Stands below `@blp.route` and `@require` and above `@blp.arguments` and `@blp.response`, so that serialisation
    happens inside the session and the commit precedes the reply.
    """

    def wrap(inner: View) -> View:
        @wraps(inner)
        def wrapper(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any view
            database = runtime().db
            with database.read() if read_only else database.write() as opened:
                g.session = opened
                try:
                    return inner(*args, **kwargs)
                finally:
                    del g.session

        return wrapper

    return wrap(view) if view is not None else wrap
