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
      target[at: slice.path] = .slice(slice.slice)
    }
    return (target, !selection.rules.isEmpty)
  }
}
