"""A collector in Python: power, temperature and utilisation of NVIDIA cards out of dcgm-exporter's text.

A target with `config = { mode = "…" }` makes it misbehave (misbehave.py): what the host makes of that is tested.
"""

import json
import math

import misbehave
from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.collector import Affinity, Info
from wit_world.imports import http
from wit_world.imports.types import (
    Batch, CollectError_Auth, CollectError_Denied, CollectError_Protocol, CollectError_Unreachable, Coverage, Gap,
    GapReason, Label, MetricDef, MetricKind, Point, Quality, Subject,
)

# Metric, unit, factor, and the names before and from DCGM 4.6.
ROWS = [
    ("power_watts", "watts", 1.0, ("DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_BOARD_POWER_WATTS")),
    ("temperature_celsius", "celsius", 1.0, ("DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_TEMP_CELSIUS")),
    ("utilization_ratio", "ratio", 0.01, ("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_UTIL_RATIO")),
]
NAMES = {name: (index, factor) for index, (_, _, factor, names) in enumerate(ROWS) for name in names}
# From here on DCGM's numbers are words for "no reading".
BLANK = 1e15
SCHEMA = {"type": "object", "additionalProperties": False}


def rows(text: str):
    """Metric index, labels and value of each line that is of use; labels of these families hold no comma and no quote."""
    for line in text.splitlines():
        known = NAMES.get(line.partition("{")[0])
        if known:
            labels, _, value = line.partition("{")[2].rpartition("} ")
            pairs = (pair.partition("=") for pair in labels.split(","))
            yield known, {key: quoted.strip('"') for key, _, quoted in pairs}, float(value)


class Collector(exports.Collector):
    def describe(self) -> Info:
        metrics = [MetricDef(name, "", unit, MetricKind.GAUGE, Quality.MEASURED, []) for name, unit, *_ in ROWS]
        description = "NVIDIA cards through dcgm-exporter, in Python"
        return Info("python", "0.1.0", "KCloud", description, metrics, json.dumps(SCHEMA), Affinity.NONE)

    def configure(self, config: str) -> None:
        pass

    def discover(self):
        return []

    def collect(self, target, deadline_ms, page, cursor) -> Batch:
        mode = json.loads(target.config).get("mode")
        if mode:
            misbehave.MODES[mode]()
        try:
            answer = http.send(http.Request("GET", target.address, [], None, target.credential, deadline_ms))
        except Err as error:
            reason = f"{target.address}: {error.value}"
            denied = isinstance(error.value, http.HttpError_Denied)
            raise Err(CollectError_Denied(reason) if denied else CollectError_Unreachable(reason)) from None
        if answer.status != 200:
            refused = CollectError_Auth if answer.status in (401, 403) else CollectError_Unreachable
            raise Err(refused(f"{target.address} answered {answer.status}"))
        subjects, points, gaps, index, seen = [], [], [], {}, set()

        def subject(kind, identity, labels, parent):
            """Written once, pointed at by its index; its first identity label tells it from others."""
            key = (kind, identity[0][1])
            if key not in index:
                index[key] = len(subjects)
                subjects.append(Subject(kind, [Label(*pair) for pair in identity], [Label(*pair) for pair in labels], parent, None))
            return index[key]

        for (metric, factor), labels, value in rows(answer.body.decode()):
            name = labels.get("Hostname") or labels.get("hostname") or target.id
            identity = [("uuid", labels["UUID"]), ("pci_address", labels["pci_bus_id"]), ("device", labels["device"]), ("node", name)]
            about = [("model", labels["modelName"]), ("class", "gpu"), ("vendor", "nvidia")]
            card = subject("accelerator", identity, about, subject("node", [("node", name)], [], None))
            # A card's value stands again on each of its MIG instances: it counts once.
            if (card, metric) in seen:
                continue
            seen.add((card, metric))
            if math.isfinite(value) and value < BLANK:
                points.append(Point(metric, card, value * factor))
            else:
                gaps.append(Gap(metric, card, GapReason.UNSUPPORTED))
        if not subjects:
            raise Err(CollectError_Protocol(f"{target.address}: no card in its answer"))
        return Batch(Coverage.WHOLE, [], subjects, points, [], [], [], gaps, [], [], [], None, None)
