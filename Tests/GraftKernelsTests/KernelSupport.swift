import CGraftKernels
import GraftCore
import GraftTestSupport

/// The variants that this processor has; the portable one is the first.
let variants = [GRAFT_PORTABLE, GRAFT_AVX2, GRAFT_AVX512].filter { graft_variant_is_supported($0) }

extension DType {
  /// The dtype as the header numbers it: in the order of ``DType``.
  var code: UInt8 { UInt8(DType.allCases.firstIndex(of: self)!) }
  var kernelDType: graft_dtype { graft_dtype(UInt32(code)) }

  /// Elements one after the other; those of less than a byte packed, unless each has a byte.
  func format(wholeBytes: Bool = false) -> graft_format {
    graft_format(dtype: code, has_whole_bytes: wholeBytes)
  }

  /// The bytes of an element that has bytes of its own.
  var wholeByteCount: Int { max(1, bitWidth / 8) }
}

/// Elements in bytes, each in bytes of its own.
func elementBytes<Element>(_ elements: [Element]) -> [UInt8] {
  elements.withUnsafeBytes { Array($0) }
}

/// The elements that bytes hold.
func elements<Element: BitwiseCopyable>(_ bytes: [UInt8], as _: Element.Type = Element.self) -> [Element] {
  bytes.withUnsafeBytes { raw in
    (0..<raw.count / MemoryLayout<Element>.stride).map {
      raw.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Element>.stride, as: Element.self)
    }
  }
}

/// Runs `body` with memory for a result that begins at an odd address or not, and gives what it wrote.
///
/// The bytes around it must stay as they were: nil when they did not.
func written(_ byteCount: Int, offset: Int = 0, _ body: (UnsafeMutableRawPointer) -> Void) -> [UInt8]? {
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount + offset + 64, alignment: 64)
  defer { memory.deallocate() }
  for index in memory.indices { memory[index] = 0xA5 }
  body(memory.baseAddress! + offset)
  guard memory[..<offset].allSatisfy({ $0 == 0xA5 }),
    memory[(offset + byteCount)...].allSatisfy({ $0 == 0xA5 })
  else { return nil }
  return Array(memory[offset..<(offset + byteCount)])
}

/// Casts elements that have bytes of their own; nil when the kernel refused or wrote elsewhere.
func cast(_ source: [UInt8], _ from: DType, to: DType, _ variant: graft_variant) -> [UInt8]? {
  let count = source.count / from.wholeByteCount
  var result: CInt = 0
  let bytes = written(count * to.wholeByteCount) {
    result = graft_cast(
      variant, $0, to.format(wholeBytes: true), source, from.format(wholeBytes: true), count)
  }
  return result == 0 ? bytes : nil
}

/// Packs codes as ``DType`` says; bits after the last are 0.
func packed(_ codes: [UInt8], _ dtype: DType) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: (codes.count * dtype.bitWidth + 7) / 8)
  for (index, code) in codes.enumerated() {
    for bit in 0..<dtype.bitWidth where code >> UInt8(bit) & 1 == 1 {
      let place = index * dtype.bitWidth + bit
      bytes[place / 8] |= 1 << UInt8(place % 8)
    }
  }
  return bytes
}
