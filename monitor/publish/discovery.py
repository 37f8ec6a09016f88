"""Home Assistant's discovery over MQTT: each stream as a device, with a few sensors that read its state.

One retained message a device, on ``{prefix}/device/{id}/config``; an empty one removes the device. Home Assistant says
``online`` on ``{prefix}/status`` when it starts, and then wants to be told again, whether the broker kept the messages
or not. Its documentation: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import json
from typing import Any

from monitor.publish.wire import OFFLINE, ONLINE, STOPPED, Topics
from monitor.types import Condition, Message

#: A sensor without news for this long is unavailable; states come once a second.
_EXPIRE_S = 15
BIRTH = b"online"
_ORIGIN = "vqwatch"


class Discovery:
    """The messages of one monitor's devices.

    Args:
        prefix: Home Assistant's discovery prefix.
        topics: Of this monitor.
        version: Of the program.
    """

    def __init__(self, prefix: str, topics: Topics, version: str) -> None:
        self.prefix = prefix
        self._topics = topics
        self._version = version

    @property
    def birth_topic(self) -> str:
        """Where Home Assistant says that it has started."""
        return f"{self.prefix}/status"

    @property
    def all_devices(self) -> str:
        """Filter of every device's topic, those of others included."""
        return f"{self.prefix}/device/+/config"

    def topic(self, stream: str) -> str:
        """Where a stream is announced. The capital keeps two nodes apart: ids of nodes and streams hold none."""
        return f"{self.prefix}/device/{self._id(stream)}/config"

    def announce(self, stream: str) -> Message:
        """A stream as a device, retained."""
        return Message(self.topic(stream), self._payload(stream), qos=1, retain=True)

    def remove(self, stream: str) -> Message:
        """Takes the device away, with all that belongs to it."""
        return self.remove_topic(self.topic(stream))

    def remove_topic(self, topic: str) -> Message:
        """The same, of a device that is known by its topic alone."""
        return Message(topic, b"", qos=1, retain=True)

    def is_ours(self, payload: bytes) -> bool:
        """Whether a device was announced by this monitor, in this run or an earlier one."""
        try:
            device = json.loads(payload)
            return bool(device["o"]["name"] == _ORIGIN and device["avty"][0]["t"] == self._topics.status)
        except (ValueError, LookupError, TypeError):
            return False

    def _id(self, stream: str) -> str:
        return f"vqwatch_{self._topics.node}_S_{stream}"

    def _payload(self, stream: str) -> bytes:
        id_ = self._id(stream)
        parts: dict[str, dict[str, Any]] = {
            "score": _points("Quality", "score_10s") | {"ic": "mdi:video-check"},
            "drop": _points("Quality drop", "drop"),
            "condition": {
                "p": "sensor",
                "name": "Condition",
                "dev_cla": "enum",
                "ops": [str(condition) for condition in Condition],
                "val_tpl": "{{ value_json.condition }}",
            },
            "cause": {"p": "sensor", "name": "Cause", "val_tpl": _known("cause"), "ic": "mdi:help-circle"},
            "problem": {
                "p": "binary_sensor",
                "name": "Problem",
                "dev_cla": "problem",
                "val_tpl": "{{ 'OFF' if value_json.status == 'ok' else 'ON' }}",
            },
        }
        for name, part in parts.items():
            part |= {"uniq_id": f"{id_}_{name}", "exp_aft": _EXPIRE_S}
        payload = {
            "dev": {"ids": [id_], "name": stream, "mf": "vqwatch", "mdl": self._topics.node, "sw": self._version},
            "o": {"name": _ORIGIN, "sw": self._version},
            "avty": [
                {
                    "t": self._topics.status,
                    "val_tpl": f"{{{{ '{OFFLINE.decode()}' if value == '{STOPPED.decode()}' else value }}}}",
                    "pl_avail": ONLINE.decode(),
                    "pl_not_avail": OFFLINE.decode(),
                }
            ],
            "stat_t": self._topics.state(stream),
            "qos": 0,
            "cmps": parts,
        }
        return json.dumps(payload, separators=(",", ":")).encode()


def _known(field: str) -> str:
    """A template of a field that may be left out: Home Assistant shows None as unknown."""
    return f"{{{{ value_json.{field} | default(none) }}}}"


def _points(name: str, field: str) -> dict[str, Any]:
    return {
        "p": "sensor",
        "name": name,
        "stat_cla": "measurement",
        "unit_of_meas": "points",
        "sug_dsp_prc": 0,
        "val_tpl": _known(field),
    }
