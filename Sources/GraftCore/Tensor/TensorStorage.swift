/// Owns the memory that tensors look at; a tensor holds it and so keeps its bytes alive.
package protocol TensorStorage: AnyObject, Sendable {
  /// Where the memory is.
  var location: TensorLocation { get }
  /// The memory, valid and unchanging for as long as the storage lives; nil when the processor cannot address it.
  var hostBytes: UnsafeRawBufferPointer? { get }
  /// Whether the memory is a caller's own, who may change it when what was asked for is done.
  var isCallers: Bool { get }
}

extension TensorStorage {
  /// Memory is Graft's, or was promised not to change.
  package var isCallers: Bool { false }
}

/// Where a tensor's bytes are.
public enum TensorLocation: String, Hashable, Sendable {
  /// In memory.
  case host
  /// In a file that is mapped into memory: bytes are read when they are touched.
  case mapped
}

/// Memory of its own, for tensors that a program makes from arrays.
///
/// Sendable because the memory is written only by the initializer, before anybody else has a reference.
@safe final class AllocatedStorage: TensorStorage, @unchecked Sendable {
  private let memory: UnsafeMutableRawBufferPointer

  /// Alignment to a cache line serves every element type and every vector instruction.
  private static let alignment = 64

  init(copying bytes: UnsafeRawBufferPointer) {
    unsafe memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: Self.alignment)
    unsafe memory.copyMemory(from: bytes)
  }

  deinit { unsafe memory.deallocate() }

  var location: TensorLocation { .host }
  var hostBytes: UnsafeRawBufferPointer? { unsafe UnsafeRawBufferPointer(memory) }
}

/// Memory that another object owns: an extent of a pool, a mapped file.
///
/// Sendable because whoever makes it promises that the memory does not change.
@safe package final class BorrowedStorage: TensorStorage, @unchecked Sendable {
  private let owner: any AnyObject & Sendable
  private let bytes: UnsafeRawBufferPointer
  package let location: TensorLocation
  package let isCallers: Bool

  /// Looks at memory that is valid and unchanging for as long as `owner` lives.
  @unsafe package init(
    owner: any AnyObject & Sendable, bytes: UnsafeRawBufferPointer, location: TensorLocation,
    isCallers: Bool = false
  ) {
    self.owner = owner
    unsafe self.bytes = bytes
    self.location = location
    self.isCallers = isCallers
  }

  package var hostBytes: UnsafeRawBufferPointer? { unsafe bytes }
}
