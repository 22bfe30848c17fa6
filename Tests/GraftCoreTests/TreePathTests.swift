import GraftCore
import Testing

@Suite struct TreePathTests {
  @Test func `two spellings of é are two keys`() {
    let composed = Key("\u{e9}")
    let decomposed = Key("e\u{301}")
    #expect(composed.string == decomposed.string)
    #expect(composed != decomposed)
    #expect(Set([composed, decomposed]).count == 2)
    #expect(decomposed < composed)
  }
}
