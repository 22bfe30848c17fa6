// swift-tools-version: 6.2
// Graft: model surgery on checkpoints. docs/ARCHITECTURE.md explains the modules and the directions of their imports.

import PackageDescription

/// What every Swift target of the product is compiled with.
let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .enableExperimentalFeature("Lifetimes"),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
]

/// Tests lend spans and load unsafely all over, so strict memory safety would only be noise there.
let testSettings: [SwiftSetting] = settings.dropLast(2) + [.treatAllWarnings(as: .error)]

/// What every C target is compiled with.
let cSettings: [CSetting] = [
  .define("_GNU_SOURCE"),  // C23 in strict mode hides pread, statx and friends
  .enableWarning("all"),
  .enableWarning("extra"),
  .enableWarning("conversion"),
  .treatAllWarnings(as: .error),
]

let package = Package(
  name: "graft",
  products: [
    .library(name: "Graft", targets: ["Graft"]),
    .library(name: "GraftRecipes", targets: ["GraftRecipes"]),
    // For Benchmarks/Package.swift alone: a package sees of another only what is a product.
    .library(name: "GraftParts", targets: ["GraftParts"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    // C, one subject each; only their own .c files see the system libraries' headers.
    .target(
      name: "CGraftRing", path: "CSources/CGraftRing", cSettings: cSettings,
      linkerSettings: [.linkedLibrary("uring")]),
    .target(
      name: "CGraftCodec", path: "CSources/CGraftCodec", cSettings: cSettings,
      linkerSettings: [.linkedLibrary("zstd"), .linkedLibrary("blosc")]),
    .target(name: "CGraftSystem", path: "CSources/CGraftSystem", cSettings: cSettings),
    .target(name: "CGraftKernels", path: "CSources/CGraftKernels", cSettings: cSettings),
    .target(
      name: "CGraftMeasure", path: "CSources/CGraftMeasure", cSettings: cSettings,
      linkerSettings: [.linkedLibrary("zstd")]),

    // The house, from the ground up: a target imports only targets above it.
    .target(
      name: "GraftCore",
      dependencies: [.product(name: "OrderedCollections", package: "swift-collections")],
      swiftSettings: settings),
    .target(
      name: "GraftIO", dependencies: ["GraftCore", "CGraftRing", "CGraftSystem"], swiftSettings: settings),
    .target(name: "GraftCodec", dependencies: ["GraftCore", "CGraftCodec"], swiftSettings: settings),
    .target(
      name: "GraftFormats", dependencies: ["GraftCore", "GraftIO", "GraftCodec"], swiftSettings: settings),
    .target(
      name: "GraftExecute",
      dependencies: ["GraftCore", "GraftIO", "GraftCodec", "GraftFormats", "CGraftKernels"],
      swiftSettings: settings),

    .target(
      name: "Graft", dependencies: ["GraftCore", "GraftIO", "GraftFormats", "GraftExecute"],
      swiftSettings: settings),
    // Surgeries that files say. A module of its own, because the YAML parser brings Foundation with it.
    .target(
      name: "GraftRecipes",
      dependencies: ["Graft", "GraftCore", "GraftIO", .product(name: "Yams", package: "Yams")],
      swiftSettings: settings),
    // The ceilings that the tool and the benchmarks compare Graft with.
    .target(
      name: "GraftMeasure", dependencies: ["GraftCore", "GraftIO", "CGraftMeasure"], swiftSettings: settings),
    .target(
      name: "GraftCommands",
      dependencies: [
        "Graft", "GraftRecipes", "GraftMeasure", "GraftCore", "GraftIO", "GraftExecute", "GraftFormats",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "graft", dependencies: ["GraftCommands"], path: "Sources/graft", swiftSettings: settings),

    // How fast it is, beside what the machine can do.
    .target(
      name: "GraftBenchmark",
      dependencies: [
        "Graft", "GraftMeasure", "GraftExecute", "GraftCodec", "GraftIO", "GraftCore", "CGraftKernels",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Benchmarks/GraftBenchmark", swiftSettings: settings),
    .executableTarget(
      name: "graft-benchmark", dependencies: ["GraftBenchmark"],
      path: "Benchmarks/graft-benchmark",
      swiftSettings: settings),

    // The parts of Graft that are measured alone. Their harness is in a package of its own, Benchmarks/Package.swift.
    .target(
      name: "GraftParts",
      dependencies: [
        "Graft", "GraftExecute", "GraftFormats", "GraftCodec", "GraftIO", "GraftCore", "CGraftKernels",
      ],
      path: "Benchmarks/GraftParts", swiftSettings: settings),

    // What scripts/compare drives where the tool has no verb for it.
    .executableTarget(
      name: "graft-comparison-driver", dependencies: ["Graft", "GraftRecipes"],
      path: "Benchmarks/ComparisonDriver", swiftSettings: testSettings),

    // What scripts/quickstart shows Graft on; it uses nothing of ours.
    .executableTarget(name: "demo-checkpoint", path: "Examples/DemoCheckpoint", swiftSettings: settings),
    // Surgeries to copy from, one file each; the interoperability tests compare what they make with JAX.
    .executableTarget(
      name: "surgery-examples", dependencies: ["Graft"], path: "Examples/Surgery", swiftSettings: settings),

    .target(
      name: "GraftTestSupport", dependencies: ["GraftCore"], path: "Tests/GraftTestSupport",
      swiftSettings: testSettings),
    // Opens fixtures with something changed in them until something traps; scripts/fuzz runs it.
    .executableTarget(
      name: "graft-fuzz",
      dependencies: ["Graft", "GraftFormats", "GraftCodec", "GraftCore", "GraftTestSupport"],
      path: "Tests/Fuzz",
      swiftSettings: testSettings),
    // What the interoperability tests compute with Graft and compare with NumPy.
    .executableTarget(
      name: "graft-surgery-driver", dependencies: ["Graft"], path: "Tests/Interop/SurgeryDriver",
      swiftSettings: testSettings),
    // Writes what the interoperability tests have Orbax load.
    .executableTarget(
      name: "graft-writing-driver", dependencies: ["GraftFormats", "GraftCore", "GraftTestSupport"],
      path: "Tests/Interop/WritingDriver", swiftSettings: testSettings),
    // What they encode with Graft and decode with other software.
    .executableTarget(
      name: "graft-encoding-driver", dependencies: ["GraftCodec", "GraftFormats", "GraftCore"],
      path: "Tests/Interop/EncodingDriver", swiftSettings: testSettings),
    .testTarget(
      name: "GraftKernelsTests", dependencies: ["CGraftKernels", "GraftCore", "GraftTestSupport"],
      swiftSettings: testSettings),
    .testTarget(
      name: "GraftCoreTests", dependencies: ["GraftCore", "GraftTestSupport"], swiftSettings: testSettings),
    // The means to forbid system calls, as containers do.
    .target(name: "CGraftTestSandbox", path: "Tests/CGraftTestSandbox", cSettings: cSettings),
    .testTarget(
      name: "GraftIOTests", dependencies: ["GraftIO", "GraftCore", "GraftTestSupport", "CGraftTestSandbox"],
      swiftSettings: testSettings),
    .testTarget(
      name: "GraftMeasureTests", dependencies: ["GraftMeasure", "GraftIO", "GraftCore"],
      swiftSettings: testSettings),
    .testTarget(
      name: "GraftBenchmarkTests",
      dependencies: ["GraftBenchmark", "GraftParts", "GraftMeasure", "GraftCore", "GraftTestSupport"],
      swiftSettings: testSettings),
    .testTarget(
      name: "GraftCodecTests", dependencies: ["GraftCodec", "GraftCore", "GraftTestSupport"],
      swiftSettings: testSettings),
    .testTarget(
      name: "GraftFormatsTests",
      dependencies: ["GraftFormats", "GraftCodec", "GraftIO", "GraftCore", "GraftTestSupport"],
      swiftSettings: testSettings),
    .testTarget(
      name: "GraftCommandsTests", dependencies: ["GraftCommands", "GraftCore"], swiftSettings: testSettings),
    // Runs the built tool as a process of its own.
    .testTarget(name: "CLITests", dependencies: ["graft"], path: "Tests/CLI", swiftSettings: testSettings),
    .testTarget(
      name: "GraftTests", dependencies: ["Graft", "GraftCore", "GraftTestSupport"],
      swiftSettings: testSettings),
    .testTarget(
      name: "GraftRecipesTests", dependencies: ["GraftRecipes", "Graft", "GraftCore", "GraftTestSupport"],
      swiftSettings: testSettings),
    // Encoders, as the product only decodes.
    .target(
      name: "CGraftTestCodec", path: "Tests/CGraftTestCodec", cSettings: cSettings,
      linkerSettings: [.linkedLibrary("zstd")]),
    .testTarget(
      name: "GraftExecuteTests",
      dependencies: [
        "GraftExecute", "GraftFormats", "GraftCodec", "GraftIO", "GraftCore", "GraftTestSupport",
        "CGraftTestCodec",
      ],
      swiftSettings: testSettings),
  ],
  cLanguageStandard: .gnu2x
)
