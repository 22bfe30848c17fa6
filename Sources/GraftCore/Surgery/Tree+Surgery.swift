// The built-in surgeries as methods of trees. Each gives a new tree, and does nothing that its step as a value does not: see
// ``TreeOperation``. A step that concerns no leaf is a fault.

// MARK: - Paths

extension Tree where Leaf == LazyLeaf {
  /// The tree with paths rewritten by rules: `tree.renaming([RenameRule("^(.*)/weight$", to: #"\1/kernel"#)])`.
  ///
  /// Each rule replaces every occurrence of its pattern in every printed path, as `re.sub` does. Lists and tuples stay what they are
  /// where their own keys do. Two leaves that would meet are a fault, and so is a rule that concerns nothing.
  ///
  /// - Parameter simultaneously: whether a path is rewritten by the first rule that concerns it alone, so that two names can be
  ///   exchanged; otherwise by each rule in order, each seeing what the one before has made.
  public func renaming(
    _ rules: [RenameRule], simultaneously: Bool = false, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    applying(.rename(rules, simultaneously: simultaneously), file: file, line: line)
  }

  /// The tree with paths rewritten by one rule; see ``renaming(_:simultaneously:file:line:)``.
  public func renaming(
    _ pattern: PathRegex, to replacement: PathTemplate, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    applying(.rename([RenameRule(pattern, to: replacement)]), file: file, line: line)
  }

  /// The tree with nodes elsewhere, all at the same time, each with everything below it; a node that is not there is a fault.
  public func moving(_ moves: [TreeMove], file: StaticString = #fileID, line: UInt = #line) -> Tree {
    applying(.move(moves), file: file, line: line)
  }

  /// The tree below a path of new dictionaries.
  public func nesting(under prefix: TreePath, file: StaticString = #fileID, line: UInt = #line) -> Tree {
    applying(.nest(under: prefix), file: file, line: line)
  }

  /// The node at a path alone; a leaf that lies elsewhere is a fault.
  public func unnesting(from prefix: TreePath, file: StaticString = #fileID, line: UInt = #line) -> Tree {
    applying(.unnest(from: prefix), file: file, line: line)
  }

  /// The tree with each key that holds the separator made several: `layers.0.kernel` becomes `layers/0/kernel`.
  ///
  /// - Parameter makingLists: whether new containers with the keys 0, 1, 2 and so on become lists.
  public func unflattening(
    separator: String = ".", makingLists: Bool = false, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    applying(.unflatten(separator: separator, makingLists: makingLists), file: file, line: line)
  }

  /// One dictionary of all leaves, each with its keys joined by the separator.
  public func flattening(
    separator: String = ".", file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    applying(.flatten(separator: separator), file: file, line: line)
  }

  /// The tree without some leaves.
  public func dropping(_ leaves: LeafPattern, file: StaticString = #fileID, line: UInt = #line) -> Tree {
    applying(.drop(leaves), file: file, line: line)
  }

  /// The tree of some leaves alone.
  public func keeping(_ leaves: LeafPattern, file: StaticString = #fileID, line: UInt = #line) -> Tree {
    applying(.keep(leaves), file: file, line: line)
  }
}

// MARK: - Joining and taking apart

extension Tree where Leaf == LazyLeaf {
  /// Leaves that belong together concatenated: `tree.fusing(#"(.*)/(gate|up)_proj"#, order: ["gate", "up"], to: #"\1/gate_up_proj"#)`.
  ///
  /// The parts of a group are told apart by the one capture that `target` does not use. A group without one of its parts is a
  /// fault, and so are two leaves that are the same part.
  ///
  /// - Parameters:
  ///   - pattern: what matches the whole path of a part.
  ///   - order: what the capture is for each part, in the order in which they are concatenated. Other leaves are no parts.
  ///   - target: the path of the result.
  ///   - axis: the axis to concatenate along.
  ///   - allowingIncomplete: whether a group without one of its parts is left as it is.
  public func fusing(
    _ pattern: PathRegex, order: [String], to target: PathTemplate, axis: Int = 0,
    allowingIncomplete: Bool = false,
    file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    applying(
      .fuse(pattern, order: order, to: target, axis: axis, allowingIncomplete: allowingIncomplete),
      file: file,
      line: line)
  }

  /// The leaves at these paths concatenated to one.
  public func fusing(
    _ paths: [TreePath], to target: TreePath, axis: Int = 0, allowingIncomplete: Bool = false,
    file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    applying(
      .fuse(paths, to: target, axis: axis, allowingIncomplete: allowingIncomplete), file: file, line: line)
  }

  /// Leaves cut into parts: `tree.splitting("(.*)/qkv", into: [#"\1/q"#, #"\1/k"#, #"\1/v"#])`.
  ///
  /// - Parameters:
  ///   - pattern: what matches the whole path of a leaf.
  ///   - targets: the paths of the parts.
  ///   - sizes: the extents of the parts, equal ones unless given.
  ///   - axis: the axis to cut along.
  public func splitting(
    _ pattern: PathRegex, into targets: [PathTemplate], sizes: [Int]? = nil, axis: Int = 0,
    file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    applying(.split(pattern, into: targets, sizes: sizes, axis: axis), file: file, line: line)
  }

  /// Numbered leaves stacked along a new axis: `tree.stacking(#"layer(\d+)/(.*)"#, to: #"layers/\2"#)`.
  ///
  /// The number of a part is the one capture that `target` does not use; parts come in numeric order. A gap is a fault, and so
  /// are two leaves of one number, as `1` and `01` are.
  ///
  /// - Parameters:
  ///   - pattern: what matches the whole path of a part.
  ///   - target: the path of the result.
  ///   - axis: where the new axis is in the result.
  ///   - count: how many parts each stack has; one more than the largest number of all unless given.
  ///   - fillers: what stands for parts that are missing.
  public func stacking(
    _ pattern: PathRegex, to target: PathTemplate, axis: Int = 0, count: Int? = nil,
    fillers: [StackFiller] = [],
    file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    applying(.stack(pattern, to: target, axis: axis, count: count, fillers: fillers), file: file, line: line)
  }

  /// Leaves taken apart along an axis: `tree.unstacking("layers/(.*)", to: #"layer{index}/\1"#)`.
  ///
  /// - Parameters:
  ///   - pattern: what matches the whole path of a leaf.
  ///   - target: the path of each part, with `{index}` for its number.
  ///   - axis: the axis to take apart.
  ///   - count: how many parts each leaf must have; any number unless given.
  public func unstacking(
    _ pattern: PathRegex, to target: PathTemplate, axis: Int = 0, count: Int? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    applying(.unstack(pattern, to: target, axis: axis, count: count), file: file, line: line)
  }
}

// MARK: - Single leaves

extension Tree where Leaf == LazyLeaf {
  /// Some tensors transformed: `tree.transforming("**/kernel", by: .transpose([1, 0]))`.
  public func transforming(
    _ leaves: LeafPattern, by transform: LeafTransform, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    applying(.transform(leaves, transform), file: file, line: line)
  }

  /// Some tensors interleaved; see ``LazyTensor/interleaved(sizes:groups:axis:)``.
  public func interleaved(
    sizes: [Int], groups: Int, axis: Int = 0, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    mapTensors("interleaved", file, line) { (tensor) throws(GraftError) in
      try tensor.interleaved(sizes: sizes, groups: groups, axis: axis)
    }
  }

  /// What interleaving does undone for each tensor; see ``LazyTensor/deinterleaved(sizes:groups:axis:)``.
  public func deinterleaved(
    sizes: [Int], groups: Int, axis: Int = 0, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    mapTensors("deinterleaved", file, line) { (tensor) throws(GraftError) in
      try tensor.deinterleaved(sizes: sizes, groups: groups, axis: axis)
    }
  }

  /// The dimensions of a rotary embedding in another order for each tensor; see
  /// ``LazyTensor/permutingRotary(to:heads:dimensions:axis:)``.
  public func permutingRotary(
    to order: RotaryOrder, heads: Int, dimensions: Int? = nil, axis: Int = 0, file: StaticString = #fileID,
    line: UInt = #line
  ) -> Tree {
    mapTensors("permutingRotary", file, line) { (tensor) throws(GraftError) in
      try tensor.permutingRotary(to: order, heads: heads, dimensions: dimensions, axis: axis)
    }
  }
}
