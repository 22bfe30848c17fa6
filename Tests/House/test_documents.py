"""Plants what is wrong in documents and expects the check to find it."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

import documents

SOUND = {
    "README.md": "[a](docs/a.md#two-words), `Sources/Graft`, [b](https://example.com)\n\n"
    "```swift\nimport Graft\nlet a = try load()  // reads\n```\n",
    "docs/a.md": "# Title\n\n## Two `words`\n\n[up](../README.md)\n",
    "docs/partial-loading.md": "# Title\n\n## Structure\n\n| case | a |\n| --- | --- |\n| a leaf | b |\n\n## Other\n\n| x |\n",
    "Tests/GraftCoreTests/PartialLoadingTests.swift": 'Row(name: "a leaf", bytes: 8)\nRow(\n  name: "a leaf", code: .lossy)\n',
    "Sources/Graft/Graft.swift": "",
    "Tests/GraftTests/ReadmeTests.swift": "func test() {\n    let a = try load()\n}\n",
}

PLANTED = [
    ("docs/b.md", "[a](missing.md)", "docs/b.md: the link missing.md leads nowhere"),
    ("docs/b.md", "[a](a.md#three)", "docs/b.md: the link a.md#three leads to no heading"),
    ("docs/b.md", "see `scripts/gone`", "docs/b.md: there is no scripts/gone"),
    ("README.md", "```swift\nlet b = try load()\n```\n",
     "README.md: no test compiles the Swift that begins with `let b = try load()`"),
    ("docs/partial-loading.md", "## Structure\n\n| a leaf | b |\n| a cake | c |\n",
     "docs/partial-loading.md: no test holds the case `a cake`"),
    ("docs/partial-loading.md", "## Properties of a leaf\n", "docs/partial-loading.md: the tested case `a leaf` is missing"),
]


class DocumentTests(unittest.TestCase):
    def check(self, files: dict[str, str]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            for name, text in files.items():
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            return documents.problems(root)

    def test_sound_documents_pass(self):
        self.assertEqual(self.check(SOUND), [])

    def test_every_planted_problem_is_found(self):
        for name, text, message in PLANTED:
            with self.subTest(text=text):
                self.assertEqual(self.check({**SOUND, name: text}), [message])


if __name__ == "__main__":
    unittest.main()
