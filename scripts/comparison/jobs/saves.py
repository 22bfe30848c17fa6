"""A training state written, until it is on stable storage."""

from __future__ import annotations

from comparison.jobs import Setting
from comparison.turns import Job

DESCRIPTION = (
    "A training state (bfloat16 parameters, float32 moments of Adam) until all of it is on stable storage. Peers and *from memory* save what is in "
    "memory; *from a file* streams it out of a safetensors file in the page cache, in a budget of 128 MiB.")


def save_orbax(setting: Setting) -> Job:
    source, out = setting.data("state.safetensors"), setting.out

    def graft(compression: str, name: str, note: str = ""):
        return setting.save(f"Graft, {name}", source, out, compression, kind="orbax", note=note)

    def orbax(name: str, note: str = "", **options):
        return setting.peer(name, "orbax", "save", made=out, kind="orbax", note=note, source=source, path=out, options=options)

    return Job(
        "save-orbax", "Save as Orbax", DESCRIPTION,
        [
            graft("zstd", "zstd 3, from memory", "Orbax's level"),
            graft("zstd:entropy", "zstd:entropy, from memory"),
            graft("blosc:entropy", "blosc:entropy, from memory"),
            graft("none", "uncompressed, from memory"),
            setting.convert("Graft, zstd 3, from a file", source, out, kind="orbax"),
            setting.convert("Graft, blosc:entropy, from a file", source, out, "--compression", "blosc:entropy", kind="orbax"),
            orbax("Orbax", "`ocp.save`, its defaults: zstd"),
            orbax("Orbax, chunks of 4 MiB", "so that leaves are encoded in parallel", chunk_byte_size=4 << 20),
            orbax("Orbax, uncompressed", use_compression=False),
        ],
        baseline="Graft, zstd 3, from memory", reference=setting.digest("safetensors", source), inputs=[source],
        byte_count=setting.size.state_bytes, beside={"Orbax, uncompressed": "Graft, uncompressed, from memory"}, main_peer="Orbax", rounds=2,
    )  # fmt: skip


def save_safetensors(setting: Setting) -> Job:
    source, out, file = setting.data("state.safetensors"), setting.folder / "out.safetensors", setting.folder / "out.pt"
    return Job(
        "save-safetensors", "Save as safetensors", DESCRIPTION,
        [
            setting.save("Graft, from memory", source, out, "safetensors", kind="safetensors"),
            setting.convert("Graft, from a file", source, out, kind="safetensors"),
            setting.peer("safetensors", "safetensors", "save", made=out, kind="safetensors", source=source, path=out, note="`save_file` and `fsync`"),
            setting.peer(
                "safetensors for PyTorch", "torch", "save", made=out, kind="safetensors", source=source, path=out, of="safetensors",
                note="`save_file` and `fsync`"),
            setting.peer(
                "torch.save", "torch", "save", made=file, kind="torch", source=source, path=file, of="torch",
                note="into a file of its own kind, and `fsync`"),
        ],
        baseline="Graft, from memory", reference=setting.digest("safetensors", source), inputs=[source],
        byte_count=setting.size.state_bytes, main_peer="safetensors",
    )  # fmt: skip
