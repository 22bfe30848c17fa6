"""What is in a checkpoint, and what checking its bytes costs."""

from __future__ import annotations

from comparison.jobs import Setting
from comparison.jobs.loads import FIRST_LOAD
from comparison.turns import Job


WHOLE = "with its start and its output, all of which the others' times leave out"


def metadata_orbax(setting: Setting) -> Job:
    path, peer, times = setting.data("many-zstd"), setting.peer, setting.times
    return Job(
        "metadata-orbax", "What is in an Orbax checkpoint",
        f"The dtype and shape of each of {setting.size.many:,} leaves; no tensor byte is read.",
        [
            setting.open("Graft", path, times=times),
            setting.inspect("Graft, inspect --json", path, WHOLE),
            peer("Orbax", "orbax", "metadata", path=path, times=times, note="`ocp.metadata`"),
            peer("TensorStore", "tensorstore", "metadata", path=path, times=times, note="opens every array"),
        ],
        baseline="Graft", reference=peer("", "safetensors", "metadata", path=setting.data("many.safetensors")).check, inputs=[path],
        repeats=True, rounds=2,
    )  # fmt: skip


def metadata_safetensors(setting: Setting) -> Job:
    path, times = setting.data("many.safetensors"), setting.times
    return Job(
        "metadata-safetensors", "What is in a safetensors file",
        "The same of as many leaves in one file.",
        [
            setting.open("Graft", path, times=times),
            setting.inspect("Graft, inspect --json", path, WHOLE),
            setting.peer("safetensors", "safetensors", "metadata", path=path, times=times, note="`safe_open`, `get_slice` of every leaf"),
        ],
        baseline="Graft", reference=setting.peer("", "safetensors", "metadata", path=path).check, inputs=[path], repeats=True,
        why="The library parses the header into a table of names and places. Graft makes a tree of it besides, splits names at their dots, and refuses "
        "keys that come twice; no single function of Graft's has a tenth of the time any more.",
    )  # fmt: skip


def verify(setting: Setting) -> list[Job]:
    def job(name: str, title: str, data: str, what: str) -> Job:
        path, times = setting.data(data), setting.times
        return Job(
            name, title, what,
            [
                setting.load("Graft, unverified", path, times=times, options=["--verify", "never"]),
                setting.load("Graft, verified", path, times=times, note="the default"),
                setting.peer("TensorStore", "tensorstore", "load", path=path, times=times, note="verifies, as Orbax does through it"),
            ],
            baseline="Graft, unverified", reference=setting.digest("safetensors", setting.model), inputs=[path],
            byte_count=setting.size.model_bytes, repeats=True, why=FIRST_LOAD,
        )  # fmt: skip

    return [
        job(
            "verify-zstd", "Verify checksums, compressed", "graft-zstd",
            "A model as Graft writes it by default, in zstd frames of 4 MiB with a CRC-32C each; warm. What is verified is the frames."),
        job(
            "verify-plain", "Verify checksums, uncompressed", "graft-plain",
            "The same without compression."),
    ]  # fmt: skip
