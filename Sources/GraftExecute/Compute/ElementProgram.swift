package import GraftCore

/// A tile program as the kernels run it, in blocks whose intermediate values stay in the cache.
///
/// Its values depend neither on how elements are cut into tiles nor on the thread.
package struct ElementProgram: Sendable {
  /// What is computed.
  package let program: TileProgram
  private let kernels: Kernels

  /// Elements of one block: a whole number of bytes of every dtype, and few enough for the first-level cache.
  private static let blockElementCount = 2048
  /// The most bytes of one element.
  private static let widestByteCount = 16

  /// A program for the kernels of this processor.
  package init(_ program: TileProgram, kernels: Kernels = .best) {
    self.program = program
    self.kernels = kernels
  }

  /// The dtype of the only input of a program that is done on the way of a copy.
  var input: DType { program.inputs[0] }
  /// The dtype of the result.
  var output: DType { program.dtype }

  /// Computes `count` elements, which lie side by side from the beginning of each memory on.
  ///
  /// - Throws: what a function of the user's throws, as the cause of a ``GraftError`` of code `invalidArgument`.
  func run(
    _ inputs: [UnsafeRawBufferPointer], into output: UnsafeMutableRawBufferPointer, count: Int
  ) throws(GraftError) {
    // One cast of one input needs no memory for what lies between.
    if program.steps.count == 1, case .cast(let dtype) = program.steps[0].operation {
      unsafe kernels.cast(inputs[0], ElementFormat(input), to: output, ElementFormat(dtype), count: count)
      return
    }
    // Each step but the last has a block of its own, and one more is for sums and for functions of the user's.
    let blockByteCount = Self.blockElementCount * Self.widestByteCount
    let scratch = UnsafeMutableRawBufferPointer.allocate(
      byteCount: (program.steps.count + 3) * blockByteCount, alignment: 64)
    defer { unsafe scratch.deallocate() }
    var first = 0
    while first < count {
      let blockCount = Swift.min(Self.blockElementCount, count - first)
      for (index, step) in program.steps.enumerated() {
        let isLast = index == program.steps.count - 1
        let destination =
          unsafe isLast
          ? UnsafeMutableRawBufferPointer(rebasing: output[Self.offset(first, step.dtype)...])
          : Self.block(index, of: scratch)
        let operands = unsafe operands(of: step, from: first, inputs, scratch)
        unsafe try run(
          step, operands, into: destination, count: blockCount,
          spare: (0..<3).map { unsafe Self.block(program.steps.count + $0, of: scratch) })
      }
      first += blockCount
    }
  }

  /// Adds the products of `count` elements to sums, for a program whose last step says of what.
  ///
  /// - Throws: what a function of the user's throws in a step before.
  func addProducts(
    of inputs: [UnsafeRawBufferPointer], count: Int, to sums: inout SumPlace.Sums
  ) throws(GraftError) {
    guard let last = program.steps.last, last.operation == .products, last.operands.count == 2 else {
      preconditionFailure("the program gives elements, not sums")
    }
    let scratch = UnsafeMutableRawBufferPointer.allocate(
      byteCount: (program.steps.count + 3) * Self.blockElementCount * Self.widestByteCount, alignment: 64)
    defer { unsafe scratch.deallocate() }
    // Without steps before there are no intermediate values, and the tile is one block.
    let blockElementCount = program.steps.count == 1 ? count : Self.blockElementCount
    var first = 0
    while first < count {
      let blockCount = Swift.min(blockElementCount, count - first)
      for (index, step) in program.steps.dropLast().enumerated() {
        unsafe try run(
          step, operands(of: step, from: first, inputs, scratch), into: Self.block(index, of: scratch),
          count: blockCount, spare: (0..<3).map { unsafe Self.block(program.steps.count + $0, of: scratch) })
      }
      let factors = unsafe operands(of: last, from: first, inputs, scratch)
      sums.first.addProducts(of: factors[0], and: factors[0], count: blockCount, with: kernels)
      sums.product.addProducts(of: factors[0], and: factors[1], count: blockCount, with: kernels)
      sums.second.addProducts(of: factors[1], and: factors[1], count: blockCount, with: kernels)
      first += blockCount
    }
  }

  /// Where a step finds its operands, for the block that begins with this element.
  private func operands(
    of step: TileProgram.Step, from first: Int, _ inputs: [UnsafeRawBufferPointer],
    _ scratch: UnsafeMutableRawBufferPointer
  ) -> [KernelOperand] {
    step.operands.map { value -> KernelOperand in
      switch value {
      case .input(let input):
        let dtype = program.inputs[input]
        return unsafe KernelOperand(
          UnsafeRawBufferPointer(rebasing: inputs[input][Self.offset(first, dtype)...]), ElementFormat(dtype))
      case .step(let step):
        return unsafe KernelOperand(
          UnsafeRawBufferPointer(Self.block(step, of: scratch)), ElementFormat(program.steps[step].dtype))
      }
    }
  }

  /// The byte where an element begins that is the first of a block.
  private static func offset(_ element: Int, _ dtype: DType) -> Int { element * dtype.bitWidth / 8 }

  private static func block(
    _ index: Int, of scratch: UnsafeMutableRawBufferPointer
  ) -> UnsafeMutableRawBufferPointer {
    let byteCount = blockElementCount * widestByteCount
    return unsafe UnsafeMutableRawBufferPointer(
      rebasing: scratch[(index * byteCount)..<((index + 1) * byteCount)])
  }

  private func run(
    _ step: TileProgram.Step, _ operands: [KernelOperand], into destination: UnsafeMutableRawBufferPointer,
    count: Int, spare: [UnsafeMutableRawBufferPointer]
  ) throws(GraftError) {
    let format = ElementFormat(step.dtype)
    func compute(_ operation: ElementOperation) {
      unsafe kernels.compute(
        operation, in: step.dtype.computedIn, operands[0], operands.count > 1 ? operands[1] : nil,
        to: destination, format, count: count)
    }
    switch step.operation {
    case .cast:
      unsafe kernels.cast(operands[0].bytes, operands[0].format, to: destination, format, count: count)
    case .add: compute(.add)
    case .subtract: compute(.subtract)
    case .multiply: compute(.multiply)
    case .divide: compute(.divide)
    case .scale(let factor): compute(.scale(factor))
    case .interpolate(let position): compute(.combine(1 - position, position))
    case .weightedSum(let weights):
      unsafe sum(operands, weights, in: step.dtype.computedIn, into: destination, format, count, spare[0])
    case .weightedMean(let weights, let divisor):
      let wide = ElementFormat(step.dtype.computedIn)
      unsafe sum(operands, weights, in: wide.dtype, into: spare[0], wide, count, spare[0])
      unsafe kernels.compute(
        .unscale(divisor), in: wide.dtype, KernelOperand(UnsafeRawBufferPointer(spare[0]), wide),
        to: destination, format, count: count)
    case .slerp, .products: preconditionFailure("figures are put into a program before it runs")
    case .custom(let function):
      unsafe try run(function, operands, into: destination, format, count: count, spare: spare)
    }
  }

  /// Adds the operands, each times its weight: in the dtype that is computed in, rounded to the result's with the last term.
  private func sum(
    _ operands: [KernelOperand], _ weights: [Double], in dtype: DType,
    into destination: UnsafeMutableRawBufferPointer, _ format: ElementFormat, _ count: Int,
    _ spare: UnsafeMutableRawBufferPointer
  ) {
    let wide = ElementFormat(dtype)
    for (index, operand) in operands.enumerated() {
      let isLast = index == operands.count - 1
      let target = unsafe isLast ? destination : spare
      let targetFormat = isLast ? format : wide
      if index == 0 {
        unsafe kernels.compute(
          .scale(weights[0]), in: dtype, operand, to: target, targetFormat, count: count)
      } else {
        unsafe kernels.compute(
          .accumulate(weights[index]), in: dtype, KernelOperand(UnsafeRawBufferPointer(spare), wide), operand,
          to: target, targetFormat, count: count)
      }
    }
  }

  private func run(
    _ function: ElementFunction, _ operands: [KernelOperand], into destination: UnsafeMutableRawBufferPointer,
    _ format: ElementFormat, count: Int, spare: [UnsafeMutableRawBufferPointer]
  ) throws(GraftError) {
    let float = ElementFormat(.float32)
    for (index, operand) in operands.enumerated() {
      unsafe kernels.cast(operand.bytes, operand.format, to: spare[index], float, count: count)
    }
    // Floats that the function does not write are 0, not what was there before.
    unsafe spare[2].initializeMemory(as: UInt8.self, repeating: 0)
    var output = unsafe MutableSpan<Float>(
      _unsafeStart: spare[2].baseAddress!.assumingMemoryBound(to: Float.self), count: count)
    func input(_ index: Int) -> UnsafeBufferPointer<Float> {
      unsafe UnsafeBufferPointer(
        start: spare[index].baseAddress!.assumingMemoryBound(to: Float.self), count: count)
    }
    do {
      switch function.body {
      case .unary(let body): unsafe try body(Span(_unsafeElements: input(0)), &output)
      case .binary(let body):
        unsafe try body(Span(_unsafeElements: input(0)), Span(_unsafeElements: input(1)), &output)
      }
    } catch let error as GraftError {
      throw error
    } catch {
      throw GraftError(.invalidArgument, "the function \(function.name) failed", cause: error)
    }
    unsafe kernels.cast(UnsafeRawBufferPointer(spare[2]), float, to: destination, format, count: count)
  }
}
