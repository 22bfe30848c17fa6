import Glibc
import GraftCore
import GraftIO
import Testing

/// The wording that users see for what the system refuses; a change of a sentence is a change of this table.
@Suite struct FileErrorTests {
  struct Row: CustomTestStringConvertible, Sendable {
    let intent: FileIntent
    let call: String
    let errorNumber: CInt
    let code: GraftError.Code
    let text: String
    var testDescription: String { "\(intent) \(errorNumber)" }
  }

  static let rows: [Row] = [
    Row(
      intent: .open, call: "open", errorNumber: ENOENT, code: .notFound,
      text: "There is no file or folder of this name. In file m, bytes 0..<8. "
        + "Cause: open: No such file or directory (ENOENT). Check the path's spelling and the working directory."
    ),
    Row(
      intent: .create, call: "open", errorNumber: ENOENT, code: .notFound,
      text:
        "Cannot create the file: the folder that it is to go into does not exist. In file m, bytes 0..<8. "
        + "Cause: open: No such file or directory (ENOENT). Create the folder first."),
    Row(
      intent: .open, call: "open", errorNumber: EACCES, code: .permissionDenied,
      text: "Cannot open the file: the system does not permit it. In file m, bytes 0..<8. "
        + "Cause: open: Permission denied (EACCES). Check the owner and mode of the file and its folders."),
    Row(
      intent: .create, call: "open", errorNumber: EROFS, code: .permissionDenied,
      text: "Cannot create the file: the file system is read-only. In file m, bytes 0..<8. "
        + "Cause: open: Read-only file system (EROFS). Choose a destination that can be written."),
    Row(
      intent: .write, call: "pwrite", errorNumber: ENOSPC, code: .noSpace,
      text: "Cannot write the file: the file system is full. In file m, bytes 0..<8. "
        + "Cause: pwrite: No space left on device (ENOSPC). "
        + "Free some space, or choose a destination on another file system."),
    Row(
      intent: .write, call: "pwrite", errorNumber: EDQUOT, code: .noSpace,
      text: "Cannot write the file: the disk quota is used up. In file m, bytes 0..<8. "
        + "Cause: pwrite: Disk quota exceeded (EDQUOT). "
        + "Free some space, or choose a destination on another file system."),
    Row(
      intent: .replace, call: "renameat2", errorNumber: EEXIST, code: .destinationExists,
      text: "The destination exists already. In file m, bytes 0..<8. "
        + "Cause: renameat2: File exists (EEXIST). Choose another name, or allow overwriting."),
    Row(
      intent: .map, call: "mmap", errorNumber: ENOMEM, code: .insufficientMemory,
      text: "Cannot map the file into memory: the system has no memory for it. In file m, bytes 0..<8. "
        + "Cause: mmap: Cannot allocate memory (ENOMEM). Select less, or free some memory."),
    Row(
      intent: .open, call: "open", errorNumber: EMFILE, code: .ioFailed,
      text: "Cannot open the file: too many files are open. In file m, bytes 0..<8. "
        + "Cause: open: Too many open files (EMFILE). Raise the limit on open files (ulimit -n)."),
    Row(
      intent: .read, call: "pread", errorNumber: EIO, code: .ioFailed,
      text: "Cannot read the file: the device failed. In file m, bytes 0..<8. "
        + "Cause: pread: Input/output error (EIO). Look into the kernel's log, and copy the file off the device."
    ),
    Row(
      intent: .flush, call: "fsync", errorNumber: 4242, code: .ioFailed,
      text: "Cannot flush the file to the disk. In file m, bytes 0..<8. "
        + "Cause: fsync: unknown error (errno 4242)."),
  ]

  @Test(arguments: rows) func `an errno has its code, sentence and remedy`(_ row: Row) {
    let error = GraftError(
      row.intent, SystemCallFailure(row.call, row.errorNumber), file: "m",
      range: ByteRange(offset: 0, count: 8))
    #expect(error.code == row.code)
    #expect(error.description == row.text)
  }

  @Test(arguments: FileIntent.allCases) func `every errno of every intent names the file and its cause`(
    _ intent: FileIntent
  ) {
    for number in CInt(1)...133 {
      let error = GraftError(intent, SystemCallFailure("call", number), file: "model.safetensors")
      #expect(error.description.contains("model.safetensors"))
      #expect((error.cause as? SystemCallFailure)?.errorNumber == number)
    }
  }
}
