internal import GraftCore

/// What must come out of a recipe.
struct RecipeExpectation: Sendable {
  private struct Leaf: Sendable {
    var path: TreePath
    var spec: LeafSpec
    var position: RecipePosition
  }

  private let place: RecipePlace
  private var leaves: [Leaf] = []
  /// Whether nothing else may come out.
  private var isExact = false

  /// Reads a mapping of paths to specs, `float32[512, 256]` or `string`; `exactly: true` among them is no path.
  init(_ node: RecipeNode, _ place: RecipePlace) throws(GraftError) {
    self.place = place
    guard case .mapping(let members) = node.value else {
      throw place.fault(
        "the value of expect is wrong", at: node.position, expected: "a mapping of paths to specs",
        found: node.kind)
    }
    var seen: Set<TreePath> = []
    for member in members {
      guard case .scalar(let text, let isPlain) = member.value.value else {
        throw Self.malformed(member.value, place)
      }
      if member.key == "exactly", isPlain, ["true", "false"].contains(text) {
        isExact = text == "true"
        continue
      }
      guard let path = TreePath(parsing: member.key) else {
        throw place.fault("\(RecipePlace.shown(member.key)) is no path", at: member.position)
      }
      guard seen.insert(path).inserted else {
        throw place.fault("the path \(path) comes twice", at: member.position)
      }
      guard let spec = Self.spec(text) else { throw Self.malformed(member.value, place) }
      leaves.append(Leaf(path: path, spec: spec, position: member.position))
    }
  }

  private static func malformed(_ node: RecipeNode, _ place: RecipePlace) -> GraftError {
    place.fault(
      "this is no spec of a leaf", at: node.position, expected: "a dtype and a shape, float32[512, 256]",
      found: node.kind)
  }

  private static func spec(_ text: String) -> LeafSpec? {
    if text == "string" { return .string }
    guard let bracket = text.firstIndex(of: "["), text.hasSuffix("]") else { return nil }
    guard let dtype = DType(rawValue: String(text[..<bracket].filter { $0 != " " })) else { return nil }
    let inner = text[text.index(after: bracket)...].dropLast().filter { $0 != " " }
    var extents: [Int] = []
    for part in inner.split(separator: ",", omittingEmptySubsequences: false) where !inner.isEmpty {
      guard let extent = Int(part), extent >= 0 else { return nil }
      extents.append(extent)
    }
    return TensorSpec(checked: dtype, Shape(extents)).map { .tensor($0) }
  }

  /// Throws everything on which the tree differs, with near names for what is missing.
  func check(_ tree: Tree<LazyLeaf>) throws(GraftError) {
    var found: [TreePath: LazyLeaf] = [:]
    var order: [TreePath] = []
    tree.forEachLeaf { path, leaf in
      found[path] = leaf
      order.append(path)
    }
    var errors: [GraftError] = []
    func add(_ leaf: TreePath, _ error: GraftError) {
      var error = error
      error.leaf = leaf
      errors.append(error)
    }
    for leaf in leaves {
      guard let actual = found[leaf.path] else {
        add(
          leaf.path,
          place.fault(
            "an expected leaf does not come out", at: leaf.position, code: .leafNotFound,
            expected: "\(leaf.spec)",
            remedy: errors.count < 10
              ? NearName.suggestion(for: leaf.path.description, among: order.lazy.map(\.description)) : nil))
        continue
      }
      if actual.spec != leaf.spec {
        add(
          leaf.path,
          place.fault(
            "a leaf comes out otherwise than expected", at: leaf.position,
            code: actual.spec?.dtype == leaf.spec.dtype ? .shapeMismatch : .dtypeMismatch,
            expected: "\(leaf.spec)", found: "\(actual.spec.map { "\($0)" } ?? "a placeholder")"))
      }
    }
    if isExact {
      let wanted = Set(leaves.map(\.path))
      let unexpected = order.filter { !wanted.contains($0) }
      if let first = unexpected.first {
        let shown = unexpected.prefix(10).map(\.description).joined(separator: ", ")
        let more = unexpected.count > 10 ? " and \(unexpected.count - 10) more" : ""
        add(
          first,
          place.fault(
            "leaves come out that are not expected: \(shown)\(more)", code: .structureMismatch,
            remedy: "drop them, expect them, or leave out exactly: true"))
      }
    }
    try GraftError.throwAll(errors)
  }
}
