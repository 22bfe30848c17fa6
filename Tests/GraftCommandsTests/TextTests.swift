import GraftCommands
import GraftCore
import Testing

@Suite struct ByteSizeTests {
  @Test(arguments: [
    ("0", 0), ("4096", 4096), ("256MiB", 256 << 20), ("1.5GiB", 3 << 29), ("64 KiB", 65_536), ("1kb", 1000),
    ("2.5MB", 2_500_000),
    ("7B", 7), ("1TiB", 1 << 40), ("0.000001KiB", 0), ("9223372036854775807", Int.max), ("", nil),
    ("MiB", nil), ("-1", nil),
    ("1.5", nil), ("1.5B", nil), ("1.KiB", nil), (".5KiB", nil), ("1..5KiB", nil), ("1e3", nil),
    ("many", nil), ("1 XiB", nil),
    ("9223372036854775808", nil), ("9999999TiB", nil), ("٣", nil), ("+1", nil), ("1.1234567GiB", nil),
  ])
  func `sizes are read like this`(text: String, byteCount: Int?) {
    #expect(ByteSize(parsing: text)?.byteCount == byteCount)
  }

  @Test(arguments: [
    (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), ((1 << 20) - 1, "1.0 MiB"),
    (5 << 30, "5.0 GiB"),
    (Int.max, "8.0 EiB"),
  ])
  func `sizes print like this`(byteCount: Int, text: String) {
    #expect(ByteSize(byteCount).description == text)
  }
}

@Suite struct DecimalTests {
  @Test(arguments: [
    (0.0, "0"), (4, "4"), (-0.25, "-0.25"), (0.1 + 0.2, "0.3"), (1234567.0, "1234567"),
    (123.456789, "123.457"),
    (0.00012345678, "0.000123457"), (1e-7, "1e-07"), (3.0e20, "3e+20"), (.infinity, "inf"),
    (-.infinity, "-inf"), (.nan, "nan"),
  ])
  func `numbers are short`(value: Double, text: String) {
    #expect(Decimal.significant(value) == text)
  }

  @Test func `digits come in groups and after the point`() {
    #expect(
      [0, 999, 1000, 1_234_567, -1234, Int.min].map(Decimal.grouped) == [
        "0", "999", "1,000", "1,234,567", "-1,234", "-9,223,372,036,854,775,808",
      ])
    #expect(Decimal.text(2.005, digits: 2) == "2.01" || Decimal.text(2.005, digits: 2) == "2.00")
    #expect(Decimal.text(-0.049, digits: 1) == "0.0")
    #expect(Decimal.text(9.996, digits: 2) == "10.00")
    #expect(
      "\(Count(1, "leaf")), \(Count(2000, "leaf")), \(Count(0, "file"))" == "1 leaf, 2,000 leaves, 0 files")
  }
}

@Suite struct ProgressTextTests {
  func rate(_ samples: [(Double, Int)]) -> ProgressRate {
    var rate = ProgressRate()
    for (seconds, byteCount) in samples { rate.add(seconds: seconds, byteCount: byteCount) }
    return rate
  }

  @Test func `the rate is that of the last seconds`() {
    #expect(rate([]).bytesPerSecond == nil)
    #expect(rate([(0, 0)]).bytesPerSecond == nil)
    #expect(rate([(0, 0), (2, 200)]).bytesPerSecond == 100)
    #expect(rate([(0, 0), (2, 200)]).secondsLeft(until: 1000) == 8)
    #expect(rate([(0, 0), (1, 0), (2, 0)]).secondsLeft(until: 10) == nil)
    // Slow at first, then ten a second for longer than the window.
    #expect(rate((0...20).map { (Double($0), $0 < 10 ? 0 : ($0 - 10) * 10) }).bytesPerSecond == 10)
    // Starting over starts a new rate.
    #expect(rate([(0, 0), (1, 1000), (2, 0), (3, 5)]).bytesPerSecond == 5)
  }

  @Test func `a bar shows how far, how fast and how long`() {
    let progress = Progress(completedByteCount: 1 << 30, totalByteCount: 2 << 30)
    let rate = rate([(0, 0), (2, 1 << 30)])
    #expect(
      ProgressLine.bar("loading", progress, rate, columnCount: 120)
        == "loading  [############            ]   50 %  1.0 GiB of 2.0 GiB  512.0 MiB/s  0:02 left")
    #expect(
      ProgressLine.bar("loading", progress, rate, columnCount: 80)
        == "loading   50 %  1.0 GiB of 2.0 GiB  512.0 MiB/s  0:02 left")
    #expect(ProgressLine.bar("loading", progress, rate, columnCount: 12) == "loading   5")
    #expect(ProgressLine.bar("loading", progress, rate, columnCount: 0).count == 1)
    #expect(
      ProgressLine.plain("loading", progress, rate)
        == "loading:  50 %, 1.0 GiB of 2.0 GiB, 512.0 MiB/s, 0:02 left")
    #expect(
      ProgressLine.plain("x", Progress(completedByteCount: 0, totalByteCount: 0), ProgressRate())
        == "x: 100 %, 0 B of 0 B")
  }

  @Test(arguments: [
    (0.0, "0:00"), (5, "0:05"), (59.2, "1:00"), (754, "12:34"), (11229, "3:07:09"), (1e300, "over 100 hours"),
  ])
  func `durations read like a clock`(seconds: Double, text: String) {
    #expect(ProgressLine.duration(seconds) == text)
  }
}
