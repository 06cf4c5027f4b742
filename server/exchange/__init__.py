"""Exchange with other systems: what the central (national) system pulls, and its receipts."""
