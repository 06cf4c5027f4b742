"""Field sync: what handhelds push and pull, and the conflicts that people decide."""
