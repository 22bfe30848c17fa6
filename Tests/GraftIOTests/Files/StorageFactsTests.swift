import Foundation
import GraftCore
import GraftIO
import Testing

@Suite struct StorageFactsTests {
  @Test func `a mount is found by its device, else by the nearest mount point`() throws {
    var status = stat()
    try #require(stat("/tmp", &status) == 0)
    let (major, minor) = ((status.st_dev >> 8) & 0xFFF, status.st_dev & 0xFF)
    let others =
      "24 1 0:9999 / / rw - ext4 /dev/root rw\n25 1 0:9998 / /tm rw - xfs /dev/near rw\nbroken\n"
      + "26 1 0:9997 / /proc/x rw shared:3 - proc proc rw\n"
    func facts(_ mountinfo: String, _ path: String) -> TuningFile.Origin {
      .here(path) {
        switch $0 {
        case "/proc/self/mountinfo": mountinfo
        case "/proc/cpuinfo": "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: a\n"
        case "/proc/sys/kernel/osrelease": "6.18.1\n"
        default: nil
        }
      }
    }
    let exact = facts("27 1 \(major):\(minor) / /elsewhere rw - btrfs /dev/exact rw\n" + others, "/tmp")
    #expect(exact.fileSystem == "btrfs" && exact.device == "/dev/exact")
    #expect(exact.processor == "Some CPU @ 2 GHz" && exact.kernel == "6.18.1")
    // The file is not there; its folder is, or the folder above that.
    for path in ["/tmp/no/such/file", "/tmp/model@1000", "/tmp"] {
      let near = facts(others, path)
      #expect(near.fileSystem == "ext4" && near.device == "/dev/root", "\(path)")
    }
  }

  @Test func `what the system does not say is not known`() {
    let facts = TuningFile.Origin.here("/tmp") { _ in nil }
    #expect(facts.processor == nil && facts.kernel == nil && facts.fileSystem == nil && facts.device == nil)
    #expect(facts.processorCount.map { $0 > 0 } == true)
  }

  @Test func `this machine is the same as itself`() {
    let here = TuningFile.Origin.here(NSTemporaryDirectory())
    #expect(here.differences(from: .here(NSTemporaryDirectory())) == [])
    #expect(TuningFile.Origin.now.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/) != nil)
  }

  @Test(arguments: [
    (0, "1970-01-01T00:00:00Z"), (-1, "1969-12-31T23:59:59Z"), (951_782_399, "2000-02-28T23:59:59Z"),
    (951_782_400, "2000-02-29T00:00:00Z"), (951_868_800, "2000-03-01T00:00:00Z"),
    (4_107_542_400, "2100-03-01T00:00:00Z"), (1_798_711_810, "2026-12-31T10:10:10Z"),
  ])
  func `a second has a date`(second: Int, text: String) {
    // The table is of `date --utc --date @SECOND +%FT%TZ`.
    #expect(TuningFile.Origin.text(ofSecond: second) == text)
  }
}
