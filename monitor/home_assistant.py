"""Keeps Home Assistant's devices equal to the streams that are watched, as the configuration wants it."""

from __future__ import annotations

from collections.abc import Iterable

from monitor.broker_section import HomeAssistantSection
from monitor.publish.discovery import BIRTH, Discovery
from monitor.publish.mqtt import MqttPublisher


class HomeAssistant:
    """Announces, repeats and removes devices through a publisher; all on the event loop.

    Args:
        publisher: Where messages go.
        version: Of the program.
    """

    def __init__(self, publisher: MqttPublisher, version: str) -> None:
        self._publisher, self._version = publisher, version
        self._discovery: Discovery | None = None
        self._announced: set[str] = set()

    def update(self, section: HomeAssistantSection | None, streams: Iterable[str]) -> None:
        """Takes the configuration and the streams as they are now.

        Without a section nothing is said nor asked, but for what this run has announced. Where one is given, devices of
        this node that an earlier run left on the broker are removed too.
        """
        prefix = None if section is None else section.prefix
        if self._discovery is not None and self._discovery.prefix != prefix:
            self._leave(self._discovery)
        if prefix is None:
            return
        if self._discovery is None:
            self._discovery = Discovery(prefix, self._publisher.topics, self._version)
            self._publisher.listen(self._discovery.birth_topic, self._birth)
            self._publisher.listen(self._discovery.all_devices, self._device)
        assert section is not None
        wanted = {*streams} if section.enabled else set()
        for stream in sorted(self._announced - wanted):
            self._publisher.offer(self._discovery.remove(stream))
        for stream in sorted(wanted - self._announced):
            self._publisher.offer(self._discovery.announce(stream))
        self._announced = wanted

    def _leave(self, discovery: Discovery) -> None:
        for stream in sorted(self._announced):
            self._publisher.offer(discovery.remove(stream))
        self._publisher.listen(discovery.birth_topic, None)
        self._publisher.listen(discovery.all_devices, None)
        self._announced, self._discovery = set(), None

    def _birth(self, topic: str, payload: bytes, retained: bool) -> None:
        # A retained one is older than this link, on which everything was announced.
        if payload == BIRTH and not retained and self._discovery is not None:
            for stream in sorted(self._announced):
                self._publisher.offer(self._discovery.announce(stream))

    def _device(self, topic: str, payload: bytes, retained: bool) -> None:
        discovery = self._discovery
        if discovery is None or not payload or not discovery.is_ours(payload):
            return
        if topic not in map(discovery.topic, self._announced):
            self._publisher.offer(discovery.remove_topic(topic))
