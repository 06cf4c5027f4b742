"""Accounts of people and of the central system: passwords, roles, scope, sign-in."""
