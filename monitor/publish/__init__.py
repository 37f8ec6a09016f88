"""MQTT: the wire schema, the publisher and the embedded broker."""
