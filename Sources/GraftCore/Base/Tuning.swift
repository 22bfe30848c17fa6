/// The settings that decide how fast a load is, and what it checks, and never what it gives.
///
/// The defaults are what was measured to be best on two cores with a virtual NVMe disk (docs/measurements.md has the
/// figures); a machine with other storage may want others. `graft-benchmark tune` measures them there and writes a file that
/// `init(contentsOf:)` reads; docs/tuning.md says what each setting does and when it matters.
public struct Tuning: Hashable, Sendable {
  /// How reads are submitted to the kernel.
  public enum Engine: String, CaseIterable, Hashable, Sendable, Codable {
    /// io_uring where the kernel permits it, else threads.
    case automatic = "auto"
    /// io_uring; an error where the kernel refuses it.
    case uring
    /// `pread` and `preadv` on threads.
    case threads
  }

  /// How reads go through the page cache.
  public enum Access: String, CaseIterable, Hashable, Sendable, Codable {
    /// Direct I/O for large ranges that are not in the page cache, buffered reads otherwise.
    case automatic = "auto"
    /// Always through the page cache.
    case buffered
    /// Around the page cache wherever the file system allows it.
    case direct
  }

  /// What a load insists on knowing about the bytes that it reads.
  public enum Verification: String, CaseIterable, Hashable, Sendable, Codable {
    /// A checksum that stands with a chunk (`crc32c`) is verified where the whole chunk is read; ``ReadReport/bytesVerified``
    /// says how many bytes that was. A part of a chunk, a mapped file and a format without checksums are read as they are.
    case automatic = "auto"
    /// Every byte, or the load is an error before it begins.
    ///
    /// What reading itself does not verify (parts of large chunks, mapped files, what only a seal protects) is verified before, which
    /// reads it twice. A leaf without checksums and seal is an error that says so.
    case always
    /// Checksums that stand with chunks are not looked at. Those within compressed data are, by its decoder.
    case never
  }

  /// What is verified of what is read.
  public var verification = Verification.automatic
  /// How reads are submitted.
  public var engine = Engine.automatic
  /// How reads go through the page cache.
  public var access = Access.automatic
  /// The number of worker threads; nil for one per usable core.
  public var threadCount: Int?
  /// How many reads one worker keeps in flight.
  public var queueDepth = 8
  /// The largest buffered read, in bytes.
  ///
  /// Throughput is flat from 256 KiB up.
  public var blockByteCount = 1 << 20
  /// The largest direct read, in bytes.
  ///
  /// 4 MiB reached the disk's ceiling with four in flight.
  public var directBlockByteCount = 4 << 20
  /// Ranges of at least this many bytes are worth direct I/O when they are cold.
  public var directMinimumByteCount = 1 << 20
  /// Unwanted bytes between two wanted ranges that are read along rather than skipped, at most.
  ///
  /// Measured from a cold file (two cores, ext4 on a virtual NVMe disk of 2 GiB/s; 2,048 ranges of 4 and of 32 KiB):
  /// reading through gaps of 4 KiB is 1.8 to 2.9 times as fast as skipping them, of 16 KiB 1.7 to 2.3, of 32 KiB 1.3 to
  /// 1.6, of 64 KiB 0.9 to 1.1, of 128 KiB 0.5 to 0.9. A disk with more latency for its bandwidth wants a larger gap.
  /// From the page cache only tiny ranges are read together, however large this is.
  public var coalescingGapByteCount = 32 << 10
  /// How many bytes may be read for each byte that is wanted, when near ranges are read together.
  ///
  /// It bounds what the gap already limits, and concerns ranges of at most 128 KiB alone. Measured on whole loads from a cold
  /// file (as above; leaves of 1 to 4 KiB): of every eighth leaf 8 is 2.0 times as fast as no gaps and 2 is no faster, of
  /// every other leaf 1.3 and 1.0 times, as stretches that end early are too short to be read directly.
  public var overReadFactor = 8.0
  /// Whether the memory of results and of staging asks for huge pages.
  public var hugePages = true
  /// Staging memory for reading, decoding and computing, in bytes, beyond the result itself.
  public var budgetByteCount = 256 << 20

  /// The default settings.
  public init() {}
}
