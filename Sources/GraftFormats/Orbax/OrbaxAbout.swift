internal import GraftCore

/// What a checkpoint says about itself beside its tree: times, the step, its parts, what users added, parts that are JSON.
struct OrbaxAbout {
  /// All of it, as text by key; no key twice.
  private(set) var texts: [(key: String, value: String)] = []
  /// What users added, as text by key; no key twice.
  var userTexts: [(key: String, value: String)] { userValues.map { ($0.key, $0.value.plainText) } }
  /// What users added, by key; no key twice.
  private(set) var userValues: [JSONValue.Member] = []

  private var taken: Set<Key> = []

  /// Adds something under a key; where that is taken, by the same key in `checkpointables/`.
  mutating func add(_ text: String, _ key: String) {
    let free = taken.insert(Key(key)).inserted ? key : "checkpointables/" + key
    taken.insert(Key(free))
    texts.append((key: free, value: text))
  }

  /// Adds what users added: the members of an object each by itself, texts as they are and the rest as JSON.
  ///
  /// What was said first under a key stays.
  mutating func addUsers(_ value: JSONValue) {
    var taken = Set(userValues.map { Key($0.key) })
    for member in value.members ?? [JSONValue.Member("custom_metadata", value)]
    where taken.insert(Key(member.key)).inserted {
      userValues.append(member)
    }
  }

  /// A catalog with this metadata.
  func catalog(files: [StoredFile], tree: Tree<StoredLeaf>) -> Catalog {
    var catalog = Catalog(format: OrbaxFormat.name, files: files, tree: tree, metadata: texts)
    catalog.userMetadata = userTexts
    catalog.userValues = userValues
    return catalog
  }
}

/// `_CHECKPOINT_METADATA`: when a checkpoint was saved, and what the user added.
struct OrbaxCheckpointMetadata {
  /// Whether saving began and did not end.
  let isUncommitted: Bool
  private let root: JSONValue

  init(_ bytes: [UInt8], file: String, limits: Limits) throws(GraftError) {
    do throws(JSONError) {
      root = try JSONValue(parsing: bytes, nestingLimit: limits.nestingDepth, acceptsNonFinite: true)
    } catch {
      throw error.graftError(in: "the checkpoint's metadata", file: file)
    }
    guard root.members != nil else {
      throw JSONError(.wrongKind(expected: JSONKind.object.rawValue, found: root.kind), at: 0)
        .graftError(in: "the checkpoint's metadata", file: file)
    }
    isUncommitted =
      root["init_timestamp_nsecs"]?.integer != nil && root["commit_timestamp_nsecs"]?.integer == nil
  }

  /// Adds what it says.
  func describe(in about: inout OrbaxAbout) {
    for key in ["init_timestamp_nsecs", "commit_timestamp_nsecs"] {
      if let time = root[key]?.integer { about.add(String(time), key) }
    }
    for key in ["custom_metadata", "metrics"] {
      if let value = root[key], let members = value.members, !members.isEmpty {
        about.add(String(decoding: value.encoded(), as: UTF8.self), key)
      }
    }
    if let custom = root["custom_metadata"], custom.members?.isEmpty == false { about.addUsers(custom) }
  }
}
