"""All simulated outsiders: handhelds, sensors, central puller, fault proxy, demo, benchmarks. HTTP and MQTT only."""
