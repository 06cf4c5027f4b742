"""Third-party platforms and key firms over HTTP."""

from server.platforms.register import KEEPER
from server.registers.blueprint import register_blueprint

blp = register_blueprint(KEEPER)
