internal import Glibc

/// Small texts that the kernel keeps under /proc and /sys.
package enum SystemText {
  /// A text that is longer is cut off; a host with thousands of mounts has a megabyte of them.
  private static let byteCountLimit = 8 << 20

  /// The text, nil when there is none or it cannot be read.
  package static func read(_ path: String) -> String? {
    let rawValue = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard rawValue >= 0 else { return nil }
    let descriptor = OwnedDescriptor(adopting: rawValue)
    var text: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 16 << 10)
    let capacity = block.count
    while text.count < byteCountLimit {
      // These files tell no size, so one reads until nothing comes.
      let count = try? systemCall("read") { unsafe Glibc.read(descriptor.rawValue, &block, capacity) }
      guard let count else { return nil }
      if count == 0 { break }
      text += block[..<count]
    }
    return String(decoding: text, as: UTF8.self)
  }

  /// The number after `name` on a line of its own, such as `MemAvailable:  123 kB`, in bytes where the unit is kB.
  static func number(_ name: String, in text: String) -> Int? {
    for line in text.split(separator: "\n") where line.hasPrefix(name) {
      let words = line.dropFirst(name.count).split { $0 == " " || $0 == "\t" }
      guard let first = words.first, let number = Int(first) else { continue }
      guard words.count > 1, words[1] == "kB" else { return number }
      let (bytes, overflow) = number.multipliedReportingOverflow(by: 1024)
      return overflow ? nil : bytes
    }
    return nil
  }
}
