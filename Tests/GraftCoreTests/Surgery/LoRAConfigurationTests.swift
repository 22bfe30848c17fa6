import GraftCore
import Testing

@Suite struct LoRAConfigurationTests {
  @Test
  func `scales follow from alpha and from the first expression that matches the end of a module's name`()
    throws
  {
    let configuration = try LoRAConfiguration(
      parsing: """
        {"peft_type": "LORA", "r": 4, "lora_alpha": 16, "use_rslora": false, "fan_in_fan_out": null,
         "alpha_pattern": {"q_proj": 1, "layers\\\\.0\\\\.mlp": 2.5, "^head": 3, "a|b": 4, "proj": 5}}
        """)
    #expect(!configuration.isTransposed && configuration.alpha == 16)
    let expected: [(String, Double)] = [
      ("model.q_proj", 1), ("q_proj", 1), ("model.xq_proj", 16), ("model.layers.0.mlp", 2.5),
      ("model.layers.10.mlp", 16), ("head", 3), ("model.head", 16), ("x.a", 4), ("b", 4), ("x.ab", 16),
      ("proj", 5),
    ]
    for (module, alpha) in expected { #expect(configuration.scale(of: module) == .alpha(alpha), "\(module)") }
    let rooted = try LoRAConfiguration(
      parsing: #"{"peft_type": "LORA", "lora_alpha": 2, "use_rslora": true, "fan_in_fan_out": true}"#)
    #expect(rooted.scale(of: "x") == .alphaByRootOfRank(2) && rooted.isTransposed)
  }

  @Test(arguments: [
    ("[1]", GraftError.Code.corrupt, "the configuration of the adapter has no usable peft_type"),
    (#"{"peft_type": "LOHA", "lora_alpha": 1}"#, .unsupported, "the adapter is of a kind that is not folded"),
    (#"{"peft_type": "LORA"}"#, .corrupt, "the configuration of the adapter has no usable lora_alpha"),
    (
      #"{"peft_type": "LORA", "lora_alpha": "8"}"#, .corrupt,
      "the configuration of the adapter has no usable lora_alpha"
    ),
    (
      #"{"peft_type": "LORA", "lora_alpha": 8, "use_rslora": 1}"#, .corrupt,
      "the configuration of the adapter has no usable use_rslora"
    ),
    (
      #"{"peft_type": "LORA", "lora_alpha": 8, "alpha_pattern": {"q": null}}"#, .corrupt,
      "the configuration of the adapter has no usable alpha_pattern"
    ),
    (
      #"{"peft_type": "LORA", "lora_alpha": 8, "use_dora": true}"#, .unsupported,
      "the adapter is of DoRA, which is not folded"
    ),
    (
      #"{"peft_type": "LORA", "lora_alpha": 8, "init_lora_weights": "pissa_niter_4"}"#, .unsupported,
      "the adapter was trained on weights that its initialization had changed"
    ),
  ])
  func `what cannot be folded as it says is an error that names the file`(
    text: String, code: GraftError.Code, message: String
  ) {
    let error = #expect(throws: GraftError.self) { try LoRAConfiguration(parsing: text, file: "a/config") }
    #expect(error?.code == code && error?.message == message && error?.file == "a/config")
  }

  @Test func `a malformed expression or text names the file`() {
    for text in ["{", #"{"peft_type": "LORA", "lora_alpha": 8, "alpha_pattern": {"(": 1}}"#] {
      let error = #expect(throws: GraftError.self) { try LoRAConfiguration(parsing: text, file: "a/config") }
      #expect(error?.file == "a/config", "\(text)")
    }
  }
}
