"""The central (national) system as an outsider: it pulls behaviors by cursor and believes only what it can prove."""
