"""What a handheld knows of the server's time in this boot: the exchange that says most, sent along with every push."""

from __future__ import annotations

from sync.clocks import Exchange, drift_ms

CLOCK_HEADER = "Fieldproof-Clock"


class ExchangeKeeper:
    """Keeps the best exchange of one boot. It lives in memory: with the boot it loses its meaning."""

    def __init__(self, boot: str) -> None:
        self.boot = boot
        self.best: Exchange | None = None

    def note(self, sent_mono_ms: int, server_ms: int, received_mono_ms: int) -> None:
        """Take in an exchange; a later one replaces an equal one."""
        fresh = Exchange(self.boot, sent_mono_ms, server_ms, received_mono_ms)
        if self.best is None or _error_ms(fresh, received_mono_ms) <= _error_ms(self.best, received_mono_ms):
            self.best = fresh

    def headers(self) -> dict[str, str]:
        """The header that goes with a push; none before the first exchange."""
        return {CLOCK_HEADER: self.best.text()} if self.best else {}


def _error_ms(exchange: Exchange, now_mono_ms: int) -> int:
    width_ms = exchange.received_mono_ms - exchange.sent_mono_ms
    return (width_ms + 1) // 2 + drift_ms(now_mono_ms - exchange.received_mono_ms)
