import Graft

/// Makes one model of an image and a text model, with a new layer between them that neither has.
///
/// The new parameters depend on their seed alone, so every process and every run gets the same ones.
func mergeModels(image imagePath: String, text textPath: String) async throws -> Surgery {
  let image = try await Checkpoint(at: imagePath)
  let text = try await Checkpoint(at: textPath)
  return try Checkpoint.transform(image, text) { image, text in
    [
      "params": [
        "image_encoder": image["params"],
        "text_encoder": text["params"],
        "fusion_layer": [
          "kernel": .initialized([512, 256], .float32, .truncatedNormal(stddev: 0.02, seed: 7)),
          "bias": .zeros([256], .float32),
        ],
      ],
      "step": image["step"],
    ]
  }
}
