"""Gives the public API's check declarations that show what they should not, as symbol graphs describe them."""

from __future__ import annotations

import unittest

import public_api


def symbol(path: list[str], *fragments: tuple[str, str] | tuple[str, str, str]) -> dict:
    """A declaration with fragments of (kind, spelling) or (kind, spelling, precise identifier)."""
    return {
        "pathComponents": path,
        "declarationFragments": [
            {"kind": fragment[0], "spelling": fragment[1], **({"preciseIdentifier": fragment[2]} if fragment[2:] else {})}
            for fragment in fragments
        ],
        "location": {"uri": "file:///anywhere/Sources/Graft/Tensor.swift", "position": {"line": 6, "character": 0}},
    }


POINTER = symbol(
    ["Tensor", "bytes"], ("keyword", "var"), ("text", " bytes: "),
    ("typeIdentifier", "UnsafeRawBufferPointer", "s:SW"))
C_TYPE = symbol(["Tensor", "size"], ("keyword", "var"), ("text", " size: "), ("typeIdentifier", "off_t", "c:@T@off_t"))
C_INT = symbol(["Tensor", "code"], ("keyword", "var"), ("text", " code: "), ("typeIdentifier", "CInt", "s:s4CInta"))
CLEAN = symbol(
    ["Tensor", "fill(errno:)"], ("keyword", "func"), ("text", " "), ("identifier", "fill"), ("text", "("),
    ("externalParam", "errno"), ("text", ": "), ("typeIdentifier", "Int", "s:Si"), ("text", ") -> "),
    ("typeIdentifier", "RawSpan", "s:s7RawSpanV"))


class PublicAPITests(unittest.TestCase):
    def messages(self, *symbols: dict, exceptions: dict[str, str] | None = None) -> list[str]:
        graph = {"module": {"name": "Graft"}, "symbols": list(symbols)}
        return [str(violation) for violation in public_api.violations([graph], exceptions or {})]

    def test_a_clean_declaration_passes(self):
        self.assertEqual(self.messages(CLEAN), [])

    def test_a_raw_pointer_a_c_type_and_a_c_integer_are_found_with_their_place(self):
        self.assertEqual(
            self.messages(POINTER, C_TYPE, C_INT, CLEAN),
            [
                "Sources/Graft/Tensor.swift:7: Graft.Tensor.bytes: shows UnsafeRawBufferPointer in "
                "`var bytes: UnsafeRawBufferPointer`",
                "Sources/Graft/Tensor.swift:7: Graft.Tensor.size: shows the C type off_t in `var size: off_t`",
                "Sources/Graft/Tensor.swift:7: Graft.Tensor.code: shows CInt in `var code: CInt`",
            ])

    def test_an_exception_covers_its_declaration_alone(self):
        found = self.messages(POINTER, C_TYPE, exceptions={"Graft.Tensor.bytes": "a caller's own memory"})
        self.assertEqual(len(found), 1)
        self.assertIn("Graft.Tensor.size", found[0])

    def test_an_exception_that_nothing_needs_is_found(self):
        self.assertEqual(
            self.messages(CLEAN, exceptions={"Graft.Tensor.gone": "was once so"}),
            ["public-api-exceptions.txt: Graft.Tensor.gone: is excepted, but needs no exception"])

    def test_an_exception_gives_its_reason(self):
        self.assertEqual(public_api.read_exceptions("# why\n\nGraft.load(into:): memory of the caller\n"),
                         {"Graft.load(into:)": "memory of the caller"})
        with self.assertRaises(SystemExit):
            public_api.read_exceptions("Graft.load\n")


if __name__ == "__main__":
    unittest.main()
