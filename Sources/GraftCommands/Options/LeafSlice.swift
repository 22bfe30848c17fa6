import ArgumentParser
import Graft

/// A leaf and the part of it that is wanted: `params/kernel=0:4,:`.
struct LeafSlice: Sendable, ExpressibleByArgument {
  var path: TreePath
  var slice: TensorSlice

  init?(argument: String) {
    // A slice has no `=`, but a path may.
    guard let equals = argument.lastIndex(of: "="), let path = TreePath(parsing: String(argument[..<equals]))
    else {
      return nil
    }
    do throws(GraftError) {
      slice = try TensorSlice(parsing: String(argument[argument.index(after: equals)...]))
    } catch {
      return nil
    }
    self.path = path
  }
}

extension TensorSlice {
  /// Throws where a bound lies outside of the shape.
  ///
  /// Resolving a slice cuts such a bound off, as Python does. Who types one at a prompt has taken the leaf for larger than it
  /// is, and is told so.
  func checkBounds(within shape: Shape, leaf: TreePath) throws(GraftError) {
    var axis = 0
    for (position, part) in axes.enumerated() {
      switch part {
      case .rest: axis = max(axis, shape.rank - (axes.count - position - 1))
      case .index: axis += 1  // Resolving checks it.
      case .strided(let lower, let upper, _):
        guard axis < shape.rank else { return }  // Resolving says that there are too many.
        let extent = shape[axis]
        for bound in [lower, upper] {
          guard let bound, bound > extent || bound < -extent else { continue }
          throw GraftError(
            .shapeMismatch, "the slice \(self) reaches beyond the leaf", leaf: leaf,
            expected: "bounds from \(-extent) to \(extent) along axis \(axis)", found: "\(bound)")
        }
        axis += 1
      }
    }
  }
}

extension Checkpoint {
  /// The target that a command's selection and slices ask for, and whether it leaves anything out.
  func target(_ selection: Selection, slices: [LeafSlice]) throws(GraftError) -> (
    target: Tree<Target>, partial: Bool
  ) {
    var target = try target(selecting: selection)
    for slice in slices {
      guard target[at: slice.path].leaf?.isPlaceholder == false else {
        throw GraftError(
          .leafNotFound, "there is nothing to slice at \(slice.path)", leaf: slice.path, file: path,
          remedy: tree[at: slice.path].fault?.remedy ?? "select a leaf, and slice that")
      }
      try slice.slice.checkBounds(within: tree[at: slice.path].leaf?.shape ?? [], leaf: slice.path)
      target[at: slice.path] = .slice(slice.slice)
    }
    return (target, !selection.rules.isEmpty)
  }
}
