import GraftIO
import Testing

/// A machine that gives a piece of each kind of pages in so many milliseconds.
private struct Machine {
  var huge: Double
  var small: Double
  var pace = PagePace()

  /// The kinds of so many stretches of eight pieces.
  mutating func stretches(_ count: Int) -> [PagePace.Pages] {
    (0..<count).map { _ in
      let pages = pace.next()
      for _ in 0..<8 { pace.note(pages, seconds: (pages == .huge ? huge : small) * 1e-3) }
      return pages
    }
  }
}

@Suite struct PagePaceTests {
  @Test func `huge pages that come fast are never left`() {
    var machine = Machine(huge: 0.25, small: 0.1)
    #expect(machine.stretches(200).allSatisfy { $0 == .huge })
  }

  @Test
  func `huge pages that come slowly are left for small ones that come faster, and tried again now and then`()
  {
    var machine = Machine(huge: 4, small: 1)
    let stretches = machine.stretches(100)
    #expect(Array(stretches.prefix(3)) == [.huge, .small, .small])
    let huge = stretches.count { $0 == .huge }
    #expect((5...8).contains(huge), "\(huge) of 100")
  }

  @Test func `small pages that come more slowly still are left again`() {
    var machine = Machine(huge: 4, small: 9)
    let stretches = machine.stretches(100)
    #expect(Array(stretches.prefix(3)) == [.huge, .small, .huge])
    #expect((5...8).contains(stretches.count { $0 == .small }))
  }

  @Test func `what becomes slow is left within a few stretches, and what becomes fast is found`() {
    var machine = Machine(huge: 4, small: 1)
    _ = machine.stretches(10)
    machine.small = 20
    #expect(machine.stretches(3).last == .huge)
    machine.huge = 0.2
    #expect(machine.stretches(40).suffix(20).allSatisfy { $0 == .huge })
    machine.huge = 8
    machine.small = 1
    #expect(machine.stretches(40).suffix(10).count { $0 == .small } >= 9)
  }

  @Test func `one slow piece at the beginning decides nothing`() {
    var pace = PagePace()
    pace.note(.huge, seconds: 0.05)
    #expect(pace.next() == .huge)
    for _ in 0..<40 { pace.note(.huge, seconds: 0.2e-3) }
    #expect(pace.next() == .huge)
  }
}
