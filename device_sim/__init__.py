"""All simulated outsiders: handhelds, sensors, the central puller, fault proxy, demo and benchmarks. HTTP and MQTT only."""
