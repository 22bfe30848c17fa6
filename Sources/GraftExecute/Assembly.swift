internal import GraftCore
internal import GraftFormats

/// Leaves that are put together in memory before they go to a writer: packed elements, which a writer cannot take bit by bit.
///
/// Owns that memory. Others go to their writer run by run, as they come. Sendable, because it is made, filled and written in turn.
@safe final class Assembly: @unchecked Sendable {
  /// The places to fill: those that were given, or memory in their stead.
  private(set) var places: [Place]
  private var parts: [Part] = []

  @safe private struct Part {
    let memory: UnsafeMutableRawBufferPointer
    let writer: any CheckpointWriter
    let leaf: Int
  }

  /// - Throws: ``GraftError`` of code `insufficientMemory` when the leaves take more than the limit.
  init(of plan: Plan, places: [Place], byteCountLimit: Int) throws(GraftError) {
    self.places = places
    var byteCount = 0
    let packed = Set(plan.moves.lazy.filter { $0.copy.unit == .bit }.map(\.result))
      .union(plan.literals.lazy.filter { $0.copy.unit == .bit }.map(\.result))
    for index in packed.sorted() {
      guard case .writer(let writer, let leaf) = places[index] else { continue }
      let result = plan.results[index]
      byteCount += result.spec.byteCount
      guard byteCount <= byteCountLimit else {
        throw GraftError(
          .insufficientMemory,
          "leaves of packed elements are put together in memory, and the budget has no room for them",
          leaf: result.path, expected: "at most \(byteCountLimit) bytes, a quarter of the budget",
          found: "\(byteCount)",
          remedy: "raise the budget")
      }
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: result.spec.byteCount, alignment: 64)
      // Bits around those that are placed are kept, so they must be something.
      unsafe memory.initializeMemory(as: UInt8.self, repeating: 0)
      unsafe parts.append(Part(memory: memory, writer: writer, leaf: leaf))
      unsafe self.places[index] = .memory(memory)
    }
  }

  deinit {
    for part in parts { unsafe part.memory.deallocate() }
  }

  /// Writes the leaves, once they are filled.
  func write() throws(GraftError) {
    for part in parts {
      unsafe try part.writer.write(UnsafeRawBufferPointer(part.memory), leaf: part.leaf, byteOffset: 0)
    }
  }
}
