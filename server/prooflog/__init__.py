"""The proof log: an append-only Merkle tree (RFC 6962) over behaviors, journal heads and evidence; signed heads."""
