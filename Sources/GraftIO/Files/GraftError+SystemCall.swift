// All wording for what the system refuses stands in this file, and FileErrorTests pins it.

internal import Glibc
package import GraftCore

/// What was being done when a system call failed, as error messages say it.
package enum FileIntent: String, CaseIterable, Sendable {
  case open = "open the file"
  case inspect = "look at the file"
  case list = "list the folder"
  case read = "read the file"
  case map = "map the file into memory"
  case create = "create the file"
  case createDirectory = "create the folder"
  case reserve = "reserve space for the file"
  case write = "write the file"
  case flush = "flush the file to the disk"
  case replace = "give the finished file its name"
  case remove = "remove the file"

  /// Whether the intent is to bring something new into a folder.
  var creates: Bool {
    switch self {
    case .create, .createDirectory, .replace: true
    case .open, .inspect, .list, .read, .map, .reserve, .write, .flush, .remove: false
    }
  }
}

extension GraftError {
  /// The error for a failed system call on a file: code, sentence and remedy follow from the intent and errno.
  package init(_ intent: FileIntent, _ failure: SystemCallFailure, file: String, range: ByteRange? = nil) {
    let (code, message, remedy) = Self.wording(intent, failure.errorNumber)
    self.init(code, message, file: file, range: range, remedy: remedy, cause: failure)
  }

  private static func wording(
    _ intent: FileIntent, _ errorNumber: CInt
  ) -> (code: Code, message: String, remedy: String?) {
    let cannot = "cannot \(intent.rawValue)"
    switch errorNumber {
    case ENOENT where intent.creates:
      return (
        .notFound, "\(cannot): the folder that it is to go into does not exist", "create the folder first"
      )
    case ENOENT:
      return (
        .notFound, "there is no file or folder of this name",
        "check the path's spelling and the working directory"
      )
    case ENOTDIR:
      return (
        .notFound, "\(cannot): a part of the path before its last is a file, not a folder", "check the path"
      )
    case EACCES, EPERM:
      return (
        .permissionDenied, "\(cannot): the system does not permit it",
        "check the owner and mode of the file and its folders"
      )
    case EROFS:
      return (
        .permissionDenied, "\(cannot): the file system is read-only",
        "choose a destination that can be written"
      )
    case EEXIST, ENOTEMPTY:
      return (
        .destinationExists, "the destination exists already", "choose another name, or allow overwriting"
      )
    case ENOSPC:
      return (
        .noSpace, "\(cannot): the file system is full",
        "free some space, or choose a destination on another file system"
      )
    case EDQUOT:
      return (
        .noSpace, "\(cannot): the disk quota is used up",
        "free some space, or choose a destination on another file system"
      )
    case EFBIG:
      return (
        .noSpace, "\(cannot): it would be larger than the file system or the process's limit allows",
        "write smaller shards, or raise the limit on file size"
      )
    case ENOMEM:
      return (
        .insufficientMemory, "\(cannot): the system has no memory for it", "select less, or free some memory"
      )
    case EMFILE, ENFILE:
      return (.ioFailed, "\(cannot): too many files are open", "raise the limit on open files (ulimit -n)")
    case EISDIR:
      return (.unsupported, "\(cannot): it is a folder", "name a file")
    case ENXIO, ENODEV:
      return (.unsupported, "\(cannot): it is a socket or a device without a driver", "name a regular file")
    case ELOOP:
      return (.notFound, "\(cannot): its symbolic links lead in a circle", "repair the links")
    case ENAMETOOLONG:
      return (
        .invalidArgument, "\(cannot): the name is longer than the file system allows", "choose a shorter name"
      )
    case ETXTBSY:
      return (.ioFailed, "\(cannot): it is a program that runs", nil)
    case EIO:
      return (
        .ioFailed, "\(cannot): the device failed",
        "look into the kernel's log, and copy the file off the device"
      )
    case ESTALE:
      return (.ioFailed, "\(cannot): the network file system has lost it", "open the checkpoint again")
    default:
      return (.ioFailed, cannot, nil)
    }
  }

  /// The error for a path that the system cannot even be asked about.
  static func impossiblePath(_ path: String) -> GraftError {
    GraftError(
      .invalidArgument, path.isEmpty ? "the path is empty" : "the path has a zero byte in it", file: path,
      remedy: "check where the path comes from")
  }

  /// The error for something that is there but is no regular file.
  static func notRegular(_ kind: FileKind, file: String) -> GraftError {
    GraftError(
      .unsupported, "this is no file whose bytes can be read by range", file: file,
      expected: "a regular file",
      found: kind.withArticle,
      remedy: kind == .directory ? "name a file in the folder" : "copy its contents into a regular file first"
    )
  }

  /// The error for a destination that is something which a save must not replace.
  static func cannotReplace(_ kind: FileKind, file: String) -> GraftError {
    GraftError(
      .destinationExists, "what stands at the destination is not of the kind that is to be written",
      file: file,
      found: kind.withArticle, remedy: "choose another name")
  }

  /// The error for a file of a folder that would lie outside it.
  static func outsideFolder(_ name: String, folder: String) -> GraftError {
    GraftError(
      .invalidArgument, "the name does not lead to a file inside the folder", file: folder,
      expected: "keys joined by single slashes, none of them . or ..", found: TreePath.printable(name))
  }

  /// The error for a file that ends inside the bytes that were asked for.
  package static func truncated(file: String, range: ByteRange, byteCount: Int) -> GraftError {
    GraftError(
      .truncated, "the file ends before the bytes that were asked for", file: file, range: range,
      expected: "at least \(range.end) bytes", found: "\(byteCount) bytes",
      remedy: "the file is incomplete or was shortened while in use: copy or download it again")
  }

  /// The error for a file that is not what it was when it was opened.
  package static func changed(_ change: String, file: String) -> GraftError {
    GraftError(
      .fileChanged, "the file changed since it was opened", file: file, expected: "the file as it was opened",
      found: change, remedy: "open the checkpoint again when nothing writes to it")
  }
}
