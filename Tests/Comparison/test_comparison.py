"""Holds what scripts/compare reckons and writes: ratios, the journal, whose turn it is, and the page, out of figures that are made up here.

It needs nothing but Python: contestants are small programs of the interpreter's, and no peer is imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from comparison import machine, page, parts, turns  # noqa: E402
from comparison.data import SIZES  # noqa: E402
from comparison.figures import Spread, digits, ratios, shown  # noqa: E402
from comparison.jobs import Setting  # noqa: E402
from comparison.jobs.every import jobs as every_job  # noqa: E402
from comparison.journal import Journal  # noqa: E402
from comparison.turns import Contestant, Job, Time  # noqa: E402


class FiguresTests(unittest.TestCase):
    def test_a_spread_has_the_median_and_the_ends(self):
        self.assertEqual(Spread.of([3, 1, 2]), Spread(2, 1, 3))
        self.assertEqual(Spread.of(iter([4.0, 1.0])), Spread(2.5, 1.0, 4.0))

    def test_ratios_are_of_the_same_round(self):
        # The medians' ratio would be 1; the rounds' ratios are 10 and 0.1.
        self.assertEqual(ratios({0: 10, 1: 1, 2: 5}, {0: 1, 1: 10, 3: 5}), Spread(5.05, 0.1, 10))
        self.assertIsNone(ratios({0: 1}, {1: 1}))

    def test_digits_are_significant_ones(self):
        table = {0: "0", 0.00123: "0.00123", 0.0999: "0.0999", 0.1: "0.100", 1: "1.00", 9.87654: "9.88", 99.44: "99.4", 1234.5: "1,234", 12345.6: "12,346"}
        for value, text in table.items():
            self.assertEqual(digits(value), text)
        self.assertEqual(digits(0.25, 2), "0.25")
        self.assertEqual(digits(15.4, 2), "15")

    def test_a_spread_of_one_value_is_that_value(self):
        self.assertEqual(shown(Spread(2, 2, 2)), "2.00")
        self.assertEqual(shown(Spread(0.002, 0.001, 0.003), 2, 1000), "2.0 (1.0–3.0)")


class JournalTests(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = Path(self.folder.name) / "below/journal.jsonl"

    def turn(self, journal: Journal, contestant: str, number: int, job: str = "a"):
        journal.add("turn", job=job, contestant=contestant, round=number, seconds=[1.0])

    def test_what_was_added_is_there_when_it_is_opened_again(self):
        journal = Journal(self.path)
        self.turn(journal, "x", 0)
        journal.add("check", job="a", contestant="x", found="equal")
        again = Journal(self.path)
        self.assertEqual(again.lines, journal.lines)
        self.assertEqual(len(again.of("turn", "a")), 1)
        self.assertEqual(again.of("turn", "b"), [])

    def test_a_line_that_was_cut_off_is_dropped_and_others_follow_it(self):
        journal = Journal(self.path)
        self.turn(journal, "x", 0)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write('{"kind": "turn", "job')
        journal = Journal(self.path)
        self.assertEqual(len(journal.lines), 1)
        self.turn(journal, "x", 1)
        self.assertEqual([line["round"] for line in Journal(self.path).lines], [0, 1])

    def test_turns_of_a_round_that_was_not_finished_are_taken_again(self):
        journal = Journal(self.path)
        for contestant, number in [("x", 0), ("y", 0), ("y", 1)]:
            self.turn(journal, contestant, number)
        self.turn(journal, "x", 1, job="b")
        self.assertEqual(journal.rounds("a", ["x", "y"]), 1)
        self.assertEqual(len(journal.of("turn", "a")), 2)
        self.assertEqual(len(Journal(self.path).of("turn")), 3)
        # A contestant that is new takes part in no finished round.
        self.assertEqual(journal.rounds("a", ["x", "y", "z"]), 0)

    def test_a_job_is_forgotten_alone(self):
        journal = Journal(self.path)
        journal.add("machine", facts={})
        self.turn(journal, "x", 0)
        self.turn(journal, "x", 0, job="b")
        journal.forget("a")
        self.assertEqual([line["kind"] for line in Journal(self.path).lines], ["machine", "turn"])
        self.assertEqual(Journal(self.path).lines[1]["job"], "b")


def program(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def answering(seconds: str) -> list[str]:
    return program(f"print('noise'); print('{{\"seconds\": {seconds}}}')")


class TurnsTests(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = Path(self.folder.name)
        self.input = self.root / "input"
        self.input.write_bytes(b"x" * 100_000)
        self.journal = Journal(self.root / "journal.jsonl")

    def job(self, contestants: list[Contestant], **members) -> Job:
        return Job("a", "A", "", contestants, baseline=contestants[0].name, reference=(), inputs=[self.input], **members)

    def test_everybody_takes_a_turn_in_every_round_and_another_begins_each(self):
        order = self.root / "order"
        contestants = [
            Contestant(name, program(f"open({str(order)!r}, 'a').write('{name}'); print('{{\"seconds\": 1}}')")) for name in "xyz"]
        turns.compare(self.job(contestants), self.journal, 3, Time(), graft="commit")
        self.assertEqual(order.read_text(), "xyzyzxzxy")
        self.assertEqual([line["round"] for line in self.journal.of("turn")], [0, 0, 0, 1, 1, 1, 2, 2, 2])
        self.assertEqual({line["graft"] for line in self.journal.of("turn")}, {"commit"})
        # Nothing is left to do.
        turns.compare(self.job(contestants), self.journal, 3, Time())
        self.assertEqual(len(self.journal.of("turn")), 9)

    def test_the_answer_is_the_last_line_and_a_process_may_be_timed_whole(self):
        whole = Contestant("y", program("import time; time.sleep(0.05); print('{}')"), is_whole_process=True)
        job = self.job([Contestant("x", answering("[0.5, 0.25]")), whole])
        self.assertEqual(turns.take_turn(job, job.contestants[0])["seconds"], [0.5, 0.25])
        self.assertGreaterEqual(turns.take_turn(job, whole)["seconds"][0], 0.05)

    def test_the_peak_of_memory_is_that_of_the_process(self):
        size = 64 << 20
        small, large = (
            turns.run(Contestant("x", ()), program(f"a = bytearray({count}); import time; time.sleep(0.2); print('{{}}')"))
            for count in (1, size))  # fmt: skip
        self.assertGreater(large["anonymous_mib"] - small["anonymous_mib"], 60)
        self.assertLess(large["anonymous_mib"] - small["anonymous_mib"], 80)
        # The kernel counts in what this process had when it started the other, so that no difference is held to.
        self.assertGreater(large["peak_mib"], 64)
        self.assertGreaterEqual(large["peak_mib"], small["peak_mib"])

    def test_what_was_made_is_removed_before_and_after(self):
        made = self.root / "made"
        made.mkdir()
        (made / "old").touch()
        text = f"import os; os.mkdir({str(made)!r}); print('{{\"seconds\": 1}}')"
        job = self.job([Contestant("x", program(text), made=made)])
        turns.take_turn(job, job.contestants[0])
        self.assertFalse(made.exists())

    def test_a_process_that_fails_says_why(self):
        with self.assertRaisesRegex(turns.ContestantFailed, "x ended with status 3: the reason"):
            turns.run(Contestant("x", ()), program("import sys; print('the reason', file=sys.stderr); sys.exit(3)"))

    def test_a_round_that_may_not_fit_is_not_begun(self):
        slow = self.job([Contestant("x", program("import time; time.sleep(0.3); print('{\"seconds\": 1}')"))])
        with self.assertRaises(turns.OutOfTime):
            turns.compare(slow, self.journal, 9, Time(0.9))
        taken = len(self.journal.of("turn"))
        self.assertIn(taken, (1, 2))
        # The next call gets on, although the time that it has is less than a round's is known to be.
        with self.assertRaises(turns.OutOfTime):
            turns.compare(slow, self.journal, 9, Time(0.2))
        self.assertEqual(len(self.journal.of("turn")), taken + 1)

    def digests(self, **leaves) -> list[str]:
        return program(f"print({json.dumps(json.dumps({'digests': leaves}))})")

    def test_results_that_are_equal_are_noted_and_others_end_everything(self):
        job = self.job([Contestant("x", (), check=self.digests(a=["float32", [2], "00"]))])
        job = Job(**{**job.__dict__, "reference": self.digests(a=["float32", [2], "00"])})
        turns.check(job, sys.executable, self.journal)
        self.assertEqual(self.journal.of("check")[0]["found"], "equal, bit for bit")
        wrong = Job(**{**job.__dict__, "name": "b", "reference": self.digests(a=["float32", [2], "01"])})
        with self.assertRaisesRegex(SystemExit, "the result of x is wrong: 1 leaves differ, the first is a"):
            turns.check(wrong, sys.executable, self.journal)
        self.assertEqual(self.journal.of("check", "b"), [])

    def test_a_load_that_was_checked_in_another_job_is_not_checked_again(self):
        ran = self.root / "ran"
        counting = program(f"open({str(ran)!r}, 'a').write('x'); print({json.dumps(json.dumps({'digests': {'a': 1}}))})")
        reference = self.digests(a=1)
        first, second = (
            Job(**{**self.job([Contestant(name, (), check=counting)]).__dict__, "name": job, "reference": reference})
            for job, name in [("a", "x"), ("b", "y")])  # fmt: skip
        turns.check(first, sys.executable, self.journal)
        turns.check(second, sys.executable, self.journal)
        self.assertEqual(ran.read_text(), "x")
        self.assertEqual([line["contestant"] for line in self.journal.of("check")], ["x", "y"])
        # Against another reference it is.
        other = Job(**{**second.__dict__, "name": "c", "reference": self.digests(a=2)})
        with self.assertRaises(SystemExit):
            turns.check(other, sys.executable, self.journal)

    def test_differences_name_what_is_missing_and_what_is_more(self):
        self.assertEqual(turns.differences({"a": 1}, {"a": 1}), "")
        self.assertIn("lacks 1 leaves ['a'] and has 1 others ['b']", turns.differences({"a": 1}, {"b": 1}))
        self.assertIn("no leaves", turns.differences({}, {}))

    def test_files_that_are_evicted_are_not_cached_and_warm_ones_are(self):
        # On a file system that keeps its files in memory, eviction has to fail rather than be believed.
        large = self.root / "large"
        large.write_bytes(b"x" * (8 << 20))
        try:
            machine.evict([large])
        except RuntimeError as error:
            self.assertIn("stay in the page cache", str(error))
        machine.warm([self.root])


class PartsTests(unittest.TestCase):
    def test_the_second_of_four_processes_has_a_quarter(self):
        self.assertEqual(parts.of_tensor("model.layers.0.mlp.up_proj.weight", (8, 4)), (slice(2, 4), slice(None)))
        self.assertEqual(parts.of_tensor("model.layers.0.mlp.down_proj.weight", (4, 8)), (slice(None), slice(2, 4)))
        self.assertEqual(parts.of_tensor("model.norm.weight", [8]), (slice(None),))

    def test_layers_are_stacked_in_the_order_of_their_numbers(self):
        names = ["model.norm.weight", "model.layers.10.a", "model.layers.2.a"]
        self.assertEqual(
            parts.stacked(names), {"model.norm.weight": ["model.norm.weight"], "model.layers.a": ["model.layers.2.a", "model.layers.10.a"]})


class JobsTests(unittest.TestCase):
    def test_jobs_have_names_of_their_own_and_somebody_to_be_compared_with(self):
        with tempfile.TemporaryDirectory() as folder:
            found = every_job(Setting(python="python", products=Path("products"), folder=Path(folder), size=SIZES["usual"]))
        self.assertEqual(len({job.name for job in found}), len(found))
        self.assertEqual(len({job.title for job in found}), len(found))
        for job in found:
            self.assertTrue(any(not contestant.is_graft for contestant in job.contestants), job.name)
            self.assertTrue(next(c for c in job.contestants if c.name == job.baseline).is_graft, job.name)
            self.assertTrue(job.reference or job.expected, job.name)

    def test_models_have_the_sizes_that_the_page_names(self):
        self.assertEqual(round(SIZES["usual"].model_bytes / 2**30, 2), 1.02)
        self.assertEqual(round(SIZES["usual"].state_bytes / 2**30, 2), 1.27)
        self.assertEqual(SIZES["usual"].model_bytes, 2 * 547_399_680)


class PageTests(unittest.TestCase):
    """A journal whose ratios can be seen at a glance."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.journal = Journal(Path(folder.name) / "journal.jsonl")
        self.journal.add("machine", facts={
            "processors": "2 × Abacus", "memory": "1.0 GiB", "kernel": "6.1", "system": "Debian", "storage": "ext4", "graft": "abc",
        }, versions={"python": "3.11", "torch": "2.0"})  # fmt: skip
        self.job = Job(
            "load", "Load it, all", "Loads.", [
                Contestant("Graft", ()), Contestant("Slow", ()), Contestant("Quick", (), note="its best"),
                Contestant("Kept", (), has_kept_memory=True), Contestant("Absent", ()),
            ], baseline="Graft", reference=["x"], inputs=[], byte_count=1 << 30, repeats=True, why="Because.",
        )  # fmt: skip
        times = {"Graft": [2, 1, 1], "Slow": [4, 3, 5], "Quick": [1, 2, 2], "Kept": [9, 0.5, 0.5]}
        for number in range(3):
            for name, seconds in times.items():
                # Every round is as slow for everybody, so that ratios are the same.
                self.journal.add(
                    "turn", job="load", contestant=name, round=number, seconds=[value * (number + 1) for value in seconds],
                    peak_mib=100 if name == "Graft" else 200, anonymous_mib=90, others=0.1, wall=1, graft="abc")
                if number == 0:
                    self.journal.add("check", job="load", contestant=name, found="equal, bit for bit")

    def rows(self, text: str) -> dict[str, list[str]]:
        lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
        return {line[0]: [cell.strip() for cell in line[1:]] for line in lines}

    def test_a_job_has_a_row_for_everybody_who_took_part(self):
        rows = self.rows("\n".join(page.section(self.journal, self.job)))
        self.assertEqual(rows["**Graft**"], ["4.00 (2.00–6.00)", "", "2.00 (1.00–3.00)", "", "0.25, 0.50", "100 / 90 / –"])
        self.assertEqual(rows["Slow"][:4], ["8.00 (4.00–12.0)", "2.0", "8.00 (4.00–12.0)", "4.0"])
        self.assertEqual(rows["Quick, its best"][1], "0.50")
        self.assertEqual(rows["Kept"][:4], ["", "", "1.00 (0.500–1.50)", "0.50"])
        self.assertNotIn("Absent", rows)

    def test_the_summary_names_the_nearest_peer_of_each_kind(self):
        rows = self.rows("\n".join(page.summary(self.journal, [self.job])))
        self.assertEqual(rows["[Load it, all](#load-it-all)"], ["0.50", "Quick", "0.50", "Kept", "0.50, Kept"])

    def test_every_loss_is_listed_with_its_reason(self):
        lines = [" ".join(line.strip() for line in page.losses(self.journal, [self.job]))]
        self.assertIn("Of Graft's first time: Quick 0.50.", lines[0])
        self.assertIn("Of Graft's later times: Kept 0.50.", lines[0])
        self.assertIn("Because.", lines[0])
        self.assertNotIn("Slow", lines[0])

    def test_peers_are_compared_with_the_contestant_of_grafts_that_is_like_them(self):
        contestants = [Contestant("Graft, a", ()), Contestant("Graft, b", ()), Contestant("Peer", ())]
        job = Job("save", "Save", "", contestants, baseline="Graft, a", reference=["x"], inputs=[], beside={"Peer": "Graft, b"}, main_peer="Peer")
        for name, seconds in [("Graft, a", 1), ("Graft, b", 4), ("Peer", 8)]:
            self.journal.add("turn", job="save", contestant=name, round=0, seconds=[seconds], peak_mib=1, anonymous_mib=1, others=0, wall=1)
        rows = self.rows("\n".join(page.section(self.journal, job)))
        self.assertEqual(rows["Peer"][:3], ["8.00", "2.0", ""])
        self.assertEqual(rows["**Graft, a**"][:3], ["1.00", "", "8.0"])
        self.assertEqual(rows["**Graft, b**"][:3], ["4.00", "4.0", "2.0"])

    def test_a_result_that_was_not_compared_is_said_to_be(self):
        self.journal.lines = [line for line in self.journal.lines if line["kind"] != "check"]
        self.assertIn("**Results were not compared.**", "\n".join(page.section(self.journal, self.job)))

    def test_the_page_is_the_same_when_it_is_rendered_again(self):
        other = Job("other", "Other", "Not taken.", [Contestant("Graft", ()), Contestant("Peer", ())], baseline="Graft", reference=["x"], inputs=[])
        charts = {"one.svg": "One", "two.svg": "Two"}
        text = page.text(self.journal, [self.job, other], charts, "of 1 GiB")
        self.assertEqual(text, page.text(Journal(self.journal.path), [self.job, other], charts, "of 1 GiB"))
        self.assertIn("2 × Abacus, 1.0 GiB, kernel 6.1, Debian, ext4. Graft at abc, release build. python 3.11, torch 2.0.", text)
        prose = [line for line in text.splitlines() if not line.startswith(("|", "!", "scripts/", "`graft"))]
        self.assertLessEqual(max(map(len, prose)), 150)
        self.assertIn("Not measured.", text)
        self.assertIn("![One](one.svg)", text)
        self.assertIn("3 rounds; others took 10 % of the processors (median).", text)

    def test_every_job_is_named_beside_a_figure(self):
        with tempfile.TemporaryDirectory() as folder:
            found = every_job(Setting(python="python", products=Path("products"), folder=Path(folder), size=SIZES["usual"]))
        for job in found:
            self.assertIn(job.name, page.COMMANDS)


class CommandTests(unittest.TestCase):
    """What scripts/compare hands over, as far as it goes without the large environment."""

    def compare(self, *words: str) -> subprocess.CompletedProcess:
        scripts = Path(__file__).resolve().parents[2] / "scripts"
        return subprocess.run([sys.executable, "-m", "comparison", *words], cwd=scripts, capture_output=True, text=True)

    def test_jobs_are_listed_with_their_contestants(self):
        answer = self.compare("--quick", "--list", "mean")
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertEqual(answer.stdout.splitlines()[:2], ["mean: Weighted mean of two models", "    Graft"])

    def test_a_job_that_there_is_not_is_an_error_that_names_those_that_there_are(self):
        answer = self.compare("--quick", "nonsense")
        self.assertEqual(answer.returncode, 1)
        self.assertIn("there is no job nonsense; there are load-warm, load-cold", answer.stderr)


if __name__ == "__main__":
    unittest.main()
