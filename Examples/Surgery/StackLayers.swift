import Graft

/// Stacks layers that were saved one by one, as a program wants them that scans over its layers.
///
/// `layer2` comes before `layer10`. Every leaf of the layers is stacked along a new axis; no byte is copied for it that a
/// plain load does not copy, as each layer is read into its place.
func stackLayers(of path: String, axis: Int) async throws -> Surgery {
  let checkpoint = try await Checkpoint(at: path)
  return try checkpoint.transform { tree in
    var tree = tree
    let layers = tree["params"].children(matching: #/layer(\d+)/#)
    tree["params"].removeChildren(matching: #/layer(\d+)/#)
    tree["params"]["layers"] = .stack(layers, axis: axis)
    tree.removeChild("opt_state")
    return tree
  }
}

/// Takes stacked layers apart again.
func unstackLayers(of path: String, axis: Int) async throws -> Surgery {
  let checkpoint = try await Checkpoint(at: path)
  return try checkpoint.transform { tree in
    var tree = tree
    for (index, layer) in tree["params"]["layers"].unstacked(axis: axis).enumerated() {
      tree["params"][Key("layer\(index)")] = layer
    }
    tree["params"].removeChild("layers")
    return tree
  }
}
