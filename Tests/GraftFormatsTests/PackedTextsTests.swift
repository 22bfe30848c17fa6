import GraftFormats
import GraftTestSupport
import Testing

struct PackedTextsTests {
  @Test(arguments: seedBatches(4))
  func `texts are put in the order of their bytes`(batch: UInt64) {
    let seed = seedFromEnvironment() ?? batch &* 31 &+ 7
    var random = SeededGenerator(seed: seed)
    for round in 0..<200 {
      // Few letters and long beginnings in common, so that texts are equal, and begin with one another.
      let shared = [UInt8](repeating: 7, count: Int.random(in: 0...20, using: &random))
      let texts = (0..<Int.random(in: 0...40, using: &random)).map { _ in
        shared
          + (0..<Int.random(in: 0...12, using: &random)).map { _ in
            [0, 1, 47, 255].randomElement(using: &random)!
          }
      }
      var packed = PackedTexts()
      for text in texts {
        if let last = text.last, Bool.random(using: &random) {
          packed.append(text.dropLast(), last)
        } else {
          packed.append(text)
        }
      }
      let expected = texts.indices.sorted {
        texts[$0] == texts[$1] ? $0 < $1 : texts[$0].lexicographicallyPrecedes(texts[$1])
      }
      #expect(packed.order() == expected, "seed \(seed), round \(round)")
      for index in texts.indices {
        let other = Int.random(in: texts.indices, using: &random)
        #expect(
          packed.text(index, startsWith: other) == texts[index].starts(with: texts[other]), "seed \(seed)")
        #expect(texts[index].precedes(texts[other]) == texts[index].lexicographicallyPrecedes(texts[other]))
        #expect(texts[index].hasPrefix(texts[other]) == texts[index].starts(with: texts[other]))
      }
    }
  }
}
