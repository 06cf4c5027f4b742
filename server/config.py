"""Configuration: read once from the environment into a frozen object; nothing else reads the environment."""

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

SECRET_BYTES = 32
"""Length of generated secrets."""
BEHAVIOR_KINDS = ("inspection", "penalty", "coercion", "other")
MAX_PUBLICATION_DAYS = 250
"""Longest time for publishing a behavior, in working days."""
LEAD_STATES = (
    "generated", "pushed", "signed_for", "verifying", "confirmed", "refuted", "partly", "disposed", "fed_back",
)  # fmt: skip
"""States of a lead in which something is due."""
MAX_LEAD_HOURS = 24 * 366
"""Longest time for one step of a lead, in hours."""


@dataclass(frozen=True)
class S3Settings:
    """Where evidence lies on S3 (`FIELDPROOF_S3_*`)."""

    bucket: str
    """The bucket; it must exist."""
    endpoint_url: str
    """Address of the service; empty for AWS."""
    region: str
    access_key: str
    secret_key: str = field(repr=False)
    prefix: str = ""
    """What every object's name begins with."""


@dataclass(frozen=True)
class TimestampSettings:
    """Which authority stamps the proof log's heads (`FIELDPROOF_TIMESTAMP_*`), RFC 3161 over HTTP."""

    url: str
    roots: Path
    """The root certificates that are trusted (PEM), received on another way."""
    every_s: int
    """How often at most, seconds."""


@dataclass(frozen=True)
class TelemetryDays:
    """Days for which each tier of telemetry is kept (`FIELDPROOF_TELEMETRY_*_DAYS`); 0: for ever."""

    raw: int = 0
    """Readings."""
    minute: int = 0
    hour: int = 0
    day: int = 0


@dataclass(frozen=True)
class Settings:
    """All settings of the programs.

    Each is read from `FIELDPROOF_<NAME>`; the defaults run everything embedded below one folder.
    """

    home: Path
    """Folder of all data, keys and databases (`FIELDPROOF_HOME`, default `./var`)."""
    database_url: str
    """SQLAlchemy URL; default is SQLite below `home`."""
    public_url: str
    """Address at which people and devices reach the server."""
    evidence_dir: Path
    """Folder of the content-addressed evidence store."""
    keys_dir: Path
    """Folder of the server's keys (0700)."""
    mqtt_host: str
    mqtt_port: int
    mqtt_user: str
    mqtt_password: str
    token_s: int
    """Lifetime of an operator's or officer's token, seconds."""
    device_token_s: int
    """Lifetime of a device's token, seconds."""
    secure_cookies: bool
    """Whether cookies are sent over TLS only; off only for a plain-HTTP loopback."""
    held_timeout_s: int
    """How long an act may wait for its cause before people are shown it, seconds."""
    device_requests_per_s: int
    """Requests a device may make of each server process, a second; 0: any number."""
    erasure_ledger: Path
    """File of executed erasure orders; kept apart from the database's backups, and replayed after a restore."""
    s3: S3Settings | None = None
    """The evidence store, if it is not the directory."""
    seal_after_days: int = 0
    """Days from closing a case to sealing its evidence."""
    retention_days: int = 0
    """Days from closing a case to destroying the bytes of its evidence; 0 keeps them for ever."""
    telemetry_days: TelemetryDays = TelemetryDays()
    """How long telemetry is kept."""
    timestamps: TimestampSettings | None = None
    """Who stamps the proof log's heads; nobody by default."""
    recheck_ahead_days: int | None = 3
    """Days before its deadline at which an order's re-check is given out; None: only by people."""
    lead_hours: Mapping[str, int] = field(default_factory=dict)
    """Hours within which a lead's next step is due, by state, where they are not the usual ones."""
    visit_limits: str = "mark"
    """What becomes of visits that break a limit: `mark` them, `block` their closing, or `off`: no yearly cap either."""
    publication_days: Mapping[str, int] = field(default_factory=dict)
    """Working days within which kinds of behaviors are published, where they are not the usual ones."""


def load_settings(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from environment variables named `FIELDPROOF_*`.

    Raises:
        ValueError: a number is not one; the message names the variable.
    """
    home = Path(env.get("FIELDPROOF_HOME", "var")).resolve()
    public_url = env.get("FIELDPROOF_PUBLIC_URL", "http://127.0.0.1:8080")
    return Settings(
        home=home,
        database_url=env.get("FIELDPROOF_DATABASE_URL", f"sqlite:///{home / 'fieldproof.db'}"),
        public_url=public_url,
        evidence_dir=Path(env.get("FIELDPROOF_EVIDENCE_DIR", str(home / "evidence"))),
        keys_dir=Path(env.get("FIELDPROOF_KEYS_DIR", str(home / "keys"))),
        mqtt_host=env.get("FIELDPROOF_MQTT_HOST", "127.0.0.1"),
        mqtt_port=_whole(env, "FIELDPROOF_MQTT_PORT", "1883"),
        mqtt_user=env.get("FIELDPROOF_MQTT_USER", "ingest"),
        mqtt_password=env.get("FIELDPROOF_MQTT_PASSWORD", ""),
        token_s=_whole(env, "FIELDPROOF_TOKEN_S", "28800"),
        device_token_s=_whole(env, "FIELDPROOF_DEVICE_TOKEN_S", "900"),
        secure_cookies=public_url.startswith("https://"),
        held_timeout_s=_whole(env, "FIELDPROOF_HELD_TIMEOUT_S", str(7 * 24 * 3600)),
        device_requests_per_s=_whole(env, "FIELDPROOF_DEVICE_REQUESTS_PER_S", "30"),
        erasure_ledger=Path(env.get("FIELDPROOF_ERASURE_LEDGER", str(home / "erasures.ndjson"))),
        s3=_s3(env),
        seal_after_days=_whole(env, "FIELDPROOF_SEAL_AFTER_DAYS", "0"),
        retention_days=_whole(env, "FIELDPROOF_RETENTION_DAYS", "0"),
        telemetry_days=TelemetryDays(
            raw=_whole(env, "FIELDPROOF_TELEMETRY_RAW_DAYS", "0"),
            minute=_whole(env, "FIELDPROOF_TELEMETRY_MINUTE_DAYS", "0"),
            hour=_whole(env, "FIELDPROOF_TELEMETRY_HOUR_DAYS", "0"),
            day=_whole(env, "FIELDPROOF_TELEMETRY_DAY_DAYS", "0"),
        ),
        timestamps=_timestamps(env),
        recheck_ahead_days=_ahead(env, "FIELDPROOF_RECHECK_AHEAD_DAYS", "3"),
        visit_limits=_one_of(env, "FIELDPROOF_VISIT_LIMITS", ("mark", "block", "off")),
        lead_hours=_pairs(env, "FIELDPROOF_LEAD_HOURS", LEAD_STATES, MAX_LEAD_HOURS, "generated=4 pushed=24"),
        publication_days=_pairs(
            env, "FIELDPROOF_PUBLICATION_DAYS", BEHAVIOR_KINDS, MAX_PUBLICATION_DAYS, "penalty=7 other=20"
        ),
    )


def _timestamps(env: Mapping[str, str]) -> TimestampSettings | None:
    url, roots = env.get("FIELDPROOF_TIMESTAMP_URL", ""), env.get("FIELDPROOF_TIMESTAMP_ROOTS", "")
    if not url:
        return None
    if not roots:
        raise ValueError("FIELDPROOF_TIMESTAMP_URL needs FIELDPROOF_TIMESTAMP_ROOTS, the roots to trust")
    return TimestampSettings(url, Path(roots), _whole(env, "FIELDPROOF_TIMESTAMP_EVERY_S", "3600"))


def _s3(env: Mapping[str, str]) -> S3Settings | None:
    if not env.get("FIELDPROOF_S3_BUCKET"):
        return None
    return S3Settings(
        bucket=env["FIELDPROOF_S3_BUCKET"],
        endpoint_url=env.get("FIELDPROOF_S3_ENDPOINT", ""),
        region=env.get("FIELDPROOF_S3_REGION", "us-east-1"),
        access_key=env.get("FIELDPROOF_S3_ACCESS_KEY", ""),
        secret_key=env.get("FIELDPROOF_S3_SECRET_KEY", ""),
        prefix=env.get("FIELDPROOF_S3_PREFIX", ""),
    )


def _whole(env: Mapping[str, str], name: str, default: str) -> int:
    text = env.get(name, default)
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{name} must be a whole number, not {text!r}")
    return int(text)


def _one_of(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """Read one of a few words; the first is the default."""
    text = env.get(name, choices[0])
    if text not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {text!r}")
    return text


def _ahead(env: Mapping[str, str], name: str, default: str) -> int | None:
    return None if env.get(name) == "by-hand" else _whole(env, name, default)


def _pairs(env: Mapping[str, str], name: str, known: Collection[str], most: int, example: str) -> dict[str, int]:
    """Read `name=number` pairs that are separated by spaces."""
    found = {}
    for pair in env.get(name, "").split():
        key, _, count = pair.partition("=")
        if key not in known or not (count.isascii() and count.isdigit() and int(count) <= most):
            raise ValueError(f"{name} must be like {example}, not {pair!r}")
        found[key] = int(count)
    return found


def load_secret(settings: Settings, name: str) -> bytes:
    """Return the secret `name`, making a random one (mode 0600) at the first call.

    The file is linked into place whole, so two programs starting at once agree on one secret. It is read once per
    process, and again only when another file stands in its place (:func:`rotate_secret`).
    """
    path = settings.keys_dir / f"{name}.secret"
    while True:
        try:
            return _read_secret(path)
        except FileNotFoundError:
            settings.keys_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = _fresh_secret(settings.keys_dir, name)
            with suppress(FileExistsError):
                os.link(fresh, path)
            fresh.unlink()


def load_previous_secret(settings: Settings, name: str) -> bytes | None:
    """Return the secret that was in force before the last rotation; None when there is none, or it is forgotten."""
    try:
        return _read_secret(settings.keys_dir / f"{name}.previous.secret")
    except FileNotFoundError:
        return None


def rotate_secret(settings: Settings, name: str, *, keep_previous: bool = True) -> None:
    """Put a fresh secret in the place of the present one; running programs take it up with their next request.

    What the present one has signed stays good beside the new one, unless `keep_previous` is off.
    """
    load_secret(settings, name)
    path, previous = settings.keys_dir / f"{name}.secret", settings.keys_dir / f"{name}.previous.secret"
    if keep_previous:
        kept = settings.keys_dir / f".{name}.previous.{os.getpid()}.{os.urandom(4).hex()}"
        os.link(path, kept)
        kept.replace(previous)
    else:
        previous.unlink(missing_ok=True)
    _fresh_secret(settings.keys_dir, name).replace(path)


def promote_secret(settings: Settings, name: str, successor: str) -> None:
    """Let the secret `successor` take the place of the secret `name`, which is gone."""
    (settings.keys_dir / f"{successor}.secret").replace(settings.keys_dir / f"{name}.secret")


_SECRETS: dict[Path, tuple[tuple[int, int], bytes]] = {}
"""Secrets that were read, with the file they were read from: its inode and when that was last changed."""


def _read_secret(path: Path) -> bytes:
    found = path.stat()
    file = (found.st_ino, found.st_ctime_ns)
    known = _SECRETS.get(path)
    if known is not None and known[0] == file:
        return known[1]
    secret = bytes.fromhex(path.read_text().strip())
    _SECRETS[path] = (file, secret)
    return secret


def _fresh_secret(folder: Path, name: str) -> Path:
    fresh = folder / f".{name}.{os.getpid()}.{os.urandom(4).hex()}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(os.urandom(SECRET_BYTES).hex().encode())
        out.flush()
        os.fsync(out.fileno())
    return fresh
