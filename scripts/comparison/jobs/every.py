"""All jobs, in the order of the page."""

from __future__ import annotations

from comparison.jobs import Setting, loads, opening, saves, selections, surgeries
from comparison.turns import Job


def jobs(setting: Setting) -> list[Job]:
    found = [
        loads.load_warm(setting), loads.load_cold(setting), loads.load_mapped(setting),
        loads.load_orbax(setting), loads.load_orbax_plain(setting), loads.load_orbax_cold(setting), loads.load_settings(setting),
        selections.parameters_orbax(setting), selections.parameters_safetensors(setting),
        selections.slices_safetensors(setting), selections.slices_orbax(setting),
        surgeries.stack_orbax(setting), surgeries.stack_safetensors(setting),
        surgeries.cast_safetensors(setting), surgeries.cast_orbax(setting),
        surgeries.mean(setting),
        saves.save_orbax(setting), saves.save_safetensors(setting),
        surgeries.link(setting),
        opening.metadata_orbax(setting), opening.metadata_safetensors(setting),
        *opening.verify(setting),
    ]  # fmt: skip
    for job in found:
        names = [contestant.name for contestant in job.contestants]
        mentioned = {job.baseline, *job.beside, *job.beside.values(), job.main_peer or job.baseline, job.expected or job.baseline}
        if len(set(names)) < len(names) or not mentioned <= set(names):
            raise ValueError(f"the contestants of {job.name} do not fit together: {names}, {mentioned}")
    return found
