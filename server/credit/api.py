"""Credit records over HTTP."""

from server.credit.register import KEEPER
from server.registers.blueprint import register_blueprint

blp = register_blueprint(KEEPER)
