"""Which store the settings name."""

from server.config import Settings
from server.evidence.store import BlobStore, DirectoryStore


def open_store(settings: Settings) -> BlobStore:
    """Return the store of originals and derivatives: S3 if a bucket is configured, else a directory."""
    if settings.s3 is None:
        return DirectoryStore(settings.evidence_dir / "blobs")
    from server.evidence.s3 import S3Store  # noqa: PLC0415 - boto3 takes 25 MB; only installations on S3 pay for it

    return S3Store(settings.s3)
