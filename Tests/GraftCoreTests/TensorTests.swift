import GraftCore
import GraftTestSupport
import Testing

/// Keeps memory for tensors that look at bytes at any address, and says when it is gone.
private final class Memory: @unchecked Sendable {
  let bytes: UnsafeMutableRawBufferPointer
  let onRelease: @Sendable () -> Void

  init(_ content: [UInt8], shiftedBy shift: Int, onRelease: @escaping @Sendable () -> Void = {}) {
    let all = UnsafeMutableRawBufferPointer.allocate(byteCount: content.count + shift, alignment: 64)
    self.bytes = UnsafeMutableRawBufferPointer(rebasing: all[shift...])
    self.shift = shift
    self.onRelease = onRelease
    bytes.copyBytes(from: content)
  }
  private let shift: Int
  deinit {
    (bytes.baseAddress! - shift).deallocate()
    onRelease()
  }

  func tensor(_ spec: TensorSpec) -> Tensor {
    Tensor(spec: spec, owner: self, bytes: UnsafeRawBufferPointer(bytes))
  }
}

private func bytes<T>(of values: [T]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }

/// What `body` throws, as the tests look at it.
private func failure(_ body: () throws(GraftError) -> Void) -> GraftError? {
  do throws(GraftError) {
    try body()
    return nil
  } catch {
    return error
  }
}

@Suite struct TensorTests {
  @Test func `a tensor gives back the elements that it was made of`() throws {
    let tensor = Tensor([1, 2, 3, 4, 5, 6] as [Float], shape: [2, 3])
    #expect(tensor.spec == TensorSpec(.float32, [2, 3]))
    #expect(tensor.byteCount == 24)
    #expect(try tensor.array(as: Float.self) == [1, 2, 3, 4, 5, 6])
    #expect(try tensor[[1, 2], as: Float.self] == 6)
    #expect(try Array(tensor.elements(as: Float.self)) == [1, 2, 3, 4, 5, 6])
    let span = try tensor.span(as: Float.self)
    #expect(span.count == 6)
    #expect(span[4] == 5)
    #expect(try tensor.bytes.byteCount == 24)
    #expect(Tensor([1.5, 2.5]).spec == TensorSpec(.float64, [2]))
    #expect(Tensor(scalar: 3).spec == TensorSpec(.int64, []))
  }

  @Test func `every scalar type makes tensors of its dtype`() throws {
    func check<T: TensorScalar & Equatable>(_ values: [T], _ dtype: DType) throws {
      let tensor = Tensor(values)
      #expect(tensor.spec == TensorSpec(dtype, [values.count]))
      #expect(try tensor.array(as: T.self) == values)
      #expect(try Array(tensor.elements(as: T.self)) == values)
      #expect(try tensor.bytes.byteCount == values.count * MemoryLayout<T>.stride)
    }
    try check([true, false], .bool)
    try check([Int8.min, 1], .int8)
    try check([Int16.min, 1], .int16)
    try check([Int32.min, 1], .int32)
    try check([Int64.min, 1], .int64)
    try check([Int.min, 1], .int64)
    try check([UInt8.max, 1], .uint8)
    try check([UInt16.max, 1], .uint16)
    try check([UInt32.max, 1], .uint32)
    try check([UInt64.max, 1], .uint64)
    try check([UInt.max, 1], .uint64)
    try check([1.5, -2] as [Float16], .float16)
    try check([BFloat16(1.5 as Float), BFloat16(-2.0)], .bfloat16)
    try check([1.5, -2] as [Float], .float32)
    try check([1.5, -2] as [Double], .float64)
    try check([Complex64(1, 2), Complex64(3)], .complex64)
    try check([Complex128(1, 2), Complex128(3)], .complex128)
  }

  @Test func `a tensor of no element reads as nothing`() throws {
    let tensor = Tensor([] as [Float], shape: [0, 3])
    #expect(try tensor.span(as: Float.self).isEmpty)
    #expect(try tensor.elements(as: Float.self).isEmpty)
    #expect(try tensor.array(as: Double.self).isEmpty)
    #expect(try tensor.bytes.isEmpty)
    #expect(try tensor.contentEquals(tensor))
    #expect(tensor.description == "float32[0, 3] []")
  }

  @Test func `bytes that do not fill the tensor are refused`() throws {
    let error = try #require(
      failure { () throws(GraftError) in _ = try Tensor(bytes: [1, 2, 3], spec: TensorSpec(.int16, [2])) })
    #expect(error.code == .shapeMismatch)
    #expect(error.description == "The bytes do not fill the tensor. Expected 4 bytes for int16[2], found 3.")
    #expect(try Tensor(bytes: [1, 0, 2, 0], spec: TensorSpec(.int16, [2])).array(as: Int.self) == [1, 2])
  }

  @Test func `misaligned elements load, and a span of them is refused with the remedy`() throws {
    let values: [Float] = [1, 2, .pi]
    let tensor = Memory(bytes(of: values), shiftedBy: 1).tensor(TensorSpec(.float32, [3]))
    #expect(try Array(tensor.elements(as: Float.self)) == values)
    #expect(try tensor.array(as: Float.self) == values)
    #expect(try tensor.array(as: Double.self) == values.map(Double.init))
    #expect(try tensor[[2], as: Float.self] == .pi)
    let error = try #require(failure { () throws(GraftError) in _ = try tensor.span(as: Float.self).count })
    #expect(error.code == .invalidArgument)
    #expect(error.remedy?.contains("elements(as: Float.self)") == true)
    let complex = Memory(bytes(of: [0, 1, 2] as [Float]), shiftedBy: 4).tensor(TensorSpec(.float32, [3]))
    #expect(try complex.span(as: Float.self)[1] == 1)
  }

  @Test func `another dtype than the tensor's is refused with the remedy`() throws {
    let tensor = Tensor([1, 2] as [Int32])
    for error in [
      failure { () throws(GraftError) in _ = try tensor.span(as: Float.self).count },
      failure { () throws(GraftError) in _ = try tensor.elements(as: UInt32.self) },
      failure { () throws(GraftError) in _ = try tensor[[0], as: Int64.self] },
    ] {
      #expect(error?.code == .dtypeMismatch)
      #expect(error?.found == "int32")
      #expect(error?.remedy?.hasPrefix("use array(as: ") == true)
    }
  }

  @Test(arguments: [[], [0], [2, 0], [0, 3], [-1, 0], [0, 0, 0]])
  func `an index outside the tensor is refused`(index: [Int]) throws {
    let tensor = Tensor([1, 2, 3, 4, 5, 6] as [Float], shape: [2, 3])
    let error = failure { () throws(GraftError) in _ = try tensor[index, as: Float.self] }
    #expect(error?.code == .invalidArgument)
    #expect(error?.expected == "2 numbers below [2, 3]")
  }

  @Test func `a bool that is neither 0 nor 1 is true, and no span shows it`() throws {
    let tensor = try Tensor(bytes: [0, 1, 7], spec: TensorSpec(.bool, [3]))
    #expect(try tensor.array(as: Bool.self) == [false, true, true])
    #expect(try Array(tensor.elements(as: Bool.self)) == [false, true, true])
    #expect(try tensor.array(as: Int.self) == [0, 1, 1])
    let error = failure { () throws(GraftError) in _ = try tensor.span(as: Bool.self).count }
    #expect(error?.code == .corrupt)
    #expect(error?.found == "7 at index 2")
    #expect(try Tensor([true, false]).span(as: Bool.self)[0])
  }

  @Test func `a type of one's own reads a dtype that Swift has no type for`() throws {
    struct Code: TensorScalar, Equatable {
      var bits: UInt8
      static var dtype: DType { .float8E4M3FN }
    }
    let tensor = Tensor([Code(bits: 0x38), Code(bits: 0x7F)])
    #expect(try tensor.span(as: Code.self)[0] == Code(bits: 0x38))
    #expect(try tensor.array(as: Code.self) == [Code(bits: 0x38), Code(bits: 0x7F)])
    #expect(try tensor.array(as: Float.self)[0] == 1)
    #expect(
      failure { () throws(GraftError) in _ = try Tensor([1.0]).array(as: Code.self) }?.code == .dtypeMismatch)
    #expect(try Tensor([Code(bits: 0x38)]).scalar(as: Code.self) == Code(bits: 0x38))
  }

  @Test func `a tensor and its elements keep the memory alive, and nothing longer`() throws {
    final class Flag: @unchecked Sendable { var isSet = false }
    let flag = Flag()
    var tensor: Tensor? = Memory(bytes(of: [1, 2, 3] as [Float]), shiftedBy: 0) { flag.isSet = true }
      .tensor(TensorSpec(.float32, [3]))
    var elements = try tensor?.elements(as: Float.self)
    tensor = nil
    #expect(!flag.isSet)
    #expect(elements?.last == 3)
    elements = nil
    #expect(flag.isSet)
  }

  @Test func `contents are equal bit by bit`() throws {
    let nan = Tensor([Float.nan, 0])
    #expect(try nan.contentEquals(Tensor([Float.nan, 0])))
    #expect(try !nan.contentEquals(Tensor([Float.nan, -0.0])))
    #expect(try !nan.contentEquals(Tensor([Float.nan, 0], shape: [1, 2])))
    #expect(try !Tensor([1] as [Int32]).contentEquals(Tensor([1] as [UInt32])))
    // Lengths around the words that are compared at once, with a difference anywhere.
    for count in [1, 7, 63, 64, 65, 200] {
      let content = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
      let a = Tensor(content)
      #expect(try a.contentEquals(Memory(content, shiftedBy: 3).tensor(a.spec)))
      for position in 0..<count {
        var other = content
        other[position] ^= 0x80
        #expect(try !a.contentEquals(Tensor(other)))
      }
    }
  }

  @Test func `bits that pad packed elements do not count`() throws {
    let spec = TensorSpec(.int4, [3])
    let a = try Tensor(bytes: [0x21, 0x03], spec: spec)
    #expect(try a.contentEquals(Tensor(bytes: [0x21, 0xF3], spec: spec)))
    #expect(try !a.contentEquals(Tensor(bytes: [0x21, 0x07], spec: spec)))
    #expect(try !a.contentEquals(Tensor(bytes: [0x22, 0x03], spec: spec)))
  }

  static let descriptions: [(tensor: Tensor, text: String)] = [
    (Tensor(scalar: 7), "int64[] 7"),
    (Tensor([1, 2.5] as [Float]), "float32[2] [1.0, 2.5]"),
    (Tensor([0.1] as [Float]), "float32[1] [0.1]"),
    (Tensor([0.1]), "float64[1] [0.1]"),
    (Tensor([true, false]), "bool[2] [true, false]"),
    (Tensor([Complex64(1, -2), Complex64(0, .nan)]), "complex64[2] [1.0-2.0i, 0.0+nani]"),
    (Tensor([1, 2, 3, 4] as [UInt8], shape: [2, 1, 2]), "uint8[2, 1, 2] [[[1, 2]], [[3, 4]]]"),
    (Tensor(Array(0..<100)), "int64[100] [0, 1, 2, …, 97, 98, 99]"),
    (Tensor([] as [Float], shape: [1 << 40, 0]), "float32[\(1 << 40), 0] []"),
    (Tensor([UInt64.max]), "uint64[1] [18446744073709551615]"),
  ]

  @Test(arguments: descriptions.indices) func `a description shows the spec and some values`(index: Int) {
    #expect(Self.descriptions[index].tensor.description == Self.descriptions[index].text)
  }

  @Test func `a description is short whatever the shape`() {
    let shape = Shape([Int](repeating: 2, count: 16))
    let text = Tensor([UInt8](repeating: 1, count: 65536), shape: shape).description
    #expect(text.utf8.count < 1000)
    #expect(text.contains("…"))
    #expect(
      Tensor([UInt8](repeating: 1, count: 1), shape: Shape([Int](repeating: 1, count: 64))).description
        .hasSuffix("]]"))
  }
}

@Suite struct LeafValueTests {
  let tree: Tree<LeafValue> = [
    "step": .leaf(.tensor(Tensor(scalar: 1000 as Int32))),
    "rate": .leaf(.tensor(Tensor(scalar: 0.5 as Float))),
    "name": .leaf(.string("base")),
    "moments": [.leaf(.placeholder), .leaf(.tensor(Tensor([1, 2] as [Float])))],
    "nothing": .empty,
  ]

  @Test func `scalars, strings and tensors are at hand`() throws {
    let step: Int = try tree["step"].scalar()
    #expect(step == 1000)
    #expect(try tree["rate"].scalar(as: Double.self) == 0.5)
    #expect(try tree["name"].string == "base")
    #expect(try tree["moments"][1].tensor.array(as: Float.self) == [1, 2])
  }

  static let failures: [(path: TreePath, code: GraftError.Code, found: String?)] = [
    ("name", .structureMismatch, "a string"),
    ("moments/0", .leafNotFound, "a placeholder"),
    ("moments", .structureMismatch, "a list of 2"),
    ("nothing", .structureMismatch, "an empty node"),
    ("steps", .leafNotFound, nil),
    ("moments/7/deep", .leafNotFound, nil),
    ("moments/1", .shapeMismatch, "float32[2]"),
    ("rate", .lossy, "0.5 as float32"),
  ]

  @Test(arguments: failures.indices) func `what is no scalar is an error that names the path`(index: Int)
    throws
  {
    let (path, code, found) = Self.failures[index]
    let error = try #require(failure { () throws(GraftError) in _ = try tree[at: path].scalar(as: Int.self) })
    #expect(error.code == code)
    #expect(error.found == found)
    let leaf = try #require(error.leaf)
    #expect(path.keys.starts(with: leaf.keys) && !leaf.keys.isEmpty)
  }

  @Test func `a tensor is no string`() throws {
    let error = try #require(failure { () throws(GraftError) in _ = try tree["step"].string })
    #expect(
      error.description
        == "The tree has no string here. In leaf step. Expected a string, found a tensor, int32[].")
  }
}
