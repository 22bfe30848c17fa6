/// A glob over paths: `params/**/kernel`, `layer?/{query,key}/*`.
///
/// - `*` stands for any characters within one key, `?` for one character (Unicode scalar).
/// - `**`, as a whole key, stands for any number of keys, also none.
/// - `{a,b}` stands for either; what is between the braces may hold `/`, other braces and nothing at all.
/// - A backslash takes the meaning from the character after it; `\e` is the empty key and `\u{…}` a character by its
///   number, as paths print them. Every other character, brackets too, stands for itself.
///
/// A pattern is matched against the keys themselves, never against printed text. It *matches* a path as a whole, and it
/// *selects* what it matches and everything below: `params` selects every leaf under `params`, as `params/**` does.
///
/// Matching runs all alternatives at once, so its time is at most the length of the pattern times that of the path, however
/// many stars there are.
public struct PathPattern: Hashable, Sendable {
  /// The pattern as it was written.
  public let text: String

  /// The states of the automaton; one leads to the next in the array unless it says otherwise.
  private let states: [State]

  private enum State: Hashable, Sendable {
    /// Takes this scalar.
    case scalar(Unicode.Scalar)
    /// Takes any scalar: `?`.
    case anyScalar
    /// Takes any number of scalars: `*`.
    case anyScalars
    /// Takes the end of a key.
    case endOfKey
    /// Takes whole keys: `**` at the start of a key; the state after it is `insideKeys`.
    case keys
    /// Takes the rest of a key for the `keys` before it.
    case insideKeys
    /// Goes on at each of these states.
    case split([Int])
    /// Goes on at this state.
    case jump(Int)
    /// The pattern matches if the path ends here.
    case accept
  }

  /// The longest pattern, in UTF-8 bytes.
  public static let byteLimit = 4096
  /// How deep braces may be nested.
  public static let nestingLimit = 16

  /// A pattern from its text.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` that says which character is at fault and why.
  public init(_ text: String) throws(GraftError) {
    self.text = text
    var compiler = Compiler(text)
    states = try compiler.compile()
  }
}

extension PathPattern: CustomStringConvertible, ExpressibleByStringLiteral {
  /// The pattern as it was written.
  public var description: String { text }

  /// A pattern that the program itself wrote; traps when it is malformed, so use ``init(_:)`` for text from outside.
  public init(stringLiteral value: String) {
    do throws(GraftError) { self = try PathPattern(value) } catch { preconditionFailure("\(error)") }
  }
}

// MARK: - Matching

extension PathPattern {
  /// Whether the whole path is what the pattern describes.
  public func matches(_ path: TreePath) -> Bool {
    var progress = start
    for key in path.keys {
      if progress.active.isEmpty { return false }
      progress = advance(progress, over: key)
    }
    return progress.isMatch
  }

  /// Whether the pattern matches the path or one that it lies below.
  public func selects(_ path: TreePath) -> Bool {
    var progress = start
    for key in path.keys {
      if progress.isMatch { return true }
      if progress.active.isEmpty { return false }
      progress = advance(progress, over: key)
    }
    return progress.isMatch
  }

  /// How far a pattern has come on its way down a tree.
  package struct Progress: Sendable {
    /// The states that wait for a character; none when nothing further down can match.
    fileprivate(set) var active: [Int32] = []
    /// Whether the pattern matches the node that it has come to.
    package fileprivate(set) var isMatch = false
    /// Whether the pattern can match this node or one below it.
    package var isAlive: Bool { isMatch || !active.isEmpty }
  }

  /// The progress at the root.
  package var start: Progress {
    var walk = Walk(states)
    walk.add(0)
    return walk.takeProgress()
  }

  /// The progress at the child with this key.
  package func advance(_ progress: Progress, over key: Key) -> Progress {
    if progress.active.isEmpty { return Progress() }
    var walk = Walk(states)
    var active = progress.active
    for scalar in key.string.unicodeScalars {
      for state in active { walk.step(from: Int(state), over: scalar) }
      active = walk.take(reusing: active)
      if active.isEmpty { return Progress() }
    }
    for state in active { walk.stepOverEndOfKey(from: Int(state)) }
    return walk.takeProgress()
  }

  /// The set of states that the automaton is in, while it is being gathered.
  private struct Walk {
    private let states: [State]
    /// For each state the step in which it was last added, so that each is added once a step.
    private var added: [Int32]
    private var step: Int32 = 1
    private var active: [Int32] = []
    private var isMatch = false
    private var pending: [Int] = []

    init(_ states: [State]) {
      self.states = states
      added = [Int32](repeating: 0, count: states.count)
    }

    mutating func step(from state: Int, over scalar: Unicode.Scalar) {
      switch states[state] {
      case .scalar(let wanted): if wanted == scalar { add(state + 1) }
      case .anyScalar: add(state + 1)
      case .anyScalars, .insideKeys: add(state)
      case .keys: add(state + 1)
      case .endOfKey, .split, .jump, .accept: break
      }
    }

    mutating func stepOverEndOfKey(from state: Int) {
      switch states[state] {
      case .endOfKey: add(state + 1)
      case .keys: add(state)
      case .insideKeys: add(state - 1)
      case .scalar, .anyScalar, .anyScalars, .split, .jump, .accept: break
      }
    }

    /// Adds a state and those that it leads to without taking anything.
    mutating func add(_ state: Int) {
      pending.append(state)
      while let state = pending.popLast() {
        if added[state] == step { continue }
        added[state] = step
        switch states[state] {
        case .scalar, .anyScalar, .endOfKey, .insideKeys: active.append(Int32(truncatingIfNeeded: state))
        case .anyScalars:
          active.append(Int32(truncatingIfNeeded: state))
          pending.append(state + 1)
        case .keys:
          active.append(Int32(truncatingIfNeeded: state))
          pending.append(state + 2)
        case .split(let targets): pending += targets
        case .jump(let target): pending.append(target)
        case .accept: isMatch = true
        }
      }
    }

    /// The states added since the last call.
    mutating func take(reusing storage: consuming [Int32]) -> [Int32] {
      var taken = storage
      taken.removeAll(keepingCapacity: true)
      swap(&taken, &active)
      step &+= 1
      isMatch = false
      return taken
    }

    mutating func takeProgress() -> Progress {
      let isMatch = isMatch
      return Progress(active: take(reusing: []), isMatch: isMatch)
    }
  }
}

// MARK: - Compiling

extension PathPattern {
  /// An iterator that can say how far it has come.
  private struct Cursor: IteratorProtocol {
    let scalars: [Unicode.Scalar]
    var position: Int

    mutating func next() -> Unicode.Scalar? {
      guard position < scalars.count else { return nil }
      defer { position += 1 }
      return scalars[position]
    }
  }

  private struct Compiler {
    let text: String
    let scalars: [Unicode.Scalar]
    var position = 0
    var states: [State] = []

    init(_ text: String) {
      self.text = text
      scalars = Array(text.unicodeScalars.prefix(PathPattern.byteLimit + 1))
    }

    mutating func compile() throws(GraftError) -> [State] {
      guard text.utf8.count <= PathPattern.byteLimit else {
        throw GraftError(
          .limitExceeded, "a pattern is too long", expected: "at most \(PathPattern.byteLimit) bytes",
          found: "\(text.utf8.count)")
      }
      guard !scalars.isEmpty else {
        throw GraftError(.invalidArgument, "a pattern is empty", remedy: "write ** for everything")
      }
      if text == TreePath.rootText { return [.accept] }
      let endsInKeys = try sequence(atKeyStart: true, depth: 0)
      if !endsInKeys { states.append(.endOfKey) }
      states.append(.accept)
      return states
    }

    /// Compiles up to the end of the pattern or of an alternative; whether it ended in `**`, which takes the end of its last key.
    mutating func sequence(atKeyStart startsKey: Bool, depth: Int) throws(GraftError) -> Bool {
      var atKeyStart = startsKey
      while position < scalars.count {
        let scalar = scalars[position]
        switch scalar {
        case ",", "}":
          if depth > 0 { return false }
          // At the outermost level a comma stands for itself; a brace most likely lost its partner.
          if scalar == "}" {
            throw malformed("this } closes no {; a } that stands for itself is written \\}")
          }
          states.append(.scalar(scalar))
          position += 1
        case "/":
          guard !atKeyStart else {
            throw malformed("there is no key before this /; the empty key is written \\e")
          }
          states.append(.endOfKey)
          position += 1
          guard position < scalars.count else {
            position -= 1
            throw malformed("there is no key after this /; the empty key is written \\e")
          }
          atKeyStart = true
          continue
        case "*" where position + 1 < scalars.count && scalars[position + 1] == "*":
          let next = position + 2 < scalars.count ? scalars[position + 2] : nil
          guard atKeyStart, next == nil || next == "/" else {
            throw malformed(
              "** stands for whole keys, so there is a / or an end on both sides; * stands for a part of one")
          }
          states += [.keys, .insideKeys]
          position += next == nil ? 2 : 3
          if next == nil { return true }
          guard position < scalars.count else {
            position -= 1
            throw malformed("there is no key after this /; the empty key is written \\e")
          }
          continue
        case "*":
          states.append(.anyScalars)
          position += 1
        case "?":
          states.append(.anyScalar)
          position += 1
        case "{": try alternatives(atKeyStart: atKeyStart, depth: depth + 1)
        case "\\":
          var escape = Cursor(scalars: scalars, position: position + 1)
          switch TreePath.unescape(&escape) {
          case .scalar(let decoded): states.append(.scalar(decoded))
          case .nothing: break
          case .invalid:
            throw malformed("this \\ begins no escape; a \\ that stands for itself is written \\\\")
          }
          position = escape.position
        default:
          states.append(.scalar(scalar))
          position += 1
        }
        atKeyStart = false
      }
      return false
    }

    mutating func alternatives(atKeyStart: Bool, depth: Int) throws(GraftError) {
      let opening = position
      guard depth <= PathPattern.nestingLimit else {
        throw malformed("braces are nested more than \(PathPattern.nestingLimit) deep")
      }
      let split = states.count
      states.append(.split([]))
      var starts: [Int] = []
      var ends: [Int] = []
      repeat {
        position += 1  // Past the { or the comma.
        starts.append(states.count)
        // A ** cannot end an alternative, so that none takes the end of a key that the pattern goes on with.
        _ = try sequence(atKeyStart: atKeyStart, depth: depth)
        guard position < scalars.count else {
          position = opening
          throw malformed("this { is never closed; a { that stands for itself is written \\{")
        }
        ends.append(states.count)
        states.append(.jump(0))
      } while scalars[position] == ","
      position += 1
      states[split] = .split(starts)
      for end in ends { states[end] = .jump(states.count) }
    }

    func malformed(_ why: String) -> GraftError {
      let shown = String(String.UnicodeScalarView(scalars[position...].prefix(20)))
      return GraftError(
        .invalidArgument,
        "the pattern \(TreePath.printable(text)) is malformed at character \(position + 1), `\(TreePath.printable(shown))`: \(why)"
      )
    }
  }
}
