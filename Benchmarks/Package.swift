// swift-tools-version: 6.2
// The harness that times the parts of Graft one by one: `swift package benchmark` in this folder, or scripts/benchmark-parts.
// A package of its own, so that whoever depends on Graft does not depend on the harness.

import PackageDescription

let package = Package(
  name: "graft-benchmarks",
  dependencies: [
    .package(name: "graft", path: ".."),
    // Without its traits: they bring an allocator whose counts read 0 here, and what Graft counts itself is held by tests.
    .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: []),
  ],
  targets: [
    .executableTarget(
      name: "PartBenchmarks",
      dependencies: [
        .product(name: "GraftParts", package: "graft"), .product(name: "Benchmark", package: "benchmark"),
      ],
      path: "Benchmarks/PartBenchmarks",
      plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")])
  ],
  swiftLanguageModes: [.v6]
)
