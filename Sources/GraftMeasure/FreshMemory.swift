internal import GraftCore
internal import GraftIO
internal import Synchronization

/// Owns memory that nobody has touched, until it is populated.
final class FreshMemory: Sendable {
  private let pool: MemoryPool
  private let byteCount: Int
  private let extent = Mutex<PoolExtent?>(nil)

  init(byteCount: Int, hugePages: Bool) {
    var options = MemoryPool.Options()
    options.retentionByteCount = 0
    options.hugePages = hugePages
    pool = MemoryPool(options: options)
    self.byteCount = byteCount
  }

  /// Gives back what there was, and takes as much anew.
  func renew() throws(GraftError) {
    extent.withLock { $0 = nil }
    let fresh = try pool.allocate(byteCount: byteCount, alignment: 4096)
    extent.withLock { $0 = fresh }
  }

  func populate(threadCount: Int) throws(GraftError) {
    try extent.withLock { $0 }?.populate(threadCount: threadCount)
  }
}
