import Glibc
import Testing

/// Runs `body` with a file system in memory of this size mounted, and unmounts it; cancels the test where that is refused.
func withMountedMemory(
  byteCount: Int, readOnly: Bool = false, _ body: (_ path: String) throws -> Void
) throws {
  let folder = TemporaryFolder()
  let flags = readOnly ? UInt(1) : 0  // MS_RDONLY
  guard mount("none", folder.path, "tmpfs", flags, "size=\(byteCount)") == 0 else {
    try Test.cancel("mounting a small file system is refused here: errno \(errno)")
  }
  defer { umount(folder.path) }
  try body(folder.path)
}
