#!/usr/bin/env python3
"""Compares what `kcloud-monitor nvml` reads with `nvidia-smi -q -x` of the same moment, field by field, on a machine with NVIDIA GPUs.

    tests/nvml/compare.py --program target/dist/kcloud-monitor [--library PATH] [--keep DIR]

nvidia-smi is read before and after: what moves must lie between the two, widened by a tolerance. Exit status 1 when a field differs.
With --keep both outputs stay in DIR as a capture. Without cards: --answer FILE --before FILE [--after FILE] compares kept ones.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

MIB = 1 << 20
# field: (paths in the XML, the first that is there; factor from its unit to the driver's; tolerance in the driver's unit, and as a share)
SAME = (0, 0)
CARD = {
    "name": ("product_name", None, SAME),
    "serial": ("serial", None, SAME),
    "part_number": ("board_part_number", None, SAME),
    "vbios_version": ("vbios_version", None, SAME),
    "pci_address": ("pci/pci_bus_id", None, SAME),
    "minor_number": ("minor_number", 1, SAME),
    "mig_mode": ("mig_mode/current_mig", {"Disabled": 0, "Enabled": 1}, SAME),
    "ecc_mode": ("ecc_mode/current_ecc", {"Disabled": 0, "Enabled": 1}, SAME),
    "performance_state": ("performance_state", "P", (16, 0)),
    "utilization_gpu": ("utilization/gpu_util", 1, (100, 0)),
    "utilization_memory": ("utilization/memory_util", 1, (100, 0)),
    "utilization_encoder": ("utilization/encoder_util", 1, (100, 0)),
    "utilization_decoder": ("utilization/decoder_util", 1, (100, 0)),
    "memory_total": ("fb_memory_usage/total", MIB, (MIB, 0)),
    "memory_used": ("fb_memory_usage/used", MIB, (64 * MIB, 0)),
    "memory_free": ("fb_memory_usage/free", MIB, (64 * MIB, 0)),
    "memory_reserved": ("fb_memory_usage/reserved", MIB, (MIB, 0)),
    "power_usage": (
        "gpu_power_readings/instant_power_draw gpu_power_readings/average_power_draw gpu_power_readings/power_draw power_readings/power_draw",
        1000, (20_000, 0.2)),
    "power_limit_enforced": (
        "gpu_power_readings/current_power_limit power_readings/enforced_power_limit", 1000, (10, 0)),
    "power_limit_requested": (
        "gpu_power_readings/requested_power_limit power_readings/power_limit", 1000, (10, 0)),
    "power_limit_default": ("gpu_power_readings/default_power_limit power_readings/default_power_limit", 1000, (10, 0)),
    "power_limit_min": ("gpu_power_readings/min_power_limit power_readings/min_power_limit", 1000, (10, 0)),
    "power_limit_max": ("gpu_power_readings/max_power_limit power_readings/max_power_limit", 1000, (10, 0)),
    "temperature_gpu": ("temperature/gpu_temp", 1, (3, 0)),
    "temperature_memory": ("temperature/memory_temp", 1, (3, 0)),
    "temperature_shutdown": ("temperature/gpu_temp_max_threshold", 1, SAME),
    "temperature_slowdown": ("temperature/gpu_temp_slow_threshold", 1, SAME),
    "temperature_gpu_max": ("temperature/gpu_temp_max_gpu_threshold", 1, SAME),
    "temperature_memory_max": ("temperature/gpu_temp_max_mem_threshold", 1, SAME),
    "clock_sm": ("clocks/sm_clock", 1, (0, 1)),
    "clock_memory": ("clocks/mem_clock", 1, (0, 1)),
    "clock_graphics": ("clocks/graphics_clock", 1, (0, 1)),
    "clock_video": ("clocks/video_clock", 1, (0, 1)),
    "clock_sm_max": ("max_clocks/sm_clock", 1, SAME),
    "clock_memory_max": ("max_clocks/mem_clock", 1, SAME),
    "fan_speed": ("fan_speed", 1, (5, 0)),
    "pcie_tx": ("pci/tx_util", 1, (1e9, 0)),
    "pcie_rx": ("pci/rx_util", 1, (1e9, 0)),
    "pcie_replays": ("pci/replay_counter", 1, SAME),
    "pcie_generation": ("pci/pci_gpu_link_info/pcie_gen/current_link_gen", 1, (5, 0)),
    "pcie_generation_max": ("pci/pci_gpu_link_info/pcie_gen/max_link_gen", 1, SAME),
    "pcie_width": ("pci/pci_gpu_link_info/link_widths/current_link_width", 1, SAME),
    "pcie_width_max": ("pci/pci_gpu_link_info/link_widths/max_link_width", 1, SAME),
    "ecc_uncorrected": ("ecc_errors/volatile/sram_uncorrectable+ecc_errors/volatile/dram_uncorrectable", 1, SAME),
    "ecc_corrected": ("ecc_errors/volatile/sram_correctable+ecc_errors/volatile/dram_correctable", 1, SAME),
    "retired_pages_sbe": ("retired_pages/multiple_single_bit_retirement/retired_count", 1, SAME),
    "retired_pages_dbe": ("retired_pages/double_bit_retirement/retired_count", 1, SAME),
    "remapped_rows_correctable": ("remapped_rows/remapped_row_corr", 1, SAME),
    "remapped_rows_uncorrectable": ("remapped_rows/remapped_row_unc", 1, SAME),
    "row_remap_pending": ("remapped_rows/remapped_row_pending", {"No": 0, "Yes": 1}, SAME),
    "row_remap_failure": ("remapped_rows/remapped_row_failure", {"No": 0, "Yes": 1}, SAME),
}
# Read, and not in nvidia-smi -q -x: shown, not compared.
MORE = ["energy", "throttle_reasons", "ecc_corrected_aggregate", "ecc_uncorrected_aggregate", "xid_events"] + [
    f"throttle_{why}" for why in ("power", "thermal", "sync_boost", "board_limit", "low_utilization", "reliability")]
OTHER = ["driver.driver_version", "driver.cuda_version", "mig.name", "mig.memory_total", "mig.memory_used", "link.active",
         "link.replay_errors", "process.pid", "process.memory_used", "process.type"]
NONE = {"", "N/A", "[N/A]", "Not Supported", "Not Available", "Unknown Error", "Requested functionality has been deprecated"}


def ask(program, library):
    """One read through the helper, as the host asks it."""
    fields = [f"card.{f}" for f in list(CARD) + MORE] + OTHER
    helper = subprocess.Popen([program, "nvml", "--library", library], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    helper.stdin.write(json.dumps({"fields": fields, "skip": []}) + "\n")
    helper.stdin.flush()
    began, last = time.monotonic(), None
    for line in helper.stdout:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if "at" in said:
            last = said["at"]
            continue
        print(f"the helper took {(time.monotonic() - began) * 1000:.0f} ms, the start of the library with it")
        helper.stdin.close()
        helper.wait(10)
        if "error" in said:
            sys.exit(f"the driver: {said['error']}")
        return said["answer"]
    sys.exit(f"the helper ended ({helper.wait()}) over {last}")


def smi():
    return subprocess.run(["nvidia-smi", "-q", "-x"], check=True, capture_output=True, text=True).stdout


def shown(gpu, paths, factor):
    """What nvidia-smi shows of a field, in the driver's unit; None where it has none."""
    for path in paths.split():
        total = None
        for part in path.split("+"):
            text = (gpu.findtext(part) or "").strip()
            if text in NONE:
                continue
            if factor is None:
                return text
            if isinstance(factor, dict):
                if text in factor:
                    return factor[text]
                continue
            number = re.match(r"P?(-?[0-9.]+)", text)
            if number:
                total = (total or 0) + float(number[1]) * (1 if factor == "P" else factor)
        if total is not None:
            return total
    return None


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program")
    p.add_argument("--library", default="libnvidia-ml.so.1")
    p.add_argument("--keep", type=pathlib.Path)
    p.add_argument("--answer", type=pathlib.Path)
    p.add_argument("--before", type=pathlib.Path)
    p.add_argument("--after", type=pathlib.Path)
    a = p.parse_args()
    if a.answer:
        answer, before = json.loads(a.answer.read_text()), a.before.read_text()
        after = a.after.read_text() if a.after else before
    elif a.program:
        before = smi()
        answer = ask(a.program, a.library)
        after = smi()
    else:
        p.error("--program, or --answer with --before")
    first, second = ET.fromstring(before), ET.fromstring(after)
    if a.keep:
        folder = a.keep / f"{first.findtext('driver_version')}__{time.strftime('%Y%m%dT%H%M%S')}"
        folder.mkdir(parents=True)
        (folder / "nvml.json").write_text(json.dumps(answer, indent=1))
        (folder / "before.xml").write_text(before)
        (folder / "after.xml").write_text(after)
        print(f"kept in {folder}")
    cards = {}
    for at, part in enumerate(answer["parts"]):
        if part["kind"] == "card":
            readings = dict(part["readings"])
            cards[readings.get("uuid", {}).get("text")] = (at, readings)
    wrong = same = missing = 0
    gpus = {g.findtext("uuid"): g for g in first.iter("gpu")}
    later = {g.findtext("uuid"): g for g in second.iter("gpu")}
    if set(gpus) != set(cards):
        wrong += 1
        print(f"DIFFERENT CARDS: nvidia-smi {sorted(gpus)}, here {sorted(map(str, cards))}")
    for uuid in sorted(set(gpus) & set(cards)):
        at, readings = cards[uuid]
        print(f"\n{uuid}\n{'field':30} {'here':>24} {'nvidia-smi before':>24} {'after':>24}")
        for field, (paths, factor, (absolute, share)) in CARD.items():
            value = readings.get(field)
            here = value if isinstance(value, str) else next(iter(value.values())) if value else None
            one, two = shown(gpus[uuid], paths, factor), shown(later.get(uuid, gpus[uuid]), paths, factor)
            has = isinstance(value, dict) and ("number" in value or "text" in value)
            if one is None or not has:
                verdict = "both have none" if one is None and not has else "ONLY ONE HAS IT"
                missing += verdict != "both have none"
            elif factor is None:
                verdict = "" if here == one else "DIFFERS"
            else:
                two = one if two is None else two
                room = max(absolute, share * max(abs(one), abs(two)))
                verdict = "" if min(one, two) - room <= here <= max(one, two) + room else "DIFFERS"
            wrong += verdict == "DIFFERS"
            same += verdict == ""
            print(f"{field:30} {here!s:>24} {one!s:>24} {two!s:>24} {verdict}")
        for field in MORE:
            print(f"{field:30} {json.dumps(readings.get(field)):>24} {'–':>24}")
        known = {int(m.findtext("gpu_instance_id")) for m in gpus[uuid].iter("mig_device")}
        migs = [dict(m["readings"]) for m in answer["parts"] if m["kind"] == "mig" and m["parent"] == at]
        seen = {int(m["gpu_instance"]["number"]) for m in migs if "number" in m.get("gpu_instance", {})}
        pids = {int(i.findtext("pid")) for i in gpus[uuid].iter("process_info")}
        below = {at} | {i for i, m in enumerate(answer["parts"]) if m["kind"] == "mig" and m["parent"] == at}
        ours = {int(dict(m["readings"])["pid"]["number"]) for m in answer["parts"] if m["kind"] == "process" and m["parent"] in below}
        for what, theirs, mine in (("MIG instances", known, seen), ("processes", pids, ours)):
            verdict = "" if theirs == mine else "DIFFERS (a process may come or go)" if what == "processes" else "DIFFERS"
            wrong += verdict == "DIFFERS"
            print(f"{what:30} {sorted(mine)!s:>24} {sorted(theirs)!s:>24} {'':>24} {verdict}")
    print(f"\n{same} fields agree, {wrong} differ, {missing} only one of both has")
    sys.exit(1 if wrong else 0)


main()
