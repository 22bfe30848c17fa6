import CGraftTestSandbox
import Glibc
import GraftCore
import GraftIO
import Testing

/// The engine where a sandbox really forbids what it likes best; each test in a process of its own.
@Suite(.timeLimit(.minutes(5))) struct EngineSandboxTests {
  @Test func `under a filter that answers EPERM, threads read what rings would have read`() async {
    await #expect(processExitsWith: .success) {
      try await readsWithoutRings(errorNumber: EPERM, reason: "seccomp")
    }
  }

  @Test func `under a filter that answers ENOSYS, threads read what rings would have read`() async {
    await #expect(processExitsWith: .success) {
      try await readsWithoutRings(errorNumber: ENOSYS, reason: "has no io_uring")
    }
  }

  @Test func `without cachestat and statx the residency and alignment are found otherwise`() async {
    await #expect(processExitsWith: .success) {
      let folder = TemporaryFolder()
      let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 / 251) }
      let file = try File(opening: folder.write("a", bytes))
      let all = ByteRange(offset: 0, count: bytes.count)
      let before = SystemKernel().residentFraction(of: file, all)
      let alignment = try? SystemKernel().openDirect(file).alignment
      let calls = Int32(GRAFT_TEST_SANDBOX_CACHESTAT.rawValue | GRAFT_TEST_SANDBOX_DIOALIGN.rawValue)
      try #require(graft_test_sandbox_enter(calls, EPERM) == 0)
      // Freshly written and our own: wholly resident, whoever is asked.
      #expect(SystemKernel().residentFraction(of: file, all) == 1)
      #expect(before == 1 || before == nil)
      // The trial knows only that memory aligned to a page does.
      let trial = try? SystemKernel().openDirect(file).alignment
      #expect((trial == nil) == (alignment == nil))
      if let trial { #expect(trial == 4096) }
      var tuning = Tuning()
      tuning.access = .direct
      #expect(try await ReadEngine().bytes(all, of: file, tuning: tuning).0 == bytes)
    }
  }
}

/// Reads a file with rings forbidden, and checks what is said about it.
func readsWithoutRings(errorNumber: CInt, reason: String) async throws {
  try #require(graft_test_sandbox_enter(Int32(GRAFT_TEST_SANDBOX_IO_URING.rawValue), errorNumber) == 0)
  let refusal = try #require(RingAvailability().refusal)
  #expect(refusal.cause == SystemCallFailure("io_uring_setup", errorNumber))
  #expect(refusal.reason.contains(reason))

  let folder = TemporaryFolder()
  let bytes = (0..<5_000_000).map { UInt8(truncatingIfNeeded: $0 / 251) }
  let file = try File(opening: folder.write("a", bytes))
  let all = ByteRange(offset: 0, count: bytes.count)
  let (read, statistics) = try await ReadEngine().bytes(all, of: file)
  #expect(read == bytes)
  #expect(statistics.engine == .threads)
  #expect(statistics.engineReason == "io_uring is refused: \(refusal)")

  var tuning = Tuning()
  tuning.engine = .uring
  let error = await #expect(throws: GraftError.self) {
    try await ReadEngine().bytes(all, of: file, tuning: tuning)
  }
  #expect(error?.code == .unsupported)
  #expect(error?.remedy?.contains("choose the engine auto or threads") == true)
}
