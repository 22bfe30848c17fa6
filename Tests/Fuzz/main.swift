// Opens and loads checkpoints of Tests/Fixtures over and over, each time with something in them changed, and ends with a failure when
// that took a trap, too long or too much memory. An error is the right answer, and so is success.
//
//     graft-fuzz SECONDS [SEED [COUNT]]
//
// Every round has a seed of its own, the first one SEED. The one that is running is in the file `round` of the folder that is
// printed first; `graft-fuzz 1 THAT 1` does it again. scripts/fuzz runs this and says what failed.

import Foundation
import Graft
import GraftTestSupport
import Synchronization

/// Rounds end in milliseconds; what takes this long hangs.
let roundLimitSeconds = 20
/// What all rounds together may take of memory; the fixtures are some kilobytes each.
let memoryLimit = 1 << 30
/// Leaves that claim more are planned, not loaded: a result as large as it claims is what was asked for.
let loadLimit = 16 << 20

/// When the running round began, in nanoseconds of the monotonic clock; 0 between rounds.
let roundStart = Atomic<UInt64>(0)
let roundSeed = Atomic<UInt64>(0)

func fail(_ message: String) -> Never {
  FileHandle.standardError.write(
    Data("graft-fuzz: round \(roundSeed.load(ordering: .relaxed)): \(message)\n".utf8))
  exit(1)
}

Thread.detachNewThread {
  while true {
    Thread.sleep(forTimeInterval: 0.5)
    let start = roundStart.load(ordering: .relaxed)
    if start > 0, now() - start > UInt64(roundLimitSeconds) * 1_000_000_000 {
      fail("it took more than \(roundLimitSeconds) s")
    }
    if peakMemory() > memoryLimit { fail("it took more than \(memoryLimit >> 20) MiB of memory") }
  }
}

func now() -> UInt64 { DispatchTime.now().uptimeNanoseconds }

func peakMemory() -> Int {
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  return usage.ru_maxrss * 1024
}

let arguments = CommandLine.arguments.dropFirst().map { UInt64($0) }
guard let seconds = arguments.first ?? nil, !arguments.contains(where: { $0 == nil }) else {
  FileHandle.standardError.write(Data("usage: graft-fuzz SECONDS [SEED [COUNT]]\n".utf8))
  exit(64)
}
let firstSeed = (arguments.count > 1 ? arguments[1] : nil) ?? UInt64.random(in: 0..<1 << 40)
let count = (arguments.count > 2 ? arguments[2] : nil) ?? .max

let folder = try Subjects.copy()
defer { try? FileManager.default.removeItem(atPath: folder.path) }
print("graft-fuzz: from seed \(firstSeed), in \(folder.path)")
let subjects = try Subjects.all(in: folder)

var outcomes: [String: Int] = [:]
let end = ContinuousClock.now + .seconds(Int(seconds))
var rounds: UInt64 = 0
while rounds < count, ContinuousClock.now < end {
  let seed = firstSeed &+ rounds
  rounds += 1
  var random = SeededGenerator(seed: seed)
  try Data("\(seed)\n".utf8).write(to: folder.appendingPathComponent("round"))
  let subject = subjects.randomElement(using: &random)!
  let changed = try subject.change(&random)
  roundSeed.store(seed, ordering: .relaxed)
  roundStart.store(now(), ordering: .relaxed)
  let outcome = await subject.load()
  roundStart.store(0, ordering: .relaxed)
  outcomes[outcome, default: 0] += 1
  try subject.restore(changed)
}
let sorted = outcomes.sorted { $0.value > $1.value }.map { "\($0.value) \($0.key)" }
print("graft-fuzz: \(rounds) rounds, \(peakMemory() >> 20) MiB: \(sorted.joined(separator: ", "))")
