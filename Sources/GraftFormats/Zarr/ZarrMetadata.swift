// Fields that both versions of Zarr's metadata have, and the checks that every array must pass.

internal import GraftCore

/// Reads the members of a JSON object of metadata, with errors that name them.
struct ZarrMetadata {
  let root: JSONValue
  let file: String
  let limits: Limits

  init(_ bytes: [UInt8], file: String, limits: Limits) throws(GraftError) {
    do throws(JSONError) {
      // Python writes fill values of NaN as bare words.
      root = try JSONValue(parsing: bytes, nestingLimit: limits.nestingDepth, acceptsNonFinite: true)
    } catch {
      throw error.graftError(in: "the Zarr metadata", file: file)
    }
    self.file = file
    self.limits = limits
    guard root.members != nil else { throw invalid("the whole", expected: "an object") }
  }

  func invalid(_ what: String, expected: String? = nil, found: String? = nil) -> GraftError {
    GraftError(
      .corrupt, "the Zarr metadata is not valid: \(what)", file: file, expected: expected, found: found,
      remedy: "the checkpoint was damaged after it was written: copy or download it again")
  }

  func unsupported(_ what: String) -> GraftError {
    GraftError(
      .unsupported, "\(what) is not supported", file: file,
      remedy:
        "write the array again row-major and little-endian, with the codecs bytes, zstd, blosc or crc32c"
    )
  }

  func unsupportedDType(_ what: String) -> GraftError {
    GraftError(
      .unsupported, "\(what) is not supported", file: file,
      remedy: "save the array as another dtype, for example int8 or float32")
  }

  /// Extents of an axis each: integers from `minimum` up.
  func extents(_ value: JSONValue?, _ what: String, minimum: Int) throws(GraftError) -> [Int] {
    guard let elements = value?.elements else { throw invalid(what, expected: "a list of integers") }
    guard elements.count <= limits.rank else {
      throw GraftError(
        .limitExceeded, "the array has too many axes", file: file, expected: "at most \(limits.rank)",
        found: "\(elements.count)")
    }
    var extents: [Int] = []
    for element in elements {
      guard let extent = element.integer, extent >= minimum else {
        throw invalid(what, expected: "integers of at least \(minimum)")
      }
      extents.append(extent)
    }
    return extents
  }

  /// The dtype and shape, checked against the chunks' shapes: equal ranks, and no byte count that overflows.
  func checked(
    _ dtype: DType, shape: [Int], stored: [Int], chunk: [Int]
  ) throws(GraftError) -> (TensorSpec, stored: Shape, chunk: Shape) {
    guard stored.count == shape.count, chunk.count == shape.count else {
      throw invalid(
        "chunks and array have different numbers of axes", expected: "\(shape.count)",
        found: "\(stored.count) and \(chunk.count)")
    }
    guard zip(stored, chunk).allSatisfy({ $0 % $1 == 0 }) else {
      throw invalid(
        "the chunks of a shard do not divide it", expected: "divisors of \(Shape(stored))",
        found: "\(Shape(chunk))")
    }
    guard let spec = TensorSpec(checked: dtype, Shape(shape)) else {
      throw invalid("the array's size overflows", found: "\(dtype)\(Shape(shape))")
    }
    // Elements of less than a byte have a byte each.
    let elementByteCount = max(1, dtype.bitWidth / 8)
    for extents in [stored, chunk] {
      let count = Shape(extents).checkedElementCount
      guard let count, !count.multipliedReportingOverflow(by: elementByteCount).overflow else {
        throw invalid("the chunk's size overflows", found: "\(dtype)\(Shape(extents))")
      }
    }
    return (spec, Shape(stored), Shape(chunk))
  }

  func dtype(named name: String) -> DType? { DType(rawValue: name) }
}
