"""No sensor takes more than its share: what one sends beyond its allowance is refused and counted, not stored.

Each topic has a token bucket: `rate_per_s` messages flow in a second, up to `burst` are saved up, so that a sensor
which was cut off for a day may send all it kept. Whatever comes beyond is not taken in; it is kept as one dead letter
a minute with the first message and the number of them. A sensor that asks for receipts loses nothing by it: it gets
none for what was refused, and sends it again.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

from iot_ingest.batcher import Delivery
from schemas.telemetry import sensor_of
from server.telemetry.letters import Excess

RATE_PER_S = 1_000.0
"""Messages a second that a sensor may send for ever."""
BURST = 60_000
"""Messages that a sensor may send at once after a long silence."""
BUCKETS_LIMIT = 200_000
"""Topics remembered; with more the fullest are forgotten, which only makes the throttle kinder."""
_topic = itemgetter(0)


@dataclass(slots=True)
class Bucket:
    """What one topic may still send, and when that was reckoned."""

    tokens: float
    at: datetime


class Throttle:
    """Sifts batches; one for each ingester, used by one thread."""

    def __init__(self, rate_per_s: float = RATE_PER_S, burst: int = BURST) -> None:
        """Begin with every bucket full.

        Raises:
            ValueError: a number is not positive.
        """
        if rate_per_s <= 0 or burst < 1:
            raise ValueError("a throttle needs positive numbers")
        self._rate_per_s, self._burst = rate_per_s, burst
        self._buckets: dict[str, Bucket] = {}

    def sift(self, deliveries: Sequence[Delivery]) -> tuple[Sequence[Delivery], list[Excess]]:
        """Return what may be taken in, in its order, and what each topic sent beyond its allowance."""
        over: dict[str, int] = {}
        for topic, count in Counter(map(_topic, deliveries)).items():
            allowed = self._draw(topic, count, deliveries[-1].received_at)
            if allowed < count:
                over[topic] = allowed
        return (deliveries, []) if not over else self._sort(deliveries, over)

    def _draw(self, topic: str, count: int, now: datetime) -> int:
        """Take up to `count` tokens from a topic's bucket; return how many there were."""
        bucket = self._buckets.get(topic)
        if bucket is None:
            if len(self._buckets) >= BUCKETS_LIMIT:
                self._forget()
            bucket = self._buckets[topic] = Bucket(self._burst, now)
        passed_s = max(0.0, (now - bucket.at).total_seconds())
        tokens = min(float(self._burst), bucket.tokens + passed_s * self._rate_per_s)
        allowed = min(count, int(tokens))
        bucket.tokens, bucket.at = tokens - allowed, max(now, bucket.at)
        return allowed

    def _forget(self) -> None:
        """Keep the emptier half of the buckets: those near their limit are the ones that matter."""
        emptiest = sorted(self._buckets.items(), key=lambda item: item[1].tokens)
        self._buckets = dict(emptiest[: BUCKETS_LIMIT // 2])

    def _sort(self, deliveries: Sequence[Delivery], over: dict[str, int]) -> tuple[list[Delivery], list[Excess]]:
        """Let the first of each topic through, as many as it is allowed, and add up the others."""
        taken: list[Delivery] = []
        excess: dict[str, Excess] = {}
        for item in deliveries:
            left = over.get(item.topic)
            if left is None:
                taken.append(item)
            elif left:
                over[item.topic] = left - 1
                taken.append(item)
            elif item.topic in excess:
                excess[item.topic].messages += 1
            else:
                detail = f"more than {self._rate_per_s:g} messages a second for longer than {self._burst} allow"
                excess[item.topic] = Excess(
                    item.topic, sensor_of(item.topic) or "", item.payload, item.received_at, detail
                )
        return taken, list(excess.values())
