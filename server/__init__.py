"""The platform: one Flask application, one package per supervision domain, one database."""
