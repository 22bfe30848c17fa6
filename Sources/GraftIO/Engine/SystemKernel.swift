internal import CGraftRing
internal import Glibc
package import GraftCore

/// The kernel that runs this process.
package struct SystemKernel: ReadKernel {
  /// The kernel.
  package init() {}

  package func makeRingQueue(capacity: Int) throws(RingRefusal) -> any ReadQueue {
    try RingQueue(capacity: capacity)
  }

  package func makeBlockingQueue() -> any ReadQueue { BlockingQueue() }

  package func residentFraction(of file: File, _ range: ByteRange) -> Double? {
    var residency = graft_residency()
    let result = unsafe graft_residency_query(
      file.rawDescriptor, UInt64(range.offset), UInt64(range.count), &residency)
    guard result == 0, residency.page_count > 0 else { return nil }
    return Double(residency.resident_count) / Double(residency.page_count)
  }

  package func readResident(
    _ file: File, _ range: ByteRange, into memory: UnsafeMutableRawBufferPointer
  ) -> Int {
    precondition(memory.count == range.count, "a read fills its destination exactly")
    // The bytes lie in the memory, which the caller keeps for the length of this call.
    let result = unsafe graft_residency_read(
      file.rawDescriptor, memory.baseAddress, memory.count, UInt64(range.offset))
    return max(0, Int(result))
  }

  package func openDirect(_ file: File) throws(SystemCallFailure) -> DirectFile {
    let descriptor = try file.openDirect()
    let rawValue = descriptor.rawValue
    var alignment = graft_direct_alignment()
    try systemCall(negatedErrno: "statx") { unsafe graft_direct_alignment_query(rawValue, &alignment) }
    let coarsest = Int(max(alignment.memory, alignment.offset))
    guard coarsest <= StagingLayout.maximumAlignment else { throw SystemCallFailure("statx", EOPNOTSUPP) }
    return DirectFile(descriptor, alignment: coarsest)
  }
}
