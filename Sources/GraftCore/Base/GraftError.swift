/// What went wrong, where, what was expected and found, and what to do about it.
///
/// Every error that Graft throws to its users has this one shape. ``description`` is a paragraph made of its parts; a
/// program decides on ``code`` and reads the subject from ``leaf``, ``file`` and ``range``.
public struct GraftError: Error, Sendable {
  /// The kind of failure, for programs to decide on.
  public var code: Code
  /// What went wrong, as a clause without a full stop, for example `the file ends inside the tensor`.
  public var message: String
  /// The leaf that is concerned, if one is.
  public var leaf: TreePath?
  /// What was being done in a transform, and the line of the program that asked for it, if that is known.
  public var operation: String?
  /// The file or folder that is concerned, if one is.
  public var file: String?
  /// The bytes of ``file`` that are concerned, if they are known.
  public var range: ByteRange?
  /// What should have been there.
  public var expected: String?
  /// What was there instead.
  public var found: String?
  /// What one can do, as a clause without a full stop, for example `pass partial: true`.
  public var remedy: String?
  /// The failure below this one, for example a failed system call.
  public var cause: (any Error)?
  /// Further failures of the same operation, thrown together with this one.
  public var others: [GraftError]

  /// An error with the parts that are known.
  public init(
    _ code: Code, _ message: String, leaf: TreePath? = nil, file: String? = nil, range: ByteRange? = nil,
    expected: String? = nil, found: String? = nil, remedy: String? = nil, cause: (any Error)? = nil,
    others: [GraftError] = []
  ) {
    self.code = code
    self.message = message
    self.leaf = leaf
    self.file = file
    self.range = range
    self.expected = expected
    self.found = found
    self.remedy = remedy
    self.cause = cause
    self.others = others
  }
}

extension GraftError {
  /// The kind of a failure; more kinds may be added, so a `switch` over them needs a `default`.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    private enum Kind: String {
      case notFound, permissionDenied, notACheckpoint, unsupported, corrupt, truncated, limitExceeded
      case structureMismatch, leafNotFound, shapeMismatch, dtypeMismatch, lossy, collision, invalidArgument
      case ioFailed, fileChanged, insufficientMemory, destinationExists, noSpace, cancelled
    }
    private let kind: Kind
    private init(_ kind: Kind) { self.kind = kind }

    /// The name of the code, for example `notFound`.
    public var description: String { kind.rawValue }

    /// A file or folder does not exist.
    public static let notFound = Code(.notFound)
    /// The system refuses access to a file or folder.
    public static let permissionDenied = Code(.permissionDenied)
    /// A file or folder exists but is no checkpoint that Graft knows.
    public static let notACheckpoint = Code(.notACheckpoint)
    /// A checkpoint uses something that Graft does not read or write.
    public static let unsupported = Code(.unsupported)
    /// Bytes contradict the format or a checksum.
    public static let corrupt = Code(.corrupt)
    /// A file ends before the bytes that its metadata promises.
    public static let truncated = Code(.truncated)
    /// Input claims more than a limit of ``Limits`` allows.
    public static let limitExceeded = Code(.limitExceeded)
    /// Two trees that should agree differ in structure.
    public static let structureMismatch = Code(.structureMismatch)
    /// A leaf that was asked for does not exist.
    public static let leafNotFound = Code(.leafNotFound)
    /// A tensor has another shape than was asked for.
    public static let shapeMismatch = Code(.shapeMismatch)
    /// A tensor has another dtype than was asked for.
    public static let dtypeMismatch = Code(.dtypeMismatch)
    /// A conversion would lose information, and nobody allowed that.
    public static let lossy = Code(.lossy)
    /// Two leaves have the same name.
    public static let collision = Code(.collision)
    /// An argument makes no sense.
    public static let invalidArgument = Code(.invalidArgument)
    /// The system failed to read or write.
    public static let ioFailed = Code(.ioFailed)
    /// A file changed while it was in use.
    public static let fileChanged = Code(.fileChanged)
    /// A result or buffer does not fit the memory that there is.
    public static let insufficientMemory = Code(.insufficientMemory)
    /// The destination exists and overwriting was not asked for.
    public static let destinationExists = Code(.destinationExists)
    /// The file system is full, or a quota is.
    public static let noSpace = Code(.noSpace)
    /// The task was cancelled.
    public static let cancelled = Code(.cancelled)
  }
}

extension GraftError: CustomStringConvertible {
  /// One paragraph: what, where (leaf, file, byte range), expected and found, and what to do.
  public var description: String {
    var sentences = [Self.sentence(message)]
    var places: [String] = []
    if let leaf { places.append("leaf \(leaf)") }
    if let operation { places.append(operation) }
    if let file { places.append("file \(TreePath.printable(file))") }
    if let range { places.append("\(range)") }
    if !places.isEmpty { sentences.append(Self.sentence("in " + places.joined(separator: ", "))) }
    switch (expected, found) {
    case (let expected?, let found?): sentences.append("Expected \(expected), found \(found).")
    case (let expected?, nil): sentences.append("Expected \(expected).")
    case (nil, let found?): sentences.append("Found \(found).")
    case (nil, nil): break
    }
    if let cause { sentences.append(Self.sentence("cause: \(cause)")) }
    if let remedy { sentences.append(Self.sentence(remedy)) }
    if !others.isEmpty {
      // A hundred thousand mismatched leaves must not make a message of a hundred megabytes.
      let shown = others.prefix(Self.printedOthersLimit).map { "Also: \($0)" }
      sentences += shown
      if others.count > shown.count { sentences.append("And \(others.count - shown.count) more.") }
    }
    return sentences.joined(separator: " ")
  }

  /// How many of ``others`` a description prints.
  public static let printedOthersLimit = 9

  private static func sentence(_ clause: String) -> String {
    guard let first = clause.first else { return clause }
    let capitalised = first.uppercased() + clause.dropFirst()
    return capitalised.hasSuffix(".") || capitalised.hasSuffix("?") ? capitalised : capitalised + "."
  }
}
