package import GraftCore

/// The text of a progress bar.
package enum ProgressLine {
  static let barWidth = 24

  /// A line as `loading  [######      ]  50 %  1.0 GiB of 2.0 GiB  1.5 GiB/s  0:12 left`, cut to the columns there are.
  package static func bar(_ title: String, _ progress: Progress, _ rate: ProgressRate, columnCount: Int)
    -> String
  {
    let filled = Int(fraction(progress) * Double(barWidth))
    let bar = String(repeating: "#", count: filled) + String(repeating: " ", count: barWidth - filled)
    let full = "\(title)  [\(bar)]  \(facts(progress, rate))"
    // A line that reached the edge would wrap, and could not be drawn over.
    let room = max(1, columnCount - 1)
    if full.count <= room { return full }
    return String("\(title)  \(facts(progress, rate))".prefix(room))
  }

  /// `loading: 50 %, 1.0 GiB of 2.0 GiB, 1.5 GiB/s, 0:12 left`.
  package static func plain(_ title: String, _ progress: Progress, _ rate: ProgressRate) -> String {
    "\(title): \(parts(progress, rate).joined(separator: ", "))"
  }

  private static func facts(_ progress: Progress, _ rate: ProgressRate) -> String {
    parts(progress, rate).joined(separator: "  ")
  }

  private static func fraction(_ progress: Progress) -> Double { min(1, max(0, progress.fraction)) }

  private static func parts(_ progress: Progress, _ rate: ProgressRate) -> [String] {
    let percent = String(Int(fraction(progress) * 100))
    var parts = [
      String(repeating: " ", count: 3 - percent.count) + "\(percent) %",
      "\(ByteSize(progress.completedByteCount)) of \(ByteSize(progress.totalByteCount))",
    ]
    if let bytesPerSecond = rate.bytesPerSecond, bytesPerSecond < 1e18 {
      parts.append("\(ByteSize(Int(max(0, bytesPerSecond))))/s")
    }
    if let seconds = rate.secondsLeft(until: progress.totalByteCount), progress.fraction < 1 {
      parts.append("\(duration(seconds)) left")
    }
    return parts
  }

  /// `0:05`, `12:34`, `3:07:09`; from 100 hours on only that it is so.
  package static func duration(_ seconds: Double) -> String {
    guard seconds < 360_000 else { return "over 100 hours" }
    let whole = Int(max(0, seconds).rounded(.up))
    func two(_ number: Int) -> String { (number < 10 ? "0" : "") + String(number) }
    let (hours, minutes) = (whole / 3600, whole / 60 % 60)
    return hours > 0 ? "\(hours):\(two(minutes)):\(two(whole % 60))" : "\(minutes):\(two(whole % 60))"
  }
}
