"""Paging by key: a page says where the next one begins; nothing is counted or skipped."""

from marshmallow import Schema, fields, validate

DEFAULT_PAGE = 50
MAX_PAGE = 500
"""Most rows in one page."""


class PageQuery(Schema):
    """Query members of every list."""

    limit = fields.Integer(load_default=DEFAULT_PAGE, validate=validate.Range(1, MAX_PAGE))
    after = fields.String(load_default="", validate=validate.Length(max=200))
