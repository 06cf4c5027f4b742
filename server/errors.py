"""The one table of problems this server can answer, as RFC 9457 problem details.

Services raise :class:`Problem`; `server.web.problems` maps it to HTTP. A problem inside a synced act is stored with the
act in the same form.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ProblemKind:
    """One row of the table: HTTP status and the title in both languages."""

    status: int
    title_zh: str
    title_en: str


PROBLEMS: dict[str, ProblemKind] = {
    "bad-request": ProblemKind(400, "请求有误", "Bad request"),
    "bad-signature": ProblemKind(400, "签名不符", "Signature does not verify"),
    "checksum-mismatch": ProblemKind(460, "校验和不符", "Checksum mismatch"),
    "client-too-old": ProblemKind(403, "客户端版本过旧", "Client too old"),
    "conflict": ProblemKind(409, "与现有状态冲突", "Conflicts with the present state"),
    "device-revoked": ProblemKind(403, "终端已吊销", "Device revoked"),
    "device-wiping": ProblemKind(403, "终端待清除", "Device is to be wiped"),
    "erased": ProblemKind(410, "已依法删除", "Lawfully erased"),
    "forbidden": ProblemKind(403, "无权访问", "Forbidden"),
    "illegal-transition": ProblemKind(409, "状态不允许该操作", "Illegal transition"),
    "internal": ProblemKind(500, "服务器内部错误", "Internal error"),
    "invalid-field": ProblemKind(422, "字段无效", "Invalid field"),
    "journal-fork": ProblemKind(409, "日志分叉", "Journal fork"),
    "limit-exceeded": ProblemKind(422, "超出限制", "Limit exceeded"),
    "malformed-json": ProblemKind(400, "JSON 格式错误", "Malformed JSON"),
    "method-not-allowed": ProblemKind(405, "方法不允许", "Method not allowed"),
    "not-found": ProblemKind(404, "未找到", "Not found"),
    "offset-mismatch": ProblemKind(409, "续传位置不符", "Upload offset does not match"),
    "range-not-satisfiable": ProblemKind(416, "请求范围无效", "Range not satisfiable"),
    "rate-limited": ProblemKind(429, "请求过于频繁", "Too many requests"),
    "stale-cursor": ProblemKind(410, "游标已失效", "Stale cursor"),
    "storage-full": ProblemKind(507, "存储空间不足", "Storage full"),
    "too-large": ProblemKind(413, "内容过大", "Content too large"),
    "unauthenticated": ProblemKind(401, "未登录或凭证无效", "Not authenticated"),
    "unavailable": ProblemKind(503, "服务暂不可用", "Service unavailable"),
    "unknown-kind": ProblemKind(422, "未知类型", "Unknown kind"),
    "unsupported-media-type": ProblemKind(415, "不支持的内容类型", "Unsupported media type"),
    "unsupported-tus-version": ProblemKind(412, "不支持的 tus 版本", "Unsupported tus version"),
}

Json = Any
"""A decoded JSON value; its shape is the schema's business."""


def _storable(text: str) -> str:
    """Replace what PostgreSQL's JSON cannot hold: a problem may quote what was sent, and is stored with its act."""
    return text.replace("\0", "\ufffd")


class Problem(Exception):
    """A fault the caller can understand and act on.

    Args:
        code: a key of :data:`PROBLEMS`.
        detail: one sentence on what happened.
        field: dotted path of the offending field, if there is one.
        limit: the limit that was passed, if one was.
        extra: further members of the problem object.
    """

    def __init__(
        self,
        code: str,
        *,
        detail: str = "",
        field: str | None = None,
        limit: float | str | None = None,
        **extra: Json,
    ) -> None:
        """Look the code up; an unknown code is a programming error and raises `KeyError`."""
        self.code = code
        self.kind = PROBLEMS[code]
        self.detail = _storable(detail)
        self.field = None if field is None else _storable(field)
        self.limit = limit
        self.extra = extra
        super().__init__(f"{code}: {detail}" if detail else code)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.kind.status

    def as_dict(self) -> dict[str, Json]:
        """Return the RFC 9457 problem object."""
        body: dict[str, Json] = {
            "type": f"urn:fieldproof:problem:{self.code}",
            "title": f"{self.kind.title_zh} / {self.kind.title_en}",
            "status": self.status,
            "code": self.code,
        }
        if self.detail:
            body["detail"] = self.detail
        if self.field is not None:
            body["field"] = self.field
        if self.limit is not None:
            body["limit"] = self.limit
        return body | self.extra
