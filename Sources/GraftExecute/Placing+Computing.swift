internal import GraftCore

// A copy with a program: its positions in the result are those of the program's input dtype, and its elements come out in
// another. Long runs go through the program straight into their place; others are gathered, computed and scattered.

extension Placing {
  /// Runs shorter than this are gathered, because a program's start costs more than copying them.
  private static let directElementCount = 256
  /// How many elements are gathered at once; two copies of them fit the second-level cache.
  private static let gatheredElementCount = 8192

  /// Takes what `copy` says out of `source` through the program to its place.
  func put(
    _ copy: StridedCopy, from source: UnsafeRawBufferPointer, through program: ElementProgram,
    into memory: UnsafeMutableRawBufferPointer
  ) throws(GraftError) {
    let (inputBits, outputBits) = (program.input.bitWidth, program.output.bitWidth)
    let unitBits = copy.unit == .byte ? 8 : 1
    let hasWholeBytes = copy.unit == .byte && inputBits % 8 == 0 && outputBits % 8 == 0
    let runElementCount = copy.runCount * unitBits / inputBits
    if hasWholeBytes, copy.dimensions.isEmpty || runElementCount >= Self.directElementCount {
      let (inputBytes, outputBytes) = (inputBits / 8, outputBits / 8)
      try Self.forEachRun(of: copy) { (from, to) throws(GraftError) in
        let target = to / inputBytes * outputBytes
        unsafe try program.run(
          [UnsafeRawBufferPointer(rebasing: source[from..<(from + copy.runCount)])],
          into: UnsafeMutableRawBufferPointer(
            rebasing: memory[target..<(target + runElementCount * outputBytes)]),
          count: runElementCount)
      }
      return
    }
    let byteCount = Self.gatheredElementCount * 16
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 * byteCount, alignment: 64)
    defer { unsafe scratch.deallocate() }
    let gathered = unsafe UnsafeMutableRawBufferPointer(rebasing: scratch[..<byteCount])
    let computed = unsafe UnsafeMutableRawBufferPointer(rebasing: scratch[byteCount...])
    try Self.forEachPart(of: copy, unitCount: Self.gatheredElementCount * inputBits / unitBits) {
      (part) throws(GraftError) in
      // Packed elements that end within a byte leave its rest as it was, so it must be something.
      unsafe gathered.initializeMemory(as: UInt8.self, repeating: 0)
      unsafe try self.put(part.gathering, from: source, into: .memory(gathered))
      let count = part.copiedCount * unitBits / inputBits
      unsafe try program.run([UnsafeRawBufferPointer(gathered)], into: computed, count: count)
      unsafe try self.put(
        part.scattering(inputBits: inputBits, outputBits: outputBits),
        from: UnsafeRawBufferPointer(computed), into: .memory(memory))
    }
  }

  /// Parts of a copy, each of at most so many units.
  static func forEachPart(
    of copy: StridedCopy, unitCount: Int, _ body: (StridedCopy) throws(GraftError) -> Void
  ) throws(GraftError) {
    var parts = [copy]
    while let part = parts.popLast() {
      if part.copiedCount <= unitCount {
        try body(part)
      } else if let (first, second) = part.halves {
        parts.append(second)
        parts.append(first)
      } else {
        var position = 0
        while position < part.runCount {
          var run = part
          run.runCount = Swift.min(unitCount, part.runCount - position)
          run.sourceOffset += position
          run.destinationOffset += position
          try body(run)
          position += run.runCount
        }
      }
    }
  }
}

extension StridedCopy {
  /// The same runs out of the source, one after the other.
  var gathering: StridedCopy {
    var copy = self
    copy.destinationOffset = 0
    var stride = runCount
    for index in dimensions.indices.reversed() {
      copy.dimensions[index].destinationStride = stride
      stride *= dimensions[index].count
    }
    return copy
  }

  /// What was gathered, as elements of another width, to its places among elements of that width.
  func scattering(inputBits: Int, outputBits: Int) -> StridedCopy {
    let unitBits = unit == .byte ? 8 : 1
    let newUnit: Unit = outputBits % 8 == 0 ? .byte : .bit
    let newUnitBits = newUnit == .byte ? 8 : 1
    func scaled(_ position: Int) -> Int { position * unitBits / inputBits * outputBits / newUnitBits }
    var stride = scaled(runCount)
    var newDimensions = dimensions
    for index in dimensions.indices.reversed() {
      newDimensions[index].sourceStride = stride
      newDimensions[index].destinationStride = scaled(dimensions[index].destinationStride)
      stride *= dimensions[index].count
    }
    return StridedCopy(
      unit: newUnit, runCount: scaled(runCount), sourceOffset: 0,
      destinationOffset: scaled(destinationOffset),
      dimensions: newDimensions)
  }
}
