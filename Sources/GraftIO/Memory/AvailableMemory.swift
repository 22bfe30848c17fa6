/// How much memory a process can still take before the system would have to kill somebody.
///
/// It is the least of what the machine has available and what each control group (v1 and v2) above the process leaves,
/// counting page cache that can be dropped as available. Swap is not counted: tensors in swap are no result.
package struct AvailableMemory: Hashable, Sendable {
  /// The bytes that can still be taken.
  package let byteCount: Int
  /// What sets the limit: `the machine`, or the path of a control group.
  package let limitedBy: String

  /// What is available now.
  package static func now() -> AvailableMemory { AvailableMemory(reading: SystemText.read) }

  /// What the texts that `read` gives for paths under /proc and /sys say; tests give their own.
  package init(reading read: (_ path: String) -> String?) {
    var least = (byteCount: Int.max, limitedBy: "the machine")
    if let text = read("/proc/meminfo"), let available = SystemText.number("MemAvailable:", in: text) {
      least.byteCount = available
    }
    for group in Self.groups(read) {
      guard
        let left = group.version == 2
          ? Self.leftInVersion2(group.path, read) : Self.leftInVersion1(group.path, read)
      else { continue }
      if left < least.byteCount { least = (left, "the control group \(group.path)") }
    }
    byteCount = max(0, least.byteCount)
    limitedBy = least.limitedBy
  }

  /// The folders of the control groups that the process is in, from its own up to the root of each hierarchy.
  private static func groups(_ read: (String) -> String?) -> [(version: Int, path: String)] {
    guard let memberships = read("/proc/self/cgroup"), let mounts = read("/proc/self/mountinfo") else {
      return []
    }
    var groups: [(version: Int, path: String)] = []
    for line in memberships.split(separator: "\n") {
      // `4:memory:/path` for version 1, `0::/path` for version 2.
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      let version: Int
      if fields[0] == "0" && fields[1].isEmpty {
        version = 2
      } else if fields[1].split(separator: ",").contains("memory") {
        version = 1
      } else {
        continue
      }
      guard let mount = mount(ofVersion: version, in: mounts) else { continue }
      // In a container the mount shows only a part of the hierarchy, and a membership may be told from the host's root.
      var relative = String(fields[2])
      if mount.root != "/" {
        relative =
          relative == mount.root || relative.hasPrefix(mount.root + "/")
          ? String(relative.dropFirst(mount.root.count)) : ""
      }
      var parts = relative.split(separator: "/")
      // Paths of the kernel are at most 4096 bytes, which bounds this.
      while true {
        groups.append((version, ([mount.point] + parts.map(String.init)).joined(separator: "/")))
        if parts.isEmpty { break }
        parts.removeLast()
      }
    }
    return groups
  }

  /// Where the hierarchy that has the memory controller is mounted, and which part of it.
  private static func mount(ofVersion version: Int, in mounts: String) -> (root: String, point: String)? {
    for line in mounts.split(separator: "\n") {
      // `36 35 98:0 /root /point options - type source superoptions`
      let halves = line.split(separator: " - ", maxSplits: 1)
      guard halves.count == 2 else { continue }
      let place = halves[0].split(separator: " ")
      let kind = halves[1].split(separator: " ")
      guard place.count >= 5, let type = kind.first else { continue }
      let fits =
        version == 2
        ? type == "cgroup2"
        : type == "cgroup" && (kind.last?.split(separator: ",").contains("memory") ?? false)
      if fits { return (String(place[3]), String(place[4])) }
    }
    return nil
  }

  private static func leftInVersion2(_ group: String, _ read: (String) -> String?) -> Int? {
    guard let limitText = read(group + "/memory.max"), let limit = Int(trimmed(limitText)),
      let usedText = read(group + "/memory.current"), let used = Int(trimmed(usedText))
    else { return nil }  // "max" is no limit, and the root has no such file
    let statistics = read(group + "/memory.stat") ?? ""
    return left(limit: limit, used: used, statistics, ["inactive_file ", "active_file "])
  }

  private static func leftInVersion1(_ group: String, _ read: (String) -> String?) -> Int? {
    guard let limitText = read(group + "/memory.limit_in_bytes"), let limit = Int(trimmed(limitText)),
      let usedText = read(group + "/memory.usage_in_bytes"), let used = Int(trimmed(usedText)),
      limit < 1 << 60  // no limit is told as a huge one
    else { return nil }
    let statistics = read(group + "/memory.stat") ?? ""
    return left(limit: limit, used: used, statistics, ["total_inactive_file ", "total_active_file "])
  }

  /// The room under a limit, with clean file pages counted as room.
  private static func left(limit: Int, used: Int, _ statistics: String, _ droppable: [String]) -> Int {
    let cache = droppable.reduce(0) { $0 &+ max(0, SystemText.number($1, in: statistics) ?? 0) }
    // Numbers of the kernel never come near overflow; whatever else they may be, this does not trap.
    return max(0, limit &- max(0, used &- min(cache, used)))
  }

  private static func trimmed(_ text: String) -> Substring {
    var text = Substring(text)
    while text.last?.isWhitespace == true { text.removeLast() }
    return text
  }
}
