"""Plants each kind of violation in a small package and expects the house's check to find it, and nothing else."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

import house

# A package that breaks no rule, with the traps that a naive reading would fall into.
SOUND = {
    "Sources/GraftCore/Box.swift": """
/// Not an import: `import Foundation`
// import GraftIO
/* import Graft /* nested */ import GraftExecute */
internal import OrderedCollections
import CGraftKernels
let text = "import Foundation"
let page = \"\"\"
import Foundation
\"\"\"
let raw = #"a quotation mark " in a raw string; import Foundation"#
struct Box { var important = "//" }
""",
    "Sources/GraftIO/File.swift": "package import GraftCore\nimport CGraftRing\n",
    "Sources/GraftFormats/Safetensors/Header.swift": """
import GraftIO
package struct SafetensorsHeader { struct Index {} }
private struct Scratch {}
""",
    "Sources/GraftFormats/Zarr/Array.swift": """
package enum ZarrArray { struct Index {} }
// unlike SafetensorsHeader
private struct Scratch {}
""",
    "Sources/GraftFormats/Orbax/Orbax.swift": "let array: ZarrArray",
    "Sources/Graft/Checkpoint.swift": "public import GraftCore\nimport Foundation\n",
    "Sources/graft/main.swift": "import GraftCommands",
    "CSources/CGraftRing/ring.c": '#include <liburing.h>\n#include "graft_ring.h"\n',
    "CSources/CGraftRing/include/graft_ring.h": "// wraps liburing.h\n#include <stdint.h>\n",
    "Tests/GraftCoreTests/BoxTests.swift": "import GraftCore // never @testable",
}

# What is planted: the file, its text, and a part of what the check must say of it.
PLANTED = [
    ("Sources/GraftCore/A.swift", "import GraftIO", "does not stand before it"),
    ("Sources/GraftCore/A.swift", "struct A {}; import GraftIO", "does not stand before it"),
    ("Sources/GraftCore/A.swift", "@_exported public import struct Graft.Checkpoint", "does not stand before it"),
    ("Sources/GraftCore/A.swift", "@_spi(Internal) import GraftIO", "does not stand before it"),
    ("Sources/GraftCore/A.swift", "import CGraftDevice", "imports none of ours"),
    ("Sources/GraftCore/A.swift", 'let a = "\\\\(b ? "c" : "d")"\nimport GraftIO', "does not stand before it"),
    ("Sources/GraftCore/A.swift", "import Foundation", "stays at the façade"),
    ("Sources/GraftExecute/A.swift", "import FoundationEssentials", "stays at the façade"),
    ("Sources/GraftExecute/A.swift", "import CGraftRing", "which only GraftIO does"),
    ("Sources/GraftCommands/A.swift", "import graft", "does not stand before it"),
    ("Sources/GraftExtra/A.swift", "", "no place in the order"),
    ("CSources/CGraftExtra/a.c", "", "no place in the order"),
    ("CSources/CGraftRing/include/extra.h", "#include <liburing.h>", "only by .c files of CGraftRing"),
    ("CSources/CGraftKernels/a.c", "#  include <liburing/io_uring.h>", "only by .c files of CGraftRing"),
    ("CSources/CGraftRing/a.c", "/* why */ \n#include <zstd.h>", "only by .c files of CGraftCodec"),
    ("Sources/GraftFormats/Zarr/A.swift", "let a = SafetensorsHeader.self", "of its sibling Safetensors"),
    ("Sources/GraftFormats/OCDBT/A.swift", "extension ZarrArray {}", "of its sibling Zarr"),
    ("Sources/GraftFormats/Orbax/A.swift", "let a: SafetensorsHeader?", "of its sibling Safetensors"),
    ("Tests/GraftCoreTests/A.swift", "@testable import GraftCore", "use package access"),
]


class HouseTests(unittest.TestCase):
    def check(self, files: dict[str, str]) -> list[house.Violation]:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            return house.violations(Path(folder))

    def test_this_package_is_sound(self):
        self.assertEqual(house.violations(Path(__file__).resolve().parents[2]), [])

    def test_a_sound_package_has_no_violation(self):
        self.assertEqual(self.check(SOUND), [])

    def test_every_planted_violation_is_found(self):
        for name, text, message in PLANTED:
            with self.subTest(name=name, text=text):
                found = self.check({**SOUND, name: text})
                self.assertEqual(len(found), 1, found)
                self.assertIn(message, found[0].message)
                self.assertTrue(name.startswith(found[0].file), found)

    def test_a_violation_names_its_line(self):
        found = self.check({**SOUND, "Sources/GraftCore/A.swift": "/* two\nlines */\n\nimport GraftIO\n"})
        self.assertEqual(str(found[0]).split(" ")[0], "Sources/GraftCore/A.swift:4:")

    def test_every_module_of_the_package_has_its_place_in_the_manifest(self):
        root = Path(__file__).resolve().parents[2]
        manifest = (root / "Package.swift").read_text(encoding="utf-8")
        for folder in [*(root / "Sources").iterdir(), *(root / "CSources").iterdir()]:
            self.assertIn(f'"{folder.name}"', manifest)


if __name__ == "__main__":
    unittest.main()
