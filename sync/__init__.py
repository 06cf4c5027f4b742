"""The sync algorithm: acts, causality, merge, journal chain, cursors and Merkle proofs. Pure: no I/O, no clock."""
