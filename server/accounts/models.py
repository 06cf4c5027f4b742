"""Tables of accounts."""

from datetime import datetime

from sqlalchemy import Boolean, ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, UtcDateTime


class Account(Base):
    """Someone, or some system, that may sign in."""

    __tablename__ = "account"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    login: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(64))
    region: Mapped[str] = mapped_column(String(9))
    """Division-code prefix the account may see."""
    department: Mapped[str] = mapped_column(String(32))
    """Department code; empty: all."""
    officer: Mapped[str | None] = mapped_column(String(36))
    """The officer this account belongs to, for role officer."""
    disabled: Mapped[bool] = mapped_column(Boolean)
    failures: Mapped[int] = mapped_column(Integer)
    locked_until: Mapped[datetime | None] = mapped_column(UtcDateTime)


class RevokedToken(Base):
    """A token that was signed out before its end; by its id, since a token can be spelled in several ways."""

    __tablename__ = "revoked_token"

    jti: Mapped[str] = mapped_column(String(36), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class SignInCode(Base):
    """A code that signs one account in, once, for a short time; only its SHA-256 is kept."""

    __tablename__ = "sign_in_code"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("account.id"))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
