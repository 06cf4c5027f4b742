"""MQTT to database: subscribe, validate, batch, commit, then acknowledge."""
