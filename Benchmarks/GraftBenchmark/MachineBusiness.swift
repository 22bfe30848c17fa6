internal import Glibc

/// How much of the processors' time others had since this was made: a figure of a busy machine is to be taken again.
struct MachineBusiness: CustomStringConvertible {
  private let start = Self.sample()

  private struct Sample {
    /// Seconds that all processors were busy, and that passed for each of them.
    var busy = 0.0
    var all = 0.0
    /// Seconds of this process.
    var own = 0.0
  }

  /// The share of all processors' time that others had, from 0 to 1.
  var othersShare: Double {
    let now = Self.sample()
    let all = now.all - start.all
    return all > 0 ? max(0, (now.busy - start.busy - (now.own - start.own)) / all) : 0
  }

  var description: String {
    "others had \(Int(othersShare * 100 + 0.5)) % of \(sysconf(Int32(_SC_NPROCESSORS_ONLN))) processors meanwhile"
  }

  private static func sample() -> Sample {
    var sample = Sample()
    // user nice system idle iowait irq softirq steal …, in ticks, for all processors together
    let ticks = readFirstLine("/proc/stat").split(separator: " ").dropFirst().prefix(8).compactMap {
      Double($0)
    }
    if ticks.count == 8 {
      let perSecond = Double(sysconf(Int32(_SC_CLK_TCK)))
      sample.all = ticks.reduce(0, +) / perSecond
      sample.busy = (ticks.reduce(0, +) - ticks[3] - ticks[4]) / perSecond
    }
    sample.own = ProcessorTime.now
    return sample
  }

  private static func readFirstLine(_ path: String) -> String {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return "" }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 512)
    let count = unsafe read(descriptor, &bytes, bytes.count)
    return String(decoding: bytes.prefix(max(0, count)).prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
  }
}
