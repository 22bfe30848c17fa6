import ArgumentParser
import Graft

/// `graft merge`: carries out a recipe that names all its checkpoints.
struct Merge: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Make one checkpoint of several, as a recipe says; it appears complete or not at all.",
    discussion: """
      RECIPE is a YAML or JSON file that names checkpoints under sources and has steps; the tree starts empty, and steps such as \\
      take, average and init fill it. DESTINATION is as for convert. graft plan --recipe shows what a recipe would read \\
      and compute.
      """)

  @Argument(help: "The recipe, a YAML or JSON file.")
  var recipe: String

  @Argument(help: "The checkpoint to write.")
  var destination: String

  @OptionGroup var surgery: RecipeOptions
  @OptionGroup var writing: WritingOptions
  @OptionGroup var opening: OpeningOptions
  @OptionGroup var tuning: TuningOptions
  @OptionGroup var output: OutputOptions

  func validate() throws { try writing.validate(for: destination) }

  func perform(_ session: Session) async throws(GraftError) -> ConvertAnswer {
    let format = try writing.format(for: destination)
    let tuning = try await tuning.settings(for: nil, session)
    let surgery = try await surgery.surgery(
      recipe: recipe, on: nil, selecting: Selection(), opening: opening, tuning: tuning)
    guard let surgery else { preconditionFailure("a recipe is a surgery") }
    return try await writing.write(to: destination) { () async throws(GraftError) in
      let progress = session.progress("merging", totalByteCount: surgery.byteCount)
      if writing.link {
        return .linked(
          try await surgery.link(
            to: destination, step: writing.step, rewriting: writing.orbaxOptions(for: destination),
            overwriting: writing.overwrite, progress: progress))
      }
      return .saved(
        try await surgery.save(
          to: destination, step: writing.step, as: format, overwriting: writing.overwrite, progress: progress)
      )
    }
  }
}
