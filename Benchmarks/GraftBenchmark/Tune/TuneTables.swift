internal import GraftCore
internal import GraftMeasure

extension BenchmarkReport {
  /// Adds the raw speeds of the machine.
  mutating func addCeilings(_ title: String, _ results: [Measurement]) {
    var table = Table(title, ["what", "GiB/s"])
    for result in results { table.rows.append([.text(result.name), .spread(result.gibPerSecond)]) }
    table.charts = [
      Chart(
        "What the machine can do", unit: "GiB/s",
        .bars(results.map { Chart.Bar($0.name, $0.gibPerSecond, .ceiling) }))
    ]
    table.shownChart = nil
    tables.append(table)
  }

  /// Adds direct reads as a table of depths and block sizes, and a line for each size.
  mutating func addDirectReads(_ results: [Measurement]) {
    var shapes: [(depth: Int, block: Int, result: Measurement)] = []
    for result in results {
      // `direct pread, 4 in flight, 1024 KiB`
      let numbers = result.name.split(separator: " ").compactMap { Int($0) }
      if numbers.count == 2 { shapes.append((numbers[0], numbers[1], result)) }
    }
    let blocks = Set(shapes.map(\.block)).sorted()
    var table = Table("direct reads, GiB/s", ["in flight"] + blocks.map { "\(Figure.bytes($0 << 10))" })
    for depth in Set(shapes.map(\.depth)).sorted() {
      table.rows.append(
        [.text("\(depth)")]
          + blocks.map { block in
            shapes.first { $0.depth == depth && $0.block == block }.map { .spread($0.result.gibPerSecond) }
              ?? .text("")
          })
    }
    let series = blocks.map { block in
      Chart.Series(
        Figure.bytes(block << 10),
        shapes.filter { $0.block == block }.sorted { $0.depth < $1.depth }
          .map { Chart.Point(Double($0.depth), $0.result.gibPerSecond) })
    }
    table.charts = [Chart("Direct reads", unit: "GiB/s", .lines(series, x: "in flight"))]
    table.shownChart = 0
    tables.append(table)
  }

  /// Adds what was measured of a setting.
  mutating func add(_ finding: TuneFinding) {
    guard let first = finding.blocks.first?.block else { return }
    let changed = TuningField.differences(Tuning(), first.candidates[first.base].tuning)
      .filter { $0 != finding.axis.field }
    let others =
      changed.isEmpty
      ? ""
      : ", with "
        + changed.map { "\($0.name) \(TuneAxis.shown($0, first.candidates[first.base].tuning))" }
        .joined(separator: ", ")
    add("\(finding.axis.rawValue)\(others)", finding.blocks, chosen: finding.chosen)
    guard let check = finding.check.first?.block else { return }
    let isTaken = finding.chosen != first.base
    add(
      "\(finding.axis.rawValue)\(others), \(check.candidates[1].name) once more", finding.check,
      chosen: isTaken ? 1 : 0)
  }

  /// Adds what was chosen beside the defaults.
  mutating func addConfirmation(_ blocks: [(block: TuneBlock, figures: TuneFigures)]) {
    add("what was found, beside the defaults", blocks, chosen: 1)
  }

  private mutating func add(
    _ title: String, _ blocks: [(block: TuneBlock, figures: TuneFigures)], chosen: Int
  ) {
    let candidates = blocks[0].block.candidates
    let base = blocks[0].block.base
    // What the others are compared with is the default of this setting, unless another pass has found something else.
    let isDefault = blocks[0].block.axis.map { $0.isDefault(candidates[base].tuning) } ?? true
    let before = isDefault ? "default" : "before"
    var columns = ["setting"]
    for (block, figures) in blocks {
      let name = block.workload.rawValue
      columns += [name, "\(name) / \(before)"]
      if figures.ceiling != nil { columns.append("\(name) / raw") }
    }
    var table = Table("\(title): GiB/s, beside the \(before) and a raw read", columns)
    func shown(_ index: Int) -> String {
      // What is compared on the whole is called that already.
      candidates[index].name + (index == base && candidates[index].name != before ? " (\(before))" : "")
    }
    for index in candidates.indices {
      var row: [Cell] = [.text(shown(index) + (index == chosen ? " *" : ""))]
      for (block, figures) in blocks {
        let result = figures.candidates[index]
        let ratios = TuneChoice.ratios(result.seconds, to: figures.candidates[block.base].seconds)
        row.append(.spread(result.gibPerSecond))
        row.append(index == block.base ? .text("") : .spread(Spread(ratios)))
        if let ceiling = figures.ceiling {
          let speeds = zip(result.seconds, ceiling.seconds).map {
            Double(result.byteCount) / max($0, 1e-9) / (Double(ceiling.byteCount) / max($1, 1e-9))
          }
          row.append(.figure(Spread(speeds).median))
        }
      }
      table.rows.append(row)
    }
    table.charts = blocks.map { block, figures in
      var bars: [Chart.Bar] = []
      if let ceiling = figures.ceiling {
        bars.append(Chart.Bar(ceiling.name, ceiling.gibPerSecond, .ceiling))
      }
      for index in candidates.indices {
        bars.append(
          Chart.Bar(
            shown(index), figures.candidates[index].gibPerSecond,
            index == chosen ? .chosen : index == base ? .reference : .candidate))
      }
      return Chart("\(title): \(block.workload.rawValue)", unit: "GiB/s", .bars(bars))
    }
    // A terminal shows the workload in which the settings differ most.
    let differences = blocks.map { block, figures in
      let medians = figures.candidates.map(\.gibPerSecond.median)
      return (medians.max() ?? 0) / max(medians.min() ?? 0, 1e-9)
    }
    table.shownChart = differences.indices.max { differences[$0] < differences[$1] }
    tables.append(table)
  }
}
