internal import Glibc
internal import GraftCore
internal import GraftIO

/// How much memory something took at most, beyond what the process had before.
struct MemoryUsage {
  /// Anonymous memory, sampled: pages of mapped files do not count.
  var anonymous: Int
  /// Resident memory, as the kernel keeps its peak.
  var resident: Int

  /// The most that both grew while `body` ran.
  static func peak(
    of body: () async throws(GraftError) -> Void
  ) async throws(GraftError) -> MemoryUsage {
    // What earlier loads left for the next would hide what this one takes.
    MemoryPool.shared.trim()
    ReadEngine.shared.releaseIdleMemory()
    resetPeak()
    let resident = ProcessMemory.peakResidentByteCount
    let sampler = try PeakMemorySampler()
    try await body()
    return MemoryUsage(
      anonymous: sampler.stop() - sampler.baseByteCount,
      resident: ProcessMemory.peakResidentByteCount - resident)
  }

  /// Makes the process's peak of resident memory what it is now; where that is forbidden, the peak stays too high.
  private static func resetPeak() {
    let descriptor = unsafe open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    _ = unsafe write(descriptor, "5", 1)
    close(descriptor)
  }
}
