"""Synced records: the merged state of everything that handhelds and office share, its acts, and the feed over it."""
