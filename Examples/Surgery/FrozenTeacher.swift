import Graft

/// Puts a frozen teacher beside a student that goes on training.
///
/// Of the teacher only the parameters are read, in bfloat16, as they are no longer trained; the student keeps its optimizer state.
func frozenTeacher(_ teacherPath: String, beside studentPath: String) async throws -> Surgery {
  let teacher = try await Checkpoint(at: teacherPath)
  let student = try await Checkpoint(at: studentPath)
  return try Checkpoint.transform(teacher, student) { teacher, student in
    [
      "teacher": ["params": teacher["params"].cast(to: .bfloat16, lossy: true)],
      "student": student,
    ]
  }
}
