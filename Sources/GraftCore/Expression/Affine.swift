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
  package var terms: [Term]

  package init(offset: Int, terms: [Term] = []) {
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
      terms: factor == 0 ? [] : terms.map { Term(loop: $0.loop, step: $0.step * factor) })
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

  /// Begins a loop later, at the turn `first`.
  mutating func begin(loop: Int, at first: Int) {
    if first != 0 { offset += step(of: loop) * first }
  }

  /// Runs a loop of this extent backwards.
  mutating func reverse(loop: Int, extent: Int) {
    guard let index = terms.firstIndex(where: { $0.loop == loop }) else { return }
    offset += terms[index].step * (extent - 1)
    terms[index].step.negate()
  }

  /// Makes two loops of one: the inner one, of `innerExtent` turns, comes right after it.
  mutating func split(loop: Int, innerExtent: Int) {
    var result: [Term] = []
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
