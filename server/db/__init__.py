"""The database ground: engine, transactions, portable types."""
