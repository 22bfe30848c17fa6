internal import Glibc
package import GraftCore

extension TuningFile.Origin {
  /// This machine and the storage that has `path`, as far as the system says it.
  ///
  /// A path that does not exist is taken to be on the storage of the folder that it would be in.
  ///
  /// - Parameter read: gives the texts of paths under /proc; tests give their own.
  package static func here(
    _ path: String?, reading read: (_ path: String) -> String? = SystemText.read
  ) -> TuningFile.Origin {
    var origin = TuningFile.Origin()
    origin.processor = processor(in: read("/proc/cpuinfo") ?? "")
    origin.processorCount = UsableProcessors.count
    origin.memoryByteCount = ProcessMemory.physicalByteCount
    origin.kernel = read("/proc/sys/kernel/osrelease").map { String($0.prefix { $0 != "\n" }) }
    if let path, let place = existing(path), let mounts = read("/proc/self/mountinfo"),
      let mount = mount(device: place.device, path: place.path, in: mounts)
    {
      origin.fileSystem = mount.type
      origin.device = mount.source
    }
    return origin
  }

  /// The time now, in UTC, as ``measured`` has it.
  package static var now: String { text(ofSecond: time(nil)) }

  /// A second since 1970 as a date and a time of day.
  package static func text(ofSecond second: Int) -> String {
    var (day, rest) = (second / 86_400, second % 86_400)
    if rest < 0 { (day, rest) = (day - 1, rest + 86_400) }
    // Years of 146,097 days for each 400 of them, counted from the first of March, so that a leap day is the last of its year.
    day += 719_468
    let era = (day >= 0 ? day : day - 146_096) / 146_097
    let dayOfEra = day - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let dayOfMonth = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    func digits(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return "\(year)-\(digits(month))-\(digits(dayOfMonth))"
      + "T\(digits(rest / 3600)):\(digits(rest / 60 % 60)):\(digits(rest % 60))Z"
  }

  /// `model name` on x86-64; arm64 has no name there, and then it is not known.
  private static func processor(in cpuinfo: String) -> String? {
    for line in cpuinfo.split(separator: "\n") where line.hasPrefix("model name") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      return String(line[line.index(after: colon)...].drop { $0 == " " })
    }
    return nil
  }

  /// The path, or the nearest folder above it that exists, and its device.
  private static func existing(_ path: String) -> (path: String, device: UInt64)? {
    var path = path
    // A path of the system has at most 4096 bytes, which bounds this.
    while !path.isEmpty {
      if let status = try? FileStatus.ifPresent(at: path) {
        return (Directory.absolutePath(of: path), status.identity.device)
      }
      guard let slash = path.lastIndex(of: "/") else { break }
      path = slash == path.startIndex && path.count > 1 ? "/" : String(path[..<slash])
    }
    guard let status = try? FileStatus.ifPresent(at: ".") else { return nil }
    return (Directory.absolutePath(of: "."), status.identity.device)
  }

  /// The mount of this device, or where no mount has its number the one that is nearest above the path.
  ///
  /// `36 35 98:0 /root /mnt/point rw,noatime shared:1 - ext4 /dev/sda1 rw`
  private static func mount(
    device: UInt64, path: String, in mounts: String
  ) -> (type: String, source: String)? {
    // As glibc's makedev puts the two numbers together.
    let major = (device >> 8) & 0xFFF | (device >> 32) & 0xFFFF_F000
    let minor = device & 0xFF | (device >> 12) & 0xFFFF_FF00
    var nearest: (length: Int, type: String, source: String)?
    for line in mounts.split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard let dash = fields.firstIndex(of: "-"), dash >= 6, dash + 2 < fields.count else { continue }
      let (type, source) = (String(fields[dash + 1]), String(fields[dash + 2]))
      if fields[2] == "\(major):\(minor)" { return (type, source) }
      let point = fields[4]
      let isAbove = point == "/" || path == point || path.hasPrefix("\(point)/")
      if isAbove, nearest.map({ $0.length <= point.count }) ?? true { nearest = (point.count, type, source) }
    }
    return nearest.map { ($0.type, $0.source) }
  }
}
