/// What the configuration of a low-rank adapter says about folding it: PEFT's `adapter_config.json`.
///
/// The ranks are not among it, since the factors have them.
public struct LoRAConfiguration: Hashable, Sendable {
  /// What divided by the rank scales the products.
  public var alpha: Double
  /// Another alpha for the modules that an expression matches, the first that does.
  public var alphaPatterns: [AlphaPattern]
  /// Whether alpha is divided by the root of the rank (`use_rslora`).
  public var isByRootOfRank: Bool
  /// Whether weights are stored as columns × rows (`fan_in_fan_out`).
  public var isTransposed: Bool

  /// An alpha of its own for some modules.
  public struct AlphaPattern: Hashable, Sendable {
    /// Which modules, by the ends of their names with dots; it matches from the beginning of the name or after a dot.
    public var pattern: PathRegex
    /// Their alpha.
    public var alpha: Double
  }

  /// The name of the file beside an adapter's tensors.
  public static let fileName = "adapter_config.json"

  /// The most entries of `alpha_pattern`, each of which is matched against every module.
  static let patternLimit = 4096

  /// Kinds of adapters that PEFT writes under the same names, but whose products are not all that they do to a weight.
  private static let unfoldable: [(key: String, reason: String)] = [
    ("use_dora", "the adapter is of DoRA, which is not folded"),
    ("use_qalora", "the adapter is of QALoRA, which is not folded"),
    ("use_bdlora", "the adapter is of BD-LoRA, which is not folded"),
    ("kasa_config", "the adapter is of KaSA, which changes the weights themselves"),
    ("monteclora_config", "the adapter is of MonteCLoRA, which is not folded"),
    ("arrow_config", "the adapter chooses among others for each token, so that it cannot be folded"),
    ("alora_invocation_tokens", "the adapter acts on some tokens alone, so that it cannot be folded"),
    ("layer_replication", "the adapter is for a model whose layers are repeated"),
  ]
  /// What PEFT draws the factors from without changing the weights themselves.
  private static let plainInitializations: Set<String> = ["gaussian", "orthogonal", "eva"]

  /// Reads a configuration from its text.
  ///
  /// - Parameters:
  ///   - text: the JSON of `adapter_config.json`.
  ///   - file: what errors call it.
  /// - Throws: ``GraftError`` of code `corrupt` for what is no such configuration, `unsupported` for adapters that are more than
  ///   products added to weights.
  public init(parsing text: String, file: String = Self.fileName) throws(GraftError) {
    let json: JSONValue
    do throws(JSONError) {
      json = try JSONValue(parsing: Array(text.utf8))
    } catch {
      throw error.graftError(in: "the configuration of the adapter", file: file)
    }
    func wrong(_ key: String, _ expected: String) -> GraftError {
      GraftError(
        .corrupt, "the configuration of the adapter has no usable \(key)", file: file, expected: expected,
        found: json[key].map { "a value of kind \($0.kind)" } ?? "nothing")
    }
    func flag(_ key: String) throws(GraftError) -> Bool {
      guard let value = json[key], value.kind != .null else { return false }
      guard let truth = value.truth else { throw wrong(key, "true or false") }
      return truth
    }
    guard let kind = json["peft_type"]?.text else { throw wrong("peft_type", "\"LORA\"") }
    guard kind == "LORA" else {
      throw GraftError(
        .unsupported, "the adapter is of a kind that is not folded", file: file, expected: "LORA",
        found: TreePath.printable(kind))
    }
    for (key, reason) in Self.unfoldable {
      switch json[key] {
      case nil, .null, .bool(false): continue
      default: throw GraftError(.unsupported, reason, file: file)
      }
    }
    if let name = json["init_lora_weights"]?.text, !Self.plainInitializations.contains(name) {
      throw GraftError(
        .unsupported, "the adapter was trained on weights that its initialization had changed", file: file,
        found: "init_lora_weights: \(TreePath.printable(name))",
        remedy: "convert it to an ordinary one with PEFT (path_initial_model_for_weight_conversion)")
    }
    guard let alpha = json["lora_alpha"]?.double, alpha.isFinite else {
      throw wrong("lora_alpha", "a number")
    }
    self.alpha = alpha
    isByRootOfRank = try flag("use_rslora")
    isTransposed = try flag("fan_in_fan_out")
    alphaPatterns = []
    guard let patterns = json["alpha_pattern"], patterns.kind != .null else { return }
    guard let members = patterns.members, members.count <= Self.patternLimit else {
      throw wrong("alpha_pattern", "an object of at most \(Self.patternLimit) expressions")
    }
    for member in members {
      guard let alpha = member.value.double, alpha.isFinite else {
        throw wrong("alpha_pattern", "numbers by expressions")
      }
      do throws(GraftError) {
        // What PEFT matches: the name from its beginning or after a dot, to its end.
        alphaPatterns.append(
          AlphaPattern(pattern: try PathRegex("(?:.*\\.)?(?:\(member.key))"), alpha: alpha))
      } catch {
        var error = error
        error.file = file
        throw error
      }
    }
  }

  /// What the products for a module are multiplied with.
  ///
  /// - Parameter module: the module's name with dots, without `base_model.model.` before it.
  public func scale(of module: String) -> LoRAScale {
    let alpha = alphaPatterns.first { $0.pattern.wholeMatch(in: module) != nil }?.alpha ?? alpha
    return isByRootOfRank ? .alphaByRootOfRank(alpha) : .alpha(alpha)
  }
}
