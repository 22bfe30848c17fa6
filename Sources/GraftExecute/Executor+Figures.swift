internal import GraftCore
internal import GraftIO
internal import Synchronization

// Results that need figures of whole tensors are done in groups: the figures of a group are found in a pass over what they are made
// of, and then the group is an ordinary plan. Groups are as large as the memory for figures allows, a quarter of the budget.

extension Executor {
  /// The part of the budget that figures may take.
  private static let figureShare = 4

  /// Carries out a plan that has a pass before it.
  func runWithFigures(
    of pass: Plan, into places: [Place], progress: (@Sendable (Progress) -> Void)?
  ) async throws(GraftError) -> ReadReport {
    var report = ReadReport()
    var doneByteCount = 0
    let total = plan.resultByteCount
    for group in try groups(of: pass) {
      let members = Set(group.results)
      let (part, indices) = plan.restricted { members.contains($0) }
      let figures = try await find(group.figures, of: pass, &report)
      var tuning = tuning
      tuning.budgetByteCount -= group.byteCount
      var partReport = try await Executor(
        part.resolving(figures), tuning: tuning, engine: engine, pages: pages
      ).run(
        into: indices.map { places[$0] }, progress: Self.relay(progress, of: total, after: doneByteCount))
      partReport.peakStagingByteCount += group.byteCount
      report.add(partReport, isBeside: false)
      doneByteCount += part.resultByteCount
    }
    return report
  }

  /// What ``runWithFigures(of:into:progress:)`` would read.
  func forecastWithFigures(
    of pass: Plan, into places: [Place], isResident: Bool
  ) throws(GraftError) -> ReadReport {
    var report = ReadReport()
    let isSummed = pass.isSummed
    for group in try groups(of: pass) {
      let members = Set(group.results)
      let (part, indices) = plan.restricted { members.contains($0) }
      let tensors = pass.restricted { group.figures.contains($0) && !isSummed[$0] }.plan
      let sums = pass.restricted { group.figures.contains($0) && isSummed[$0] }.plan
      if !tensors.results.isEmpty {
        var tuning = tuning
        tuning.budgetByteCount -= tensors.resultByteCount
        let executor = Executor(tensors, tuning: tuning, engine: engine)
        var read = try executor.forecast(into: executor.untouchedPlaces, isResident: isResident)
        read.peakStagingByteCount += tensors.resultByteCount
        report.add(read, isBeside: false)
      }
      if !sums.results.isEmpty {
        let read = try Executor(sums, tuning: tuning, engine: engine)
          .forecast(into: sums.results.map { _ in .sums(SumPlace()) }, isResident: isResident)
        report.add(read, isBeside: false)
      }
      var tuning = tuning
      tuning.budgetByteCount -= group.byteCount
      // The figures' values change what is computed, not what is read for it.
      var read = try Executor(part.resolving([:]), tuning: tuning, engine: engine)
        .forecast(into: indices.map { places[$0] }, isResident: isResident)
      read.peakStagingByteCount += group.byteCount
      report.add(read, isBeside: false)
    }
    return report
  }

  /// Results that are done together, and what they need.
  private struct Group {
    var results: [Int] = []
    var figures: Set<Int> = []
    /// The bytes of the tensors among the figures.
    var byteCount = 0
  }

  private func groups(of pass: Plan) throws(GraftError) -> [Group] {
    let isSummed = pass.isSummed
    let limit = tuning.budgetByteCount / Self.figureShare
    var groups: [Group] = []
    var plain = Group()
    for (result, figures) in plan.figuresOfResults.enumerated() {
      if figures.isEmpty {
        plain.results.append(result)
        continue
      }
      func byteCount(_ figures: Set<Int>) -> Int {
        figures.reduce(0) { $0 + (isSummed[$1] ? 0 : pass.results[$1].spec.byteCount) }
      }
      guard byteCount(figures) <= limit else {
        throw GraftError(
          .insufficientMemory, "the factors of the leaf do not fit the part of the budget that is for them",
          leaf: plan.results[result].path, expected: "at most \(limit) bytes as float32",
          found: "\(byteCount(figures)) bytes", remedy: "raise the budget")
      }
      let new = byteCount(figures.subtracting(groups.last?.figures ?? []))
      if groups.isEmpty || groups[groups.count - 1].byteCount + new > limit {
        groups.append(Group(results: [result], figures: figures, byteCount: byteCount(figures)))
      } else {
        groups[groups.count - 1].results.append(result)
        groups[groups.count - 1].figures.formUnion(figures)
        groups[groups.count - 1].byteCount += new
      }
    }
    return plain.results.isEmpty ? groups : [plain] + groups
  }

  /// Runs the pass for some figures.
  private func find(
    _ figures: Set<Int>, of pass: Plan, _ report: inout ReadReport
  ) async throws(GraftError) -> [Int: FigureValue] {
    if figures.isEmpty { return [:] }
    let isSummed = pass.isSummed
    var values: [Int: FigureValue] = [:]

    let (tensors, tensorIndices) = pass.restricted { figures.contains($0) && !isSummed[$0] }
    if !tensorIndices.isEmpty {
      let memory = try await HostDestination(tensors, tuning: tuning)
      var tuning = tuning
      tuning.budgetByteCount -= tensors.resultByteCount
      var part = try await Executor(tensors, tuning: tuning, engine: engine, pages: memory.pages)
        .run(into: memory.places)
      part.peakStagingByteCount += tensors.resultByteCount
      report.add(part, isBeside: false)
      for (index, tensor) in zip(tensorIndices, memory.tensors) { values[index] = .tensor(tensor) }
    }
    let (sums, sumIndices) = pass.restricted { figures.contains($0) && isSummed[$0] }
    if !sumIndices.isEmpty {
      let places = sumIndices.map { _ in SumPlace() }
      report.add(
        try await Executor(sums, tuning: tuning, engine: engine).run(into: places.map { .sums($0) }),
        isBeside: false)
      for (index, place) in zip(sumIndices, places) { values[index] = place.value }
    }
    return values
  }
}

/// Where the sums of the products of two tensors' elements come together; exact, so that tiles may come in any order.
package final class SumPlace: Sendable {
  /// The sums of one tile, or of all.
  struct Sums {
    var first = ExactSum()
    var product = ExactSum()
    var second = ExactSum()
  }

  private let sums = Mutex(Sums())

  /// Adds what a tile has.
  func add(_ part: Sums) {
    sums.withLock {
      $0.first.merge(part.first)
      $0.product.merge(part.product)
      $0.second.merge(part.second)
    }
  }

  /// The sums, each rounded once.
  var value: FigureValue {
    sums.withLock { .products($0.first.value, $0.product.value, $0.second.value) }
  }
}
