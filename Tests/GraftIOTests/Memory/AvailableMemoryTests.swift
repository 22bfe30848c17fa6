import GraftCore
import GraftIO
import Testing

@Suite struct AvailableMemoryTests {
  struct Machine: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let texts: [String: String]
    let byteCount: Int
    let limitedBy: String
  }

  static let gibibyte = 1 << 30
  static let mountinfo2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
  static let mountinfo1 =
    "24 1 0:21 / /proc rw - proc proc rw\n33 32 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"

  static let machines: [Machine] = [
    Machine(
      testDescription: "no control groups",
      texts: ["/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   8388608 kB\n"],
      byteCount: 8 * gibibyte, limitedBy: "the machine"),
    Machine(testDescription: "nothing is known", texts: [:], byteCount: .max, limitedBy: "the machine"),
    Machine(
      testDescription: "version 2, limited by a parent, cache counts as room",
      texts: [
        "/proc/meminfo": "MemAvailable: 8388608 kB\n", "/proc/self/cgroup": "0::/a/b\n",
        "/proc/self/mountinfo": mountinfo2,
        "/sys/fs/cgroup/a/b/memory.max": "max\n", "/sys/fs/cgroup/a/b/memory.current": "5\n",
        "/sys/fs/cgroup/a/memory.max": "\(2 * gibibyte)\n",
        "/sys/fs/cgroup/a/memory.current": "\(gibibyte + gibibyte / 2)\n",
        "/sys/fs/cgroup/a/memory.stat":
          "anon 7\ninactive_file \(gibibyte / 4)\nactive_file \(gibibyte / 4)\n",
      ], byteCount: gibibyte, limitedBy: "the control group /sys/fs/cgroup/a"),
    Machine(
      testDescription: "version 1, in a container that sees the host's path",
      texts: [
        "/proc/meminfo": "MemAvailable: 8388608 kB\n",
        "/proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/c\n0::/\n",
        "/proc/self/mountinfo":
          "33 32 0:29 /docker/c /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "\(gibibyte)\n",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes": "\(gibibyte / 4)\n",
        "/sys/fs/cgroup/memory/memory.stat": "total_inactive_file 0\n",
      ], byteCount: gibibyte / 4 * 3, limitedBy: "the control group /sys/fs/cgroup/memory"),
    Machine(
      testDescription: "version 1 without a limit",
      texts: [
        "/proc/meminfo": "MemAvailable: 8388608 kB\n", "/proc/self/cgroup": "4:memory:/\n",
        "/proc/self/mountinfo": mountinfo1,
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes": "1\n",
      ], byteCount: 8 * gibibyte, limitedBy: "the machine"),
    Machine(
      testDescription: "a group over its limit has no room",
      texts: [
        "/proc/meminfo": "MemAvailable: 8388608 kB\n", "/proc/self/cgroup": "0::/\n",
        "/proc/self/mountinfo": mountinfo2,
        "/sys/fs/cgroup/memory.max": "100\n", "/sys/fs/cgroup/memory.current": "200\n",
      ], byteCount: 0, limitedBy: "the control group /sys/fs/cgroup"),
    Machine(
      testDescription: "nonsense is passed over",
      texts: [
        "/proc/meminfo": "MemAvailable: -\nMemAvailable: 8388608 kB\n",
        "/proc/self/cgroup": "\n:\n0::\nx:y\n",
        "/proc/self/mountinfo": "\n - \n- cgroup2\n" + mountinfo2,
        "/sys/fs/cgroup/memory.max": "99999999999999999999\n",
      ], byteCount: 8 * gibibyte, limitedBy: "the machine"),
  ]

  @Test(arguments: machines) func `the least of machine and control groups counts`(_ machine: Machine) {
    let memory = AvailableMemory { machine.texts[$0] }
    #expect(memory.byteCount == machine.byteCount)
    #expect(memory.limitedBy == machine.limitedBy)
  }

  @Test func `this machine has some memory available, and no more than it has`() {
    let memory = AvailableMemory.now()
    #expect(memory.byteCount > 1 << 20)
    #expect(memory.byteCount <= ProcessMemory.physicalByteCount)
  }
}
