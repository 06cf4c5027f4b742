"""Evidence: resumable upload, hash verification, content-addressed storage, media examination, chain of custody."""
