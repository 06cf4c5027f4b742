"""Complaints over HTTP."""

from server.complaints.register import KEEPER
from server.registers.blueprint import register_blueprint

blp = register_blueprint(KEEPER)
