/// A whole number that depends on where one is in a nest of loops: an offset, and a step for each loop that matters.
package struct Affine: Hashable, Sendable {
  /// One loop's share.
  package struct Term: Hashable, Sendable {
    /// The index of the loop.
    package var loop: Int
    /// What one turn of the loop adds; not 0.
    package var step: Int
  }

  /// The value where every loop is at its beginning.
  package var offset: Int
  /// The loops that change the value, in ascending order.
  package var terms: Terms

  package init(offset: Int, terms: Terms = []) {
    self.offset = offset
    self.terms = terms
  }

  /// What one turn of a loop adds.
  package func step(of loop: Int) -> Int { terms.first { $0.loop == loop }?.step ?? 0 }

  /// The lowest and the highest value over loops of these extents, none of which is 0.
  func bounds(_ extents: [Int]) -> ClosedRange<Int> {
    var (lower, upper) = (offset, offset)
    for term in terms {
      let reach = (extents[term.loop] - 1) * term.step
      if reach < 0 { lower += reach } else { upper += reach }
    }
    return lower...upper
  }

  /// The value `self * factor + addend`.
  func scaled(by factor: Int, plus addend: Int = 0) -> Affine {
    if factor == 1, addend == 0 { return self }
    return Affine(
      offset: offset * factor + addend,
      terms: factor == 0 ? [] : terms.mapped { Term(loop: $0.loop, step: $0.step * factor) })
  }

  static func + (a: Affine, b: Affine) -> Affine {
    if b.terms.isEmpty { return Affine(offset: a.offset + b.offset, terms: a.terms) }
    var terms = a.terms
    for term in b.terms {
      if let index = terms.firstIndex(where: { $0.loop >= term.loop }) {
        if terms[index].loop == term.loop {
          terms[index].step += term.step
          if terms[index].step == 0 { terms.remove(at: index) }
        } else {
          terms.insert(term, at: index)
        }
      } else {
        terms.append(term)
      }
    }
    return Affine(offset: a.offset + b.offset, terms: terms)
  }

  /// Cuts a loop down to some of its turns.
  mutating func restrict(loop: Int, to turns: Range<Int>) {
    guard let index = terms.firstIndex(where: { $0.loop == loop }) else { return }
    offset += terms[index].step * turns.lowerBound
    // A loop of one turn is no term any more, so that whoever looks at the terms sees what moves.
    if turns.count == 1 { terms.remove(at: index) }
  }

  /// Runs a loop of this extent backwards.
  mutating func reverse(loop: Int, extent: Int) {
    guard let index = terms.firstIndex(where: { $0.loop == loop }) else { return }
    offset += terms[index].step * (extent - 1)
    terms[index].step.negate()
  }

  /// Makes two loops of one: the inner one, of `innerExtent` turns, comes right after it.
  mutating func split(loop: Int, innerExtent: Int) {
    var result: Terms = []
    for term in terms {
      if term.loop < loop {
        result.append(term)
      } else if term.loop == loop {
        result.append(Term(loop: loop, step: term.step * innerExtent))
        result.append(Term(loop: loop + 1, step: term.step))
      } else {
        result.append(Term(loop: term.loop + 1, step: term.step))
      }
    }
    terms = result
  }
}

extension Affine {
  /// Terms one after the other; the first two without memory of their own, for nearly no number has more.
  ///
  /// A stack of 100,000 leaves is 100,000 pieces of several numbers each, and an array for every one of them was made and thrown
  /// away several times over while the piece was cut.
  package struct Terms: Hashable, Sendable {
    package private(set) var count = 0
    // Unused ones have the same value always, so that equal terms are equal here.
    private var first = unused
    private var second = unused
    private var others: [Term]?

    private static let unused = Term(loop: 0, step: 0)

    package init() {}

    package mutating func append(_ term: Term) {
      switch count {
      case 0: first = term
      case 1: second = term
      default: others = (others ?? []) + [term]
      }
      count += 1
    }

    /// The terms that `body` makes of these, in their order.
    func mapped(_ body: (Term) -> Term) -> Terms {
      var result = self
      for index in indices { result[index] = body(self[index]) }
      return result
    }

    mutating func remove(at index: Int) {
      for later in index..<(count - 1) { self[later] = self[later + 1] }
      switch count {
      case 1: first = Self.unused
      case 2: second = Self.unused
      case 3: others = nil
      default: others?.removeLast()
      }
      count -= 1
    }

    mutating func insert(_ term: Term, at index: Int) {
      append(term)
      for later in stride(from: count - 1, to: index, by: -1) { self[later] = self[later - 1] }
      self[index] = term
    }

    mutating func removeAll(where isRemoved: (Term) -> Bool) {
      for index in indices.reversed() where isRemoved(self[index]) { remove(at: index) }
    }

    /// Sorts by insertion, which is quickest for so few.
    mutating func sort(by precedes: (Term, Term) -> Bool) {
      for end in indices.dropFirst() {
        var index = end
        while index > 0, precedes(self[index], self[index - 1]) {
          (self[index], self[index - 1]) = (self[index - 1], self[index])
          index -= 1
        }
      }
    }
  }
}

extension Affine.Terms: RandomAccessCollection, ExpressibleByArrayLiteral {
  package init(arrayLiteral elements: Affine.Term...) { self.init(elements) }

  package init(_ terms: some Sequence<Affine.Term>) {
    for term in terms { append(term) }
  }

  package var startIndex: Int { 0 }
  package var endIndex: Int { count }

  package subscript(index: Int) -> Affine.Term {
    get {
      precondition(index >= 0 && index < count, "a number has no term \(index)")
      return index == 0 ? first : index == 1 ? second : others.map { $0[index - 2] } ?? Self.unused
    }
    set {
      precondition(index >= 0 && index < count, "a number has no term \(index)")
      switch index {
      case 0: first = newValue
      case 1: second = newValue
      default: others?[index - 2] = newValue
      }
    }
  }
}

extension Affine: CustomStringConvertible {
  package var description: String {
    var text = ""
    for term in terms {
      if !text.isEmpty || term.step < 0 { text += term.step < 0 ? "-" : "+" }
      text += (term.step.magnitude == 1 ? "" : "\(term.step.magnitude)*") + "i\(term.loop)"
    }
    if text.isEmpty { return "\(offset)" }
    return offset == 0 ? text : text + (offset > 0 ? "+" : "") + "\(offset)"
  }
}
