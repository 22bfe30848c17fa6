internal import CGraftSystem

/// How many processors this process may use.
package enum UsableProcessors {
  /// The number that its affinity mask permits; at least 1.
  package static let count = Int(graft_system_usable_processor_count())
}
