import GraftBenchmark

await BenchmarkTool.main()
