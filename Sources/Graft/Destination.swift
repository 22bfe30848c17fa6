internal import GraftCore

/// Where loaded tensors go.
public struct Destination: Sendable {
  enum Kind: Sendable {
    case host
    case mapped
    case memory(CallerMemory)
  }

  /// Memory that the caller owns, and promises to keep and not to touch while the load runs.
  @safe struct CallerMemory: @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer
  }

  let kind: Kind

  /// Memory of Graft's own pool, which is kept and reused when the tensors are gone.
  ///
  /// Tensors of less than 256 KiB share memory in pieces of at most 2 MiB, in the order of their files. A piece is given back
  /// with the last of its tensors, so whoever keeps a few small ones for long, out of many, does well to copy them.
  public static let host = Destination(kind: .host)

  /// Views of the checkpoint's files: nothing is read until an element is touched.
  ///
  /// Only for files that nobody changes while a tensor of the result lives: a file that is written shows through, and one that
  /// is cut short kills the process when a lost page is touched. Leaves that do not lie in one piece in a file are read
  /// into memory, and the report says so.
  public static let mapped = Destination(kind: .mapped)

  /// The caller's own memory, leaf after leaf in the target's order, each at the next multiple of ``alignment`` bytes.
  ///
  /// ``Plan/packedByteCount`` says how much is needed; a load into less is an error. The tensors of the result are views of
  /// the memory, which must stay valid, and unchanged, for as long as any of them lives.
  @unsafe public static func memory(_ bytes: UnsafeMutableRawBufferPointer) -> Destination {
    Destination(kind: .memory(unsafe CallerMemory(bytes: bytes)))
  }

  /// The alignment of each leaf in the caller's memory, in bytes: that of a cache line, which devices ask for as well.
  public static let alignment = PackedLayout.alignment
}
